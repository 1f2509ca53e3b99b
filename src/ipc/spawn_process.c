/* Starting owners as processes, and hearing of their end. State: the bt_spawn, which belongs to one thread.
 *
 * This may be somebody else's program: no handler of SIGCHLD, no wait for children that are not ours, nothing that a
 * program which ignores SIGCHLD or reaps whatever it finds could break. A pidfd tells of the end and is what signals go
 * to; how a process ended is known only if nobody else asked first. */
#include "ipc/spawn_int.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/spawn_lines.h"
#include "ipc/spawn_program.h"
#include "native/whisper.h"
#include "wire/frame.h"
#include "wire/start.h"

#ifndef __NR_pidfd_send_signal
#define __NR_pidfd_send_signal 424
#define __NR_pidfd_open 434
#endif
enum { WAIT_PIDFD = 3 /* P_PIDFD */, END_MS = 5000, LOG_PER_READ = 256 << 10, REPORT_MAX = 2048 };

struct process {
    int pidfd, log, report; /* -1: none */
    uint32_t starts;
    char words[REPORT_MAX]; /* what came on the report pipe */
    size_t n_words;
    char sandbox[256];
    struct bt_printed lines;
};

struct processes {
    struct bt_spawn base;
    /* fixed by the opening */
    struct bt_buf strings; /* path, template, paths of adapters, of the projector and of parts, each with its NUL */
    struct bt_start start;
    char program[PATH_MAX], name[64];
    char **environment;
    int files[BT_FILES_MAX], *lora_files, mmproj_file; /* -1: none */
    size_t n_files, n_loras;
    int n;
    /* changing */
    struct process owners[];
};

static struct processes *of(const struct bt_spawn *s) {
    return (struct processes *)BT_CONTAINER(s, const struct processes, base);
}

static void shut(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Descriptors on their way to a child: the i-th becomes its descriptor at[i]. All are close-on-exec here, and lie above
 * every number that the child has, so that giving one its number cannot close another. */
struct cargo {
    int fd[BT_FILES_MAX * 2 + 9], at[BT_FILES_MAX * 2 + 9];
    int n, least;
};

/* Takes fd (< 0: false). */
static bool pack(struct cargo *c, int fd, int at) {
    int lifted = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, c->least);
    if (fd >= 0)
        close(fd);
    if (lifted < 0 || c->n == (int)BT_COUNT(c->fd)) {
        shut(&lifted);
        return false;
    }
    c->fd[c->n] = lifted;
    c->at[c->n++] = at;
    return true;
}

static void unpack(struct cargo *c) {
    while (c->n > 0)
        close(c->fd[--c->n]);
}

/* A description of its own: several owners read the same file, each from where it is. */
static int open_again(int fd) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool pack_all(struct cargo *c, const struct processes *s, int socket, int log, int report) {
    bool ok = pack(c, socket, BT_START_SOCKET);
    int log_again = fcntl(log, F_DUPFD_CLOEXEC, 0), at = BT_START_FILES;
    ok &= pack(c, log, STDOUT_FILENO);
    ok &= pack(c, log_again, STDERR_FILENO);
    ok &= pack(c, report, BT_START_REPORT);
    ok &= pack(c, open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    ok &= pack(c, (int)syscall(__NR_pidfd_open, getpid(), 0), BT_START_PARENT);
    for (size_t i = 0; i < s->n_files && ok; i++)
        ok = pack(c, open_again(s->files[i]), at++);
    for (size_t i = 0; i < s->n_loras && ok; i++)
        ok = pack(c, open_again(s->lora_files[i]), at++);
    if (s->mmproj_file >= 0 && ok)
        ok = pack(c, open_again(s->mmproj_file), at);
    return ok;
}

/* Faults must reach the first thread; everything else an owner does not hear: Ctrl-C and a service manager's SIGTERM
 * reach the front's whole group, and the front ends its owners when it has drained. */
static void set_signals(posix_spawnattr_t *attr) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t all, blocked;
    sigfillset(&all);
    sigfillset(&blocked);
    for (size_t i = 0; i < BT_COUNT(faults); i++)
        sigdelset(&blocked, faults[i]);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setsigmask(attr, &blocked);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

/* One that nothing can be known of is ended at once, and its number given back. That is its own as long as nobody has
 * reaped it. */
static void end_unwatched(pid_t pid) {
    siginfo_t info;
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* glibc from 2.39 has a spawn that returns the pidfd itself. Elsewhere there is a gap in which a program that reaps
 * everything may have reaped the child, and its number may be somebody else's: such a one is no child of ours. */
static int spawn_pidfd(const char *program, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                       char *const *argv, char *const *environment, int *pidfd) {
    typedef int pidfd_spawner(int *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                              char *const *, char *const *);
    pidfd_spawner *direct = (pidfd_spawner *)dlsym(RTLD_DEFAULT, "pidfd_spawn");
    if (direct)
        return direct(pidfd, program, actions, attr, argv, environment);
    pid_t pid;
    siginfo_t info;
    int rc = posix_spawn(&pid, program, actions, attr, argv, environment);
    if (rc)
        return rc;
    *pidfd = (int)syscall(__NR_pidfd_open, pid, 0);
    if (*pidfd >= 0 && waitid((idtype_t)WAIT_PIDFD, (id_t)*pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        return 0;
    rc = errno;
    shut(pidfd);
    end_unwatched(pid);
    return rc;
}

static baton_status launch(struct processes *s, int context, struct cargo *cargo, baton_error *err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    char number[16], program[] = "baton-owner";
    char *argv[] = {program, s->name, number, NULL};
    snprintf(number, sizeof number, "%d", context);
    if (posix_spawn_file_actions_init(&actions))
        return bt_fail(err, BATON_NO_MEMORY, "no memory to start an owner");
    if (posix_spawnattr_init(&attr)) {
        posix_spawn_file_actions_destroy(&actions);
        return bt_fail(err, BATON_NO_MEMORY, "no memory to start an owner");
    }
    int rc = 0;
    for (int i = 0; i < cargo->n && !rc; i++)
        rc = posix_spawn_file_actions_adddup2(&actions, cargo->fd[i], cargo->at[i]);
    set_signals(&attr);
    if (!rc)
        rc = spawn_pidfd(s->program, &actions, &attr, argv, s->environment, &s->owners[context].pidfd);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc ? bt_fail(err, BATON_IO, "the owner process %s cannot be started: %s", s->program, strerror(rc))
              : BATON_OK;
}

/* A new process reads nothing before it, so this waits for no more than its start. */
static baton_status send_start(struct processes *s, int context, int fd, baton_error *err) {
    struct bt_buf out = BT_BUF_INIT;
    struct bt_start start = s->start;
    const struct process *p = &s->owners[context];
    size_t at = 0;
    start.number = (uint32_t)context;
    start.flags |= ((uint32_t)bt_log_level() & BT_START_LEVEL_MASK) << BT_START_LEVEL_SHIFT;
    start.flags |= BT_MIN(p->starts, (uint32_t)UINT16_MAX) << BT_START_BEFORE_SHIFT;
    bt_put_start(&out, &start);
    baton_status status = out.failed ? bt_fail(err, BATON_NO_MEMORY, "no memory to start an owner") : BATON_OK;
    while (at < out.len && !status) {
        struct pollfd fds[] = {{fd, POLLOUT, 0}, {p->pidfd, POLLIN, 0}};
        ssize_t n = send(fd, out.data + at, out.len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EINTR && (errno != EAGAIN || (poll(fds, 2, -1) > 0 && fds[1].revents)))
            break; /* it has ended: whoever watches the pidfd hears of it */
    }
    bt_buf_free(&out);
    return status;
}

/* The three ends of the child's go with the cargo whatever happens; p keeps its own of log and report. */
static baton_status load_cargo(const struct processes *s, struct process *p, int socket, struct cargo *cargo,
                               baton_error *err) {
    int log[2] = {-1, -1}, report[2] = {-1, -1};
    bool ok = pipe2(log, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(report, O_CLOEXEC | O_NONBLOCK) == 0;
    p->log = log[0];
    p->report = report[0];
    if (pack_all(cargo, s, socket, log[1], report[1]) && ok)
        return BATON_OK;
    return bt_fail(err, BATON_IO, "no descriptors for an owner process: %s", strerror(errno));
}

static void processes_kill(struct bt_spawn *base, int context) {
    const struct process *p = &of(base)->owners[context];
    if (p->pidfd >= 0)
        syscall(__NR_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
}

static bool ended(const struct process *p, int timeout_ms) {
    struct pollfd fd = {p->pidfd, POLLIN, 0};
    int rc;
    do
        rc = poll(&fd, 1, timeout_ms);
    while (rc < 0 && errno == EINTR);
    return rc > 0;
}

static baton_status processes_start(struct bt_spawn *base, int context, int *fd, baton_error *err) {
    struct processes *s = of(base);
    struct process *p = &s->owners[context];
    struct cargo cargo = {.n = 0, .least = BT_START_FILES + (int)(s->n_files + s->n_loras) + 1};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return bt_fail(err, BATON_IO, "no socket pair for an owner: %s", strerror(errno));
    p->n_words = 0;
    p->sandbox[0] = '\0';
    bt_printed_init(&p->lines, s->name, bt_now_coarse_ns());
    baton_status status = load_cargo(s, p, pair[1], &cargo, err);
    if (!status)
        status = launch(s, context, &cargo, err);
    unpack(&cargo);
    if (!status)
        status = send_start(s, context, pair[0], err);
    if (status) {
        siginfo_t info;
        close(pair[0]);
        if (p->pidfd >= 0) { /* one that was started is nobody's to reap later */
            processes_kill(base, context);
            if (ended(p, END_MS))
                waitid((idtype_t)WAIT_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
            shut(&p->pidfd);
        }
        shut(&p->log);
        shut(&p->report);
        return status;
    }
    p->starts++;
    *fd = pair[0];
    return BATON_OK;
}

static void processes_read_log(struct bt_spawn *base, int context) {
    struct process *p = &of(base)->owners[context];
    char text[4096];
    for (size_t total = 0; p->log >= 0 && total < LOG_PER_READ;) {
        ssize_t n = read(p->log, text, sizeof text);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return;
        bt_printed_add(&p->lines, text, (size_t)BT_MAX(n, 0), bt_now_coarse_ns());
        total += (size_t)BT_MAX(n, 0);
    }
}

/* The first line of the report is about the sandbox; *last is the last one after it, or NULL. */
static void read_report(struct process *p, const char **last) {
    ssize_t n = 1;
    while (p->report >= 0 && n > 0 && p->n_words < sizeof p->words - 1) {
        n = read(p->report, p->words + p->n_words, sizeof p->words - 1 - p->n_words);
        p->n_words += (size_t)BT_MAX(n, 0);
    }
    p->words[p->n_words] = '\0';
    char *end = memchr(p->words, '\n', p->n_words);
    if (last)
        *last = NULL;
    if (!end)
        return;
    bool first = p->sandbox[0] == '\0' && p->starts <= 1;
    snprintf(p->sandbox, sizeof p->sandbox, "%.*s", (int)BT_MIN(end - p->words, (ptrdiff_t)255), p->words);
    bt_line_clean(p->sandbox);
    if (first && strstr(p->sandbox, "; no "))
        bt_log(BATON_LOG_WARN, "%s: this kernel lacks a part of the owner process's sandbox: %s", p->lines.name,
               p->sandbox);
    size_t len = p->n_words - (size_t)(end + 1 - p->words);
    if (!last || len == 0)
        return;
    if (end[len] == '\n')
        end[len] = '\0';
    char *before = strrchr(end + 1, '\n');
    *last = before ? before + 1 : end + 1;
}

static const char *processes_sandbox(const struct bt_spawn *base, int context) {
    struct process *p = &of(base)->owners[context];
    read_report(p, NULL);
    return p->sandbox;
}

static bool processes_reap(struct bt_spawn *base, int context, struct bt_owner_end *end) {
    struct process *p = &of(base)->owners[context];
    siginfo_t info = {.si_pid = 0};
    const char *words;
    int rc;
    if (p->pidfd < 0 || !ended(p, 0))
        return false;
    do
        rc = waitid((idtype_t)WAIT_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
    while (rc < 0 && errno == EINTR);
    *end = (struct bt_owner_end){.kind = BT_END_UNKNOWN};
    if (rc == 0 && info.si_pid != 0) {
        end->kind = info.si_code == CLD_EXITED ? BT_END_EXITED : BT_END_SIGNALLED;
        end->code = info.si_status;
    }
    processes_read_log(base, context);
    bt_printed_end(&p->lines, bt_now_coarse_ns());
    read_report(p, &words);
    snprintf(end->text, sizeof end->text, "%.*s", (int)sizeof end->text - 1, words ? words : p->lines.last);
    bt_line_clean(end->text);
    shut(&p->pidfd);
    shut(&p->log);
    shut(&p->report);
    return true;
}

static int processes_pidfd(const struct bt_spawn *base, int context) {
    return of(base)->owners[context].pidfd;
}

static int processes_log_fd(const struct bt_spawn *base, int context) {
    return of(base)->owners[context].log;
}

static void processes_close(struct bt_spawn *base) {
    struct processes *s = of(base);
    struct bt_owner_end end;
    int64_t until = bt_now_ns() + END_MS * BT_NS_PER_MS;
    for (int i = 0; i < s->n; i++) {
        struct process *p = &s->owners[i];
        int64_t left = (until - bt_now_ns()) / BT_NS_PER_MS;
        if (p->pidfd >= 0 && !ended(p, (int)BT_MAX(left, (int64_t)0))) {
            bt_log(BATON_LOG_WARN, "%s: its owner process did not end and is killed", s->name);
            processes_kill(base, i);
            ended(p, END_MS);
        }
        processes_reap(base, i, &end);
        shut(&p->pidfd); /* of one that even a kill has not ended yet */
        shut(&p->log);
        shut(&p->report);
    }
    for (size_t i = 0; i < s->n_files; i++)
        close(s->files[i]);
    for (size_t i = 0; i < s->n_loras; i++)
        close(s->lora_files[i]);
    shut(&s->mmproj_file);
    free(s->lora_files);
    free(s->start.loras);
    bt_owner_environment_free(s->environment);
    bt_buf_free(&s->strings);
    free(s);
}

static const struct bt_spawn_ops process_ops = {.start = processes_start,
                                                .reap = processes_reap,
                                                .close = processes_close,
                                                .pidfd = processes_pidfd,
                                                .log_fd = processes_log_fd,
                                                .read_log = processes_read_log,
                                                .kill = processes_kill,
                                                .sandbox = processes_sandbox};

static baton_status open_loras(struct processes *s, const struct bt_model_params *m, baton_error *err) {
    s->lora_files = calloc(m->n_loras + 1, sizeof *s->lora_files);
    s->start.loras = calloc(m->n_loras + 1, sizeof *s->start.loras);
    if (!s->lora_files || !s->start.loras)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu adapters", m->n_loras);
    if (m->n_loras > BT_FILES_MAX)
        return bt_fail(err, BATON_INVALID, "%zu adapters: at most %d are possible", m->n_loras, BT_FILES_MAX);
    bool fake = s->n_files == 0;
    for (size_t i = 0; i < m->n_loras; i++) {
        const char *path = m->loras[i].path ? m->loras[i].path : "";
        int fd = fake ? open("/dev/null", O_RDONLY | O_CLOEXEC) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            return bt_fail(err, BATON_NOT_FOUND,
                           "there is no adapter file %s that can be read: give the path of a GGUF file", path);
        s->lora_files[s->n_loras++] = fd;
        s->start.loras[i] = (struct bt_start_lora){
            .fd = BT_START_FILES + (int)(s->n_files + i), .scale = m->loras[i].scale, .path = {NULL, strlen(path)}};
        bt_buf_add(&s->strings, path, strlen(path) + 1);
    }
    s->start.n_loras = m->n_loras;
    return BATON_OK;
}

static baton_status open_mmproj(struct processes *s, const char *path, baton_error *err) {
    if (!path)
        return BATON_OK;
    baton_status status = BATON_OK;
    int fd = -1;
    if (s->n_files == 0) /* the fake reads none */
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    else
        status = bt_mmproj_file_open(path, &fd, err);
    if (fd >= 0 && !status)
        s->mmproj_file = fd;
    s->start.has_mmproj = true;
    s->start.mmproj_file = BT_START_FILES + (int)(s->n_files + s->n_loras);
    s->start.mmproj.len = strlen(path);
    bt_buf_add(&s->strings, path, s->start.mmproj.len + 1);
    return status;
}

/* Everything that is borrowed lies in `strings` when it has stopped growing. */
static void point(struct processes *s) {
    const char *at = (const char *)s->strings.data;
    s->start.path.data = at;
    at += s->start.path.len + 1;
    s->start.chat_template.data = at;
    at += s->start.chat_template.len + 1;
    for (size_t i = 0; i < s->start.n_loras; i++) {
        s->start.loras[i].path.data = at;
        at += s->start.loras[i].path.len + 1;
    }
    s->start.mmproj.data = at;
    at += s->start.has_mmproj ? s->start.mmproj.len + 1 : 0;
    for (size_t i = 0; i < BT_SD_PARTS; i++) {
        s->start.parts[i].data = at;
        at += s->start.parts[i].len ? s->start.parts[i].len + 1 : 0;
    }
}

/* Opens it; *path is what it is called. */
static baton_status open_model(struct processes *s, const struct bt_spawn_params *params, const char **path,
                               baton_error *err) {
    *path = params->draws ? bt_sd_path(params->draws) : params->model.path;
    if (params->draws)
        return bt_sd_files_open(params->draws, s->files, &s->n_files, err);
    if (params->hears && !*path)
        return bt_fail(err, BATON_INVALID, "there is no built-in model that hears: give the path of one");
    if (params->hears)
        return bt_whisper_file_open(*path, s->files, &s->n_files, err);
    baton_status status = *path ? BATON_OK : bt_builtin_model(path, err);
    return status ? status : bt_model_files_open(*path, s->files, BT_COUNT(s->files), &s->n_files, err);
}

static void name_parts(struct processes *s, const struct bt_sd_params *sd) {
    s->start.flash_attention = sd->flash_attention;
    for (size_t i = 0; i < BT_SD_PARTS; i++)
        if (sd->parts[i]) {
            s->start.parts[i].len = strlen(sd->parts[i]);
            bt_buf_add(&s->strings, sd->parts[i], s->start.parts[i].len + 1);
        }
}

static baton_status prepare(struct processes *s, const struct bt_spawn_params *params, baton_error *err) {
    const struct bt_model_params *m = &params->model;
    const char *path, *chat_template = m->chat_template ? m->chat_template : "";
    baton_status status = bt_owner_program(s->program, err);
    if (!status)
        status = open_model(s, params, &path, err);
    if (status)
        return status;
    const char *slash = strncmp(path, "fake:", 5) == 0 ? NULL : strrchr(path, '/');
    snprintf(s->name, sizeof s->name, "%s", slash ? slash + 1 : path);
    s->start.library = params->draws ? BT_LIBRARY_SD : params->hears ? BT_LIBRARY_WHISPER : BT_LIBRARY_LLAMA;
    s->start.path.len = strlen(path);
    s->start.chat_template.len = strlen(chat_template);
    s->start.has_chat_template = m->chat_template != NULL;
    s->start.gpu_layers = m->gpu_layers;
    s->start.context = params->context;
    s->start.flags = (params->no_sandbox ? BT_START_NO_SANDBOX : 0) | (params->core ? BT_START_CORE : 0);
    s->start.n_files = s->n_files;
    for (size_t i = 0; i < s->n_files; i++)
        s->start.files[i] = BT_START_FILES + (int)i;
    bt_buf_add(&s->strings, path, s->start.path.len + 1);
    bt_buf_add(&s->strings, chat_template, s->start.chat_template.len + 1);
    status = open_loras(s, m, err);
    if (!status)
        status = open_mmproj(s, m->mmproj, err);
    if (params->draws)
        name_parts(s, params->draws);
    s->environment = bt_owner_environment(params->contexts, bt_native_threads(params->context.threads));
    if (!status && (s->strings.failed || !s->environment))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for the owners of %s", path);
    if (!status)
        point(s);
    return status;
}

baton_status bt_spawn_processes(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err) {
    struct processes *s = calloc(1, sizeof *s + (size_t)params->contexts * sizeof s->owners[0]);
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d owners", params->contexts);
    s->base.ops = &process_ops;
    s->mmproj_file = -1;
    for (s->n = 0; s->n < params->contexts; s->n++)
        s->owners[s->n].pidfd = s->owners[s->n].log = s->owners[s->n].report = -1;
    baton_status status = prepare(s, params, err);
    if (status) {
        processes_close(&s->base);
        return status;
    }
    *spawn = &s->base;
    return BATON_OK;
}
