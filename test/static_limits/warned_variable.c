/* Right, but warned of: what an accessor returned, by way of a variable.
 *
 * expect: calling function 'engine_step' requires holding context 'engine' exclusively */
#include "lease/lease.h"

struct BATON_CAPABILITY("context") engine;
struct engine *engine_of(const struct bt_lease *lease) BATON_REQUIRES(lease) BATON_RETURNS_HELD(lease);
int engine_step(struct engine *engine) BATON_REQUIRES(engine);
int f(const struct bt_lease *lease) BATON_REQUIRES(lease);

int f(const struct bt_lease *lease) {
    struct engine *engine = engine_of(lease);
    return engine_step(engine); /* here */
}
