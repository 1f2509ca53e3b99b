/* From the bytes of tokens to the text of an answer: whole UTF-8 characters, stop strings found wherever token
 * boundaries fall, nothing released that might still have to be taken back. Pure; a bt_textout belongs to one request.
 *
 * Invariant: everything released is a prefix of the final answer; `pending` is what is not decided yet. */
#ifndef BT_OWNER_TEXT_H
#define BT_OWNER_TEXT_H

#include "base/base.h"

struct bt_textout {
    const struct bt_text *stops; /* borrowed; empty ones are ignored */
    size_t n_stops;
    struct bt_buf pending;
};

/* Takes the bytes of one token and appends to `out` what is decided. True: a stop string was found; what stood before
 * it is released and the answer ends here. */
bool bt_textout_push(struct bt_textout *t, const void *bytes, size_t len, struct bt_buf *out);

/* The answer ends without a stop string: everything held back is released; unfinished characters as U+FFFD. */
void bt_textout_flush(struct bt_textout *t, struct bt_buf *out);

#endif
