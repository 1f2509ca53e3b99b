/* Hand-over, cancel, times and close over any model, by the public API alone: the same bodies on the fake and on
 * libllama. */
#ifndef BT_API_HANDED_H
#define BT_API_HANDED_H

#include <sched.h>

#include "api_probes.h"

struct handed {
    baton_llama *m;
    baton_stream *s;
    baton_lease *parcel;
    char *text;
    size_t len, size;
    int pieces;
    baton_status status;
};

static inline void *handed_read(void *arg) {
    struct handed *h = arg;
    baton_delta d;
    for (h->status = BATON_OK; h->pieces-- != 0 && (h->status = baton_stream_next(h->s, -1, &d)) == BATON_OK;) {
        assert_true(h->len + d.len < h->size);
        memcpy(h->text + h->len, d.text, d.len + 1);
        h->len += d.len;
    }
    return NULL;
}
static inline void *handed_close(void *arg) {
    struct handed *h = arg;
    h->status = baton_stream_close(&h->s, NULL);
    baton_llama_close(&h->m);
    return NULL;
}
static inline void *handed_take(void *arg) {
    struct handed *h = arg;
    baton_lease mine = BATON_LEASE;
    h->status = baton_lease_take(h->parcel, &mine, NULL);
    if (!h->status)
        h->status = baton_lease_release(&mine, BATON_RESET, NULL);
    return NULL;
}
static inline void elsewhere(void *(*what)(void *arg), struct handed *h) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, what, h), 0);
    pthread_join(thread, NULL);
}

/* Made here, read half there and half here, closed on a third thread. With the owner on the caller's thread a lease
 * ends with the thread that used it last, so the reader stays until it has handed on by ending its part. */
static inline void probe_P03(const char *model) {
    for (int p = 2; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        char text[8192] = "";
        struct handed h = {.m = api_open(model, &policy, 512), .text = text, .size = sizeof text, .pieces = 5};
        struct endless e;
        baton_result r;
        endless_init(&e, h.m, model);
        e.ask.max_tokens = 50;
        assert_int_equal(baton_llama_generate(h.m, &e.ask, &r, NULL), BATON_OK);
        assert_int_equal(baton_llama_stream(h.m, &e.ask, &h.s, NULL), BATON_OK);
        elsewhere(handed_read, &h);
        h.pieces = -1;
        handed_read(&h);
        assert_int_equal(h.status, BATON_END);
        assert_string_equal(text, r.text);
        elsewhere(handed_close, &h);
        assert_int_equal(h.status, BATON_OK);
        assert_null(h.m);
        baton_result_free(&r);
    }
    baton_lease lease, old, parcel = BATON_LEASE;
    struct handed h = {.m = api_open(model, NULL, 512), .parcel = &parcel};
    baton_error err;
    assert_int_equal(baton_llama_acquire(h.m, NULL, &lease, NULL), BATON_OK);
    old = lease;
    assert_int_equal(baton_lease_give(&lease, &parcel, NULL), BATON_OK);
    elsewhere(handed_take, &h);
    assert_int_equal(h.status, BATON_OK);
    assert_int_equal(baton_lease_release(&old, BATON_RESET, &err), BATON_STALE);
    still_answers(h.m);
    baton_llama_close(&h.m);
}

/* An owner of each kind. */
static const int handed_policies[] = {0, 2, 5};

struct named {
    baton_llama *m;
    struct endless e;
    pthread_t thread;
    baton_status status;
    baton_result r;
};
static inline void *named_ask(void *arg) {
    struct named *n = arg;
    n->status = baton_llama_generate(n->m, &n->e.ask, &n->r, NULL);
    return NULL;
}
static inline void named_start(struct named *n, baton_llama *m, const char *model, uint64_t id, int max_tokens) {
    memset(n, 0, sizeof *n);
    n->m = m;
    endless_init(&n->e, m, model);
    n->e.sampling.bias = n->e.bias;
    n->e.ask.sampling = &n->e.sampling;
    n->e.ask.request = &n->e.request;
    n->e.ask.max_tokens = max_tokens;
    n->e.request.id = id;
    assert_int_equal(pthread_create(&n->thread, NULL, named_ask, n), 0);
}

/* Who does not wait is refused, and has nothing to cancel: what it did touches nobody's. */
static inline void handed_refuse(baton_llama *m, const struct endless *e) {
    struct endless refused = *e;
    baton_result r;
    refused.sampling.bias = refused.bias;
    refused.ask.sampling = &refused.sampling;
    refused.ask.request = &refused.request;
    refused.request.when_full = BATON_REFUSE;
    refused.request.id = 74;
    assert_int_equal(baton_llama_generate(m, &refused.ask, &r, NULL), BATON_BUSY);
    baton_result_free(&r);
    assert_false(baton_llama_cancel(m, 74));
    assert_int_equal(counts_of(m).running, 1);
}

/* One runs, one waits. Whichever is cancelled, the other one never notices. (P11: who waits comes in when the native
 * call of the cancelled one has returned, and gets what it gets alone.) */
static inline void probe_P20(const char *model) {
    static struct named running, waiting;
    for (int p = 0; p < 3; p++) {
        baton_policy policy = api_policy(handed_policies[p]);
        policy.contexts = policy.sequences = 1;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        baton_result alone;
        endless_init(&e, m, model);
        e.ask.max_tokens = 30;
        assert_int_equal(baton_llama_generate(m, &e.ask, &alone, NULL), BATON_OK);
        named_start(&running, m, model, 71, -1);
        while (counts_of(m).running == 0)
            sched_yield();
        named_start(&waiting, m, model, 72, 30);
        while (counts_of(m).queued == 0)
            sched_yield();
        assert_true(baton_llama_cancel(m, 72));
        pthread_join(waiting.thread, NULL);
        assert_int_equal(waiting.status, BATON_CANCELLED);
        assert_string_equal(waiting.r.text, "");
        baton_result_free(&waiting.r);
        assert_int_equal(counts_of(m).running, 1);
        handed_refuse(m, &e);
        named_start(&waiting, m, model, 73, 30);
        while (counts_of(m).queued == 0)
            sched_yield();
        assert_true(baton_llama_cancel(m, 71));
        pthread_join(running.thread, NULL);
        pthread_join(waiting.thread, NULL);
        assert_int_equal(running.status, BATON_CANCELLED);
        assert_int_equal(running.r.outcome.finish, BATON_FINISH_NONE);
        assert_int_equal(waiting.status, BATON_OK);
        assert_string_equal(waiting.r.text, alone.text);
        baton_result_free(&running.r);
        baton_result_free(&waiting.r);
        baton_result_free(&alone);
        baton_llama_close(&m);
    }
}

static inline void probe_P23(const char *model) {
    static struct named running;
    for (int p = 0; p < 3; p++) {
        baton_policy policy = api_policy(handed_policies[p]);
        policy.contexts = policy.sequences = 1;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        baton_result r;
        baton_error err;
        endless_init(&e, m, model);
        e.request.run_ms = 100;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, &err), BATON_RUN_TIMEOUT);
        assert_int_equal(r.outcome.finish, BATON_FINISH_NONE);
        baton_result_free(&r);
        named_start(&running, m, model, 71, -1);
        while (counts_of(m).running == 0)
            sched_yield();
        e.request.run_ms = -1;
        e.request.queue_ms = 20;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, &err), BATON_QUEUE_TIMEOUT);
        assert_string_equal(r.text, "");
        baton_result_free(&r);
        assert_true(baton_llama_cancel(m, 71));
        pthread_join(running.thread, NULL);
        assert_int_equal(running.status, BATON_CANCELLED);
        baton_result_free(&running.r);
        baton_llama_close(&m);
    }
}

static inline bool handed_close_it(void *arg, const baton_delta *d) {
    (void)d;
    baton_llama_close(arg);
    return true;
}

/* One runs, two wait, and the model is closed by a thread that is none of them; then by one of its own callbacks. */
static inline void probe_P25(const char *model) {
    static struct named running, waiting[2];
    for (int p = 0; p < 3; p++) {
        baton_policy policy = api_policy(handed_policies[p]);
        policy.contexts = policy.sequences = 1;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        named_start(&running, m, model, 71, -1);
        while (counts_of(m).running == 0)
            sched_yield();
        for (int i = 0; i < 2; i++)
            named_start(&waiting[i], m, model, 80 + (uint64_t)i, 5);
        while (counts_of(m).queued < 2)
            sched_yield();
        baton_llama_close(&m);
        pthread_join(running.thread, NULL);
        assert_true(running.status == BATON_CANCELLED || running.status == BATON_CLOSED);
        assert_int_equal(running.r.outcome.finish, BATON_FINISH_NONE);
        baton_result_free(&running.r);
        for (int i = 0; i < 2; i++) {
            pthread_join(waiting[i].thread, NULL);
            assert_int_equal(waiting[i].status, BATON_CLOSED);
            baton_result_free(&waiting[i].r);
        }
        baton_llama_close(&m); /* twice */
        m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        baton_outcome o;
        endless_init(&e, m, model);
        baton_llama *copy = m;
        baton_status status = baton_llama_generate_cb(copy, &e.ask, handed_close_it, &m, &o, NULL);
        assert_true(status == BATON_CANCELLED || status == BATON_CLOSED);
        assert_null(m);
    }
}

#define HANDED_PROBES(X)                                                                                               \
    X(P03, begun_here_finished_there)                                                                                  \
    X(P20, a_cancel_touches_no_neighbour)                                                                              \
    X(P23, times_are_told_apart)                                                                                       \
    X(P25, closed_while_one_runs_and_others_wait)

#endif
