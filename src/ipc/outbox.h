/* Bodies on their way to one owner: one after the other, a piece whenever the socket has taken what was before it, so
 * that neither a frame nor a buffer has to hold all of it, and a CANCEL or an ACK is never behind more than a piece.
 * Pure; State: the caller's. */
#ifndef BT_OUTBOX_H
#define BT_OUTBOX_H

#include "base/list.h"
#include "wire/frame.h"

/* Part of whatever has the body. */
struct bt_outgoing {
    struct bt_list link; /* in no list: nothing is on its way */
    enum bt_frame_type type;
    uint64_t id;
    uint32_t attempt;
    const struct bt_buf *body; /* stays as it is while it is on its way */
    size_t offset;             /* sent so far */
};

enum { BT_OUTBOX_ROOM = 512 << 10 };

/* `o` is in no list. */
void bt_outbox_add(struct bt_list *outbox, struct bt_outgoing *o, enum bt_frame_type type, uint64_t id,
                   uint32_t attempt, const struct bt_buf *body);

/* Pieces into `out` until it holds BT_OUTBOX_ROOM bytes. True: something was put there. */
bool bt_outbox_fill(struct bt_list *outbox, struct bt_buf *out);

/* Nothing more of it is sent. Harmless when it is not on its way. */
void bt_outbox_remove(struct bt_outgoing *o);
static inline bool bt_outgoing_waits(const struct bt_outgoing *o) {
    return !bt_list_empty(&o->link);
}

#endif
