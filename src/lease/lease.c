/* Leases: acquire, use, hand on, release. The state is the pool's (pool.h); a lease is a name for it.
 *
 * A slot changes hands by the word of free slots or under the lock (pool.h). In between it belongs to its lease, and
 * what arbitrates there is the guard word: begin, give and release each win it by one compare-and-swap from an idle
 * word, then look at the generation once more, because a copy of the lease may have been released in the same instant.
 * (Only if the very same thread acquired again within the same coarse millisecond is the word the same one; then the
 * generation tells.) */
#include "lease/pool.h"

#include <string.h>

static struct bt_slot *slot_of(const struct bt_lease *lease) {
    if (BT_UNLIKELY(!lease || !lease->pool || (unsigned)lease->slot >= (unsigned)lease->pool->capacity))
        return NULL;
    struct bt_slot *slot = &lease->pool->slots[lease->slot];
    uint64_t generation = atomic_load_explicit(&slot->generation, memory_order_acquire);
    return BT_LIKELY(generation == lease->generation) ? slot : NULL;
}

/* True if that thread waits in the queue, asleep, until `deadline_ns` or later. */
static bool sleeps_locked(const struct bt_pool *pool, unsigned tid, int64_t deadline_ns) BATON_REQUIRES(pool->lock) {
    for (struct bt_waiter *w = NULL; (w = bt_gate_each(&pool->gate, w));) {
        const struct bt_wait *wait = BT_CONTAINER(w, struct bt_wait, waiter);
        if (wait->tid == tid && wait->fd < 0 && w->deadline_ns >= deadline_ns)
            return true;
    }
    return false;
}

bool bt_lease_stuck_locked(const struct bt_pool *pool, unsigned tid, int64_t deadline_ns) {
    int mine = 0, stuck = 0;
    for (int i = 0; i < pool->n; i++) {
        baton_guard_word word = baton_guard_read(&pool->slots[i].guard);
        bool given = baton_guard_op(word) == BT_OP_GIVEN;
        if (pool->slots[i].lost)
            stuck++;
        else if (baton_guard_tid(word) == tid && !given)
            mine++;
        else if (!given && sleeps_locked(pool, baton_guard_tid(word), deadline_ns))
            stuck++;
    }
    return mine > 0 && mine + stuck == pool->n;
}

baton_status bt_lease_conflict_locked(const struct bt_pool *pool, const struct bt_ask *ask, int64_t deadline_ns) {
    unsigned self = baton_guard_self();
    int mine = 0;
    bool inside = false;
    for (int i = 0; i < pool->n; i++) {
        baton_guard_word word = baton_guard_read(&pool->slots[i].guard);
        if (baton_guard_tid(word) != self || baton_guard_op(word) == BT_OP_GIVEN || pool->slots[i].lost)
            continue;
        mine++;
        inside = inside || bt_op_inside(baton_guard_op(word));
    }
    if (mine == pool->n && inside)
        return BATON_REENTRANT;
    if (mine == 0 || ask->when_full == BT_REFUSE)
        return BATON_OK;
    return bt_lease_stuck_locked(pool, self, deadline_ns) ? BATON_WOULD_DEADLOCK : BATON_OK;
}

/* Sleeps until there is a verdict. Whoever finds a deadline passed takes everybody out whose deadline has. */
static baton_status sleep_for_verdict(struct bt_pool *pool, struct bt_wait *wait) {
    for (;;) {
        uint32_t verdict = atomic_load_explicit(&wait->verdict, memory_order_acquire);
        if (verdict != BATON_AGAIN)
            return (baton_status)verdict;
        if (!bt_futex_wait(&wait->verdict, BATON_AGAIN, wait->waiter.deadline_ns))
            bt_pool_expire(pool);
    }
}

/* No slot was free. Enters with the lock held, drops it. A closed pool may be gone as soon as the lock is dropped, so
 * its text is made before; any other one is kept by a reference, as a waiter told CLOSED may be the last to look at it.
 */
static __attribute__((noinline)) baton_status acquire_contended(struct bt_pool *pool, struct bt_wait *wait,
                                                                const struct bt_ask *ask, baton_error *err)
    BATON_RELEASE(pool->lock) {
    if (pool->gate.closed) {
        bt_pool_fail(pool, BATON_CLOSED, ask, 0, err);
        bt_pool_unlock(pool);
        return BATON_CLOSED;
    }
    int64_t now = bt_now_ns();
    wait->waiter.deadline_ns = bt_deadline(now, ask->queue_ms);
    baton_status status = bt_lease_conflict_locked(pool, ask, wait->waiter.deadline_ns);
    if (status == BATON_OK)
        status = bt_gate_ask(&pool->gate, &wait->waiter, ask->when_full, now);
    /* in the queue already, so that a cancel which came too late to be seen here finds it there */
    if (status == BATON_AGAIN && wait->within && bt_lease_cancelled(wait->within)) {
        bt_gate_withdraw(&pool->gate, &wait->waiter);
        status = BATON_CANCELLED;
    }
    bt_meter_asked_locked(pool, wait, status);
    wait->in_the_way = bt_pool_in_the_way(pool);
    bt_pool_ref(pool);
    bt_pool_unlock(pool);
    if (status == BATON_AGAIN)
        status = sleep_for_verdict(pool, wait);
    if (status != BATON_OK) {
        struct bt_ask named = *ask;
        named.id = wait->waiter.id;
        bt_pool_fail(pool, status, &named, wait->in_the_way, err);
        bt_pool_say(pool, named.id, "was not granted a context: %s", baton_status_name(status));
    }
    bt_pool_unref(pool);
    return status;
}

baton_status bt_lease_check_ask(const struct bt_pool *pool, const struct bt_ask *ask, baton_error *err) {
    if (BT_UNLIKELY(!pool))
        return bt_fail(err, BATON_MISUSE, "there is no pool (NULL): it was not opened, or is closed");
    if (BT_UNLIKELY((unsigned)ask->priority >= BT_PRIORITIES))
        return bt_fail(err, BATON_MISUSE, "priority %d: there are 0 (first) to %d", ask->priority, BT_PRIORITIES - 1);
    if (BT_UNLIKELY(!bt_pool_watch_thread()))
        return bt_fail(err, BATON_NO_MEMORY, "no thread-specific key is left to notice the end of this thread");
    return BATON_OK;
}

const struct bt_ask bt_ask_refuse = {.when_full = BT_REFUSE, .priority = 1};

/* The lowest free slot, taken, if nobody queues; else -1, and the gate is to be asked. */
static int take_free(struct bt_pool *pool) {
    uint64_t word = atomic_load_explicit(&pool->free, memory_order_relaxed);
    while (BT_LIKELY(word && !(word & BT_POOL_LOCKED)))
        if (atomic_compare_exchange_weak_explicit(&pool->free, &word, word & (word - 1), memory_order_acquire,
                                                  memory_order_relaxed))
            return __builtin_ctzll(word);
    return -1;
}

/* Analysed by itself: Clang does not look into functions that may or may not acquire. */
static __attribute__((noinline)) baton_status acquire_by_gate(struct bt_pool *pool, const struct bt_ask *ask,
                                                              const struct bt_lease *within, struct bt_lease *lease,
                                                              baton_error *err) BATON_EXCLUDES(pool->lock) {
    struct bt_wait wait = {
        .waiter = {.id = ask->id, .flow = ask->flow, .priority = ask->priority, .deadline_ns = BT_NEVER_NS},
        .verdict = BATON_AGAIN,
        .tid = baton_guard_self(),
        .fd = -1,
        .within = within,
    };
    bt_pool_lock(pool);
    if (wait.waiter.id == 0)
        wait.waiter.id = BT_ID_FRESH | ++pool->ids;
    if (pool->gate.used == pool->gate.slots || pool->gate.closed) {
        baton_status status = acquire_contended(pool, &wait, ask, err);
        if (status == BATON_OK) {
            *lease = wait.lease;
            bt_pool_say(pool, lease->id, "acquired context %d after it had waited", lease->slot);
        }
        return status;
    }
    /* nothing reads the time of an ask that was granted at once */
    bt_gate_ask(&pool->gate, &wait.waiter, ask->when_full, 0);
    bt_pool_hold(pool, wait.waiter.slot, wait.waiter.id, baton_guard_make(wait.tid, BT_OP_IDLE), lease);
    bt_pool_unlock(pool);
    bt_pool_say(pool, lease->id, "acquired context %d", lease->slot);
    return BATON_OK;
}

baton_status bt_lease_acquire(struct bt_pool *pool, const struct bt_ask *ask, struct bt_lease *lease,
                              baton_error *err) {
    return bt_lease_acquire_within(pool, ask, NULL, lease, err);
}

baton_status bt_lease_acquire_within(struct bt_pool *pool, const struct bt_ask *ask, const struct bt_lease *within,
                                     struct bt_lease *lease, baton_error *err) {
    if (!ask)
        ask = &bt_ask_refuse;
    if (BT_UNLIKELY(!lease))
        return bt_fail(err, BATON_MISUSE, "acquiring needs a place for the lease");
    *lease = (struct bt_lease){0};
    baton_status status = bt_lease_check_ask(pool, ask, err);
    if (BT_UNLIKELY(status != BATON_OK))
        return status;
    int at = take_free(pool);
    if (BT_UNLIKELY(at < 0))
        return acquire_by_gate(pool, ask, within, lease, err);
    bt_pool_hold(pool, at, ask->id, baton_guard_make(baton_guard_self(), BT_OP_IDLE), lease);
    bt_pool_say(pool, lease->id, "acquired context %d", lease->slot);
    return BATON_OK;
}

/* What is between two holders for a moment: its time is that of the word before, as the clock would cost more than all
 * the rest. */
static baton_guard_word brief_word(baton_guard_word was) {
    return (baton_guard_word)baton_guard_self() << 42 | (baton_guard_word)BT_OP_RESET << 32 | (uint32_t)was;
}

/* Wins the slot's word for `op` on this thread. *was: what it was before. */
static baton_status claim(const struct bt_lease *lease, enum bt_op op, const char *what, struct bt_slot **out,
                          baton_guard_word *was, baton_error *err) BATON_TRY_ACQUIRE(0, (*out)->guard) {
    for (;;) {
        struct bt_slot *slot = slot_of(lease);
        if (BT_UNLIKELY(!slot))
            return bt_lease_fail_stale(lease, err);
        baton_guard_word word = baton_guard_read(&slot->guard);
        if (BT_UNLIKELY(word == 0))
            return bt_lease_fail_stale(lease, err);
        if (BT_UNLIKELY(bt_op_inside(baton_guard_op(word)))) {
            /* the word may be the next holder's by now: then the lease was released meanwhile */
            if (!slot_of(lease))
                return bt_lease_fail_stale(lease, err);
            return bt_lease_fail_inside(lease, what, word, err);
        }
        baton_guard_word mine = op == BT_OP_RESET ? brief_word(word) : baton_guard_make(baton_guard_self(), op);
        if (BT_UNLIKELY(!bt_slot_swap(slot, word, mine)))
            continue;
        if (BT_UNLIKELY(!slot_of(lease))) {
            bt_slot_publish(slot, word);
            return bt_lease_fail_stale(lease, err);
        }
        *out = slot;
        *was = word;
        return BATON_OK;
    }
}

baton_status bt_lease_begin(const struct bt_lease *lease, enum bt_op op, void **context, baton_error *err) {
    struct bt_slot *slot;
    baton_guard_word was;
    if (BT_UNLIKELY(!context || (unsigned)op >= BT_OP_COUNT || !bt_op_inside(op)))
        return bt_fail(err, BATON_MISUSE,
                       "begin needs an operation that is inside the context, and a place "
                       "for the context");
    *context = NULL;
    if (BT_UNLIKELY(!bt_pool_watch_thread()))
        return bt_fail(err, BATON_NO_MEMORY, "no thread-specific key is left to notice the end of this thread");
    baton_status status = claim(lease, op, "begin", &slot, &was, err);
    if (BT_UNLIKELY(status != BATON_OK))
        return status;
    if (BT_UNLIKELY(baton_guard_op(was) == BT_OP_GIVEN)) {
        bt_slot_publish(slot, was);
        return bt_fail(err, BATON_MISUSE, "request %llu was given and not taken yet: take it first",
                       (unsigned long long)lease->id);
    }
    *context = slot->context;
    return BATON_OK;
}

/* Not analysed, like give: the word was won in another function, by begin or take. */
BATON_NO_ANALYSIS bool bt_lease_end(const struct bt_lease *lease) {
    struct bt_slot *slot = slot_of(lease);
    baton_guard_word word = slot ? baton_guard_read(&slot->guard) : 0;
    if (BT_UNLIKELY(baton_guard_tid(word) != baton_guard_self() || !bt_op_inside(baton_guard_op(word)))) {
        bt_log(BATON_LOG_ERROR,
               "the end of a native call without its begin on this thread (request %llu): nothing was done",
               lease ? (unsigned long long)lease->id : 0ULL);
        return false;
    }
    baton_guard_mark(&slot->guard, BT_OP_IDLE);
    return true;
}

void *bt_lease_context(const struct bt_lease *lease) {
    struct bt_slot *slot = slot_of(lease);
    baton_guard_word word = slot ? baton_guard_read(&slot->guard) : 0;
    bool inside = baton_guard_tid(word) == baton_guard_self() && bt_op_inside(baton_guard_op(word));
    return inside ? slot->context : NULL;
}

static baton_status release(struct bt_lease *lease, enum bt_release how, baton_error *err) {
    struct bt_slot *slot;
    baton_guard_word was;
    baton_status status = claim(lease, BT_OP_RESET, "release", &slot, &was, err);
    if (BT_UNLIKELY(status))
        return status;
    struct bt_pool *pool = lease->pool;
    if (how == BT_RESET && pool->reset) {
        baton_guard_mark(&slot->guard, BT_OP_RESET);
        pool->reset(slot->context);
    }
    bt_pool_say(pool, lease->id, "releases context %d", lease->slot);
    *lease = (struct bt_lease){0};
    bt_pool_give_slot(pool, slot);
    return BATON_OK;
}

/* Not analysed: what ends here is the right that the lease's generation stands for. */
BATON_NO_ANALYSIS baton_status bt_lease_release(struct bt_lease *lease, enum bt_release how, baton_error *err) {
    return release(lease, how, err);
}

/* A new generation for the same holding, by the one that has won the word. */
static uint64_t renew(struct bt_slot *slot) {
    uint64_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&slot->generation, generation, memory_order_release);
    return generation;
}

BATON_NO_ANALYSIS baton_status bt_lease_give(struct bt_lease *lease, struct bt_lease *parcel, baton_error *err) {
    struct bt_slot *slot;
    baton_guard_word was;
    if (!parcel)
        return bt_fail(err, BATON_MISUSE, "give needs a place for the parcel");
    baton_status status = claim(lease, BT_OP_RESET, "give", &slot, &was, err);
    if (status != BATON_OK)
        return status;
    struct bt_lease given = *lease;
    given.generation = renew(slot);
    *lease = (struct bt_lease){0};
    *parcel = given;
    baton_guard_mark(&slot->guard, BT_OP_GIVEN);
    return BATON_OK;
}

baton_status bt_lease_take(struct bt_lease *parcel, struct bt_lease *lease, baton_error *err) {
    struct bt_slot *slot;
    baton_guard_word was;
    if (!lease)
        return bt_fail(err, BATON_MISUSE, "take needs a place for the lease");
    if (!bt_pool_watch_thread())
        return bt_fail(err, BATON_NO_MEMORY, "no thread-specific key is left to notice the end of this thread");
    baton_status status = claim(parcel, BT_OP_RESET, "take", &slot, &was, err);
    if (status != BATON_OK)
        return status;
    if (baton_guard_op(was) != BT_OP_GIVEN) {
        bt_slot_publish(slot, was);
        return bt_fail(err, BATON_MISUSE, "request %llu was not given: give it first", (unsigned long long)parcel->id);
    }
    struct bt_lease taken = *parcel;
    taken.generation = renew(slot);
    *parcel = (struct bt_lease){0};
    *lease = taken;
    baton_guard_mark(&slot->guard, BT_OP_IDLE);
    return BATON_OK;
}

bool bt_pool_cancel(struct bt_pool *pool, uint64_t id) {
    if (!pool || id == 0)
        return false;
    bt_pool_lock(pool);
    struct bt_waiter *w = bt_gate_find(&pool->gate, id);
    bool found = w && bt_gate_withdraw(&pool->gate, w);
    _Atomic uint32_t *word = found ? bt_pool_verdict_locked(pool, w, BATON_CANCELLED) : NULL;
    for (int i = 0; !found && i < pool->n; i++) {
        struct bt_slot *slot = &pool->slots[i];
        if (atomic_load_explicit(&slot->id, memory_order_acquire) != id)
            continue;
        atomic_store_explicit(&slot->cancelled, true, memory_order_release);
        found = true;
    }
    bt_pool_unlock(pool);
    if (word)
        bt_futex_wake(word, 1);
    bt_pool_say(pool, id, found ? "is cancelled" : "was to be cancelled, and is not here");
    return found;
}

bool bt_lease_cancelled(const struct bt_lease *lease) {
    struct bt_slot *slot = slot_of(lease);
    return slot &&
           (atomic_load_explicit(&slot->cancelled, memory_order_acquire) ||
            atomic_load_explicit(&lease->pool->stop, memory_order_acquire)) &&
           slot_of(lease) == slot;
}
