/* Wrong, and not seen: the body of a function that may or may not acquire is not looked at. */
#include "baton/annotate.h"
#include "baton/guard.h"

int begin(baton_guard *guard) BATON_TRY_ACQUIRE(0, guard);

int begin(baton_guard *guard) {
    baton_guard_leave(guard);
    return 0;
}
