/* Bodies in pieces. Owns nothing. */
#include "ipc/outbox.h"

void bt_outbox_add(struct bt_list *outbox, struct bt_outgoing *o, enum bt_frame_type type, uint64_t id,
                   uint32_t attempt, const struct bt_buf *body) {
    o->type = type;
    o->id = id;
    o->attempt = attempt;
    o->body = body;
    o->offset = 0;
    bt_list_append(outbox, &o->link);
}

bool bt_outbox_fill(struct bt_list *outbox, struct bt_buf *out) {
    bool any = false;
    while (!bt_list_empty(outbox) && out->len < BT_OUTBOX_ROOM && !out->failed) {
        struct bt_outgoing *o = BT_CONTAINER(outbox->next, struct bt_outgoing, link);
        o->offset = bt_put_piece(out, o->type, o->id, o->attempt, o->body->data, o->body->len, o->offset);
        if (o->offset == o->body->len)
            bt_list_remove(&o->link);
        any = true;
    }
    return any;
}

void bt_outbox_remove(struct bt_outgoing *o) {
    bt_list_remove(&o->link);
}
