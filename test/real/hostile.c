/* P43: model files with fuzzed headers, each given to an owner process as a server would: it loads, or there is an
 * error that says something; nothing hangs and nothing here ends. $BATON_HOSTILE is how many (48; 10,000 are a few
 * minutes); $BATON_SEED and $BATON_HOSTILE_FROM run one again. */
#include "frontrun.h"
#include "made.h"

#include <unistd.h>

enum { HANG_S = 120 };

static struct bt_buf read_file(const char *path) {
    struct bt_buf b = BT_BUF_INIT;
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        bt_buf_add(&b, chunk, n);
    fclose(f);
    assert_false(b.failed);
    return b;
}

/* Where the weights begin, nearly: after the last tensor's name. */
static size_t header_size(const struct bt_buf *b) {
    static const char last[] = "output_norm.weight";
    const unsigned char *at = memmem(b->data, b->len, last, sizeof last - 1);
    return at ? (size_t)(at - b->data) + 64 : b->len / 4;
}

struct rng {
    uint64_t seed, at;
};
static uint64_t draw(struct rng *r, uint64_t below) {
    return (uint64_t)(bt_draw(r->seed, r->at++) * (double)below);
}

/* Numbers that counts, lengths, dimensions and offsets break on. */
static void put_number(struct rng *r, struct bt_buf *b, size_t at) {
    static const uint64_t numbers[] = {0,
                                       1,
                                       2,
                                       0x7f,
                                       0xff,
                                       0x7fff,
                                       0xffff,
                                       0xfffffff,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x100000000,
                                       1ULL << 40,
                                       INT64_MAX,
                                       UINT64_MAX,
                                       1ULL << 63,
                                       31,
                                       33,
                                       UINT64_MAX - 31,
                                       12};
    uint64_t v = numbers[draw(r, BT_COUNT(numbers))];
    size_t size = draw(r, 2) ? 8 : 4;
    if (at + size <= b->len)
        memcpy(b->data + at, &v, size);
}

static void mutate(struct rng *r, struct bt_buf *b, size_t header) {
    for (uint64_t i = 0, n = 1 + draw(r, 4); i < n && b->len > 8; i++) {
        size_t at = draw(r, 4) ? 4 + (size_t)draw(r, header - 4) : 4 + (size_t)draw(r, 400);
        size_t from = 4 + (size_t)draw(r, header - 4), len = 1 + (size_t)draw(r, 24);
        if (at >= b->len)
            continue;
        switch (draw(r, 6)) {
        case 0:
            b->data[at] ^= (unsigned char)(1U << draw(r, 8));
            break;
        case 1:
            b->data[at] = (unsigned char)draw(r, 256);
            break;
        case 2:
        case 3:
            put_number(r, b, at);
            break;
        case 4:
            if (at + len <= b->len && from + len <= b->len)
                memmove(b->data + at, b->data + from, len);
            break;
        case 5:
            if (draw(r, 4) == 0)
                b->len = at;
            break;
        }
    }
}

static void write_file(const char *path, const struct bt_buf *b) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
    fclose(f);
}

/* As bt_front_open for `baton serve`; a model that loads is asked something, too. */
static baton_status offer(const char *path, baton_error *err) {
    struct bt_front_params p = {.model = {.path = path},
                                .context = {.sequences = 1, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 1,
                                .queue_ms = -1,
                                .run_ms = 2000,
                                .owner = BT_OWNER_PROCESS};
    struct bt_front *f;
    struct answer a;
    struct bt_submit s = ask_text("hello", 4, 0, 1);
    *err = (baton_error){BATON_OK, ""};
    baton_status status = bt_front_open(&p, &f, err);
    if (status)
        return status;
    if (answer_ask(&a, f, &s) == BATON_OK)
        while (!a.done)
            bt_front_run_once(f, 1000);
    answer_free(&a);
    bt_front_close(&f);
    return BATON_OK;
}

static void say_nothing(void *arg, baton_log_level level, const char *line) {
    (void)arg;
    (void)level;
    (void)line;
}

static void probe_P43_fuzzed_headers_are_answered(void **state) {
    const char *const args[] = {"--arch", "llama",   "--layers", "1",      "--width", "32", "--heads",
                                "2",      "--vocab", "300",      "--type", "f16",     NULL};
    const char *count = getenv("BATON_HOSTILE"), *first = getenv("BATON_HOSTILE_FROM");
    uint64_t seed = bt_test_seed();
    int n = count ? (int)strtol(count, NULL, 10) : 48, from = first ? (int)strtol(first, NULL, 10) : 0;
    int seen[256] = {0}, loaded = 0;
    char model[256], path[64];
    (void)state;
    make_gguf("hostile", args, model);
    struct bt_buf good = read_file(model);
    size_t header = header_size(&good);
    snprintf(path, sizeof path, "made/hostile-%d.bad", (int)getpid());
    bt_log_set_handler(say_nothing, NULL);
    for (int i = from; i < from + n; i++) {
        struct rng r = {seed, (uint64_t)i << 20};
        struct bt_buf bad = BT_BUF_INIT;
        baton_error err;
        bt_buf_add(&bad, good.data, good.len);
        mutate(&r, &bad, header);
        write_file(path, &bad);
        alarm(HANG_S);
        baton_status status = offer(path, &err);
        alarm(0);
        if (status && (err.text[0] == '\0' || status != err.status))
            fail_msg("file %d: %d '%s'", i, (int)status, err.text);
        loaded += status == BATON_OK;
        if (status && (size_t)status < BT_COUNT(seen) && seen[status]++ < 3)
            print_message("%d: %s: %s\n", i, baton_status_name(status), err.text);
        bt_buf_free(&bad);
    }
    print_message("%d of %d loaded\n", loaded, n);
    for (size_t s = 0; s < BT_COUNT(seen); s++)
        if (seen[s])
            print_message("%s: %d\n", baton_status_name((baton_status)s), seen[s]);
    assert_true(loaded < n);
    bt_log_set_handler(NULL, NULL);
    bt_buf_free(&good);
    remove(path);
    remove(model);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P43_fuzzed_headers_are_answered),
    };
    return bt_test_run(tests, argc, argv);
}
