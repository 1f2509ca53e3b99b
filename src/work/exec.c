/* Which child has which task, and when a child is started again. State: struct bt_work_exec. */
#include "work/exec.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "task/json.h"
#include "work/child.h"

enum {
    END_MS = 700,    /* from SIGTERM to SIGKILL: a worker as a whole has ten seconds */
    DELAY_MS = 1000, /* before a child is started again that has done nothing; then twice that, and so on */
    DELAY_MAX_MS = 60000,
    FAILURES_MAX = 5, /* of children in a row that never became ready: the command does not work any more */
};

struct seat {
    struct bt_work_child child;
    enum { DOWN, LOADING, IDLE, BUSY } state;
    struct bt_task *task; /* BUSY */
    bool ending;          /* gets no task any more */
    int64_t deadline_ns;  /* LOADING, BUSY: when it has to be through with it */
    int64_t start_ns;     /* DOWN: when to start it */
    int64_t delay_ms;     /* 0: it has done something since it was started */
};

struct bt_work_exec {
    struct bt_work_exec_params params;
    struct bt_worker *worker;
    char **argv;
    struct seat *seats;
    struct bt_list waiting; /* tasks for which no child is ready, by starting */
    int failures;
    bool stopping;
    baton_error error; /* why it cannot go on */
};

static void give(struct bt_work_exec *e, struct seat *s, struct bt_task *t) {
    s->state = BUSY;
    s->task = t;
    s->deadline_ns = bt_deadline(bt_now_ns(), e->params.run_ms);
    t->run = s;
    bt_buf_add(&s->child.to, t->line, t->len);
    bt_buf_adds(&s->child.to, "\n");
    bt_work_child_write(&s->child);
}

static void idle(struct bt_work_exec *e, struct seat *s) {
    s->state = IDLE;
    s->task = NULL;
    if (s->ending || bt_list_empty(&e->waiting))
        return;
    struct bt_task *t = BT_CONTAINER(e->waiting.next, struct bt_task, starting);
    bt_list_remove(&t->starting);
    give(e, s, t);
}

static void answer(struct bt_work_exec *e, struct bt_task *t, baton_status status, const char *text) {
    bt_worker_answer(e->worker, t, &(struct bt_answer){.status = status, .error = text});
}

static void task_over(struct bt_work_exec *e, struct seat *s) {
    struct bt_task *t = s->task;
    s->delay_ms = 0;
    idle(e, s);
    bt_worker_ended(e->worker, t);
}

static void take_answer(struct bt_work_exec *e, struct seat *s, const struct bt_reply_line *r, struct bt_text line) {
    const struct bt_text *id = s->task ? &s->task->is.id : NULL;
    struct bt_buf mine = BT_BUF_INIT, theirs = BT_BUF_INIT;
    if (!id)
        return;
    bt_json_decode(*id, &mine); /* it may write the same id in another way */
    bt_json_decode(r->id, &theirs);
    bool same = mine.len == theirs.len && memcmp(mine.data, theirs.data, mine.len) == 0;
    bool lost = theirs.len == 7 && memcmp(theirs.data, "unknown", 7) == 0;
    bt_buf_free(&mine);
    bt_buf_free(&theirs);
    if (!same && !lost) {
        bt_log(BATON_LOG_WARN, "a child has answered a task that it does not have");
        return;
    }
    if (!same)
        answer(e, s->task, BATON_PROTOCOL, "the child could not read the task");
    else if (!r->sound)
        answer(e, s->task, BATON_PROTOCOL,
               "the child's answer has an error that is no string, or a retry that is no bool");
    else if (line.len > BT_LINE_OUT_MAX)
        answer(e, s->task, BATON_TOO_LONG, "the child's answer has more than 10 MiB: ask for less");
    else
        bt_worker_answer_line(e->worker, s->task, line);
    task_over(e, s);
}

/* What it prints is told as what it says on stderr is, but a line of its own. */
static void say(const struct seat *s, struct bt_text line) {
    struct bt_log_pipe printed = {.prefix = s->child.prefix};
    bt_log_pass(&printed, line.data, line.len);
    bt_log_end(&printed);
}

static void take_line(struct bt_work_exec *e, struct seat *s, struct bt_text line, bool whole) {
    struct bt_reply_line r;
    if (!whole) {
        if (s->task)
            answer(e, s->task, BATON_TOO_LONG, "the child's answer has more than 16 MiB: ask for less");
        if (s->task)
            task_over(e, s);
        return;
    }
    bt_reply_line_parse(line, &r);
    switch (r.kind) {
    case BT_REPLY_ANSWER:
        take_answer(e, s, &r, line);
        break;
    case BT_REPLY_READY:
        if (s->state == LOADING) {
            e->failures = 0;
            idle(e, s);
        }
        break;
    case BT_REPLY_ERROR:
        if (s->state == LOADING)
            bt_fail(&e->error, BATON_FAILED, "a child said: %.*s", (int)BT_MIN(r.error.len, 300u),
                    r.error.len ? r.error.data : "");
        break;
    case BT_REPLY_LOG:
        if (s->state != LOADING && line.len < BT_OUT_LOW && bt_worker_room(e->worker))
            bt_worker_line(e->worker, line);
        break;
    case BT_REPLY_NOISE:
        say(s, line);
    }
}

static void take_lines(struct bt_work_exec *e, struct seat *s) {
    struct bt_text line;
    baton_status status;
    while ((status = bt_lines_next(&s->child.lines, &line)) != BATON_AGAIN)
        take_line(e, s, line, status == BATON_OK);
}

static void start_child(struct bt_work_exec *e, struct seat *s) {
    baton_error err;
    s->state = LOADING;
    s->deadline_ns = bt_deadline(bt_now_ns(), e->params.start_ms);
    if (bt_work_child_start(&s->child, (int)(s - e->seats) + 1, 1, e->argv, &err) == BATON_OK)
        return;
    e->error = err;
    e->failures = FAILURES_MAX;
    s->state = DOWN;
    s->start_ns = BT_NEVER_NS;
}

/* The child is gone, or has to go. Its task is answered with `status`, if it has one. */
static void child_over(struct bt_work_exec *e, struct seat *s, baton_status status) {
    char how[40], text[120];
    bt_work_child_end(&s->child, how, sizeof how);
    s->ending = true;
    take_lines(e, s); /* its last words may be an answer */
    bool loading = s->state == LOADING;
    struct bt_task *t = s->task;
    snprintf(text, sizeof text,
             status == BATON_CRASHED ? "the child that had it ended with %s" : "its child was killed", how);
    bt_log(BATON_LOG_WARN, "child %d ended with %s", (int)(s - e->seats) + 1, how);
    bt_work_child_free(&s->child);
    s->state = DOWN;
    s->ending = false;
    s->task = NULL;
    s->start_ns = bt_deadline(bt_now_ns(), s->delay_ms);
    s->delay_ms = BT_MIN(BT_MAX(2 * s->delay_ms, (int64_t)DELAY_MS), (int64_t)DELAY_MAX_MS);
    e->failures += loading;
    if (e->failures >= FAILURES_MAX && !e->error.text[0])
        bt_fail(&e->error, BATON_CRASHED, "%d children in a row ended before they were ready, the last with %s",
                FAILURES_MAX, how);
    if (t) {
        answer(e, t, status, text);
        bt_worker_ended(e->worker, t);
    }
}

/* The runner. */

static baton_status start(void *arg, struct bt_task *t, baton_error *err) {
    struct bt_work_exec *e = arg;
    (void)err;
    t->run = NULL;
    for (int i = 0; i < e->params.children; i++)
        if (e->seats[i].state == IDLE) {
            give(e, &e->seats[i], t);
            return BATON_OK;
        }
    bt_list_append(&e->waiting, &t->starting);
    return BATON_OK;
}

/* A child of the plain protocol knows no cancel: the answer is told now, and what the child says is dropped. */
static void cancel(void *arg, struct bt_task *t, baton_status reason) {
    struct bt_work_exec *e = arg;
    if (!t->run) {
        bt_list_remove(&t->starting);
        answer(e, t, reason, NULL);
        bt_worker_ended(e->worker, t);
    } else if (reason == BATON_CANCELLED) {
        answer(e, t, reason, NULL);
    }
}

enum { END, IN, OUT, LOG, FDS };

static void watch(void *arg, struct bt_watch *w) {
    struct bt_work_exec *e = arg;
    for (int i = 0; i < e->params.children; i++) {
        struct bt_work_child *c = &e->seats[i].child;
        bool there = c->pid != 0;
        bt_watch_add(w, there ? c->end_fd : -1, POLLIN);
        bt_watch_add(w, there && c->to.len > 0 ? c->in : -1, POLLOUT);
        /* an answer is always taken, but lines of a child that waits only when they can go on */
        bt_watch_add(w, there && (e->seats[i].task || bt_worker_room(e->worker)) ? c->out : -1, POLLIN);
        bt_watch_add(w, there ? c->log : -1, POLLIN);
    }
}

static void pump_child(struct bt_work_exec *e, struct seat *s, const struct pollfd *fds) {
    struct bt_work_child *c = &s->child;
    bool alive = true;
    if (fds[IN].revents)
        bt_work_child_write(c);
    if (fds[LOG].revents)
        bt_work_child_read_log(c);
    if (fds[OUT].revents) {
        alive = bt_work_child_read(c);
        take_lines(e, s);
    }
    if (!alive || (fds[END].revents & POLLIN))
        child_over(e, s, BATON_CRASHED);
}

static baton_status pump(void *arg, const struct pollfd *fds, size_t n, baton_error *err) {
    struct bt_work_exec *e = arg;
    for (size_t i = 0; i < n / FDS; i++)
        if (e->seats[i].child.pid != 0)
            pump_child(e, &e->seats[i], fds + FDS * i);
    if (e->failures >= FAILURES_MAX)
        return bt_fail(err, e->error.status, "%s", e->error.text);
    return BATON_OK;
}

static int64_t tick(void *arg) {
    struct bt_work_exec *e = arg;
    int64_t now = bt_now_ns(), next = BT_NEVER_NS;
    for (int i = 0; i < e->params.children; i++) {
        struct seat *s = &e->seats[i];
        if ((s->state == BUSY || s->state == LOADING) && s->deadline_ns <= now)
            child_over(e, s, BATON_RUN_TIMEOUT);
        if (s->state == DOWN && s->start_ns <= now && !e->stopping)
            start_child(e, s);
        if (s->state == BUSY || s->state == LOADING)
            next = BT_MIN(next, s->deadline_ns);
        if (s->state == DOWN && !e->stopping)
            next = BT_MIN(next, s->start_ns);
    }
    return next;
}

static void stop(void *arg) {
    struct bt_work_exec *e = arg;
    e->stopping = true;
    for (int i = 0; i < e->params.children; i++)
        if (e->seats[i].state == IDLE || e->seats[i].state == LOADING)
            bt_work_child_ask_to_end(&e->seats[i].child);
    while (!bt_list_empty(&e->waiting))
        cancel(e, BT_CONTAINER(e->waiting.next, struct bt_task, starting), BATON_CLOSED);
}

struct bt_runner bt_work_exec_runner(struct bt_work_exec *exec) {
    return (struct bt_runner){
        .arg = exec, .start = start, .cancel = cancel, .watch = watch, .pump = pump, .tick = tick, .stop = stop};
}

/* Until every child is ready; a child that is not, ends it. */
static baton_status wait_ready(struct bt_work_exec *e, baton_error *err) {
    struct bt_watch w = {0};
    baton_status status = BATON_OK;
    int64_t until = bt_deadline(bt_now_ns(), e->params.start_ms);
    for (bool ready = false; status == BATON_OK && !ready;) {
        w.n = 0;
        watch(e, &w);
        if (w.failed) {
            status = bt_fail(err, BATON_NO_MEMORY, "no memory for the children");
            break;
        }
        int64_t left = until == BT_NEVER_NS ? -1 : BT_MAX((until - bt_now_ns()) / BT_NS_PER_MS + 1, (int64_t)0);
        (void)poll(w.fds, (nfds_t)w.n, (int)BT_MIN(left, (int64_t)INT_MAX));
        status = pump(e, w.fds, w.n, err);
        ready = true;
        for (int i = 0; i < e->params.children && status == BATON_OK; i++) {
            ready &= e->seats[i].state == IDLE;
            if (e->error.text[0])
                status = bt_fail(err, e->error.status, "%s", e->error.text);
            else if (e->seats[i].state == DOWN)
                status = bt_fail(err, BATON_FAILED, "a child ended before it was ready: %.200s", e->params.command);
        }
        if (status == BATON_OK && !ready && bt_now_ns() >= until)
            status = bt_fail(err, BATON_HUNG, "a child was not ready in the time that --start-limit gives it: %.200s",
                             e->params.command);
    }
    free(w.fds);
    return status;
}

baton_status bt_work_exec_open(const struct bt_work_exec_params *params, struct bt_worker *worker,
                               struct bt_work_exec **exec, baton_error *err) {
    struct bt_work_exec *e = *exec = calloc(1, sizeof *e);
    struct seat *seats = calloc((size_t)params->children, sizeof *seats);
    if (!e || !seats) {
        free(e);
        free(seats);
        *exec = NULL;
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the children");
    }
    *e = (struct bt_work_exec){.params = *params, .worker = worker, .seats = seats};
    bt_list_init(&e->waiting);
    for (int i = 0; i < params->children; i++)
        seats[i].child = (struct bt_work_child){.end_fd = -1, .in = -1, .out = -1, .log = -1};
    baton_status status = bt_words_split(params->command, &e->argv, err);
    for (int i = 0; status == BATON_OK && i < params->children; i++) {
        start_child(e, &seats[i]);
        if (seats[i].state == DOWN)
            status = bt_fail(err, e->error.status, "%s", e->error.text);
    }
    if (status == BATON_OK)
        status = wait_ready(e, err);
    if (status)
        bt_work_exec_close(exec, true);
    return status;
}

void bt_work_exec_close(struct bt_work_exec **exec, bool now) {
    struct bt_work_exec *e = *exec;
    char how[40];
    *exec = NULL;
    if (!e)
        return;
    int64_t until = bt_deadline(bt_now_ns(), now ? 0 : END_MS);
    for (int i = 0; i < e->params.children; i++)
        bt_work_child_ask_to_end(&e->seats[i].child);
    for (int i = 0; i < e->params.children; i++) {
        struct bt_work_child *c = &e->seats[i].child;
        int64_t left = (until - bt_now_ns()) / BT_NS_PER_MS;
        struct pollfd fd = {c->end_fd, POLLIN, 0};
        if (c->pid != 0 && left > 0 && c->end_fd >= 0)
            (void)poll(&fd, 1, (int)left);
        bt_work_child_end(c, how, sizeof how);
        bt_work_child_free(c);
    }
    free(e->argv);
    free(e->seats);
    free(e);
}
