/* `baton serve` as a child process, for programs that show or measure it. */
#ifndef BT_CHILD_H
#define BT_CHILD_H

#include <sys/types.h>

#include "base/base.h"

struct bt_child {
    pid_t pid;
    int port;
    int out; /* its stdout */
};

/* Starts `program serve --port 0` with those further arguments (NULL-terminated) and waits for its listening line.
 * Its stderr is dropped, and it ends with the thread that started it. BATON_IO: it did not come up. */
baton_status bt_child_start(struct bt_child *c, const char *program, const char *const *args, baton_error *err);

/* SIGTERM, then waits. Returns its exit code; 128 + n for signal n. */
int bt_child_stop(struct bt_child *c);

#endif
