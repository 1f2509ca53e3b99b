/* What an owner may say. It may be in a stranger's hands, whose model file it has read: its word moves nothing that it
 * was not given, takes no more memory here than what was asked for can need, and claims no end that is the front's to
 * tell. Whoever breaks a rule is broken itself: BATON_PROTOCOL, and it is killed. Pure. */
#ifndef BT_BELIEVE_H
#define BT_BELIEVE_H

#include "ipc/dispatch.h"

/* `first`: what was told first of this model, which callers reckon with; taken from *r if there is none. */
bool bt_believe_ready(struct bt_sizes *first, int sequences, const struct bt_frame_ready *r);

/* Why an owner ended, or does not do what was asked. */
bool bt_believe_failure(baton_status status);
bool bt_believe_refusal(enum bt_call_op op, baton_status status);

bool bt_believe_token(const struct bt_request *r, const struct bt_frame_token *t);
bool bt_believe_data(const struct bt_request *r, const struct bt_frame_data *data);
bool bt_believe_done(const struct bt_request *r, const struct bt_frame_done *done);

#endif
