/* Given to another thread, and used once more.
 *
 * expect: calling function 'use' requires holding lease 'lease' exclusively */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_pool *pool, struct bt_lease *parcel);

int f(struct bt_pool *pool, struct bt_lease *parcel) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    bt_lease_give(&lease, parcel, NULL);
    use(&lease); /* here */
    return 0;
}
