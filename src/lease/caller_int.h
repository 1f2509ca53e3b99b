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
    bool exact;
    uint64_t memory;
    char name[160];
    /* any thread */
    _Atomic int refs; /* one of the open caller, one of its contexts, one of each stream */
    _Atomic uint64_t accepted, refused, completed, cancelled, timed_out, failed;
};

/* Counts an end: BATON_OK, or why not. */
void bt_caller_count(struct bt_caller *c, baton_status outcome);

/* A run asks for rows as it likes; a context takes what it was made for. */
static inline int bt_caller_chunk(const struct bt_caller *c, const struct bt_run *run) {
    return run->chunk > 0 ? BT_MIN(run->chunk, c->chunk) : c->chunk;
}

#endif
