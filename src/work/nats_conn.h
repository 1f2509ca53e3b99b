/* What both ends of a task's way over NATS need: a connection, the streams. State: struct bt_nats, its owner's. */
#ifndef BT_WORK_NATS_CONN_H
#define BT_WORK_NATS_CONN_H

#include <nats/nats.h>

#include "work/nats.h"

struct bt_nats {
    natsConnection *connection;
    jsCtx *js;
    char stream[BT_NATS_SUBJECT_MAX], subject[BT_NATS_SUBJECT_MAX], dead[BT_NATS_SUBJECT_MAX];
};

/* Connects, and makes the streams if they are not there. */
baton_status bt_nats_open(struct bt_nats *n, const struct bt_nats_params *params, baton_error *err);
void bt_nats_close(struct bt_nats *n);
baton_status bt_nats_failed(natsStatus status, const char *what, baton_error *err);

#endif
