/* A server in a child process. A bt_child belongs to the thread that started it. */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first line of its stdout ends in its port. */
static int read_port(int fd) {
    char line[128], *colon;
    size_t len = 0;
    while (len < sizeof line - 1) {
        ssize_t n = read(fd, line + len, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        if (line[len] == '\n')
            break;
        len++;
    }
    line[len] = '\0';
    colon = strrchr(line, ':');
    return strncmp(line, "listening on ", 13) == 0 && colon ? (int)strtol(colon + 1, NULL, 10) : 0;
}

/* In the child; async-signal-safe calls only. It ends with its parent, however that ends. */
static void become(const char *program, char **argv, int out, pid_t parent) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent && dup2(null, STDIN_FILENO) >= 0 &&
        dup2(out, STDOUT_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0)
        execv(program, argv);
    _exit(127);
}

baton_status bt_child_start(struct bt_child *c, const char *program, const char *const *args, baton_error *err) {
    char *argv[32] = {(char *)program, (char *)"serve", (char *)"--port", (char *)"0"};
    int out[2], n = 4;
    for (; *args && n < 31; args++)
        argv[n++] = (char *)*args;
    if (pipe2(out, O_CLOEXEC))
        return bt_fail(err, BATON_IO, "no pipe for a server: %s", strerror(errno));
    pid_t parent = getpid();
    c->pid = fork();
    if (c->pid == 0)
        become(program, argv, out[1], parent);
    int error = errno;
    close(out[1]);
    c->out = out[0];
    if (c->pid < 0) {
        close(c->out);
        return bt_fail(err, BATON_IO, "%s cannot be started: %s", program, strerror(error));
    }
    c->port = read_port(c->out);
    if (c->port == 0) {
        int code = bt_child_stop(c);
        return bt_fail(err, BATON_IO, "%s serve did not come up (exit code %d): start it by hand to see why", program,
                       code);
    }
    return BATON_OK;
}

int bt_child_stop(struct bt_child *c) {
    int status = 0;
    kill(c->pid, SIGTERM);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(c->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
