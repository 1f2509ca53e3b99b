/* Marks an operation without having entered.
 *
 * expect: calling function 'baton_guard_mark' requires holding guard 'guard' exclusively */
#include "baton/annotate.h"
#include "baton/guard.h"

int f(baton_guard *guard);

int f(baton_guard *guard) {
    return baton_guard_mark(guard, 1) != 0; /* here */
}
