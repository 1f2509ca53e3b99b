/* An object of file scope, touched without its lock.
 *
 * expect: reading variable 'served' requires holding lock 'lock' */
#include "lease/futex.h"

static bt_lock lock;
static int served BATON_GUARDED_BY(lock);
int f(void);

int f(void) {
    bt_lock_acquire(&lock);
    int n = ++served;
    bt_lock_release(&lock);
    return n == served; /* here */
}
