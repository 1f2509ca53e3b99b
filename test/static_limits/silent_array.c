/* Wrong, and not seen: one element of an array stands for another one. */
#include "baton/annotate.h"
#include "baton/guard.h"

void feed(baton_guard *guard) BATON_REQUIRES(guard);
int f(baton_guard guards[2]);

int f(baton_guard guards[2]) {
    if (baton_guard_enter(&guards[0], 1))
        return 1;
    feed(&guards[1]);
    baton_guard_leave(&guards[0]);
    return 0;
}
