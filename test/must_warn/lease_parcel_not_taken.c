/* A parcel is no lease before it is taken.
 *
 * expect: calling function 'use' requires holding lease 'parcel' exclusively */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_lease *parcel);

int f(struct bt_lease *parcel) {
    use(parcel); /* here */
    return 0;
}
