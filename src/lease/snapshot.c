/* Snapshots of pools, and the meters that they read. Written by whoever has the slot, and under the pool's lock for
 * those who wait; read without: a record carries a count that is odd while it changes, and is read again until the
 * count stands still. Each store of a record is a release and each load of it an acquire, so that who has seen a new
 * field sees the count changed, too. Counters are single words: each is right, two of them need not be of the same
 * moment. */
#include "lease/pool.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPINS = 100,  /* then whoever writes may have lost its processor in the middle of it, and gets ours */
    TRIES = 10000 /* of a record that changes hands all the time: then it is shown as it was met */
};

void bt_meter_reset(struct bt_pool *pool) {
    struct bt_pool_meter *m = &pool->meter;
    m->opened_ns = bt_now_ns();
    m->order = m->full = 0;
    m->queued = 0;
    m->contended = m->refused = m->timed_out = m->cancelled = 0;
    for (int i = 0; i < BATON_BUCKETS; i++)
        m->wait_us[i] = 0;
    for (int i = 0; i < BT_LISTED_MAX; i++)
        m->listed[i].id = 0;
    for (int i = 0; i < pool->n; i++) {
        pool->slots[i].meter.grants = pool->slots[i].meter.held_ms = 0;
        pool->slots[i].meter.since_ms = 0;
        for (int k = 0; k < BATON_BUCKETS; k++)
            pool->slots[i].meter.hold_ms[k] = 0;
    }
}

static void record(struct bt_listed *l, const struct bt_wait *wait, uint64_t order) {
    uint64_t change = atomic_load_explicit(&l->change, memory_order_relaxed);
    atomic_store_explicit(&l->change, change + 1, memory_order_release);
    atomic_store_explicit(&l->id, wait ? wait->waiter.id : 0, memory_order_release);
    if (wait) {
        atomic_store_explicit(&l->flow, wait->waiter.flow, memory_order_release);
        atomic_store_explicit(&l->order, order, memory_order_release);
        atomic_store_explicit(&l->asked_ns, wait->waiter.asked_ns, memory_order_release);
        atomic_store_explicit(&l->priority, wait->waiter.priority, memory_order_release);
        atomic_store_explicit(&l->tid, wait->tid, memory_order_release);
    }
    atomic_store_explicit(&l->change, change + 2, memory_order_release);
}

void bt_meter_asked_locked(struct bt_pool *pool, struct bt_wait *wait, baton_status status) {
    struct bt_pool_meter *m = &pool->meter;
    if (status == BATON_OK || status == BATON_CLOSED)
        return;
    bt_meter_add(&m->contended, 1);
    if (status == BATON_QUEUE_TIMEOUT) /* a deadline that has passed already */
        bt_meter_add(&m->timed_out, 1);
    else if (status != BATON_AGAIN)
        bt_meter_add(&m->refused, 1);
    if (status != BATON_AGAIN)
        return;
    atomic_store_explicit(&m->queued, pool->gate.queued, memory_order_relaxed);
    m->order++;
    if (~m->full == 0)
        return;
    int place = __builtin_ctzll(~m->full);
    m->full |= UINT64_C(1) << place;
    wait->listed = place + 1;
    record(&m->listed[place], wait, m->order);
}

void bt_meter_left_locked(struct bt_pool *pool, struct bt_wait *wait, baton_status status) {
    struct bt_pool_meter *m = &pool->meter;
    atomic_store_explicit(&m->queued, pool->gate.queued, memory_order_relaxed);
    if (status == BATON_OK)
        bt_meter_add(&m->wait_us[bt_bucket((uint64_t)(wait->waiter.granted_ns - wait->waiter.asked_ns) / 1000)], 1);
    else if (status == BATON_QUEUE_TIMEOUT)
        bt_meter_add(&m->timed_out, 1);
    else if (status == BATON_CANCELLED)
        bt_meter_add(&m->cancelled, 1);
    if (!wait->listed)
        return;
    int place = wait->listed - 1;
    wait->listed = 0;
    record(&m->listed[place], NULL, 0);
    m->full &= ~(UINT64_C(1) << place);
}

static bool changes(uint64_t before, uint64_t after, int *tries) {
    if (before == after && before % 2 == 0)
        return false;
    if (++*tries > SPINS)
        sched_yield();
    return *tries < TRIES;
}

static void read_slot(const struct bt_slot *slot, int64_t open_ms, baton_context_use *u) {
    const struct bt_slot_meter *m = &slot->meter;
    uint64_t before, after;
    uint32_t since_ms;
    uint64_t held_ms;
    baton_guard_word word;
    int tries = 0;
    do {
        before = atomic_load_explicit(&m->change, memory_order_acquire);
        word = baton_guard_read(&slot->guard);
        since_ms = atomic_load_explicit(&m->since_ms, memory_order_acquire);
        held_ms = atomic_load_explicit(&m->held_ms, memory_order_acquire);
        u->request = atomic_load_explicit(&slot->id, memory_order_acquire);
        u->grants = atomic_load_explicit(&m->grants, memory_order_acquire);
        after = atomic_load_explicit(&m->change, memory_order_relaxed);
    } while (changes(before, after, &tries));
    if (u->request == 0) /* about to be given back */
        word = 0;
    u->held = word != 0;
    u->lost = slot->lost;
    u->inside = word && bt_op_inside(baton_guard_op(word));
    u->tid = baton_guard_tid(word);
    u->op = (baton_op)baton_guard_op(word);
    if (word) {
        u->for_ms = baton_guard_ms(word);
        u->held_ms = baton_guard_ms((word & ~(uint64_t)UINT32_MAX) | since_ms);
        bt_thread_name(u->tid, u->thread, sizeof u->thread);
    } else {
        u->request = 0; /* about to be held */
    }
    double share = open_ms > 0 ? (double)(held_ms + (uint64_t)u->held_ms) / (double)open_ms : 0;
    u->utilisation = BT_MIN(share, 1); /* two clocks */
}

static bool read_listed(const struct bt_listed *l, int64_t now_ns, baton_waiting *w, uint64_t *order) {
    uint64_t before, after;
    int64_t asked_ns;
    int tries = 0;
    do {
        before = atomic_load_explicit(&l->change, memory_order_acquire);
        w->id = atomic_load_explicit(&l->id, memory_order_acquire);
        w->flow = atomic_load_explicit(&l->flow, memory_order_acquire);
        *order = atomic_load_explicit(&l->order, memory_order_acquire);
        asked_ns = atomic_load_explicit(&l->asked_ns, memory_order_acquire);
        w->priority = atomic_load_explicit(&l->priority, memory_order_acquire);
        w->tid = atomic_load_explicit(&l->tid, memory_order_acquire);
        after = atomic_load_explicit(&l->change, memory_order_relaxed);
    } while (changes(before, after, &tries));
    w->for_ms = BT_MAX(now_ns - asked_ns, 0) / BT_NS_PER_MS;
    return w->id != 0;
}

/* By insertion: they are few, and nearly in order. */
static void read_queue(const struct bt_pool_meter *m, baton_snapshot *s) {
    uint64_t orders[BT_LISTED_MAX], order;
    int64_t now_ns = bt_now_ns();
    baton_waiting w = {0};
    for (int i = 0; i < BT_LISTED_MAX; i++) {
        if (!read_listed(&m->listed[i], now_ns, &w, &order))
            continue;
        int at = s->listed++;
        for (; at > 0 && (s->waiting[at - 1].priority > w.priority ||
                          (s->waiting[at - 1].priority == w.priority && orders[at - 1] > order));
             at--) {
            s->waiting[at] = s->waiting[at - 1];
            orders[at] = orders[at - 1];
        }
        s->waiting[at] = w;
        orders[at] = order;
    }
    for (int i = 0; i < s->listed; i++)
        s->waiting[i].position = i;
}

baton_status bt_pool_snapshot(const struct bt_pool *pool, baton_snapshot *s, baton_error *err) {
    const struct bt_pool_meter *m = &pool->meter;
    uint64_t waited = 0;
    *s = (baton_snapshot){.contexts = pool->n, .open_ms = (bt_now_ns() - m->opened_ns) / BT_NS_PER_MS};
    s->context = calloc((size_t)pool->n, sizeof *s->context);
    s->waiting = calloc(BT_LISTED_MAX, sizeof *s->waiting);
    if (!s->context || !s->waiting) {
        free(s->context);
        free(s->waiting);
        *s = (baton_snapshot){0};
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a snapshot of %d contexts", pool->n);
    }
    memcpy(s->name, pool->name, sizeof s->name);
    for (int i = 0; i < pool->n; i++) {
        read_slot(&pool->slots[i], s->open_ms, &s->context[i]);
        s->granted += s->context[i].grants;
    }
    read_queue(m, s);
    s->queued = BT_MAX(atomic_load_explicit(&m->queued, memory_order_relaxed), s->listed);
    s->contended = atomic_load_explicit(&m->contended, memory_order_relaxed);
    s->refused = atomic_load_explicit(&m->refused, memory_order_relaxed);
    s->timed_out = atomic_load_explicit(&m->timed_out, memory_order_relaxed);
    s->cancelled = atomic_load_explicit(&m->cancelled, memory_order_relaxed);
    for (int i = 0; i < BATON_BUCKETS; i++) {
        s->wait_us[i] = atomic_load_explicit(&m->wait_us[i], memory_order_relaxed);
        for (int k = 0; k < pool->n; k++)
            s->hold_ms[i] += atomic_load_explicit(&pool->slots[k].meter.hold_ms[i], memory_order_relaxed);
        waited += s->wait_us[i];
    }
    /* whoever was granted a context at once is counted here alone, not on the way there */
    s->wait_us[0] += s->granted > waited ? s->granted - waited : 0;
    return BATON_OK;
}
