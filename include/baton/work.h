/* baton's task worker for handlers of one's own: a program that takes tasks as JSON lines on stdin, several at once,
 * and answers as lines on stdout. It speaks runqy's stdio protocol (docs/work.md), so any parent that speaks it can
 * drive it.
 *
 *     static baton_status shout(void *arg, baton_task *task, baton_error *err) {
 *         const char *text = baton_task_text(task, "text");
 *         ...
 *         return baton_task_reply_text(task, answer, err);
 *     }
 *     int main(void) {
 *         static const baton_work_handler handlers[] = {{"shout", shout, NULL}};
 *         return baton_work_run(handlers, 1, NULL, NULL) != BATON_OK;
 *     }
 *
 * What is loaded once (a model, an index) is opened before baton_work_run and passed to the handlers as `arg`: they run
 * on several threads at once, and share it as its own rules say (a baton_llama as its policy says).
 *
 * Standard input and output belong to the protocol while it runs and after: what is printed on stdout goes to stderr.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_WORK_H
#define BATON_WORK_H

#include "baton/baton.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A task at hand: what its handler was called with, until it returns. Never kept, never used by another thread after
 * that. */
typedef struct baton_task baton_task;

/* Does a task: gives its answer with baton_task_reply, and returns BATON_OK; or returns what went wrong, with
 * a line of text in *err. Statuses that may pass tell the parent to try again: BATON_BUSY, _QUEUE_FULL,
 * _QUEUE_TIMEOUT, _RUN_TIMEOUT, _CLOSED, _CRASHED, _HUNG, _FAILED, _NO_MEMORY, _IO. Called on a thread of baton's. */
typedef baton_status (*baton_work_fn)(void *arg, baton_task *task, baton_error *err);

typedef struct baton_work_handler {
    const char *kind; /* which tasks: those whose payload.kind says this. NULL: all that no other handler takes */
    baton_work_fn run;
    void *arg;
} baton_work_handler;

typedef struct baton_work_params {
    size_t size;
    int workers;      /* tasks at once, each on a thread of its own; 1 to 1024. RUNQY_PYTHON_WORKERS and BATON_WORKERS
                         in the environment override it */
    int backlog;      /* tasks that may wait for a worker; the next is answered BATON_QUEUE_FULL */
    int64_t drain_ms; /* after SIGTERM or SIGINT: how long tasks may go on; -1: without end */
    bool one_shot;    /* one task, then the end */
    bool events;      /* baton_task_event writes; else it does nothing */
} baton_work_params;
#define BATON_WORK_PARAMS                                                                                              \
    { sizeof(baton_work_params), 1, 256, 8000, false, false }

/* Says that the program is ready, and works off tasks until SIGTERM, SIGINT or the end of stdin. Once in a process.
 *   handlers, n  borrowed for the call, at least one; of several for a kind the first is taken
 *   params       NULL: BATON_WORK_PARAMS
 * Returns: BATON_OK: every task was answered; exit with 0. BATON_INVALID: a number in params or in the environment is
 * none; exit with 2. _MISUSE, _NO_MEMORY. _IO: the parent is gone. _CANCELLED: a second signal. _HUNG: handlers were
 * still running when their time was up, and still are: do not free what they use, exit with 1.
 * Threads: one that nothing else is waiting for, main's as a rule. It handles SIGTERM, SIGINT and SIGPIPE meanwhile.
 * Blocks: until the end. Since: 0.1.0. */
BATON_API baton_status baton_work_run(const baton_work_handler *handlers, size_t n, const baton_work_params *params,
                                      baton_error *err);

/* The task's id.
 * Returns: NUL-terminated, until the handler returns. Threads: the handler's. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_task_id(const baton_task *task);

/* Which attempt of the task this is: the parent may send it again.
 * Returns: 0 for the first. Threads: the handler's. Blocks: never. Since: 0.1.0. */
BATON_API int64_t baton_task_attempt(const baton_task *task);

/* The payload as JSON, checked; "null" where the parent sent none.
 *   len  out, may be NULL
 * Returns: NUL-terminated, until the handler returns. Threads: the handler's. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_task_payload(const baton_task *task, size_t *len);

/* A member of the payload that is a string, decoded: for programs that need no more of JSON.
 * Returns: until the handler returns; NULL if there is no such member, it is no string, or holds a NUL. Threads: the
 * handler's. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_task_text(baton_task *task, const char *key);

/* Whether nobody waits for the answer any more: the task was cancelled, or the worker's time is up. The handler may
 * return BATON_CANCELLED then; what it returns otherwise is taken as well.
 * Returns: true from then on. Threads: any, while the handler runs. Blocks: never. Since: 0.1.0. */
BATON_API bool baton_task_cancelled(const baton_task *task);

/* The answer, copied; a second one replaces the first. Without any it is null.
 *   json, len  a JSON value; its line must stay below 10 MiB
 * Returns: BATON_OK. _INVALID: it is not JSON, or not UTF-8. _TOO_LONG, _NO_MEMORY. Threads: the handler's. Blocks:
 * never. Since: 0.1.0. */
BATON_API baton_status baton_task_reply(baton_task *task, const char *json, size_t len, baton_error *err);

/* The same with a text, which becomes a JSON string. Returns: as baton_task_reply. Threads: the handler's. Blocks:
 * never. Since: 0.1.0. */
BATON_API baton_status baton_task_reply_text(baton_task *task, const char *text, baton_error *err);

/* Tells the parent of progress, on a line that does not end the task: {"event":NAME,"task":ID,"attempt":N,"data":JSON}.
 *   name  letters, digits, _ and -
 *   json  a JSON value, copied
 * Returns: BATON_OK, also when events are off. _INVALID, _NO_MEMORY. _CANCELLED: nobody waits for it any more. Threads:
 * the handler's. Blocks: while the parent does not read. Since: 0.1.0. */
BATON_API baton_status baton_task_event(baton_task *task, const char *name, const char *json, baton_error *err);

#ifdef __cplusplus
}
#endif

#endif
