/* Contexts: what their owners say, their ends, who is placed on them and who is to blame. State: the dispatch's. */
#include "ipc/believe.h"

#include <stdio.h>
#include <string.h>

static int64_t now_of(const struct bt_dispatch *d) {
    return d->ops->now(d->arg);
}

void bt_dispatch_init(struct bt_dispatch *d, const struct bt_dispatch_params *params, const struct bt_dispatch_ops *ops,
                      void *arg) {
    memset(d, 0, sizeof *d);
    d->params = *params;
    d->ops = ops;
    d->arg = arg;
    d->due_ns = BT_NEVER_NS;
    d->opened_ns = now_of(d);
    bt_gate_init(&d->gate, params->contexts * params->sequences, params->queue_max);
    bt_list_init(&d->pending);
    bt_list_init(&d->running);
    bt_list_init(&d->doomed);
    bt_list_init(&d->calls);
    for (int i = 0; i < BT_BUCKETS; i++)
        bt_list_init(&d->buckets[i]);
    for (int i = 0; i < params->contexts; i++) {
        const struct bt_supervise_params life = {params->restarts, params->hang_ms, params->start_ms,
                                                 bt_mix64(params->seed + (uint64_t)i)};
        bt_supervise_init(&d->contexts[i].life, &life, now_of(d));
        bt_list_init(&d->contexts[i].outbox);
    }
}

bool bt_dispatch_probation(const struct bt_dispatch *d, int context) {
    return d->contexts[context].suspects > 0;
}

static bool takes(const struct bt_dispatch *d, const struct bt_request *r, int context) {
    const struct bt_dispatch_context *c = &d->contexts[context];
    if (c->life.life != BT_LIFE_READY || d->closing)
        return false;
    if (c->suspects > 0)
        return r->suspect_of == context && c->load == 0;
    return r->suspect_of < 0 && c->load < d->params.sequences;
}

static int context_for(const struct bt_dispatch *d, const struct bt_request *r) {
    int best = -1;
    for (int i = 0; i < d->params.contexts; i++)
        if (takes(d, r, i) && (best < 0 || d->contexts[i].load < d->contexts[best].load))
            best = i;
    return best;
}

void bt_dispatch_send(struct bt_dispatch *d, int context) {
    struct bt_dispatch_context *c = &d->contexts[context];
    do
        if (bt_outbox_fill(&c->outbox, c->out))
            d->ops->write(d->arg, context);
    while (!bt_list_empty(&c->outbox) && c->out->len < BT_OUTBOX_ROOM && !c->out->failed);
}

void bt_dispatch_place(struct bt_dispatch *d) {
    bt_dispatch_place_calls(d);
    for (struct bt_list *l = d->pending.next, *next; l != &d->pending; l = next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, link);
        int context = context_for(d, r);
        next = l->next;
        if (context >= 0)
            bt_request_send(r, context);
    }
}

int bt_dispatch_least_loaded(const struct bt_dispatch *d) {
    int best = -1;
    for (int i = 0; i < d->params.contexts; i++)
        if (d->contexts[i].life.life == BT_LIFE_READY && (best < 0 || d->contexts[i].load < d->contexts[best].load))
            best = i;
    return best;
}

/* The request that an owner speaks of, NULL if it was not given to that owner, in that attempt, or is over. Before it
 * has all of it an owner has nothing to say: its handlers might end on the spot what nobody has heard of. */
static baton_status given(struct bt_dispatch *d, int context, uint64_t id, uint32_t attempt, struct bt_request **out) {
    struct bt_request *r = bt_dispatch_find(d, id);
    bool is = r && r->at == BT_RUNNING && r->context == context && r->attempt == attempt;
    *out = is ? r : NULL;
    return is && bt_outgoing_waits(&r->out) ? BATON_PROTOCOL : BATON_OK;
}

static baton_status on_token(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_frame_token t;
    struct bt_request *r = NULL;
    baton_status status = bt_get_token(frame, &t);
    status = status ? status : given(d, context, t.id, t.attempt, &r);
    if (status || !r)
        return status;
    if (t.index != r->n_tokens || r->unacked >= BT_WINDOW || !bt_believe_token(r, &t) ||
        (r->max_tokens >= 0 && r->n_tokens >= (uint32_t)r->max_tokens))
        return BATON_PROTOCOL; /* nor may one that minds no bound fill this process */
    if (d->params.resume)
        bt_buf_add(&r->tokens, &t.token, sizeof t.token);
    r->n_tokens++;
    r->held = t.held;
    bt_request_delivered(r);
    r->fruitless = 0;
    bt_supervise_progress(&d->contexts[context].life);
    if (r->handler.on_text)
        r->handler.on_text(r->handler.arg, t.text.data, t.text.len);
    else
        bt_request_consumed(r, 1);
    return BATON_OK;
}

/* What is new of a result; a new attempt begins it again. */
static baton_status on_data(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_frame_data data;
    struct bt_request *r = NULL;
    baton_status status = bt_get_data(frame, &data);
    if (!status && data.attempt == 0)
        return bt_dispatch_call_data(d, context, &data);
    status = status ? status : given(d, context, data.id, data.attempt, &r);
    if (status || !r)
        return status;
    if (!bt_believe_data(r, &data))
        return BATON_PROTOCOL;
    size_t known = (size_t)BT_MIN(r->received - data.offset, (uint64_t)data.bytes.len), fresh = data.bytes.len - known;
    if (fresh == 0)
        return BATON_OK;
    r->received += fresh;
    r->fruitless = 0;
    bt_supervise_progress(&d->contexts[context].life);
    if (r->handler.on_data)
        r->handler.on_data(r->handler.arg, data.bytes.data + known, fresh);
    return BATON_OK;
}

/* Of this attempt alone: no sign that the request gets anywhere. */
static baton_status on_news(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_frame_news news;
    struct bt_request *r = NULL;
    baton_status status = bt_get_news(frame, &news);
    status = status ? status : given(d, context, news.id, news.attempt, &r);
    if (status || !r)
        return status;
    if (r->what != BT_WHAT_DRAW) /* nobody would read them */
        return BATON_PROTOCOL;
    if (r->handler.on_news)
        r->handler.on_news(r->handler.arg, news.bytes.data, news.bytes.len);
    return BATON_OK;
}

/* It went past the place where its last owner died, alone, and goes on among the others. What DONE flushed of its text
 * is held back again. */
static bool passed_its_trial(const struct bt_request *r, const struct bt_frame_done *done) {
    return r->on_trial && done->outcome == BATON_OK && done->finish == BT_FINISH_LENGTH &&
           r->n_tokens == r->trial_end && r->n_tokens != (uint32_t)r->max_tokens;
}

static void pass(struct bt_request *r) {
    struct bt_dispatch *d = r->dispatch;
    bt_dispatch_load(d, r->context, -1);
    bt_request_cleared(r);
    bt_request_pend(r);
    if (r->cancelled) /* too late for this owner, in time for the answer, which is not complete */
        bt_request_cancel(r, r->cancelled);
    else
        bt_dispatch_place(d);
}

static baton_status on_done(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_frame_done done;
    struct bt_request *r = NULL;
    baton_error why;
    baton_status status = bt_get_done(frame, &done);
    status = status ? status : given(d, context, done.id, done.attempt, &r);
    if (status || !r)
        return status;
    if (!bt_believe_done(r, &done))
        return BATON_PROTOCOL;
    if (passed_its_trial(r, &done)) {
        pass(r);
        return BATON_OK;
    }
    bt_fail(&why, done.outcome, "%s", done.error.data);
    struct bt_outcome outcome = {.status = done.outcome,
                                 .finish = done.finish,
                                 .prompt_tokens = done.prompt_tokens,
                                 .reused_tokens = done.reused_tokens,
                                 .answer_tokens = r->n_tokens,
                                 .error = why.text};
    if (done.text.len > 0 && r->handler.on_text)
        r->handler.on_text(r->handler.arg, done.text.data, done.text.len);
    bt_request_conclude(r, &outcome);
    return BATON_OK;
}

static baton_status on_ready(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_supervisor *s = &d->contexts[context].life;
    struct bt_frame_ready ready;
    baton_status status = bt_get_ready(frame, &ready);
    if (status)
        return status;
    if (s->life == BT_LIFE_READY || !bt_believe_ready(&d->sizes, d->params.sequences, &ready))
        return BATON_PROTOCOL;
    bt_supervise_ready(s, now_of(d));
    if (d->on_ready)
        d->on_ready(d->arg, context, &ready);
    return BATON_OK;
}

static baton_status on_pulse(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_pulse *p = &d->pulse;
    baton_status status = bt_get_pulse(frame, p);
    if (status)
        return status;
    bt_supervise_loaded(&d->contexts[context].life);
    bt_supervise_step(&d->contexts[context].life, p->call_ns);
    for (size_t i = 0; i < p->n; i++) {
        struct bt_request *r = bt_dispatch_find(d, p->list[i].id);
        if (r && r->at == BT_RUNNING && r->context == context) {
            r->seen = true;
            bt_request_acknowledge(r);
            r->standing = p->list[i].standing;
        }
    }
    return BATON_OK;
}

static baton_status handle(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_dispatch_context *c = &d->contexts[context];
    struct bt_text text;
    baton_status status, fatal;
    uint32_t version;
    switch (frame->type) {
    case BT_FRAME_HELLO:
        status = bt_get_hello(frame, &version);
        return status ? status : version == BT_IPC_VERSION ? BATON_OK : BATON_PROTOCOL;
    case BT_FRAME_READY:
        return on_ready(d, context, frame);
    case BT_FRAME_FATAL:
        status = bt_get_fatal(frame, &fatal, &text);
        if (!status && !bt_believe_failure(fatal))
            return BATON_PROTOCOL;
        return status ? status : (bt_fail(&c->error, fatal, "%s", text.data), BATON_OK);
    case BT_FRAME_TOKEN:
        return on_token(d, context, frame);
    case BT_FRAME_DATA:
        return on_data(d, context, frame);
    case BT_FRAME_NEWS:
        return on_news(d, context, frame);
    case BT_FRAME_REPLY:
        return bt_dispatch_reply(d, context, frame);
    case BT_FRAME_DONE:
        return on_done(d, context, frame);
    case BT_FRAME_PULSE:
        return on_pulse(d, context, frame);
    default: /* LOG, too: what an owner prints comes on its descriptors 1 and 2, cleaned and with a bound */
        return BATON_PROTOCOL;
    }
}

bool bt_dispatch_listens(const struct bt_dispatch *d, int context) {
    const struct bt_supervisor *s = &d->contexts[context].life;
    return s->life == BT_LIFE_STARTING || s->life == BT_LIFE_READY ||
           (s->life == BT_LIFE_ENDING && (s->charge == BT_CHARGE_NONE || s->charge == BT_CHARGE_CLOSED));
}

void bt_dispatch_frame(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_supervisor *s = &d->contexts[context].life;
    if (!bt_dispatch_listens(d, context))
        return;
    if (handle(d, context, frame) != BATON_OK)
        bt_dispatch_garbage(d, context);
    else
        bt_supervise_heard(s, now_of(d));
    bt_dispatch_settle(d);
}

/* Killed by the next tick; what it says until then is not believed. */
void bt_dispatch_garbage(struct bt_dispatch *d, int context) {
    bt_supervise_condemn(&d->contexts[context].life, BT_CHARGE_GARBAGE, now_of(d));
}

void bt_dispatch_lost(struct bt_dispatch *d, int context) {
    bt_supervise_condemn(&d->contexts[context].life, BT_CHARGE_LOST, now_of(d));
}

void bt_dispatch_parted(struct bt_dispatch *d, int context) {
    bt_supervise_parted(&d->contexts[context].life, now_of(d));
}

/* Who was in the native code, as far as is known; else whoever was there. */
static int suspects_of(struct bt_dispatch *d, int context, bool everybody) {
    int n = 0;
    for (struct bt_list *l = d->running.next; l != &d->running; l = l->next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, link);
        if (r->context != context || r->suspect_of >= 0 || r->cancelled)
            continue;
        bool in_it = r->seen && r->standing != BT_STANDING_RESTING;
        if (!everybody && !in_it && r->fruitless < BT_FRUITLESS_SUSPECT)
            continue;
        r->suspect_of = context;
        d->contexts[context].suspects++;
        n++;
    }
    return n;
}

/* Its owner has ended under it. */
static void interrupted(struct bt_dispatch *d, struct bt_request *r, enum bt_blame blame, const char *how) {
    struct bt_dispatch_context *c = &d->contexts[r->context];
    baton_status crashed = c->life.charge == BT_CHARGE_HUNG ? BATON_HUNG : BATON_CRASHED;
    char why[BATON_ERROR_TEXT_MAX];
    if (r->cancelled) {
        bt_request_doom(r, r->cancelled, baton_status_text(r->cancelled));
    } else if (d->closing) {
        bt_request_doom(r, BATON_CLOSED, how);
    } else if (!d->params.resume) {
        bt_request_doom(r, crashed, how);
    } else if (r->on_trial && r->seen && /* what it was never there for is not its doing */
               (blame == BT_BLAME_SUSPECTS || (blame == BT_BLAME_UNKNOWN && ++r->unproven >= BT_UNPROVEN_MAX))) {
        d->counts.quarantined++;
        bt_supervise_convicted(&c->life);
        snprintf(why, sizeof why, "this request ended its owner, alone: %s", how);
        bt_request_doom(r, crashed, why);
    } else if (r->fruitless >= BT_FRUITLESS_MAX) {
        snprintf(why, sizeof why, "cut off %d times in a row before a new token: %s", BT_FRUITLESS_MAX, how);
        bt_request_doom(r, crashed, why);
    } else if (r->tokens.failed || r->mores > 0 || (r->suspect_of >= 0 && c->life.life == BT_LIFE_GONE)) {
        bt_request_doom(r, crashed, how); /* what was asked on top of it is not here to be asked again */
    } else {
        bt_dispatch_load(d, r->context, -1);
        r->on_trial = false;
        bt_request_pend(r);
    }
}

static bool all_gone(const struct bt_dispatch *d) {
    for (int i = 0; i < d->params.contexts; i++)
        if (d->contexts[i].life.life != BT_LIFE_GONE)
            return false;
    return true;
}

/* Nobody is started on the last one again: who waits is told, and nobody else is taken. */
static void no_owner_is_left(struct bt_dispatch *d, const char *how) {
    struct bt_waiter *w;
    while ((w = bt_gate_close(&d->gate)))
        bt_request_conclude(BT_CONTAINER(w, struct bt_request, waiter),
                            &(struct bt_outcome){.status = BATON_CLOSED, .error = "no owner is left"});
    while (!bt_list_empty(&d->pending))
        bt_request_doom(BT_CONTAINER(d->pending.next, struct bt_request, link),
                        d->closing ? BATON_CLOSED : BATON_CRASHED, how);
}

/* A context that is given up gives up its suspects. */
static void give_up_suspects(struct bt_dispatch *d, int context, const char *how) {
    for (struct bt_list *l = d->pending.next, *next; l != &d->pending; l = next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, link);
        next = l->next;
        if (r->suspect_of == context)
            bt_request_doom(r, BATON_CRASHED, how);
    }
}

static void log_end(const struct bt_dispatch *d, int context, const char *how) {
    const struct bt_dispatch_context *c = &d->contexts[context];
    if (d->closing)
        return;
    if (c->life.life == BT_LIFE_GONE)
        bt_log(BATON_LOG_ERROR, "%s; it is not started again", how);
    else
        bt_log(BATON_LOG_WARN, "%s; it is started again in %d ms, and %d requests go on there or elsewhere", how,
               (int)((c->life.start_ns - c->life.since_ns) / BT_NS_PER_MS), c->load);
}

static void bereave(struct bt_dispatch *d, int context, enum bt_blame blame, const char *how) {
    const struct bt_supervisor *s = &d->contexts[context].life;
    log_end(d, context, how);
    for (struct bt_list *l = d->running.next; l != &d->running; l = l->next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, link);
        if (r->context == context && r->n_tokens == r->before && r->received == r->received_before)
            r->fruitless++;
    }
    if (blame != BT_BLAME_NOBODY && d->params.resume && d->contexts[context].suspects == 0 &&
        suspects_of(d, context, false) == 0)
        suspects_of(d, context, true);
    for (struct bt_list *l = d->running.next, *next; l != &d->running; l = next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, link);
        next = l->next;
        if (r->context == context)
            interrupted(d, r, blame, how);
    }
    if (s->life == BT_LIFE_GONE)
        give_up_suspects(d, context, how);
    if (all_gone(d))
        no_owner_is_left(d, how);
    bt_dispatch_bereave_calls(d, context, how);
    if (all_gone(d))
        bt_dispatch_end_calls(d, how);
}

static baton_status status_of(enum bt_charge charge) {
    switch (charge) {
    case BT_CHARGE_HUNG:
    case BT_CHARGE_SLOW:
        return BATON_HUNG;
    case BT_CHARGE_GARBAGE:
        return BATON_PROTOCOL;
    case BT_CHARGE_LOST:
        return BATON_NO_MEMORY;
    case BT_CHARGE_NONE:
    case BT_CHARGE_CLOSED:
        break;
    }
    return BATON_CRASHED;
}

void bt_dispatch_ended(struct bt_dispatch *d, int context, const struct bt_owner_end *end) {
    struct bt_dispatch_context *c = &d->contexts[context];
    char how[BATON_ERROR_TEXT_MAX];
    if (c->life.life == BT_LIFE_WAITING || c->life.life == BT_LIFE_GONE)
        return;
    enum bt_blame blame = bt_supervise_ended(&c->life, end, now_of(d));
    snprintf(how, sizeof how, "the owner of context %d %.*s", context, (int)sizeof how - 64, c->life.account);
    if (c->error.status)
        snprintf(how, sizeof how, "%s", c->error.text);
    else
        bt_fail(&c->error, status_of(c->life.charge), "%s", how);
    bereave(d, context, blame, how);
    bt_dispatch_settle(d);
}

static void begin(struct bt_dispatch *d, int context) {
    struct bt_dispatch_context *c = &d->contexts[context];
    baton_error err;
    c->error = (baton_error){.status = BATON_OK};
    if (d->ops->start(d->arg, context, &err) == BATON_OK) {
        bt_supervise_started(&c->life, now_of(d));
        bt_put_hello(c->out);
        d->ops->write(d->arg, context);
        return;
    }
    c->error = err;
    bt_supervise_not_started(&c->life, err.text, now_of(d));
    bereave(d, context, BT_BLAME_NOBODY, err.text);
}

static void tick_owners(struct bt_dispatch *d, int64_t now) {
    for (int i = 0; i < d->params.contexts; i++) {
        struct bt_supervisor *s = &d->contexts[i].life;
        switch (bt_supervise_tick(s, now)) {
        case BT_ORDER_START:
            begin(d, i);
            break;
        case BT_ORDER_KILL:
            d->ops->kill(d->arg, i);
            break;
        case BT_ORDER_NONE:
            break;
        }
    }
}

/* Handlers may end any request, so each look at a list begins anew. */
static bool expire_one(struct bt_list *head, int64_t now) {
    for (struct bt_list *l = head->next; l != head; l = l->next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, link);
        if (r->cancelled || BT_MIN(r->run_deadline_ns, r->idle_deadline_ns) > now)
            continue;
        r->idle = r->run_deadline_ns > now;
        bt_request_cancel(r, r->idle ? BATON_CANCELLED : BATON_RUN_TIMEOUT); /* at once, where nothing had left */
        return true;
    }
    return false;
}

static int64_t next_run_deadline(const struct bt_list *head) {
    int64_t next = BT_NEVER_NS;
    for (const struct bt_list *l = head->next; l != head; l = l->next) {
        const struct bt_request *r = BT_CONTAINER(l, const struct bt_request, link);
        if (!r->cancelled)
            next = BT_MIN(next, BT_MIN(r->run_deadline_ns, r->idle_deadline_ns));
    }
    return next;
}

static int64_t next_due(const struct bt_dispatch *d) {
    int64_t next = BT_MIN(bt_gate_next_deadline(&d->gate), next_run_deadline(&d->pending));
    for (int i = 0; i < d->params.contexts; i++)
        next = BT_MIN(next, bt_supervise_next(&d->contexts[i].life));
    return BT_MIN(next, next_run_deadline(&d->running));
}

int64_t bt_dispatch_tick(struct bt_dispatch *d) {
    int64_t now = now_of(d);
    struct bt_waiter *w;
    for (int i = 0; i < d->params.contexts && now - BT_LATE_NS > d->due_ns; i++)
        bt_supervise_heard(&d->contexts[i].life, now);
    while ((w = bt_gate_expire(&d->gate, now)))
        bt_request_conclude(
            BT_CONTAINER(w, struct bt_request, waiter),
            &(struct bt_outcome){.status = BATON_QUEUE_TIMEOUT, .error = baton_status_text(BATON_QUEUE_TIMEOUT)});
    while (expire_one(&d->pending, now) || expire_one(&d->running, now))
        ;
    tick_owners(d, now);
    bt_dispatch_settle(d);
    d->due_ns = next_due(d);
    return d->due_ns;
}

void bt_dispatch_close(struct bt_dispatch *d) {
    struct bt_waiter *w;
    d->closing = true;
    while ((w = bt_gate_close(&d->gate)))
        bt_request_conclude(BT_CONTAINER(w, struct bt_request, waiter),
                            &(struct bt_outcome){.status = BATON_CLOSED, .error = baton_status_text(BATON_CLOSED)});
    while (!bt_list_empty(&d->pending))
        bt_request_doom(BT_CONTAINER(d->pending.next, struct bt_request, link), BATON_CLOSED,
                        baton_status_text(BATON_CLOSED));
    for (int i = 0; i < d->params.contexts; i++) {
        struct bt_dispatch_context *c = &d->contexts[i];
        bool alive = c->life.life == BT_LIFE_STARTING || c->life.life == BT_LIFE_READY;
        bt_supervise_condemn(&c->life, BT_CHARGE_CLOSED, now_of(d));
        if (alive) {
            bt_put_close(c->out, false);
            d->ops->write(d->arg, i);
        }
    }
    bt_dispatch_settle(d);
}

bool bt_dispatch_closed(const struct bt_dispatch *d) {
    return all_gone(d);
}

static const char *check_list(const struct bt_dispatch *d, const struct bt_list *head, enum bt_whereabouts at,
                              int *held) {
    for (const struct bt_list *l = head->next; l != head; l = l->next) {
        const struct bt_request *r = BT_CONTAINER(l, const struct bt_request, link);
        if (r->at != at)
            return "a request is in the wrong list";
        if (r->waiter.state != BT_WAITER_GRANTED)
            return "a request runs without a slot";
        if (at == BT_PENDING && r->cancelled)
            return "a request that was cancelled is to go on";
        if (at == BT_PENDING && context_for(d, r) >= 0)
            return "a request is pending while a context could take it";
        ++*held;
    }
    return NULL;
}

static const char *check_context(const struct bt_dispatch *d, int context) {
    const struct bt_dispatch_context *c = &d->contexts[context];
    int load = 0, suspects = 0, strangers = 0;
    for (const struct bt_list *l = d->running.next; l != &d->running; l = l->next) {
        const struct bt_request *r = BT_CONTAINER(l, const struct bt_request, link);
        load += r->context == context;
        strangers += r->context == context && !(r->on_trial && r->suspect_of == context);
        suspects += r->suspect_of == context;
    }
    for (const struct bt_list *l = d->pending.next; l != &d->pending; l = l->next)
        suspects += BT_CONTAINER(l, const struct bt_request, link)->suspect_of == context;
    if (load != c->load || load > d->params.sequences)
        return "a context's load is not what runs on it";
    if (suspects != c->suspects)
        return "a context's suspects are miscounted";
    if (suspects > 0 && (load > 1 || strangers > 0))
        return "a context in probation runs somebody else";
    if (load > 0 && c->life.life != BT_LIFE_READY && c->life.life != BT_LIFE_ENDING)
        return "requests run where no owner is";
    return NULL;
}

const char *bt_dispatch_check(const struct bt_dispatch *d) {
    int held = 0;
    const char *wrong = bt_gate_check(&d->gate) ? NULL : "the gate's books are wrong";
    wrong = wrong ? wrong : check_list(d, &d->pending, BT_PENDING, &held);
    wrong = wrong ? wrong : check_list(d, &d->running, BT_RUNNING, &held);
    wrong = wrong ? wrong : check_list(d, &d->doomed, BT_DOOMED, &held);
    if (!wrong && held != d->gate.used)
        wrong = "slots were lost";
    for (int i = 0; i < d->params.contexts && !wrong; i++)
        wrong = check_context(d, i);
    return wrong;
}
