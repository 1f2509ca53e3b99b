/* The parts of an owner process. State: the process's. */
#ifndef BT_CHILD_H
#define BT_CHILD_H

#include "wire/frame.h"

/* Reads the START frame, which is the first on the socket; `in` keeps its bytes, which *start borrows. BATON_CLOSED:
 * the front is gone; _PROTOCOL: that is no START, or one of another version. */
baton_status bt_child_start(struct bt_buf *in, struct bt_start *start, baton_error *err);

/* Everything but what was handed over is closed, whatever the front's program left open. */
void bt_child_close_rest(const struct bt_start *start);

/* A thread that ends this process, whatever it is doing, when the front's has ended. */
baton_status bt_child_watch(baton_error *err);

#endif
