/* An early return keeps the lease.
 *
 * expect: (lease|mutex) 'lease' is not held on every path through here */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_pool *pool, int n);

int f(struct bt_pool *pool, int n) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    if (n < 0)
        return 2;
    use(&lease);
    bt_lease_release(&lease, BT_KEEP, NULL);
    return 0;
} /* here */
