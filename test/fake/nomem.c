/* Each allocation of a whole run fails once, from opening a front to closing it: every request still has one outcome,
 * a completed one its whole text, and nothing leaks (under AddressSanitizer) or hangs. */
#include "frontrun.h"

#include <unistd.h>

#include "config/config.h"
#include "native/fake.h"
#include "nomem.h"

enum { REQUESTS = 3, TEXT_MAX = 8192 };
static const char model[] = "fake:len=60";

/* The gathered text does not come from malloc: what fails must be the product, not the test. */
struct gathered {
    struct bt_request *request;
    char text[TEXT_MAX];
    size_t len;
    int done;
    baton_status status;
};

static void on_text(void *arg, const char *text, size_t len) {
    struct gathered *g = arg;
    assert_true(g->len + len < sizeof g->text);
    memcpy(g->text + g->len, text, len);
    g->len += len;
    bt_request_consumed(g->request, 1);
}
static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct gathered *g = arg;
    g->done++;
    g->status = outcome->status;
}

static struct bt_submit question(int i) {
    static struct bt_chat_message chat = {"user", "spare me a word"};
    struct bt_submit s = ask_text(i == 0 ? "spare" : "memory", 60, i == 1 ? 0.8f : 0, 5);
    s.stops[s.n_stops++] = (struct bt_text){"w0 the a lease", 14}; /* something is held back now and then */
    if (i == 2) {
        s.kind = BT_PROMPT_CHAT;
        s.messages = &chat;
        s.n_messages = 1;
    }
    return s;
}

/* False: nothing failed any more. */
static bool run_with_failure(long at, struct gathered g[REQUESTS], bool *opened) {
    struct bt_front_params p = {.model = {.path = model},
                                .context = {.sequences = 2, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 1,
                                .when_full = BT_WAIT,
                                .queue_max = REQUESTS,
                                .queue_ms = -1,
                                .run_ms = -1};
    struct bt_front *f;
    baton_error err;
    memset(g, 0, REQUESTS * sizeof *g);
    nomem_arm(at);
    *opened = bt_front_open(&p, &f, &err) == BATON_OK;
    for (int i = 0; i < REQUESTS && *opened; i++) {
        struct bt_submit s = question(i);
        struct bt_handler h = {.on_text = on_text, .on_done = on_done, .arg = &g[i]};
        g[i].status = bt_front_submit(f, &s, NULL, &h, &g[i].request, &err);
        g[i].done = g[i].status != BATON_OK;
    }
    for (int i = 0; i < REQUESTS && *opened; i++)
        while (!g[i].done)
            bt_front_run_once(f, -1);
    if (*opened)
        bt_front_close(&f);
    return nomem_disarm();
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static struct gathered whole[REQUESTS], g[REQUESTS];
    long at = 1, completed = 0;
    bool opened;
    run_with_failure(0, whole, &opened);
    assert_true(opened);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(whole[i].status, BATON_OK);
    for (bool failed = true; failed; at++) {
        alarm(20);
        failed = run_with_failure(at, g, &opened);
        for (int i = 0; i < REQUESTS && opened; i++) {
            assert_int_equal(g[i].done, 1);
            completed += g[i].status == BATON_OK;
            if (g[i].status == BATON_OK && (g[i].len != whole[i].len || memcmp(g[i].text, whole[i].text, g[i].len)))
                fail_msg("allocation %ld: request %d lost text", at, i);
        }
    }
    alarm(0);
    print_message("%ld allocations, %ld answers completed all the same\n", at - 1, completed);
    assert_true(completed > 0);
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.models + s.contexts + s.samplers, 0);
}

/* A configuration is read whole, or it is said that there was no memory: never a part of it. */
static void every_allocation_of_a_configuration_may_fail(void **state) {
    static const char text[] = "[defaults]\nctx = 64\n[model a]\nfile = fake:len=1\nlora = fake:x\n[model b]\n"
                               "file = fake:len=2\n[role r]\nmodels = a, b\n[role s]\nmodels = r, b\n";
    int refused = 0;
    (void)state;
    for (long n = 1;; n++) {
        struct bt_config *c;
        struct bt_buf faults = BT_BUF_INIT;
        baton_error err;
        atomic_store(&nomem_left, n);
        baton_status status = bt_config_parse("dir/x.ini", text, sizeof text - 1, &c, &faults, &err);
        bool reached = atomic_exchange(&nomem_left, 0) <= 1;
        if (status == BATON_OK) /* what failed was the wording of a fault that there is not */
            assert_int_equal(c->n_models * 10 + c->n_roles, 22);
        else
            assert_true(reached && status == BATON_NO_MEMORY && !c);
        refused += status != BATON_OK;
        assert_int_equal(faults.len, 0);
        bt_config_free(&c);
        bt_buf_free(&faults);
        if (!reached)
            break;
    }
    assert_true(refused > 20);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail),
                                       cmocka_unit_test(every_allocation_of_a_configuration_may_fail)};
    return bt_test_run(tests, argc, argv);
}
