/* Acquired and forgotten.
 *
 * expect: (lease|mutex) 'lease' is (still held at the end of function|not held on every path through here) */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    if (!bt_lease_acquire(pool, NULL, &lease, NULL))
        use(&lease);
    return 0; /* here */
}
