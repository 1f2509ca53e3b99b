/* The texts of segments and tokens: whole characters, and where they are kept. Calls no native library. State: the
 * run's. */
#include <string.h>

#include "native/whisper.h"

const char *bt_whisper_put_text(char **at, const char *text) {
    char *start = *at;
    size_t len = strlen(text) + 1;
    memcpy(start, text, len);
    *at += len;
    return start;
}

void bt_whisper_whole(struct bt_cut *cut, const char *text, struct bt_buf *out) {
    struct bt_buf bytes = BT_BUF_INIT;
    bt_buf_add(&bytes, cut->bytes, cut->n);
    bt_buf_adds(&bytes, text);
    out->failed |= bytes.failed;
    const char *from = bytes.data ? (const char *)bytes.data : "";
    cut->n = bt_utf8_unfinished(from, bytes.len);
    memcpy(cut->bytes, from + bytes.len - cut->n, cut->n);
    bt_utf8_clean(out, from, bytes.len - cut->n);
    bt_buf_add(out, "", 1);
    bt_buf_free(&bytes);
}
