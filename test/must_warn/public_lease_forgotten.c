/* Of the public API: the way out after a failed begin keeps the lease.
 *
 * expect: (lease|mutex) 'lease' is not held on every path through here */
#include "baton/baton.h"

void use(void *context);
int f(baton_pool *pool);

int f(baton_pool *pool) {
    baton_lease lease;
    void *context;
    if (baton_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    if (baton_lease_begin(&lease, BATON_OP_USER, &context, NULL))
        return 1;
    use(context);
    baton_lease_end(&lease);
    baton_lease_release(&lease, BATON_RESET, NULL);
    return 0;
} /* here */
