/* Asking without blocking. A ticket belongs to whoever polls it; its place in the queue belongs to the pool.
 *
 * Its descriptor is a timer: armed for the deadline, so that the timeout is seen without a thread that waits for it,
 * and fired at once by whoever writes the verdict. The verdict is read under the lock, because the one that writes it
 * touches the descriptor, and that must be over before the descriptor is closed. */
#include "lease/pool.h"

#include <stdlib.h>
#include <sys/timerfd.h>

struct bt_ticket {
    struct bt_wait wait;
    struct bt_ask ask;
    struct bt_pool *pool; /* referenced; NULL if it was closed */
};

static struct bt_ticket *ticket_open(const struct bt_ask *ask) {
    struct bt_ticket *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    int64_t deadline = bt_deadline(bt_now_ns(), ask->queue_ms);
    const struct itimerspec at = {
        .it_value = {.tv_sec = deadline / BT_NS_PER_S, .tv_nsec = deadline % BT_NS_PER_S},
    };
    t->wait = (struct bt_wait){
        .waiter = {.id = ask->id, .flow = ask->flow, .priority = ask->priority, .deadline_ns = deadline},
        .verdict = BATON_AGAIN,
        .tid = baton_guard_self(),
        .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
    };
    if (t->wait.fd < 0 || (deadline != BT_NEVER_NS && timerfd_settime(t->wait.fd, TFD_TIMER_ABSTIME, &at, NULL) != 0)) {
        if (t->wait.fd >= 0)
            close(t->wait.fd);
        free(t);
        return NULL;
    }
    t->ask = *ask;
    return t;
}

static void ticket_free(struct bt_ticket *t) {
    close(t->wait.fd);
    if (t->pool)
        bt_pool_unref(t->pool);
    free(t);
}

static bool would_queue(struct bt_pool *pool, const struct bt_ask *ask) {
    bt_pool_lock(pool);
    bool full = pool->gate.used == pool->gate.slots && !pool->gate.closed;
    bt_pool_unlock(pool);
    return full && ask->when_full == BT_WAIT;
}

/* The gate's answer to a ticket, whose pool is referenced unless it is closed. */
static baton_status ask_gate(struct bt_pool *pool, struct bt_ticket *t, struct bt_lease *lease, baton_error *err) {
    struct bt_waiter *w = &t->wait.waiter;
    bt_pool_lock(pool);
    if (w->id == 0)
        w->id = BT_ID_FRESH | ++pool->ids;
    t->ask.id = w->id;
    baton_status status = bt_gate_ask(&pool->gate, w, BT_WAIT, bt_now_ns());
    bt_meter_asked_locked(pool, &t->wait, status);
    if (status == BATON_OK)
        bt_pool_hold(pool, w->slot, w->id, baton_guard_make(t->wait.tid, BT_OP_IDLE), lease);
    if (status == BATON_CLOSED) {
        bt_pool_fail(pool, status, &t->ask, 0, err);
    } else {
        bt_pool_ref(pool);
        t->pool = pool;
        t->wait.in_the_way = bt_pool_in_the_way(pool);
    }
    bt_pool_unlock(pool);
    return status;
}

baton_status bt_lease_ask(struct bt_pool *pool, const struct bt_ask *ask, struct bt_lease *lease,
                          struct bt_ticket **ticket, baton_error *err) {
    if (!ask)
        ask = &bt_ask_refuse;
    if (!lease || !ticket)
        return bt_fail(err, BATON_MISUSE, "asking needs a place for the lease and one for the ticket");
    *ticket = NULL;
    *lease = (struct bt_lease){0};
    baton_status status = bt_lease_check_ask(pool, ask, err);
    if (status != BATON_OK)
        return status;
    if (!would_queue(pool, ask)) {
        struct bt_ask at_once = *ask;
        at_once.when_full = BT_REFUSE;
        status = bt_lease_acquire(pool, &at_once, lease, err);
        /* unless somebody was quicker, that was it */
        if (ask->when_full == BT_REFUSE || (status != BATON_BUSY && status != BATON_REENTRANT))
            return status;
    }
    struct bt_ticket *t = ticket_open(ask);
    if (!t)
        return bt_fail(err, BATON_NO_MEMORY, "no memory or no descriptor is left for a ticket");
    status = ask_gate(pool, t, lease, err);
    if (status == BATON_AGAIN) {
        *ticket = t;
        return BATON_AGAIN;
    }
    if (status != BATON_OK && status != BATON_CLOSED)
        bt_pool_fail(pool, status, &t->ask, t->wait.in_the_way, err);
    ticket_free(t);
    return status;
}

static baton_status read_verdict(struct bt_ticket *t) {
    if (t->wait.waiter.deadline_ns <= bt_now_ns())
        bt_pool_expire(t->pool);
    bt_pool_lock(t->pool);
    baton_status verdict = (baton_status)atomic_load_explicit(&t->wait.verdict, memory_order_relaxed);
    bt_pool_unlock(t->pool);
    return verdict;
}

baton_status bt_lease_poll(struct bt_ticket **ticket, struct bt_lease *lease, baton_error *err) {
    if (!ticket || !*ticket || !lease)
        return bt_fail(err, BATON_MISUSE,
                       "polling needs a ticket that asking gave, and a place for the "
                       "lease");
    struct bt_ticket *t = *ticket;
    *lease = (struct bt_lease){0};
    if (!bt_pool_watch_thread())
        return bt_fail(err, BATON_NO_MEMORY, "no thread-specific key is left to notice the end of this thread");
    baton_status verdict = read_verdict(t);
    if (verdict == BATON_AGAIN)
        return bt_fail(err, BATON_AGAIN, "request %llu is still in the queue of %s", (unsigned long long)t->ask.id,
                       t->pool->name);
    if (verdict == BATON_OK) {
        verdict = bt_lease_take(&t->wait.lease, lease, err);
    } else {
        bt_pool_fail(t->pool, verdict, &t->ask, t->wait.in_the_way, err);
    }
    *ticket = NULL;
    ticket_free(t);
    return verdict;
}

int bt_ticket_fd(const struct bt_ticket *ticket) {
    return ticket->wait.fd;
}

uint64_t bt_ticket_id(const struct bt_ticket *ticket) {
    return ticket->ask.id;
}

/* The verdict said so, which Clang's analysis cannot follow. */
static void assume_granted(const struct bt_ticket *t) BATON_ASSERT_HELD(t->wait.lease) {
    (void)t;
}

void bt_ticket_drop(struct bt_ticket **ticket) {
    struct bt_ticket *t = ticket ? *ticket : NULL;
    if (!t)
        return;
    *ticket = NULL;
    bt_pool_lock(t->pool);
    if (bt_gate_withdraw(&t->pool->gate, &t->wait.waiter))
        bt_meter_left_locked(t->pool, &t->wait, BATON_CANCELLED);
    bool granted = t->wait.waiter.state == BT_WAITER_GRANTED;
    bt_pool_unlock(t->pool);
    if (granted) {
        assume_granted(t);
        if (bt_lease_release(&t->wait.lease, BT_KEEP, NULL) != BATON_OK)
            bt_log(BATON_LOG_ERROR, "%s: a dropped ticket's slot was in use", t->pool->name);
    }
    ticket_free(t);
}
