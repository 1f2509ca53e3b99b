/* The life of tasks: which runs now, which waits, which is refused, and when the worker may end. Pure: lines, ends and
 * the time come in, decisions come out; src/task/worker.c is the shell.
 *
 * Invariants, checked by bt_life_check:
 *   W1  a task ends once: by its answer, or, where its parent has sent the same id again, in silence
 *   W2  at most `workers` tasks hold a place; a place is free again when what ran there has ended, not when its task
 * was answered W3  of one id at most one task is unanswered
 *
 * The same id again while the first runs: the parent has given up on that attempt and sent another (the retry_count
 * differs), so the older one ends in silence and the newer one is the task. With the same retry_count it is the same
 * attempt, which is under way.
 *
 * State: the shell's thread owns all of it. */
#ifndef BT_TASK_LIFE_H
#define BT_TASK_LIFE_H

#include "base/list.h"
#include "gate/gate.h"
#include "task/line.h"

struct bt_task {
    /* set at arrival */
    struct bt_task_line is; /* lies in line */
    char *line;
    size_t len;
    /* life's */
    struct bt_waiter waiter;
    struct bt_list bucket; /* by id, while unanswered */
    struct bt_list all;
    bool answered;
    baton_status cancelled; /* why it is to end early */
    /* the shell's */
    struct bt_list starting; /* granted and not yet given to the runner */
    /* the runner's */
    void *run;
};

enum { BT_LIFE_BUCKETS = 256 };
struct bt_life {
    struct bt_gate gate; /* a slot is a worker's place */
    int64_t drain_ms;
    bool one_shot;
    struct bt_list buckets[BT_LIFE_BUCKETS];
    struct bt_list all;
    int unanswered, running;
    size_t bytes; /* of all lines */
    size_t bytes_max;
    bool taken;    /* one_shot: the task has come */
    bool eof;      /* no more lines */
    bool stopping; /* new tasks are refused */
    bool rest_cancelled;
    int64_t cancel_ns, leave_ns; /* while stopping: when the rest is cancelled; when it is left behind */
};

struct bt_life_params {
    int workers, backlog; /* tasks that run, that wait */
    int64_t drain_ms;
    size_t bytes_max; /* of lines that are held; beyond it none is read */
    bool one_shot;
};
void bt_life_init(struct bt_life *l, const struct bt_life_params *p);

/* A copy of the line as a task that nobody knows yet; NULL: out of memory. */
struct bt_task *bt_task_new(const struct bt_task_line *t, struct bt_text line);
void bt_task_free(struct bt_task *t);

/* BATON_OK: it has a place, start it. BATON_AGAIN: it waits. BATON_END: this very attempt is here already, no line is
 * due; t stays the caller's. Else it is refused with this status, to be answered so; t stays the caller's.
 * *older: the attempt that t takes over from, its line no longer due: to be freed if it was waiting (it is then in no
 * list), else to be cancelled. NULL if there is none. */
baton_status bt_life_arrive(struct bt_life *l, struct bt_task *t, int64_t now_ns, struct bt_task **older);

struct bt_task *bt_life_find(struct bt_life *l, struct bt_text id);

/* Its line is out, or no longer due. */
void bt_life_answered(struct bt_life *l, struct bt_task *t);
/* What ran is over; it is answered. Its place goes to the task that is returned, NULL if none waits. t is in no list.
 */
struct bt_task *bt_life_ended(struct bt_life *l, struct bt_task *t, int64_t now_ns);
/* Takes a waiting task out: false if it is not waiting. t is in no list then. */
bool bt_life_withdraw(struct bt_life *l, struct bt_task *t);

/* The worker is to stop: whoever waits comes out, one per call (BATON_CLOSED), until NULL. What runs has drain_ms. */
struct bt_task *bt_life_stop(struct bt_life *l, int64_t now_ns);
/* Whether to read: not when the lines that are held take too much, nor after the one task. */
bool bt_life_wants_lines(const struct bt_life *l);

/* What is next, now. */
enum bt_life_next {
    BT_LIFE_GO_ON,
    BT_LIFE_CANCEL_REST, /* the drain's time is up: cancel what runs; said once */
    BT_LIFE_LEAVE_REST,  /* it does not end: answer for it, and leave */
    BT_LIFE_OVER,        /* nothing is left to do */
};
enum bt_life_next bt_life_next(struct bt_life *l, int64_t now_ns);
/* When to ask again at the latest. */
int64_t bt_life_deadline(const struct bt_life *l);

bool bt_life_check(const struct bt_life *l);

#endif
