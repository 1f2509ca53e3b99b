/* What the files of lease/ share: the pool, its slots, and those who wait. */
#ifndef BT_POOL_H
#define BT_POOL_H

#include <stdatomic.h>

#include "baton/guard.h"
#include "lease/futex.h"
#include "lease/lease.h"

/* What snapshots are made of (snapshot.c), by plain stores and read by anybody. A slot's meter is written by whoever
 * has the slot, the pool's under its lock: one at a time. */
struct bt_slot_meter {
    _Atomic uint64_t change;   /* odd while the slot gets its holder: what was read meanwhile is read again */
    _Atomic uint32_t since_ms; /* by the guard's clock */
    _Atomic uint64_t grants, held_ms;
    _Atomic uint64_t hold_ms[BATON_BUCKETS];
};
struct bt_listed {
    _Atomic uint64_t change;          /* as above */
    _Atomic uint64_t id, flow, order; /* id 0: nobody */
    _Atomic int64_t asked_ns;
    _Atomic int priority;
    _Atomic unsigned tid;
};
enum { BT_LISTED_MAX = 64 };
struct bt_pool_meter {
    int64_t opened_ns;
    _Atomic int queued;
    _Atomic uint64_t contended, refused, timed_out, cancelled;
    _Atomic uint64_t wait_us[BATON_BUCKETS];
    struct bt_listed listed[BT_LISTED_MAX]; /* of those who wait, as many as there is room for */
    uint64_t order, full;                   /* under the lock: asks so far; a bit for each place that is taken */
};

struct bt_slot {
    /* set at open */
    void *context;
    /* Who has it; 0 while free, and for a moment before and after. Written by whoever the slot is granted to, or who
     * grants it; in between by its holder alone, by compare-and-swap from an idle word, so that of two who use copies
     * of a lease at once one is refused. */
    baton_guard guard;
    /* written by the holder that has won the word, read by anybody; never goes back, not even when the pool is
     * reopened. That of a free slot is nobody's. */
    _Atomic uint64_t generation;
    _Atomic uint64_t id;    /* of the request that holds it, 0 before it is known and when it is over */
    _Atomic bool cancelled; /* cleared by the holder before it says its id; set under the lock for that id */
    /* under the lock */
    _Atomic bool lost; /* its thread ended inside a native call */
    struct bt_slot_meter meter;
};

/* The free slots: who may grant them, and where.
 *
 * Invariant: either BT_POOL_LOCKED is clear, nobody queues and the pool is open; then the other bits of `free` are the
 * truth, one for each free slot, and a slot is granted (the lowest) and given back by one compare-and-swap, as the gate
 * would do with an empty queue. Or BT_POOL_LOCKED is set: then the truth is in the gate, under the lock, and no
 * compare-and-swap on the word can succeed.
 *
 * The bit changes under the lock only: bt_pool_lock sets it and tells the gate which slots are free, bt_pool_unlock
 * clears it if nobody queues. So a waiter that goes into the queue has seen every slot that was given back before, and
 * whoever gives one back after that finds the bit, and goes through the gate: no wake-up is lost, nobody is passed by.
 *
 * Order: giving back is a release, granting an acquire, and all between two stores of bt_pool_unlock are
 * read-modify-writes; so a new holder sees all that the last one did, and all that was done under the lock before. */
#define BT_POOL_LOCKED (UINT64_C(1) << 63)
enum { BT_POOL_FAST_MAX = 63 }; /* a larger pool is always locked */

struct bt_pool {
    /* set at open */
    int n, capacity;
    char name[96];
    void (*destroy)(void *context);
    void (*reset)(void *context);
    void (*gone)(void *arg);
    void *gone_arg;
    bt_native_of *native;
    enum bt_when_full when_full;
    int64_t queue_ms;
    _Atomic uint64_t free; /* see above */
    /* under the lock */
    bt_lock lock;
    struct bt_gate gate;
    uint64_t ids; /* handed out to nameless requests that were not granted at once */
    int lost;     /* slots */
    bool closing;
    unsigned finisher; /* the thread that destroys the contexts: one only */
    /* anybody */
    _Atomic bool stop;     /* all holders are cancelled: closing */
    _Atomic uint32_t dead; /* futex word: 1 when the contexts are destroyed */
    _Atomic int refs;      /* one of the open pool, one of each that waits or looks on */
    /* under the registry's lock */
    struct bt_list link;
    struct bt_pool_meter meter;
    struct bt_slot slots[];
};

/* One who waits, on its stack or in a ticket.
 *
 * The verdict is the futex word itself, and it is written under the lock by whoever takes the waiter out of the queue:
 * release, cancel, expiry or close, the gate sees to it that only one does. So there is no moment at which a waiter has
 * a verdict and can still go to sleep (a cancel that only sets a flag and wakes can be lost just there), nor one at
 * which two have decided. */
struct bt_wait {
    struct bt_waiter waiter;
    _Atomic uint32_t verdict; /* a baton_status; BATON_AGAIN until there is one */
    /* set by the asker */
    unsigned tid;
    int fd;                        /* a ticket's timer, -1 for a thread that sleeps on the word */
    const struct bt_lease *within; /* of the same request in another pool; NULL: none */
    /* under the lock */
    int listed; /* its place in the meter's list, and 1; 0: none */
    /* set with the verdict */
    struct bt_lease lease;
    baton_guard_word in_the_way; /* who held when time ran out */
};

/* Only one thread writes at a time: no read-modify-write is needed. */
static inline void bt_meter_add(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline bool bt_op_inside(unsigned op) {
    return op != BT_OP_IDLE && op != BT_OP_GIVEN;
}

/* By whoever has the slot, or under the lock: everything done so far is seen by the next one who gets in. */
static inline void bt_slot_publish(struct bt_slot *slot, baton_guard_word word) {
    __atomic_store_n(&slot->guard.word, word, __ATOMIC_RELEASE);
}

static inline bool bt_slot_swap(struct bt_slot *slot, baton_guard_word seen, baton_guard_word mine) {
    return __atomic_compare_exchange_n(&slot->guard.word, &seen, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* pool.c */
void bt_pool_ref(struct bt_pool *pool);
void bt_pool_unref(struct bt_pool *pool) BATON_EXCLUDES(pool->lock);
/* Sees to it that this thread's end is noticed; false when out of memory. */
bool bt_pool_watch_thread(void);
void bt_pool_lock(struct bt_pool *pool) BATON_ACQUIRE(pool->lock);
void bt_pool_unlock(struct bt_pool *pool) BATON_RELEASE(pool->lock);
/* With a word of this thread's in the slot's guard: the end of a lease. */
void bt_pool_give_slot(struct bt_pool *pool, struct bt_slot *slot) BATON_EXCLUDES(pool->lock)
    BATON_RELEASE(slot->guard);

/* By whom the slot was granted to, or under the lock by who granted it: the slot gets its holder. id 0: a fresh one,
 * which differs from those of pool->ids in bit 62. Fills *lease, which is held then. */
static inline void bt_pool_hold(struct bt_pool *pool, int at, uint64_t id, baton_guard_word word,
                                struct bt_lease *lease) BATON_ASSERT_HELD(lease) {
    struct bt_slot *slot = &pool->slots[at];
    uint64_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
    uint64_t change = atomic_load_explicit(&slot->meter.change, memory_order_relaxed);
    if (id == 0)
        id = BT_ID_FRESH | UINT64_C(1) << 62 | generation << 10 | (uint64_t)at;
    atomic_store_explicit(&slot->meter.change, change + 1, memory_order_release);
    atomic_store_explicit(&slot->meter.since_ms, (uint32_t)word, memory_order_release);
    bt_meter_add(&slot->meter.grants, 1);
    atomic_store_explicit(&slot->cancelled, false, memory_order_relaxed);
    atomic_store_explicit(&slot->id, id, memory_order_release);
    bt_slot_publish(slot, word);
    atomic_store_explicit(&slot->meter.change, change + 2, memory_order_release);
    *lease = (struct bt_lease){.pool = pool, .slot = at, .generation = generation, .id = id};
}
/* Under the lock: writes the verdict. What it returns is to be woken after the lock is dropped; NULL: nobody. */
_Atomic uint32_t *bt_pool_verdict_locked(struct bt_pool *pool, struct bt_waiter *w, baton_status status)
    BATON_REQUIRES(pool->lock);
/* Takes out everybody whose deadline has passed. */
void bt_pool_expire(struct bt_pool *pool) BATON_EXCLUDES(pool->lock);

/* snapshot.c. Under the lock: an ask that found no slot has this answer from the gate. */
void bt_meter_asked_locked(struct bt_pool *pool, struct bt_wait *wait, baton_status status) BATON_REQUIRES(pool->lock);
/* Under the lock: it waits no longer. */
void bt_meter_left_locked(struct bt_pool *pool, struct bt_wait *wait, baton_status status) BATON_REQUIRES(pool->lock);
void bt_meter_reset(struct bt_pool *pool);

/* A line at debug level about a request, where such lines are wanted. */
#define bt_pool_say(pool, id, ...)                                                                                     \
    do {                                                                                                               \
        if (BT_UNLIKELY(bt_log_wants(BATON_LOG_DEBUG)))                                                                \
            bt_pool_line(pool, id, __VA_ARGS__);                                                                       \
    } while (0)
BATON_PRINTF(3, 4) void bt_pool_line(const struct bt_pool *pool, uint64_t id, const char *format, ...);

/* text.c: errors that name holder and cure. The word: who is in the way. */
baton_guard_word bt_pool_in_the_way(const struct bt_pool *pool);
baton_status bt_pool_fail(const struct bt_pool *pool, baton_status status, const struct bt_ask *ask,
                          baton_guard_word in_the_way, baton_error *err);
baton_status bt_lease_fail_stale(const struct bt_lease *lease, baton_error *err);
baton_status bt_lease_fail_inside(const struct bt_lease *lease, const char *what, baton_guard_word word,
                                  baton_error *err);

/* lease.c */
/* What can be said of an ask before the lock is taken. */
baton_status bt_lease_check_ask(const struct bt_pool *pool, const struct bt_ask *ask, baton_error *err);
extern const struct bt_ask bt_ask_refuse;
/* Under the lock: true if that thread holds a context, and each one is its own, lost, or held by a thread that sleeps
 * here until `deadline_ns` or later. */
bool bt_lease_stuck_locked(const struct bt_pool *pool, unsigned tid, int64_t deadline_ns) BATON_REQUIRES(pool->lock);
/* Under the lock. BATON_OK: ask the gate; else why this thread must not wait or cannot get in. */
baton_status bt_lease_conflict_locked(const struct bt_pool *pool, const struct bt_ask *ask, int64_t deadline_ns)
    BATON_REQUIRES(pool->lock);

#endif
