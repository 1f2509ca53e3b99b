/* What the tests of leases share: a pool of contexts that tell when two are in one, and a thread that stays inside. */
#ifndef BT_LEASE_UTIL_H
#define BT_LEASE_UTIL_H

#include "harness.h"

#include <pthread.h>
#include <string.h>

#include "baton/guard.h"
#include "lease/lease.h"
#include "overlap.h"

enum { CONTEXTS_MAX = 3 };

static struct overlap contexts[CONTEXTS_MAX];
static _Atomic int resets, destroyed;

static inline void count_reset(void *context) {
    overlap_enter(context);
    resets++;
    overlap_leave(context);
}
static inline void count_destroy(void *context) {
    overlap_enter(context); /* and never leaves: any later use is an overlap */
    destroyed++;
}

static inline struct bt_pool *open_pool(int n, int queue_max) {
    void *pointers[CONTEXTS_MAX];
    struct bt_pool *pool = NULL;
    memset(contexts, 0, sizeof contexts);
    resets = destroyed = 0;
    for (int i = 0; i < n; i++)
        pointers[i] = &contexts[i];
    const struct bt_pool_params params = {.name = "llama context 'tiny'",
                                          .contexts = pointers,
                                          .n_contexts = n,
                                          .queue_max = queue_max,
                                          .destroy = count_destroy,
                                          .reset = count_reset};
    assert_int_equal(bt_pool_open(&params, &pool, NULL), BATON_OK);
    return pool;
}

static inline void close_pool(struct bt_pool *pool, int n) {
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_null(pool);
    assert_int_equal(destroyed, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(contexts[i].overlaps, 0);
}

static const struct bt_ask refuse = {.when_full = BT_REFUSE, .priority = 1};
static const struct bt_ask wait_long = {.when_full = BT_WAIT, .queue_ms = -1, .priority = 1};
/* For waits that must not come to be, or must end: only a broken lease makes use of its time. */
static const struct bt_ask wait_some = {.when_full = BT_WAIT, .queue_ms = 3000, .priority = 1};

/* The transaction, as every user of a lease is to write it: what is read from the context is read under the lease. */
static inline uint64_t transaction(struct bt_lease *lease, uint64_t token) {
    struct overlap *c;
    uint64_t logits;
    assert_int_equal(bt_lease_begin(lease, BT_OP_DECODE, (void **)&c, NULL), BATON_OK);
    overlap_decode(c, token);
    bt_lease_end(lease);
    sched_yield();
    assert_int_equal(bt_lease_begin(lease, BT_OP_LOGITS, (void **)&c, NULL), BATON_OK);
    logits = overlap_logits(c);
    bt_lease_end(lease);
    return logits;
}

/* A thread that acquires, stays inside a decode until told, and releases. */
struct visitor {
    struct bt_pool *pool;
    struct bt_ask ask;
    enum bt_op op;
    pthread_t thread;
    _Atomic bool inside, go;
    baton_status acquired, released;
    baton_error err;
    unsigned tid;
    uint64_t order;
    bool exit_holding, exit_inside;
};
static _Atomic uint64_t arrivals;

static inline void *visit(void *arg) {
    struct visitor *v = arg;
    struct bt_lease lease;
    struct overlap *c;
    v->tid = baton_guard_self();
    pthread_setname_np(pthread_self(), "worker-b");
    v->acquired = bt_lease_acquire(v->pool, &v->ask, &lease, &v->err);
    if (v->acquired != BATON_OK)
        return NULL;
    v->order = ++arrivals;
    if (bt_lease_begin(&lease, v->op, (void **)&c, &v->err) == BATON_OK) {
        overlap_enter(c);
        v->inside = true;
        overlap_wait_until(v->go);
        overlap_leave(c);
        if (v->exit_inside)
            return NULL;
        bt_lease_end(&lease);
    }
    if (v->exit_holding)
        return NULL;
    v->released = bt_lease_release(&lease, BT_KEEP, &v->err);
    return NULL;
}

static inline void start(struct visitor *v, struct bt_pool *pool, const struct bt_ask *ask) {
    *v = (struct visitor){.pool = pool, .ask = *ask, .op = BT_OP_DECODE};
    assert_int_equal(pthread_create(&v->thread, NULL, visit, v), 0);
}

static inline void start_inside(struct visitor *v, struct bt_pool *pool) {
    start(v, pool, &wait_long);
    overlap_wait_until(v->inside);
}

static inline void finish(struct visitor *v) {
    v->go = true;
    pthread_join(v->thread, NULL);
}

static inline struct bt_lease must_acquire(struct bt_pool *pool) {
    struct bt_lease lease;
    assert_int_equal(bt_lease_acquire(pool, &refuse, &lease, NULL), BATON_OK);
    return lease;
}

#endif
