/* Used once more after it was given back.
 *
 * expect: calling function 'use' requires holding lease 'lease' exclusively */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    baton_status status = bt_lease_acquire(pool, NULL, &lease, NULL);
    if (status)
        return status;
    use(&lease);
    status = bt_lease_release(&lease, BT_KEEP, NULL);
    use(&lease); /* here */
    return status;
}
