/* Probes through the public API, on any model: the fake runs them under the sanitizers, libllama for real. Nothing here
 * depends on what the model answers. */
#ifndef BT_API_PROBES_H
#define BT_API_PROBES_H

#include <math.h>
#include <stdatomic.h>

#include "api_bodies.h"

enum { PROBE_CTX = 4096 };

/* An answer without end: the tokens that would end it are forbidden. */
struct endless {
    baton_llama_ask ask;
    baton_request request;
    baton_sampling sampling;
    baton_logit_bias bias[4];
};
static inline void endless_init(struct endless *e, const baton_llama *m, const char *model) {
    static const char *const ends[2][2] = {{"<|im_end|>", "<|endoftext|>"}, {"<|end|>", "<|eos|>"}};
    *e = (struct endless){BATON_LLAMA_ASK, BATON_REQUEST, BATON_SAMPLING, {{0, 0}}};
    for (int i = 0; i < 2; i++) {
        int32_t *tokens;
        size_t n;
        assert_int_equal(
            baton_llama_tokenize(m, ends[model != NULL][i], strlen(ends[model != NULL][i]), true, &tokens, &n, NULL),
            BATON_OK);
        for (size_t k = 0; k < n && e->sampling.n_bias < 4; k++)
            e->bias[e->sampling.n_bias++] = (baton_logit_bias){tokens[k], -INFINITY};
        baton_free(tokens);
    }
    e->ask.prompt = "Once upon a time";
    e->sampling.bias = e->bias;
    e->ask.sampling = &e->sampling;
    e->ask.request = &e->request;
}

static inline baton_stream *endless_stream(struct endless *e, baton_llama *m) {
    baton_stream *s;
    baton_delta d;
    assert_int_equal(baton_llama_stream(m, &e->ask, &s, NULL), BATON_OK);
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    return s;
}

static inline void still_answers(baton_llama *m) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_result r;
    baton_error err;
    ask.prompt = "Once";
    ask.max_tokens = 3;
    if (baton_llama_generate(m, &ask, &r, &err))
        fail_msg("%s", err.text);
    baton_result_free(&r);
}

/* One question asked by a thread of its own. */
struct teller {
    baton_llama *m;
    baton_llama_ask ask;
    pthread_t thread;
    baton_status status;
    char text[8192];
    char error[BATON_ERROR_TEXT_MAX];
};
static inline void *tell(void *arg) {
    struct teller *t = arg;
    baton_result r;
    baton_error err = {BATON_OK, ""};
    t->status = baton_llama_generate(t->m, &t->ask, &r, &err);
    snprintf(t->text, sizeof t->text, "%s", r.text);
    snprintf(t->error, sizeof t->error, "%s", err.text);
    baton_result_free(&r);
    return NULL;
}
static inline void tell_start(struct teller *t, baton_llama *m, const baton_llama_ask *ask) {
    *t = (struct teller){.m = m, .ask = *ask};
    assert_int_equal(pthread_create(&t->thread, NULL, tell, t), 0);
}
static inline void probe_P01(const char *model) {
    baton_policy policy = BATON_POLICY;
    baton_llama *m = api_open(model, &policy, PROBE_CTX);
    struct endless e;
    struct teller second;
    baton_delta d;
    endless_init(&e, m, model);
    baton_stream *first = endless_stream(&e, m);
    tell_start(&second, m, &e.ask);
    pthread_join(second.thread, NULL);
    assert_int_equal(second.status, BATON_BUSY);
    assert_non_null(strstr(second.error, "thread"));
    assert_non_null(strstr(second.error, " ms"));
    assert_string_equal(second.text, "");
    assert_int_equal(baton_stream_next(first, -1, &d), BATON_OK); /* undisturbed */
    assert_int_equal(baton_stream_close(&first, NULL), BATON_CANCELLED);
    still_answers(m);
    baton_llama_close(&m);
}

/* Several wait for one context: all complete, each with what it says alone. */
static inline void probe_P02(const char *model) {
    enum { N = 4 };
    baton_policy policy = BATON_POLICY;
    policy.when_full = BATON_WAIT;
    baton_llama *m = api_open(model, &policy, PROBE_CTX);
    static struct teller alone[N], together[N];
    char prompts[N][48];
    for (int round = 0; round < 2; round++) {
        struct teller *t = round ? together : alone;
        for (int i = 0; i < N; i++) {
            baton_llama_ask ask = BATON_LLAMA_ASK;
            snprintf(prompts[i], sizeof prompts[i], "The runner number %d takes", i);
            ask.prompt = prompts[i];
            ask.max_tokens = 24;
            tell_start(&t[i], m, &ask);
            if (!round)
                pthread_join(t[i].thread, NULL);
        }
        for (int i = 0; i < N; i++) {
            if (round)
                pthread_join(t[i].thread, NULL);
            assert_int_equal(t[i].status, BATON_OK);
            assert_string_equal(t[i].text, alone[i].text);
        }
    }
    baton_llama_close(&m);
}

static inline void no_more(void *arg, struct llama_context *context) {
    (void)context;
    ++*(int *)arg;
}
struct reentry {
    baton_llama *own, *other;
    baton_status into_own, into_other;
    int ran;
};
static inline void reenter(void *arg, struct llama_context *context) {
    struct reentry *r = arg;
    (void)context;
    r->into_own = baton_llama_run(r->own, NULL, no_more, &r->ran, NULL);
    r->into_other = baton_llama_run(r->other, NULL, no_more, &r->ran, NULL);
}
static inline void probe_P04(const char *model) {
    for (int owner = 0; owner < 2; owner++) {
        baton_policy policy = BATON_POLICY;
        policy.when_full = BATON_WAIT;
        policy.owner = owner ? BATON_OWNER_THREAD : BATON_OWNER_CALLER;
        struct reentry r = {api_open(model, &policy, 512), api_open(model, &policy, 512), BATON_OK, BATON_BUSY, 0};
        assert_int_equal(baton_llama_run(r.own, NULL, reenter, &r, NULL), BATON_OK);
        assert_int_equal(r.into_own, BATON_REENTRANT);
        assert_int_equal(r.into_other, BATON_OK);
        assert_int_equal(r.ran, 1);
        still_answers(r.own);
        baton_llama_close(&r.own);
        baton_llama_close(&r.other);
    }
}

/* Whatever way a request ends, its slot is there for the next. */
static inline void probe_P05(const char *model) {
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        policy.queue_ms = 20000; /* a slot that is lost fails this test instead of hanging it */
        baton_llama *m = api_open(model, &policy, 512);
        struct endless e;
        struct teller t;
        baton_delta d;
        baton_stream *s;
        endless_init(&e, m, model);
        int slots = policy.contexts * policy.sequences;
        for (int i = 0; i <= slots; i++) { /* more often than there are slots */
            char *huge = calloc(1, 20001);
            memset(huge, 'x', 20000);
            struct endless too_long = e, timed = e, cancelled = e;
            too_long.ask.prompt = huge;
            tell_start(&t, m, &too_long.ask);
            pthread_join(t.thread, NULL);
            assert_int_equal(t.status, BATON_TOO_LONG);
            free(huge);
            timed.request.run_ms = 5;
            timed.ask.request = &timed.request;
            tell_start(&t, m, &timed.ask);
            pthread_join(t.thread, NULL);
            assert_true(t.status == BATON_RUN_TIMEOUT || t.status == BATON_OK);
            cancelled.request.id = 1000 + (uint64_t)i;
            cancelled.ask.request = &cancelled.request;
            tell_start(&t, m, &cancelled.ask);
            while (!baton_llama_cancel(m, 1000 + (uint64_t)i) && counts_of(m).accepted < 3 * (uint64_t)(i + 1))
                ;
            pthread_join(t.thread, NULL);
            s = endless_stream(&e, m);
            assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
            assert_int_not_equal(baton_stream_close(&s, NULL), BATON_BUSY);
        }
        still_answers(m);
        baton_llama_close(&m);
    }
}

/* Two meet inside, or one is alone inside: what is measured is real overlap. */
struct meeting {
    baton_llama *m;
    pthread_t thread;
    _Atomic int *inside, *most;
    int wanted; /* wait inside until so many are */
};
static inline void meet(void *arg, struct llama_context *context) {
    struct meeting *t = arg;
    (void)context;
    int now = atomic_fetch_add(t->inside, 1) + 1, seen = atomic_load(t->most);
    while (seen < now && !atomic_compare_exchange_weak(t->most, &seen, now))
        ;
    while (atomic_load(t->most) < t->wanted)
        ;
    atomic_fetch_sub(t->inside, 1);
}
static inline void *meet_thread(void *arg) {
    struct meeting *t = arg;
    for (int i = 0; i < (t->wanted > 1 ? 1 : 200); i++)
        if (baton_llama_run(t->m, NULL, meet, t, NULL))
            return t;
    return NULL;
}
static inline int meet_all(baton_llama *a, baton_llama *b, int wanted) {
    _Atomic int inside = 0, most = 0;
    struct meeting t[2] = {{a, 0, &inside, &most, wanted}, {b, 0, &inside, &most, wanted}};
    void *failed;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i].thread, NULL, meet_thread, &t[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i].thread, &failed);
        assert_null(failed);
    }
    return most;
}
static inline void probe_P07(const char *model) {
    for (int owner = 0; owner < 2; owner++) {
        baton_policy policy = BATON_POLICY;
        policy.when_full = BATON_WAIT;
        policy.owner = owner ? BATON_OWNER_THREAD : BATON_OWNER_CALLER;
        baton_llama *a = api_open(model, &policy, 512), *b = api_open(model, &policy, 512);
        assert_int_equal(meet_all(a, b, 2), 2); /* hangs if one waits for the other */
        assert_int_equal(meet_all(a, a, 1), 1);
        baton_llama_close(&a);
        baton_llama_close(&b);
    }
}

static inline void probe_P09(const char *model) {
    for (int owner = 0; owner < 2; owner++) {
        baton_policy policy = BATON_POLICY;
        policy.owner = owner ? BATON_OWNER_THREAD : BATON_OWNER_CALLER;
        policy.when_full = BATON_WAIT;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        baton_stream *a, *b;
        baton_delta d;
        endless_init(&e, m, model);
        a = endless_stream(&e, m);
        baton_status second = baton_llama_stream(m, &e.ask, &b, NULL);
        assert_int_equal(second, owner ? BATON_OK : BATON_WOULD_DEADLOCK);
        if (owner) /* it waits in the queue, and next says so without blocking */
            assert_int_equal(baton_stream_next(b, 0, &d), BATON_AGAIN);
        assert_int_equal(baton_stream_close(&a, NULL), BATON_CANCELLED);
        if (owner) {
            assert_int_equal(baton_stream_next(b, -1, &d), BATON_OK);
            assert_int_equal(baton_stream_close(&b, NULL), BATON_CANCELLED);
        }
        still_answers(m);
        baton_llama_close(&m);
    }
}

static inline void probe_P10(const char *model) {
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        policy.queue_ms = 20000;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        endless_init(&e, m, model);
        for (int i = 0; i < 20; i++) {
            baton_stream *s;
            assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
        }
        still_answers(m);
        baton_llama_close(&m);
    }
}

static inline void probe_P24(const char *model) {
    uint64_t seed = bt_test_seed();
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 512);
        int ends[2] = {0, 0};
        for (int i = 0; i < 40; i++) {
            struct teller t;
            baton_request request = BATON_REQUEST;
            baton_llama_ask ask = BATON_LLAMA_ASK;
            request.id = 1 + (uint64_t)i;
            ask.prompt = "Once";
            ask.max_tokens = 4;
            ask.request = &request;
            tell_start(&t, m, &ask);
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            for (volatile uint64_t spin = seed >> 44; spin > 0; spin--)
                ;
            baton_llama_cancel(m, request.id);
            pthread_join(t.thread, NULL);
            assert_true(t.status == BATON_OK || t.status == BATON_CANCELLED);
            ends[t.status == BATON_OK]++;
        }
        baton_counts c = counts_of(m);
        assert_int_equal(c.completed, ends[1]);
        assert_int_equal(c.cancelled, ends[0]);
        assert_int_equal(c.running + c.queued, 0);
        baton_llama_close(&m);
    }
}

static inline void probe_P30(const char *model) {
    for (int owner = 0; owner < 2; owner++) {
        baton_policy policy = BATON_POLICY;
        policy.owner = owner ? BATON_OWNER_THREAD : BATON_OWNER_CALLER;
        policy.when_full = BATON_WAIT;
        policy.queue = 2;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        struct teller waiting[2], third;
        baton_llama_ask ask = BATON_LLAMA_ASK;
        ask.prompt = "Once";
        ask.max_tokens = 3;
        endless_init(&e, m, model);
        baton_stream *holder = endless_stream(&e, m);
        for (int i = 0; i < 2; i++)
            tell_start(&waiting[i], m, &ask);
        while (counts_of(m).queued < 2)
            ;
        tell_start(&third, m, &ask);
        pthread_join(third.thread, NULL);
        assert_int_equal(third.status, BATON_QUEUE_FULL);
        (void)baton_stream_close(&holder, NULL);
        for (int i = 0; i < 2; i++) {
            pthread_join(waiting[i].thread, NULL);
            assert_int_equal(waiting[i].status, BATON_OK);
        }
        baton_llama_close(&m);
    }
}

#define API_PROBES(X)                                                                                                  \
    X(P01, two_threads_one_context_refuse)                                                                             \
    X(P02, two_threads_one_context_wait)                                                                               \
    X(P04, a_callback_into_its_own_context)                                                                            \
    X(P05, every_way_out_releases)                                                                                     \
    X(P07, models_never_wait_for_each_other)                                                                           \
    X(P09, two_streams_on_one_thread)                                                                                  \
    X(P10, dropped_before_the_first_piece)                                                                             \
    X(P24, cancel_racing_completion)                                                                                   \
    X(P30, the_queue_is_bounded)

#endif
