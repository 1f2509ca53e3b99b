/* What baton looks at in an image file before a native library decodes it: the kind, the size, and that decoding it
 * takes no more memory than its size allows. Pure functions over bytes of strangers. */
#ifndef BT_IMAGE_H
#define BT_IMAGE_H

#include "native/native.h"

enum {
    BT_IMAGE_BYTES_MAX = 32 << 20,
    BT_IMAGE_PIXELS_MAX = 32 << 20,
    BT_IMAGE_SIDE_MAX = 1 << 15,
};

struct bt_image_shape {
    uint32_t width, height;
    bool jpeg;
};

/* `number`: of the image in its request, from 0, for the error's text. BATON_INVALID: neither PNG nor JPEG, cut off,
 * damaged, or too large; _NO_MEMORY. What it lets pass may still turn out damaged when it is decoded. */
baton_status bt_image_look(const struct bt_image *image, size_t number, struct bt_image_shape *shape, baton_error *err);

/* Cuts a text at each `mark`, of which there must be n, at most BT_IMAGES_MAX: texts[i] is before the i-th, texts[n]
 * after the last. _INVALID: too many images; _UNSUPPORTED: their number is another one, or `sees` is false. */
baton_status bt_image_texts(const char *text, size_t len, const char *mark, size_t n, bool sees, struct bt_text *texts,
                            baton_error *err);

#endif
