/* A lease that nobody acquired.
 *
 * expect: calling function 'use' requires holding lease 'lease' exclusively */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
int f(void);

int f(void) {
    struct bt_lease lease = {0};
    use(&lease); /* here */
    return 0;
}
