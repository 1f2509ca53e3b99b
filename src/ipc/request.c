/* Requests from admission to outcome: what they are asked, sent and told. State: the dispatch's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/dispatch.h"
#include "wire/drawing.h"

static struct bt_list *bucket_of(struct bt_dispatch *d, uint64_t id) {
    return &d->buckets[bt_mix64(id) % BT_BUCKETS];
}

struct bt_request *bt_dispatch_find(struct bt_dispatch *d, uint64_t id) {
    struct bt_list *head = bucket_of(d, id);
    for (struct bt_list *l = head->next; l != head; l = l->next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, bucket);
        if (r->waiter.id == id)
            return r;
    }
    return NULL;
}

static int64_t now_of(const struct bt_dispatch *d) {
    return d->ops->now(d->arg);
}

static void count(struct bt_dispatch *d, const struct bt_outcome *o) {
    switch (o->status) {
    case BATON_OK:
        d->counts.completed++;
        break;
    case BATON_CANCELLED:
        d->counts.cancelled++;
        break;
    case BATON_QUEUE_TIMEOUT:
    case BATON_RUN_TIMEOUT:
        d->counts.timed_out++;
        break;
    default:
        d->counts.failed++;
    }
}

/* Out of all books. */
static void leave(struct bt_request *r) {
    struct bt_dispatch *d = r->dispatch;
    bt_request_cleared(r);
    bt_request_unsend(r);
    if (r->at == BT_RUNNING)
        bt_dispatch_load(d, r->context, -1);
    bt_list_remove(&r->link);
    bt_list_remove(&r->bucket);
    struct bt_waiter *next = bt_gate_give(&d->gate, &r->waiter, now_of(d));
    if (next)
        bt_request_pend(BT_CONTAINER(next, struct bt_request, waiter));
    bt_dispatch_place(d);
}

static void request_free(struct bt_request *r) {
    bt_buf_free(&r->submit);
    bt_buf_free(&r->again);
    bt_buf_free(&r->more);
    bt_buf_free(&r->tokens);
    free(r);
}

void bt_request_unsend(struct bt_request *r) {
    bt_outbox_remove(&r->out);
    bt_outbox_remove(&r->more_out);
}

void bt_request_conclude(struct bt_request *r, const struct bt_outcome *verdict) {
    struct bt_outcome told = *verdict, *outcome = &told;
    struct bt_dispatch *d = r->dispatch;
    struct bt_handler handler = r->handler;
    int64_t now = now_of(d), granted = r->at == BT_QUEUED ? now : r->waiter.granted_ns;
    char why[BATON_ERROR_TEXT_MAX];
    if (r->idle && outcome->status == BATON_CANCELLED) {
        snprintf(why, sizeof why,
                 "nobody read its stream for %lld ms (idle_ms), though there was something to read: read it sooner, or "
                 "close it",
                 (long long)r->idle_ms);
        outcome->error = why;
    }
    outcome->queue_ns = granted - r->waiter.asked_ns;
    outcome->run_ns = now - granted;
    outcome->attempts = r->attempt;
    outcome->context = r->context;
    if (r->at != BT_QUEUED)
        bt_dispatch_released(d, outcome->run_ns);
    count(d, outcome);
    leave(r);
    request_free(r);
    if (handler.on_done)
        handler.on_done(handler.arg, outcome);
}

static void conclude_early(struct bt_request *r, baton_status status, const char *text) {
    struct bt_outcome outcome = {.status = status, .answer_tokens = r->n_tokens, .error = text};
    bt_request_conclude(r, &outcome);
}

/* Told when nobody stands in the middle of the books. */
void bt_request_doom(struct bt_request *r, baton_status verdict, const char *why) {
    if (r->at == BT_RUNNING)
        bt_dispatch_load(r->dispatch, r->context, -1);
    bt_request_unsend(r);
    bt_request_cleared(r);
    bt_list_remove(&r->link);
    r->at = BT_DOOMED;
    r->verdict = verdict;
    snprintf(r->why, sizeof r->why, "%s", why);
    bt_list_append(&r->dispatch->doomed, &r->link);
}

void bt_dispatch_settle(struct bt_dispatch *d) {
    bt_dispatch_place(d);
    while (!bt_list_empty(&d->doomed)) {
        struct bt_request *r = BT_CONTAINER(d->doomed.next, struct bt_request, link);
        char why[BATON_ERROR_TEXT_MAX];
        memcpy(why, r->why, sizeof why);
        conclude_early(r, r->verdict, why);
    }
}

/* Has a slot, wants a context. Who was granted first is placed first, also when it comes back from a dead owner. */
void bt_request_pend(struct bt_request *r) {
    struct bt_dispatch *d = r->dispatch;
    if (r->at == BT_QUEUED) {
        r->order = d->grants++;
        bt_dispatch_granted(d, &r->waiter);
        r->run_deadline_ns = bt_deadline(r->waiter.granted_ns, r->run_ms);
    }
    bt_request_unsend(r);
    bt_list_remove(&r->link);
    struct bt_list *before = &d->pending;
    while (before->prev != &d->pending && BT_CONTAINER(before->prev, struct bt_request, link)->order > r->order)
        before = before->prev;
    bt_list_append(before, &r->link);
    r->at = BT_PENDING;
}

void bt_request_cleared(struct bt_request *r) {
    if (r->suspect_of >= 0)
        r->dispatch->contexts[r->suspect_of].suspects--;
    r->suspect_of = -1;
    r->on_trial = false;
    r->unproven = 0;
}

/* Asked again: with what there is of the answer, and on trial only for a little more. */
static baton_status ask_again(struct bt_request *r) {
    const struct bt_frame_body h = {.id = r->waiter.id, .attempt = r->attempt};
    struct bt_submit s;
    baton_status status = bt_get_submit(&h, r->submit.data, r->submit.len, &s);
    if (status)
        return status;
    bt_token *theirs = s.resume;
    s.resume = (bt_token *)(void *)r->tokens.data;
    s.n_resume = r->n_tokens;
    s.resume_held = r->held;
    s.resume_unread = r->unacked;
    if (r->on_trial)
        s.max_tokens = (int32_t)r->trial_end;
    r->again.len = 0;
    bt_submit_encode(&r->again, &s);
    s.resume = theirs;
    bt_submit_free(&s);
    return r->again.failed ? BATON_NO_MEMORY : BATON_OK;
}

static bool asks_as_before(const struct bt_request *r) {
    return r->attempt == 1 || r->what != BT_WHAT_GENERATE;
}

/* After what was asked before it, in the same outbox. */
static void send_more(struct bt_request *r) {
    bt_outbox_add(&r->dispatch->contexts[r->context].outbox, &r->more_out, BT_FRAME_MORE, r->waiter.id, r->attempt,
                  &r->more);
    r->mores++;
}

void bt_request_send(struct bt_request *r, int context) {
    struct bt_dispatch *d = r->dispatch;
    struct bt_dispatch_context *c = &d->contexts[context];
    bt_list_remove(&r->link);
    bt_list_append(&d->running, &r->link);
    r->at = BT_RUNNING;
    r->context = context;
    r->seen = false;
    r->before = r->n_tokens;
    c->sent++;
    bt_dispatch_load(d, context, 1);
    r->on_trial = r->suspect_of >= 0;
    r->trial_end = r->n_tokens + BT_TRIAL_TOKENS;
    if (r->on_trial && r->max_tokens >= 0)
        r->trial_end = BT_MIN(r->trial_end, (uint32_t)r->max_tokens);
    r->unacked -= BT_MIN(r->consumed, r->unacked);
    r->consumed = 0;
    r->received_before = r->received;
    r->attempt++;
    baton_status status = asks_as_before(r) ? BATON_OK : ask_again(r);
    if (status) {
        bt_request_doom(r, status, "no memory to take up the request again");
        return;
    }
    bt_outbox_add(&c->outbox, &r->out, BT_FRAME_SUBMIT, r->waiter.id, r->attempt,
                  asks_as_before(r) ? &r->submit : &r->again);
    if (r->more.len > 0)
        send_more(r);
    bt_dispatch_send(d, context);
    if (!d->params.resume && !bt_outgoing_waits(&r->out))
        bt_buf_free(&r->submit);
}

baton_status bt_request_more(struct bt_request *r, const struct bt_more *more, baton_error *err) {
    if (bt_outgoing_waits(&r->more_out))
        return bt_fail(err, BATON_AGAIN, "the inputs before these have not left yet");
    r->more.len = 0;
    bt_more_encode(&r->more, more);
    if (r->more.failed || r->more.len > BT_BODY_MAX) {
        bt_buf_free(&r->more);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for more inputs");
    }
    r->inputs += more->n_inputs;
    if (r->at == BT_RUNNING) {
        send_more(r);
        bt_dispatch_send(r->dispatch, r->context);
    }
    return BATON_OK;
}

static const char *name_of(enum bt_what what) {
    static const char *const names[] = {"an answer", "embeddings", "scores", "a transcription", "a drawing"};
    return names[what];
}

/* The oldest three are named. */
void bt_dispatch_holders(const struct bt_dispatch *d, struct bt_buf *out) {
    enum { NAMED = 3 };
    const struct bt_list *heads[] = {&d->running, &d->pending};
    int64_t now = now_of(d);
    int n = 0;
    for (size_t i = 0; i < BT_COUNT(heads); i++)
        for (const struct bt_list *l = heads[i]->next; l != heads[i]; l = l->next, n++) {
            const struct bt_request *r = BT_CONTAINER(l, const struct bt_request, link);
            if (n < NAMED)
                bt_buf_addf(out, "%s%s for request %llu since %lld ms", n ? ", " : "", name_of(r->what),
                            (unsigned long long)r->waiter.id, (long long)((now - r->waiter.granted_ns) / BT_NS_PER_MS));
        }
    if (n > NAMED)
        bt_buf_addf(out, ", and %d more", n - NAMED);
}

/* With the cure. */
static baton_status refuse(const struct bt_dispatch *d, baton_status status, baton_error *err) {
    struct bt_buf who = BT_BUF_INIT;
    bt_dispatch_holders(d, &who);
    bt_buf_add(&who, "", 1);
    const char *text = who.failed ? "" : (const char *)who.data;
    if (status == BATON_QUEUE_FULL)
        bt_fail(err, status,
                "all %d slots are in use (%s) and all %d places in the queue are taken: try again later, or allow a "
                "longer queue",
                d->gate.slots, text, d->gate.queue_max);
    else
        bt_fail(err, status,
                "all %d slots are in use (%s) and requests are not queued here: try again later, wait with "
                "when_full = wait, cancel one, or open with more contexts or sequences",
                d->gate.slots, text);
    bt_buf_free(&who);
    return status;
}

static baton_status admit(struct bt_request *r, enum bt_when_full when_full, baton_error *err) {
    struct bt_dispatch *d = r->dispatch;
    baton_status status = bt_gate_ask(&d->gate, &r->waiter, when_full, now_of(d));
    switch (status) {
    case BATON_OK:
    case BATON_AGAIN:
        return status;
    case BATON_QUEUE_FULL:
    case BATON_BUSY:
        return refuse(d, status, err);
    default:
        return bt_fail(err, status, "%s", baton_status_text(status));
    }
}

static size_t stop_bytes(const struct bt_submit *s) {
    size_t bytes = 0;
    for (size_t i = 0; i < s->n_stops; i++)
        bytes += s->stops[i].len;
    return bytes;
}

static struct bt_request *request_new(struct bt_dispatch *d, struct bt_submit *s, const struct bt_limits *limits,
                                      const struct bt_handler *handler) {
    struct bt_request *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    s->attempt = 1;
    s->window = BT_WINDOW;
    r->dispatch = d;
    r->context = r->suspect_of = -1;
    r->handler = *handler;
    r->max_tokens = s->max_tokens;
    r->waiter = (struct bt_waiter){.id = s->id,
                                   .flow = s->flow,
                                   .priority = limits->priority,
                                   .deadline_ns = bt_deadline(now_of(d), limits->queue_ms)};
    r->run_ms = limits->run_ms;
    r->idle_ms = limits->idle_ms;
    r->idle_deadline_ns = BT_NEVER_NS;
    bt_list_init(&r->bucket);
    bt_list_init(&r->link);
    bt_list_init(&r->out.link);
    bt_list_init(&r->more_out.link);
    r->what = s->what;
    bt_submit_encode(&r->submit, s);
    bt_buf_add(&r->tokens, s->resume, s->n_resume * sizeof *s->resume);
    r->n_tokens = r->n_given = (uint32_t)s->n_resume;
    r->held = s->resume_held;
    r->inputs = s->n_inputs;
    r->asked = r->submit.len;
    r->drawn = s->what == BT_WHAT_DRAW ? bt_draw_most(s->text) : 0;
    r->may_hold = stop_bytes(s) + BT_TOKEN_TEXT_MAX;
    return r;
}

baton_status bt_dispatch_submit(struct bt_dispatch *d, struct bt_submit *s, const struct bt_limits *limits,
                                const struct bt_handler *handler, struct bt_request **out, baton_error *err) {
    struct bt_request *r = request_new(d, s, limits, handler);
    *out = NULL;
    if (!r)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    baton_status status = BATON_OK;
    if (r->submit.failed || (r->what == BT_WHAT_DRAW && r->drawn == 0)) /* nothing would be believed of its owner */
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    else if (r->submit.len > BT_BODY_MAX)
        status =
            bt_fail(err, BATON_TOO_LONG, "the request takes %zu bytes and %d are possible", r->submit.len, BT_BODY_MAX);
    else if (stop_bytes(s) > BT_STOP_BYTES)
        status = bt_fail(err, BATON_TOO_LONG, "the stop strings take %zu bytes and %d are possible", stop_bytes(s),
                         BT_STOP_BYTES);
    else if (bt_dispatch_find(d, s->id))
        status = bt_fail(err, BATON_INVALID, "a request of id %llu is alive", (unsigned long long)s->id);
    else
        status = admit(r, limits->when_full, err);
    if (status != BATON_OK && status != BATON_AGAIN) {
        d->counts.refused++;
        request_free(r);
        return status;
    }
    d->counts.accepted++;
    bt_list_append(bucket_of(d, s->id), &r->bucket);
    if (status == BATON_OK) {
        bt_request_pend(r);
        bt_dispatch_place(d);
    }
    *out = r;
    return BATON_OK;
}

void bt_request_cancel(struct bt_request *r, baton_status reason) {
    struct bt_dispatch *d = r->dispatch;
    switch (r->at) {
    case BT_QUEUED:
        bt_gate_withdraw(&d->gate, &r->waiter);
        conclude_early(r, reason, baton_status_text(reason));
        break;
    case BT_PENDING:
        conclude_early(r, reason, baton_status_text(reason));
        break;
    case BT_RUNNING:
        if (r->cancelled)
            break;
        r->cancelled = reason;
        if (bt_outgoing_waits(&r->out) && r->out.offset == 0) { /* its owner has not heard of it */
            conclude_early(r, reason, baton_status_text(reason));
            break;
        }
        bt_request_unsend(r);
        bt_put_cancel(d->contexts[r->context].out, r->waiter.id, reason);
        d->ops->write(d->arg, r->context);
        break;
    case BT_DOOMED:
        break;
    }
}

void bt_request_abandon(struct bt_request *r) {
    r->handler = (struct bt_handler){0};
    bt_request_cancel(r, BATON_CANCELLED);
}

/* An owner knows of no request before it has all of it, and drops an ACK that comes sooner: it is made up for when the
 * owner has listed the request. */
void bt_request_acknowledge(struct bt_request *r) {
    struct bt_dispatch *d = r->dispatch;
    if (r->consumed < BT_WINDOW / 2 || r->at != BT_RUNNING || bt_outgoing_waits(&r->out))
        return;
    bt_put_ack(d->contexts[r->context].out, r->waiter.id, r->consumed);
    r->unacked -= BT_MIN(r->consumed, r->unacked);
    r->consumed = 0;
    d->ops->write(d->arg, r->context);
}

static void watch_reader(struct bt_request *r) {
    bool unread = r->idle_ms >= 0 && r->unacked > r->consumed;
    r->idle_deadline_ns = unread ? bt_deadline(now_of(r->dispatch), r->idle_ms) : BT_NEVER_NS;
}

void bt_request_delivered(struct bt_request *r) {
    if (r->unacked++ == r->consumed)
        watch_reader(r);
}

void bt_request_consumed(struct bt_request *r, uint32_t tokens) {
    r->consumed += tokens;
    watch_reader(r);
    bt_request_acknowledge(r);
}

uint64_t bt_request_id(const struct bt_request *r) {
    return r->waiter.id;
}

int bt_request_context(const struct bt_request *r) {
    return r->at == BT_RUNNING ? r->context : -1;
}

int bt_request_position(const struct bt_request *r) {
    return bt_gate_position(&r->dispatch->gate, &r->waiter);
}
