/* llama.h by hand under leases of the public API, and contexts of the program's adopted: the tokens are those of a lone
 * run. With the overlay before baton's header, so that a compiler that minds has looked at it; built with the raw names
 * and with the strict ones. */
#include "baton/overlay/llama.h"

#include "baton/llama.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "harness.h"

#ifdef BATON_OVERLAY_STRICT
#define HELD(name) baton_held_##name
#else
#define HELD(name) name
#endif

enum { THREADS = 4, TOKENS = 12, ROUNDS = 3 };
static const char *const prompts[THREADS] = {"one two three", "The quick brown fox", "once upon a time", "Hello"};

static baton_llama *open_tiny(const baton_policy *policy) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    params.policy = policy;
    params.ctx = 256;
    params.threads = 1;
    if (baton_llama_open(&m, NULL, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

struct answer {
    baton_llama *m;
    const char *prompt;
    pthread_t thread;
    char text[512];
    bool failed;
};

/* By baton, as a lone run does it. */
static void *by_baton(void *arg) {
    struct answer *a = arg;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_result r;
    ask.prompt = a->prompt;
    ask.max_tokens = TOKENS;
    a->failed = baton_llama_generate(a->m, &ask, &r, NULL) != BATON_OK;
    snprintf(a->text, sizeof a->text, "%s", r.text);
    baton_result_free(&r);
    return NULL;
}

/* One decode and the token that its logits say, in one stay. */
static bool step(const baton_lease *lease, struct llama_sampler *greedy, llama_token *tokens, int n, llama_token *next)
    BATON_REQUIRES(lease) BATON_EXCLUDES(lease->pool) {
    void *context;
    if (baton_lease_begin(lease, BATON_OP_DECODE, &context, NULL))
        return false;
    bool good = context == (void *)baton_llama_context(lease) &&
                HELD(llama_decode)(baton_llama_context(lease), llama_batch_get_one(tokens, n)) == 0;
    if (good)
        *next = HELD(llama_sampler_sample)(greedy, baton_llama_context(lease), -1);
    baton_lease_end(lease);
    return good;
}

/* The same by hand. The cache is empty: whoever had the context before has reset it. */
static void *by_hand(void *arg) {
    struct answer *a = arg;
    baton_lease lease;
    struct llama_sampler *greedy = llama_sampler_init_greedy();
    llama_token answer[TOKENS], *prompt = NULL;
    size_t n = 0, len;
    char *text = NULL;
    a->failed = baton_llama_tokenize(a->m, a->prompt, strlen(a->prompt), true, &prompt, &n, NULL) != BATON_OK;
    if (baton_llama_acquire(a->m, NULL, &lease, NULL)) {
        a->failed = true;
    } else {
        a->failed = a->failed || !step(&lease, greedy, prompt, (int)n, &answer[0]);
        for (int i = 1; i < TOKENS && !a->failed; i++) {
            sched_yield(); /* between two decodes is where others would come in */
            a->failed = !step(&lease, greedy, &answer[i - 1], 1, &answer[i]);
        }
        a->failed = baton_lease_release(&lease, BATON_RESET, NULL) != BATON_OK || a->failed;
    }
    if (!a->failed && baton_llama_detokenize(a->m, answer, TOKENS, &text, &len, NULL) == BATON_OK)
        snprintf(a->text, sizeof a->text, "%s", text);
    baton_free(text);
    baton_free(prompt);
    llama_sampler_free(greedy);
    return NULL;
}

static void run_together(baton_llama *m, const struct answer *alone, bool only_by_hand) {
    struct answer a[THREADS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < THREADS; i++) {
            a[i] = (struct answer){.m = m, .prompt = prompts[i]};
            bool hand = only_by_hand || (i + round) % 2;
            assert_int_equal(pthread_create(&a[i].thread, NULL, hand ? by_hand : by_baton, &a[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(a[i].thread, NULL);
            assert_false(a[i].failed);
            assert_string_equal(a[i].text, alone[i].text);
        }
    }
}

static void run_alone(baton_llama *m, struct answer *alone) {
    for (int i = 0; i < THREADS; i++) {
        alone[i] = (struct answer){.m = m, .prompt = prompts[i]};
        by_baton(&alone[i]);
        assert_false(alone[i].failed);
        assert_true(alone[i].text[0]);
    }
}

static void probe_P01_decoding_by_hand_under_leases_answers_as_alone(void **state) {
    (void)state;
    baton_policy policy = BATON_POLICY;
    struct answer alone[THREADS];
    policy.when_full = BATON_WAIT;
    for (policy.contexts = 1; policy.contexts <= 2; policy.contexts++) {
        baton_llama *m = open_tiny(&policy);
        run_alone(m, alone);
        run_together(m, alone, policy.contexts == 1);
        run_together(m, alone, false);
        baton_llama_close(&m);
    }
}

static int heard;
static void hear(void *arg, baton_status status, const char *text) {
    (void)arg;
    heard += status == BATON_MISUSE && strstr(text, "baton_llama_context") != NULL;
}

BATON_NO_ANALYSIS static void probe_P03_the_pointer_is_to_be_had_inside_alone(void **state) {
    (void)state;
    baton_llama *m = open_tiny(NULL);
    baton_lease lease, copy, other = BATON_LEASE;
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_pool *pool;
    int engine;
    void *foreign = &engine, *c;
    heard = 0;
    baton_misuse_set(hear, NULL);
    assert_int_equal(baton_llama_acquire(m, NULL, &lease, NULL), BATON_OK);
    assert_null(baton_llama_context(&lease));
    assert_null(baton_llama_context(&other));
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &c, NULL), BATON_OK);
    assert_non_null(c);
    assert_ptr_equal(baton_llama_context(&lease), c);
    copy = lease;
    baton_lease_end(&lease);
    assert_null(baton_llama_context(&lease));
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    assert_null(baton_llama_context(&copy));
    params.contexts = &foreign;
    params.n = 1;
    assert_int_equal(baton_pool_open(&pool, &params, NULL), BATON_OK);
    assert_int_equal(baton_lease_acquire(pool, NULL, &other, NULL), BATON_OK);
    assert_int_equal(baton_lease_begin(&other, BATON_OP_USER, &c, NULL), BATON_OK);
    assert_ptr_equal(c, foreign);
    assert_null(baton_llama_context(&other)); /* another library's context is never called a llama_context */
    baton_lease_end(&other);
    assert_int_equal(baton_lease_release(&other, BATON_KEEP, NULL), BATON_OK);
    assert_int_equal(heard, 5);
    baton_misuse_set(NULL, NULL);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
    baton_llama_close(&m);
}

static void an_owner_threads_context_is_not_leased(void **state) {
    (void)state;
    baton_policy policy = BATON_POLICY;
    baton_lease lease;
    baton_error err;
    policy.owner = BATON_OWNER_THREAD;
    baton_llama *m = open_tiny(&policy);
    assert_int_equal(baton_llama_acquire(m, NULL, &lease, &err), BATON_UNSUPPORTED);
    assert_null(lease.pool);
    assert_non_null(strstr(err.text, "baton_llama_run"));
    baton_llama_close(&m);
}

/* A program of before: its own model, its own contexts. baton has loaded the backends. */
struct program {
    struct llama_model *model;
    struct llama_context_params params;
    struct llama_context *contexts[2];
};

static struct program make_program(int contexts) {
    char path[4096];
    struct program p = {.params = llama_context_default_params()};
    snprintf(path, sizeof path, "%s/baton-tiny-q8_0.gguf", getenv("BATON_MODEL_DIR"));
    p.model = llama_model_load_from_file(path, llama_model_default_params());
    assert_non_null(p.model);
    p.params.n_ctx = 256;
    p.params.n_threads = p.params.n_threads_batch = 1;
    p.params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    for (int i = 0; i < contexts; i++) {
        p.contexts[i] = llama_init_from_model(p.model, p.params);
        assert_non_null(p.contexts[i]);
    }
    return p;
}

static void adopted_contexts_answer_as_baton_s_own(void **state) {
    (void)state;
    baton_llama *own = open_tiny(NULL), *m;
    struct answer alone[THREADS];
    baton_policy policy = BATON_POLICY;
    baton_llama_adopt_params params = BATON_LLAMA_ADOPT_PARAMS;
    baton_llama_info info = {.size = sizeof info};
    baton_error err;
    run_alone(own, alone);
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    for (int taken = 0; taken < 2; taken++) {
        struct program p = make_program(2);
        params.taken = taken;
        if (baton_llama_adopt(&m, p.contexts, 2, &params, &err))
            fail_msg("%s", err.text);
        baton_llama_get_info(m, &info);
        assert_int_equal(info.contexts, 2);
        assert_int_equal(info.ctx, 256);
        assert_false(info.exact);
        run_together(m, alone, false);
        baton_llama_close(&m);
        for (int i = 0; i < 2 && !taken; i++) { /* the program's again, and empty */
            llama_token token = 1;
            baton_llama_assume_held(p.contexts[i]);
            assert_int_equal(HELD(llama_memory_seq_pos_max)(llama_get_memory(p.contexts[i]), 0), -1);
            assert_int_equal(HELD(llama_decode)(p.contexts[i], llama_batch_get_one(&token, 1)), 0);
            llama_free(p.contexts[i]);
        }
        llama_model_free(p.model);
    }
    baton_llama_close(&own);
}

static void what_cannot_be_adopted_stays_the_programs(void **state) {
    (void)state;
    baton_llama *own = open_tiny(NULL), *m;
    struct program a = make_program(1), b = make_program(1);
    baton_policy policy = BATON_POLICY;
    baton_llama_adopt_params params = BATON_LLAMA_ADOPT_PARAMS;
    baton_error err;
    params.taken = true;
    struct llama_context *twice[] = {a.contexts[0], a.contexts[0]}, *mixed[] = {a.contexts[0], b.contexts[0]};
    assert_int_equal(baton_llama_adopt(&m, twice, 2, &params, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "0 and 1"));
    assert_int_equal(baton_llama_adopt(&m, mixed, 2, &params, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "another model"));
    assert_int_equal(baton_llama_adopt(&m, mixed, 0, &params, &err), BATON_INVALID);
    assert_int_equal(baton_llama_adopt(&m, NULL, 1, &params, &err), BATON_MISUSE);
    policy.owner = BATON_OWNER_THREAD;
    params.policy = &policy;
    assert_int_equal(baton_llama_adopt(&m, mixed, 1, &params, &err), BATON_UNSUPPORTED);
    assert_null(m);
    params.policy = NULL;
    a.params.n_seq_max = 2;
    struct llama_context *two = llama_init_from_model(a.model, a.params);
    assert_int_equal(baton_llama_adopt(&m, &two, 1, &params, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "2 sequences"));
    llama_free(two);
    llama_free(a.contexts[0]);
    llama_free(b.contexts[0]);
    llama_model_free(a.model);
    llama_model_free(b.model);
    baton_llama_close(&own);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_decoding_by_hand_under_leases_answers_as_alone),
        cmocka_unit_test(probe_P03_the_pointer_is_to_be_had_inside_alone),
        cmocka_unit_test(an_owner_threads_context_is_not_leased),
        cmocka_unit_test(adopted_contexts_answer_as_baton_s_own),
        cmocka_unit_test(what_cannot_be_adopted_stays_the_programs),
    };
    return bt_test_run(tests, argc, argv);
}
