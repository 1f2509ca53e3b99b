/* The public API over the fake native. */
#include "api_matrix.h"

#include <math.h>
#include <poll.h>
#include <stdatomic.h>

#include "fake_left.h"

static void an_answer_is_the_same_under_every_policy(void **state) {
    (void)state;
    the_policy_never_changes_an_answer("fake:len=60");
}

static void text_and_tokens(void **state) {
    (void)state;
    text_survives_its_tokens("fake:");
}

static baton_llama_ask endless(void) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    ask.prompt = "endless";
    return ask;
}

static void *finish_elsewhere(void *arg) {
    baton_stream *s = arg;
    baton_delta d;
    baton_outcome o;
    while (baton_stream_next(s, -1, &d) == BATON_OK)
        ;
    (void)baton_stream_close(&s, &o);
    return (void *)(uintptr_t)(o.status == BATON_OK ? o.answer_tokens : 0);
}

static void probe_P12_a_stream_finishes_on_another_thread_than_it_began_on(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=60", &policy, 256);
        baton_llama_ask ask = endless();
        baton_stream *s;
        baton_delta d;
        pthread_t other;
        void *tokens;
        ask.max_tokens = 40;
        assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
        assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
        assert_int_equal(pthread_create(&other, NULL, finish_elsewhere, s), 0);
        pthread_join(other, &tokens);
        assert_int_equal((uintptr_t)tokens, 40);
        baton_llama_close(&m);
    }
}

static void probe_P10_P15_a_thousand_streams_dropped_at_any_moment_lose_no_slot(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=100000", &policy, 65536);
        baton_llama_ask ask = endless();
        baton_delta d;
        for (int i = 0; i < 200; i++) {
            baton_stream *s;
            assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
            for (int k = 0; k < i % 4; k++)
                assert_int_equal(baton_stream_next(s, k == 1 ? 0 : -1, &d) & ~BATON_AGAIN, BATON_OK);
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
        }
        baton_result r;
        ask.max_tokens = 3;
        assert_int_equal(baton_llama_generate(m, &ask, &r, NULL), BATON_OK);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

static void *ask_endless(void *arg) {
    baton_llama_ask ask = endless();
    baton_request request = BATON_REQUEST;
    baton_result r;
    request.id = 77;
    ask.request = &request;
    baton_status status = baton_llama_generate(arg, &ask, &r, NULL);
    status = r.outcome.finish == BATON_FINISH_NONE && r.outcome.status == status ? status : BATON_MISUSE;
    baton_result_free(&r);
    return (void *)(uintptr_t)status;
}

static void probe_P20_cancel_names_a_request(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=1000000,step_us=200", &policy, 65536);
        pthread_t thread;
        void *status;
        assert_int_equal(pthread_create(&thread, NULL, ask_endless, m), 0);
        assert_false(baton_llama_cancel(m, 78));
        while (!baton_llama_cancel(m, 77))
            ;
        pthread_join(thread, &status);
        assert_int_equal((uintptr_t)status, BATON_CANCELLED);
        baton_llama_close(&m);
    }
}

static void probe_P23_a_run_timeout_is_no_cancel_and_keeps_the_text(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=1000000,step_us=1000", &policy, 65536);
        baton_llama_ask ask = endless();
        baton_request request = BATON_REQUEST;
        baton_result r;
        request.run_ms = 60;
        ask.request = &request;
        assert_int_equal(baton_llama_generate(m, &ask, &r, NULL), BATON_RUN_TIMEOUT);
        assert_int_equal(r.outcome.finish, BATON_FINISH_NONE);
        assert_true(r.len > 0);
        assert_true(r.outcome.run_ns > 0);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

static void a_stream_s_descriptor_tells_an_event_loop(void **state) {
    (void)state;
    baton_policy policy = api_policy(3);
    baton_llama *m = api_open("fake:len=60,step_us=300", &policy, 256);
    baton_llama_ask ask = endless();
    baton_stream *s;
    baton_delta d;
    baton_status status = BATON_OK;
    size_t len = 0;
    ask.max_tokens = 30;
    assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
    struct pollfd fd = {baton_stream_fd(s), POLLIN, 0};
    assert_true(fd.fd >= 0);
    while (status != BATON_END) {
        assert_int_equal(poll(&fd, 1, 10000), 1);
        status = baton_stream_next(s, 0, &d);
        len += d.len;
    }
    assert_true(len > 0);
    assert_int_equal(poll(&fd, 1, 0), 1); /* and stays so */
    assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
    baton_llama_close(&m);
}

static void closing_a_model_ends_its_streams(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=100000", &policy, 65536);
        baton_llama_ask ask = endless();
        baton_stream *s;
        baton_delta d;
        baton_outcome o;
        assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
        assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
        baton_llama_close(&m);
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            ;
        assert_int_not_equal(baton_stream_close(&s, &o), BATON_OK);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
    }
}

static void visit(void *arg, struct llama_context *context) {
    (void)context;
    ++*(_Atomic int *)arg;
}

static void code_of_the_program_s_runs_where_the_context_is(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=60", &policy, 256);
        _Atomic int runs = 0;
        bool there = policy.owner != BATON_OWNER_PROCESS; /* in this process */
        for (int i = 0; i < 10; i++)
            assert_int_equal(baton_llama_run(m, NULL, visit, &runs, NULL), there ? BATON_OK : BATON_UNSUPPORTED);
        assert_int_equal(runs, there ? 10 : 0);
        baton_llama_close(&m);
    }
}

struct inner {
    baton_llama *m;
    baton_status status;
};
static void visit_again(void *arg, struct llama_context *context) {
    struct inner *i = arg;
    (void)context;
    _Atomic int runs = 0;
    i->status = baton_llama_run(i->m, NULL, visit, &runs, NULL);
}

static void probe_P04_a_visit_that_calls_back_is_reentrant(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p += 2) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=60", &policy, 256);
        struct inner i = {m, BATON_OK};
        assert_int_equal(baton_llama_run(m, NULL, visit_again, &i, NULL), BATON_OK);
        if (p != 4) /* with two contexts a free one is granted to whoever asks */
            assert_int_equal(i.status, BATON_REENTRANT);
        baton_llama_close(&m);
    }
}

static _Atomic int misuses;
static void on_misuse(void *arg, baton_status status, const char *text) {
    (void)arg;
    (void)text;
    if (baton_status_family_of(status) == BATON_FAMILY_BUG)
        misuses++;
}

static void probe_P04_who_would_wait_for_its_own_stream_is_told_and_so_is_the_handler(void **state) {
    (void)state;
    baton_policy policy = api_policy(0);
    baton_llama *m = api_open("fake:len=1000", &policy, 65536);
    baton_llama_ask ask = endless();
    struct inner i = {m, BATON_OK};
    baton_stream *s;
    baton_delta d;
    baton_result r;
    misuses = 0;
    baton_misuse_set(on_misuse, NULL);
    assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    assert_int_equal(misuses, 0);
    assert_int_equal(baton_llama_generate(m, &ask, &r, NULL), BATON_WOULD_DEADLOCK);
    baton_result_free(&r);
    assert_int_equal(misuses, 1);
    assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
    assert_int_equal(baton_llama_run(m, NULL, visit_again, &i, NULL), BATON_OK);
    assert_int_equal(i.status, BATON_REENTRANT);
    assert_int_equal(misuses, 2);
    baton_misuse_set(NULL, NULL);
    baton_llama_close(&m);
}

static void what_cannot_be_is_refused_at_open_and_misuse_is_told(void **state) {
    (void)state;
    static const struct {
        int contexts, sequences, queue, owner;
        baton_status status;
        const char *word;
    } bad[] = {
        {0, 1, 0, BATON_OWNER_CALLER, BATON_INVALID, "contexts"},
        {65, 1, 0, BATON_OWNER_CALLER, BATON_INVALID, "64"},
        {1, 0, 0, BATON_OWNER_THREAD, BATON_INVALID, "sequences"},
        {1, 257, 0, BATON_OWNER_THREAD, BATON_INVALID, "256"},
        {64, 256, 0, BATON_OWNER_THREAD, BATON_INVALID, "slots"},
        {1, 2, 0, BATON_OWNER_CALLER, BATON_INVALID, "BATON_OWNER_THREAD"},
        {1, 1, -1, BATON_OWNER_CALLER, BATON_INVALID, "queue"},
        {1, 257, 0, BATON_OWNER_PROCESS, BATON_INVALID, "256"},
    };
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m = (baton_llama *)&params;
    baton_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        baton_policy policy = BATON_POLICY;
        policy.contexts = bad[i].contexts;
        policy.sequences = bad[i].sequences;
        policy.queue = bad[i].queue;
        policy.owner = (baton_owner)bad[i].owner;
        params.policy = &policy;
        assert_int_equal(baton_llama_open(&m, "fake:", &params, &err), bad[i].status);
        assert_non_null(strstr(err.text, bad[i].word));
        assert_null(m);
    }
    misuses = 0;
    baton_misuse_set(on_misuse, NULL);
    baton_policy zero = {0};
    params.policy = &zero;
    assert_int_equal(baton_llama_open(&m, "fake:", &params, &err), BATON_MISUSE);
    m = api_open("fake:", NULL, 256);
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_stream *s;
    assert_int_equal(baton_llama_stream(m, &ask, &s, &err), BATON_MISUSE); /* no prompt */
    ask.size = 0;
    assert_int_equal(baton_llama_stream(m, &ask, &s, &err), BATON_MISUSE);
    assert_int_equal(misuses, 3);
    baton_misuse_set(NULL, NULL);
    baton_llama_close(&m);
    baton_llama_close(&m);
}

static void numbers_that_are_none_are_refused_and_hurt_nobody(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=60", &policy, 256);
        baton_llama_ask ask = endless();
        baton_sampling sampling = BATON_SAMPLING;
        baton_logit_bias bias = {'x', NAN};
        baton_result r;
        baton_error err;
        ask.sampling = &sampling;
        ask.max_tokens = 5;
        sampling.temperature = INFINITY;
        assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, "temperature"));
        baton_result_free(&r);
        sampling.temperature = 0;
        sampling.bias = &bias;
        sampling.n_bias = 1;
        assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_INVALID);
        baton_result_free(&r);
        bias.bias = -INFINITY;
        assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_OK);
        assert_null(strchr(r.text, 'x'));
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

/* What the library writes into without knowing its size: examples/python/baton_ctypes.py mirrors these by hand. */
_Static_assert(sizeof(baton_outcome) == 328, "mend the Python example's Outcome, too");
_Static_assert(sizeof(baton_result) == 344, "mend the Python example's Result, too");
_Static_assert(sizeof(baton_delta) == 24, "mend the Python example's Delta, too");
_Static_assert(sizeof(baton_error) == 516, "mend the Python example's Error, too");

static void a_program_of_an_older_header_keeps_its_presets(void **state) {
    (void)state;
    struct {
        size_t size;
        const char *chat_template;
        int ctx;
    } old = {sizeof old, NULL, 512};
    baton_llama *m;
    baton_llama_info info = {.size = sizeof info};
    assert_int_equal(baton_llama_open(&m, "fake:", (const baton_llama_params *)&old, NULL), BATON_OK);
    baton_llama_get_info(m, &info);
    assert_int_equal(info.ctx, 512);
    assert_true(info.exact);
    baton_llama_close(&m);
}

#define API_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        API_TEST(an_answer_is_the_same_under_every_policy),
        API_TEST(text_and_tokens),
        API_TEST(probe_P12_a_stream_finishes_on_another_thread_than_it_began_on),
        API_TEST(probe_P10_P15_a_thousand_streams_dropped_at_any_moment_lose_no_slot),
        API_TEST(probe_P20_cancel_names_a_request),
        API_TEST(probe_P23_a_run_timeout_is_no_cancel_and_keeps_the_text),
        API_TEST(a_stream_s_descriptor_tells_an_event_loop),
        API_TEST(closing_a_model_ends_its_streams),
        API_TEST(code_of_the_program_s_runs_where_the_context_is),
        API_TEST(probe_P04_a_visit_that_calls_back_is_reentrant),
        API_TEST(probe_P04_who_would_wait_for_its_own_stream_is_told_and_so_is_the_handler),
        API_TEST(what_cannot_be_is_refused_at_open_and_misuse_is_told),
        API_TEST(numbers_that_are_none_are_refused_and_hurt_nobody),
        API_TEST(a_program_of_an_older_header_keeps_its_presets),
    };
    return bt_test_run(tests, argc, argv);
}
