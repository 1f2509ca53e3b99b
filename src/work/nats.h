/* Tasks from many machines: NATS JetStream is the queue. A worker on a stream is the parent of one on stdio (task/): it
 * turns messages into task lines for a `baton work` of its own, and that one's lines into acknowledgements and replies.
 *
 * Names: the tasks of queue NAME are subject baton.tasks.NAME in stream BATON_TASKS_NAME (work queue), taken through
 * the durable consumer "workers"; what was given up is subject baton.dead.NAME in stream BATON_DEAD. The header
 * Baton-Reply of a task is where its pieces and its outcome go.
 *
 * State: struct bt_nats_worker, its thread's; see nats.c for the other thread. */
#ifndef BT_WORK_NATS_H
#define BT_WORK_NATS_H

#include "base/base.h"

#define BT_NATS_REPLY_HEADER "Baton-Reply"
enum { BT_NATS_SUBJECT_MAX = 160 };

struct bt_nats_params {
    const char *url;  /* "nats://host:4222", with user:password@ or token@ in it, several with commas between */
    const char *name; /* of the queue: letters, digits, _ and - */
    const char *credentials, *ca, *certificate, *key; /* files; NULL: none */
    int max_deliver;                                  /* executions of a task until it is given up */
    int64_t ack_wait_ms;                              /* without a sign of life a task goes to somebody else */
};

struct bt_nats_worker_params {
    struct bt_nats_params nats;
    char *const *child; /* the worker on stdio, argv */
    int workers;        /* tasks at once */
    int64_t drain_ms;
};

/* True if this build can. */
bool bt_nats_built(void);

/* Until SIGTERM or SIGINT. BATON_OK: every task that was taken was answered or handed back. */
baton_status bt_nats_work(const struct bt_nats_worker_params *params, baton_error *err);

struct bt_nats_submit_params {
    struct bt_nats_params nats;
    const char *payload; /* of the task, JSON */
    int64_t wait_ms;     /* for the outcome; < 0: without end */
    bool events;         /* the lines as they come, not the text in them */
};
/* Submits a task, prints its text as it comes, waits for its outcome. BATON_OK: it is done; else why not. */
baton_status bt_nats_submit(const struct bt_nats_submit_params *params, baton_error *err);

#endif
