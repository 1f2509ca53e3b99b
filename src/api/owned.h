/* What the bindings whose native calls are one request each share where the owner is a thread or a process of its own.
 * State: none. */
#ifndef BT_OWNED_H
#define BT_OWNED_H

#include "api/api.h"
#include "api/io.h"

/* Of a policy whose owner is not the caller; what the model is, is left to say. */
struct bt_front_params bt_owned_front(const baton_policy *policy, int threads, bool retry);

/* What the owner knows of its model; appended. */
baton_status bt_owned_metadata(struct bt_io *io, struct bt_buf *bytes, baton_error *err);

/* Submits what was encoded, whose memory it frees; request->id is the one that it got. */
baton_status bt_owned_submit(struct bt_io *io, enum bt_what what, struct bt_buf *asked, baton_request *request,
                             struct bt_io_stream **stream, baton_error *err);

#endif
