/* The overlay in a program that runs: four threads, one raw llama_context, a guard beside it. Built twice, with the raw
 * names and with the strict ones, which must be the same functions. A session is used between enter and leave. */
#include "baton/overlay/llama.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "harness.h"
#include "native/llama_internal.h"

#ifdef BATON_OVERLAY_STRICT
#define UNDER_LEASE(name) baton_held_##name
#else
#define UNDER_LEASE(name) name
#endif

enum { THREADS = 4, TOKENS = 12, ANSWER = 1 };

struct session {
    baton_guard guard;
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    struct llama_sampler *greedy;
};

struct caller {
    struct session *session;
    const char *prompt;
    llama_token answer[TOKENS];
    unsigned refused;
    bool failed;
};

static bool generate(struct session *s, const char *prompt, llama_token *answer) BATON_REQUIRES(s->ctx) {
    llama_token tokens[64];
    UNDER_LEASE(llama_memory_clear)(llama_get_memory(s->ctx), true);
    int32_t n = llama_tokenize(s->vocab, prompt, (int32_t)strlen(prompt), tokens, 64, true, true);
    struct llama_batch batch = llama_batch_get_one(tokens, n);
    for (int i = 0; i < TOKENS; i++) {
        if (n < 1 || UNDER_LEASE(llama_decode)(s->ctx, batch) != 0)
            return false;
        answer[i] = UNDER_LEASE(llama_sampler_sample)(s->greedy, s->ctx, -1);
        batch = llama_batch_get_one(&answer[i], 1);
        sched_yield(); /* between a decode and the next one is where others would come in */
    }
    return true;
}

static void *call(void *arg) {
    struct caller *c = arg;
    struct session *s = c->session;
    while (baton_llama_enter(&s->guard, s->ctx, ANSWER)) {
        c->refused++;
        sched_yield();
    }
    c->failed = !generate(s, c->prompt, c->answer);
    c->failed = baton_llama_leave(&s->guard, s->ctx) != 0 || c->failed;
    return NULL;
}

static void probe_P01_guarded_callers_answer_as_alone(void **state) {
    (void)state;
    static const char *const prompts[THREADS] = {"one two three", "The quick brown fox", "once upon a time", "Hello"};
    char path[4096];
    assert_int_equal(bt_llama_start(NULL), BATON_OK);
    snprintf(path, sizeof path, "%s/baton-tiny-q8_0.gguf", getenv("BATON_MODEL_DIR"));
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 256;
    params.n_threads = params.n_threads_batch = 1;
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    assert_non_null(model);
    struct session s = {.ctx = llama_init_from_model(model, params),
                        .vocab = llama_model_get_vocab(model),
                        .greedy = llama_sampler_init_greedy()};
    assert_non_null(s.ctx);
    struct caller alone[THREADS], together[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        alone[i] = (struct caller){.session = &s, .prompt = prompts[i]};
        together[i] = alone[i];
        call(&alone[i]);
        assert_false(alone[i].failed);
        assert_int_equal(alone[i].refused, 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call, &together[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_false(together[i].failed);
        assert_memory_equal(together[i].answer, alone[i].answer, sizeof alone[i].answer);
    }
    assert_memory_not_equal(alone[0].answer, alone[1].answer, sizeof alone[0].answer);
    assert_int_equal(baton_guard_read(&s.guard), 0);
    llama_sampler_free(s.greedy);
    llama_free(s.ctx);
    llama_model_free(model);
}

static void the_guard_refuses_the_second_one(void **state) {
    (void)state;
    struct session s = {.ctx = NULL}; /* never reached */
    assert_int_equal(baton_llama_enter(&s.guard, s.ctx, ANSWER), 0);
    baton_guard_word who = baton_llama_enter(&s.guard, s.ctx, ANSWER);
    assert_int_equal(baton_guard_tid(who), baton_guard_self());
    assert_int_equal(baton_llama_leave(&s.guard, s.ctx), 0);
    assert_int_equal(baton_llama_leave(&s.guard, s.ctx), BATON_GUARD_NOBODY);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_guarded_callers_answer_as_alone),
        cmocka_unit_test(the_guard_refuses_the_second_one),
    };
    return bt_test_run(tests, argc, argv);
}
