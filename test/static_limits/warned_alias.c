/* Right, but warned of: two names for one guard are two guards.
 *
 * expect: calling function 'feed' requires holding guard 'same' exclusively */
#include "baton/annotate.h"
#include "baton/guard.h"

void feed(baton_guard *guard) BATON_REQUIRES(guard);
int f(baton_guard *guard);

int f(baton_guard *guard) {
    baton_guard *same = guard;
    if (baton_guard_enter(guard, 1))
        return 1;
    feed(same); /* here */
    baton_guard_leave(guard);
    return 0;
}
