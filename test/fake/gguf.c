/* The size and shape of a GGUF file, read without libllama: right for files made here byte by byte, and an error, never
 * more, for every way in which one can be cut, or lie. */
#include "harness.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "baton/llama.h"
#include "native/gguf.h"

enum { U32 = 4, I32 = 5, STRING = 8, ARRAY = 9, U64 = 10, DATA = 1000 };

static void u32(struct bt_buf *b, uint32_t n) {
    bt_buf_add(b, &n, sizeof n);
}
static void u64(struct bt_buf *b, uint64_t n) {
    bt_buf_add(b, &n, sizeof n);
}
static void text(struct bt_buf *b, const char *s) {
    u64(b, strlen(s));
    bt_buf_adds(b, s);
}
static void number(struct bt_buf *b, const char *key, uint32_t n) {
    text(b, key);
    u32(b, U32);
    u32(b, n);
}

/* 4 layers, 64 wide, 8 heads of 8; `kv`: heads with keys and values, 0: a list by layer (1, 2, 3, 4). */
static void make(struct bt_buf *b, uint32_t kv) {
    b->len = 0;
    bt_buf_adds(b, "GGUF");
    u32(b, 3);
    u64(b, 1); /* tensors */
    u64(b, 8); /* pairs */
    text(b, "general.architecture");
    u32(b, STRING);
    text(b, "llama");
    text(b, "tokenizer.ggml.tokens");
    u32(b, ARRAY);
    u32(b, STRING);
    u64(b, 3);
    text(b, "a");
    text(b, "");
    text(b, "two words");
    number(b, "llama.block_count", 4);
    number(b, "llama.embedding_length", 64);
    number(b, "llama.attention.head_count", 8);
    if (kv) {
        number(b, "llama.attention.head_count_kv", kv);
    } else {
        text(b, "llama.attention.head_count_kv");
        u32(b, ARRAY);
        u32(b, I32);
        u64(b, 4);
        for (uint32_t i = 1; i <= 4; i++)
            u32(b, i);
    }
    number(b, "llama.context_length", 2048);
    number(b, "general.alignment", 64);
    text(b, "weight");
    u32(b, 2);
    u64(b, 64);
    u64(b, 4);
    u32(b, 0);
    u64(b, 0);
    while (b->len % 64)
        bt_buf_add(b, "", 1);
    for (int i = 0; i < DATA; i++)
        bt_buf_add(b, "w", 1);
}

static char path[64];

static void write_file(const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static baton_status read_file(struct bt_gguf *g, baton_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    baton_status status = bt_gguf_read(fd, path, g, err);
    close(fd);
    return status;
}

static int setup(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/baton-gguf-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}
static int teardown(void **state) {
    (void)state;
    return unlink(path);
}

static void the_shape_of_a_file(void **state) {
    struct bt_buf b = BT_BUF_INIT;
    struct bt_gguf g;
    baton_error err;
    (void)state;
    make(&b, 2);
    write_file(b.data, b.len);
    if (read_file(&g, &err))
        fail_msg("%s", err.text);
    assert_int_equal(g.weight_bytes, DATA);
    assert_int_equal(g.ctx_train, 2048);
    assert_int_equal(g.bytes_per_token, 2 * (8 + 8) * 2 * 4);
    make(&b, 0);
    write_file(b.data, b.len);
    assert_int_equal(read_file(&g, &err), BATON_OK);
    assert_int_equal(g.bytes_per_token, 2 * (8 + 8) * (1 + 2 + 3 + 4));
    bt_buf_free(&b);
}

static void an_estimate_is_of_the_policy(void **state) {
    struct bt_buf b = BT_BUF_INIT;
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    uint64_t weights, contexts;
    baton_error err;
    (void)state;
    make(&b, 2);
    write_file(b.data, b.len);
    assert_int_equal(baton_llama_estimate(path, NULL, &weights, &contexts, &err), BATON_OK);
    assert_int_equal(weights, DATA);
    assert_int_equal(contexts, UINT64_C(256) * 2048);
    policy.owner = BATON_OWNER_THREAD;
    policy.contexts = 3;
    policy.sequences = 5;
    params.policy = &policy;
    params.ctx = 1000;
    assert_int_equal(baton_llama_estimate(path, &params, &weights, &contexts, &err), BATON_OK);
    assert_int_equal(contexts, UINT64_C(256) * 1024 * 15);
    policy.owner = BATON_OWNER_CALLER;
    assert_int_equal(baton_llama_estimate(path, &params, &weights, &contexts, &err), BATON_INVALID);
    assert_int_equal(baton_llama_estimate("/nowhere.gguf", NULL, &weights, &contexts, &err), BATON_NOT_FOUND);
    assert_int_equal(baton_llama_estimate("fake:", NULL, &weights, &contexts, &err), BATON_OK);
    assert_int_equal(weights + contexts, 0);
    bt_buf_free(&b);
}

/* Cut after each byte of its header: an error; cut in its weights: what there is of them. */
static void a_file_cut_anywhere(void **state) {
    struct bt_buf b = BT_BUF_INIT;
    struct bt_gguf g;
    baton_error err;
    (void)state;
    make(&b, 0);
    size_t header = b.len - DATA;
    write_file(b.data, b.len);
    for (size_t len = b.len; len-- > 0;) {
        assert_int_equal(truncate(path, (off_t)len), 0);
        baton_status status = read_file(&g, &err);
        if (len >= header) {
            assert_int_equal(status, BATON_OK);
            assert_int_equal(g.weight_bytes, len - header);
        } else if (status) { /* behind the last tensor is only padding */
            assert_int_equal(status, BATON_BAD_MODEL);
            assert_non_null(strstr(err.text, path));
        } else {
            assert_true(len > header - 64);
            assert_int_equal(g.weight_bytes, 0);
        }
    }
    bt_buf_free(&b);
}

/* Every byte of the header, and every aligned pair of words, made huge: an answer at once, whatever it is. */
static void a_file_that_lies(void **state) {
    struct bt_buf b = BT_BUF_INIT;
    struct bt_gguf g;
    baton_error err;
    int refused = 0;
    (void)state;
    make(&b, 0);
    for (size_t i = 0; i + 8 < b.len - DATA; i++)
        for (int kind = 0; kind < 3; kind++) {
            unsigned char kept[8];
            memcpy(kept, b.data + i, sizeof kept);
            memset(b.data + i, kind == 1 ? 0x7f : 0xff, kind == 2 ? 1 : 8);
            write_file(b.data, b.len);
            alarm(10);
            baton_status status = read_file(&g, &err);
            alarm(0);
            assert_true(status == BATON_OK || status == BATON_BAD_MODEL);
            assert_true(status || g.weight_bytes <= b.len);
            refused += status != BATON_OK;
            memcpy(b.data + i, kept, sizeof kept);
        }
    assert_true(refused > 100);
    bt_buf_free(&b);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_shape_of_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(an_estimate_is_of_the_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_cut_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_lies, setup, teardown),
    };
    return bt_test_run(tests, argc, argv);
}
