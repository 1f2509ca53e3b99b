/* A context for tests that tells when it is used by two at once. "decode" takes a token and leaves its result in the
 * context, "logits" reads it; both count as being inside. Plain fields on purpose: ThreadSanitizer sees a race on them
 * if the exclusion does not order what it separates. */
#ifndef BT_OVERLAP_H
#define BT_OVERLAP_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

struct overlap {
    _Atomic int inside, overlaps;
    _Atomic int calls;
    uint64_t state, logits;
};

static inline void overlap_enter(struct overlap *c) {
    if (atomic_fetch_add(&c->inside, 1) != 0)
        atomic_fetch_add(&c->overlaps, 1);
    atomic_fetch_add(&c->calls, 1);
}
static inline void overlap_leave(struct overlap *c) {
    atomic_fetch_sub(&c->inside, 1);
}

static inline uint64_t overlap_expected(uint64_t token) {
    return token * 0x9e3779b97f4a7c15u + 1;
}
static inline void overlap_decode(struct overlap *c, uint64_t token) {
    overlap_enter(c);
    c->state++;
    sched_yield(); /* with two cores or one: let the other one try now */
    c->logits = overlap_expected(token);
    overlap_leave(c);
}
static inline uint64_t overlap_logits(struct overlap *c) {
    overlap_enter(c);
    uint64_t logits = c->logits;
    overlap_leave(c);
    return logits;
}

/* For tests that must see a state before they go on: looks again and again, without a limit of its own (the runner's
 * is the limit), so that a slow machine is not a failure. */
#define overlap_wait_until(condition)                                                                                  \
    while (!(condition))                                                                                               \
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL)

#endif
