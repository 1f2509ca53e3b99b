/* end after a begin that nobody looked at.
 *
 * expect: releasing context 'lease->pool' that was not held */
#include "lease/lease.h"

int f(const struct bt_lease *lease) BATON_REQUIRES(lease);

int f(const struct bt_lease *lease) {
    void *context;
    bt_lease_begin(lease, BT_OP_DECODE, &context, NULL);
    bt_lease_end(lease); /* here */
    return 0;
}
