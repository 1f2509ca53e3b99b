/* What takes long of a task is done by one thread, a piece after the other, so that the worker's loop, and with it
 * every other task, goes on meanwhile.
 *
 * State: struct bt_aside; its lists are under its lock. A piece is the loop's, but for the time from add to next or
 * withdraw, and what it borrows must live as long. */
#ifndef BT_WORK_ASIDE_H
#define BT_WORK_ASIDE_H

#include "base/base.h"
#include "base/list.h"

struct bt_aside;

struct bt_piece {
    void (*run)(struct bt_piece *piece); /* on the thread */
    void *arg;                           /* the caller's */
    struct bt_list link;
};

baton_status bt_aside_open(struct bt_aside **aside, baton_error *err);
/* Waits for the piece under way; the others are forgotten. */
void bt_aside_close(struct bt_aside **aside);
/* Readable while bt_aside_next has something. */
int bt_aside_fd(const struct bt_aside *a);
void bt_aside_add(struct bt_aside *a, struct bt_piece *piece);
/* One that is done, or NULL. */
struct bt_piece *bt_aside_next(struct bt_aside *a);
/* False: it is under way, or done. */
bool bt_aside_withdraw(struct bt_aside *a, struct bt_piece *piece);

#endif
