/* The result of acquire is thrown away: refused, it goes on all the same.
 *
 * expect: releasing lease 'lease' that was not held */
#include "lease/lease.h"

int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    bt_lease_acquire(pool, NULL, &lease, NULL);
    bt_lease_release(&lease, BT_KEEP, NULL); /* here */
    return 0;
}
