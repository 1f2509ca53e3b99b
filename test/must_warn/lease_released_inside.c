/* Released between begin and end: from inside a native call.
 *
 * expect: cannot call function 'bt_lease_release' while context 'lease.pool' is held
 * expect: (context|mutex) 'lease.pool' is not held on every path through here */
#include "lease/lease.h"

int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    void *context;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    if (!bt_lease_begin(&lease, BT_OP_DECODE, &context, NULL)) {
        bt_lease_release(&lease, BT_KEEP, NULL); /* here */
        return 0;
    }
    bt_lease_release(&lease, BT_KEEP, NULL);
    return 0;
} /* here */
