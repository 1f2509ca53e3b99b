/* Pipes, posix_spawn and wait. State: struct bt_work_child. */
#include "work/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The next word into *to, NUL-terminated, without its quotes; false: a quote is open. */
static bool word(const char **from, char **to) {
    char quote = 0;
    for (; **from && (quote || **from != ' '); (*from)++) {
        if (quote ? **from == quote : (**from == '"' || **from == '\''))
            quote = quote ? 0 : **from;
        else
            *(*to)++ = **from;
    }
    *(*to)++ = '\0';
    return quote == 0;
}

baton_status bt_words_split(const char *command, char ***argv, baton_error *err) {
    size_t len = strlen(command), n = 0;
    char **words = malloc((len / 2 + 2) * sizeof *words + 2 * len + 2);
    *argv = NULL;
    if (!words)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a command");
    char *text = (char *)(words + len / 2 + 2);
    for (const char *at = command; *(at += strspn(at, " "));) {
        words[n++] = text;
        if (!word(&at, &text)) {
            free(words);
            return bt_fail(err, BATON_INVALID, "a quote is open in: %.200s", command);
        }
    }
    words[n] = NULL;
    if (n == 0) {
        free(words);
        return bt_fail(err, BATON_INVALID, "the command has no words");
    }
    *argv = words;
    return BATON_OK;
}

/* The environment with that number of workers in it; freed as one. */
static char **environment(int workers) {
    static const char *const names[] = {"RUNQY_PYTHON_WORKERS=", "BATON_WORKERS="};
    static const size_t TEXT = 48;
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **e = malloc((n + 3) * sizeof *e + 2 * TEXT);
    if (!e)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], names[0], strlen(names[0])) != 0 &&
            strncmp(environ[i], names[1], strlen(names[1])) != 0)
            e[k++] = environ[i];
    char *text = (char *)(e + n + 3);
    for (int i = 0; i < 2; i++, text += TEXT) {
        snprintf(text, TEXT, "%s%d", names[i], workers);
        e[k++] = text;
    }
    e[k] = NULL;
    return e;
}

/* Signals as a new program expects them, whatever we have made of ours. */
static int spawn(pid_t *pid, char *const *argv, int workers, const int theirs[3]) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults, none;
    char **e = environment(workers);
    if (!e)
        return ENOMEM;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    int code = 0;
    for (int i = 0; i < 3 && code == 0; i++)
        code = posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
    if (code == 0)
        code = posix_spawnp(pid, argv[0], &actions, &attributes, argv, e);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(e);
    return code;
}

/* Above the standard ones, and ours alone does not block. */
static bool make_pipe(int ends[2], int ours) {
    int low[2];
    if (pipe2(low, O_CLOEXEC))
        return false;
    for (int i = 0; i < 2; i++) {
        ends[i] = low[i] > STDERR_FILENO ? low[i] : fcntl(low[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (ends[i] != low[i])
            close(low[i]);
    }
    return ends[0] >= 0 && ends[1] >= 0 && fcntl(ends[ours], F_SETFL, O_NONBLOCK) == 0;
}

baton_status bt_work_child_start(struct bt_work_child *c, int number, int workers, char *const *argv,
                                 baton_error *err) {
    int in[2] = {-1, -1}, out[2] = {-1, -1}, log[2] = {-1, -1};
    int code = make_pipe(in, 1) && make_pipe(out, 0) && make_pipe(log, 0) ? 0 : errno;
    pid_t pid = 0;
    *c = (struct bt_work_child){.end_fd = -1};
    if (code == 0)
        code = spawn(&pid, argv, workers, (int[]){in[0], out[1], log[1]});
    int theirs[] = {in[0], out[1], log[1]}, ours[] = {in[1], out[0], log[0]};
    for (size_t i = 0; i < 3; i++) {
        if (theirs[i] >= 0)
            close(theirs[i]);
        if (code && ours[i] >= 0)
            close(ours[i]);
    }
    if (code)
        return bt_fail(err, code == ENOENT ? BATON_NOT_FOUND : BATON_IO, "%.200s cannot be started: %s", argv[0],
                       strerror(code));
    c->pid = pid;
    c->in = in[1];
    c->out = out[0];
    c->log = log[0];
    c->end_fd =
        (int)syscall(SYS_pidfd_open, pid, 0); /* none on a kernel before 5.3: the end of its stdout tells, too */
    if (c->end_fd >= 0)
        (void)fcntl(c->end_fd, F_SETFD, FD_CLOEXEC);
    if (number > 0)
        snprintf(c->prefix, sizeof c->prefix, "child %d: ", number);
    c->said.prefix = c->prefix;
    return BATON_OK;
}

void bt_work_child_write(struct bt_work_child *c) {
    while (c->in >= 0 && c->to.len > c->written) {
        ssize_t n = write(c->in, c->to.data + c->written, c->to.len - c->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* EAGAIN: later; EPIPE: its end is told elsewhere */
            return;
        c->written += (size_t)n;
    }
    bt_buf_free(&c->to); /* a task may take megabytes, and the next one comes much later */
    c->written = 0;
}

bool bt_work_child_read(struct bt_work_child *c) {
    char piece[64 << 10];
    for (int i = 0; i < 16; i++) { /* whoever writes without end does not keep the loop */
        ssize_t n = read(c->out, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        if (!bt_lines_add(&c->lines, piece, (size_t)n))
            return false;
    }
    return true;
}

void bt_work_child_read_log(struct bt_work_child *c) {
    char piece[16 << 10];
    ssize_t n;
    for (int i = 0; i < 16 && c->log >= 0; i++) {
        n = read(c->log, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0) {
            bt_log_pass(&c->said, piece, (size_t)n);
            continue;
        }
        if (n == 0) { /* it has closed its stderr */
            close(c->log);
            c->log = -1;
        }
        return;
    }
}

void bt_work_child_ask_to_end(struct bt_work_child *c) {
    if (c->pid == 0)
        return;
    kill(c->pid, SIGTERM);
    if (c->in >= 0)
        close(c->in);
    c->in = -1;
}

void bt_work_child_end(struct bt_work_child *c, char *how, size_t size) {
    siginfo_t info = {0};
    snprintf(how, size, "an end that is not known");
    if (c->pid == 0)
        return;
    /* dead already, as a rule; then this reaches what it has left in its group, and its own end stays what it was */
    kill(-c->pid, SIGKILL);
    int code;
    do
        code = waitid(P_PID, (id_t)c->pid, &info, WEXITED);
    while (code < 0 && errno == EINTR);
    if (code == 0)
        snprintf(how, size, "%s %d", info.si_code == CLD_EXITED ? "exit code" : "signal", info.si_status);
    c->pid = 0;
    (void)bt_work_child_read(c);
    bt_work_child_read_log(c);
    bt_log_end(&c->said);
}

void bt_work_child_free(struct bt_work_child *c) {
    int fds[] = {c->end_fd, c->in, c->out, c->log};
    for (size_t i = 0; i < BT_COUNT(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    bt_lines_free(&c->lines);
    bt_buf_free(&c->to);
    bt_buf_free(&c->said.held);
    *c = (struct bt_work_child){.end_fd = -1, .in = -1, .out = -1, .log = -1};
}
