/* libllama models: loading and its errors, text to tokens and back, chat templates. */
#include "native_util.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bt_model *model;

static baton_status try_open(const char *path, const char *chat_template, baton_error *err) {
    struct bt_model_params params = {.path = path, .chat_template = chat_template};
    struct bt_model *m;
    baton_status status = bt_model_open(&params, &m, err);
    if (status == BATON_OK)
        m->ops->free(m);
    else
        assert_null(m);
    return status;
}

static void expect_error(const char *path, baton_status status, const char *part) {
    baton_error err;
    assert_int_equal(try_open(path, NULL, &err), status);
    print_message("%s\n", err.text);
    if (!strstr(err.text, path) || !strstr(err.text, part))
        fail_msg("'%s' names not both %s and %s", err.text, path, part);
}

/* The first `keep` bytes of the built-in model, then `more` bytes of garbage from `at` on. */
static void damage(const char *to, long keep, long at, const char *garbage) {
    FILE *in = fopen(bt_builtin_model_path(), "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    for (long i = 0; i < keep; i++) {
        int c = fgetc(in);
        fputc(garbage && i >= at && i < at + (long)strlen(garbage) ? garbage[i - at] : c, out);
    }
    fclose(in);
    fclose(out);
}

static void a_file_that_cannot_be_loaded_is_named_with_the_cause(void **state) {
    (void)state;
    expect_error("/no/such/model.gguf", BATON_NOT_FOUND, "GGUF file");
    expect_error("/proc", BATON_BAD_MODEL, "not a file");
    expect_error("/proc/self/exe", BATON_BAD_MODEL, "not a GGUF");
    assert_int_equal(mkfifo("pipe.gguf", 0600), 0);
    alarm(20); /* opening a pipe waits for somebody to write into it */
    expect_error("pipe.gguf", BATON_BAD_MODEL, "not a file");
    alarm(0);
    remove("pipe.gguf");
    damage("bad.gguf", 0, 0, NULL);
    expect_error("bad.gguf", BATON_BAD_MODEL, "not a GGUF");
    static const long lengths[] = {4, 20, 5000, 60000, 600000, 1100000};
    for (size_t i = 0; i < BT_COUNT(lengths); i++) {
        damage("bad.gguf", lengths[i], 0, NULL);
        expect_error("bad.gguf", BATON_BAD_MODEL, "cannot be loaded (");
    }
    damage("bad.gguf", 100000, 8, "\x7f\x7f\x7f\x7f\x7f\x7f\x7f"); /* how many tensors there are */
    expect_error("bad.gguf", BATON_BAD_MODEL, "cannot be loaded (");
    remove("bad.gguf");
}

static bool stop(void *arg, float done) {
    float *last = arg;
    *last = done;
    return done < 0.5f;
}

static void progress_can_stop_a_load(void **state) {
    (void)state;
    float last = -1;
    struct bt_model_params params = {.progress = stop, .progress_arg = &last};
    struct bt_model *m;
    baton_error err;
    assert_int_equal(bt_model_open(&params, &m, &err), BATON_CANCELLED);
    assert_null(m);
    assert_true(last >= 0.5f);
}

static void the_built_in_model_is_found_and_its_absence_explained(void **state) {
    (void)state;
    struct bt_model_info info;
    model->ops->info(model, &info);
    assert_true(info.vocab_size > 0 && info.ctx_train > 0 && info.bytes > 0 && info.has_chat_template);
    assert_false(info.recurrent);
    assert_true(info.name[0] && info.description[0]);
    const char *path = bt_builtin_model_path();
    assert_non_null(path);
    assert_memory_equal(path, getenv("BATON_MODEL_DIR"), strlen(getenv("BATON_MODEL_DIR")));
    struct bt_buf versions = BT_BUF_INIT;
    bt_native_versions(&versions);
    bt_buf_add(&versions, "", 1);
    assert_non_null(strstr((char *)versions.data, "llama.cpp "));
    assert_non_null(strstr((char *)versions.data, "CPU"));
    bt_buf_free(&versions);
}

static void round_trip(const char *text, size_t len) {
    bt_token *tokens;
    size_t n;
    baton_error err;
    struct bt_buf out = BT_BUF_INIT;
    assert_int_equal(model->ops->tokenize(model, text, len, false, false, &tokens, &n, &err), BATON_OK);
    for (size_t i = 0; i < n; i++)
        model->ops->piece(model, tokens[i], &out);
    assert_false(out.failed);
    assert_int_equal(out.len, len);
    if (len)
        assert_memory_equal(out.data, text, len);
    bt_buf_free(&out);
    free(tokens);
}

static void text_becomes_tokens_and_comes_back(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "Hello, world!",
                                        "  two  spaces \n\n\ttabs ",
                                        "<|im_start|>user",
                                        "h\xc3\xa9las \xe2\x82\xac \xf0\x9f\x98\x80 \xe6\x97\xa5\xe6\x9c\xac",
                                        "1234567890"};
    for (size_t i = 0; i < BT_COUNT(texts); i++)
        round_trip(texts[i], strlen(texts[i]));
    char *big = malloc(300000);
    assert_non_null(big);
    for (size_t i = 0; i < 300000; i++)
        big[i] = (char)(' ' + (i * i + i / 7) % 90);
    round_trip(big, 300000);
    free(big);
}

/* Bytes that are no UTF-8, and NUL, are input from strangers: they may lose their value, and nothing else. */
static void any_bytes_are_taken(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    for (int round = 0; round < 200; round++) {
        char bytes[64];
        bt_token *tokens;
        size_t n, len = bt_mix64(seed + (uint64_t)round) % sizeof bytes;
        baton_error err;
        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)bt_mix64(seed ^ ((uint64_t)round << 32 | i));
        assert_int_equal(model->ops->tokenize(model, bytes, len, true, round & 1, &tokens, &n, &err), BATON_OK);
        free(tokens);
    }
}

static void special_tokens_are_parsed_only_when_asked_for(void **state) {
    (void)state;
    static const char text[] = "<|im_end|>";
    bt_token *tokens;
    size_t n;
    baton_error err;
    assert_int_equal(model->ops->tokenize(model, text, strlen(text), false, true, &tokens, &n, &err), BATON_OK);
    assert_int_equal(n, 1);
    assert_true(model->ops->is_end(model, tokens[0]));
    struct bt_buf out = BT_BUF_INIT;
    model->ops->piece(model, tokens[0], &out); /* a control token says nothing */
    assert_int_equal(out.len, 0);
    free(tokens);
    assert_int_equal(model->ops->tokenize(model, text, strlen(text), false, false, &tokens, &n, &err), BATON_OK);
    assert_true(n > 1);
    free(tokens);
    model->ops->piece(model, -1, &out);
    model->ops->piece(model, INT32_MAX, &out);
    assert_int_equal(out.len, 0);
    assert_false(model->ops->is_end(model, -1));
    bt_buf_free(&out);
}

/* Characters split over tokens, fed byte by byte: held back while unfinished, whole when let go. */
static void probe_P16_a_character_in_several_tokens_arrives_whole(void **state) {
    (void)state;
    static const char text[] = "a\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9z";
    struct tokens p;
    baton_error err;
    struct bt_buf held = BT_BUF_INIT, got = BT_BUF_INIT;
    int splits = 0;
    assert_int_equal(model->ops->tokenize(model, text, strlen(text), false, false, &p.t, &p.n, &err), BATON_OK);
    for (size_t i = 0; i < p.n; i++) {
        model->ops->piece(model, p.t[i], &held);
        size_t ready = held.len - bt_utf8_unfinished((char *)held.data, held.len);
        assert_true(bt_utf8_valid((char *)held.data, ready));
        splits += ready < held.len;
        bt_buf_add(&got, held.data, ready);
        bt_buf_drop(&held, ready);
    }
    assert_true(splits >= 3);
    assert_int_equal(held.len, 0);
    assert_int_equal(got.len, strlen(text));
    assert_memory_equal(got.data, text, got.len);
    bt_buf_free(&held);
    bt_buf_free(&got);
    free(p.t);
}

static void chat_templates_are_applied_or_explained(void **state) {
    (void)state;
    struct bt_chat_message messages[] = {
        {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Yes?"}, {"user", "Why?"}};
    struct bt_buf text = BT_BUF_INIT;
    baton_error err;
    bt_buf_adds(&text, ">"); /* what is there stays */
    assert_int_equal(model->ops->chat(model, messages, 4, &text, &err), BATON_OK);
    bt_buf_add(&text, "", 1);
    assert_string_equal((char *)text.data, "><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                                           "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
                                           "<|im_start|>assistant\n");
    bt_buf_free(&text);
    assert_int_equal(try_open(NULL, "{{ my own }}", &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "--chat-template"));
    assert_non_null(strstr(err.text, "chatml"));
    assert_non_null(strstr(err.text, "{{ my own }}"));
    assert_int_equal(try_open(NULL, "llama2", &err), BATON_OK);
    char *long_text = malloc(100001);
    assert_non_null(long_text);
    memset(long_text, 'x', 100000);
    long_text[100000] = '\0';
    messages[1].content = long_text;
    struct bt_buf grown = BT_BUF_INIT;
    assert_int_equal(model->ops->chat(model, messages, 4, &grown, &err), BATON_OK);
    assert_true(grown.len > 100000);
    bt_buf_free(&grown);
    free(long_text);
}

static int set_up(void **state) {
    (void)state;
    model = open_model(NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    model->ops->free(model);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_cannot_be_loaded_is_named_with_the_cause),
        cmocka_unit_test(progress_can_stop_a_load),
        cmocka_unit_test(the_built_in_model_is_found_and_its_absence_explained),
        cmocka_unit_test(text_becomes_tokens_and_comes_back),
        cmocka_unit_test(any_bytes_are_taken),
        cmocka_unit_test(special_tokens_are_parsed_only_when_asked_for),
        cmocka_unit_test(probe_P16_a_character_in_several_tokens_arrives_whole),
        cmocka_unit_test(chat_templates_are_applied_or_explained),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
