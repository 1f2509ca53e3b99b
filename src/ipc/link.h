/* One end of a stream socket with what came in and what is still to go out, watched by somebody's epoll descriptor.
 * State: the caller's; one thread. */
#ifndef BT_LINK_H
#define BT_LINK_H

#include "base/base.h"

enum { BT_LINK_FILL_MAX = 128 << 10 }; /* read at once: who writes without end has no more than its turn */

struct bt_link {
    int fd; /* -1: closed */
    int epoll;
    uint64_t tag; /* what epoll says of it */
    struct bt_buf in, out;
    bool blocked; /* watched for room to write, too */
};

/* Takes fd (non-blocking), which is closed if it cannot be watched. */
baton_status bt_link_open(struct bt_link *l, int fd, int epoll, uint64_t tag, baton_error *err);

/* Writes what there is room for; the rest when there is room. A buffer that has lost a frame makes the link ready at
 * once: whoever pumps it looks at `failed`. */
void bt_link_flush(struct bt_link *l);

/* Reads what there is, up to BT_LINK_FILL_MAX bytes: a link with more is ready again at once. False: the other side has
 * closed its end; or memory is short, and `in` has failed. */
bool bt_link_fill(struct bt_link *l);

/* The same, and keeps nothing of it, nor of what was to go out. */
bool bt_link_ignore(struct bt_link *l);

/* What came in and was not read is dropped, and so is what did not go out. */
void bt_link_close(struct bt_link *l);

#endif
