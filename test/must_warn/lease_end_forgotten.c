/* begin without end where the native call fails.
 *
 * expect: (context|mutex) 'lease->pool' is not held on every path through here */
#include "lease/lease.h"

int f(const struct bt_lease *lease, int (*native)(void *context)) BATON_REQUIRES(lease);

int f(const struct bt_lease *lease, int (*native)(void *context)) {
    void *context;
    if (bt_lease_begin(lease, BT_OP_DECODE, &context, NULL))
        return 1;
    if (native(context))
        return 2;
    bt_lease_end(lease);
    return 0;
} /* here */
