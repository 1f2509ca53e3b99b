/* Waits for a context while it holds one: the same place for the lease, acquired again.
 *
 * expect: acquiring lease 'lease' that is already held
 * expect: (lease|mutex) 'lease' is not held on every path through here */
#include "lease/lease.h"

int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    if (!bt_lease_acquire(pool, NULL, &lease, NULL)) /* here */
        bt_lease_release(&lease, BT_KEEP, NULL);
    return 0; /* here */
}
