/* From the records of an owner that draws (wire/drawing.h), as they come in pieces, to images as OpenAI tells them.
 * Pure functions. */
#ifndef BT_DRAW_OUT_H
#define BT_DRAW_OUT_H

#include <time.h>

#include "wire/drawing.h"

/* Begins zeroed, but for what was asked. */
struct bt_draw_out {
    int64_t seed; /* of the first image */
    int count;    /* images */
    struct bt_sd_result result;
    struct bt_buf records; /* what is not whole yet */
};
void bt_draw_out_free(struct bt_draw_out *o);

/* _PROTOCOL: those are no records, or more pictures than were asked for; _NO_MEMORY. */
baton_status bt_draw_out_add(struct bt_draw_out *o, const char *bytes, size_t len);

/* News as members of JSON, each with a comma before it: "step", "steps"; appended. _AGAIN: they say something else;
 * _PROTOCOL. */
baton_status bt_draw_out_news(const char *bytes, size_t len, struct bt_buf *b);

/* The whole body, appended, of at most `most` bytes. _TOO_LONG; _NO_MEMORY; _FAILED: there are fewer images than
 * were asked for. */
baton_status bt_draw_out_whole(const struct bt_draw_out *o, time_t created, size_t most, struct bt_buf *b,
                               baton_error *err);

#endif
