/* The sandbox's parts one by one, each in a forked child: Landlock without seccomp, seccomp without Landlock, and a
 * core file. That a real owner process has them all is test/fake/process.c's. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child/sandbox.h"

/* What `body` returned in a child that had entered the sandbox first; 200 + n: it died of signal n. */
static int inside(const struct bt_sandbox *s, int (*body)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct bt_buf told = BT_BUF_INIT;
        signal(SIGABRT, SIG_DFL);
        bt_sandbox_enter(s, &told);
        _exit(body());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 200 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool landlock_is_here(void) {
    return syscall(444, NULL, 0, 1) >= 1;
}

static int handed; /* a descriptor of a file that may be opened anew */

static int open_passwd(void) {
    return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}
static int point_at_passwd(void) {
    return open("/etc/passwd", O_PATH) < 0 ? errno : 0;
}
static int open_handed(void) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", handed);
    return open(path, O_RDONLY) < 0 ? errno : 0;
}
static int open_handed_to_write(void) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", handed);
    return open(path, O_RDWR) < 0 ? errno : 0;
}
static int make_a_file(void) {
    return mkdir("/tmp/baton-sandbox", 0700) < 0 ? errno : 0;
}
static int signal_the_parent(void) {
    return kill(getppid(), 0) < 0 ? errno : 0;
}
static int connect_tcp(void) {
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? 100 + errno : connect(fd, (struct sockaddr *)&nobody, sizeof nobody) < 0 ? errno : 0;
}
static void *nothing(void *arg) {
    return arg;
}
static int start_threads(void) {
    pthread_t t;
    return pthread_create(&t, NULL, nothing, NULL) != 0 || pthread_join(t, NULL) != 0;
}
static int unknown_call(void) {
    return syscall(4000) < 0 ? errno : 0;
}
static int raise_abort(void) {
    abort();
}
static int set_limit_by_pointer(void) {
    /* a new limit at an address whose lower half is zero: a filter that compares 32 bits takes it for none */
    struct rlimit *r = mmap((void *)(UINT64_C(1) << 32), 4096, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return r == MAP_FAILED ? EPERM : syscall(__NR_prlimit64, 0, RLIMIT_CORE, r, NULL) < 0 ? errno : 0;
}
static int fork_by_flags(void) {
    return syscall(__NR_clone, CLONE_VM | CLONE_FILES | SIGCHLD, 0, 0, 0, 0) < 0 ? errno : 0;
}

static void landlock_alone_leaves_what_was_handed(void **state) {
    (void)state;
    struct bt_sandbox s = {.files = &handed, .n_files = 1, .no_seccomp = true};
    if (!landlock_is_here())
        skip();
    handed = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(inside(&s, open_passwd), EACCES);
    assert_int_equal(inside(&s, make_a_file), EACCES);
    assert_int_equal(inside(&s, open_handed), 0);
    assert_int_not_equal(inside(&s, open_handed_to_write), 0);
    if (syscall(444, NULL, 0, 1) >= 4)
        assert_int_equal(inside(&s, connect_tcp), EACCES);
    if (syscall(444, NULL, 0, 1) >= 6)
        assert_int_equal(inside(&s, signal_the_parent), EPERM);
    s.n_files = 0;
    assert_int_equal(inside(&s, open_handed), EACCES);
    close(handed);
}

static void seccomp_alone_leaves_computing(void **state) {
    (void)state;
    int files[2];
    struct bt_sandbox s = {.files = files, .no_landlock = true};
    assert_int_equal(inside(&s, open_passwd), EPERM);
    assert_int_equal(inside(&s, make_a_file), EPERM);
    assert_int_equal(inside(&s, signal_the_parent), EPERM);
    assert_int_equal(inside(&s, connect_tcp), 100 + EPERM);
    assert_int_equal(inside(&s, set_limit_by_pointer), EPERM);
    assert_int_equal(inside(&s, fork_by_flags), EPERM);
    assert_int_equal(inside(&s, unknown_call), ENOSYS);
    assert_int_equal(inside(&s, start_threads), 0);
    assert_int_equal(inside(&s, raise_abort), 200 + SIGABRT);
    /* the pieces of a split model are opened anew, for reading */
    handed = files[0] = files[1] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    s.n_files = 2;
    assert_int_equal(inside(&s, open_handed), 0);
    assert_int_equal(inside(&s, open_handed_to_write), EPERM);
    close(handed);
}

static int start_a_program(void) {
    char *argv[] = {NULL};
    execve("/bin/true", argv, argv);
    return errno;
}

/* What an owner of a lone model and its projector enters: the projector is opened by its path, and nothing else is. */
static void a_projector_is_opened_and_nothing_else(void **state) {
    (void)state;
    int files[2] = {open("/proc/self/exe", O_RDONLY | O_CLOEXEC), open("/etc/hostname", O_RDONLY | O_CLOEXEC)};
    struct bt_sandbox s = {.files = files, .n_files = 2};
    if (!landlock_is_here() || files[1] < 0)
        skip();
    handed = files[1];
    assert_int_equal(inside(&s, open_handed), 0);
    assert_int_equal(inside(&s, open_handed_to_write), EPERM);
    assert_int_equal(inside(&s, open_passwd), EACCES);
    assert_int_equal(inside(&s, point_at_passwd), EPERM);
    assert_int_equal(inside(&s, make_a_file), EPERM);
    assert_int_equal(inside(&s, start_a_program), EPERM);
    handed = open("/etc/passwd", O_RDONLY | O_CLOEXEC); /* open, and not handed over */
    assert_int_equal(inside(&s, open_handed), EACCES);
    close(handed);
    close(files[0]);
    close(files[1]);
}

/* Without Landlock two files would open all: that is told, so that a projector is not loaded there. */
static int is_closed(bool no_landlock, bool no_seccomp, size_t n_files) {
    int files[2] = {0, 0}, status;
    pid_t child = fork();
    if (child == 0) {
        struct bt_sandbox s = {files, n_files, .no_landlock = no_landlock, .no_seccomp = no_seccomp};
        struct bt_buf told = BT_BUF_INIT;
        files[0] = files[1] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        _exit(bt_sandbox_enter(&s, &told));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}
static void who_could_open_others_is_told(void **state) {
    (void)state;
    if (landlock_is_here())
        assert_int_equal(is_closed(false, false, 2), 1);
    assert_int_equal(is_closed(true, false, 2), 0);
    assert_int_equal(is_closed(true, false, 1), 1);
    assert_int_equal(is_closed(true, true, 1), 0);
}

static int read_the_disk(void) {
    DIR *dev = opendir("/dev");
    return dev ? 0 : errno;
}
static int open_null(void) {
    return open("/dev/null", O_RDWR) < 0 ? errno : 0;
}

static void drivers_get_their_devices_and_not_all_of_dev(void **state) {
    (void)state;
    struct bt_sandbox s = {.gpu = true};
    if (!landlock_is_here())
        skip();
    assert_int_equal(inside(&s, open_null), 0);
    assert_int_equal(inside(&s, read_the_disk), EACCES);
    assert_int_equal(inside(&s, signal_the_parent), EPERM);
    assert_int_equal(inside(&s, connect_tcp), 100 + EPERM);
}

static bool has_core(const char *dir) {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "%s/core", dir);
    bool has = stat(path, &st) == 0;
    unlink(path);
    return has;
}

static void a_core_file_is_left_by_option_only(void **state) {
    (void)state;
    char dir[] = "/tmp/baton-core-XXXXXX", pattern[64] = "", here[4096];
    struct rlimit r;
    int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY), pid = 0;
    ssize_t n = fd >= 0 ? read(fd, pattern, sizeof pattern - 1) : 0;
    close(fd);
    fd = open("/proc/sys/kernel/core_uses_pid", O_RDONLY);
    char uses = '0';
    if (fd >= 0 && read(fd, &uses, 1) == 1)
        pid = uses != '0';
    close(fd);
    if (n <= 0 || strcmp(pattern, "core\n") != 0 || pid || getrlimit(RLIMIT_CORE, &r) != 0 || r.rlim_max == 0)
        skip(); /* this machine writes core files elsewhere, or none */
    assert_non_null(getcwd(here, sizeof here));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    struct bt_sandbox s = {.core = true};
    assert_int_equal(inside(&s, raise_abort), 200 + SIGABRT);
    assert_true(has_core(dir));
    r.rlim_cur = r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_CORE, &r), 0);
    s.core = false;
    assert_int_equal(inside(&s, raise_abort), 200 + SIGABRT);
    assert_false(has_core(dir));
    assert_int_equal(chdir(here), 0);
    rmdir(dir);
}

static void what_is_missing_is_said(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct bt_buf told = BT_BUF_INIT;
        bt_sandbox_enter(&(struct bt_sandbox){.no_landlock = true}, &told);
        bt_buf_add(&told, "", 1);
        _exit(strcmp((char *)told.data, "no_new_privs, seccomp; no landlock (switched off)") != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(landlock_alone_leaves_what_was_handed),
        cmocka_unit_test(seccomp_alone_leaves_computing),
        cmocka_unit_test(a_projector_is_opened_and_nothing_else),
        cmocka_unit_test(who_could_open_others_is_told),
        cmocka_unit_test(drivers_get_their_devices_and_not_all_of_dev),
        cmocka_unit_test(a_core_file_is_left_by_option_only),
        cmocka_unit_test(what_is_missing_is_said),
    };
    return bt_test_run(tests, argc, argv);
}
