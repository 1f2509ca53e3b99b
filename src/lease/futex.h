/* Waiting on a word, and the small lock made of it. The words belong to the structs they stand in.
 *
 * The lock: 0 free, 1 held, 2 held and somebody may sleep. Whoever has slept takes it as 2, so that the next unlock
 * wakes: a needless wake is possible, a lost one is not (Drepper, "Futexes Are Tricky", mutex 2). It guards tens of
 * nanoseconds of bookkeeping, never a native call or a callback. */
#ifndef BT_FUTEX_H
#define BT_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "baton/annotate.h"

_Static_assert(sizeof((struct timespec){0}.tv_sec) == sizeof(long), "this futex call takes the kernel's timespec");

/* False when the deadline (CLOCK_MONOTONIC) has passed; else look at the word again: wakes may be spurious. */
static inline bool bt_futex_wait(_Atomic uint32_t *word, uint32_t while_it_is, int64_t deadline_ns) {
    struct timespec at = {.tv_sec = deadline_ns / BT_NS_PER_S, .tv_nsec = deadline_ns % BT_NS_PER_S};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, while_it_is, deadline_ns == BT_NEVER_NS ? NULL : &at,
                      NULL, FUTEX_BITSET_MATCH_ANY);
    return rc == 0 || errno != ETIMEDOUT;
}

/* The word may be gone by now (a waiter's stack): the kernel looks up the address and never writes to it. */
static inline void bt_futex_wake(_Atomic uint32_t *word, int how_many) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, how_many);
}

typedef struct BATON_CAPABILITY("lock") bt_lock {
    _Atomic uint32_t word;
} bt_lock;

static inline void bt_lock_slow(bt_lock *lock) {
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        bt_futex_wait(&lock->word, 2, BT_NEVER_NS);
}

static inline void bt_lock_acquire(bt_lock *lock) BATON_ACQUIRE(lock) BATON_NO_ANALYSIS {
    uint32_t free_word = 0;
    if (BT_UNLIKELY(!atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                             memory_order_relaxed)))
        bt_lock_slow(lock);
}

static inline void bt_lock_release(bt_lock *lock) BATON_RELEASE(lock) BATON_NO_ANALYSIS {
    if (BT_UNLIKELY(atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2))
        bt_futex_wake(&lock->word, 1);
}

#endif
