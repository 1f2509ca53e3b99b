/* Of the public API: released before the end of the native call.
 *
 * expect: cannot call function 'baton_lease_release' while context 'lease.pool' is held
 * expect: (context|mutex) 'lease.pool' is not held on every path through here */
#include "baton/baton.h"

void use(void *context);
int f(baton_pool *pool);

int f(baton_pool *pool) {
    baton_lease lease;
    void *context;
    if (baton_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    if (!baton_lease_begin(&lease, BATON_OP_USER, &context, NULL)) {
        use(context);
        baton_lease_release(&lease, BATON_RESET, NULL); /* here */
        return 0;
    }
    baton_lease_release(&lease, BATON_RESET, NULL);
    return 1;
} /* here */
