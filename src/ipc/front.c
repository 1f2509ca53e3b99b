/* The front's shell: sockets, processes and the clock around what dispatch.c decides. Everything belongs to the thread
 * that opened the front. */
#include "ipc/front.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/dispatch.h"
#include "ipc/link.h"

enum { EVENTS = 64, LAST_READS = 64 };

/* What of a context an event is about. */
enum { ABOUT_LINK, ABOUT_END, ABOUT_LOG, ABOUT_COUNT };

struct context {
    struct bt_link link;
    int pidfd, log_fd; /* the spawn's; -1: not watched */
    bool unreaped;     /* it was started, and could not be watched */
};

struct bt_front {
    struct bt_dispatch dispatch;
    struct bt_front_params params;
    struct bt_front_info info;
    char *versions, sandbox[256];
    struct bt_spawn *spawn;
    int epoll; /* watches what the contexts have, by context and kind */
    struct context contexts[BT_CONTEXTS_MAX];
};

static int64_t clock_now(void *arg) {
    (void)arg;
    return bt_now_ns();
}

static void write_out(void *arg, int context) {
    struct bt_front *f = arg;
    bt_link_flush(&f->contexts[context].link);
}

static bool watch(struct bt_front *f, int fd, int context, unsigned about) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)context * ABOUT_COUNT + about};
    return fd < 0 || epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void unwatch(struct bt_front *f, int *fd) {
    if (*fd >= 0)
        epoll_ctl(f->epoll, EPOLL_CTL_DEL, *fd, NULL);
    *fd = -1;
}

static baton_status start_owner(void *arg, int context, baton_error *err) {
    struct bt_front *f = arg;
    struct context *c = &f->contexts[context];
    struct bt_owner_end end;
    int fd;
    if (c->unreaped && !bt_spawn_reap(f->spawn, context, &end))
        return bt_fail(err, BATON_AGAIN, "the last one, which could not be watched, has not ended yet");
    c->unreaped = false;
    baton_status status = bt_spawn_start(f->spawn, context, &fd, err);
    if (status)
        return status;
    status = bt_link_open(&c->link, fd, f->epoll, (uint64_t)context * ABOUT_COUNT + ABOUT_LINK, err);
    c->pidfd = bt_spawn_pidfd(f->spawn, context);
    c->log_fd = bt_spawn_log_fd(f->spawn, context);
    if (!status && !(watch(f, c->pidfd, context, ABOUT_END) && watch(f, c->log_fd, context, ABOUT_LOG)))
        status = bt_fail(err, BATON_IO, "the owner of context %d cannot be watched: %s", context, strerror(errno));
    if (status) {
        unwatch(f, &c->pidfd);
        unwatch(f, &c->log_fd);
        bt_link_close(&c->link);
        bt_spawn_kill(f->spawn, context);
        c->unreaped = true;
    }
    return status;
}

/* A thread cannot be killed: the end of its socket is what it hears, between its native calls and inside them. */
static void kill_owner(void *arg, int context) {
    struct bt_front *f = arg;
    struct bt_link *l = &f->contexts[context].link;
    bt_spawn_kill(f->spawn, context);
    bt_buf_free(&l->out);
    if (l->fd >= 0)
        shutdown(l->fd, SHUT_WR);
}

static const struct bt_dispatch_ops OPS = {clock_now, write_out, start_owner, kill_owner};

static void on_ready(void *arg, int context, const struct bt_frame_ready *ready) {
    struct bt_front *f = arg;
    f->info.ready.exact &= ready->exact;
    if (f->versions)
        return;
    f->info.ready = *ready;
    bt_line_clean(f->info.ready.info.name); /* a stranger's file has them */
    bt_line_clean(f->info.ready.info.description);
    bt_line_clean(f->info.ready.device);
    f->versions = strdup(ready->versions.data);
    if (f->versions)
        bt_line_clean(f->versions);
    f->info.ready.versions.data = f->versions ? f->versions : "";
    snprintf(f->sandbox, sizeof f->sandbox, "%s", bt_spawn_sandbox(f->spawn, context));
    f->info.sandbox = f->sandbox;
}

/* Frames to the dispatch. False: the socket has ended. */
static bool hear(struct bt_front *f, int context) {
    struct bt_link *l = &f->contexts[context].link;
    if (!bt_dispatch_listens(&f->dispatch, context))
        return bt_link_ignore(l);
    bt_link_flush(l);
    bt_dispatch_send(&f->dispatch, context);
    bool alive = bt_link_fill(l);
    if (l->in.failed || l->out.failed) { /* a frame is lost, and with it what it was about */
        bt_dispatch_lost(&f->dispatch, context);
        return bt_link_ignore(l);
    }
    size_t at = 0;
    struct bt_frame frame;
    baton_status status;
    while ((status = bt_frame_peek(l->in.data + at, l->in.len - at, &frame)) == BATON_OK) {
        at += frame.size;
        bt_dispatch_frame(&f->dispatch, context, &frame);
    }
    if (status != BATON_AGAIN) {
        bt_dispatch_garbage(&f->dispatch, context);
        at = l->in.len;
    }
    bt_buf_drop(&l->in, at);
    return alive;
}

static void ended(struct bt_front *f, int context) {
    struct context *c = &f->contexts[context];
    struct bt_owner_end end;
    bool process = c->pidfd >= 0;
    for (int i = 0; i < LAST_READS && process && c->link.fd >= 0 && hear(f, context); i++)
        ; /* what it said before it ended: no more than a socket holds */
    /* a forked child of this program may hold copies, and then closing alone would not end the watch */
    unwatch(f, &c->pidfd);
    unwatch(f, &c->log_fd);
    if (!bt_spawn_reap(f->spawn, context, &end) && process) {
        c->pidfd = bt_spawn_pidfd(f->spawn, context);
        c->log_fd = bt_spawn_log_fd(f->spawn, context);
        watch(f, c->pidfd, context, ABOUT_END);
        watch(f, c->log_fd, context, ABOUT_LOG);
        return;
    }
    bt_link_close(&c->link);
    bt_dispatch_ended(&f->dispatch, context, process ? &end : NULL);
}

static void on_event(struct bt_front *f, const struct epoll_event *e) {
    int context = (int)(e->data.u64 / ABOUT_COUNT);
    struct context *c = &f->contexts[context];
    switch (e->data.u64 % ABOUT_COUNT) {
    case ABOUT_LINK:
        if (c->link.fd < 0 || hear(f, context))
            break;
        if (c->pidfd < 0) {
            ended(f, context);
            break;
        }
        bt_link_close(&c->link);
        bt_dispatch_parted(&f->dispatch, context);
        break;
    case ABOUT_END:
        if (c->pidfd >= 0)
            ended(f, context);
        break;
    default:
        if (c->log_fd < 0)
            break;
        bt_spawn_read_log(f->spawn, context);
        if (e->events & (EPOLLHUP | EPOLLERR))
            unwatch(f, &c->log_fd);
    }
}

/* Why a context that was not in `before` is gone. */
static baton_status newly_gone(const struct bt_front *f, uint64_t before) {
    for (int i = 0; i < f->params.contexts; i++)
        if (f->dispatch.contexts[i].life.life == BT_LIFE_GONE && !(before >> i & 1))
            return f->dispatch.contexts[i].error.status;
    return BATON_OK;
}

static uint64_t gone(const struct bt_front *f) {
    uint64_t bits = 0;
    for (int i = 0; i < f->params.contexts; i++)
        bits |= (uint64_t)(f->dispatch.contexts[i].life.life == BT_LIFE_GONE) << i;
    return bits;
}

baton_status bt_front_pump(struct bt_front *f) {
    struct epoll_event events[EVENTS];
    uint64_t before = gone(f);
    int n;
    do
        n = epoll_wait(f->epoll, events, EVENTS, 0);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++)
        on_event(f, &events[i]);
    return n < 0 ? BATON_IO : newly_gone(f, before);
}

/* Whoever is about to be taken for hung may have said something that nobody has read yet. */
int64_t bt_front_tick(struct bt_front *f) {
    if (f->dispatch.due_ns <= bt_now_ns())
        bt_front_pump(f);
    return bt_dispatch_tick(&f->dispatch);
}

int bt_front_fd(const struct bt_front *f) {
    return f->epoll;
}

static baton_status wait_and_pump(struct bt_front *f, int timeout_ms, int wake) {
    uint64_t timed_out = f->dispatch.counts.timed_out;
    int64_t next = bt_front_tick(f), now = bt_now_ns();
    if (f->dispatch.counts.timed_out != timed_out)
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

struct bt_request *bt_front_find(struct bt_front *f, uint64_t id) {
    return bt_dispatch_find(&f->dispatch, id);
}

static uint64_t fresh_id(struct bt_front *f) {
    uint64_t id;
    do
        id = bt_random64();
    while (id == 0 || bt_front_find(f, id) || bt_dispatch_calls(&f->dispatch, id));
    return id;
}

baton_status bt_front_submit(struct bt_front *f, struct bt_submit *s, const struct bt_limits *limits,
                             const struct bt_handler *handler, struct bt_request **r, baton_error *err) {
    const struct bt_limits preset = {f->params.when_full, 1, f->params.queue_ms, f->params.run_ms, -1};
    if (s->id == 0)
        s->id = fresh_id(f);
    return bt_dispatch_submit(&f->dispatch, s, limits ? limits : &preset, handler, r, err);
}

baton_status bt_front_call(struct bt_front *f, int context, struct bt_call *call, const struct bt_call_handler *handler,
                           baton_error *err) {
    call->id = fresh_id(f);
    return bt_dispatch_call(&f->dispatch, context, call, handler, err);
}

void bt_front_holders(const struct bt_front *f, struct bt_buf *out) {
    bt_dispatch_holders(&f->dispatch, out);
}

void bt_front_call_drop(struct bt_front *f, uint64_t id) {
    bt_dispatch_call_drop(&f->dispatch, id);
}

void bt_front_counts(const struct bt_front *f, struct bt_front_counts *counts) {
    const struct bt_dispatch *d = &f->dispatch;
    *counts = d->counts;
    counts->running = d->gate.used;
    counts->queued = d->gate.queued;
    counts->slots = d->gate.slots;
    for (int i = 0; i < f->params.contexts; i++) {
        counts->dead_contexts += d->contexts[i].life.life == BT_LIFE_GONE;
        counts->restarts += d->contexts[i].life.starts > 1 ? d->contexts[i].life.starts - 1 : 0;
    }
}

void bt_front_health(const struct bt_front *f, int context, struct bt_front_health *h) {
    const struct bt_dispatch_context *c = &f->dispatch.contexts[context];
    const struct bt_supervisor *s = &c->life;
    int64_t now = bt_now_ns();
    bool answers = bt_supervise_answers(s, now), probation = bt_dispatch_probation(&f->dispatch, context);
    *h = (struct bt_front_health){.state = answers && probation ? "probation" : bt_supervise_name(s, now),
                                  .ready = answers && !probation,
                                  .gone = s->life == BT_LIFE_GONE,
                                  .running = c->load,
                                  .restarts = s->starts > 1 ? s->starts - 1 : 0,
                                  .since_ns = s->since_ns,
                                  .heard_ns = s->heard_ns,
                                  .last_end = s->account,
                                  .sandbox = bt_spawn_sandbox(f->spawn, context)};
    if (!h->ready)
        h->retry_ns = s->life == BT_LIFE_WAITING ? BT_MAX(s->start_ns, now) + BT_NS_PER_S : now + BT_NS_PER_S;
}

baton_status bt_front_snapshot(const struct bt_front *f, unsigned (*asker)(const void *arg), baton_snapshot *s,
                               baton_error *err) {
    baton_status status = bt_dispatch_snapshot(&f->dispatch, asker, s, err);
    int64_t now = bt_now_ns();
    for (int i = 0; i < s->contexts; i++) {
        baton_owner_health *o = &s->owner[i];
        struct bt_front_health h;
        bt_front_health(f, i, &h);
        *o = (baton_owner_health){.ready = h.ready,
                                  .gone = h.gone,
                                  .running = h.running,
                                  .restarts = h.restarts,
                                  .for_ms = BT_MAX(now - h.since_ns, 0) / BT_NS_PER_MS,
                                  .heard_ms = BT_MAX(now - h.heard_ns, 0) / BT_NS_PER_MS};
        snprintf(o->state, sizeof o->state, "%s", h.state);
        snprintf(o->last_end, sizeof o->last_end, "%s", h.last_end);
    }
    return status;
}

bool bt_front_ready(const struct bt_front *f) {
    struct bt_front_health h;
    for (int i = 0; i < f->params.contexts; i++) {
        bt_front_health(f, i, &h);
        if (h.ready)
            return true;
    }
    return false;
}

const struct bt_front_info *bt_front_info(const struct bt_front *f) {
    return &f->info;
}

baton_status bt_front_visit(struct bt_front *f, struct bt_visit *visit, baton_error *err) {
    int context = bt_dispatch_least_loaded(&f->dispatch);
    if (context < 0)
        return bt_fail(err, BATON_CLOSED, "no owner is left");
    if (f->params.owner == BT_OWNER_PROCESS)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "the owners are processes, and no function of this program can run there: use "
                       "BATON_OWNER_THREAD or BATON_OWNER_CALLER");
    bt_spawn_visit(f->spawn, context, visit);
    return BATON_OK;
}

bool bt_front_is_owner(const struct bt_front *f) {
    return bt_spawn_is_owner(f->spawn);
}

/* Whoever opens hears of an owner that ends, instead of waiting for the next one. */
static baton_status wait_ready(struct bt_front *f, baton_error *err) {
    for (int i = 0; i < f->params.contexts; i++) {
        const struct bt_dispatch_context *c = &f->dispatch.contexts[i];
        bt_front_tick(f); /* a start that fails is no event to wait for */
        while (c->life.life != BT_LIFE_READY && c->life.life != BT_LIFE_GONE)
            wait_and_pump(f, -1, -1);
        if (c->life.life == BT_LIFE_GONE)
            return bt_fail(err, c->error.status, "%s", c->error.text);
    }
    for (int i = 0; i < f->params.contexts; i++) {
        const struct bt_dispatch_context *c = &f->dispatch.contexts[i];
        if (c->life.life == BT_LIFE_GONE) /* while the others were loading */
            return bt_fail(err, c->error.status, "%s", c->error.text);
    }
    for (int i = 0; i < f->params.contexts; i++)
        f->dispatch.contexts[i].life.params.restarts = f->dispatch.params.restarts;
    f->dispatch.opened_ns = bt_now_ns(); /* a load is no use of a context, nor the lack of one */
    return BATON_OK;
}

static baton_status check(const struct bt_front_params *p, baton_error *err) {
    int slots;
    if (p->contexts < 1 || p->contexts > BT_CONTEXTS_MAX)
        return bt_fail(err, BATON_INVALID, "%d contexts: 1 to %d are possible", p->contexts, BT_CONTEXTS_MAX);
    if (p->context.sequences < 1 || __builtin_mul_overflow(p->contexts, p->context.sequences, &slots) ||
        slots > BT_GATE_SLOTS_MAX)
        return bt_fail(err, BATON_INVALID, "%d contexts x %d sequences: 1 to %d slots are possible", p->contexts,
                       p->context.sequences, BT_GATE_SLOTS_MAX);
    return BATON_OK;
}

static void init(struct bt_front *f, const struct bt_front_params *p) {
    bool process = p->owner == BT_OWNER_PROCESS;
    const struct bt_dispatch_params dispatch = {.contexts = p->contexts,
                                                .sequences = p->context.sequences,
                                                .queue_max = p->queue_max,
                                                .restarts = process,
                                                .resume = process && !p->no_resume,
                                                .hang_ms = !process     ? -1
                                                           : p->hang_ms ? p->hang_ms
                                                           : p->draws   ? BT_DRAW_HANG_MS
                                                                        : BT_HANG_MS,
                                                .start_ms = !process      ? -1
                                                            : p->start_ms ? p->start_ms
                                                                          : BT_START_MS,
                                                .seed = bt_random64()};
    f->params = *p;
    f->info.contexts = p->contexts;
    f->info.ready.exact = true;
    f->info.sandbox = f->sandbox;
    bt_dispatch_init(&f->dispatch, &dispatch, &OPS, f);
    f->dispatch.on_ready = on_ready;
    for (int i = 0; i < p->contexts; i++) {
        struct context *c = &f->contexts[i];
        f->dispatch.contexts[i].out = &c->link.out;
        f->dispatch.contexts[i].life.params.restarts = false;
        c->link.fd = c->pidfd = c->log_fd = -1;
    }
}

baton_status bt_front_open(const struct bt_front_params *params, struct bt_front **front, baton_error *err) {
    *front = NULL;
    baton_status status = check(params, err);
    if (status)
        return status;
    struct bt_front *f = calloc(1, sizeof *f);
    if (!f)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the front");
    const struct bt_spawn_params spawn = {.model = params->model,
                                          .context = params->context,
                                          .contexts = params->contexts,
                                          .owner = params->owner,
                                          .hears = params->hears,
                                          .draws = params->draws ? &params->sd : NULL,
                                          .no_sandbox = params->no_sandbox,
                                          .core = params->core};
    init(f, params);
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    status = f->epoll < 0 ? bt_fail(err, BATON_IO, "no epoll descriptor: %s", strerror(errno))
                          : bt_spawn_open(&spawn, &f->spawn, err);
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
    *front = NULL;
    if (!f)
        return;
    bt_dispatch_close(&f->dispatch);
    while (!bt_dispatch_closed(&f->dispatch)) /* to their end, so that every request has its outcome */
        bt_front_run_once(f, -1);
    for (int i = 0; i < f->params.contexts; i++)
        bt_link_close(&f->contexts[i].link);
    bt_spawn_close(&f->spawn);
    if (f->epoll >= 0)
        close(f->epoll);
    free(f->versions);
    free(f);
}
