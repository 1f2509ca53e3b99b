/* Standard input and output for the protocol alone. Libraries print on descriptor 1 whenever they like, and a single
 * byte of theirs would break the lines there: so the real ones become private descriptors, 0 is /dev/null, and what
 * comes on 1 goes to stderr, in lines that are bounded (runqy stops reading stderr for good at a line of 1 MiB).
 *
 * State: struct bt_stdio, its owner's; its thread reads the pipe behind descriptor 1 and nothing else. */
#ifndef BT_TASK_STDIO_H
#define BT_TASK_STDIO_H

#include "base/base.h"

enum { BT_LOG_LINE_MAX = 4000 };

struct bt_stdio {
    int in, out;
    bool out_waits; /* a write to `out` may block: only PIPE_BUF bytes after poll has said that there is room */
    int printed, stop;
    pthread_t pump;
};

/* From now on, for good: the process speaks a protocol. Call before libraries are loaded. */
baton_status bt_stdio_take(struct bt_stdio *s, baton_error *err);
/* What was printed has been passed on; descriptor 1 stays stderr. */
void bt_stdio_end(struct bt_stdio *s);

/* Bytes of somebody's log on their way to stderr as whole lines, a longer one broken. */
struct bt_log_pipe {
    const char *prefix; /* of each line; borrowed */
    int wait_ms; /* how long a line waits for room; then it is dropped, and so are the next, until there is room */
    struct bt_buf held; /* no line yet */
    bool stuck;
};
void bt_log_pass(struct bt_log_pipe *p, const char *data, size_t len);
/* What is held is a line; frees. */
void bt_log_end(struct bt_log_pipe *p);

#endif
