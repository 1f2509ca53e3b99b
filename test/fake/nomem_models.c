/* Each allocation of each public call fails once: the call says NO_MEMORY, or does without; what it was to fill is
 * empty, nothing leaks (under AddressSanitizer), and the handle goes on as if nothing had been. The list of calls is
 * read from the headers, so that a new one without an entry here fails. */
#include "nomem_api.h"

#include "baton/models.h"
#include "baton/runtime.h"

static baton_status try_models(baton_error *err) {
    static const char *const targets[] = {"a"};
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    baton_llama_lora lora = {"fake:7", 1};
    baton_models *models = NULL;
    baton_model_use use = {0};
    const char *const *names = NULL;
    uint64_t weights, contexts;
    baton_llama_ask ask = question();
    baton_result r = {NULL};
    size_t n;
    params.policy = &policy;
    params.loras = &lora;
    params.n_loras = 1;
    params.chat_template = "chatml";
    params.mmproj = "fake";
    arm();
    baton_status status = baton_models_open(&models, err);
    if (!status)
        status = baton_models_add(models, "a", path, &params, false, err);
    if (!status)
        status = baton_models_role(models, "fast", targets, 1, err);
    if (!status)
        status = baton_models_names(models, false, &names, &n, err);
    if (!status)
        status = baton_models_estimate(models, "a", &weights, &contexts, err);
    if (!status)
        status = baton_models_load(models, "a", -1, err);
    if (!status)
        status = baton_models_use(models, "fast", -1, &use, err);
    baton_models_put(&use);
    if (!status) {
        status = baton_models_generate(models, "fast", &ask, &r, err);
        assert_int_equal(r.outcome.status, status);
    }
    if (!status)
        status = baton_models_unload(models, "a", -1, err);
    if (!status)
        status = baton_models_swap(models, "a", path, NULL, -1, err);
    if (!status)
        status = baton_models_remove(models, "a", -1, err);
    disarm();
    baton_result_free(&r);
    baton_free((void *)names);
    if (models) { /* whatever failed: a model can be added, and answers */
        baton_error later;
        assert_int_equal(baton_models_add(models, "b", path, NULL, true, &later), BATON_OK);
        assert_int_equal(baton_models_generate(models, "b", &ask, &r, &later), BATON_OK);
        assert_string_equal(r.text, whole);
        baton_result_free(&r);
    }
    baton_models_close(&models);
    return status;
}

static baton_status runtime_all(baton_error *err) {
    static baton_sampling sampling = BATON_SAMPLING;
    static const baton_logit_bias bias[] = {{5, 1}};
    uint64_t id = 0, stepped = 0, *ids = NULL;
    baton_result r = {NULL};
    char *text = NULL;
    size_t len, n;
    sampling.bias = bias;
    sampling.n_bias = 1;
    baton_status status = baton_runtime_load_model(path, NULL, err);
    if (!status)
        status = baton_runtime_configure_sampling(&sampling, err);
    if (!status)
        status = baton_runtime_generate("hi", 2, 20, &id, err);
    if (!status && (status = baton_runtime_result(id, &r, err)) == BATON_OK)
        assert_int_equal(r.outcome.status, BATON_OK);
    baton_result_free(&r);
    if (!status)
        status = baton_runtime_start("hi", 2, 20, &stepped, err);
    while (!status && (status = baton_runtime_next_token(stepped, &text, &len, err)) == BATON_OK)
        baton_free(text);
    if (status == BATON_END)
        status = baton_runtime_transcript(&ids, &n, err);
    baton_free(ids);
    if (!status)
        status = baton_runtime_diagnostics(&text, &len, err);
    if (!status)
        baton_free(text);
    if (!status)
        status = baton_runtime_reset_context(err);
    if (!status)
        status = baton_runtime_clear_transcript(err);
    if (!status)
        status = baton_runtime_free_model(err);
    return status;
}
static baton_status try_runtime(baton_error *err) {
    baton_error later;
    arm();
    baton_status status = baton_runtime_init(NULL, err);
    bool there = !status;
    if (there)
        status = runtime_all(err);
    disarm();
    if (there && runtime_all(&later))
        fail_msg("allocation %ld: afterwards %s", at, later.text);
    if (there)
        assert_int_equal(baton_runtime_end(&later), BATON_OK);
    return status;
}
/* The result of an answer that lost a piece must not be told as finished. */
static baton_status try_runtime_result(baton_error *err) {
    baton_error later;
    baton_result r = {NULL}, good = {NULL};
    uint64_t id = 41, whole_id = 42;
    assert_int_equal(baton_runtime_init(NULL, err), BATON_OK);
    assert_int_equal(baton_runtime_load_model(path, NULL, err), BATON_OK);
    baton_status status = TRY(baton_runtime_generate("hi", 2, -1, &id, err));
    assert_int_equal(baton_runtime_generate("hi", 2, -1, &whole_id, &later), BATON_OK);
    assert_int_equal(baton_runtime_result(whole_id, &good, &later), BATON_OK);
    if (baton_runtime_result(id, &r, &later) == BATON_OK) {
        assert_int_equal(r.outcome.status, status);
        if (!status)
            assert_string_equal(r.text, good.text);
        baton_result_free(&r);
    } else {
        assert_int_not_equal(status, BATON_OK);
    }
    baton_result_free(&good);
    assert_int_equal(baton_runtime_end(&later), BATON_OK);
    return status;
}

static const struct trial trials[] = {
    {"models_open models_add models_role models_names models_estimate models_load models_use models_put "
     "models_generate "
     "models_unload models_swap models_remove models_close",
     try_models, false},
    {"runtime_init runtime_load_model runtime_configure_sampling runtime_generate runtime_result runtime_start "
     "runtime_next_token runtime_transcript runtime_diagnostics runtime_reset_context runtime_clear_transcript "
     "runtime_free_model runtime_end",
     try_runtime, false},
    {"runtime_generate runtime_result", try_runtime_result, false},
};
/* They allocate nothing. */
static const char no_allocation[] = " models_info runtime_cancel ";

static void every_call_is_here(void **state) {
    static const char *const headers[] = {"models", "runtime"};
    (void)state;
    every_public_call_is_here(headers, sizeof headers / sizeof headers[0], trials, sizeof trials / sizeof trials[0],
                              no_allocation, 25);
}
static void every_allocation_may_fail(void **state) {
    (void)state;
    every_allocation_of_every_call_may_fail(trials, sizeof trials / sizeof trials[0]);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_is_here),
                                       cmocka_unit_test(every_allocation_may_fail)};
    return bt_test_run(tests, argc, argv);
}
