/* Tasks for programs that exist: N long-running children behind one stdio, each speaking the same protocol with one
 * worker, and each with whatever it loads for itself. A child that dies is started again; its task is answered
 * BATON_CRASHED, to be tried again, and no other task notices.
 *
 * State: struct bt_work_exec, the worker's thread's. */
#ifndef BT_WORK_EXEC_H
#define BT_WORK_EXEC_H

#include "task/worker.h"

struct bt_work_exec;

struct bt_work_exec_params {
    const char *command; /* split as runqy splits a startup_cmd */
    int children;
    int64_t run_ms;   /* a task's; then its child is killed. < 0: never */
    int64_t start_ms; /* until a child is ready; the same */
};

/* Starts them; blocks until all are ready. */
baton_status bt_work_exec_open(const struct bt_work_exec_params *params, struct bt_worker *worker,
                               struct bt_work_exec **exec, baton_error *err);
/* Asks the children to end, and ends those that do not; `now`: at once. */
void bt_work_exec_close(struct bt_work_exec **exec, bool now);
struct bt_runner bt_work_exec_runner(struct bt_work_exec *exec);

#endif
