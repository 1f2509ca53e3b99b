/* A model with its pool of contexts, whose holders generate in their own threads. A bt_caller is immutable after open;
 * what changes is in its pool. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lease/caller_int.h"

static void destroy(void *context) {
    struct bt_context *c = context;
    c->ops->free(c);
}

static void reset(void *context) {
    struct bt_context *c = context;
    c->ops->set_abort(c, NULL, NULL);
    c->ops->seq_rm(c, 0, 0, -1);
}

void *bt_caller_native(void *context) {
    struct bt_context *c = context;
    return c->ops->native(c);
}

/* The model outlives its contexts, and these the leases that are out when the caller is closed. */
static void contexts_gone(void *arg) {
    bt_caller_unref(arg);
}

/* The contexts belong to the pool when it is open. */
static baton_status pool_of(struct bt_caller *c, struct bt_context *const *list, int n, int queue_max,
                            baton_error *err) {
    struct bt_model_info info;
    c->capacity = list[0]->ops->capacity(list[0]);
    c->model->ops->info(c->model, &info);
    snprintf(c->name, sizeof c->name, "context of %s", info.name);
    const struct bt_pool_params pool = {.name = c->name,
                                        .contexts = (void *const *)list,
                                        .n_contexts = n,
                                        .queue_max = queue_max,
                                        .destroy = destroy,
                                        .reset = reset,
                                        .gone = contexts_gone,
                                        .gone_arg = c,
                                        .native = bt_caller_native,
                                        .queue_ms = -1};
    baton_status status = bt_pool_open(&pool, &c->pool, err);
    if (!status)
        atomic_fetch_add(&c->refs, 1);
    return status;
}

static baton_status open_pool(struct bt_caller *c, const struct bt_context_params *params, int contexts, int queue_max,
                              baton_error *err) {
    struct bt_context **list = calloc((size_t)contexts, sizeof *list);
    if (!list)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d contexts", contexts);
    baton_status status = BATON_OK;
    int n = 0;
    c->exact = params->exact && params->pooling == BT_POOL_OFF;
    while (n < contexts && !status) {
        status = bt_context_open(c->model, params, &list[n], err);
        if (status)
            break;
        c->exact = c->exact && bt_exact_selftest(list[n], c->model, 1);
        c->memory += list[n]->ops->memory(list[n]);
        n++;
    }
    if (!status)
        status = pool_of(c, list, n, queue_max, err);
    for (int i = 0; i < n && status; i++)
        destroy(list[i]);
    free(list);
    return status;
}

baton_status bt_caller_open(const struct bt_model_params *model, const struct bt_context_params *params, int contexts,
                            int queue_max, struct bt_caller **caller, baton_error *err) {
    *caller = NULL;
    if (contexts < 1 || (params->sequences != 1 && params->pooling == BT_POOL_OFF))
        return bt_fail(err, BATON_INVALID,
                       "%d contexts of %d sequences: the caller's thread owns contexts of one "
                       "sequence; for more, use an owner thread",
                       contexts, params->sequences);
    struct bt_caller *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    c->refs = 1;
    c->chunk = BT_MAX(params->chunk > 0 ? params->chunk : 512, params->sequences);
    baton_status status = bt_model_open(model, &c->model, err);
    if (!status)
        status = open_pool(c, params, contexts, queue_max, err);
    if (status) {
        bt_caller_close(&c, BT_CLOSE_DRAIN);
        return status;
    }
    *caller = c;
    return BATON_OK;
}

static baton_status adopt(struct bt_caller *c, void *const *natives, int n, bool taken, const char *chat_template,
                          int queue_max, baton_error *err) {
    struct bt_context **list = calloc((size_t)n, sizeof *list);
    if (!list)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d contexts", n);
    baton_status status = bt_native_adopt(natives, n, chat_template, &c->model, list, err);
    bool adopted = !status;
    c->chunk = 512;
    for (int i = 0; i < n && adopted; i++) {
        c->chunk = BT_MIN(c->chunk, bt_native_rows(list[i]));
        c->capacity = i ? BT_MIN(c->capacity, list[i]->ops->capacity(list[i])) : list[i]->ops->capacity(list[i]);
        c->memory += list[i]->ops->memory(list[i]);
    }
    int least = c->capacity;
    if (adopted)
        status = pool_of(c, list, n, queue_max, err);
    c->capacity = least;
    for (int i = 0; i < n && adopted; i++)
        if (status)
            destroy(list[i]);
        else if (taken)
            bt_native_own(list[i]);
    free(list);
    return status;
}

baton_status bt_caller_adopt(void *const *natives, int n, bool taken, const char *chat_template, int queue_max,
                             struct bt_caller **caller, baton_error *err) {
    *caller = NULL;
    struct bt_caller *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    c->refs = 1;
    baton_status status = adopt(c, natives, n, taken, chat_template, queue_max, err);
    if (status)
        bt_caller_close(&c, BT_CLOSE_DRAIN);
    else
        *caller = c;
    return status;
}

void bt_caller_close(struct bt_caller **caller, enum bt_close how) {
    struct bt_caller *c = *caller;
    baton_error err;
    *caller = NULL;
    if (!c)
        return;
    if (c->pool && bt_pool_close(&c->pool, how, &err))
        bt_log(BATON_LOG_WARN, "%s", err.text);
    bt_caller_unref(c);
}

void bt_caller_ref(struct bt_caller *c) {
    atomic_fetch_add(&c->refs, 1);
}

void bt_caller_unref(struct bt_caller *c) {
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    bt_model_close(c->model);
    free(c);
}

void bt_caller_info(const struct bt_caller *c, struct bt_caller_info *info) {
    *info = (struct bt_caller_info){c->capacity, c->exact, c->memory};
}

void bt_caller_count(struct bt_caller *c, baton_status outcome) {
    _Atomic uint64_t *counter = outcome == BATON_OK            ? &c->completed
                                : outcome == BATON_CANCELLED   ? &c->cancelled
                                : outcome == BATON_RUN_TIMEOUT ? &c->timed_out
                                                               : &c->failed;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void bt_caller_counts(const struct bt_caller *c, struct bt_counts *counts) {
    enum { MOST = 64 };
    struct bt_holding held[MOST];
    *counts = (struct bt_counts){.accepted = c->accepted,
                                 .refused = c->refused,
                                 .completed = c->completed,
                                 .cancelled = c->cancelled,
                                 .timed_out = c->timed_out,
                                 .failed = c->failed};
    counts->slots = bt_pool_holders(c->pool, held, MOST);
    for (int i = 0; i < counts->slots; i++)
        counts->running += held[i].held;
    counts->queued = bt_pool_queued(c->pool);
}

const struct bt_model *bt_caller_model(const struct bt_caller *c) {
    return c->model;
}

struct bt_pool *bt_caller_pool(const struct bt_caller *c) {
    return c->pool;
}

baton_status bt_caller_chat(const struct bt_caller *c, const struct bt_chat_message *messages, size_t n,
                            bt_token **tokens, size_t *n_tokens, baton_error *err) {
    return bt_chat_tokens(c->model, messages, n, tokens, n_tokens, err);
}
