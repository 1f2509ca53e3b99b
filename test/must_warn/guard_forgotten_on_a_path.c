/* Stays in where the call inside fails.
 *
 * expect: (guard|mutex) 'guard' is not held on every path through here */
#include "baton/annotate.h"
#include "baton/guard.h"

int f(baton_guard *guard, int (*native)(void));

int f(baton_guard *guard, int (*native)(void)) {
    if (baton_guard_enter(guard, 1))
        return 1;
    if (native())
        return 2;
    baton_guard_leave(guard);
    return 0;
} /* here */
