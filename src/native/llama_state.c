/* One sequence's cache as bytes: libllama's own, behind a header that says whose they are and that they are whole. They
 * come back from files and networks, and libllama believes what it reads. */
#include "native/llama_internal.h"

#include <string.h>

enum { STATE_MAGIC = 0x53544142, STATE_VERSION = 1 }; /* "BATS" */

struct header {
    uint32_t magic, version;
    uint64_t model, adapters;
    uint64_t size, sum; /* of libllama's bytes */
    int32_t cells;
    uint16_t exact, sequences;
};

static bool has_memory(const struct bt_llama_context *c, int seq) {
    return c->memory && seq >= 0 && seq < c->sequences;
}

size_t bt_llama_state_size(struct bt_context *base, int seq) {
    const struct bt_llama_context *c = bt_llama_context_of(base);
    return has_memory(c, seq) ? sizeof(struct header) + llama_state_seq_get_size(c->ctx, seq) : 0;
}

size_t bt_llama_state_get(struct bt_context *base, int seq, unsigned char *to, size_t size) {
    struct bt_llama_context *c = bt_llama_context_of(base);
    if (!has_memory(c, seq) || size < bt_llama_state_size(base, seq))
        return 0;
    size_t written = llama_state_seq_get_data(c->ctx, to + sizeof(struct header), size - sizeof(struct header), seq);
    if (written == 0)
        return 0;
    struct header h = {.magic = STATE_MAGIC,
                       .version = STATE_VERSION,
                       .model = c->model->fingerprint,
                       .adapters = c->adapters,
                       .size = written,
                       .sum = bt_sum64(to + sizeof h, written),
                       .cells = llama_memory_seq_pos_max(c->memory, seq) + 1,
                       .exact = c->exact,
                       .sequences = (uint16_t)c->sequences};
    memcpy(to, &h, sizeof h);
    return sizeof h + written;
}

static baton_status check(const struct bt_llama_context *c, const unsigned char *from, size_t size, struct header *h,
                          baton_error *err) {
    if (size < sizeof *h)
        return bt_fail(err, BATON_INVALID, "%zu bytes are no saved state: it is cut off", size);
    memcpy(h, from, sizeof *h);
    if (h->magic != STATE_MAGIC || h->version != STATE_VERSION)
        return bt_fail(err, BATON_INVALID, "these %zu bytes are no saved state, or of another version of baton", size);
    if (h->size != size - sizeof *h || h->sum != bt_sum64(from + sizeof *h, size - sizeof *h))
        return bt_fail(err, BATON_INVALID, "the saved state of %zu bytes is damaged or cut off", size);
    if (h->model != c->model->fingerprint)
        return bt_fail(err, BATON_INVALID, "the saved state was made with another model than %s", c->model->path);
    if (h->adapters != c->adapters)
        return bt_fail(err, BATON_INVALID, "the saved state was made with other adapters than this context has");
    if (h->exact != c->exact)
        return bt_fail(err, BATON_UNSUPPORTED, "the saved state was made in a context that is%s exact; this one is%s",
                       h->exact ? "" : " not", c->exact ? "" : " not");
    if (h->sequences != c->sequences)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "the saved state is of a context with %d sequences and this one has %d: libllama restores into "
                       "as many only",
                       h->sequences, c->sequences);
    if (h->cells > (int32_t)llama_n_ctx_seq(c->ctx))
        return bt_fail(err, BATON_TOO_LONG, "the saved state has %d tokens and the context holds %u", h->cells,
                       llama_n_ctx_seq(c->ctx));
    return BATON_OK;
}

baton_status bt_llama_state_set(struct bt_context *base, int seq, const unsigned char *from, size_t size,
                                baton_error *err) {
    struct bt_llama_context *c = bt_llama_context_of(base);
    struct header h;
    if (!has_memory(c, seq))
        return bt_fail(err, BATON_INVALID, "there is no sequence %d to restore into", seq);
    baton_status status = check(c, from, size, &h, err);
    if (status)
        return status;
    struct bt_buf causes = BT_BUF_INIT;
    c->batch.n_tokens = 0; /* logits of before are gone */
    llama_memory_seq_rm(c->memory, seq, -1, -1);
    bt_llama_listen(&causes);
    size_t got = llama_state_seq_set_data(c->ctx, from + sizeof h, h.size, seq);
    const char *cause = bt_llama_heard(&causes);
    if (got != h.size || llama_memory_seq_pos_max(c->memory, seq) + 1 != h.cells) {
        llama_memory_seq_rm(c->memory, seq, -1, -1);
        status = bt_fail(err, BATON_FAILED, "libllama cannot restore the saved state: %s", cause);
    }
    bt_buf_free(&causes);
    return status;
}
