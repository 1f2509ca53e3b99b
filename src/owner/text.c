/* Stop strings and UTF-8 boundaries. Pure; state only in the bt_textout passed in. */
#include "owner/text.h"

#include <string.h>

/* Where the earliest stop string begins; len if there is none. */
static size_t find_stop(const struct bt_textout *t) {
    size_t first = t->pending.len;
    for (size_t i = 0; i < t->n_stops; i++) {
        if (t->stops[i].len == 0 || t->stops[i].len > t->pending.len)
            continue;
        const unsigned char *at = memmem(t->pending.data, t->pending.len, t->stops[i].data, t->stops[i].len);
        if (at)
            first = BT_MIN(first, (size_t)(at - t->pending.data));
    }
    return first;
}

/* The longest end of pending that is the beginning of a stop string. */
static size_t maybe_stop(const struct bt_textout *t) {
    size_t longest = 0;
    for (size_t i = 0; i < t->n_stops; i++) {
        size_t most = t->stops[i].len ? BT_MIN(t->stops[i].len - 1, t->pending.len) : 0;
        for (size_t n = most; n > longest; n--)
            if (memcmp(t->pending.data + t->pending.len - n, t->stops[i].data, n) == 0)
                longest = n;
    }
    return longest;
}

static void release(struct bt_textout *t, size_t len, struct bt_buf *out) {
    bt_utf8_clean(out, (const char *)t->pending.data, len);
    bt_buf_drop(&t->pending, len);
}

bool bt_textout_push(struct bt_textout *t, const void *bytes, size_t len, struct bt_buf *out) {
    bt_buf_add(&t->pending, bytes, len);
    if (t->pending.len == 0)
        return false;
    size_t stop = find_stop(t);
    if (stop < t->pending.len) {
        release(t, stop, out);
        t->pending.len = 0;
        return true;
    }
    size_t held = maybe_stop(t);
    held += bt_utf8_unfinished((const char *)t->pending.data, t->pending.len - held);
    release(t, t->pending.len - held, out);
    return false;
}

void bt_textout_flush(struct bt_textout *t, struct bt_buf *out) {
    release(t, t->pending.len, out);
}
