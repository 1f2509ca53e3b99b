/* Tasks for code that blocks: N threads, each with a task at a time. For handlers of programs of others.
 *
 * State: struct bt_threads. The loop's thread calls the runner's functions; a call belongs to its thread while it runs,
 * and to the loop before and after. One lock, for the lists of calls that are to run, that have run, and that tell of
 * something; held for a few instructions, never while a handler runs. */
#ifndef BT_TASK_THREADS_H
#define BT_TASK_THREADS_H

#include <stdatomic.h>

#include "task/worker.h"

struct bt_threads;

struct bt_job {
    /* set at start */
    struct bt_threads *threads;
    struct bt_task *task;
    /* its thread's, then the loop's */
    baton_status status;
    baton_error error;
    struct bt_buf result; /* JSON; empty: null */
    /* any thread */
    _Atomic bool cancelled;
    /* under the lock */
    struct bt_list link;
    struct bt_buf events; /* lines that are on their way, each with its newline */
    bool tells;           /* in the list of those that tell */
    struct bt_list telling;
};

/* Does c->task: fills status, error, result. */
typedef void bt_job_fn(void *arg, struct bt_job *c);
/* Whether there is a handler for it; any else status refuses it. The loop's thread. */
typedef baton_status bt_job_check_fn(void *arg, const struct bt_task_line *t, baton_error *err);

baton_status bt_threads_open(int n, bt_job_check_fn *check, bt_job_fn *run, void *arg, struct bt_worker *worker,
                             struct bt_threads **threads, baton_error *err);
/* False: calls are still running. Then nothing is freed, as they use it. */
bool bt_threads_close(struct bt_threads **threads);
struct bt_runner bt_threads_runner(struct bt_threads *threads);

/* From a call's thread: a line without its newline. Waits while much is on its way. _CANCELLED, _NO_MEMORY. */
baton_status bt_job_event(struct bt_job *c, const void *line, size_t len);

#endif
