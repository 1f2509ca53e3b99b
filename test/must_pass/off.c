/* Switched off: what is wrong goes through, and the words still stand wherever they stood.
 *
 * flags: -DBATON_NO_ANNOTATIONS */
#include "baton/annotate.h"
#include "baton/guard.h"

struct BATON_CAPABILITY("thing") thing;
int f(baton_guard *guard, struct thing *t) BATON_REQUIRES(t);

int f(baton_guard *guard, struct thing *t) {
    (void)t;
    return baton_guard_mark(guard, 1) != 0;
}
