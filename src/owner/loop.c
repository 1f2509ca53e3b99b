/* The owner's loop: frames in, requests through their life, frames out. Everything here runs on one thread, which owns
 * the context from its creation to its end; the socket and the pipe of the prepare thread are its only visitors.
 *
 * Who may end a request: only bt_loop_finish, once, between native calls. What is still being prepared cannot be
 * ended; it is marked and ends when it comes back. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "owner/loop.h"

enum { READ_CHUNK = 64 << 10, LAST_WORDS_MS = 10000 };
static const int64_t ABORT_LOOK_NS = 8 * BT_NS_PER_MS;

static void remove_alive(struct bt_loop *l, struct bt_owner_request *r) {
    for (int i = 0; i < l->n_alive; i++)
        if (l->alive[i] == r)
            l->alive[i] = l->alive[--l->n_alive];
}

/* What it leaves in the cache is for requests of the same flow. */
static void leave_sequence(struct bt_loop *l, struct bt_owner_request *r) {
    struct bt_owner_seq *s = &l->seqs[r->seq];
    if (r->ask.keep)
        bt_loop_keep(l, r);
    s->request = NULL;
    s->cached = r->tokens;
    s->n_cached = r->fed;
    s->last = r->ask.id;
    r->tokens = NULL;
    if (bt_loop_wipes(l, r))
        bt_loop_wipe(l, r->seq);
}

void bt_loop_finish(struct bt_loop *l, struct bt_owner_request *r, baton_status outcome, enum bt_finish finish,
                    const char *error) {
    l->text.len = 0;
    bt_textout_flush(&r->text, &l->text); /* after a stop string nothing is pending */
    if (bt_loop_text_lost(l, r)) {
        outcome = BATON_NO_MEMORY;
        finish = BT_FINISH_NONE;
        error = "no memory for the text of the answer";
        bt_buf_free(&l->piece);
        bt_buf_free(&l->text);
    }
    struct bt_frame_done done = {.id = r->ask.id,
                                 .attempt = r->ask.attempt,
                                 .outcome = outcome,
                                 .finish = finish,
                                 .prompt_tokens = (uint32_t)r->n_prompt,
                                 .reused_tokens = (uint32_t)BT_MIN(r->reused, r->n_prompt),
                                 .answer_tokens = (uint32_t)BT_MAX(bt_owner_answered(r) - r->n_before, 0),
                                 .text = {(const char *)l->text.data, l->text.len},
                                 .error = {error, strlen(error)}};
    bt_put_done(&l->out, &done);
    if (r->seq >= 0)
        leave_sequence(l, r);
    bt_list_remove(&r->link);
    remove_alive(l, r);
    bt_owner_request_free(r);
    bt_loop_check_resets(l);
}

static void cancel(struct bt_loop *l, struct bt_owner_request *r, baton_status reason) {
    if (!r->cancelled)
        r->cancelled = reason;
    if (!r->preparing)
        bt_loop_finish(l, r, r->cancelled, BT_FINISH_NONE, baton_status_text(r->cancelled));
}

struct bt_owner_request *bt_loop_find(const struct bt_loop *l, uint64_t id) {
    for (int i = 0; i < l->n_alive; i++)
        if (l->alive[i]->ask.id == id)
            return l->alive[i];
    return NULL;
}

static void refuse(struct bt_loop *l, const struct bt_owner_request *r, baton_status status, const char *why) {
    struct bt_frame_done done = {
        .id = r->ask.id, .attempt = r->ask.attempt, .outcome = status, .error = {why, strlen(why)}, .text = {"", 0}};
    bt_put_done(&l->out, &done);
}

static baton_status submit(struct bt_loop *l, struct bt_body *body) {
    baton_error err;
    struct bt_owner_request *r = bt_owner_request_new(body, &err);
    if (!r)
        return err.status;
    const char *why = l->draining                             ? "the owner is closing"
                      : l->n_alive == (int)BT_COUNT(l->alive) ? "more requests at once than an owner takes"
                      : bt_loop_find(l, r->ask.id)            ? "a request of that id is alive"
                                                              : NULL;
    if (why) {
        refuse(l, r, l->draining ? BATON_CLOSED : BATON_PROTOCOL, why);
        bt_owner_request_free(r);
        return BATON_OK;
    }
    if (r->ask.window == 0)
        r->ask.window = UINT32_MAX;
    r->arrived = l->arrivals++;
    r->sent = (uint32_t)r->ask.n_resume;
    r->acked = r->sent - BT_MIN(r->ask.resume_unread, r->sent);
    l->alive[l->n_alive++] = r;
    l->restand = true;
    bt_list_append(&l->fresh, &r->link);
    return BATON_OK;
}

static baton_status take_piece(struct bt_loop *l, const struct bt_frame *f) {
    struct bt_body *body;
    baton_status status = bt_bodies_take(&l->bodies, f, &body);
    if (status)
        return status == BATON_AGAIN ? BATON_OK : status;
    return body->type == BT_FRAME_SUBMIT ? submit(l, body)
           : body->type == BT_FRAME_MORE ? bt_loop_more(l, body)
                                         : bt_loop_call(l, body);
}

/* What was asked is not known, and need not be: nobody wants the answer any more. */
static void forget_body(struct bt_loop *l, uint64_t id, baton_status reason) {
    enum bt_frame_type type;
    struct bt_frame_body head;
    if (!bt_bodies_drop(&l->bodies, id, &type, &head) || type != BT_FRAME_SUBMIT)
        return;
    const char *why = baton_status_text(reason);
    struct bt_frame_done done = {
        .id = id, .attempt = head.attempt, .outcome = reason, .error = {why, strlen(why)}, .text = {"", 0}};
    bt_put_done(&l->out, &done);
}

static baton_status handle(struct bt_loop *l, const struct bt_frame *f) {
    uint64_t id;
    uint32_t number;
    baton_status status, reason;
    struct bt_owner_request *r;
    bool drain;
    if (!l->greeted && f->type != BT_FRAME_HELLO)
        return BATON_PROTOCOL;
    switch (f->type) {
    case BT_FRAME_HELLO:
        l->greeted = true;
        status = bt_get_hello(f, &number);
        return status ? status : number == BT_IPC_VERSION ? BATON_OK : BATON_PROTOCOL;
    case BT_FRAME_SUBMIT:
    case BT_FRAME_MORE:
    case BT_FRAME_CALL:
    case BT_FRAME_PART:
        return take_piece(l, f);
    case BT_FRAME_CANCEL:
        status = bt_get_cancel(f, &id, &reason);
        reason = reason ? reason : BATON_CANCELLED;
        if (!status && (r = bt_loop_find(l, id)))
            cancel(l, r, reason);
        else if (!status)
            forget_body(l, id, reason);
        return status;
    case BT_FRAME_ACK:
        status = bt_get_ack(f, &id, &number);
        if (!status && (r = bt_loop_find(l, id)))
            r->acked += BT_MIN(number, r->sent - r->acked);
        return status;
    case BT_FRAME_CLOSE:
        status = bt_get_close(f, &drain);
        l->draining = true;
        l->ending |= !drain;
        return status;
    default:
        return BATON_PROTOCOL;
    }
}

bool bt_loop_read(struct bt_loop *l) {
    while (bt_buf_reserve(&l->in, READ_CHUNK)) {
        ssize_t n = recv(l->fd, l->in.data + l->in.len, l->in.cap - l->in.len, MSG_DONTWAIT);
        if (n > 0) {
            l->in.len += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        break;
    }
    l->peer_gone = true;
    return false;
}

static void handle_all(struct bt_loop *l) {
    size_t at = 0;
    struct bt_frame f;
    baton_status status;
    while ((status = bt_frame_peek(l->in.data + at, l->in.len - at, &f)) == BATON_OK) {
        at += f.size;
        status = handle(l, &f);
        if (status)
            break;
    }
    bt_buf_drop(&l->in, at);
    if (status != BATON_AGAIN && status != BATON_OK) {
        bt_put_fatal(&l->out, status, bt_frame_fault(status));
        l->ending = true;
    }
}

void bt_loop_flush(struct bt_loop *l) {
    if (l->out.failed)
        l->peer_gone = true;
    while (l->out.len > 0 && !l->peer_gone) {
        ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            l->peer_gone = true;
        else
            bt_buf_drop(&l->out, (size_t)n);
    }
}

void bt_loop_stand(struct bt_loop *l, struct bt_owner_request *r, enum bt_standing standing) {
    l->restand |= r->standing != standing;
    r->standing = standing;
}

static void pulse(struct bt_loop *l, bool listed) {
    struct bt_pulse *p = &l->pulse;
    p->steps = l->steps;
    p->call_ns = l->call_ns;
    p->listed = listed;
    p->n = 0;
    for (int i = 0; listed && i < l->n_alive; i++) {
        p->list[p->n].id = l->alive[i]->ask.id;
        p->list[p->n++].standing = l->alive[i]->standing;
    }
    bt_put_pulse(&l->out, p);
    l->pulsed_ns = bt_now_coarse_ns();
}

void bt_loop_tell(struct bt_loop *l) {
    if (!l->restand)
        return;
    l->restand = false;
    pulse(l, true);
    bt_loop_flush(l);
}

void bt_loop_prepare_fresh(struct bt_loop *l) {
    bt_loop_tell(l);
    while (!bt_list_empty(&l->fresh)) {
        struct bt_owner_request *r = BT_CONTAINER(l->fresh.next, struct bt_owner_request, link);
        bt_list_remove(&r->link);
        l->n_preparing++;
        r->preparing = true;
        bt_prepare_give(l->prepare, &r->job);
    }
}

/* The peer is owed every outcome; one that takes nothing for so long is not waited for. */
static void flush_last_words(struct bt_loop *l) {
    struct pollfd fd = {l->fd, POLLOUT, 0};
    int rc;
    do {
        bt_loop_flush(l);
        rc = l->out.len > 0 && !l->peer_gone ? poll(&fd, 1, LAST_WORDS_MS) : 0;
    } while (rc > 0 || (rc < 0 && errno == EINTR));
}

static void took_inputs(struct bt_loop *l, struct bt_owner_request *r) {
    bt_list_append(&l->waiting, &r->link);
    bt_loop_embedded(l, r);
}

static void took_request(struct bt_loop *l, struct bt_owner_request *r) {
    r->preparing = false;
    bt_loop_stand(l, r, BT_STANDING_RESTING);
    int32_t more = bt_owner_answered(r) - r->n_before;
    if (r->cancelled)
        cancel(l, r, r->cancelled);
    else if (r->job.error.status)
        bt_loop_finish(l, r, r->job.error.status, BT_FINISH_NONE, r->job.error.text);
    else if (l->pooling != BT_POOL_OFF)
        took_inputs(l, r);
    else if (r->stopped)
        bt_loop_finish(l, r, BATON_OK, BT_FINISH_STOP, "");
    else if (r->n_tokens == l->capacity || (r->ask.max_tokens >= 0 && more >= r->ask.max_tokens))
        bt_loop_finish(l, r, BATON_OK, BT_FINISH_LENGTH, "");
    else
        bt_list_append(&l->waiting, &r->link);
}

static void take_prepared(struct bt_loop *l) {
    struct bt_job *job;
    while (l->n_preparing > 0 && (job = bt_prepare_take(l->prepare))) {
        l->n_preparing--;
        if (job->kind == BT_JOB_REQUEST)
            took_request(l, BT_CONTAINER(job, struct bt_owner_request, job));
        else if (job->kind == BT_JOB_MORE)
            bt_loop_took_more(l, BT_CONTAINER(job, struct bt_owner_more, job));
        else
            bt_loop_reply(l, BT_CONTAINER(job, struct bt_owner_call, job));
    }
}

/* Between the nodes of a running decode, on this same thread. Ends it when everything ends, or when the one request
 * whose prefill it is was cancelled: neighbours would lose a token (llama.h: abort_callback is per context). */
static bool abort_hook(void *arg) {
    struct bt_loop *l = arg;
    int64_t now = bt_now_coarse_ns();
    if (now - l->looked_ns < ABORT_LOOK_NS)
        return false;
    l->looked_ns = now;
    if (now - l->pulsed_ns >= BT_PULSE_NS) {
        pulse(l, false);
        bt_loop_flush(l);
    }
    if (!bt_loop_read(l))
        return true;
    struct bt_frame f;
    for (size_t at = 0; bt_frame_peek(l->in.data + at, l->in.len - at, &f) == BATON_OK; at += f.size) {
        uint64_t id;
        baton_status reason;
        bool drain;
        if (f.type == BT_FRAME_CLOSE && !bt_get_close(&f, &drain) && !drain)
            return true;
        if (f.type == BT_FRAME_CANCEL && l->alone && !bt_get_cancel(&f, &id, &reason) && id == l->alone->ask.id) {
            l->alone->cancelled = reason;
            return true;
        }
    }
    return false;
}

static void receive_visits(struct bt_loop *l) {
    struct bt_visit *visit;
    while (read(l->visits, &visit, sizeof visit) == (ssize_t)sizeof visit) {
        bt_device_enter(l->context->device);
        visit->run(visit->arg, l->context->ops->native(l->context));
        bt_device_leave(l->context->device);
        visit->done(visit, true);
    }
}

static int until_pulse_ms(const struct bt_loop *l) {
    int64_t left = l->pulsed_ns + BT_PULSE_NS - bt_now_coarse_ns();
    return left <= 0 ? 0 : (int)(left / BT_NS_PER_MS) + 1;
}

static void wait_for_events(struct bt_loop *l, bool work) {
    struct pollfd fds[3] = {{l->fd, POLLIN, 0}, {bt_prepare_fd(l->prepare), POLLIN, 0}, {l->visits, POLLIN, 0}};
    if (l->out.len > 0)
        fds[0].events |= POLLOUT;
    if (poll(fds, 3, work ? 0 : until_pulse_ms(l)) < 0 && errno != EINTR) {
        l->peer_gone = true;
        return;
    }
    if (fds[2].revents & POLLIN)
        receive_visits(l);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        bt_loop_read(l);
}

/* One round of native calls; false: there was nothing to do. */
static bool compute(struct bt_loop *l) {
    if (l->pooling != BT_POOL_OFF)
        return bt_loop_embed(l);
    bt_loop_place(l);
    return bt_loop_step(l);
}

static void run(struct bt_loop *l) {
    bool work = true; /* the abort hook may have read frames during the self-test */
    while (!l->peer_gone && !l->ending && !(l->draining && l->n_alive == 0 && l->n_calls == 0)) {
        wait_for_events(l, work);
        handle_all(l);
        bt_loop_prepare_fresh(l);
        take_prepared(l);
        bool room = l->out.len < BT_OUT_MAX;
        work = !l->ending && room && compute(l);
        if (until_pulse_ms(l) == 0)
            pulse(l, false);
        bt_loop_send_replies(l);
        bt_loop_flush(l);
        /* no event will tell of room that is there already */
        work |= l->out.len < BT_OUT_MAX && (!room || !bt_list_empty(&l->replies));
    }
    for (int i = l->n_alive - 1; i >= 0; i--)
        if (!l->alive[i]->preparing)
            cancel(l, l->alive[i], BATON_CLOSED);
    while (l->n_preparing > 0 && !l->peer_gone) {
        struct pollfd fd = {bt_prepare_fd(l->prepare), POLLIN, 0};
        for (int i = 0; i < l->n_alive; i++)
            l->alive[i]->cancelled = BATON_CLOSED;
        poll(&fd, 1, -1);
        take_prepared(l);
    }
    flush_last_words(l);
}

/* Not every file says that its model is an encoder; making a context finds out. */
static baton_status open_context(struct bt_loop *l, const struct bt_context_params *params, baton_error *err) {
    struct bt_context_params p = *params;
    p.pooling = bt_pooling_for(l->model, params->pooling, true);
    baton_status status = bt_context_open(l->model, &p, &l->context, err);
    if (status == BATON_UNSUPPORTED && params->pooling == BT_POOL_AUTO && p.pooling == BT_POOL_OFF) {
        p.pooling = bt_pooling_for(l->model, params->pooling, false);
        status = bt_context_open(l->model, &p, &l->context, err);
    }
    l->pooling = p.pooling;
    return status;
}

static baton_status open_loop(struct bt_loop *l, const struct bt_owner_params *params, baton_error *err) {
    struct bt_context_params context = params->context;
    if (context.sequences < 1 || context.sequences > BT_SEQUENCES_MAX)
        return bt_fail(err, BATON_INVALID, "%d sequences: 1 to %d are possible", context.sequences, BT_SEQUENCES_MAX);
    l->chunk = context.chunk = BT_MAX(context.chunk > 0 ? context.chunk : 512, context.sequences);
    l->sequences = context.sequences;
    l->model = params->model;
    l->fd = params->fd;
    l->visits = params->visits;
    l->one_by_one = context.exact;
    l->model->ops->info(l->model, &l->info);
    if (context.pooling == BT_POOL_NONE)
        return bt_fail(err, BATON_UNSUPPORTED, "an owner makes no vector per token: pool them");
    baton_status status = open_context(l, &context, err);
    if (status)
        return status;
    l->capacity = l->context->ops->capacity(l->context);
    l->seqs = calloc((size_t)l->sequences, sizeof *l->seqs);
    l->rows = malloc((size_t)l->chunk * sizeof *l->rows);
    l->width = l->context->ops->embed_width(l->context);
    l->inputs = calloc((size_t)l->sequences, sizeof *l->inputs);
    l->vectors = malloc((size_t)l->sequences * (size_t)BT_MAX(l->width, 1) * sizeof *l->vectors);
    if (!l->seqs || !l->rows || !l->inputs || !l->vectors)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d sequences", l->sequences);
    return bt_prepare_start(l->model, l->capacity, l->chunk, l->pooling, &l->prepare, err);
}

static void close_loop(struct bt_loop *l) {
    for (int i = l->n_alive - 1; i >= 0; i--)
        if (!l->alive[i]->preparing)
            bt_owner_request_free(l->alive[i]);
    if (l->prepare)
        bt_prepare_stop(l->prepare);
    for (int i = 0; l->seqs && i < l->sequences; i++)
        free(l->seqs[i].cached);
    if (l->context)
        l->context->ops->free(l->context);
    free(l->seqs);
    free(l->rows);
    free(l->inputs);
    free(l->vectors);
    bt_loop_free_calls(l);
    bt_bodies_free(&l->bodies);
    bt_buf_free(&l->in);
    bt_buf_free(&l->out);
    bt_buf_free(&l->piece);
    bt_buf_free(&l->text);
    free(l);
}

static void say_ready(struct bt_loop *l, bool exact) {
    struct bt_buf versions = BT_BUF_INIT;
    bt_native_versions(&versions);
    struct bt_model_details details;
    l->model->ops->details(l->model, &details);
    struct bt_frame_ready ready = {.sequences = (uint32_t)l->sequences,
                                   .ctx = (uint32_t)l->capacity,
                                   .exact = exact,
                                   .memory = l->context->ops->memory(l->context),
                                   .info = l->info,
                                   .details = details,
                                   .pooling = l->pooling,
                                   .width = (uint32_t)l->width,
                                   .versions = {(const char *)versions.data, versions.len}};
    snprintf(ready.device, sizeof ready.device, "%s", bt_device_use(l->context->device).name);
    for (bt_token t = 0; t < l->info.vocab_size && ready.n_ends < BT_ENDS_MAX; t++)
        if (l->model->ops->is_end(l->model, t))
            ready.ends[ready.n_ends++] = t;
    bt_put_ready(&l->out, &ready);
    bt_buf_free(&versions);
}

void bt_owner_run(const struct bt_owner_params *params) {
    baton_error err = {BATON_OK, ""};
    struct bt_loop *l = calloc(1, sizeof *l);
    if (!l)
        return; /* the front sees the socket close and says so */
    bt_bodies_init(&l->bodies, (int)BT_COUNT(l->alive) * 2 + BT_CALLS_MAX); /* requests, a MORE of each, calls */
    bt_list_init(&l->fresh);
    bt_list_init(&l->waiting);
    bt_list_init(&l->replies);
    bt_list_init(&l->resets);
    bt_put_hello(&l->out);
    baton_status status = open_loop(l, params, &err);
    if (status) {
        l->fd = params->fd;
        bt_put_fatal(&l->out, status, err.text);
        bt_loop_flush(l);
        close_loop(l);
        return;
    }
    pulse(l, false); /* it is loaded: what comes are native calls */
    bt_loop_flush(l);
    l->context->ops->set_abort(l->context, abort_hook, l);
    say_ready(l, params->context.exact && l->pooling == BT_POOL_OFF &&
                     bt_exact_selftest(l->context, l->model, l->sequences));
    bt_loop_flush(l);
    run(l);
    close_loop(l);
}
