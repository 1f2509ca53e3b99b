/* Requests from admission to outcome. Everything belongs to the thread that opened the front.
 *
 * Invariants: a request is queued at the gate, or running on a context (it holds a slot until that context's DONE for
 * it), or gone. Its handler is called until on_done or abandon, whichever is first, and never after. Before a handler
 * is called the front's own books are in order: handlers may submit, cancel and abandon. */
#include "ipc/front.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ipc/link.h"
#include "ipc/spawn.h"

enum { BUCKETS = 1024, EVENTS = 64 };

struct bt_request {
    struct bt_waiter waiter;
    struct bt_front *front;
    struct bt_handler handler; /* on_done == NULL: abandoned */
    struct bt_buf submit;      /* the encoded SUBMIT, until it is sent */
    uint32_t attempt;
    int context; /* -1 while queued */
    int64_t run_ms, run_deadline_ns;
    baton_status cancelled;
    uint32_t consumed;     /* taken by the reader and not yet acknowledged */
    struct bt_list bucket; /* by id */
    struct bt_list running;
};

struct context {
    struct bt_link link; /* closed: the owner is gone */
    int load;            /* requests running on it */
    bool ready;
    baton_error error; /* why it is gone */
};

struct bt_front {
    struct bt_gate gate;
    struct bt_front_params params;
    struct bt_front_info info;
    char *versions;
    struct bt_spawn *spawn;
    int epoll; /* watches every context's socket by its index */
    struct context contexts[BT_CONTEXTS_MAX];
    struct bt_list buckets[BUCKETS];
    struct bt_list running;
    struct bt_front_counts counts;
    bool closing;
};

static struct bt_list *bucket_of(struct bt_front *f, uint64_t id) {
    return &f->buckets[bt_mix64(id) % BUCKETS];
}

struct bt_request *bt_front_find(struct bt_front *f, uint64_t id) {
    struct bt_list *head = bucket_of(f, id);
    for (struct bt_list *l = head->next; l != head; l = l->next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, bucket);
        if (r->waiter.id == id)
            return r;
    }
    return NULL;
}

static void count(struct bt_front *f, const struct bt_outcome *o) {
    switch (o->status) {
    case BATON_OK:
        f->counts.completed++;
        break;
    case BATON_CANCELLED:
        f->counts.cancelled++;
        break;
    case BATON_QUEUE_TIMEOUT:
    case BATON_RUN_TIMEOUT:
        f->counts.timed_out++;
        break;
    default:
        f->counts.failed++;
    }
}

/* The request is over and out of all books: tells its handler, frees it. */
static void conclude(struct bt_request *r, struct bt_outcome *outcome) {
    struct bt_handler handler = r->handler;
    int64_t now = bt_now_ns(), granted = r->context < 0 ? now : r->waiter.granted_ns;
    outcome->queue_ns = granted - r->waiter.asked_ns;
    outcome->run_ns = now - granted;
    count(r->front, outcome);
    bt_list_remove(&r->bucket);
    bt_list_remove(&r->running);
    bt_buf_free(&r->submit);
    free(r);
    if (handler.on_done)
        handler.on_done(handler.arg, outcome);
}

static void conclude_early(struct bt_request *r, baton_status status, const char *text) {
    struct bt_outcome outcome = {.status = status, .error = text};
    conclude(r, &outcome);
}

/* The least loaded context that lives. With none left the gate is closed and nobody is started. */
static int place(const struct bt_front *f) {
    int best = 0;
    for (int i = 0; i < f->params.contexts; i++) {
        const struct context *c = &f->contexts[i], *b = &f->contexts[best];
        if (c->link.fd >= 0 && (b->link.fd < 0 || c->load < b->load))
            best = i;
    }
    return best;
}

static void start(struct bt_request *r) {
    struct bt_front *f = r->front;
    r->context = place(f);
    f->contexts[r->context].load++;
    r->run_deadline_ns = bt_deadline(r->waiter.granted_ns, r->run_ms);
    bt_list_append(&f->running, &r->running);
    struct context *c = &f->contexts[r->context];
    bt_buf_add(&c->link.out, r->submit.data, r->submit.len);
    bt_buf_free(&r->submit);
    bt_link_flush(&c->link);
}

/* The native calls for r are over: its slot goes to the next waiter. */
static void give_slot(struct bt_request *r) {
    r->front->contexts[r->context].load--;
    struct bt_waiter *next = bt_gate_give(&r->front->gate, &r->waiter, bt_now_ns());
    if (next)
        start(BT_CONTAINER(next, struct bt_request, waiter));
}

uint64_t bt_request_id(const struct bt_request *r) {
    return r->waiter.id;
}

int bt_request_position(const struct bt_request *r) {
    return bt_gate_position(&r->front->gate, &r->waiter);
}

static uint64_t fresh_id(struct bt_front *f) {
    uint64_t id;
    do
        id = bt_random64();
    while (id == 0 || bt_front_find(f, id));
    return id;
}

static baton_status admit(struct bt_request *r, enum bt_when_full when_full, baton_error *err) {
    struct bt_front *f = r->front;
    baton_status status = bt_gate_ask(&f->gate, &r->waiter, when_full, bt_now_ns());
    switch (status) {
    case BATON_OK:
    case BATON_AGAIN:
        return status;
    case BATON_QUEUE_FULL:
        return bt_fail(err, status, "all %d slots are in use and all %d places in the queue are taken: try again later",
                       f->gate.slots, f->gate.queue_max);
    case BATON_BUSY:
        return bt_fail(err, status, "all %d slots are in use and requests are not queued here: try again later",
                       f->gate.slots);
    default:
        return bt_fail(err, status, "%s", baton_status_text(status));
    }
}

baton_status bt_front_submit(struct bt_front *f, struct bt_submit *s, const struct bt_limits *limits,
                             const struct bt_handler *handler, struct bt_request **out, baton_error *err) {
    const struct bt_limits preset = {f->params.when_full, 1, f->params.queue_ms, f->params.run_ms};
    struct bt_request *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    limits = limits ? limits : &preset;
    if (s->id == 0)
        s->id = fresh_id(f);
    s->attempt = r->attempt = 1;
    s->window = BT_WINDOW;
    r->front = f;
    r->context = -1;
    r->handler = *handler;
    r->waiter = (struct bt_waiter){.id = s->id,
                                   .flow = s->flow,
                                   .priority = limits->priority,
                                   .deadline_ns = bt_deadline(bt_now_ns(), limits->queue_ms)};
    r->run_ms = limits->run_ms;
    bt_list_init(&r->bucket);
    bt_list_init(&r->running);
    bt_put_submit(&r->submit, s);
    baton_status status = BATON_OK;
    if (r->submit.failed)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    else if (r->submit.len > BT_BODY_MAX)
        status =
            bt_fail(err, BATON_TOO_LONG, "the request takes %zu bytes and %d are possible", r->submit.len, BT_BODY_MAX);
    else if (bt_front_find(f, s->id))
        status = bt_fail(err, BATON_INVALID, "a request of id %llu is alive", (unsigned long long)s->id);
    else
        status = admit(r, limits->when_full, err);
    if (status != BATON_OK && status != BATON_AGAIN) {
        f->counts.refused++;
        bt_buf_free(&r->submit);
        free(r);
        return status;
    }
    f->counts.accepted++;
    bt_list_append(bucket_of(f, s->id), &r->bucket);
    if (status == BATON_OK)
        start(r);
    *out = r;
    return BATON_OK;
}

void bt_request_cancel(struct bt_request *r, baton_status reason) {
    struct bt_front *f = r->front;
    if (bt_gate_withdraw(&f->gate, &r->waiter)) {
        conclude_early(r, reason, baton_status_text(reason));
        return;
    }
    if (r->cancelled)
        return;
    r->cancelled = reason;
    struct context *c = &f->contexts[r->context];
    bt_put_cancel(&c->link.out, r->waiter.id, reason);
    bt_link_flush(&c->link);
}

void bt_request_abandon(struct bt_request *r) {
    r->handler = (struct bt_handler){0};
    bt_request_cancel(r, BATON_CANCELLED);
}

void bt_request_consumed(struct bt_request *r, uint32_t tokens) {
    r->consumed += tokens;
    if (r->consumed < BT_WINDOW / 2 || r->context < 0)
        return;
    struct context *c = &r->front->contexts[r->context];
    bt_put_ack(&c->link.out, r->waiter.id, r->consumed);
    r->consumed = 0;
    bt_link_flush(&c->link);
}

/* The request that an owner speaks of, if it was given to that owner, in that attempt, and is alive. */
static struct bt_request *given(struct bt_front *f, const struct context *c, uint64_t id, uint32_t attempt) {
    struct bt_request *r = bt_front_find(f, id);
    return r && r->attempt == attempt && r->context == (int)(c - f->contexts) ? r : NULL;
}

static baton_status on_token(struct bt_front *f, const struct context *c, const struct bt_frame *frame) {
    struct bt_frame_token t;
    baton_status status = bt_get_token(frame, &t);
    struct bt_request *r = status ? NULL : given(f, c, t.id, t.attempt);
    if (!r)
        return status;
    if (r->handler.on_text)
        r->handler.on_text(r->handler.arg, t.text.data, t.text.len);
    else
        bt_request_consumed(r, 1);
    return BATON_OK;
}

static baton_status on_done(struct bt_front *f, const struct context *c, const struct bt_frame *frame) {
    struct bt_frame_done d;
    baton_status status = bt_get_done(frame, &d);
    struct bt_request *r = status ? NULL : given(f, c, d.id, d.attempt);
    if (!r)
        return status;
    struct bt_outcome outcome = {.status = d.outcome,
                                 .finish = d.finish,
                                 .prompt_tokens = d.prompt_tokens,
                                 .reused_tokens = d.reused_tokens,
                                 .answer_tokens = d.answer_tokens,
                                 .error = d.error.data};
    give_slot(r);
    if (d.text.len > 0 && r->handler.on_text)
        r->handler.on_text(r->handler.arg, d.text.data, d.text.len);
    conclude(r, &outcome);
    return BATON_OK;
}

static baton_status on_ready(struct bt_front *f, struct context *c, const struct bt_frame *frame) {
    struct bt_frame_ready ready;
    baton_status status = bt_get_ready(frame, &ready);
    if (status)
        return status;
    c->ready = true;
    f->info.ready.exact &= ready.exact;
    if (f->versions)
        return BATON_OK;
    f->versions = strdup(ready.versions.data);
    ready.versions.data = f->versions ? f->versions : "";
    f->info.ready = ready;
    f->info.sandbox = bt_spawn_sandbox(f->spawn, (int)(c - f->contexts));
    return BATON_OK;
}

static baton_status handle(struct bt_front *f, struct context *c, const struct bt_frame *frame) {
    struct bt_text text;
    baton_status status, fatal;
    baton_log_level level;
    uint32_t version;
    struct bt_pulse pulse;
    switch (frame->type) {
    case BT_FRAME_HELLO:
        status = bt_get_hello(frame, &version);
        return status ? status : version == BT_IPC_VERSION ? BATON_OK : BATON_PROTOCOL;
    case BT_FRAME_READY:
        return on_ready(f, c, frame);
    case BT_FRAME_FATAL:
        status = bt_get_fatal(frame, &fatal, &text);
        return status ? status : bt_fail(&c->error, fatal ? fatal : BATON_PROTOCOL, "%s", text.data);
    case BT_FRAME_TOKEN:
        return on_token(f, c, frame);
    case BT_FRAME_DONE:
        return on_done(f, c, frame);
    case BT_FRAME_PULSE:
        return bt_get_pulse(frame, &pulse);
    case BT_FRAME_LOG:
        status = bt_get_log(frame, &level, &text);
        if (!status)
            bt_log(level, "%s", text.data);
        return status;
    default:
        return BATON_PROTOCOL;
    }
}

static bool any_owner(const struct bt_front *f) {
    for (int i = 0; i < f->params.contexts; i++)
        if (f->contexts[i].link.fd >= 0)
            return true;
    return false;
}

/* The owner is gone, and with it every request it had. Nobody is started on it again: with the last owner the gate
 * closes. */
static void bury(struct bt_front *f, int index) {
    struct context *c = &f->contexts[index];
    bt_link_close(&c->link);
    if (!c->error.status)
        bt_fail(&c->error, BATON_CRASHED, "the owner of context %d ended without a word", index);
    bool any = any_owner(f);
    struct bt_waiter *w;
    while (!any && (w = bt_gate_close(&f->gate)))
        conclude_early(BT_CONTAINER(w, struct bt_request, waiter), BATON_CLOSED, "no owner is left");
    for (struct bt_list *l = f->running.next; l != &f->running;) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, running);
        l = l->next;
        if (r->context != index)
            continue;
        give_slot(r);
        conclude_early(r, f->closing ? BATON_CLOSED : BATON_CRASHED, c->error.text);
        l = f->running.next; /* the handler may have changed the list */
    }
}

static baton_status pump(struct bt_front *f, int index) {
    struct context *c = &f->contexts[index];
    if (c->link.fd < 0) /* buried by a handler of an event before this one */
        return BATON_OK;
    bt_link_flush(&c->link);
    bool alive = bt_link_fill(&c->link);
    if (c->link.in.failed || c->link.out.failed) { /* a frame is lost, and with it what it was about */
        bt_fail(&c->error, BATON_NO_MEMORY, "no memory for what passes between here and the owner of context %d",
                index);
        alive = false;
    }
    size_t at = 0;
    struct bt_frame frame;
    baton_status status;
    while ((status = bt_frame_peek(c->link.in.data + at, c->link.in.len - at, &frame)) == BATON_OK) {
        at += frame.size;
        status = handle(f, c, &frame);
        if (status)
            break;
    }
    bt_buf_drop(&c->link.in, at);
    if (status == BATON_AGAIN && alive)
        return BATON_OK;
    if (status != BATON_AGAIN && !c->error.status)
        bt_fail(&c->error, status, "the owner of context %d sent a frame that makes no sense here", index);
    bury(f, index);
    return c->error.status;
}

baton_status bt_front_pump(struct bt_front *f) {
    struct epoll_event events[EVENTS];
    baton_status status = BATON_OK;
    int n;
    do
        n = epoll_wait(f->epoll, events, EVENTS, 0);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++) {
        baton_status one = pump(f, (int)events[i].data.u64);
        status = status ? status : one;
    }
    return n < 0 ? BATON_IO : status;
}

int64_t bt_front_tick(struct bt_front *f) {
    int64_t now = bt_now_ns();
    struct bt_waiter *w;
    while ((w = bt_gate_expire(&f->gate, now)))
        conclude_early(BT_CONTAINER(w, struct bt_request, waiter), BATON_QUEUE_TIMEOUT,
                       baton_status_text(BATON_QUEUE_TIMEOUT));
    int64_t next = bt_gate_next_deadline(&f->gate);
    for (struct bt_list *l = f->running.next; l != &f->running; l = l->next) {
        struct bt_request *r = BT_CONTAINER(l, struct bt_request, running);
        if (r->cancelled)
            continue;
        if (r->run_deadline_ns > now)
            next = BT_MIN(next, r->run_deadline_ns);
        else
            bt_request_cancel(r, BATON_RUN_TIMEOUT);
    }
    return next;
}

void bt_front_counts(const struct bt_front *f, struct bt_front_counts *counts) {
    *counts = f->counts;
    counts->running = f->gate.used;
    counts->queued = f->gate.queued;
    counts->slots = f->gate.slots;
    counts->dead_contexts = 0;
    for (int i = 0; i < f->params.contexts; i++)
        counts->dead_contexts += f->contexts[i].link.fd < 0;
}

const struct bt_front_info *bt_front_info(const struct bt_front *f) {
    return &f->info;
}

const struct bt_model *bt_front_model(const struct bt_front *f) {
    return bt_spawn_model(f->spawn);
}

baton_status bt_front_visit(struct bt_front *f, struct bt_visit *visit, baton_error *err) {
    int context = place(f);
    if (f->contexts[context].link.fd < 0)
        return bt_fail(err, BATON_CLOSED, "no owner is left");
    bt_spawn_visit(f->spawn, context, visit);
    return BATON_OK;
}

bool bt_front_is_owner(const struct bt_front *f) {
    return bt_spawn_is_owner(f->spawn);
}

int bt_front_fd(const struct bt_front *f) {
    return f->epoll;
}

static baton_status wait_and_pump(struct bt_front *f, int timeout_ms, int wake) {
    uint64_t timed_out = f->counts.timed_out;
    int64_t next = bt_front_tick(f), now = bt_now_ns();
    if (f->counts.timed_out != timed_out)
        timeout_ms = 0;
    if (next != BT_NEVER_NS) {
        int64_t until_ms = next <= now ? 0 : (next - now) / BT_NS_PER_MS + 1;
        if (timeout_ms < 0 || until_ms < timeout_ms)
            timeout_ms = (int)BT_MIN(until_ms, (int64_t)INT32_MAX);
    }
    struct pollfd fds[] = {{f->epoll, POLLIN, 0}, {wake, POLLIN, 0}};
    if (poll(fds, BT_COUNT(fds), timeout_ms) < 0)
        return errno == EINTR ? BATON_AGAIN : BATON_IO;
    baton_status status = fds[0].revents ? bt_front_pump(f) : BATON_OK;
    bt_front_tick(f);
    return status;
}

void bt_front_wait(struct bt_front *f, int wake) {
    (void)wait_and_pump(f, -1, wake);
}

baton_status bt_front_run_once(struct bt_front *f, int timeout_ms) {
    return wait_and_pump(f, timeout_ms, -1);
}

static baton_status wait_ready(struct bt_front *f, baton_error *err) {
    for (int i = 0; i < f->params.contexts; i++) {
        while (!f->contexts[i].ready && f->contexts[i].link.fd >= 0)
            wait_and_pump(f, -1, -1);
        if (f->contexts[i].link.fd < 0)
            return bt_fail(err, f->contexts[i].error.status, "%s", f->contexts[i].error.text);
    }
    return BATON_OK;
}

static void front_free(struct bt_front *f) {
    if (f->epoll >= 0)
        close(f->epoll);
    free(f->versions);
    free(f);
}

/* Starts the owner of a context; its socket is watched and greeted. */
static baton_status greet(struct bt_front *f, int context, baton_error *err) {
    struct bt_link *l = &f->contexts[context].link;
    int fd;
    baton_status status = bt_spawn_start(f->spawn, context, &fd, err);
    status = status ? status : bt_link_open(l, fd, f->epoll, (uint64_t)context, err);
    if (!status) {
        bt_put_hello(&l->out);
        bt_link_flush(l);
    }
    return status;
}

baton_status bt_front_open(const struct bt_front_params *params, struct bt_front **front, baton_error *err) {
    *front = NULL;
    int slots;
    if (params->contexts < 1 || params->contexts > BT_CONTEXTS_MAX)
        return bt_fail(err, BATON_INVALID, "%d contexts: 1 to %d are possible", params->contexts, BT_CONTEXTS_MAX);
    if (params->context.sequences < 1 || __builtin_mul_overflow(params->contexts, params->context.sequences, &slots) ||
        slots > BT_GATE_SLOTS_MAX)
        return bt_fail(err, BATON_INVALID, "%d contexts x %d sequences: 1 to %d slots are possible", params->contexts,
                       params->context.sequences, BT_GATE_SLOTS_MAX);
    struct bt_front *f = calloc(1, sizeof *f);
    if (!f)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the front");
    f->params = *params;
    f->info.contexts = params->contexts;
    bt_gate_init(&f->gate, slots, params->queue_max);
    bt_list_init(&f->running);
    for (int i = 0; i < BUCKETS; i++)
        bt_list_init(&f->buckets[i]);
    const struct bt_spawn_params spawn = {.model = params->model,
                                          .context = params->context,
                                          .contexts = params->contexts,
                                          .owner = params->owner,
                                          .no_sandbox = params->no_sandbox,
                                          .core = params->core};
    for (int i = 0; i < params->contexts; i++)
        f->contexts[i].link.fd = -1;
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    baton_status status = f->epoll < 0 ? bt_fail(err, BATON_IO, "no epoll descriptor: %s", strerror(errno))
                                       : bt_spawn_open(&spawn, &f->spawn, err);
    if (status) {
        front_free(f);
        return status;
    }
    for (int i = 0; i < params->contexts && !status; i++)
        status = greet(f, i, err);
    if (!status)
        status = wait_ready(f, err);
    if (status) {
        bt_front_close(&f);
        return status;
    }
    *front = f;
    return BATON_OK;
}

void bt_front_close(struct bt_front **front) {
    struct bt_front *f = *front;
    struct bt_waiter *w;
    *front = NULL;
    if (!f)
        return;
    f->closing = true;
    while ((w = bt_gate_close(&f->gate)))
        conclude_early(BT_CONTAINER(w, struct bt_request, waiter), BATON_CLOSED, baton_status_text(BATON_CLOSED));
    for (int i = 0; i < f->params.contexts; i++)
        if (f->contexts[i].link.fd >= 0) {
            bt_put_close(&f->contexts[i].link.out, false);
            bt_link_flush(&f->contexts[i].link);
        }
    while (any_owner(f)) /* to their end, so that every request has its outcome */
        bt_front_run_once(f, -1);
    bt_spawn_close(&f->spawn);
    front_free(f);
}
