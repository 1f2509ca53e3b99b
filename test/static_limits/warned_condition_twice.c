/* Right, but warned of: the same condition at the acquire and at the release is two conditions.
 *
 * expect: releasing guard 'guard' that was not held */
#include "baton/annotate.h"
#include "baton/guard.h"

void f(baton_guard *guard, int needed);

void f(baton_guard *guard, int needed) {
    int in = 0;
    if (needed)
        in = !baton_guard_enter(guard, 1);
    if (in)
        baton_guard_leave(guard); /* here */
}
