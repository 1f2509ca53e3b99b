/* What the files of lease/ share: the pool, its slots, and those who wait. */
#ifndef BT_POOL_H
#define BT_POOL_H

#include <stdatomic.h>

#include "baton/guard.h"
#include "lease/futex.h"
#include "lease/lease.h"

/* What snapshots are made of (snapshot.c): written under the pool's lock, by plain stores beside those that are made
 * there anyway, and read by anybody without it. */
struct bt_slot_meter {
    _Atomic uint64_t change; /* odd while the slot changes hands: what was read meanwhile is read again */
    _Atomic uint64_t request, grants, held_ms;
    _Atomic uint32_t since_ms; /* by the guard's clock */
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
    _Atomic uint64_t wait_us[BATON_BUCKETS], hold_ms[BATON_BUCKETS];
    struct bt_listed listed[BT_LISTED_MAX]; /* of those who wait, as many as there is room for */
    uint64_t order, full;                   /* under the lock: asks so far; a bit for each place that is taken */
};

struct bt_slot {
    /* set at open */
    void *context;
    /* Who has it. Free <=> 0. Written under the pool's lock when the slot changes hands; in between by its holder
     * alone, by compare-and-swap from an idle word, so that of two who use copies of a lease at once one is refused. */
    baton_guard guard;
    /* written under the lock, read by anybody; the generation never goes back, not even when the pool is reopened */
    _Atomic uint64_t generation;
    _Atomic bool cancelled;
    /* under the lock */
    struct bt_waiter holder;
    _Atomic bool lost; /* its thread ended inside a native call */
    struct bt_slot_meter meter;
};

struct bt_pool {
    /* set at open */
    int n, capacity;
    char name[96];
    void (*destroy)(void *context);
    void (*reset)(void *context);
    bt_native_of *native;
    enum bt_when_full when_full;
    int64_t queue_ms;
    /* under the lock */
    bt_lock lock;
    struct bt_gate gate;
    uint64_t ids; /* handed out to nameless requests */
    int lost;     /* slots */
    bool closing;
    unsigned finisher; /* the thread that destroys the contexts: one only */
    /* anybody */
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
    int fd; /* a ticket's timer, -1 for a thread that sleeps on the word */
    /* under the lock */
    int listed; /* its place in the meter's list, and 1; 0: none */
    /* set with the verdict */
    uint64_t generation;
    baton_guard_word in_the_way; /* who held when time ran out */
};

/* Only one thread writes at a time: no read-modify-write is needed. */
static inline void bt_meter_add(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline int bt_bucket(uint64_t value) {
    int bits = value ? 64 - __builtin_clzll(value) : 0;
    return BT_MIN(bits, BATON_BUCKETS - 1);
}

static inline bool bt_op_inside(unsigned op) {
    return op != BT_OP_IDLE && op != BT_OP_GIVEN;
}

/* By whoever has the slot, or under the lock: everything done so far is seen by the next one who gets in. */
static inline void bt_slot_publish(struct bt_slot *slot, baton_guard_word word) {
    __atomic_store_n(&slot->guard.word, word, __ATOMIC_RELEASE);
}

/* pool.c */
void bt_pool_ref(struct bt_pool *pool);
void bt_pool_unref(struct bt_pool *pool) BATON_EXCLUDES(pool->lock);
/* Sees to it that this thread's end is noticed; false when out of memory. */
bool bt_pool_watch_thread(void);
/* Under the lock, with a word of this thread's in the slot's guard: the end of a lease. Drops the lock. */
void bt_pool_give_slot_locked(struct bt_pool *pool, struct bt_slot *slot) BATON_RELEASE(pool->lock, slot->guard);
/* Under the lock: the slot of a granted waiter gets its holder. Returns the new generation. */
uint64_t bt_pool_hold_locked(struct bt_pool *pool, const struct bt_waiter *w, unsigned tid, enum bt_op op)
    BATON_REQUIRES(pool->lock);
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

/* lease.c. Filled in for a waiter that was granted a slot, a lease is held. */
void bt_lease_fill(struct bt_lease *lease, struct bt_pool *pool, const struct bt_waiter *w, uint64_t generation)
    BATON_ASSERT_HELD(lease);
/* What can be said of an ask before the lock is taken. */
baton_status bt_lease_check_ask(const struct bt_pool *pool, const struct bt_ask *ask, baton_error *err);
extern const struct bt_ask bt_ask_refuse;
/* Under the lock. BATON_OK: ask the gate; else why this thread must not wait or cannot get in. */
baton_status bt_lease_conflict_locked(const struct bt_pool *pool, const struct bt_ask *ask, int64_t deadline_ns)
    BATON_REQUIRES(pool->lock);

#endif
