/* What the files of owner = caller share. */
#ifndef BT_CALLER_INT_H
#define BT_CALLER_INT_H

#include <stdatomic.h>

#include "lease/caller.h"

struct bt_caller {
    /* set at open */
    struct bt_model *model;
    struct bt_pool *pool;
    int capacity, chunk; /* cells of a context, rows that one decode takes */
    char name[160];
    /* any thread */
    _Atomic int refs; /* one of the open caller, one of each stream */
};

/* A run asks for rows as it likes; a context takes what it was made for. */
static inline int bt_caller_chunk(const struct bt_caller *c, const struct bt_run *run) {
    return run->chunk > 0 ? BT_MIN(run->chunk, c->chunk) : c->chunk;
}

void bt_caller_unref(struct bt_caller *c);

#endif
