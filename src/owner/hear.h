/* The loop of an owner that hears: one state of a recogniser, one request at a time, in the thread that calls it. */
#ifndef BT_OWNER_HEAR_H
#define BT_OWNER_HEAR_H

#include "native/whisper.h"

struct bt_hear_params {
    struct bt_whisper *model; /* shared, immutable; outlives the owner */
    int threads;              /* for asks that do not say; 0: cores - 1 */
    int fd;                   /* the owner's end of a stream socket, non-blocking; not closed here */
};

/* Makes the state, says READY (or FATAL), serves until CLOSE or the peer is gone, frees the state. */
void bt_hear_run(const struct bt_hear_params *params);

#endif
