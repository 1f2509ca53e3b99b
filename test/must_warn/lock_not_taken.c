/* A function for those who have the pool's lock, called without.
 *
 * expect: calling function 'bt_lease_stuck_locked' requires holding lock 'pool->lock' exclusively */
#include "lease/pool.h"

bool f(const struct bt_pool *pool);

bool f(const struct bt_pool *pool) {
    return bt_lease_stuck_locked(pool, 1, BT_NEVER_NS); /* here */
}
