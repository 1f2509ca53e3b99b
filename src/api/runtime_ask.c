/* Requests of the process-global runtime: asked whole or stepped, cancelled, their results. State: in runtime.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/runtime_int.h"

static struct bt_rt_request *find(struct bt_list *head, uint64_t id) {
    for (struct bt_list *l = head->next; l != head; l = l->next)
        if (BT_CONTAINER(l, struct bt_rt_request, link)->id == id)
            return BT_CONTAINER(l, struct bt_rt_request, link);
    return NULL;
}

static void request_free(struct bt_rt_request *r) {
    bt_list_remove(&r->link);
    bt_buf_free(&r->text);
    free(r);
}

void bt_rt_shorten_transcript(size_t keep) {
    while (bt_rt.n_transcript > keep) {
        request_free(BT_CONTAINER(bt_rt.transcript.next, struct bt_rt_request, link));
        bt_rt.n_transcript--;
    }
}

static void into_transcript(struct bt_rt_request *r) {
    bt_list_remove(&r->link);
    bt_list_append(&bt_rt.transcript, &r->link);
    r->busy = false;
    bt_rt.n_transcript++;
    bt_rt_shorten_transcript((size_t)bt_rt.params.keep);
    pthread_cond_broadcast(&bt_rt.changed);
}

/* An answer that is stepped comes to its end: the stream is closed, its context free. The request is busy with this
 * thread. Takes and lets go of the lock. */
static baton_status finish_stepped(struct bt_rt_request *r) {
    pthread_mutex_lock(&bt_rt.lock);
    baton_stream *stream = r->stream;
    baton_model_use use = r->use;
    memset(&r->use, 0, sizeof r->use); /* from here on there is nothing to cancel */
    pthread_mutex_unlock(&bt_rt.lock);
    (void)baton_stream_close(&stream, &r->outcome);
    if (r->text.failed)
        bt_outcome_lost(&r->outcome);
    baton_status status = r->outcome.status;
    baton_models_put(&use);
    pthread_mutex_lock(&bt_rt.lock);
    r->stream = NULL;
    into_transcript(r);
    pthread_mutex_unlock(&bt_rt.lock);
    return status;
}

static struct bt_rt_request *next_stepped(void) {
    for (struct bt_list *l = bt_rt.under_way.next; l != &bt_rt.under_way; l = l->next)
        if (BT_CONTAINER(l, struct bt_rt_request, link)->stream)
            return BT_CONTAINER(l, struct bt_rt_request, link);
    return NULL;
}

/* Under the lock, which is let go of meanwhile: ends every answer that is stepped, and waits for those that another
 * thread is inside of. */
void bt_rt_end_stepped(void) {
    for (struct bt_rt_request *r; (r = next_stepped());) {
        r->ending = true;
        if (r->busy) {
            if (r->use.llama)
                baton_llama_cancel(r->use.llama, r->id);
            pthread_cond_wait(&bt_rt.changed, &bt_rt.lock);
        } else {
            r->busy = true;
            pthread_mutex_unlock(&bt_rt.lock);
            (void)finish_stepped(r);
            pthread_mutex_lock(&bt_rt.lock);
        }
    }
}

/* What one request asks, its own copies. */
struct asked {
    char *prompt;
    baton_logit_bias *bias;
    baton_sampling sampling;
    baton_request request;
    baton_llama_ask ask;
    struct bt_rt_request *r;
};

/* Under the lock: the request is entered under its id. */
static baton_status begin(struct asked *a, const char *prompt, size_t len, int max_tokens, uint64_t *id,
                          baton_error *err) {
    uint64_t mine = id ? *id : 0;
    memset(a, 0, sizeof *a);
    if (!prompt || len == 0)
        return bt_fail(err, BATON_INVALID, "an empty prompt: there is nothing to go on from");
    if (memchr(prompt, 0, len))
        return bt_fail(err, BATON_INVALID, "byte %zu of the prompt is 0: text is needed", strnlen(prompt, len));
    if (!bt_utf8_valid(prompt, len))
        return bt_fail(err, BATON_INVALID, "the prompt of %zu bytes is not UTF-8", len);
    if (mine >> 63)
        return bt_fail(err, BATON_INVALID, "id %llu: below 2^63 is possible", (unsigned long long)mine);
    if (mine && (find(&bt_rt.under_way, mine) || find(&bt_rt.transcript, mine)))
        return bt_fail(err, BATON_INVALID, "id %llu is that of another request, under way or in the transcript",
                       (unsigned long long)mine);
    while (!mine || find(&bt_rt.under_way, mine) || find(&bt_rt.transcript, mine))
        mine = bt_rt.next_id++;
    a->sampling = bt_rt.sampling;
    a->prompt = strndup(prompt, len);
    a->bias = calloc(bt_rt.sampling.n_bias + 1, sizeof *a->bias);
    a->r = calloc(1, sizeof *a->r);
    if (!a->prompt || !a->bias || !a->r) {
        free(a->r);
        a->r = NULL;
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    }
    if (bt_rt.sampling.n_bias)
        memcpy(a->bias, bt_rt.bias, bt_rt.sampling.n_bias * sizeof *a->bias);
    a->sampling.bias = a->bias;
    a->request = (baton_request)BATON_REQUEST;
    a->request.id = a->r->id = mine;
    a->ask = (baton_llama_ask)BATON_LLAMA_ASK;
    a->ask.request = &a->request;
    a->ask.prompt = a->prompt;
    a->ask.max_tokens = max_tokens;
    a->ask.sampling = &a->sampling;
    a->r->busy = true;
    bt_list_append(&bt_rt.under_way, &a->r->link);
    if (id)
        *id = mine;
    return BATON_OK;
}

/* Without the lock: the model, counted. */
static baton_status use_model(struct bt_rt_request *r, baton_error *err) {
    baton_model_use use;
    int64_t wait_ms = bt_rt.params.when_full == BATON_REFUSE ? 0 : bt_rt.params.queue_ms;
    baton_status status = baton_models_use(bt_rt.models, BT_RT_MODEL, wait_ms, &use, err);
    pthread_mutex_lock(&bt_rt.lock);
    r->use = use;
    bool cancelled = !status && r->ending;
    pthread_mutex_unlock(&bt_rt.lock);
    if (cancelled)
        return bt_fail(err, BATON_CANCELLED, "cancelled before it began");
    return status == BATON_NOT_FOUND ? bt_rt_no_model(err) : status;
}

/* The answer on its way, the context held; or a refusal, after which there is no such request. Busy with this thread.
 */
static baton_status begin_stream(struct asked *a, const char *prompt, size_t len, int max_tokens, uint64_t *id,
                                 baton_stream **stream, baton_error *err) {
    pthread_mutex_lock(&bt_rt.lock);
    baton_status status = begin(a, prompt, len, max_tokens, id, err);
    pthread_mutex_unlock(&bt_rt.lock);
    if (!status) {
        status = use_model(a->r, err);
        if (!status)
            status = baton_llama_stream(a->r->use.llama, &a->ask, stream, err);
        if (status) {
            baton_model_use use = a->r->use;
            pthread_mutex_lock(&bt_rt.lock);
            request_free(a->r);
            pthread_mutex_unlock(&bt_rt.lock);
            baton_models_put(&use);
        }
    }
    free(a->prompt);
    free(a->bias);
    return status;
}

/* Whoever marked the request while it was on its way into the queue found nothing to cancel there. Under the lock. */
static void cancel_if_marked(const struct bt_rt_request *r) {
    if (r->ending)
        baton_llama_cancel(r->use.llama, r->id);
}

baton_status baton_runtime_generate(const char *prompt, size_t len, int max_tokens, uint64_t *id, baton_error *err) {
    struct asked a;
    baton_stream *stream;
    baton_delta d;
    baton_status status = bt_rt_enter("baton_runtime_generate", err);
    if (status)
        return status;
    pthread_mutex_unlock(&bt_rt.lock);
    status = begin_stream(&a, prompt, len, max_tokens, id, &stream, err);
    if (!status) {
        struct bt_rt_request *r = a.r;
        pthread_mutex_lock(&bt_rt.lock);
        cancel_if_marked(r);
        pthread_mutex_unlock(&bt_rt.lock);
        while (baton_stream_next(stream, -1, &d) == BATON_OK)
            bt_buf_add(&r->text, d.text, d.len);
        (void)baton_stream_close(&stream, &r->outcome);
        if (r->text.failed)
            bt_outcome_lost(&r->outcome);
        status = r->outcome.status;
        if (status)
            bt_fail(err, status, "%s", r->outcome.text);
        pthread_mutex_lock(&bt_rt.lock);
        baton_model_use use = r->use;
        memset(&r->use, 0, sizeof r->use);
        into_transcript(r);
        pthread_mutex_unlock(&bt_rt.lock);
        baton_models_put(&use);
    }
    pthread_mutex_lock(&bt_rt.lock);
    return bt_rt_leave(status);
}

baton_status baton_runtime_start(const char *prompt, size_t len, int max_tokens, uint64_t *id, baton_error *err) {
    struct asked a;
    baton_stream *stream;
    if (!id)
        return bt_misuse(err, BATON_MISUSE, "baton_runtime_start needs a place for the id");
    baton_status status = bt_rt_enter("baton_runtime_start", err);
    if (status)
        return status;
    pthread_mutex_unlock(&bt_rt.lock);
    status = begin_stream(&a, prompt, len, max_tokens, id, &stream, err);
    pthread_mutex_lock(&bt_rt.lock);
    if (status)
        return bt_rt_leave(status);
    if (!bt_rt.freeing) {
        a.r->stream = stream;
        a.r->busy = false;
        cancel_if_marked(a.r);
        return bt_rt_leave(BATON_OK);
    }
    baton_model_use use = a.r->use;
    request_free(a.r);
    pthread_mutex_unlock(&bt_rt.lock);
    (void)baton_stream_close(&stream, NULL);
    baton_models_put(&use);
    pthread_mutex_lock(&bt_rt.lock);
    return bt_rt_leave(bt_rt_no_model(err));
}

/* The stepped answer with that id, busy with this thread. Under the lock. */
static baton_status take_stepped(uint64_t id, struct bt_rt_request **out, baton_error *err) {
    struct bt_rt_request *r = find(&bt_rt.under_way, id);
    if (r && r->busy)
        return bt_fail(err, BATON_BUSY, "another thread is in a call on request %llu", (unsigned long long)id);
    const struct bt_rt_request *past = r ? NULL : find(&bt_rt.transcript, id);
    if (!r && !bt_rt_is_loaded())
        return bt_rt_no_model(err);
    if (past && past->outcome.status)
        return bt_fail(err, past->outcome.status, "request %llu was cut", (unsigned long long)id);
    if (!r && !past)
        return bt_fail(err, BATON_NOT_FOUND, "no answer is stepped as request %llu", (unsigned long long)id);
    if (past)
        return BATON_END;
    r->busy = true;
    *out = r;
    return BATON_OK;
}

baton_status baton_runtime_next_token(uint64_t id, char **text, size_t *len, baton_error *err) {
    struct bt_rt_request *r = NULL;
    baton_delta d;
    if (!text || !len)
        return bt_misuse(err, BATON_MISUSE, "baton_runtime_next_token needs places for the text and its length");
    *text = NULL;
    *len = 0;
    baton_status status = bt_rt_enter("baton_runtime_next_token", err);
    if (status)
        return status;
    status = take_stepped(id, &r, err);
    if (status)
        return bt_rt_leave(status);
    pthread_mutex_unlock(&bt_rt.lock);
    status = baton_stream_next(r->stream, -1, &d);
    if (!status) {
        bt_buf_add(&r->text, d.text, d.len);
        *text = strndup(d.text, d.len);
        *len = d.len;
        if (!*text || r->text.failed)
            status = BATON_NO_MEMORY;
    }
    if (status == BATON_NO_MEMORY) {
        r->text.failed = true;
        bt_fail(err, status, "no memory for a piece of the answer");
    }
    pthread_mutex_lock(&bt_rt.lock);
    if (status || r->ending) {
        pthread_mutex_unlock(&bt_rt.lock);
        baton_status how = finish_stepped(r);
        if (status == BATON_END || !status)
            status = how      ? bt_fail(err, how, "request %llu was cut", (unsigned long long)id)
                     : status ? status
                              : BATON_OK;
        if (status && *text) {
            free(*text);
            *text = NULL;
        }
        pthread_mutex_lock(&bt_rt.lock);
        return bt_rt_leave(status);
    }
    r->busy = false;
    return bt_rt_leave(BATON_OK);
}

baton_status baton_runtime_cancel(uint64_t id, baton_error *err) {
    baton_status status = bt_rt_enter("baton_runtime_cancel", err);
    if (status)
        return status;
    struct bt_rt_request *r = find(&bt_rt.under_way, id);
    if (!r)
        return bt_rt_leave(bt_fail(err, BATON_NOT_FOUND, "no request %llu is under way", (unsigned long long)id));
    r->ending = true;
    if (r->use.llama)
        baton_llama_cancel(r->use.llama, id);
    if (r->stream && !r->busy) {
        r->busy = true;
        pthread_mutex_unlock(&bt_rt.lock);
        (void)finish_stepped(r);
        pthread_mutex_lock(&bt_rt.lock);
    }
    return bt_rt_leave(BATON_OK);
}

baton_status baton_runtime_result(uint64_t id, baton_result *result, baton_error *err) {
    if (!result)
        return bt_misuse(err, BATON_MISUSE, "baton_runtime_result needs a place for the result");
    memset(result, 0, sizeof *result);
    baton_status status = bt_rt_enter("baton_runtime_result", err);
    if (status)
        return status;
    const struct bt_rt_request *r = find(&bt_rt.transcript, id);
    if (!r)
        return bt_rt_leave(find(&bt_rt.under_way, id)
                               ? bt_fail(err, BATON_AGAIN, "request %llu is under way", (unsigned long long)id)
                               : bt_fail(err, BATON_NOT_FOUND,
                                         "request %llu is not in the transcript, which keeps the last %d",
                                         (unsigned long long)id, bt_rt.params.keep));
    result->text = malloc(r->text.len + 1);
    if (!result->text)
        return bt_rt_leave(bt_fail(err, BATON_NO_MEMORY, "no memory for a result of %zu bytes", r->text.len));
    if (r->text.len)
        memcpy(result->text, r->text.data, r->text.len);
    result->text[r->text.len] = '\0';
    result->len = r->text.len;
    result->outcome = r->outcome;
    return bt_rt_leave(BATON_OK);
}

baton_status baton_runtime_transcript(uint64_t **ids, size_t *n, baton_error *err) {
    if (!ids || !n)
        return bt_misuse(err, BATON_MISUSE, "baton_runtime_transcript needs places for the ids");
    *ids = NULL;
    *n = 0;
    baton_status status = bt_rt_enter("baton_runtime_transcript", err);
    if (status)
        return status;
    *ids = malloc((bt_rt.n_transcript + 1) * sizeof **ids);
    if (!*ids)
        return bt_rt_leave(bt_fail(err, BATON_NO_MEMORY, "no memory for %zu ids", bt_rt.n_transcript));
    for (struct bt_list *l = bt_rt.transcript.next; l != &bt_rt.transcript; l = l->next)
        (*ids)[(*n)++] = BT_CONTAINER(l, struct bt_rt_request, link)->id;
    return bt_rt_leave(BATON_OK);
}
