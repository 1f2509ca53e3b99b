/* From records of numbers to the API's JSON, for HTTP and for tasks. Pure functions. */
#ifndef BT_EMBED_OUT_H
#define BT_EMBED_OUT_H

#include "ipc/front.h"
#include "serve/embed_in.h"

/* What does not fit this model is told before it takes a slot. `width`: floats of its vectors; 0: not known. */
bool bt_embed_fits(const struct bt_embed_request *r, const char *model, size_t width, struct bt_api_error *e);

/* The whole body, appended, of a request that is done; `records` is what came for it. _FAILED: they are no numbers;
 * _NO_MEMORY. */
baton_status bt_embed_out(const struct bt_embed_request *r, const char *model, size_t width, struct bt_text records,
                          const struct bt_outcome *o, struct bt_buf *b);

#endif
