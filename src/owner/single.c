/* The loop of an owner that runs one request at a time.
 *
 * Invariant: a body that is whole waits in `asks` until it is run or cancelled, and has exactly one DONE. Frames that
 * come during a native call stay in `in`, where the hook only looks for what concerns that call. */
#include "owner/single.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/assemble.h"

enum { READ_CHUNK = 64 << 10, LAST_WORDS_MS = 10000, BODIES_MAX = 64, BEHIND = 4 << 20 /* bytes that wait */ };
static const int64_t LOOK_NS = 8 * BT_NS_PER_MS;

struct bt_single {
    struct bt_single_kind kind;
    int fd;
    struct bt_buf in, out;
    struct bt_bodies bodies;
    struct bt_list asks; /* whole, in order of arrival */
    bool greeted, draining, ending, peer_gone;
    /* of the native call that is running */
    uint64_t id;
    uint32_t attempt;
    uint64_t offset; /* bytes of its result so far */
    baton_status cancelled;
    bool lost; /* a piece of its result, for want of memory */
    int64_t stepped_ns, looked_ns, pulsed_ns;
    uint64_t steps;
    struct bt_pulse pulse;
};

static bool read_socket(struct bt_single *s) {
    while (bt_buf_reserve(&s->in, READ_CHUNK)) {
        ssize_t n = recv(s->fd, s->in.data + s->in.len, s->in.cap - s->in.len, MSG_DONTWAIT);
        if (n > 0) {
            s->in.len += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        break;
    }
    s->peer_gone = true;
    return false;
}

static void flush(struct bt_single *s) {
    size_t at = 0;
    s->peer_gone |= s->out.failed;
    while (at < s->out.len && !s->peer_gone) {
        ssize_t n = send(s->fd, s->out.data + at, s->out.len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            s->peer_gone = true;
        else
            at += (size_t)n;
    }
    bt_buf_drop(&s->out, at);
}

static void done(struct bt_single *s, uint64_t id, uint32_t attempt, baton_status outcome, const char *error) {
    const struct bt_frame_done d = {.id = id,
                                    .attempt = attempt,
                                    .outcome = outcome,
                                    .finish = outcome ? BT_FINISH_NONE : BT_FINISH_STOP,
                                    .text = {"", 0},
                                    .error = {outcome ? error : "", outcome ? strlen(error) : 0}};
    bt_put_done(&s->out, &d);
}

static void pulse(struct bt_single *s, bool listed) {
    s->pulse.steps = s->steps;
    s->pulse.listed = listed;
    s->pulse.n = listed && s->id;
    s->pulse.list[0].id = s->id;
    s->pulse.list[0].standing = BT_STANDING_STEPPING;
    bt_put_pulse(&s->out, &s->pulse);
    s->pulsed_ns = bt_now_coarse_ns();
    flush(s);
}

/* ---- in a native call */

static void look(struct bt_single *s) {
    struct bt_frame f;
    if (!read_socket(s))
        s->cancelled = BATON_CLOSED;
    for (size_t at = 0; bt_frame_peek(s->in.data + at, s->in.len - at, &f) == BATON_OK; at += f.size) {
        uint64_t id;
        baton_status reason;
        bool drain;
        if (f.type == BT_FRAME_CLOSE && !bt_get_close(&f, &drain) && !drain)
            s->cancelled = BATON_CLOSED;
        if (f.type == BT_FRAME_CANCEL && !bt_get_cancel(&f, &id, &reason) && id == s->id)
            s->cancelled = reason ? reason : BATON_CANCELLED;
    }
}

/* What steps take is told, so that a library with slow ones is not taken for one that hangs. */
static void step(struct bt_single *s, int64_t now) {
    s->steps++;
    s->pulse.call_ns = BT_MAX(s->pulse.call_ns, now - s->stepped_ns);
    s->stepped_ns = now;
}

bool bt_single_stop(void *single) {
    struct bt_single *s = single;
    int64_t now = bt_now_coarse_ns();
    step(s, now);
    if (now - s->pulsed_ns >= BT_PULSE_NS)
        pulse(s, false);
    if (!s->cancelled && now - s->looked_ns >= LOOK_NS) {
        s->looked_ns = now;
        look(s);
    }
    return s->cancelled != BATON_OK || s->lost;
}

/* A result may be larger than what should wait here. */
static void make_room(struct bt_single *s) {
    struct pollfd fd = {s->fd, POLLOUT, 0};
    flush(s);
    while (s->out.len > BEHIND && !s->peer_gone) {
        if (poll(&fd, 1, (int)(BT_PULSE_NS / BT_NS_PER_MS)) < 0 && errno != EINTR)
            s->peer_gone = true;
        bt_single_stop(s);
        flush(s);
    }
}

void bt_single_data(struct bt_single *s, struct bt_buf *bytes) {
    s->lost |= bytes->failed;
    for (size_t at = 0; at < bytes->len && !s->lost;) {
        size_t n = BT_MIN(bytes->len - at, (size_t)BT_PIECE);
        bt_put_data(&s->out,
                    &(struct bt_frame_data){s->id, s->attempt, s->offset, {(const char *)bytes->data + at, n}});
        s->offset += n;
        at += n;
        make_room(s);
    }
    bt_buf_free(bytes);
}

void bt_single_news(struct bt_single *s, struct bt_buf *bytes) {
    if (!bytes->failed && bytes->len <= BT_NEWS_MAX && s->out.len <= BEHIND)
        bt_put_news(&s->out, &(struct bt_frame_news){s->id, s->attempt, {(const char *)bytes->data, bytes->len}});
    bt_buf_free(bytes);
    flush(s);
}

/* Takes the body. */
static void run_body(struct bt_single *s, struct bt_body *body) {
    struct bt_submit asked;
    baton_error err = {BATON_OK, ""};
    s->id = body->head.id;
    s->attempt = body->head.attempt;
    s->offset = 0;
    s->cancelled = BATON_OK;
    s->lost = false;
    baton_status status = bt_get_submit(&body->head, body->bytes.data, body->bytes.len, &asked);
    if (status)
        bt_fail(&err, status, "a request is malformed");
    else if (asked.what != s->kind.what)
        status = bt_fail(&err, BATON_UNSUPPORTED, "%s", s->kind.refusal);
    if (!status) {
        s->stepped_ns = bt_now_coarse_ns();
        pulse(s, true);
        status = s->kind.run(s->kind.arg, s, asked.text, &err);
        step(s, bt_now_coarse_ns());
        if (s->lost && (!status || (status == BATON_CANCELLED && !s->cancelled)))
            status = bt_fail(&err, BATON_NO_MEMORY, "no memory for a piece of the result");
        else if (status == BATON_CANCELLED && s->cancelled)
            status = bt_fail(&err, s->cancelled, "%s", baton_status_text(s->cancelled));
    }
    done(s, s->id, s->attempt, status, err.text);
    s->id = 0;
    bt_submit_free(&asked);
    bt_body_free(body);
}

/* ---- between them */

/* BT_CALL_METADATA alone. Takes the body. */
static void answer(struct bt_single *s, struct bt_body *body) {
    struct bt_call call;
    struct bt_buf result = BT_BUF_INIT;
    static const char no_memory[] = "no memory for the answer";
    baton_status status = bt_get_call(&body->head, body->bytes.data, body->bytes.len, &call);
    size_t at = 0;
    if (!status && call.op != BT_CALL_METADATA)
        status = BATON_UNSUPPORTED;
    if (!status)
        s->kind.describe(s->kind.arg, &result);
    status = !status && result.failed ? BATON_NO_MEMORY : status;
    for (; !status && result.len - at > BT_PIECE; at += BT_PIECE)
        bt_put_data(&s->out, &(struct bt_frame_data){body->head.id, 0, at, {(const char *)result.data + at, BT_PIECE}});
    struct bt_text end = {(const char *)result.data + at, result.len - at};
    if (status == BATON_NO_MEMORY)
        end = (struct bt_text){no_memory, sizeof no_memory - 1};
    else if (status)
        end = (struct bt_text){s->kind.refusal, strlen(s->kind.refusal)};
    bt_put_reply(&s->out, &(struct bt_frame_reply){body->head.id, status, status ? 0 : at, end});
    bt_buf_free(&result);
    bt_body_free(body);
}

static baton_status take_piece(struct bt_single *s, const struct bt_frame *f) {
    struct bt_body *body;
    baton_status status = bt_bodies_take(&s->bodies, f, &body);
    if (status)
        return status == BATON_AGAIN ? BATON_OK : status;
    if (body->type == BT_FRAME_CALL) {
        answer(s, body);
    } else if (body->type == BT_FRAME_SUBMIT && !s->draining) {
        bt_list_append(&s->asks, &body->link);
    } else {
        done(s, body->head.id, body->head.attempt, s->draining ? BATON_CLOSED : BATON_PROTOCOL, "the owner is closing");
        bt_body_free(body);
    }
    return BATON_OK;
}

static void cancel(struct bt_single *s, uint64_t id, baton_status reason) {
    enum bt_frame_type type;
    struct bt_frame_body head;
    if (bt_bodies_drop(&s->bodies, id, &type, &head) && type == BT_FRAME_SUBMIT)
        done(s, id, head.attempt, reason, baton_status_text(reason));
    for (struct bt_list *l = s->asks.next; l != &s->asks; l = l->next) {
        struct bt_body *body = BT_CONTAINER(l, struct bt_body, link);
        if (body->head.id != id)
            continue;
        bt_list_remove(&body->link);
        done(s, id, body->head.attempt, reason, baton_status_text(reason));
        bt_body_free(body);
        return;
    }
}

static baton_status handle(struct bt_single *s, const struct bt_frame *f) {
    uint64_t id;
    uint32_t number;
    baton_status status, reason;
    bool drain;
    if (!s->greeted && f->type != BT_FRAME_HELLO)
        return BATON_PROTOCOL;
    switch (f->type) {
    case BT_FRAME_HELLO:
        s->greeted = true;
        status = bt_get_hello(f, &number);
        return status ? status : number == BT_IPC_VERSION ? BATON_OK : BATON_PROTOCOL;
    case BT_FRAME_SUBMIT:
    case BT_FRAME_CALL:
    case BT_FRAME_PART:
        return take_piece(s, f);
    case BT_FRAME_CANCEL:
        status = bt_get_cancel(f, &id, &reason);
        if (!status)
            cancel(s, id, reason ? reason : BATON_CANCELLED);
        return status;
    case BT_FRAME_ACK:
        return bt_get_ack(f, &id, &number);
    case BT_FRAME_CLOSE:
        status = bt_get_close(f, &drain);
        s->draining = true;
        s->ending |= !drain;
        return status;
    default:
        return BATON_PROTOCOL;
    }
}

static void handle_all(struct bt_single *s) {
    size_t at = 0;
    struct bt_frame f;
    baton_status status;
    while ((status = bt_frame_peek(s->in.data + at, s->in.len - at, &f)) == BATON_OK) {
        at += f.size;
        status = handle(s, &f);
        if (status)
            break;
    }
    bt_buf_drop(&s->in, at);
    if (status != BATON_AGAIN && status != BATON_OK) {
        bt_put_fatal(&s->out, status, bt_frame_fault(status));
        s->ending = true;
    }
}

static void wait_for_frames(struct bt_single *s) {
    int64_t left = s->pulsed_ns + BT_PULSE_NS - bt_now_coarse_ns();
    struct pollfd fd = {s->fd, (short)(POLLIN | (s->out.len > 0 ? POLLOUT : 0)), 0};
    int ms = !bt_list_empty(&s->asks) || left <= 0 ? 0 : (int)(left / BT_NS_PER_MS) + 1;
    if (poll(&fd, 1, ms) < 0 && errno != EINTR)
        s->peer_gone = true;
    if (fd.revents & (POLLIN | POLLHUP | POLLERR))
        read_socket(s);
}

static void serve(struct bt_single *s) {
    while (!s->peer_gone && !s->ending && !(s->draining && bt_list_empty(&s->asks))) {
        wait_for_frames(s);
        handle_all(s);
        if (!bt_list_empty(&s->asks) && !s->ending) {
            struct bt_body *body = BT_CONTAINER(s->asks.next, struct bt_body, link);
            bt_list_remove(&body->link);
            run_body(s, body);
            handle_all(s); /* what came meanwhile makes no descriptor ready */
        }
        if (bt_now_coarse_ns() - s->pulsed_ns >= BT_PULSE_NS)
            pulse(s, false);
        flush(s);
    }
    while (!bt_list_empty(&s->asks))
        cancel(s, BT_CONTAINER(s->asks.next, struct bt_body, link)->head.id, BATON_CLOSED);
    struct pollfd fd = {s->fd, POLLOUT, 0};
    do
        flush(s);
    while (s->out.len > 0 && !s->peer_gone && (poll(&fd, 1, LAST_WORDS_MS) > 0 || errno == EINTR));
}

struct bt_single *bt_single_new(int fd, const struct bt_single_kind *kind) {
    struct bt_single *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->kind = *kind;
    s->fd = fd;
    s->pulsed_ns = bt_now_coarse_ns();
    bt_list_init(&s->asks);
    bt_bodies_init(&s->bodies, BODIES_MAX);
    bt_put_hello(&s->out);
    return s;
}

void bt_single_fatal(struct bt_single *s, const baton_error *err) {
    bt_put_fatal(&s->out, err->status, err->text);
    flush(s);
}

void bt_single_serve(struct bt_single *s, const struct bt_frame_ready *ready) {
    bt_put_ready(&s->out, ready);
    flush(s);
    serve(s);
}

void bt_single_free(struct bt_single *s) {
    bt_bodies_free(&s->bodies);
    bt_buf_free(&s->in);
    bt_buf_free(&s->out);
    free(s);
}
