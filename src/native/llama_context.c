/* A llama_context: split KV cache, batches from rows, results by row. It belongs to one thread at a time: the holder
 * of its lease or its owner loop. */
#include "native/llama_internal.h"

#include <stdlib.h>
#include <string.h>

static struct bt_llama_context *of(const struct bt_context *c) {
    return bt_llama_context_of(c);
}

static void context_free(struct bt_context *base) {
    struct bt_llama_context *c = of(base);
    if (c->batch.token)
        llama_batch_free(c->batch);
    if (c->eye)
        bt_llama_eye_give(c->model, c->eye);
    if (c->ctx && !c->borrowed)
        llama_free(c->ctx);
    free(c);
}

static int context_capacity(const struct bt_context *base) {
    const struct bt_llama_context *c = of(base);
    int cells = (int)llama_n_ctx_seq(c->ctx);
    if (c->pooling != BT_POOL_OFF)
        cells = BT_MIN(cells, c->rows_max);
    return c->model->learned_positions ? BT_MIN(cells, llama_model_n_ctx_train(c->model->model)) : cells;
}

static uint64_t context_memory(const struct bt_context *base) {
    const struct bt_llama_context *c = of(base);
    const struct llama_model *m = llama_get_model(c->ctx);
    if (!c->memory)
        return 0;
    uint64_t heads = (uint64_t)BT_MAX(llama_model_n_head(m), 1);
    uint64_t width = (uint64_t)llama_model_n_embd(m) / heads * (uint64_t)llama_model_n_head_kv(m);
    return 2 * sizeof(uint16_t) * width * (uint64_t)llama_model_n_layer(m) *
           llama_n_ctx(c->ctx); /* keys, values: f16 */
}

static enum bt_decode context_decode(struct bt_context *base, const struct bt_row *rows, int n) {
    struct bt_llama_context *c = of(base);
    struct llama_batch *b = &c->batch;
    int wanted = 0;
    b->n_tokens = 0; /* rows that are refused leave no logits to be read */
    if (n < 1 || n > c->rows_max || c->pooling != BT_POOL_OFF)
        return BT_DECODE_INVALID;
    for (int i = 0; i < n; i++) {
        const struct bt_row *r = &rows[i];
        if (r->token < 0 || r->token >= c->vocab_size || r->seq < 0 || r->seq >= c->sequences || r->pos < 0)
            return BT_DECODE_INVALID;
        b->token[i] = r->token;
        b->pos[i] = r->pos;
        b->seq_id[i][0] = r->seq;
        b->logits[i] = r->want_logits;
        wanted += r->want_logits;
    }
    if (wanted > BT_LOGITS_MAX(c->sequences))
        return BT_DECODE_INVALID;
    b->n_tokens = n;
    int32_t rc = llama_decode(c->ctx, *b);
    if (rc == 0)
        return BT_DECODE_OK;
    b->n_tokens = 0;
    return rc == 1 ? BT_DECODE_FULL : rc == 2 ? BT_DECODE_ABORTED : rc == -1 ? BT_DECODE_INVALID : BT_DECODE_FAILED;
}

static const float *context_logits(struct bt_context *base, int row) {
    struct bt_llama_context *c = of(base);
    if (row < 0 || row >= c->batch.n_tokens || !c->batch.logits[row])
        return NULL;
    return llama_get_logits_ith(c->ctx, row);
}

static bt_token context_sample(struct bt_context *base, struct bt_sampler *s, int row, uint64_t index) {
    const float *logits = context_logits(base, row);
    return logits ? bt_llama_sampler_pick(s, logits, of(base)->vocab_size, index) : -1;
}

static bool context_seq_rm(struct bt_context *base, int seq, int32_t from, int32_t to) {
    struct bt_llama_context *c = of(base);
    return c->memory && seq >= 0 && seq < c->sequences && llama_memory_seq_rm(c->memory, seq, from, to);
}

static void context_seq_cp(struct bt_context *base, int from, int to) {
    struct bt_llama_context *c = of(base);
    if (c->memory && from != to && from >= 0 && to >= 0 && from < c->sequences && to < c->sequences)
        llama_memory_seq_cp(c->memory, from, to, -1, -1);
}

static int32_t context_pos_max(struct bt_context *base, int seq) {
    struct bt_llama_context *c = of(base);
    return c->memory && seq >= 0 && seq < c->sequences ? llama_memory_seq_pos_max(c->memory, seq) : -1;
}

static void context_set_abort(struct bt_context *base, bool (*abort_hook)(void *arg), void *arg) {
    struct bt_llama_context *c = of(base);
    llama_set_abort_callback(c->ctx, abort_hook, arg);
    if (c->eye)
        bt_llama_eye_abort(c->eye, abort_hook, arg);
}

static void *context_native(struct bt_context *base) {
    return of(base)->ctx;
}

static const struct bt_context_ops context_ops = {
    .free = context_free,
    .capacity = context_capacity,
    .memory = context_memory,
    .decode = context_decode,
    .logits = context_logits,
    .sample = context_sample,
    .seq_rm = context_seq_rm,
    .seq_cp = context_seq_cp,
    .pos_max = context_pos_max,
    .native = context_native,
    .set_abort = context_set_abort,
    .state_size = bt_llama_state_size,
    .state_get = bt_llama_state_get,
    .state_set = bt_llama_state_set,
    .set_adapters = bt_llama_set_adapters,
    .embed_width = bt_llama_embed_width,
    .embed = bt_llama_embed,
    .image = bt_llama_image,
};

static bool native_params(const struct bt_llama_model *m, const struct bt_context_params *params,
                          struct llama_context_params *p) {
    enum { GRAIN = 256 }; /* of the split cache: cells per sequence come in these */
    uint64_t ctx = (uint64_t)(params->ctx ? params->ctx : BT_MIN(llama_model_n_ctx_train(m->model), BT_CTX_PRESET));
    uint64_t cells = (ctx + GRAIN - 1) / GRAIN * GRAIN * (uint64_t)params->sequences;
    *p = llama_context_default_params();
    if (cells > INT32_MAX)
        return false;
    p->n_ctx = (uint32_t)cells;
    p->n_seq_max = (uint32_t)params->sequences;
    p->n_batch = p->n_ubatch = (uint32_t)BT_MAX(params->chunk ? params->chunk : 512, params->sequences);
    p->n_threads = p->n_threads_batch = bt_native_threads(params->threads);
    p->n_outputs_max = (uint32_t)BT_MIN(BT_LOGITS_MAX(params->sequences), (int)p->n_batch);
    p->no_perf = true;
    /* One buffer for all sequences would let neighbours change each other's logits. */
    p->kv_unified = false;
    /* Flash attention takes another kernel for long chunks: logits would depend on how a prompt was cut. */
    p->flash_attn_type = params->exact ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    if (params->pooling != BT_POOL_OFF)
        bt_llama_embed_params(m, params, p);
    return true;
}

/* What stands beside a context: its memory and a batch of its size. */
static baton_status equip(struct bt_llama_context *c, const struct bt_llama_model *m, baton_error *err) {
    c->memory = llama_get_memory(c->ctx);
    if (!c->memory && c->pooling == BT_POOL_OFF)
        return bt_fail(err, BATON_UNSUPPORTED, "%s keeps no memory of a text: it embeds, and does not generate",
                       m->path);
    c->rows_max = (int)llama_n_batch(c->ctx);
    c->batch = llama_batch_init(c->rows_max, 0, 1);
    for (int i = 0; i < c->rows_max; i++)
        c->batch.n_seq_id[i] = 1;
    return BATON_OK;
}

static baton_status create(struct bt_llama_context *c, const struct bt_llama_model *m, struct llama_context_params p,
                           baton_error *err) {
    struct bt_buf causes = BT_BUF_INIT;
    bt_llama_listen(&causes);
    c->ctx = llama_init_from_model(m->model, p);
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    if (!c->ctx)
        status =
            bt_fail(err, BATON_NO_MEMORY,
                    "no context of %u sequences of %u cells: ask for fewer (--sequences) or shorter (--ctx) ones (%s)",
                    p.n_seq_max, p.n_ctx / p.n_seq_max, cause);
    bt_buf_free(&causes);
    if (status != BATON_OK)
        return status;
    return equip(c, m, err);
}

baton_status bt_llama_context_open(struct bt_model *base, const struct bt_context_params *params,
                                   struct bt_context **out, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    struct llama_context_params p;
    *out = NULL;
    if (params->sequences < 1 || (size_t)params->sequences > llama_max_parallel_sequences())
        return bt_fail(err, BATON_INVALID, "%d sequences: libllama takes 1 to %zu in a context", params->sequences,
                       llama_max_parallel_sequences());
    if (params->ctx < 0 || params->chunk < 0 || params->threads < 0)
        return bt_fail(err, BATON_INVALID, "ctx %d, chunk %d, threads %d: none can be negative", params->ctx,
                       params->chunk, params->threads);
    if (!native_params(m, params, &p))
        return bt_fail(err, BATON_INVALID, "%d sequences of %d cells are more than a context can number",
                       params->sequences, params->ctx);
    baton_status status = bt_llama_embed_check(m, params->pooling, err);
    if (status)
        return status;
    struct bt_llama_context *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a context");
    c->base.ops = &context_ops;
    c->sequences = (int)p.n_seq_max;
    c->vocab_size = m->vocab_size;
    c->model = m;
    c->pooling = params->pooling;
    c->exact = params->exact;
    status = create(c, m, p, err);
    if (!status && params->pooling == BT_POOL_OFF)
        status = bt_llama_eye_get(m, params->threads, &c->eye, err);
    if (status != BATON_OK) {
        context_free(&c->base);
        return status;
    }
    *out = &c->base;
    return BATON_OK;
}

baton_status bt_llama_context_wrap(const struct bt_llama_model *m, struct llama_context *native,
                                   struct bt_context **out, baton_error *err) {
    if (llama_n_seq_max(native) != 1)
        return bt_fail(err, BATON_INVALID,
                       "an adopted context has %u sequences: its holder's thread uses one. Make it with n_seq_max = 1",
                       llama_n_seq_max(native));
    struct bt_llama_context *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a context");
    c->base.ops = &context_ops;
    c->model = m;
    c->ctx = native;
    c->borrowed = true;
    c->sequences = 1;
    c->vocab_size = m->vocab_size;
    c->pooling = BT_POOL_OFF;
    baton_status status = equip(c, m, err);
    if (status) {
        context_free(&c->base);
        return status;
    }
    *out = &c->base;
    return BATON_OK;
}
