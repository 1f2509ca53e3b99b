/* Whether this build has libnats, and what to say where it has not. State: none. */
#include "work/nats.h"

#ifdef BATON_HAS_NATS
bool bt_nats_built(void) {
    return true;
}
#else
static baton_status none(baton_error *err) {
    return bt_fail(err, BATON_UNSUPPORTED, "this build has no NATS: build it with libnats (Debian: libnats-dev)");
}

bool bt_nats_built(void) {
    return false;
}

baton_status bt_nats_work(const struct bt_nats_worker_params *params, baton_error *err) {
    (void)params;
    return none(err);
}

baton_status bt_nats_submit(const struct bt_nats_submit_params *params, baton_error *err) {
    (void)params;
    return none(err);
}
#endif
