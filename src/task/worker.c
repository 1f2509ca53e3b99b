/* The loop. State: struct bt_worker, its thread's; the signals' word is the process's. */
#include "task/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "task/signals.h"

enum { READ_CHUNK = 64 << 10, LAST_WORDS_MS = 500 };
static const char STOPPING[] = "the worker is stopping: try again later",
                  FULL[] = "all workers are in use and the backlog is full: try again later";

struct bt_worker {
    struct bt_worker_params params;
    struct bt_stdio io;
    const struct bt_runner *runner;
    struct bt_life life;
    struct bt_line_reader lines;
    bool lines_left; /* the reader may have whole lines */
    struct bt_buf out;
    size_t out_at;  /* written */
    bool was_full;  /* the runner has been refused room */
    bool unread;    /* nobody reads the answers any more */
    bool no_memory; /* a line was lost */
    int unreadable; /* errno of a stdin that did not end in order */
    bool changed;   /* something was answered or has ended since the loop last looked */
    struct bt_list starting;
    struct bt_watch watch;
    pid_t parent;
    int parent_fd;
};

void bt_watch_add(struct bt_watch *w, int fd, short events) {
    if (w->n == w->cap) {
        size_t cap = BT_MAX(w->cap * 2, (size_t)16);
        struct pollfd *fds = realloc(w->fds, cap * sizeof *fds);
        if (!fds) {
            w->failed = true;
            return;
        }
        w->fds = fds;
        w->cap = cap;
    }
    w->fds[w->n++] = (struct pollfd){fd, events, 0};
}

/* Writing. */

static size_t waiting(const struct bt_worker *w) {
    return w->out.len - w->out_at;
}

bool bt_worker_room(const struct bt_worker *w) {
    return waiting(w) < BT_OUT_HIGH;
}

static bool out_has_room(const struct bt_worker *w) {
    struct pollfd fd = {w->io.out, POLLOUT, 0};
    return poll(&fd, 1, 0) > 0 && fd.revents & POLLOUT;
}

static void flush(struct bt_worker *w) {
    while (waiting(w) > 0 && !w->unread) {
        size_t n = waiting(w);
        if (w->io.out_waits) {
            if (!out_has_room(w))
                break;
            n = BT_MIN(n, (size_t)PIPE_BUF);
        }
        ssize_t written = write(w->io.out, w->out.data + w->out_at, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            break;
        if (written < 0)
            w->unread = true;
        else
            w->out_at += (size_t)written;
    }
    if (waiting(w) == 0)
        w->out.len = w->out_at = 0;
    if (waiting(w) < BT_OUT_LOW && w->was_full) {
        w->was_full = false;
        if (w->runner && w->runner->room)
            w->runner->room(w->runner->arg);
    }
}

/* What was written makes way once it is the greater part. */
static struct bt_buf *out(struct bt_worker *w) {
    if (w->out_at > w->out.len / 2) {
        bt_buf_drop(&w->out, w->out_at);
        w->out_at = 0;
    }
    return &w->out;
}

static void wrote(struct bt_worker *w) {
    w->changed = true;
    w->no_memory |= w->out.failed;
    w->was_full |= !bt_worker_room(w);
}

void bt_worker_answer(struct bt_worker *w, struct bt_task *t, const struct bt_answer *a) {
    if (t->answered)
        return;
    if (a->status == BATON_OK)
        bt_line_result(out(w), t->is.id, a->result);
    else
        bt_line_failure(out(w), t->is.id, a->status, a->error, a->partial);
    bt_life_answered(&w->life, t);
    wrote(w);
}

void bt_worker_answer_line(struct bt_worker *w, struct bt_task *t, struct bt_text line) {
    if (t->answered)
        return;
    bt_worker_line(w, line);
    bt_life_answered(&w->life, t);
}

void bt_worker_line(struct bt_worker *w, struct bt_text line) {
    bt_buf_add(out(w), line.data, line.len);
    bt_buf_adds(&w->out, "\n");
    wrote(w);
}

void bt_worker_event(struct bt_worker *w, const struct bt_task *t, const char *event, struct bt_text more) {
    if (t->answered)
        return;
    bt_line_event(out(w), event, &t->is, more);
    wrote(w);
}

static void refuse(struct bt_worker *w, struct bt_text id, baton_status status, const char *text) {
    bt_line_failure(out(w), id, status, text, (struct bt_text){0});
    wrote(w);
}

/* Tasks. */

void bt_worker_ended(struct bt_worker *w, struct bt_task *t) {
    if (!t->answered)
        bt_worker_answer(w, t, &(struct bt_answer){.status = BATON_FAILED, .error = "it ended without an answer"});
    w->changed = true;
    struct bt_task *next = bt_life_ended(&w->life, t, bt_now_ns());
    bt_task_free(t);
    if (next)
        bt_list_append(&w->starting, &next->starting);
}

static void start_granted(struct bt_worker *w) {
    while (!bt_list_empty(&w->starting) && bt_worker_room(w)) {
        struct bt_task *t = BT_CONTAINER(w->starting.next, struct bt_task, starting);
        baton_error err = {.text = ""};
        bt_list_remove(&t->starting);
        baton_status status = w->runner->start(w->runner->arg, t, &err);
        if (status == BATON_OK) {
            if (w->params.events)
                bt_worker_event(w, t, "started", (struct bt_text){"", 0});
            continue;
        }
        bt_worker_answer(w, t, &(struct bt_answer){.status = status, .error = err.text});
        bt_worker_ended(w, t);
    }
}

/* The task holds a place and is to end early. */
static void cancel(struct bt_worker *w, struct bt_task *t, baton_status reason) {
    if (!bt_list_empty(&t->starting)) {
        bt_list_remove(&t->starting);
        bt_worker_answer(w, t, &(struct bt_answer){.status = reason});
        bt_worker_ended(w, t);
    } else if (!t->cancelled) {
        t->cancelled = reason;
        w->runner->cancel(w->runner->arg, t, reason);
    }
}

static void cancel_line(struct bt_worker *w, const struct bt_task_line *is) {
    struct bt_task *t = bt_life_find(&w->life, is->id);
    if (!t)
        return;
    if (bt_life_withdraw(&w->life, t)) {
        refuse(w, t->is.id, BATON_CANCELLED, NULL);
        bt_task_free(t);
    } else {
        cancel(w, t, BATON_CANCELLED);
    }
}

/* An attempt that its parent has given up on ends in silence. */
static void drop_older(struct bt_worker *w, struct bt_task *older) {
    if (!older)
        return;
    if (older->waiter.state != BT_WAITER_GRANTED)
        bt_task_free(older);
    else
        cancel(w, older, BATON_CANCELLED);
}

static void task_line(struct bt_worker *w, const struct bt_task_line *is, struct bt_text line) {
    struct bt_task *t = bt_task_new(is, line), *older = NULL;
    if (!t) {
        refuse(w, is->id, BATON_NO_MEMORY, NULL);
        return;
    }
    baton_status status = bt_life_arrive(&w->life, t, bt_now_ns(), &older);
    drop_older(w, older);
    if (status == BATON_OK)
        bt_list_append(&w->starting, &t->starting);
    if (status == BATON_OK || status == BATON_AGAIN)
        return;
    if (status == BATON_END) {
        bt_log(BATON_LOG_WARN, "the same attempt of a task came twice: the first goes on");
    } else {
        refuse(w, t->is.id, status, status == BATON_CLOSED ? STOPPING : FULL);
    }
    bt_task_free(t);
}

static void take_line(struct bt_worker *w, struct bt_text line, bool whole) {
    struct bt_task_line is;
    baton_error err = {.text = ""};
    baton_status status = bt_task_line_parse(line, whole, &is, &err);
    if (status == BATON_OK && is.kind == BT_LINE_BLANK)
        return;
    if (status == BATON_OK && is.kind == BT_LINE_CANCEL) {
        cancel_line(w, &is);
        return;
    }
    if (status == BATON_OK) {
        task_line(w, &is, line);
        return;
    }
    struct bt_task *same = is.id.len > 0 ? bt_life_find(&w->life, is.id) : NULL;
    w->life.taken = true;
    if (same) { /* its parent takes the answer to this line for that task's */
        refuse(w, is.id, status, err.text);
        if (bt_life_withdraw(&w->life, same)) {
            bt_task_free(same);
        } else {
            bt_life_answered(&w->life, same);
            cancel(w, same, BATON_CANCELLED);
        }
        return;
    }
    bt_log(BATON_LOG_WARN, "a line that is no task: %s", err.text);
    refuse(w, is.id, status, err.text);
}

static void take_lines(struct bt_worker *w) {
    struct bt_text line;
    while (w->lines_left && bt_life_wants_lines(&w->life) && bt_worker_room(w)) {
        baton_status status = bt_lines_next(&w->lines, &line);
        w->lines_left = status != BATON_AGAIN;
        if (w->lines_left)
            take_line(w, line, status == BATON_OK);
    }
}

static void read_more(struct bt_worker *w) {
    char piece[READ_CHUNK];
    struct bt_text line;
    ssize_t n = read(w->io.in, piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        w->no_memory |= !bt_lines_add(&w->lines, piece, (size_t)n);
        w->lines_left = true;
        return;
    }
    w->unreadable = n < 0 ? errno : 0;
    baton_status status = bt_lines_last(&w->lines, &line);
    if (status != BATON_AGAIN)
        take_line(w, line, status == BATON_OK);
    w->life.eof = true;
}

/* Ends. */

static void stop(struct bt_worker *w) {
    struct bt_task *t;
    bool first = !w->life.stopping;
    while ((t = bt_life_stop(&w->life, bt_now_ns()))) {
        refuse(w, t->is.id, BATON_CLOSED, STOPPING);
        bt_task_free(t);
    }
    while (!bt_list_empty(&w->starting))
        cancel(w, BT_CONTAINER(w->starting.next, struct bt_task, starting), BATON_CLOSED);
    if (first && w->runner->stop)
        w->runner->stop(w->runner->arg);
}

static void cancel_rest(struct bt_worker *w) {
    for (struct bt_list *n = w->life.all.next, *next; n != &w->life.all; n = next) { /* a cancel ends its own at most */
        next = n->next;
        cancel(w, BT_CONTAINER(n, struct bt_task, all), BATON_CLOSED);
    }
}

/* Whoever has no answer gets this one. The tasks stay where they are: they may still run. */
static void answer_rest(struct bt_worker *w, baton_status status, const char *text) {
    for (struct bt_list *n = w->life.all.next; n != &w->life.all; n = n->next)
        bt_worker_answer(w, BT_CONTAINER(n, struct bt_task, all), &(struct bt_answer){.status = status, .error = text});
}

/* A little time for the last lines, at the end. */
static void flush_last(struct bt_worker *w) {
    int64_t until = bt_deadline(bt_now_ns(), LAST_WORDS_MS);
    flush(w);
    while (waiting(w) > 0 && !w->unread && bt_now_ns() < until) {
        struct pollfd fd = {w->io.out, POLLOUT, 0};
        if (poll(&fd, 1, LAST_WORDS_MS) < 0 && errno != EINTR)
            return;
        w->unread |= (fd.revents & (POLLERR | POLLNVAL)) != 0;
        flush(w);
    }
}

/* The standard streams have ended, and so has who held them. Only then: what starts a worker may well leave it alone
 * with its streams. */
static bool orphaned(const struct bt_worker *w) {
    return w->unread || (w->life.eof && getppid() != w->parent);
}

static int timeout_until(int64_t deadline_ns) {
    int64_t now = bt_now_ns();
    if (deadline_ns == BT_NEVER_NS)
        return -1;
    return deadline_ns <= now ? 0 : (int)BT_MIN((deadline_ns - now) / BT_NS_PER_MS + 1, (int64_t)INT_MAX);
}

enum { OUT, IN, SIGNALS, PARENT, OWN_FDS };

static baton_status wait(struct bt_worker *w, baton_error *err) {
    struct bt_watch *v = &w->watch;
    int64_t next = w->runner->tick(w->runner->arg); /* which may end tasks */
    next = w->changed ? 0 : BT_MIN(bt_life_deadline(&w->life), next);
    bool reads = bt_life_wants_lines(&w->life) && bt_worker_room(w) && !w->lines_left;
    v->n = 0;
    bt_watch_add(v, w->io.out, waiting(w) > 0 ? POLLOUT : 0);
    bt_watch_add(v, reads ? w->io.in : -1, POLLIN);
    bt_watch_add(v, bt_signals_fd(), POLLIN);
    bt_watch_add(v, w->life.eof ? w->parent_fd : -1, POLLIN);
    w->runner->watch(w->runner->arg, v);
    if (v->failed)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the descriptors of the loop");
    if (poll(v->fds, (nfds_t)v->n, timeout_until(next)) < 0)
        return errno == EINTR ? BATON_OK : bt_fail(err, BATON_IO, "poll failed: %s", strerror(errno));
    if (v->fds[OUT].revents & (POLLERR | POLLNVAL))
        w->unread = true;
    if (v->fds[IN].revents)
        read_more(w);
    if (v->fds[SIGNALS].revents)
        bt_signals_hush();
    if (bt_signals_seen() > 0)
        stop(w);
    return w->runner->pump(w->runner->arg, v->fds + OWN_FDS, v->n - OWN_FDS, err);
}

/* BATON_AGAIN: go on. */
static baton_status decide(struct bt_worker *w, baton_error *err) {
    if (bt_signals_seen() > 1)
        return bt_fail(err, BATON_CANCELLED, "a second signal ends the worker at once");
    if (orphaned(w))
        return bt_fail(err, BATON_IO, "the parent is gone: nobody reads the answers");
    if (w->no_memory)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a line");
    switch (bt_life_next(&w->life, bt_now_ns())) {
    case BT_LIFE_OVER:
        if (waiting(w) > 0 && w->life.stopping && bt_now_ns() >= w->life.leave_ns)
            return bt_fail(err, BATON_IO, "the parent does not read the last answers");
        if (waiting(w) == 0 && w->unreadable)
            return bt_fail(err, BATON_IO, "standard input cannot be read: %s", strerror(w->unreadable));
        return waiting(w) == 0 ? BATON_OK : BATON_AGAIN;
    case BT_LIFE_CANCEL_REST:
        cancel_rest(w);
        return BATON_AGAIN;
    case BT_LIFE_LEAVE_REST:
        return bt_fail(err, BATON_HUNG, "%d tasks did not end in time", w->life.running);
    default:
        return BATON_AGAIN;
    }
}

static baton_status loop(struct bt_worker *w, baton_error *err) {
    for (;;) {
        take_lines(w);
        start_granted(w);
        flush(w);
        baton_status status = decide(w, err);
        w->changed = false;
        if (status != BATON_AGAIN)
            return status;
        status = wait(w, err);
        if (status)
            return status;
    }
}

baton_status bt_worker_run(struct bt_worker *w, const struct bt_runner *runner, baton_error *err) {
    w->runner = runner;
    bt_line_ready(&w->out);
    bt_signals_to_loop();
    baton_status status = loop(w, err);
    if (status == BATON_HUNG)
        answer_rest(w, BATON_CLOSED, STOPPING);
    else if (status != BATON_OK && status != BATON_CANCELLED)
        answer_rest(w, BATON_CRASHED, err ? err->text : NULL);
    if (status != BATON_CANCELLED)
        flush_last(w);
    w->runner = NULL;
    return status;
}

void bt_worker_not_ready(struct bt_worker *w, const baton_error *why) {
    bt_line_not_ready(&w->out, why);
    flush_last(w);
}

baton_status bt_worker_new(const struct bt_worker_params *params, const struct bt_stdio *io, struct bt_worker **worker,
                           baton_error *err) {
    struct bt_worker *w = *worker = calloc(1, sizeof *w);
    if (!w)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the worker");
    w->params = *params;
    w->io = *io;
    w->parent = getppid();
    w->parent_fd = (int)syscall(SYS_pidfd_open, w->parent, 0); /* none on a kernel before 5.3: the pipes tell, too */
    if (w->parent_fd >= 0)
        (void)fcntl(w->parent_fd, F_SETFD, FD_CLOEXEC);
    bt_list_init(&w->starting);
    bt_life_init(&w->life, &params->life);
    return BATON_OK;
}

void bt_worker_free(struct bt_worker **worker) {
    struct bt_worker *w = *worker;
    *worker = NULL;
    if (!w)
        return;
    while (!bt_list_empty(&w->life.all)) {
        struct bt_task *t = BT_CONTAINER(w->life.all.next, struct bt_task, all);
        bt_list_remove(&t->all);
        bt_task_free(t);
    }
    if (w->parent_fd >= 0)
        close(w->parent_fd);
    bt_lines_free(&w->lines);
    bt_buf_free(&w->out);
    free(w->watch.fds);
    free(w);
}
