/* What a GGUF file says of its size and shape. */
#ifndef BT_GGUF_H
#define BT_GGUF_H

#include "native/native.h"

struct bt_gguf {
    uint64_t weight_bytes;    /* of this file */
    uint64_t bytes_per_token; /* of all layers' keys and values; 0: the shape is not in the file */
    uint64_t ctx_train;       /* 0: not in the file */
};
/* From a descriptor, whose offset it neither reads nor moves. _BAD_MODEL, _NO_MEMORY. `path` is for texts. */
baton_status bt_gguf_read(int fd, const char *path, struct bt_gguf *g, baton_error *err);

#endif
