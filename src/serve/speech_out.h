/* From the records of an owner that hears (wire/speech.h), as they come in pieces, to JSON. Pure functions. */
#ifndef BT_SPEECH_OUT_H
#define BT_SPEECH_OUT_H

#include "wire/speech.h"

/* Begins zeroed. */
struct bt_speech_out {
    struct bt_buf text; /* of all segments so far: as it was heard, one behind the other */
    size_t n;           /* how many */
    /* within: */
    struct bt_buf records; /* what is not whole yet */
    struct bt_buf segments;
    char language[8];
};
void bt_speech_out_free(struct bt_speech_out *o);

void bt_speech_out_add(struct bt_speech_out *o, const char *bytes, size_t len);
/* The next segment of what was added, in members of JSON, each with a comma before it: "index", "start", "end" in
 * seconds, "text". BATON_OK: appended to b; _AGAIN: there is none; _PROTOCOL: those are no records; _NO_MEMORY. */
baton_status bt_speech_out_next(struct bt_speech_out *o, struct bt_buf *b);
/* The whole body, appended. */
void bt_speech_out_whole(const struct bt_speech_out *o, bool verbose, int64_t audio_ms, struct bt_buf *b);

#endif
