/* Private descriptors, and the thread that passes on what libraries print. State: struct bt_stdio. */
#include "task/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STDERR_WAIT_MS = 1000 };

/* A log must not hold up what is logged. */
static void write_line(struct bt_log_pipe *p, const char *line, size_t len) {
    struct pollfd fd = {STDERR_FILENO, POLLOUT, 0};
    p->stuck = poll(&fd, 1, p->stuck ? 0 : p->wait_ms) <= 0 || !(fd.revents & POLLOUT);
    if (!p->stuck)
        (void)!write(STDERR_FILENO, line, len);
}

static void pass_line(struct bt_log_pipe *p, const char *data, size_t len) {
    char line[PIPE_BUF]; /* so that lines of several threads and processes stay whole */
    size_t end = strlen(p->prefix);
    len = BT_MIN(len, sizeof line - 1 - end);
    memcpy(line, p->prefix, end);
    memcpy(line + end, data, len);
    end += len;
    line[end++] = '\n';
    write_line(p, line, end);
}

static void pass_lines(struct bt_log_pipe *p, bool last) {
    size_t at = 0;
    while (at < p->held.len) {
        const char *from = (const char *)p->held.data + at;
        size_t left = p->held.len - at;
        const char *end = memchr(from, '\n', left);
        size_t n = end ? (size_t)(end - from) : left;
        if (!end && n <= BT_LOG_LINE_MAX && !last)
            break;
        n = BT_MIN(n, (size_t)BT_LOG_LINE_MAX);
        pass_line(p, from, n);
        at += n + (end == from + n);
    }
    bt_buf_drop(&p->held, at);
}

void bt_log_pass(struct bt_log_pipe *p, const char *data, size_t len) {
    bt_buf_add(&p->held, data, len);
    pass_lines(p, false);
    if (p->held.failed)
        bt_buf_free(&p->held);
}

void bt_log_end(struct bt_log_pipe *p) {
    pass_lines(p, true);
    bt_buf_free(&p->held);
}

static void *pump(void *arg) {
    struct bt_stdio *s = arg;
    struct bt_log_pipe log = {.prefix = "", .wait_ms = STDERR_WAIT_MS};
    char piece[4096];
    struct pollfd fds[] = {{s->printed, POLLIN, 0}, {s->stop, POLLIN, 0}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents) {
            ssize_t n = read(s->printed, piece, sizeof piece);
            if (n > 0)
                bt_log_pass(&log, piece, (size_t)n);
            else if (n == 0 || errno != EINTR)
                break;
        } else if (fds[1].revents) { /* and nothing is left in the pipe */
            break;
        }
    }
    bt_log_end(&log);
    return NULL;
}

/* A description of our own, which alone does not block: the one that we got is shared with whoever started us. */
static int private_out(bool *waits) {
    struct stat st;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", STDOUT_FILENO);
    *waits = false;
    int fd = -1;
    if (fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode))
        fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        *waits = true;
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    return fd;
}

baton_status bt_stdio_take(struct bt_stdio *s, baton_error *err) {
    int printed[2] = {-1, -1}, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *s = (struct bt_stdio){.in = -1, .out = -1, .printed = -1, .stop = eventfd(0, EFD_CLOEXEC)};
    (void)!fflush(stdout); /* what was printed before is not to come later */
    s->in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    s->out = private_out(&s->out_waits);
    bool ok = null >= 0 && s->in >= 0 && s->out >= 0 && s->stop >= 0 && pipe2(printed, O_CLOEXEC) == 0;
    s->printed = printed[0];
    ok = ok && bt_thread_start(&s->pump, pump, s) == 0;
    if (!ok) {
        int code = errno;
        int fds[] = {null, s->in, s->out, s->stop, printed[0], printed[1]};
        for (size_t i = 0; i < BT_COUNT(fds); i++)
            if (fds[i] >= 0)
                close(fds[i]);
        return bt_fail(err, BATON_IO, "standard input and output cannot be taken: %s", strerror(code));
    }
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(printed[1], STDOUT_FILENO);
    close(null);
    close(printed[1]);
    return BATON_OK;
}

void bt_stdio_end(struct bt_stdio *s) {
    uint64_t one = 1;
    (void)!fflush(stdout);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    (void)!write(s->stop, &one, sizeof one);
    pthread_join(s->pump, NULL);
    close(s->printed);
    close(s->stop);
    close(s->in);
    close(s->out);
}
