/* Leaves on the error path and at the end.
 *
 * expect: releasing guard 'guard' that was not held */
#include "baton/annotate.h"
#include "baton/guard.h"

int f(baton_guard *guard, int failed);

int f(baton_guard *guard, int failed) {
    if (baton_guard_enter(guard, 1))
        return 1;
    baton_guard_leave(guard);
    if (failed)
        baton_guard_leave(guard); /* here */
    return 0;
}
