/* The two kinds of bt_spawn: spawn.c has the threads, spawn_process.c the processes. */
#ifndef BT_SPAWN_INT_H
#define BT_SPAWN_INT_H

#include "ipc/spawn.h"

struct bt_spawn_ops {
    baton_status (*start)(struct bt_spawn *s, int context, int *fd, baton_error *err);
    bool (*reap)(struct bt_spawn *s, int context, struct bt_owner_end *end);
    void (*close)(struct bt_spawn *s);
    /* of processes; NULL: there is no such thing */
    int (*pidfd)(const struct bt_spawn *s, int context);
    int (*log_fd)(const struct bt_spawn *s, int context);
    void (*read_log)(struct bt_spawn *s, int context);
    void (*kill)(struct bt_spawn *s, int context);
    const char *(*sandbox)(const struct bt_spawn *s, int context);
    /* of threads */
    const struct bt_model *(*model)(const struct bt_spawn *s);
    void (*visit)(struct bt_spawn *s, int context, struct bt_visit *visit);
};

/* Every kind's struct begins with this. */
struct bt_spawn {
    const struct bt_spawn_ops *ops;
};

baton_status bt_spawn_processes(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err);

#endif
