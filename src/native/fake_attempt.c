/* What a hostile model file would try if it could run code: the fake native tries it when it is opened, and says in its
 * description what became of it. For tests of the sandbox. State: none. */
#include "native/fake_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static long a_socket(void) {
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long a_connection(void) {
    struct sockaddr_un nobody = {.sun_family = AF_UNIX, .sun_path = "/nobody/listens"};
    return connect(BT_FAKE_SOCKET, (struct sockaddr *)&nobody, sizeof nobody);
}

static long somebodys_file(void) {
    return open("/etc/passwd", O_RDONLY);
}

static long a_new_file(void) {
    long fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    return fd < 0 && errno == EOPNOTSUPP ? 0 : fd;
}

/* Of a program that there is not: ENOENT says that it was tried. */
static long another_program(void) {
    char *const none[] = {NULL};
    return execve("/nowhere/program", none, none);
}

/* ESRCH says that it was tried. */
static long tracing(void) {
    return ptrace(PTRACE_PEEKUSER, getppid(), NULL, NULL);
}

static long a_signal(void) {
    return kill(getppid(), 0);
}

static long the_front(void) {
    return syscall(424 /* pidfd_send_signal */, BT_FAKE_PARENT, 0, NULL, 0);
}

static long a_descriptor_of_the_front(void) {
    return syscall(438 /* pidfd_getfd */, BT_FAKE_PARENT, STDIN_FILENO, 0);
}

static long another_process(void) {
    long child = syscall(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid((pid_t)child, NULL, 0);
    return child;
}

static long somebodys_memory(void) {
    char byte;
    struct iovec mine = {&byte, 1}, theirs = {(void *)16, 1};
    return process_vm_readv(getppid(), &mine, 1, &theirs, 1, 0); /* EFAULT says that it was tried */
}

static long higher_limits(void) {
    struct rlimit r = {0, 0};
    return prlimit(0, RLIMIT_CORE, &r, NULL);
}

static void say_environment(char *text, size_t size) {
    extern char **environ;
    size_t at = 0;
    for (char **e = environ; *e && at < size; e++)
        at += (size_t)snprintf(text + at, size - at, "%.*s ", (int)strcspn(*e, "="), *e);
}

static void say_descriptors(char *text, size_t size) {
    size_t at = 0;
    for (int fd = 0; fd < 1024 && at < size; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            at += (size_t)snprintf(text + at, size - at, "%d ", fd);
}

void bt_fake_attempt(enum bt_fake_attempt what, char *text, size_t size) {
    static long (*const attempts[])(void) = {
        [BT_FAKE_TRY_SOCKET] = a_socket,         [BT_FAKE_TRY_CONNECT] = a_connection,
        [BT_FAKE_TRY_READ] = somebodys_file,     [BT_FAKE_TRY_CREATE] = a_new_file,
        [BT_FAKE_TRY_EXEC] = another_program,    [BT_FAKE_TRY_PTRACE] = tracing,
        [BT_FAKE_TRY_KILL] = a_signal,           [BT_FAKE_TRY_FORK] = another_process,
        [BT_FAKE_TRY_MEMORY] = somebodys_memory, [BT_FAKE_TRY_LIMIT] = higher_limits,
        [BT_FAKE_TRY_FRONT] = the_front,         [BT_FAKE_TRY_STEAL] = a_descriptor_of_the_front};
    if (what == BT_FAKE_TELL_ENVIRONMENT)
        say_environment(text, size);
    else if (what == BT_FAKE_TELL_DESCRIPTORS)
        say_descriptors(text, size);
    else if (what > 0 && (size_t)what < BT_COUNT(attempts))
        snprintf(text, size, "%s", attempts[what]() < 0 ? strerrorname_np(errno) : "done");
}
