/* Released on the way and again at the end.
 *
 * expect: releasing lease 'lease' that was not held */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    use(&lease);
    bt_lease_release(&lease, BT_KEEP, NULL);
    bt_lease_release(&lease, BT_KEEP, NULL); /* here */
    return 0;
}
