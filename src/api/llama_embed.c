/* Vectors and scores: what is asked, and how owner = caller makes them under a lease. What a call needs is on its
 * stack.
 */
#include <stdlib.h>
#include <string.h>

#include "api/embed.h"

struct work {
    baton_llama *llama;
    struct bt_lease lease;
    int64_t deadline_ns; /* of the run */
};

static baton_status stop_reason(const struct work *w) {
    if (bt_lease_cancelled(&w->lease))
        return BATON_CANCELLED;
    return bt_now_coarse_ns() >= w->deadline_ns ? BATON_RUN_TIMEOUT : BATON_OK;
}

static bool abort_hook(void *arg) {
    return stop_reason(arg) != BATON_OK;
}

static baton_status need(const baton_llama *llama, bool rank, baton_error *err) {
    if (llama->pooling == BATON_POOLING_OFF)
        return bt_fail(err, BATON_UNSUPPORTED, "this handle generates: open another one with pooling = %s",
                       rank ? "BATON_POOLING_RANK" : "BATON_POOLING_MEAN, _CLS or _LAST");
    if (rank != (llama->pooling == BATON_POOLING_RANK))
        return bt_fail(err, BATON_UNSUPPORTED, "this handle %s: open another one with pooling = %s",
                       rank ? "embeds" : "ranks", rank ? "BATON_POOLING_RANK" : "BATON_POOLING_MEAN, _CLS or _LAST");
    return BATON_OK;
}

/* Not analysed: that the lease is held then, holds_lease says. */
static BATON_NO_ANALYSIS baton_status start(struct work *w, baton_llama *llama, const baton_request *request,
                                            baton_error *err) {
    baton_request mine;
    w->llama = llama;
    baton_status status = bt_llama_acquire(llama, request, &mine, &w->lease, err);
    w->deadline_ns = status             ? BT_NEVER_NS
                     : mine.run_ms == 0 ? 0 /* also by the coarse clock, which is late */
                                        : bt_deadline(bt_now_ns(), mine.run_ms);
    return status;
}

/* Clang's analysis follows one function at a time; the lease is held from start to stop. */
static void holds_lease(const struct work *w) BATON_ASSERT_HELD(w->lease) {
    (void)w;
}

static void stop(struct work *w) {
    baton_error ignored;
    holds_lease(w);
    bt_lease_release(&w->lease, BT_RESET, &ignored);
}

static baton_status compute(struct work *w, const struct bt_input *inputs, size_t n, bool normalise, float *out,
                            baton_error *err) {
    void *context;
    baton_status status = stop_reason(w);
    if (status)
        return bt_fail(err, status, "%s before it was computed", baton_status_text(status));
    holds_lease(w);
    status = bt_lease_begin(&w->lease, BT_OP_EMBED, &context, err);
    if (status)
        return status;
    struct bt_context *c = context;
    c->ops->set_abort(c, abort_hook, w);
    status = c->ops->embed(c, inputs, n, normalise, out, err);
    c->ops->set_abort(c, NULL, NULL);
    bt_lease_end(&w->lease);
    baton_status why = status == BATON_CANCELLED ? stop_reason(w) : BATON_OK;
    return why ? bt_fail(err, why, "%s while it was computed", baton_status_text(why)) : status;
}

static void inputs_free(struct bt_input *inputs, size_t n) {
    for (size_t i = 0; inputs && i < n; i++)
        free((void *)inputs[i].tokens);
    free(inputs);
}

/* The tokens of each: of the text, or of the query with it. */
static baton_status inputs_of(const baton_llama *llama, const char *query, const char *const *texts, size_t n,
                              struct bt_input **inputs, baton_error *err) {
    const struct bt_model *m = llama->model;
    struct bt_input *list = calloc(n ? n : 1, sizeof *list);
    baton_status status = list ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for %zu texts", n);
    for (size_t i = 0; i < n && !status; i++) {
        bt_token *tokens = NULL;
        if (!texts[i])
            status = bt_misuse(err, BATON_MISUSE, "text %zu is NULL", i);
        else if (query)
            status = m->ops->pair(m, query, texts[i], &tokens, &list[i].n, err);
        else
            status = m->ops->tokenize(m, texts[i], strlen(texts[i]), true, false, &tokens, &list[i].n, err);
        list[i].tokens = tokens;
    }
    if (status) {
        inputs_free(list, n);
        list = NULL;
    }
    *inputs = list;
    return status;
}

static int width_of(const baton_llama *llama) {
    struct bt_model_details d;
    bt_handle_details(llama, &d);
    return llama->pooling == BATON_POOLING_RANK ? d.scores : d.embedding_width;
}

void baton_embeddings_free(baton_embeddings *embeddings) {
    if (!embeddings)
        return;
    free(embeddings->values);
    free(embeddings->tokens);
    memset(embeddings, 0, sizeof *embeddings);
}

static baton_status under_lease(baton_llama *llama, const baton_request *request, const char *query,
                                const char *const *texts, size_t n, bool normalise, float *values, uint32_t *tokens,
                                baton_error *err) {
    struct bt_input *inputs;
    struct work w;
    baton_status status = inputs_of(llama, query, texts, n, &inputs, err);
    if (status)
        return status;
    for (size_t i = 0; i < n && tokens; i++)
        tokens[i] = (uint32_t)inputs[i].n;
    if (n > 0)
        status = start(&w, llama, request, err);
    if (!status && n > 0) {
        status = compute(&w, inputs, n, normalise, values, err);
        stop(&w);
    }
    inputs_free(inputs, n);
    return status;
}

static baton_status vectors(baton_llama *llama, const baton_request *request, const char *query,
                            const char *const *texts, size_t n, bool normalise, int dim, float *values,
                            uint32_t *tokens, baton_error *err) {
    return llama->io ? bt_owner_embed(llama, request, query, texts, n, normalise, dim, values, tokens, err)
                     : under_lease(llama, request, query, texts, n, normalise, values, tokens, err);
}

baton_status baton_llama_embed_batch(baton_llama *llama, const baton_request *request, const char *const *texts,
                                     size_t n, bool normalise, baton_embeddings *out, baton_error *err) {
    BT_IN_CALL(llama);
    BT_NEED(out, "a place for the vectors", err);
    memset(out, 0, sizeof *out);
    BT_NEED(llama, "a model", err);
    BT_NEED(texts || n == 0, "texts", err);
    baton_status status = need(llama, false, err);
    if (status)
        return status;
    *out = (baton_embeddings){.n = n,
                              .dim = width_of(llama),
                              .pooling = llama->pooling,
                              .normalised = normalise,
                              .tokens = calloc(n ? n : 1, sizeof *out->tokens)};
    out->values = calloc(n ? n : 1, (size_t)out->dim * sizeof *out->values);
    if (!out->values || !out->tokens)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for %zu vectors of %d", n, out->dim);
    else
        status = vectors(llama, request, NULL, texts, n, normalise, out->dim, out->values, out->tokens, err);
    if (status)
        baton_embeddings_free(out);
    return status;
}

baton_status baton_llama_embed(baton_llama *llama, const baton_request *request, const char *text, bool normalise,
                               baton_embeddings *out, baton_error *err) {
    return baton_llama_embed_batch(llama, request, &text, 1, normalise, out, err);
}

static baton_status embed_all(struct work *w, const struct bt_each *e, baton_error *err) {
    struct bt_callback c;
    struct bt_input *input;
    for (size_t i = 0;; i++) {
        bt_callback_enter(w->llama, &c);
        const char *text = e->next(e->arg);
        bt_callback_leave(w->llama, &c);
        if (!text)
            return BATON_OK;
        baton_status status = inputs_of(w->llama, NULL, &text, 1, &input, err);
        if (status)
            return status;
        baton_error why;
        status = compute(w, input, 1, e->normalise, e->vector, &why);
        inputs_free(input, 1);
        if (status)
            return bt_fail(err, status, "text %zu: %.*s", i, BATON_ERROR_TEXT_MAX - 40, why.text);
        bt_callback_enter(w->llama, &c);
        bool more = e->on_vector(e->arg, e->vector, e->dim);
        bt_callback_leave(w->llama, &c);
        if (!more)
            return bt_fail(err, BATON_CANCELLED, "on_vector stopped after %zu texts", i + 1);
    }
}

baton_status baton_llama_embed_each(baton_llama *llama, const baton_request *request, const char *(*next)(void *arg),
                                    bool (*on_vector)(void *arg, const float *values, int dim), void *arg,
                                    bool normalise, baton_error *err) {
    struct work w;
    BT_IN_CALL(llama);
    BT_NEED(llama && next && on_vector, "a model, next and on_vector", err);
    struct bt_each e = {next, on_vector, arg, normalise, NULL, width_of(llama)};
    baton_status status = need(llama, false, err);
    if (status)
        return status;
    e.vector = calloc((size_t)e.dim, sizeof *e.vector);
    if (!e.vector)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a vector of %d", e.dim);
    if (llama->io) {
        status = bt_owner_embed_each(llama, request, &e, err);
    } else {
        status = start(&w, llama, request, err);
        if (!status) {
            status = embed_all(&w, &e, err);
            stop(&w);
        }
    }
    free(e.vector);
    return status;
}

baton_status baton_llama_rerank(baton_llama *llama, const baton_request *request, const char *query,
                                const char *const *documents, size_t n, float *scores, baton_error *err) {
    BT_IN_CALL(llama);
    BT_NEED(llama && query, "a model and a query", err);
    BT_NEED((documents && scores) || n == 0, "documents and a place for their scores", err);
    baton_status status = need(llama, true, err);
    if (status)
        return status;
    size_t width = (size_t)width_of(llama);
    float *all = calloc(n ? n : 1, width * sizeof *all);
    status = all ? vectors(llama, request, query, documents, n, false, (int)width, all, NULL, err)
                 : bt_fail(err, BATON_NO_MEMORY, "no memory for %zu scores", n);
    for (size_t i = 0; i < n && !status; i++)
        scores[i] = all[i * width];
    free(all);
    return status;
}
