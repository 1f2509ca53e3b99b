/* The binding for libllama: one model under one policy. Owns no state: a baton_llama is immutable after open (api.h).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

static baton_status open_front(baton_llama *l, const struct bt_model_params *model,
                               const struct bt_context_params *context, baton_error *err) {
    struct bt_front_params p = {.model = *model,
                                .context = *context,
                                .contexts = l->policy.contexts,
                                .when_full = l->policy.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE,
                                .queue_max = l->policy.queue,
                                .queue_ms = l->policy.queue_ms,
                                .run_ms = l->policy.run_ms,
                                .owner = l->policy.owner == BATON_OWNER_PROCESS ? BT_OWNER_PROCESS : BT_OWNER_THREAD};
    baton_status status = bt_io_open(&p, &l->io, err);
    if (status)
        return status;
    const struct bt_frame_ready *ready = &bt_io_info(l->io)->ready;
    l->info.ctx = (int)ready->ctx;
    l->info.exact = ready->exact;
    l->info.context_bytes = ready->memory * (uint64_t)l->policy.contexts;
    return BATON_OK;
}

static baton_status open_pool(baton_llama *l, const struct bt_model_params *model,
                              const struct bt_context_params *context, baton_error *err) {
    struct bt_caller_info info;
    baton_status status = bt_caller_open(model, context, l->policy.contexts, l->policy.queue, &l->caller, err);
    if (status)
        return status;
    l->model = bt_model_keep(bt_caller_model(l->caller));
    bt_caller_info(l->caller, &info);
    l->info.ctx = info.ctx;
    l->info.exact = info.exact;
    l->info.context_bytes = info.memory;
    return BATON_OK;
}

static struct bt_model_params model_params(const char *path, const baton_llama_params *p) {
    _Static_assert(sizeof(baton_llama_lora) == sizeof(struct bt_lora), "the same two fields");
    return (struct bt_model_params){.path = path,
                                    .chat_template = p->chat_template,
                                    .gpu_layers = p->gpu_layers,
                                    .progress = p->progress,
                                    .progress_arg = p->progress_arg,
                                    .loras = (const struct bt_lora *)p->loras,
                                    .n_loras = p->loras ? p->n_loras : 0,
                                    .mmproj = p->mmproj,
                                    .threads = p->threads};
}

void bt_llama_fill_info(baton_llama *l) {
    struct bt_model_info info;
    if (l->io)
        info = bt_io_info(l->io)->ready.info;
    else
        l->model->ops->info(l->model, &info);
    snprintf(l->info.name, sizeof l->info.name, "%s", info.name);
    snprintf(l->info.description, sizeof l->info.description, "%s", info.description);
    l->info.vocab_size = info.vocab_size;
    l->info.ctx_train = info.ctx_train;
    l->info.contexts = l->policy.contexts;
    l->info.sequences = l->policy.sequences;
    l->info.weight_bytes = info.bytes;
    l->info.has_chat_template = info.has_chat_template;
    l->info.recurrent = info.recurrent;
    l->info.vision = info.vision;
    snprintf(l->info.device, sizeof l->info.device, "%s",
             l->io ? bt_io_info(l->io)->ready.device : bt_device_use(l->model->device).name);
}

static baton_status check_uses(const baton_llama_params *p, baton_error *err) {
    if ((unsigned)p->pooling > BATON_POOLING_RANK)
        return bt_fail(err, BATON_INVALID, "pooling is %d, which is none", (int)p->pooling);
    if (p->pooling == BATON_POOLING_NONE)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "a vector per token is not in this version: pool them with "
                       "BATON_POOLING_MEAN, _CLS or _LAST");
    if (p->mmproj && p->pooling != BATON_POOLING_OFF)
        return bt_fail(err, BATON_UNSUPPORTED, "a handle that embeds takes no images: open it without mmproj");
    return BATON_OK;
}

baton_llama *bt_llama_new(const baton_policy *policy, baton_pooling pooling, baton_error *err) {
    baton_llama *l = calloc(1, sizeof *l);
    if (!l) {
        bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
        return NULL;
    }
    l->policy = *policy;
    l->pooling = pooling;
    atomic_store(&l->refs, 1);
    bt_list_init(&l->callbacks);
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

baton_status baton_llama_open(baton_llama **llama, const char *path, const baton_llama_params *params,
                              baton_error *err) {
    baton_llama_params p = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    if (!llama)
        return bt_misuse(err, BATON_MISUSE, "baton_llama_open needs a place for the model");
    *llama = NULL;
    if (!BT_TAKE(p, params) || !BT_TAKE(policy, p.policy))
        return bt_misuse(err, BATON_MISUSE,
                         "parameters without their size: make them with BATON_LLAMA_PARAMS and "
                         "BATON_POLICY");
    baton_status status = bt_check_policy(&policy, p.pooling != BATON_POOLING_OFF, err);
    if (!status)
        status = check_uses(&p, err);
    if (status)
        return status;
    baton_llama *l = bt_llama_new(&policy, p.pooling, err);
    if (!l)
        return BATON_NO_MEMORY;
    struct bt_model_params model = model_params(path, &p);
    struct bt_context_params context = {.sequences = policy.sequences,
                                        .ctx = p.ctx,
                                        .threads = p.threads,
                                        .exact = p.exact < 0 ? p.gpu_layers == 0 : p.exact != 0,
                                        .pooling = (enum bt_pooling)p.pooling};
    status =
        policy.owner == BATON_OWNER_CALLER ? open_pool(l, &model, &context, err) : open_front(l, &model, &context, err);
    if (status) {
        bt_llama_unref(l);
        return status;
    }
    bt_llama_fill_info(l);
    *llama = l;
    return BATON_OK;
}

static void *close_behind(void *arg) {
    baton_llama *l = arg;
    bt_io_close(l->io);
    bt_llama_unref(l);
    return NULL;
}

/* From inside a function that runs on one of its owners (baton_llama_run), whose thread cannot wait for its own end. */
static void close_from_owner(baton_llama *l) {
    pthread_t thread;
    int rc = bt_thread_start(&thread, close_behind, l);
    if (rc)
        bt_log(BATON_LOG_ERROR, "%s is not closed, for want of a thread: %s. Close it after baton_llama_run",
               l->info.name, strerror(rc));
    else
        pthread_detach(thread);
}

void baton_llama_close(baton_llama **llama) {
    if (!llama || !*llama)
        return;
    baton_llama *l = *llama;
    *llama = NULL;
    if (l->caller) {
        struct bt_caller *opened = l->caller;
        bt_caller_ref(opened);
        bt_caller_close(&opened, BT_CLOSE_CANCEL);
    } else if (bt_io_check_thread(l->io, NULL)) {
        close_from_owner(l);
        return;
    } else {
        bt_io_close(l->io);
    }
    bt_llama_unref(l);
}

void bt_llama_unref(baton_llama *l) {
    if (atomic_fetch_sub(&l->refs, 1) > 1)
        return;
    if (l->caller)
        bt_caller_unref(l->caller);
    if (l->io)
        bt_io_unref(l->io);
    bt_model_close((struct bt_model *)l->model);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void baton_llama_get_info(const baton_llama *llama, baton_llama_info *info) {
    BT_NEED_OR(llama && info, "a model and a place for its info");
    size_t size = info->size;
    memcpy(info, &llama->info, BT_MIN(size, sizeof *info));
    info->size = size;
}

/* An ask of a program's, checked and with its gaps filled. Borrows what the program's borrows. */
struct asked {
    baton_request request;
    struct bt_submit submit;
    struct bt_limits limits;
    struct bt_saved saved; /* n_tokens 0: none */
    bt_token *joined;      /* malloc: saved tokens and what comes after them */
};

static void asked_free(struct asked *a) {
    bt_saved_free(&a->saved);
    free(a->joined);
}

static baton_status take_sampling(const baton_sampling *theirs, struct bt_sampling *s, baton_error *err) {
    baton_sampling mine = BATON_SAMPLING;
    if (!BT_TAKE(mine, theirs))
        return bt_misuse(err, BATON_MISUSE, "a baton_sampling without its size: make it with BATON_SAMPLING");
    const struct {
        const char *name;
        float value;
    } numbers[] = {{"temperature", mine.temperature},
                   {"top_p", mine.top_p},
                   {"min_p", mine.min_p},
                   {"presence_penalty", mine.presence_penalty},
                   {"frequency_penalty", mine.frequency_penalty},
                   {"repeat_penalty", mine.repeat_penalty}};
    for (size_t i = 0; i < BT_COUNT(numbers); i++)
        if (!isfinite(numbers[i].value))
            return bt_fail(err, BATON_INVALID, "%s is no finite number", numbers[i].name);
    if (mine.n_bias && !mine.bias)
        return bt_misuse(err, BATON_MISUSE, "the sampling's bias is NULL, and %zu of them", mine.n_bias);
    for (size_t i = 0; i < mine.n_bias; i++)
        if (isnan(mine.bias[i].bias))
            return bt_fail(err, BATON_INVALID, "the bias at index %zu is no number", i);
    _Static_assert(sizeof(baton_logit_bias) == sizeof(struct bt_logit_bias), "the same two fields");
    *s = (struct bt_sampling){.temperature = mine.temperature,
                              .top_p = mine.top_p,
                              .top_k = mine.top_k,
                              .min_p = mine.min_p,
                              .presence_penalty = mine.presence_penalty,
                              .frequency_penalty = mine.frequency_penalty,
                              .repeat_penalty = mine.repeat_penalty,
                              .penalty_last_n = mine.penalty_last_n,
                              .seed = mine.seed,
                              .bias = (const struct bt_logit_bias *)mine.bias,
                              .n_bias = mine.n_bias};
    return BATON_OK;
}

/* A new turn after a saved conversation: all of it is the prompt. */
static baton_status join(const struct bt_model *m, struct asked *a, baton_error *err) {
    struct bt_submit *s = &a->submit;
    bt_token *made = NULL;
    const bt_token *more = s->tokens;
    size_t n = s->n_tokens;
    if (s->kind == BT_PROMPT_TEXT) {
        baton_status status = m->ops->tokenize(m, s->text.data, s->text.len, false, true, &made, &n, err);
        if (status)
            return status;
        more = made;
    }
    a->joined = malloc((a->saved.n_tokens + n) * sizeof *a->joined);
    if (a->joined) {
        memcpy(a->joined, a->saved.tokens, a->saved.n_tokens * sizeof *a->joined);
        if (n)
            memcpy(a->joined + a->saved.n_tokens, more, n * sizeof *more);
    }
    free(made);
    s->kind = BT_PROMPT_TOKENS;
    s->tokens = a->joined;
    s->n_tokens = a->saved.n_tokens + n;
    return a->joined ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", s->n_tokens);
}

static baton_status take_state(const baton_llama *llama, const baton_llama_ask *ask, struct asked *a,
                               baton_error *err) {
    struct bt_submit *s = &a->submit;
    if (ask->messages)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "messages cannot come after a saved conversation: a template writes "
                       "whole chats. Give the new turn as prompt or tokens");
    baton_status status = bt_saved_get(ask->state, ask->state_size, &a->saved, err);
    if (status)
        return status;
    if (llama->io) { /* an owner takes it apart by itself */
        s->state = (struct bt_text){ask->state, ask->state_size};
        s->kind = ask->prompt || ask->tokens ? s->kind : BT_PROMPT_STATE;
        return BATON_OK;
    }
    if (ask->prompt || ask->tokens)
        return join(llama->model, a, err);
    s->kind = BT_PROMPT_TOKENS;
    s->tokens = a->saved.tokens;
    s->n_tokens = a->saved.n_prompt;
    s->resume = a->saved.tokens + a->saved.n_prompt;
    s->n_resume = a->saved.n_tokens - a->saved.n_prompt;
    return BATON_OK;
}

/* Whether what has a length has elements; of what may be NULL to say that it is not given, whether they are whole. */
static baton_status check_lists(const baton_llama_ask *ask, baton_error *err) {
    if (ask->n_stops && !ask->stops)
        return bt_misuse(err, BATON_MISUSE, "the ask's stops are NULL, and %zu of them", ask->n_stops);
    if (ask->n_images && !ask->images)
        return bt_misuse(err, BATON_MISUSE, "the ask's images are NULL, and %zu of them", ask->n_images);
    for (size_t i = 0; i < ask->n_stops; i++)
        if (!ask->stops[i])
            return bt_misuse(err, BATON_MISUSE, "stop string %zu is NULL", i);
    for (size_t i = 0; ask->messages && i < ask->n_messages; i++)
        if (!ask->messages[i].role || !ask->messages[i].content)
            return bt_misuse(err, BATON_MISUSE, "message %zu has no %s (NULL)", i,
                             ask->messages[i].role ? "content" : "role");
    return BATON_OK;
}

static baton_status take_ask(baton_llama *llama, const baton_llama_ask *theirs, struct asked *a, baton_error *err) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    memset(a, 0, sizeof *a);
    if (!theirs || !BT_TAKE(ask, theirs))
        return bt_misuse(err, BATON_MISUSE, "an ask without its size: make it with BATON_LLAMA_ASK");
    baton_status status = check_lists(&ask, err);
    if (status)
        return status;
    int given = (ask.prompt != NULL) + (ask.messages != NULL) + (ask.tokens != NULL);
    if (llama->pooling != BATON_POOLING_OFF)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "this handle embeds and does not generate: open another one with BATON_POOLING_OFF");
    if (given > 1 || given + (ask.state != NULL) == 0)
        return bt_misuse(err, BATON_MISUSE, "an ask has exactly one of prompt, messages and tokens");
    if (ask.n_images && !ask.messages)
        return bt_misuse(err, BATON_MISUSE, "images stand in messages: an ask with images has messages");
    if (ask.n_images > BT_IMAGES_MAX)
        return bt_fail(err, BATON_INVALID, "%zu images: at most %d are possible in a request", ask.n_images,
                       BT_IMAGES_MAX);
    if (ask.n_images && !llama->info.vision)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "this model was opened without a projector and reads text alone: give the path of its mmproj "
                       "file at open");
    if (ask.n_stops > BT_STOPS_MAX)
        return bt_fail(err, BATON_INVALID, "%zu stop strings: at most %d are possible", ask.n_stops, BT_STOPS_MAX);
    status = bt_llama_request(llama, ask.request, &a->request, err);
    if (status)
        return status;
    struct bt_submit *s = &a->submit;
    *s = (struct bt_submit){.id = a->request.id, .flow = a->request.flow, .max_tokens = BT_MAX(ask.max_tokens, -1)};
    s->kind = ask.prompt ? BT_PROMPT_TEXT : ask.messages ? BT_PROMPT_CHAT : BT_PROMPT_TOKENS;
    if (ask.prompt)
        s->text = (struct bt_text){ask.prompt, strlen(ask.prompt)};
    _Static_assert(sizeof(baton_message) == sizeof(struct bt_chat_message), "the same two fields");
    s->messages = (struct bt_chat_message *)ask.messages;
    s->n_messages = ask.n_messages;
    _Static_assert(sizeof(baton_image) == sizeof(struct bt_image), "the same four fields");
    s->images = (struct bt_image *)ask.images;
    s->n_images = ask.n_images;
    s->tokens = (bt_token *)ask.tokens;
    s->n_tokens = ask.n_tokens;
    for (size_t i = 0; i < ask.n_stops; i++)
        s->stops[s->n_stops++] = (struct bt_text){ask.stops[i], strlen(ask.stops[i])};
    a->limits = (struct bt_limits){a->request.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE, a->request.priority,
                                   a->request.queue_ms, a->request.run_ms, a->request.idle_ms};
    status = take_sampling(ask.sampling, &s->sampling, err);
    s->sampling.grammar = ask.grammar;
    return status || !ask.state ? status : take_state(llama, &ask, a, err);
}

static baton_status stream_of_owner(baton_llama *llama, struct asked *a, baton_stream **stream, baton_error *err) {
    struct bt_io_stream *inner;
    if (llama->policy.owner == BATON_OWNER_THREAD && bt_device_named_is_mine(llama->info.device))
        return bt_fail(
            err, BATON_WOULD_DEADLOCK,
            "this thread is inside a native call on %s, which the owner thread of '%s' needs, too: ask after "
            "it (baton_lease_end)",
            llama->info.device, llama->info.name);
    baton_status status = bt_io_submit(llama->io, &a->submit, &a->limits, &inner, err);
    return status ? status : bt_stream_of_io(inner, stream, err);
}

/* `keep`: the program reads it, and may save it when it is over. */
static baton_status open_stream(baton_llama *llama, const baton_llama_ask *ask, bool keep, baton_stream **stream,
                                baton_error *err) {
    struct asked a = {.joined = NULL}; /* what is freed below is set, however early it ends */
    *stream = NULL;
    baton_status status = take_ask(llama, ask, &a, err);
    a.submit.keep = keep;
    if (!keep) /* this call reads it itself */
        a.limits.idle_ms = -1;
    if (!status && llama->caller)
        status = bt_llama_verdict(llama,
                                  bt_stream_of_caller(llama->caller, &a.submit, &a.limits, &a.saved, stream, err), err);
    else if (!status)
        status = bt_llama_verdict(llama, stream_of_owner(llama, &a, stream, err), err);
    asked_free(&a);
    return status;
}

baton_status baton_llama_stream(baton_llama *llama, const baton_llama_ask *ask, baton_stream **stream,
                                baton_error *err) {
    BT_IN_CALL(llama);
    BT_NEED(stream, "a place for the stream", err);
    *stream = NULL;
    BT_NEED(llama, "a model", err);
    return open_stream(llama, ask, true, stream, err);
}

baton_status baton_llama_generate(baton_llama *llama, const baton_llama_ask *ask, baton_result *result,
                                  baton_error *err) {
    struct bt_buf text = BT_BUF_INIT;
    baton_stream *stream;
    baton_delta delta;
    BT_IN_CALL(llama);
    BT_NEED(result, "a place for the result", err);
    memset(result, 0, sizeof *result);
    baton_status status = llama ? open_stream(llama, ask, false, &stream, err) : bt_missing(err, __func__, "a model");
    if (!status) {
        while (baton_stream_next(stream, -1, &delta) == BATON_OK)
            bt_buf_add(&text, delta.text, delta.len);
        status = baton_stream_close(&stream, &result->outcome);
        if (status)
            bt_fail(err, status, "%s", result->outcome.text);
    } else {
        result->outcome.status = status;
    }
    bt_buf_add(&text, "", 1);
    if (text.failed) {
        bt_buf_free(&text);
        bt_outcome_lost(&result->outcome);
        return bt_fail(err, BATON_NO_MEMORY, "%s", result->outcome.text);
    }
    result->text = (char *)text.data;
    result->len = text.len - 1;
    return status;
}

void baton_result_free(baton_result *result) {
    if (!result)
        return;
    free(result->text);
    memset(result, 0, sizeof *result);
}

bool baton_llama_cancel(baton_llama *llama, uint64_t id) {
    BT_IN_CALL(llama);
    BT_NEED_OR(llama, "a model", false);
    return llama->caller ? bt_pool_cancel(bt_caller_pool(llama->caller), id) : bt_io_cancel(llama->io, id);
}

struct native_run {
    void (*run)(void *arg, struct llama_context *context);
    void *arg;
};

static void run_native(void *arg, void *native) {
    const struct native_run *r = arg;
    r->run(r->arg, native);
}

baton_status baton_llama_run(baton_llama *llama, const baton_request *request,
                             void (*run)(void *arg, struct llama_context *context), void *arg, baton_error *err) {
    struct native_run r = {run, arg};
    baton_request mine;
    struct bt_lease lease;
    void *context;
    BT_IN_CALL(llama);
    BT_NEED(llama && run, "a model and a function to run", err);
    if (llama->io) {
        baton_status checked = bt_take_request(request, &llama->policy, &mine, err);
        return checked ? checked : bt_told(bt_io_visit(llama->io, run_native, &r, err), err);
    }
    baton_status status = bt_llama_acquire(llama, request, &mine, &lease, err);
    if (status)
        return status;
    status = bt_lease_begin(&lease, BT_OP_USER, &context, err);
    if (!status) {
        struct bt_context *c = context;
        bt_device_enter(c->device);
        run_native(&r, c->ops->native(c));
        bt_device_leave(c->device);
        bt_lease_end(&lease);
    }
    baton_status released = bt_lease_release(&lease, BT_RESET, err);
    return bt_told(status ? status : released, err);
}

void baton_llama_get_counts(const baton_llama *llama, baton_counts *counts) {
    baton_counts mine;
    struct bt_counts c;
    BT_IN_CALL(llama);
    BT_NEED_OR(llama && counts, "a model and a place for the counts");
    size_t size = counts->size;
    if (llama->io)
        bt_io_counts(llama->io, &c);
    else
        bt_caller_counts(llama->caller, &c);
    bt_give_counts(&c, &mine);
    mine.size = size;
    memcpy(counts, &mine, BT_MIN(size, sizeof mine));
}
