/* Starting owners as processes. */
#include "ipc/spawn_int.h"

baton_status bt_spawn_processes(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err) {
    (void)params;
    (void)spawn;
    return bt_fail(err, BATON_UNSUPPORTED, "owner = process is not in this version: use owner = thread");
}
