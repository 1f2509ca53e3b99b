/* Bodies that come in pieces: SUBMIT, MORE and CALL frames and their PARTs, until they are whole. A pure state machine;
 * what is here belongs to whoever reads the socket. Memory grows with what has come, never with what was announced. */
#ifndef BT_ASSEMBLE_H
#define BT_ASSEMBLE_H

#include "base/list.h"
#include "wire/frame.h"

/* One that is whole, or on its way to it. */
struct bt_body {
    struct bt_list link;
    enum bt_frame_type type;
    struct bt_frame_body head; /* its `first` is spent */
    struct bt_buf bytes;
};

struct bt_bodies {
    struct bt_list list; /* those that are not whole */
    int n, most;
};

/* `most`: how many may be on their way at once. */
void bt_bodies_init(struct bt_bodies *b, int most);
void bt_bodies_free(struct bt_bodies *b);

/* Takes a SUBMIT, MORE, CALL or PART frame. BATON_OK: *whole is the caller's, to be freed with bt_body_free. _AGAIN:
 * more has to come. _PROTOCOL: malformed; more than was announced; another body of an id that has one on its way, or a
 * PART of one that has none; too many at once. _NO_MEMORY. */
baton_status bt_bodies_take(struct bt_bodies *b, const struct bt_frame *f, struct bt_body **whole);

/* The rest of that id's body will not come: *head says what it was. False: none was on its way. */
bool bt_bodies_drop(struct bt_bodies *b, uint64_t id, enum bt_frame_type *type, struct bt_frame_body *head);

void bt_body_free(struct bt_body *body);

#endif
