/* Right, but warned of: __attribute__((cleanup)) and an acquire that can fail. Use goto out.
 *
 * expect: releasing lease 'lease' that was not held
 * expect: (lease|mutex) 'lease' is not held on every path through here */
#include "lease/lease.h"

static void put(struct bt_lease *lease) {
    bt_lease_release(lease, BT_KEEP, NULL); /* here */
}
int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    __attribute__((cleanup(put))) struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    return 0;
} /* here */
