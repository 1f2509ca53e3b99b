/* Embeddings and rank scores, in a context that does nothing else.
 *
 * An exact context takes inputs one by one, having one sequence: then a vector is what it is alone, to the bit. Others
 * take several at once, in one cache (sequences of different lengths would be cut into several calls by the split one,
 * and a pooled vector would be that of the last piece). */
#include "native/llama_internal.h"

#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int metadata_number(const struct bt_llama_model *m, const char *name) {
    char arch[64], key[128], value[32], *end;
    if (llama_model_meta_val_str(m->model, "general.architecture", arch, sizeof arch) <= 0)
        return -1;
    snprintf(key, sizeof key, "%s.%s", arch, name);
    if (llama_model_meta_val_str(m->model, key, value, sizeof value) <= 0)
        return -1;
    long number = strtol(value, &end, 10);
    return *end == '\0' && number >= 0 && number <= INT32_MAX ? (int)number : -1;
}

/* libllama ends the process when it is to rank with a head that is not there, or looks past the positions that were
 * learned: the file is asked what it has. */
static void look_into_piece(struct bt_llama_model *m, int file, bool *head) {
    struct gguf_init_params params = {.no_alloc = true};
    FILE *f = bt_llama_reopen(file);
    struct gguf_context *g = f ? gguf_init_from_file_ptr(f, params) : NULL;
    if (g) {
        *head |= gguf_find_tensor(g, "cls.weight") >= 0 || gguf_find_tensor(g, "cls.output.weight") >= 0;
        m->learned_positions |= gguf_find_tensor(g, "position_embd.weight") >= 0;
        gguf_free(g);
    }
    if (f)
        fclose(f);
}

void bt_llama_look_into(struct bt_llama_model *m, const int *files, size_t n) {
    bool head = false;
    for (size_t i = 0; i < n; i++)
        look_into_piece(m, files[i], &head);
    if (head && metadata_number(m, "pooling_type") == LLAMA_POOLING_TYPE_RANK)
        m->scores = (int)llama_model_n_cls_out(m->model);
}

bool bt_llama_embeds_only(const struct bt_llama_model *m) {
    char causal[16];
    char arch[64], key[128];
    if (llama_model_meta_val_str(m->model, "general.architecture", arch, sizeof arch) <= 0)
        return false;
    snprintf(key, sizeof key, "%s.attention.causal", arch);
    return llama_model_meta_val_str(m->model, key, causal, sizeof causal) > 0 && strcmp(causal, "false") == 0;
}

baton_status bt_llama_embed_check(const struct bt_llama_model *m, enum bt_pooling pooling, baton_error *err) {
    if ((unsigned)pooling > BT_POOL_RANK)
        return bt_fail(err, BATON_INVALID, "pooling %d: there is none of that number", (int)pooling);
    if (pooling == BT_POOL_RANK && m->scores == 0)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "%s has no rank head: to rank documents takes a model trained for it (a \"reranker\")", m->path);
    if (pooling != BT_POOL_OFF && llama_model_has_encoder(m->model))
        return bt_fail(err, BATON_UNSUPPORTED, "%s encodes for a decoder: its vectors are not embeddings", m->path);
    return BATON_OK;
}

void bt_llama_embed_params(const struct bt_llama_model *m, const struct bt_context_params *params,
                           struct llama_context_params *p) {
    static const enum llama_pooling_type types[] = {
        [BT_POOL_NONE] = LLAMA_POOLING_TYPE_NONE, [BT_POOL_MEAN] = LLAMA_POOLING_TYPE_MEAN,
        [BT_POOL_CLS] = LLAMA_POOLING_TYPE_CLS,   [BT_POOL_LAST] = LLAMA_POOLING_TYPE_LAST,
        [BT_POOL_RANK] = LLAMA_POOLING_TYPE_RANK,
    };
    uint32_t cells = p->n_ctx / p->n_seq_max;
    p->embeddings = true;
    p->pooling_type = types[params->pooling];
    p->n_outputs_max = 0;
    /* libllama cannot build a pooling over several caches, and cuts several states into several calls */
    if (params->exact || llama_model_is_recurrent(m->model) || llama_model_is_hybrid(m->model)) {
        p->n_seq_max = 1;
        p->n_ctx = cells;
    }
    p->kv_unified = true;
    /* An input goes through in one piece: pooling and attention in both directions need all of it at once. */
    p->n_batch = p->n_ubatch = p->n_seq_max == 1 ? cells : BT_MAX(cells, BT_MIN(p->n_ctx, 2048U));
}

int bt_llama_embed_width(const struct bt_context *base) {
    const struct bt_llama_context *c = bt_llama_context_of(base);
    if (c->pooling == BT_POOL_OFF)
        return 0;
    return c->pooling == BT_POOL_RANK ? c->model->scores : llama_model_n_embd_out(c->model->model);
}

static void copy(float *out, const float *in, int width, bool normalise) {
    double length = 0;
    for (int i = 0; normalise && i < width; i++)
        length += (double)in[i] * in[i];
    float by = length > 0 ? (float)(1 / sqrt(length)) : 1;
    for (int i = 0; i < width; i++)
        out[i] = in[i] * by;
}

static baton_status check(const struct bt_llama_context *c, const struct bt_input *inputs, size_t n, baton_error *err) {
    size_t most = (size_t)c->base.ops->capacity(&c->base);
    if (c->pooling == BT_POOL_OFF)
        return bt_fail(err, BATON_UNSUPPORTED, "this context generates: open one with a pooling to embed");
    for (size_t i = 0; i < n; i++) {
        if (inputs[i].n == 0)
            return bt_fail(err, BATON_INVALID, "input %zu has no tokens", i);
        if (inputs[i].n > most)
            return bt_fail(err, BATON_TOO_LONG, "input %zu has %zu tokens and the context holds %zu", i, inputs[i].n,
                           most);
        for (size_t k = 0; k < inputs[i].n; k++)
            if (inputs[i].tokens[k] < 0 || inputs[i].tokens[k] >= c->vocab_size)
                return bt_fail(err, BATON_INVALID, "token %d of input %zu is not in the vocabulary (0 to %d)",
                               inputs[i].tokens[k], i, c->vocab_size - 1);
    }
    return BATON_OK;
}

/* As many inputs from the first on as go through together. */
static size_t load(struct bt_llama_context *c, const struct bt_input *inputs, size_t n) {
    size_t most = (size_t)c->sequences, count = 0;
    struct llama_batch *b = &c->batch;
    b->n_tokens = 0;
    while (count < BT_MIN(n, most) && (size_t)b->n_tokens + inputs[count].n <= (size_t)c->rows_max) {
        for (size_t k = 0; k < inputs[count].n; k++, b->n_tokens++) {
            b->token[b->n_tokens] = inputs[count].tokens[k];
            b->pos[b->n_tokens] = (llama_pos)k;
            b->seq_id[b->n_tokens][0] = (llama_seq_id)count;
            b->logits[b->n_tokens] = true;
        }
        count++;
    }
    return count;
}

static baton_status compute(struct bt_llama_context *c, baton_error *err) {
    if (c->memory)
        llama_memory_clear(c->memory, false);
    int32_t rc = c->memory ? llama_decode(c->ctx, c->batch) : llama_encode(c->ctx, c->batch);
    if (rc == 0)
        return BATON_OK;
    if (rc == 2)
        return bt_fail(err, BATON_CANCELLED, "embedding was aborted");
    return bt_fail(err, BATON_FAILED, "the native call that embeds %d tokens failed (%d)", c->batch.n_tokens, rc);
}

/* Everything of the call is read before the next one. */
static baton_status collect(struct bt_llama_context *c, size_t count, bool normalise, float **out, baton_error *err) {
    int width = bt_llama_embed_width(&c->base);
    int vectors = c->pooling == BT_POOL_NONE ? c->batch.n_tokens : (int)count;
    for (int i = 0; i < vectors; i++) {
        const float *v =
            c->pooling == BT_POOL_NONE ? llama_get_embeddings_ith(c->ctx, i) : llama_get_embeddings_seq(c->ctx, i);
        if (!v)
            return bt_fail(err, BATON_FAILED, "libllama made no vector %d", i);
        copy(*out, v, width, normalise && c->pooling != BT_POOL_RANK);
        *out += width;
    }
    return BATON_OK;
}

baton_status bt_llama_embed(struct bt_context *base, const struct bt_input *inputs, size_t n, bool normalise,
                            float *out, baton_error *err) {
    struct bt_llama_context *c = bt_llama_context_of(base);
    baton_status status = check(c, inputs, n, err);
    while (n > 0 && !status) {
        size_t count = load(c, inputs, n);
        status = compute(c, err);
        if (!status)
            status = collect(c, count, normalise, &out, err);
        inputs += count;
        n -= count;
    }
    c->batch.n_tokens = 0;
    return status;
}

/* [BOS] query [EOS] [SEP] document [EOS], each where the vocabulary says so. */
baton_status bt_llama_pair(const struct bt_model *base, const char *query, const char *document, bt_token **tokens,
                           size_t *n, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    bt_token *q = NULL, *d = NULL, eos = llama_vocab_eos(m->vocab), sep = llama_vocab_sep(m->vocab);
    size_t nq = 0, nd = 0;
    *tokens = NULL;
    *n = 0;
    if (m->scores == 0)
        return bt_fail(err, BATON_UNSUPPORTED, "%s has no rank head: it cannot score a query and a document", m->path);
    if (eos < 0)
        eos = sep;
    baton_status status = base->ops->tokenize(base, query, strlen(query), false, false, &q, &nq, err);
    if (!status)
        status = base->ops->tokenize(base, document, strlen(document), false, false, &d, &nd, err);
    bt_token *t = status ? NULL : malloc((nq + nd + 4) * sizeof *t);
    if (!status && !t)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a pair of %zu tokens", nq + nd);
    if (t) {
        size_t k = 0;
        if (llama_vocab_get_add_bos(m->vocab))
            t[k++] = llama_vocab_bos(m->vocab);
        memcpy(t + k, q, nq * sizeof *t);
        k += nq;
        if (llama_vocab_get_add_eos(m->vocab) && eos >= 0)
            t[k++] = eos;
        if (llama_vocab_get_add_sep(m->vocab) && sep >= 0)
            t[k++] = sep;
        memcpy(t + k, d, nd * sizeof *t);
        k += nd;
        if (llama_vocab_get_add_eos(m->vocab) && eos >= 0)
            t[k++] = eos;
        *tokens = t;
        *n = k;
    }
    free(q);
    free(d);
    return status;
}
