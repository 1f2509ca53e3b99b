/* One way out for every error, as C programs have it. */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_pool *pool, int n);

int f(struct bt_pool *pool, int n) {
    struct bt_lease lease;
    void *context;
    int rc = -1;
    baton_status status = bt_lease_acquire(pool, NULL, &lease, NULL);
    if (status)
        return status;
    if (n < 0)
        goto out;
    if (bt_lease_begin(&lease, BT_OP_DECODE, &context, NULL))
        goto out;
    rc = context != NULL;
    bt_lease_end(&lease);
    use(&lease);
out:
    bt_lease_release(&lease, BT_RESET, NULL);
    return rc;
}
