/* What goes into frames when an owner draws: the text of a SUBMIT (an ask), the bytes of its DATA (records, one after
 * the other), those of its NEWS (one record each), and the result of BT_CALL_METADATA. The same rules as in frame.h:
 * pure functions over bytes of a peer that may be broken. A picture may be larger than a frame; a record that is not
 * whole yet waits for more. State: none. */
#ifndef BT_WIRE_DRAWING_H
#define BT_WIRE_DRAWING_H

#include "native/sd.h"
#include "wire/frame.h"

enum bt_draw_what { BT_DRAW_IMAGE, BT_DRAW_VIDEO, BT_DRAW_UPSCALE, BT_DRAW_WHAT_END };

/* Decoded, texts and pixels lie in the bytes; bt_draw_ask_free gives back the arrays. Of its callbacks there is one
 * where the asker has one: `progress`, `previews`. */
struct bt_draw_ask {
    enum bt_draw_what what;
    int factor; /* UPSCALE */
    struct bt_sd_ask ask;
    bool progress, previews;
};
void bt_draw_ask_encode(struct bt_buf *b, enum bt_draw_what what, const struct bt_sd_ask *ask, int factor);
baton_status bt_draw_ask_decode(struct bt_text bytes, struct bt_draw_ask *ask);
void bt_draw_ask_free(struct bt_draw_ask *ask);
/* Bytes that the records of its result have at most, with room for a library that rounds sizes up; 0: it is no ask. */
uint64_t bt_draw_most(struct bt_text ask);

/* What the model makes. */
void bt_draw_info_encode(struct bt_buf *b, const struct bt_sd_info *info);
baton_status bt_draw_info_decode(struct bt_text bytes, struct bt_sd_info *info);

/* Results, the same whenever the same is asked: an attempt that goes on with them is not told apart. */
void bt_draw_put_picture(struct bt_buf *b, const struct bt_sd_image *image);
void bt_draw_put_sound(struct bt_buf *b, const struct bt_sd_result *r); /* and the speed of a video */
/* News, which may differ from attempt to attempt, and get lost. */
void bt_draw_put_step(struct bt_buf *b, int step, int steps);
void bt_draw_put_preview(struct bt_buf *b, int step, const struct bt_sd_image *images, size_t n, bool noisy);

enum { BT_DRAW_PICTURES_MAX = 4096, BT_DRAW_PREVIEWS_MAX = 256 };

/* Moves what is whole at the beginning of `in` into the result, copied. _PROTOCOL: those are no records, or too many;
 * _NO_MEMORY. What is not whole stays. */
baton_status bt_draw_take(struct bt_buf *in, struct bt_sd_result *result);

struct bt_draw_news {
    bool preview;
    int step, steps;
    bool noisy;
    struct bt_sd_image images[BT_DRAW_PREVIEWS_MAX]; /* pixels lie in the bytes */
    size_t n;
};
baton_status bt_draw_news_decode(struct bt_text bytes, struct bt_draw_news *news);

#endif
