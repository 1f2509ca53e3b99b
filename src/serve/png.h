/* Pixels as a PNG file in memory. Pure. */
#ifndef BT_PNG_H
#define BT_PNG_H

#include "wire/drawing.h"

/* Appends it. `most`: bytes that it may have. _TOO_LONG: it would have more; _UNSUPPORTED: no PNG has so many channels;
 * _FAILED: libpng says why not; _NO_MEMORY. What was appended until then is left there. */
baton_status bt_png_write(const struct bt_sd_image *image, size_t most, struct bt_buf *out, baton_error *err);

#endif
