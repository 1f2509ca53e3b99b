/* A task worker on standard input and output: one thread, one loop over poll. Lines come in, `life` decides, a runner
 * runs, and one writer, here, puts whole lines out.
 *
 * Back-pressure: while more than BT_OUT_HIGH bytes wait for a slow parent, no line is read and no task is started, and
 * runners are not told of room for events; an answer is always taken, so that at most `workers` of them come on top.
 *
 * State: the loop's thread owns all of it; runners are called on it and call back on it. */
#ifndef BT_TASK_WORKER_H
#define BT_TASK_WORKER_H

#include <poll.h>

#include "task/life.h"
#include "task/stdio.h"

struct bt_worker;

enum { BT_OUT_HIGH = 1 << 20, BT_OUT_LOW = 256 << 10, BT_WORKERS_MAX = BT_GATE_SLOTS_MAX };

/* Descriptors that a runner wants watched. */
struct bt_watch {
    struct pollfd *fds;
    size_t n, cap;
    bool failed;
};
void bt_watch_add(struct bt_watch *w, int fd, short events);

/* What runs tasks. A task that was started ends in bt_worker_ended, never from inside start. */
struct bt_runner {
    void *arg;
    /* Else than BATON_OK: it was not begun, and is answered with this. */
    baton_status (*start)(void *arg, struct bt_task *t, baton_error *err);
    /* It is to end with `reason`, soon, if it can. Called once for a task. */
    void (*cancel)(void *arg, struct bt_task *t, baton_status reason);
    void (*watch)(void *arg, struct bt_watch *w);
    /* fds[n]: those that it added, as poll left them. Else than BATON_OK: it can never run a task again. */
    baton_status (*pump)(void *arg, const struct pollfd *fds, size_t n, baton_error *err);
    int64_t (*tick)(void *arg); /* its deadlines; the next one */
    void (*room)(void *arg);    /* events may go on; may be NULL */
    void (*stop)(void *arg);    /* no task will be started any more; may be NULL */
};

struct bt_worker_params {
    struct bt_life_params life;
    bool events; /* tell when a task starts */
};

/* Signals that end a worker. From take on, before the runner is made: SIGTERM and SIGINT end the process while it
 * loads, and the worker in order once it runs; SIGPIPE is ignored. */
void bt_worker_signals_take(void);
void bt_worker_signals_give_back(void);

/* *worker can be told to runners; it runs in bt_worker_run. */
baton_status bt_worker_new(const struct bt_worker_params *params, const struct bt_stdio *io, struct bt_worker **worker,
                           baton_error *err);
void bt_worker_free(struct bt_worker **worker);

/* For what goes wrong before it runs. Blocks until the line is out, or nobody reads. */
void bt_worker_not_ready(struct bt_worker *w, const baton_error *why);

/* Says that it is ready, and works until it is to end. BATON_OK: asked to, and every task was answered. _CANCELLED: a
 * second signal. _IO: the parent is gone. _HUNG: what ran did not end; its tasks were answered, and it may still run.
 * Else: the runner cannot go on; its tasks were answered. */
baton_status bt_worker_run(struct bt_worker *w, const struct bt_runner *runner, baton_error *err);

/* For runners. */
struct bt_answer {
    baton_status status;
    struct bt_text result;  /* BATON_OK: JSON */
    const char *error;      /* else; NULL: the status says it */
    struct bt_text partial; /* else: what there was of the answer */
};
/* Its line, unless it had one. */
void bt_worker_answer(struct bt_worker *w, struct bt_task *t, const struct bt_answer *a);
/* The same, of a line that somebody else has made, without its newline. */
void bt_worker_answer_line(struct bt_worker *w, struct bt_task *t, struct bt_text line);
/* What ran is over. t is freed. */
void bt_worker_ended(struct bt_worker *w, struct bt_task *t);
/* `more`: as in bt_line_event. Nothing if t was answered. */
void bt_worker_event(struct bt_worker *w, const struct bt_task *t, const char *event, struct bt_text more);
/* A whole line that names no task as its own. */
void bt_worker_line(struct bt_worker *w, struct bt_text line);
/* False: nothing that can wait is to be written now. */
bool bt_worker_room(const struct bt_worker *w);

/* The number of workers: *n, or what RUNQY_PYTHON_WORKERS or BATON_WORKERS says (the latter wins). _INVALID: no such
 * number. */
baton_status bt_workers_from_environment(int *n, baton_error *err);

#endif
