/* Tasks for models: what payload.kind says, with the fields of the HTTP API, as requests at a front. No thread per
 * task: N tasks at once are N requests.
 *
 * State: struct bt_work_models, the worker's thread's. */
#ifndef BT_WORK_MODELS_H
#define BT_WORK_MODELS_H

#include "config/config.h"
#include "task/worker.h"

struct bt_work_models;

struct bt_work_models_params {
    const struct bt_model_settings *models; /* complete; borrowed while they live. The first answers who names none */
    int n_models;
    const struct bt_config_role *roles;
    int n_roles;
    enum bt_work_events events;
};

/* Loads them all; blocks. */
baton_status bt_work_models_open(const struct bt_work_models_params *params, struct bt_worker *worker,
                                 struct bt_work_models **models, baton_error *err);
void bt_work_models_close(struct bt_work_models **models);
struct bt_runner bt_work_models_runner(struct bt_work_models *models);

#endif
