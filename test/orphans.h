/* A host that is killed, and what it leaves behind. */
#ifndef BT_ORPHANS_H
#define BT_ORPHANS_H

#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `host` in a process of its own, which writes a pid to `told` when it is time, and kills it then. Whoever it
 * leaves is this process's child from here on. */
static inline pid_t host_killed(void (*host)(int told)) {
    int told[2], status;
    pid_t pid;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        host(told[1]);
        _exit(1);
    }
    close(told[1]);
    assert_int_equal(read(told[0], &pid, sizeof pid), sizeof pid);
    close(told[0]);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return pid;
}

/* The next of those left to end, well; it fails if none does. */
static inline pid_t orphan_ended(void) {
    int status = 0;
    alarm(20); /* one that does not end would be waited for for ever */
    pid_t pid = waitpid(-1, &status, 0);
    alarm(0);
    assert_true(pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return pid;
}

static inline void no_orphans(void) {
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

#endif
