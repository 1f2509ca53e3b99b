/* Models by name over libllama and the built-in model. */
#include "api_bodies.h"

#include "baton/models.h"

static void what_a_model_takes_is_known_before_and_is_what_it_took(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_models *r;
        baton_model_info info = {.size = sizeof info};
        baton_policy policy = api_policy(p);
        baton_llama_params params = BATON_LLAMA_PARAMS;
        uint64_t weights, contexts;
        baton_error err;
        params.policy = &policy;
        params.ctx = p ? 300 : 0;
        params.threads = 1;
        assert_int_equal(baton_models_open(&r, NULL), BATON_OK);
        assert_int_equal(baton_models_add(r, "tiny", NULL, &params, false, &err), BATON_OK);
        assert_int_equal(baton_models_add(r, "gone", "/nowhere.gguf", NULL, false, &err), BATON_OK);
        if (baton_models_estimate(r, "tiny", &weights, &contexts, &err))
            fail_msg("%s", err.text);
        assert_int_equal(baton_models_info(r, "tiny", &info, NULL), BATON_OK);
        assert_int_equal(info.state, BATON_MODEL_ABSENT);
        assert_int_equal(info.loads, 0);
        assert_true(weights > 0);
        assert_true(contexts > 0);
        assert_int_equal(baton_models_load(r, "tiny", 0, &err), BATON_OK);
        assert_int_equal(baton_models_info(r, "tiny", &info, NULL), BATON_OK);
        assert_int_equal(info.weight_bytes, weights);
        assert_int_equal(info.context_bytes, contexts);
        assert_int_equal(baton_models_estimate(r, "gone", &weights, &contexts, &err), BATON_NOT_FOUND);
        assert_non_null(strstr(err.text, "/nowhere.gguf"));
        baton_models_close(&r);
    }
}

static void *ask_by_name(void *arg) {
    struct api_asker *a = arg;
    baton_models *r = (baton_models *)a->m;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_request request = BATON_REQUEST;
    baton_result result;
    request.when_full = BATON_WAIT;
    ask.request = &request;
    ask.prompt = "Once upon a time";
    ask.max_tokens = 24;
    for (int i = 0; i < 3; i++) {
        (void)!baton_models_generate(r, a->number % 2 ? "a" : "fast", &ask, &result, NULL);
        snprintf(a->text, sizeof a->text, "%s", result.text);
        a->outcome = result.outcome;
        baton_result_free(&result);
        if (a->outcome.status)
            break;
    }
    return NULL;
}

static void probe_P26_a_swap_under_users_changes_no_answer(void **state) {
    (void)state;
    baton_models *r;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    static struct api_asker alone, a[4];
    baton_error err;
    params.threads = 1;
    params.ctx = 256;
    assert_int_equal(baton_models_open(&r, NULL), BATON_OK);
    assert_int_equal(baton_models_add(r, "a", NULL, &params, false, &err), BATON_OK);
    assert_int_equal(baton_models_role(r, "fast", (const char *[]){"a"}, 1, &err), BATON_OK);
    alone = (struct api_asker){.m = (baton_llama *)r, .number = 0};
    ask_by_name(&alone);
    assert_int_equal(alone.outcome.status, BATON_OK);
    for (int i = 0; i < 4; i++) {
        a[i] = (struct api_asker){.m = (baton_llama *)r, .number = i};
        assert_int_equal(pthread_create(&a[i].thread, NULL, ask_by_name, &a[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(baton_models_swap(r, "a", NULL, &params, i % 2 ? -1 : 0, &err) & ~BATON_AGAIN, BATON_OK);
    for (int i = 0; i < 4; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].outcome.status, BATON_OK);
        assert_string_equal(a[i].text, alone.text);
    }
    baton_models_close(&r);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_model_takes_is_known_before_and_is_what_it_took),
        cmocka_unit_test(probe_P26_a_swap_under_users_changes_no_answer),
    };
    return bt_test_run(tests, argc, argv);
}
