/* The loop of an owner that hears. Frames come in, one transcription after the other is run, its segments go out as
 * they are made. Everything is one thread's, the native call included: while that runs, its hooks look at the socket.
 *
 * Invariant: a body that is whole waits in `asks` until it is run or cancelled, and has exactly one DONE. Frames that
 * come during a native call stay in `in`, where the hook only looks for what concerns that call. */
#include "owner/hear.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/assemble.h"
#include "wire/speech.h"

enum { READ_CHUNK = 64 << 10, LAST_WORDS_MS = 10000, BODIES_MAX = 64 };
static const int64_t LOOK_NS = 8 * BT_NS_PER_MS;

struct hear {
    struct bt_whisper *model;
    struct bt_whisper_state *state;
    int fd, threads;
    struct bt_buf in, out;
    struct bt_bodies bodies;
    struct bt_list asks; /* whole, in order of arrival */
    bool greeted, draining, ending, peer_gone;
    /* of the native call that is running */
    uint64_t id;
    uint32_t attempt;
    uint64_t offset; /* bytes of its result so far */
    struct bt_buf record;
    baton_status cancelled;
    bool lost; /* a record for want of memory */
    int64_t looked_ns, pulsed_ns;
    uint64_t steps;
    struct bt_pulse pulse;
};

static bool read_socket(struct hear *h) {
    while (bt_buf_reserve(&h->in, READ_CHUNK)) {
        ssize_t n = recv(h->fd, h->in.data + h->in.len, h->in.cap - h->in.len, MSG_DONTWAIT);
        if (n > 0) {
            h->in.len += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        break;
    }
    h->peer_gone = true;
    return false;
}

static void flush(struct hear *h) {
    h->peer_gone |= h->out.failed;
    while (h->out.len > 0 && !h->peer_gone) {
        ssize_t n = send(h->fd, h->out.data, h->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            h->peer_gone = true;
        else
            bt_buf_drop(&h->out, (size_t)n);
    }
}

static void done(struct hear *h, uint64_t id, uint32_t attempt, baton_status outcome, const char *error) {
    const struct bt_frame_done d = {.id = id,
                                    .attempt = attempt,
                                    .outcome = outcome,
                                    .finish = outcome ? BT_FINISH_NONE : BT_FINISH_STOP,
                                    .text = {"", 0},
                                    .error = {outcome ? error : "", outcome ? strlen(error) : 0}};
    bt_put_done(&h->out, &d);
}

static void pulse(struct hear *h, bool listed) {
    h->pulse.steps = h->steps;
    h->pulse.listed = listed;
    h->pulse.n = listed && h->id;
    h->pulse.list[0].id = h->id;
    h->pulse.list[0].standing = BT_STANDING_STEPPING;
    bt_put_pulse(&h->out, &h->pulse);
    h->pulsed_ns = bt_now_coarse_ns();
    flush(h);
}

/* ---- in a native call */

static void look(struct hear *h) {
    struct bt_frame f;
    if (!read_socket(h))
        h->cancelled = BATON_CLOSED;
    for (size_t at = 0; bt_frame_peek(h->in.data + at, h->in.len - at, &f) == BATON_OK; at += f.size) {
        uint64_t id;
        baton_status reason;
        bool drain;
        if (f.type == BT_FRAME_CLOSE && !bt_get_close(&f, &drain) && !drain)
            h->cancelled = BATON_CLOSED;
        if (f.type == BT_FRAME_CANCEL && !bt_get_cancel(&f, &id, &reason) && id == h->id)
            h->cancelled = reason ? reason : BATON_CANCELLED;
    }
}

static bool should_stop(void *arg) {
    struct hear *h = arg;
    int64_t now = bt_now_coarse_ns();
    h->steps++;
    if (now - h->pulsed_ns >= BT_PULSE_NS)
        pulse(h, false);
    if (!h->cancelled && now - h->looked_ns >= LOOK_NS) {
        h->looked_ns = now;
        look(h);
    }
    return h->cancelled != BATON_OK || h->lost;
}

static void send_record(struct hear *h) {
    h->lost |= h->record.failed;
    for (size_t at = 0; at < h->record.len && !h->lost;) {
        size_t n = BT_MIN(h->record.len - at, (size_t)BT_PIECE);
        bt_put_data(&h->out,
                    &(struct bt_frame_data){h->id, h->attempt, h->offset, {(const char *)h->record.data + at, n}});
        h->offset += n;
        at += n;
    }
    bt_buf_free(&h->record);
    flush(h);
}

static bool on_segment(void *arg, const struct bt_whisper_segment *segment, size_t index) {
    struct hear *h = arg;
    (void)index;
    bt_speech_put_segment(&h->record, segment);
    send_record(h);
    return true;
}

static void on_progress(void *arg, int percent) {
    struct hear *h = arg;
    bt_speech_put_percent(&h->record, percent);
    send_record(h);
}

static baton_status transcribe(struct hear *h, const struct bt_audio *audio, struct bt_whisper_params *p,
                               baton_error *err) {
    struct bt_whisper_result result;
    p->on_segment = on_segment;
    p->on_progress = on_progress;
    p->cancelled = should_stop;
    p->arg = h;
    baton_status status = h->state->ops->full(h->state, audio, p, &result, err);
    if (result.language >= 0)
        bt_speech_put_language(&h->record, result.language, result.lang_str, NULL, 0);
    if (result.more)
        bt_speech_put_more(&h->record);
    send_record(h);
    bt_whisper_result_free(&result);
    return status;
}

static baton_status detect(struct hear *h, const struct bt_audio *audio, const struct bt_whisper_params *p,
                           baton_error *err) {
    struct bt_whisper_info info;
    int language;
    h->model->ops->info(h->model, &info);
    float *probabilities = calloc((size_t)info.languages + 1, sizeof *probabilities);
    if (!probabilities)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the probabilities of languages");
    baton_status status =
        h->state->ops->detect(h->state, audio, p->offset_ms, p->threads, &language, probabilities, err);
    if (!status) {
        bt_speech_put_language(&h->record, language, h->model->ops->lang_str(h->model, language), probabilities,
                               (size_t)info.languages);
        send_record(h);
    }
    free(probabilities);
    return status;
}

static baton_status hear_ask(struct hear *h, struct bt_text bytes, baton_error *err) {
    struct bt_speech_ask ask;
    if (bt_speech_ask_decode(bytes, &ask))
        return bt_fail(err, BATON_PROTOCOL, "what is asked is malformed");
    float *samples = malloc(ask.samples.len + 1); /* in the frame they may lie at any address */
    if (!samples)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu samples", ask.samples.len / sizeof *samples);
    memcpy(samples, ask.samples.data, ask.samples.len);
    const struct bt_audio audio = {samples, ask.samples.len / sizeof *samples, ask.rate};
    ask.params.threads = ask.params.threads ? ask.params.threads : h->threads;
    baton_status status = ask.detect ? detect(h, &audio, &ask.params, err) : transcribe(h, &audio, &ask.params, err);
    free(samples);
    return status;
}

/* Takes the body. */
static void run_body(struct hear *h, struct bt_body *body) {
    struct bt_submit s;
    baton_error err = {BATON_OK, ""};
    h->id = body->head.id;
    h->attempt = body->head.attempt;
    h->offset = 0;
    h->cancelled = BATON_OK;
    h->lost = false;
    baton_status status = bt_get_submit(&body->head, body->bytes.data, body->bytes.len, &s);
    if (status)
        bt_fail(&err, status, "a request is malformed");
    else if (s.what != BT_WHAT_TRANSCRIBE)
        status = bt_fail(&err, BATON_UNSUPPORTED, "this owner hears: it neither generates nor embeds");
    if (!status) {
        pulse(h, true);
        status = hear_ask(h, s.text, &err);
        if (h->lost)
            status = bt_fail(&err, BATON_NO_MEMORY, "no memory for a segment");
        else if (status == BATON_CANCELLED && h->cancelled)
            status = bt_fail(&err, h->cancelled, "%s", baton_status_text(h->cancelled));
    }
    done(h, h->id, h->attempt, status, err.text);
    h->id = 0;
    bt_submit_free(&s);
    bt_body_free(body);
}

/* ---- between them */

/* BT_CALL_METADATA alone. Takes the body. */
static void answer(struct hear *h, struct bt_body *body) {
    struct bt_call call;
    struct bt_buf result = BT_BUF_INIT;
    static const char unsupported[] = "this owner hears: it has no such answer",
                      no_memory[] = "no memory for the answer";
    baton_status status = bt_get_call(&body->head, body->bytes.data, body->bytes.len, &call);
    size_t at = 0;
    if (!status && call.op != BT_CALL_METADATA)
        status = BATON_UNSUPPORTED;
    if (!status)
        bt_speech_model_encode(&result, h->model);
    status = !status && result.failed ? BATON_NO_MEMORY : status;
    for (; !status && result.len - at > BT_PIECE; at += BT_PIECE)
        bt_put_data(&h->out, &(struct bt_frame_data){body->head.id, 0, at, {(const char *)result.data + at, BT_PIECE}});
    struct bt_text end = {(const char *)result.data + at, result.len - at};
    if (status == BATON_NO_MEMORY)
        end = (struct bt_text){no_memory, sizeof no_memory - 1};
    else if (status)
        end = (struct bt_text){unsupported, sizeof unsupported - 1};
    bt_put_reply(&h->out, &(struct bt_frame_reply){body->head.id, status, status ? 0 : at, end});
    bt_buf_free(&result);
    bt_body_free(body);
}

static baton_status take_piece(struct hear *h, const struct bt_frame *f) {
    struct bt_body *body;
    baton_status status = bt_bodies_take(&h->bodies, f, &body);
    if (status)
        return status == BATON_AGAIN ? BATON_OK : status;
    if (body->type == BT_FRAME_CALL) {
        answer(h, body);
    } else if (body->type == BT_FRAME_SUBMIT && !h->draining) {
        bt_list_append(&h->asks, &body->link);
    } else {
        done(h, body->head.id, body->head.attempt, h->draining ? BATON_CLOSED : BATON_PROTOCOL, "the owner is closing");
        bt_body_free(body);
    }
    return BATON_OK;
}

static void cancel(struct hear *h, uint64_t id, baton_status reason) {
    enum bt_frame_type type;
    struct bt_frame_body head;
    if (bt_bodies_drop(&h->bodies, id, &type, &head) && type == BT_FRAME_SUBMIT)
        done(h, id, head.attempt, reason, baton_status_text(reason));
    for (struct bt_list *l = h->asks.next; l != &h->asks; l = l->next) {
        struct bt_body *body = BT_CONTAINER(l, struct bt_body, link);
        if (body->head.id != id)
            continue;
        bt_list_remove(&body->link);
        done(h, id, body->head.attempt, reason, baton_status_text(reason));
        bt_body_free(body);
        return;
    }
}

static baton_status handle(struct hear *h, const struct bt_frame *f) {
    uint64_t id;
    uint32_t number;
    baton_status status, reason;
    bool drain;
    if (!h->greeted && f->type != BT_FRAME_HELLO)
        return BATON_PROTOCOL;
    switch (f->type) {
    case BT_FRAME_HELLO:
        h->greeted = true;
        status = bt_get_hello(f, &number);
        return status ? status : number == BT_IPC_VERSION ? BATON_OK : BATON_PROTOCOL;
    case BT_FRAME_SUBMIT:
    case BT_FRAME_CALL:
    case BT_FRAME_PART:
        return take_piece(h, f);
    case BT_FRAME_CANCEL:
        status = bt_get_cancel(f, &id, &reason);
        if (!status)
            cancel(h, id, reason ? reason : BATON_CANCELLED);
        return status;
    case BT_FRAME_ACK:
        return bt_get_ack(f, &id, &number);
    case BT_FRAME_CLOSE:
        status = bt_get_close(f, &drain);
        h->draining = true;
        h->ending |= !drain;
        return status;
    default:
        return BATON_PROTOCOL;
    }
}

static void handle_all(struct hear *h) {
    size_t at = 0;
    struct bt_frame f;
    baton_status status;
    while ((status = bt_frame_peek(h->in.data + at, h->in.len - at, &f)) == BATON_OK) {
        at += f.size;
        status = handle(h, &f);
        if (status)
            break;
    }
    bt_buf_drop(&h->in, at);
    if (status != BATON_AGAIN && status != BATON_OK) {
        bt_put_fatal(&h->out, status, bt_frame_fault(status));
        h->ending = true;
    }
}

static void wait_for_frames(struct hear *h) {
    int64_t left = h->pulsed_ns + BT_PULSE_NS - bt_now_coarse_ns();
    struct pollfd fd = {h->fd, (short)(POLLIN | (h->out.len > 0 ? POLLOUT : 0)), 0};
    int ms = !bt_list_empty(&h->asks) || left <= 0 ? 0 : (int)(left / BT_NS_PER_MS) + 1;
    if (poll(&fd, 1, ms) < 0 && errno != EINTR)
        h->peer_gone = true;
    if (fd.revents & (POLLIN | POLLHUP | POLLERR))
        read_socket(h);
}

static void serve(struct hear *h) {
    while (!h->peer_gone && !h->ending && !(h->draining && bt_list_empty(&h->asks))) {
        wait_for_frames(h);
        handle_all(h);
        if (!bt_list_empty(&h->asks) && !h->ending) {
            struct bt_body *body = BT_CONTAINER(h->asks.next, struct bt_body, link);
            bt_list_remove(&body->link);
            run_body(h, body);
            handle_all(h); /* what came meanwhile makes no descriptor ready */
        }
        if (bt_now_coarse_ns() - h->pulsed_ns >= BT_PULSE_NS)
            pulse(h, false);
        flush(h);
    }
    while (!bt_list_empty(&h->asks))
        cancel(h, BT_CONTAINER(h->asks.next, struct bt_body, link)->head.id, BATON_CLOSED);
    struct pollfd fd = {h->fd, POLLOUT, 0};
    do
        flush(h);
    while (h->out.len > 0 && !h->peer_gone && (poll(&fd, 1, LAST_WORDS_MS) > 0 || errno == EINTR));
}

static void say_ready(struct hear *h) {
    struct bt_whisper_info i;
    const char *version = bt_whisper_version();
    h->model->ops->info(h->model, &i);
    struct bt_frame_ready ready = {.sequences = 1,
                                   .ctx = (uint32_t)i.text_ctx,
                                   .exact = true,
                                   .memory = i.state_bytes,
                                   .versions = {version ? version : "", version ? strlen(version) : 0}};
    memcpy(ready.info.name, i.name, sizeof ready.info.name - 1);
    ready.info.vocab_size = i.vocab_size;
    ready.info.bytes = i.bytes;
    bt_put_ready(&h->out, &ready);
    flush(h);
}

void bt_hear_run(const struct bt_hear_params *params) {
    baton_error err = {BATON_OK, ""};
    struct hear *h = calloc(1, sizeof *h);
    if (!h)
        return; /* the front sees the socket close and says so */
    h->model = params->model;
    h->threads = params->threads;
    h->fd = params->fd;
    h->pulsed_ns = bt_now_coarse_ns();
    bt_list_init(&h->asks);
    bt_bodies_init(&h->bodies, BODIES_MAX);
    bt_put_hello(&h->out);
    baton_status status = h->model->ops->state(h->model, &h->state, &err);
    if (status) {
        bt_put_fatal(&h->out, status, err.text);
        flush(h);
    } else {
        say_ready(h);
        serve(h);
        h->state->ops->free(h->state);
    }
    bt_bodies_free(&h->bodies);
    bt_buf_free(&h->in);
    bt_buf_free(&h->out);
    bt_buf_free(&h->record);
    free(h);
}
