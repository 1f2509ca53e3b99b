/* The loop of an owner that draws: one context of libstable-diffusion, one request at a time, in the thread that calls
 * it. */
#ifndef BT_OWNER_DRAW_H
#define BT_OWNER_DRAW_H

#include "native/sd.h"

struct bt_draw_params {
    struct bt_sd *sd; /* borrowed, and used by nobody else meanwhile */
    const char *name; /* the model's file, to be shown */
    int fd;           /* the owner's end of a stream socket, non-blocking; not closed here */
};

/* Says READY, serves until CLOSE or the peer is gone. */
void bt_draw_run(const struct bt_draw_params *params);

#endif
