/* Takes the pool's lock, and calls what takes it itself.
 *
 * expect: cannot call function 'bt_pool_expire' while lock 'pool->lock' is held */
#include "lease/pool.h"

void f(struct bt_pool *pool);

void f(struct bt_pool *pool) {
    bt_pool_lock(pool);
    bt_pool_expire(pool); /* here */
    bt_pool_unlock(pool);
}
