/* The I/O thread of owner = thread, and what it hands to other threads.
 *
 * Locks, each held for a few instructions and never two at once: io->lock guards the list of commands and of streams
 * with news; a stream's lock guards what it has not handed out yet.
 *
 * Who may free: io and stream are counted. A stream is held by its reader, by the thread while its request is alive,
 * and by the news list; io by its opener and each stream. */
#include "api/io_int.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "baton/guard.h"

enum { NEWS_WAIT_MAX = 32 << 20 };

/* On the stack of whoever waits for it. */
struct command {
    struct bt_list link;
    void (*run)(struct bt_io *io, void *arg); /* on the I/O thread */
    void *arg;
    bool done; /* under io->lock */
};

void bt_io_unref(struct bt_io *io) {
    if (atomic_fetch_sub(&io->refs, 1) > 1)
        return;
    close(io->wake);
    pthread_mutex_destroy(&io->lock);
    pthread_cond_destroy(&io->done);
    free(io);
}

static void unref_stream(struct bt_io_stream *s) {
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    if (s->fd >= 0)
        close(s->fd);
    bt_buf_free(&s->text);
    bt_buf_free(&s->data);
    bt_buf_free(&s->progress);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    bt_io_unref(s->io);
    free(s);
}

static void ring(int fd) {
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* full: it is readable anyway */
}

static void hush(int fd) {
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
}

bool bt_io_run(struct bt_io *io, void (*run)(struct bt_io *io, void *arg), void *arg) {
    struct command c = {.run = run, .arg = arg};
    pthread_mutex_lock(&io->lock);
    bool open = !io->closing;
    if (open) {
        bt_list_append(&io->commands, &c.link);
        ring(io->wake);
        while (!c.done)
            pthread_cond_wait(&io->done, &io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    return open;
}

/* The stream has something for the I/O thread: tokens taken, or its end. */
static void tell_news(struct bt_io_stream *s) {
    struct bt_io *io = s->io;
    pthread_mutex_lock(&io->lock);
    if (!io->closing && bt_list_empty(&s->news)) {
        atomic_fetch_add(&s->refs, 1);
        bt_list_append(&io->news, &s->news);
        ring(io->wake);
    }
    pthread_mutex_unlock(&io->lock);
}

/* Handlers, on the I/O thread. */

static void on_text(void *arg, const char *text, size_t len) {
    struct bt_io_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    if (s->tokens++ == 0)
        s->first_ns = bt_now_ns();
    bt_buf_add(&s->text, text, len);
    if (len > 0) {
        s->unread++;
        pthread_cond_signal(&s->changed);
        if (s->fd >= 0)
            ring(s->fd);
    }
    pthread_mutex_unlock(&s->lock);
    if (len == 0) /* nobody will be told of it, and it must not fill the window */
        bt_request_consumed(s->request, 1);
}

static void on_data(void *arg, const char *bytes, size_t len) {
    struct bt_io_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    bt_buf_add(&s->data, bytes, len);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* They may get lost. */
static void on_news(void *arg, const char *bytes, size_t len) {
    struct bt_io_stream *s = arg;
    uint32_t n = (uint32_t)len;
    pthread_mutex_lock(&s->lock);
    if (s->progress.len <= NEWS_WAIT_MAX && bt_buf_reserve(&s->progress, sizeof n + len)) {
        bt_buf_add(&s->progress, &n, sizeof n);
        bt_buf_add(&s->progress, bytes, len);
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_done(void *arg, const struct bt_outcome *o) {
    struct bt_io_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    s->over = true;
    s->context = o->context;
    s->outcome = (baton_outcome){.status = o->status,
                                 .finish = (baton_finish)o->finish,
                                 .prompt_tokens = o->prompt_tokens,
                                 .reused_tokens = o->reused_tokens,
                                 .answer_tokens = o->answer_tokens,
                                 .queue_ns = o->queue_ns,
                                 .run_ns = o->run_ns};
    s->outcome.decode_ns = s->tokens ? BT_MIN(bt_now_ns() - s->first_ns, o->run_ns) : 0;
    s->outcome.prefill_ns = o->run_ns - s->outcome.decode_ns;
    snprintf(s->outcome.text, sizeof s->outcome.text, "%s", o->error);
    pthread_cond_signal(&s->changed);
    if (s->fd >= 0)
        ring(s->fd);
    pthread_mutex_unlock(&s->lock);
    s->request = NULL;
    unref_stream(s);
}

static void hear_news(struct bt_io_stream *s) {
    pthread_mutex_lock(&s->lock);
    uint32_t taken = s->taken;
    bool dropped = s->dropped;
    s->taken = 0;
    pthread_mutex_unlock(&s->lock);
    if (s->request && dropped) {
        struct bt_request *r = s->request;
        s->request = NULL;
        bt_request_abandon(r);
        unref_stream(s);
    } else if (s->request && taken > 0) {
        bt_request_consumed(s->request, taken);
    }
    unref_stream(s);
}

/* Commands and news, one at a time: the lock is not held while they are dealt with. */
static void hear_all(struct bt_io *io) {
    pthread_mutex_lock(&io->lock);
    for (;;) {
        if (!bt_list_empty(&io->commands)) {
            struct command *c = BT_CONTAINER(io->commands.next, struct command, link);
            bt_list_remove(&c->link);
            pthread_mutex_unlock(&io->lock);
            c->run(io, c->arg);
            pthread_mutex_lock(&io->lock);
            c->done = true;
            pthread_cond_broadcast(&io->done);
        } else if (!bt_list_empty(&io->news)) {
            struct bt_io_stream *s = BT_CONTAINER(io->news.next, struct bt_io_stream, news);
            bt_list_remove(&s->news);
            pthread_mutex_unlock(&io->lock);
            hear_news(s);
            pthread_mutex_lock(&io->lock);
        } else {
            break;
        }
    }
    pthread_mutex_unlock(&io->lock);
}

static void *io_main(void *arg) {
    struct bt_io *io = arg;
    bool closing = false;
    pthread_setname_np(pthread_self(), "baton-io");
    while (!closing) {
        bt_front_wait(io->front, io->wake);
        hush(io->wake);
        hear_all(io);
        pthread_mutex_lock(&io->lock);
        closing = io->closing && bt_list_empty(&io->commands) && bt_list_empty(&io->news);
        pthread_mutex_unlock(&io->lock);
    }
    bt_front_close(&io->front);
    return NULL;
}

baton_status bt_io_open(const struct bt_front_params *params, struct bt_io **out, baton_error *err) {
    struct bt_io *io = calloc(1, sizeof *io);
    *out = NULL;
    if (!io)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    atomic_store(&io->refs, 1);
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->done, NULL);
    bt_list_init(&io->commands);
    bt_list_init(&io->news);
    bt_list_init(&io->saveable);
    io->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    baton_status status = io->wake < 0 ? bt_fail(err, BATON_IO, "no eventfd: %s", strerror(errno))
                                       : bt_front_open(params, &io->front, err);
    if (!status) {
        io->info = *bt_front_info(io->front);
        int rc = bt_thread_start(&io->thread, io_main, io);
        if (rc) {
            bt_front_close(&io->front);
            status = bt_fail(err, BATON_IO, "the I/O thread cannot be started: %s", strerror(rc));
        }
    }
    if (status) {
        bt_io_unref(io);
        return status;
    }
    *out = io;
    return BATON_OK;
}

void bt_io_close(struct bt_io *io) {
    pthread_mutex_lock(&io->lock);
    io->closing = true;
    ring(io->wake);
    pthread_mutex_unlock(&io->lock);
    pthread_join(io->thread, NULL);
}

const struct bt_front_info *bt_io_info(const struct bt_io *io) {
    return &io->info;
}

/* The model whose visit this thread is in. */
static __thread const struct bt_io *visiting;

baton_status bt_io_check_thread(const struct bt_io *io, baton_error *err) {
    if (visiting == io)
        return bt_fail(err, BATON_REENTRANT,
                       "this is the owner's own thread, inside a visit: do it here, or after the visit");
    if (pthread_equal(io->thread, pthread_self()))
        return bt_fail(err, BATON_REENTRANT, "this is the I/O thread of that model, in a log handler: it cannot wait");
    return BATON_OK;
}

struct submission {
    struct bt_submit *submit;
    const struct bt_limits *limits;
    struct bt_io_stream *stream;
    baton_status status;
    baton_error *err;
};

/* Whether the id is that of a stream which can still be saved: of two conversations of an id, the owner could not tell
 * which one is meant. */
static bool id_is_taken(struct bt_io *io, uint64_t id) {
    bool taken = false;
    pthread_mutex_lock(&io->lock);
    for (struct bt_list *l = io->saveable.next; id && l != &io->saveable && !taken; l = l->next)
        taken = BT_CONTAINER(l, struct bt_io_stream, saveable)->id == id;
    pthread_mutex_unlock(&io->lock);
    return taken;
}

static void submit(struct bt_io *io, void *arg) {
    struct submission *s = arg;
    struct bt_handler handler = {on_text, on_done, s->stream, on_data, on_news};
    if (id_is_taken(io, s->submit->id)) {
        s->status = bt_fail(s->err, BATON_INVALID,
                            "id %llu is that of a stream that is not closed yet: close it before, or leave the id 0",
                            (unsigned long long)s->submit->id);
        return;
    }
    s->status = bt_front_submit(io->front, s->submit, s->limits, &handler, &s->stream->request, s->err);
    if (s->status)
        return;
    atomic_fetch_add(&s->stream->refs, 1); /* until on_done or the drop */
    s->stream->id = s->submit->id;
    if (s->submit->keep) {
        pthread_mutex_lock(&io->lock);
        bt_list_append(&io->saveable, &s->stream->saveable);
        pthread_mutex_unlock(&io->lock);
    }
}

baton_status bt_io_submit(struct bt_io *io, struct bt_submit *ask, const struct bt_limits *limits,
                          struct bt_io_stream **stream, baton_error *err) {
    struct bt_io_stream *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    *stream = NULL;
    baton_status status = bt_io_check_thread(io, err);
    if (status || !s) {
        free(s);
        return status ? status : bt_fail(err, BATON_NO_MEMORY, "no memory for a stream");
    }
    atomic_store(&s->refs, 1);
    atomic_fetch_add(&io->refs, 1);
    s->io = io;
    s->fd = -1;
    s->tid = baton_guard_self();
    s->hurried = limits && limits->idle_ms >= 0;
    bt_list_init(&s->news);
    bt_list_init(&s->saveable);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    struct submission job = {ask, limits, s, BATON_OK, err};
    if (!bt_io_run(io, submit, &job))
        job.status = bt_fail(err, BATON_CLOSED, "the model is being closed");
    if (job.status) {
        unref_stream(s);
        return job.status;
    }
    *stream = s;
    return BATON_OK;
}

struct cancellation {
    uint64_t id;
    bool found;
};

static void cancel(struct bt_io *io, void *arg) {
    struct cancellation *c = arg;
    struct bt_request *r = bt_front_find(io->front, c->id);
    c->found = r != NULL;
    if (r)
        bt_request_cancel(r, BATON_CANCELLED);
}

bool bt_io_cancel(struct bt_io *io, uint64_t id) {
    struct cancellation c = {id, false};
    bt_io_run(io, cancel, &c);
    return c.found;
}

static void count(struct bt_io *io, void *arg) {
    struct bt_front_counts all;
    bt_front_counts(io->front, &all);
    *(struct bt_counts *)arg = all.requests;
}

void bt_io_counts(struct bt_io *io, struct bt_counts *counts) {
    memset(counts, 0, sizeof *counts);
    bt_io_run(io, count, counts);
}

struct waiting_visit {
    struct bt_visit visit;
    struct bt_io *io;
    void (*run)(void *arg, void *native);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over, ran;
    baton_status status;
    baton_error *err;
};

/* On the owner's thread. */
static void run_visit(void *arg, void *native) {
    struct waiting_visit *w = arg;
    visiting = w->io;
    w->run(w->arg, native);
    visiting = NULL;
}

static void visited(struct bt_visit *visit, bool ran) {
    struct waiting_visit *w = BT_CONTAINER(visit, struct waiting_visit, visit);
    pthread_mutex_lock(&w->lock);
    w->over = true;
    w->ran = ran;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void visit(struct bt_io *io, void *arg) {
    struct waiting_visit *w = arg;
    w->status = bt_front_visit(io->front, &w->visit, w->err);
}

baton_status bt_io_visit(struct bt_io *io, void (*run)(void *arg, void *native), void *arg, baton_error *err) {
    struct waiting_visit w = {.visit = {run_visit, &w, visited},
                              .io = io,
                              .run = run,
                              .arg = arg,
                              .lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .err = err};
    baton_status status = bt_io_check_thread(io, err);
    if (status)
        return status;
    if (!bt_io_run(io, visit, &w))
        return bt_fail(err, BATON_CLOSED, "the model is being closed");
    if (w.status)
        return w.status;
    pthread_mutex_lock(&w.lock);
    while (!w.over)
        pthread_cond_wait(&w.changed, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.ran ? BATON_OK : bt_fail(err, BATON_CLOSED, "the owner ended before the visit");
}

bool bt_io_wait(pthread_cond_t *changed, pthread_mutex_t *lock, int64_t deadline_ns) {
    if (deadline_ns == BT_NEVER_NS)
        return pthread_cond_wait(changed, lock) == 0;
    struct timespec t = {deadline_ns / BT_NS_PER_S, deadline_ns % BT_NS_PER_S};
    return pthread_cond_timedwait(changed, lock, &t) == 0;
}

baton_status bt_io_stream_data(struct bt_io_stream *s, size_t want, int64_t deadline_ns, struct bt_buf *out) {
    baton_status status = BATON_OK;
    bool in_time = true;
    pthread_mutex_lock(&s->lock);
    while (s->data.len < want && !s->over && !s->data.failed && in_time) /* what is lost does not come */
        in_time = bt_io_wait(&s->changed, &s->lock, deadline_ns);
    if (s->data.failed)
        status = BATON_NO_MEMORY;
    else if (s->data.len < want)
        status = s->over ? BATON_END : BATON_AGAIN;
    size_t n = BT_MIN(want, s->data.len);
    bt_buf_add(out, s->data.data, status ? 0 : n);
    if (!status)
        bt_buf_drop(&s->data, n);
    pthread_mutex_unlock(&s->lock);
    return out->failed ? BATON_NO_MEMORY : status;
}

baton_status bt_io_stream_take(struct bt_io_stream *s, struct bt_buf *data, struct bt_buf *news) {
    uint32_t n = 0;
    news->len = 0;
    pthread_mutex_lock(&s->lock);
    while (s->data.len == 0 && s->progress.len == 0 && !s->over && !s->data.failed)
        bt_io_wait(&s->changed, &s->lock, BT_NEVER_NS);
    baton_status status = s->data.failed                             ? BATON_NO_MEMORY
                          : s->data.len == 0 && s->progress.len == 0 ? BATON_END
                                                                     : BATON_OK;
    bt_buf_add(data, s->data.data, status ? 0 : s->data.len);
    s->data.len = 0;
    if (s->progress.len > 0) {
        memcpy(&n, s->progress.data, sizeof n);
        bt_buf_add(news, s->progress.data + sizeof n, n);
        bt_buf_drop(&s->progress, sizeof n + n);
    }
    pthread_mutex_unlock(&s->lock);
    return data->failed || news->failed ? BATON_NO_MEMORY : status;
}

baton_status bt_io_stream_next(struct bt_io_stream *s, int64_t timeout_ms, struct bt_buf *text, uint32_t *tokens) {
    int64_t deadline_ns = bt_deadline(bt_now_ns(), timeout_ms);
    baton_status status = BATON_OK;
    pthread_mutex_lock(&s->lock);
    while (s->text.len == 0 && !s->text.failed && !s->over && bt_io_wait(&s->changed, &s->lock, deadline_ns))
        ; /* what is lost does not come, and the answer waits for its reader */
    if (s->text.len == 0)
        status = s->over ? BATON_END : BATON_AGAIN;
    if (s->text.failed)
        status = BATON_NO_MEMORY;
    bt_buf_add(text, s->text.data, s->text.len);
    *tokens = s->tokens;
    s->text.len = 0;
    s->taken += s->unread;
    s->unread = 0;
    bool news = !s->over && s->taken >= (s->hurried ? 1 : BT_WINDOW / 4);
    if (s->fd >= 0 && !s->over && !s->text.failed)
        hush(s->fd);
    pthread_mutex_unlock(&s->lock);
    if (news)
        tell_news(s);
    return status;
}

int bt_io_stream_fd(struct bt_io_stream *s) {
    pthread_mutex_lock(&s->lock);
    if (s->fd < 0) {
        s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->fd >= 0 && (s->text.len > 0 || s->over))
            ring(s->fd);
    }
    int fd = s->fd;
    pthread_mutex_unlock(&s->lock);
    return fd;
}

uint64_t bt_io_stream_id(const struct bt_io_stream *s) {
    return s->id;
}

void bt_io_stream_close(struct bt_io_stream *s, baton_outcome *outcome) {
    pthread_mutex_lock(&s->io->lock);
    bt_list_remove(&s->saveable);
    pthread_mutex_unlock(&s->io->lock);
    pthread_mutex_lock(&s->lock);
    bool over = s->over;
    s->dropped = true;
    if (!over) {
        s->outcome = (baton_outcome){.status = BATON_CANCELLED, .answer_tokens = s->tokens};
        snprintf(s->outcome.text, sizeof s->outcome.text, "the stream was closed before its end");
    }
    *outcome = s->outcome;
    pthread_mutex_unlock(&s->lock);
    if (!over)
        tell_news(s);
    unref_stream(s);
}
