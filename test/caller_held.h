/* P11 with the owner on the caller's thread, over any model: the hook that the native call asks while it computes stays
 * inside until the test lets it go. */
#ifndef BT_CALLER_HELD_H
#define BT_CALLER_HELD_H

#include <pthread.h>
#include <string.h>

#include "baton/guard.h"
#include "lease/caller.h"
#include "overlap.h"
#include "resources.h"

struct held {
    struct bt_caller *caller;
    struct bt_run run;
    struct bt_caller_stream *stream;
    struct bt_run_result result;
    pthread_t thread;
    _Atomic unsigned tid;
    _Atomic bool over, leave; /* leave: a thread that ends gives its lease back by itself, and must not here */
    baton_status status;
};

static struct {
    int at; /* the ask that stays inside */
    _Atomic bool armed, inside, go;
    _Atomic int asked;
} hook;

static inline bool stay_inside(void *arg) {
    (void)arg;
    if (hook.armed && ++hook.asked == hook.at) {
        hook.inside = true;
        overlap_wait_until(hook.go);
    }
    return false;
}

static inline void *held_pull(void *arg) {
    struct held *h = arg;
    struct bt_delta d;
    baton_error err;
    h->tid = baton_guard_self();
    do
        h->status = bt_caller_stream_next(h->stream, &d, &err);
    while (h->status == BATON_OK);
    overlap_wait_until(h->leave);
    return NULL;
}
static inline void *held_close(void *arg) {
    struct held *h = arg;
    baton_error err;
    h->tid = baton_guard_self();
    h->status = bt_caller_stream_close(&h->stream, &h->result, &err);
    h->over = true;
    return NULL;
}
static inline void *held_generate(void *arg) {
    static const struct bt_ask wait_long = {.when_full = BT_WAIT, .queue_ms = -1, .priority = 1};
    struct held *h = arg;
    baton_error err;
    h->status = bt_caller_generate(h->caller, &wait_long, &h->run, &h->result, &err);
    h->over = true;
    return NULL;
}
static inline void held_start(struct held *h, void *(*what)(void *arg)) {
    assert_int_equal(pthread_create(&h->thread, NULL, what, h), 0);
}

/* Closed while its native call runs: nobody enters until that has returned; then the next waiter does. at: an ask of
 * the hook that is made inside a native call. */
static inline void closed_inside_a_native_call(struct bt_caller *c, const struct bt_run *run, int at) {
    static const struct bt_ask refuse = {.when_full = BT_REFUSE, .priority = 1};
    struct bt_run_result alone;
    baton_error err;
    assert_int_equal(bt_caller_generate(c, &refuse, run, &alone, &err), BATON_OK);
    for (int decoding = 0; decoding <= 1; decoding++) {
        struct held puller = {.run = *run}, closer = {.tid = 0}, waiter = {.caller = c, .run = *run};
        struct bt_holding holder;
        struct bt_delta d;
        hook.at = at;
        hook.armed = hook.inside = hook.go = false;
        hook.asked = 0;
        puller.run.cancelled = stay_inside;
        assert_int_equal(bt_caller_stream_open(c, &refuse, &puller.run, &puller.stream, &err), BATON_OK);
        if (decoding)
            assert_int_equal(bt_caller_stream_next(puller.stream, &d, &err), BATON_OK);
        closer.stream = puller.stream;
        hook.armed = true;
        held_start(&puller, held_pull);
        overlap_wait_until(hook.inside);
        held_start(&waiter, held_generate);
        overlap_wait_until(bt_pool_queued(bt_caller_pool(c)) == 1);
        held_start(&closer, held_close);
        overlap_wait_until(closer.tid != 0 && asleep((int)closer.tid));
        assert_false(closer.over);
        assert_int_equal(bt_pool_queued(bt_caller_pool(c)), 1);
        assert_int_equal(bt_pool_holders(bt_caller_pool(c), &holder, 1), 1);
        assert_true(holder.held && holder.inside);
        assert_int_equal(holder.tid, puller.tid);
        hook.go = true;
        pthread_join(closer.thread, NULL);
        assert_int_equal(closer.status, BATON_CANCELLED);
        assert_true(closer.result.partial && closer.result.n_tokens == (size_t)decoding); /* not one more */
        pthread_join(waiter.thread, NULL);
        puller.leave = true;
        pthread_join(puller.thread, NULL);
        assert_int_equal(puller.status, BATON_CANCELLED);
        assert_int_equal(waiter.status, BATON_OK);
        assert_int_equal(waiter.result.n_tokens, alone.n_tokens);
        assert_memory_equal(waiter.result.tokens, alone.tokens, alone.n_tokens * sizeof *alone.tokens);
        bt_run_result_free(&closer.result);
        bt_run_result_free(&waiter.result);
    }
    bt_run_result_free(&alone);
}

#endif
