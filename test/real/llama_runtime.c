/* The process-global runtime over libllama and the built-in model. */
#include "api_bodies.h"

#include <sys/wait.h>

#include "baton/runtime.h"

/* What another program says of the same file. */
static void sha256sum(const char *path, char text[65]) {
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execlp("sha256sum", "sha256sum", path, (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    assert_int_equal(read(ends[0], text, 64), 64);
    text[64] = '\0';
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void the_diagnostics_say_what_runs(void **state) {
    (void)state;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_error err;
    char *json, sum[65], path[1024], expected[128];
    size_t len;
    uint64_t id = 0;
    snprintf(path, sizeof path, "%s/baton-tiny-q8_0.gguf", getenv("BATON_MODEL_DIR"));
    sha256sum(path, sum);
    assert_int_equal(baton_runtime_init(NULL, &err), BATON_OK);
    assert_int_equal(baton_runtime_diagnostics(&json, &len, &err), BATON_OK);
    assert_non_null(strstr(json, "\"version\":1"));
    assert_non_null(strstr(json, "\"state\":\"no model\""));
    assert_non_null(strstr(json, "\"model\":null"));
    baton_free(json);
    params.ctx = 256;
    params.threads = 1;
    if (baton_runtime_load_model(NULL, &params, &err))
        fail_msg("%s", err.text);
    assert_int_equal(baton_runtime_generate("Once upon a time", 16, 8, &id, &err), BATON_OK);
    assert_int_equal(baton_runtime_diagnostics(&json, &len, &err), BATON_OK);
    assert_int_equal(strlen(json), len);
    printf("%s\n", json);
    snprintf(expected, sizeof expected, "\"sha256\":\"%s\"", sum);
    assert_non_null(strstr(json, expected));
    assert_non_null(strstr(json, "\"state\":\"idle\""));
    assert_non_null(strstr(json, "\"transcript\":1"));
    assert_non_null(strstr(json, "\"threads\":1"));
    assert_non_null(strstr(json, "\"exact\":true"));
    assert_non_null(strstr(json, "llama.cpp "));
    assert_non_null(strstr(json, "\"cpu\":\"libggml-cpu"));
    assert_null(strstr(json, "Once upon"));
    baton_free(json);
    assert_int_equal(baton_runtime_end(&err), BATON_OK);
}

static void a_stepped_answer_is_the_same_as_a_whole_one(void **state) {
    (void)state;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_error err;
    uint64_t whole = 1, stepped = 2;
    baton_result a, b;
    char *piece, text[4096] = "";
    size_t len, n = 0;
    params.ctx = 256;
    params.threads = 1;
    assert_int_equal(baton_runtime_init(NULL, &err), BATON_OK);
    assert_int_equal(baton_runtime_load_model(NULL, &params, &err), BATON_OK);
    assert_int_equal(baton_runtime_generate("Once upon a time", 16, 40, &whole, &err), BATON_OK);
    assert_int_equal(baton_runtime_load_model("/nowhere.gguf", &params, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere.gguf"));
    assert_int_equal(baton_runtime_start("Once upon a time", 16, 40, &stepped, &err), BATON_OK);
    baton_status status;
    while ((status = baton_runtime_next_token(stepped, &piece, &len, &err)) == BATON_OK) {
        memcpy(text + n, piece, len + 1);
        n += len;
        baton_free(piece);
    }
    assert_int_equal(status, BATON_END);
    assert_int_equal(baton_runtime_result(whole, &a, &err), BATON_OK);
    assert_int_equal(baton_runtime_result(stepped, &b, &err), BATON_OK);
    assert_true(a.len > 0);
    assert_string_equal(a.text, b.text);
    assert_string_equal(a.text, text);
    assert_int_equal(a.outcome.answer_tokens, b.outcome.answer_tokens);
    baton_result_free(&a);
    baton_result_free(&b);
    assert_int_equal(baton_runtime_end(&err), BATON_OK);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_diagnostics_say_what_runs),
        cmocka_unit_test(a_stepped_answer_is_the_same_as_a_whole_one),
    };
    return bt_test_run(tests, argc, argv);
}
