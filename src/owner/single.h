/* The loop of an owner whose native calls are one request each (a transcription, a drawing): frames come in, one
 * request after the other is run, its result goes out as it is made. Everything is one thread's, the native calls
 * included: while one runs, its hooks look at the socket. What a request is, its kind knows (hear.c, draw.c).
 *
 * State: the thread's that calls bt_single_serve. */
#ifndef BT_OWNER_SINGLE_H
#define BT_OWNER_SINGLE_H

#include "wire/frame.h"

struct bt_single;

struct bt_single_kind {
    enum bt_what what;
    const char *refusal; /* of what is asked beside that: one line */
    /* Runs what is asked; the text is the SUBMIT's. _CANCELLED: bt_single_stop said so. */
    baton_status (*run)(void *arg, struct bt_single *s, struct bt_text asked, baton_error *err);
    void (*describe)(void *arg, struct bt_buf *result); /* BT_CALL_METADATA */
    void *arg;
};

/* fd: the owner's end of a stream socket, non-blocking, borrowed. It says HELLO. NULL: no memory, and whoever closes
 * the socket then has said so. */
struct bt_single *bt_single_new(int fd, const struct bt_single_kind *kind);
void bt_single_fatal(struct bt_single *s, const baton_error *err); /* instead of _serve */
void bt_single_serve(struct bt_single *s, const struct bt_frame_ready *ready);
void bt_single_free(struct bt_single *s);

/* For what runs. */

/* To be asked between the steps of a native call, as often as it allows: says that the owner lives, and looks at the
 * socket now and then. True: the call is to end. `single` is the struct's pointer, as hooks have it. */
bool bt_single_stop(void *single);
/* The next bytes of the result, or news of the work; empties the buffer, whose failure is the request's. News are left
 * out while the front is behind. */
void bt_single_data(struct bt_single *s, struct bt_buf *bytes);
void bt_single_news(struct bt_single *s, struct bt_buf *bytes);

#endif
