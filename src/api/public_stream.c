/* A baton_stream over either kind of owner. It belongs to whoever is in a call on it: `busy` sees to it that only one
 * is. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "baton/guard.h"

struct baton_stream {
    _Atomic uint32_t busy; /* the thread that is in a call; 0: none */
    /* whoever is in a call */
    struct bt_buf text;      /* of the last delta */
    struct bt_io_stream *io; /* one of the two */
    struct bt_caller_stream *caller;
    uint64_t id;
    uint32_t prompt_tokens, reused_tokens, tokens;
    bool ended; /* its reader knows */
    int64_t queue_ns, started_ns;
};

static baton_stream *stream_new(baton_error *err) {
    baton_stream *s = calloc(1, sizeof *s);
    if (!s)
        bt_fail(err, BATON_NO_MEMORY, "no memory for a stream");
    return s;
}

baton_status bt_stream_of_io(struct bt_io_stream *inner, baton_stream **stream, baton_error *err) {
    baton_stream *s = stream_new(err);
    baton_outcome ignored;
    if (!s) {
        bt_io_stream_close(inner, &ignored);
        return BATON_NO_MEMORY;
    }
    s->io = inner;
    s->id = bt_io_stream_id(inner);
    *stream = s;
    return BATON_OK;
}

/* The prompt as tokens: `*made` is to be freed, and the chunks of a prompt with images are the stream's. */
static baton_status prompt_of(const struct bt_caller *c, const struct bt_submit *ask, const bt_token **prompt,
                              size_t *n, bt_token **made, struct bt_chunks **chunks, baton_error *err) {
    const struct bt_model *m = bt_caller_model(c);
    baton_status status = BATON_OK;
    *made = NULL;
    *chunks = NULL;
    *prompt = ask->tokens;
    *n = ask->n_tokens;
    if (ask->kind == BT_PROMPT_TEXT)
        status = m->ops->tokenize(m, ask->text.data, ask->text.len, true, true, made, n, err);
    else if (ask->kind == BT_PROMPT_CHAT && ask->n_images)
        status = bt_chat_chunks(m, ask->messages, ask->n_messages, ask->images, ask->n_images, chunks, made, n, err);
    else if (ask->kind == BT_PROMPT_CHAT)
        status = bt_caller_chat(c, ask->messages, ask->n_messages, made, n, err);
    if (*made)
        *prompt = *made;
    return status;
}

baton_status bt_stream_of_caller(struct bt_caller *c, const struct bt_submit *ask, const struct bt_limits *limits,
                                 const struct bt_saved *saved, baton_stream **stream, baton_error *err) {
    const bt_token *prompt;
    struct bt_chunks *chunks;
    bt_token *made;
    size_t n;
    baton_stream *s = stream_new(err);
    if (!s)
        return BATON_NO_MEMORY;
    int64_t asked_ns = bt_now_ns();
    baton_status status = prompt_of(c, ask, &prompt, &n, &made, &chunks, err);
    struct bt_ask want = {limits->when_full, limits->queue_ms, ask->id, ask->flow, limits->priority};
    struct bt_run run = {.prompt = prompt,
                         .n_prompt = n,
                         .chunks = chunks,
                         .max_tokens = ask->max_tokens,
                         .sampling = &ask->sampling,
                         .stops = ask->stops,
                         .n_stops = ask->n_stops,
                         .run_ms = limits->run_ms == 0 ? -1 : BT_MAX(limits->run_ms, 0),
                         .resume = ask->resume,
                         .n_resume = ask->n_resume,
                         .cache = saved->cache,
                         .cache_size = saved->cache_size,
                         .cached = saved->cached};
    if (!status)
        status = bt_caller_stream_open(c, &want, &run, &s->caller, err);
    free(made);
    if (status) {
        free(s);
        return status;
    }
    s->id = bt_caller_stream_id(s->caller);
    s->prompt_tokens = (uint32_t)n;
    s->reused_tokens = (uint32_t)BT_MIN((size_t)saved->cached, n);
    s->started_ns = bt_now_ns();
    s->queue_ns = s->started_ns - asked_ns;
    *stream = s;
    return BATON_OK;
}

/* Native steps until there is text, the end, or the time is up: one step at least. */
static baton_status pull(baton_stream *s, int64_t timeout_ms) {
    int64_t deadline_ns = bt_deadline(bt_now_ns(), timeout_ms);
    struct bt_delta d = {.token = -1};
    baton_status status;
    do {
        status = bt_caller_stream_next(s->caller, &d, NULL);
        if (status == BATON_BUSY || status == BATON_REENTRANT)
            return status;
        s->tokens += status == BATON_OK && d.token >= 0;
        if (d.text)
            bt_buf_add(&s->text, d.text, d.len);
    } while (status == BATON_OK && s->text.len == 0 && bt_now_ns() < deadline_ns);
    if (s->text.len > 0)
        return BATON_OK; /* an end that came with text is told at the next call */
    return status == BATON_OK ? BATON_AGAIN : BATON_END;
}

/* 0: this thread is in; else who is. */
static uint32_t enter(baton_stream *s) {
    uint32_t was = 0;
    atomic_compare_exchange_strong(&s->busy, &was, baton_guard_self());
    return was;
}

baton_status baton_stream_next(baton_stream *stream, int64_t timeout_ms, baton_delta *delta) {
    BT_NEED(delta, "a place for the piece", NULL);
    *delta = (baton_delta){"", 0, 0};
    BT_NEED(stream, "a stream", NULL);
    if (enter(stream))
        return BATON_BUSY;
    stream->text.len = 0;
    baton_status status = stream->io ? bt_io_stream_next(stream->io, timeout_ms, &stream->text, &stream->tokens)
                                     : pull(stream, timeout_ms);
    stream->ended |= status == BATON_END;
    bt_buf_add(&stream->text, "", 1);
    if (status == BATON_NO_MEMORY)
        stream->text.failed = true;
    if (stream->text.failed)
        status = BATON_NO_MEMORY;
    else
        *delta = (baton_delta){(char *)stream->text.data, stream->text.len - 1, stream->tokens};
    atomic_store(&stream->busy, 0);
    return bt_told(status, NULL);
}

int baton_stream_fd(baton_stream *stream) {
    BT_NEED_OR(stream, "a stream", -1);
    return stream->io ? bt_io_stream_fd(stream->io) : -1;
}

uint64_t baton_stream_id(const baton_stream *stream) {
    BT_NEED_OR(stream, "a stream", 0);
    return stream->id;
}

static void close_caller(baton_stream *s, baton_outcome *o) {
    struct bt_run_result result;
    baton_error err = {BATON_OK, ""};
    memset(&result, 0, sizeof result);
    o->status = bt_caller_stream_close(&s->caller, &result, &err);
    o->finish = o->status ? BATON_FINISH_NONE : (baton_finish)result.finish;
    o->prompt_tokens = s->prompt_tokens;
    o->reused_tokens = s->reused_tokens;
    o->prefill_ns = (int64_t)result.prefill_ns;
    o->decode_ns = (int64_t)result.decode_ns;
    o->answer_tokens = (uint32_t)result.n_tokens;
    o->queue_ns = s->queue_ns;
    o->run_ns = bt_now_ns() - s->started_ns;
    if (o->status)
        snprintf(o->text, sizeof o->text, "%.*s", (int)sizeof o->text - 1, err.text);
    bt_run_result_free(&result);
}

/* The first token comes with the prompt; the others have the time after it. */
static void reckon_rates(baton_outcome *o) {
    uint32_t computed = o->prompt_tokens - BT_MIN(o->reused_tokens, o->prompt_tokens);
    if (o->prefill_ns > 0 && o->answer_tokens > 0)
        o->prompt_per_s = computed * (double)BT_NS_PER_S / (double)o->prefill_ns;
    if (o->decode_ns > 0 && o->answer_tokens > 1)
        o->answer_per_s = (o->answer_tokens - 1) * (double)BT_NS_PER_S / (double)o->decode_ns;
}

baton_status bt_stream_save(baton_stream *stream, struct bt_buf *out, baton_error *err) {
    uint32_t inside = enter(stream);
    if (inside)
        return bt_fail(err, BATON_BUSY,
                       "thread %u is in a call on the stream of request %llu: one at a time may use it. Save between "
                       "two of its reads",
                       inside, (unsigned long long)stream->id);
    baton_status status;
    if (!stream->io)
        status = bt_caller_stream_save(stream->caller, out, err);
    else if (stream->tokens == 0 && !stream->ended)
        status = bt_fail(err, BATON_AGAIN, "nothing was read yet: read a piece first");
    else
        status = bt_io_stream_save(stream->io, stream->tokens, out, err);
    atomic_store(&stream->busy, 0);
    return bt_told(status, err);
}

void bt_outcome_lost(baton_outcome *o) {
    o->status = BATON_NO_MEMORY;
    o->finish = BATON_FINISH_NONE;
    snprintf(o->text, sizeof o->text, "no memory for a piece of the answer: what was delivered is cut");
}

baton_status baton_stream_close(baton_stream **stream, baton_outcome *outcome) {
    baton_outcome mine = {0};
    if (!stream || !*stream)
        return BATON_OK;
    baton_stream *s = *stream;
    *stream = NULL;
    if (s->io)
        bt_io_stream_close(s->io, &mine);
    else
        close_caller(s, &mine);
    if (s->text.failed)
        bt_outcome_lost(&mine);
    reckon_rates(&mine);
    if (outcome)
        *outcome = mine;
    bt_buf_free(&s->text);
    free(s);
    return mine.status;
}
