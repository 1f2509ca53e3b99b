/* A program of somebody's as a child: started, written to, read from, ended. Decides nothing; src/work/exec.c does.
 *
 * State: struct bt_work_child, its owner's thread's. */
#ifndef BT_WORK_CHILD_H
#define BT_WORK_CHILD_H

#include <sys/types.h>

#include "task/line.h"
#include "task/stdio.h"

/* The words of a command: split at spaces, with '...' and "..." around what belongs together; no shell, no escapes, as
 * runqy splits a startup_cmd. NULL-terminated; *argv is freed as one. _INVALID: a quote is open, or there is no word.
 */
baton_status bt_words_split(const char *command, char ***argv, baton_error *err);

struct bt_work_child {
    pid_t pid; /* 0: none */
    int end_fd, in, out, log;
    struct bt_line_reader lines; /* from its stdout */
    struct bt_log_pipe said;     /* from its stderr */
    struct bt_buf to;            /* on its way to its stdin */
    size_t written;
    char prefix[24];
};

/* In a process group of its own, with so many workers by the environment. `number`: how its log lines begin; 0: they
 * are left as they are. */
baton_status bt_work_child_start(struct bt_work_child *c, int number, int workers, char *const *argv, baton_error *err);
/* As much as goes without waiting. */
void bt_work_child_write(struct bt_work_child *c);
/* Reads what there is, without waiting: its lines are then to be taken. False: its stdout has ended. */
bool bt_work_child_read(struct bt_work_child *c);
void bt_work_child_read_log(struct bt_work_child *c);
/* The child and its group, by force; reaped. *how: "exit code 3", "signal 11". Its last lines may still be taken; then
 * bt_work_child_free. */
void bt_work_child_end(struct bt_work_child *c, char *how, size_t size);
void bt_work_child_free(struct bt_work_child *c);
/* Asks it to end: SIGTERM, and the end of its stdin. */
void bt_work_child_ask_to_end(struct bt_work_child *c);

#endif
