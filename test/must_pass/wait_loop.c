/* Tries until it is in, in each of the ways that the analysis understands. */
#include "baton/annotate.h"
#include "baton/guard.h"

void idle(void);
void feed(baton_guard *guard) BATON_REQUIRES(guard);
void f(baton_guard *guard);

void f(baton_guard *guard) {
    while (baton_guard_enter(guard, 1))
        idle();
    feed(guard);
    baton_guard_leave(guard);
    if (!baton_guard_enter(guard, 2)) {
        feed(guard);
        baton_guard_leave(guard);
    }
    if (baton_guard_enter(guard, 3) == 0) {
        feed(guard);
        baton_guard_leave(guard);
    }
    baton_guard_word who = baton_guard_enter(guard, 4);
    if (__builtin_expect(!who, 1)) {
        feed(guard);
        baton_guard_leave(guard);
    }
}
