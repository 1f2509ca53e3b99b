/* A function for those who have the pool's lock, called without.
 *
 * expect: calling function 'bt_pool_hold_locked' requires holding lock 'pool->lock' exclusively */
#include "lease/pool.h"

uint64_t f(struct bt_pool *pool, const struct bt_waiter *w);

uint64_t f(struct bt_pool *pool, const struct bt_waiter *w) {
    return bt_pool_hold_locked(pool, w, 1, BT_OP_IDLE); /* here */
}
