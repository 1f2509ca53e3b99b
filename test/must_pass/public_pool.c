/* A lease of the public API: acquired, used, handed on, released. */
#include "baton/baton.h"

void use(void *context);
int f(baton_pool *pool, baton_lease *parcel);
int g(baton_lease *parcel);

int f(baton_pool *pool, baton_lease *parcel) {
    baton_lease lease;
    void *context;
    if (baton_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    if (!baton_lease_begin(&lease, BATON_OP_USER, &context, NULL)) {
        use(context);
        baton_lease_end(&lease);
    }
    if (baton_lease_cancelled(&lease)) {
        baton_lease_release(&lease, BATON_RESET, NULL);
        return 2;
    }
    baton_lease_give(&lease, parcel, NULL);
    return 0;
}

int g(baton_lease *parcel) {
    baton_lease lease;
    if (baton_lease_take(parcel, &lease, NULL))
        return 1;
    baton_lease_release(&lease, BATON_KEEP, NULL);
    return 0;
}
