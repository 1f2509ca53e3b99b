/* Right, but warned of: a status compared with an enumeration constant. Test it bare.
 *
 * expect: releasing lease 'lease' that was not held */
#include "lease/lease.h"

int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL) != BATON_OK)
        return 1;
    bt_lease_release(&lease, BT_KEEP, NULL); /* here */
    return 0;
}
