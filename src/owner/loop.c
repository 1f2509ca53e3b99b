/* The owner's loop: frames in, requests through their life, frames out. Everything here runs on one thread, which owns
 * the context from its creation to its end; the socket and the pipe of the prepare thread are its only visitors.
 *
 * Who may end a request: only bt_loop_finish, once, between native calls. What is still being prepared cannot be
 * ended; it is marked and ends when it comes back. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "owner/loop.h"

enum { READ_CHUNK = 64 << 10, PULSE_STEPS = 256, OUT_MAX = 8 << 20, LAST_WORDS_MS = 10000 };
static const int64_t ABORT_LOOK_NS = 8 * BT_NS_PER_MS;

static void remove_alive(struct bt_loop *l, struct bt_owner_request *r) {
    for (int i = 0; i < l->n_alive; i++)
        if (l->alive[i] == r)
            l->alive[i] = l->alive[--l->n_alive];
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
                                 .reused_tokens = (uint32_t)r->reused,
                                 .answer_tokens = (uint32_t)bt_owner_answered(r),
                                 .text = {(const char *)l->text.data, l->text.len},
                                 .error = {error, strlen(error)}};
    bt_put_done(&l->out, &done);
    if (r->seq >= 0) {
        struct bt_owner_seq *s = &l->seqs[r->seq];
        s->request = NULL;
        s->cached = r->tokens;
        s->n_cached = r->fed;
        r->tokens = NULL;
    }
    bt_list_remove(&r->link);
    remove_alive(l, r);
    bt_owner_request_free(r);
}

static void cancel(struct bt_loop *l, struct bt_owner_request *r, baton_status reason) {
    if (!r->cancelled)
        r->cancelled = reason;
    if (!r->preparing)
        bt_loop_finish(l, r, r->cancelled, BT_FINISH_NONE, baton_status_text(r->cancelled));
}

static struct bt_owner_request *find(const struct bt_loop *l, uint64_t id) {
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

static baton_status submit(struct bt_loop *l, const struct bt_frame *f) {
    baton_error err;
    struct bt_owner_request *r = bt_owner_request_new(f, &err);
    if (!r)
        return err.status;
    const char *why = l->draining                             ? "the owner is closing"
                      : l->n_alive == (int)BT_COUNT(l->alive) ? "more requests at once than an owner takes"
                      : find(l, r->ask.id)                    ? "a request of that id is alive"
                                                              : NULL;
    if (why) {
        refuse(l, r, l->draining ? BATON_CLOSED : BATON_PROTOCOL, why);
        bt_owner_request_free(r);
        return BATON_OK;
    }
    if (r->ask.window == 0)
        r->ask.window = UINT32_MAX;
    r->arrived = l->arrivals++;
    r->sent = r->acked = (uint32_t)r->ask.n_resume;
    l->alive[l->n_alive++] = r;
    l->n_preparing++;
    bt_prepare_give(l->prepare, r);
    return BATON_OK;
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
        return submit(l, f);
    case BT_FRAME_CANCEL:
        status = bt_get_cancel(f, &id, &reason);
        if (!status && (r = find(l, id)))
            cancel(l, r, reason ? reason : BATON_CANCELLED);
        return status;
    case BT_FRAME_ACK:
        status = bt_get_ack(f, &id, &number);
        if (!status && (r = find(l, id)))
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
        bt_put_fatal(&l->out, status, "the front sent a frame that makes no sense here");
        l->ending = true;
    }
}

static void flush(struct bt_loop *l) {
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

/* The peer is owed every outcome; one that takes nothing for so long is not waited for. */
static void flush_last_words(struct bt_loop *l) {
    struct pollfd fd = {l->fd, POLLOUT, 0};
    int rc;
    do {
        flush(l);
        rc = l->out.len > 0 && !l->peer_gone ? poll(&fd, 1, LAST_WORDS_MS) : 0;
    } while (rc > 0 || (rc < 0 && errno == EINTR));
}

static void take_prepared(struct bt_loop *l) {
    struct bt_owner_request *r;
    while (l->n_preparing > 0 && (r = bt_prepare_take(l->prepare))) {
        l->n_preparing--;
        if (r->cancelled)
            cancel(l, r, r->cancelled);
        else if (r->error.status)
            bt_loop_finish(l, r, r->error.status, BT_FINISH_NONE, r->error.text);
        else if (r->stopped)
            bt_loop_finish(l, r, BATON_OK, BT_FINISH_STOP, "");
        else if (r->n_tokens == l->capacity || (r->ask.max_tokens >= 0 && bt_owner_answered(r) >= r->ask.max_tokens))
            bt_loop_finish(l, r, BATON_OK, BT_FINISH_LENGTH, "");
        else
            bt_list_append(&l->waiting, &r->link);
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

static void wait_for_events(struct bt_loop *l, bool work) {
    struct pollfd fds[3] = {{l->fd, POLLIN, 0}, {bt_prepare_fd(l->prepare), POLLIN, 0}, {l->visits, POLLIN, 0}};
    if (l->out.len > 0)
        fds[0].events |= POLLOUT;
    if (poll(fds, 3, work ? 0 : -1) < 0 && errno != EINTR) {
        l->peer_gone = true;
        return;
    }
    if (fds[2].revents & POLLIN)
        receive_visits(l);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        bt_loop_read(l);
}

static void run(struct bt_loop *l) {
    bool work = true; /* the abort hook may have read frames during the self-test */
    while (!l->peer_gone && !l->ending && !(l->draining && l->n_alive == 0)) {
        wait_for_events(l, work);
        handle_all(l);
        take_prepared(l);
        bt_loop_place(l);
        bool room = l->out.len < OUT_MAX;
        work = !l->ending && room && bt_loop_step(l);
        if (work && l->steps % PULSE_STEPS == 0)
            bt_put_pulse(&l->out, l->steps);
        flush(l);
        work |= !room && l->out.len < OUT_MAX; /* no event will tell of room that is there already */
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

static baton_status open_loop(struct bt_loop *l, const struct bt_owner_params *params, baton_error *err) {
    struct bt_context_params context = params->context;
    if (context.sequences < 1 || context.sequences > BT_SEQUENCES_MAX)
        return bt_fail(err, BATON_INVALID, "%d sequences: 1 to %d are possible", context.sequences, BT_SEQUENCES_MAX);
    l->chunk = context.chunk = BT_MAX(context.chunk > 0 ? context.chunk : 512, context.sequences);
    l->sequences = context.sequences;
    l->model = params->model;
    l->fd = params->fd;
    l->visits = params->visits;
    bt_list_init(&l->waiting);
    l->model->ops->info(l->model, &l->info);
    baton_status status = bt_context_open(l->model, &context, &l->context, err);
    if (status)
        return status;
    l->capacity = l->context->ops->capacity(l->context);
    l->seqs = calloc((size_t)l->sequences, sizeof *l->seqs);
    l->rows = malloc((size_t)l->chunk * sizeof *l->rows);
    if (!l->seqs || !l->rows)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d sequences", l->sequences);
    return bt_prepare_start(l->model, l->capacity, &l->prepare, err);
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
    bt_buf_free(&l->in);
    bt_buf_free(&l->out);
    bt_buf_free(&l->piece);
    bt_buf_free(&l->text);
    free(l);
}

static void say_ready(struct bt_loop *l, bool exact) {
    struct bt_buf versions = BT_BUF_INIT;
    bt_native_versions(&versions);
    struct bt_frame_ready ready = {.sequences = (uint32_t)l->sequences,
                                   .ctx = (uint32_t)l->capacity,
                                   .exact = exact,
                                   .memory = l->context->ops->memory(l->context),
                                   .info = l->info,
                                   .versions = {(const char *)versions.data, versions.len}};
    bt_put_ready(&l->out, &ready);
    bt_buf_free(&versions);
}

void bt_owner_run(const struct bt_owner_params *params) {
    baton_error err = {BATON_OK, ""};
    struct bt_loop *l = calloc(1, sizeof *l);
    if (!l)
        return; /* the front sees the socket close and says so */
    bt_put_hello(&l->out);
    baton_status status = open_loop(l, params, &err);
    if (status) {
        l->fd = params->fd;
        bt_put_fatal(&l->out, status, err.text);
        flush(l);
        close_loop(l);
        return;
    }
    l->context->ops->set_abort(l->context, abort_hook, l);
    say_ready(l, params->context.exact && bt_exact_selftest(l->context, l->model, l->sequences));
    flush(l);
    run(l);
    close_loop(l);
}
