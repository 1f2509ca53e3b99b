/* Owners as threads of this process: one per context, over one model. The caller gets a socket to each and nothing
 * else, so that a process can stand there instead. */
#ifndef BT_SPAWN_H
#define BT_SPAWN_H

#include "native/native.h"

struct bt_spawn;

/* Loads the model (blocks) and starts `contexts` owners; fds[i] is the front's end of the i-th, non-blocking, and the
 * caller's to close. */
baton_status bt_spawn_open(const struct bt_model_params *model, const struct bt_context_params *context, int contexts,
                           int *fds, struct bt_spawn **spawn, baton_error *err);

const struct bt_model *bt_spawn_model(const struct bt_spawn *spawn);

/* Sends a visit to that owner. Its done is called on the owner's thread, or from bt_spawn_close. Any thread. */
struct bt_visit;
void bt_spawn_visit(struct bt_spawn *spawn, int context, struct bt_visit *visit);

/* True on a thread that is one of these owners. Any thread. */
bool bt_spawn_is_owner(const struct bt_spawn *spawn);

/* After the caller has closed the sockets: waits for the last native call of each owner, frees the model. */
void bt_spawn_close(struct bt_spawn **spawn);

#endif
