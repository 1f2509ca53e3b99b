/* Conversations as bytes. Stateless. */
#include "owner/saved.h"

#include <stdlib.h>
#include <string.h>

enum { SAVED_MAGIC = 0x43544142, SAVED_VERSION = 1 }; /* "BATC" */

struct header {
    uint32_t magic, version;
    uint64_t sum; /* of everything behind it */
    uint64_t n_tokens, n_prompt, cache_size;
    int32_t cached;
    uint32_t zero;
};

static const size_t behind_sum = offsetof(struct header, n_tokens);

bool bt_saved_begin(struct bt_buf *b, const struct bt_saved *s, unsigned char **cache) {
    struct header h = {.magic = SAVED_MAGIC,
                       .version = SAVED_VERSION,
                       .n_tokens = s->n_tokens,
                       .n_prompt = s->n_prompt,
                       .cached = s->cached};
    b->len = 0;
    bt_buf_add(b, &h, sizeof h);
    bt_buf_add(b, s->tokens, s->n_tokens * sizeof *s->tokens);
    if (b->failed || !bt_buf_reserve(b, s->cache_size))
        return false;
    *cache = b->data + b->len;
    return true;
}

void bt_saved_end(struct bt_buf *b, size_t written) {
    struct header h;
    b->len += written;
    memcpy(&h, b->data, sizeof h);
    h.cache_size = written;
    memcpy(b->data, &h, sizeof h);
    h.sum = bt_sum64(b->data + behind_sum, b->len - behind_sum);
    memcpy(b->data, &h, sizeof h);
}

baton_status bt_saved_get(const void *bytes, size_t size, struct bt_saved *s, baton_error *err) {
    const unsigned char *from = bytes;
    struct header h;
    memset(s, 0, sizeof *s);
    if (size < sizeof h)
        return bt_fail(err, BATON_INVALID, "%zu bytes are no saved conversation: it is cut off", size);
    memcpy(&h, from, sizeof h);
    if (h.magic != SAVED_MAGIC || h.version != SAVED_VERSION)
        return bt_fail(err, BATON_INVALID, "these %zu bytes are no saved conversation, or of another version of baton",
                       size);
    size_t rest = size - sizeof h;
    bool whole = h.n_tokens <= rest / sizeof(bt_token) && h.cache_size == rest - h.n_tokens * sizeof(bt_token) &&
                 h.sum == bt_sum64(from + behind_sum, size - behind_sum);
    if (!whole || h.n_prompt == 0 || h.n_prompt > h.n_tokens || h.cached < 0 || (uint64_t)h.cached > h.n_tokens)
        return bt_fail(err, BATON_INVALID, "the saved conversation of %zu bytes is damaged or cut off", size);
    size_t tokens = h.n_tokens * sizeof *s->tokens;
    s->tokens = malloc(tokens);
    if (!s->tokens)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", (size_t)h.n_tokens);
    memcpy(s->tokens, from + sizeof h, tokens);
    s->n_tokens = h.n_tokens;
    s->n_prompt = h.n_prompt;
    s->cache = h.cache_size ? from + sizeof h + tokens : NULL;
    s->cache_size = h.cache_size;
    s->cached = h.cached;
    return BATON_OK;
}

void bt_saved_free(struct bt_saved *s) {
    free(s->tokens);
    memset(s, 0, sizeof *s);
}

baton_status bt_saved_restore(struct bt_context *c, int seq, const unsigned char *cache, size_t size, int32_t keep,
                              int32_t *fed, baton_error *err) {
    baton_error why = {BATON_OK, ""};
    *fed = 0;
    c->ops->seq_rm(c, seq, 0, -1);
    baton_status status = c->ops->state_set(c, seq, cache, size, &why);
    if (status == BATON_UNSUPPORTED || status == BATON_TOO_LONG)
        return BATON_OK;
    if (status)
        return bt_fail(err, status, "%s", why.text);
    int32_t there = c->ops->pos_max(c, seq) + 1;
    if (there < keep || (there > keep && !c->ops->seq_rm(c, seq, keep, -1)))
        c->ops->seq_rm(c, seq, 0, -1);
    else
        *fed = keep;
    return BATON_OK;
}
