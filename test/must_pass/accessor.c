/* A native pointer that comes out of a lease alone, and is used on the spot. */
#include "lease/lease.h"

struct BATON_CAPABILITY("context") engine;
struct engine *engine_of(const struct bt_lease *lease) BATON_REQUIRES(lease) BATON_RETURNS_HELD(lease);
int engine_step(struct engine *engine) BATON_REQUIRES(engine);
int f(struct bt_pool *pool);

int f(struct bt_pool *pool) {
    struct bt_lease lease;
    if (bt_lease_acquire(pool, NULL, &lease, NULL))
        return 1;
    int rc = engine_step(engine_of(&lease));
    bt_lease_release(&lease, BT_KEEP, NULL);
    return rc;
}
