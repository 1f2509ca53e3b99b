/* One thread acquires and gives, another one takes and releases. */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int giver(struct bt_pool *pool, struct bt_lease *parcel);
void *taker(void *parcel);

int giver(struct bt_pool *pool, struct bt_lease *parcel) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    use(&lease);
    return bt_lease_give(&lease, parcel, NULL) != BATON_OK;
}

void *taker(void *parcel) {
    struct bt_lease lease;
    if (bt_lease_take(parcel, &lease, NULL))
        return NULL;
    use(&lease);
    bt_lease_release(&lease, BT_RESET, NULL);
    return parcel;
}
