/* A conversation as bytes: its tokens, how many of them are answer, and the native library's state of all but the last
 * few. Pure functions over bytes that come back from files and networks. */
#ifndef BT_OWNER_SAVED_H
#define BT_OWNER_SAVED_H

#include "native/native.h"

struct bt_saved {
    bt_token *tokens; /* prompt and answer; malloc */
    size_t n_tokens, n_prompt;
    const unsigned char *cache; /* what bt_context_ops' state_set takes; borrowed from the bytes. NULL: none */
    size_t cache_size;
    int32_t cached; /* how many of the tokens are in it; there may be more behind them */
};

/* Room for the cache is left at the end: *cache points there until the buffer grows. */
bool bt_saved_begin(struct bt_buf *b, const struct bt_saved *s, unsigned char **cache);
/* The cache is there, `written` bytes of it. */
void bt_saved_end(struct bt_buf *b, size_t written);

/* Brings a sequence to the first `keep` tokens by a state of at least as many: *fed is how many it has then. Less, 0:
 * the context has another shape, or its library cannot take back cells; the rest is to be computed anew. Anything else
 * is an error, and the sequence empty. */
baton_status bt_saved_restore(struct bt_context *c, int seq, const unsigned char *cache, size_t size, int32_t keep,
                              int32_t *fed, baton_error *err);

/* BATON_INVALID for what is none, cut off or damaged; _NO_MEMORY. */
baton_status bt_saved_get(const void *bytes, size_t size, struct bt_saved *s, baton_error *err);
void bt_saved_free(struct bt_saved *s);

#endif
