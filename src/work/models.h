/* Tasks for models: what payload.kind says, with the fields of the HTTP API, as requests at a front. No thread per
 * task: N tasks at once are N requests.
 *
 * State: struct bt_work_models, the worker's thread's. */
#ifndef BT_WORK_MODELS_H
#define BT_WORK_MODELS_H

#include "ipc/front.h"
#include "task/worker.h"

struct bt_work_models;

enum bt_work_events { BT_EVENTS_NONE, BT_EVENTS_ASKED, BT_EVENTS_ALL };

struct bt_work_models_params {
    struct bt_front_params front;
    enum bt_work_events events; /* whose pieces of text are told as they come: nobody's, of tasks with "stream": true */
};

/* Loads the model; blocks. */
baton_status bt_work_models_open(const struct bt_work_models_params *params, struct bt_worker *worker,
                                 struct bt_work_models **models, baton_error *err);
void bt_work_models_close(struct bt_work_models **models);
struct bt_runner bt_work_models_runner(struct bt_work_models *models);

#endif
