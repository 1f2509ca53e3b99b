/* Owner processes that the kernel refuses half of: whatever fails at a start, no process and no descriptor is left of
 * it. The linker puts this file between the library and syscall(2), hides pidfd_spawn, which older C libraries do not
 * have, and makes START frames of other versions (--wrap). */
#include "child_util.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "owner_pids.h"

static int pidfd_opens = -1; /* so many are granted; < 0: all */

long __real_syscall(long number, ...);
void *__real_dlsym(void *handle, const char *name);
long __wrap_syscall(long number, ...);
void *__wrap_dlsym(void *handle, const char *name);

long __wrap_syscall(long number, ...) {
    long a[6];
    va_list args;
    va_start(args, number);
    for (size_t i = 0; i < BT_COUNT(a); i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_pidfd_open && pidfd_opens >= 0 && pidfd_opens-- == 0) {
        errno = EMFILE;
        return -1;
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void *__wrap_dlsym(void *handle, const char *name) {
    return strcmp(name, "pidfd_spawn") == 0 ? NULL : __real_dlsym(handle, name);
}

static unsigned versions_apart;
void __real_bt_put_start(struct bt_buf *b, const struct bt_start *s);
void __wrap_bt_put_start(struct bt_buf *b, const struct bt_start *s);
void __wrap_bt_put_start(struct bt_buf *b, const struct bt_start *s) {
    size_t at = b->len;
    __real_bt_put_start(b, s);
    b->data[at + BT_FRAME_HEADER] += (unsigned char)versions_apart;
}

static int descriptors(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* The first is the front's own, for the owner to watch; the second is the owner's, for the front. */
static void starts_are_refused(void) {
    struct bt_spawn_params params = child_params("fake:");
    struct bt_spawn *s;
    baton_error err;
    pid_t any;
    int fd, before;
    pidfd_opens = -1;
    assert_int_equal(bt_spawn_open(&params, &s, &err), BATON_OK);
    before = descriptors();
    for (int granted = 0; granted < 2; granted++) {
        pidfd_opens = granted;
        assert_int_equal(bt_spawn_start(s, 0, &fd, &err), BATON_IO);
        assert_non_null(strstr(err.text, strerror(EMFILE)));
        assert_int_equal(descriptors(), before);
        assert_int_equal(owners(&any), 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
    }
    pidfd_opens = -1;
    bt_spawn_close(&s);
    struct child c; /* and it can be started when there is room again */
    struct bt_frame_ready ready;
    child_open(&c, "fake:");
    assert_true(child_ready(&c, &ready, &err));
    child_close(&c);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_start_that_fails_half_way_leaves_nothing(void **state) {
    (void)state;
    alarm(60); /* a child that is waited for and does not end */
    starts_are_refused();
    signal(SIGCHLD, SIG_IGN);
    starts_are_refused();
    signal(SIGCHLD, SIG_DFL);
    alarm(0);
}

static void a_front_of_another_version_is_told_so(void **state) {
    (void)state;
    struct child c;
    struct bt_frame_ready ready;
    baton_error err;
    versions_apart = 1;
    child_open(&c, "fake:");
    versions_apart = 0;
    assert_false(child_ready(&c, &ready, &err));
    assert_int_equal(err.status, BATON_PROTOCOL);
    assert_non_null(strstr(err.text, "not of the same version"));
    assert_non_null(strstr(err.text, "BATON_OWNER"));
    assert_int_equal(child_end(&c).kind, BT_END_EXITED);
    child_close(&c);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_that_fails_half_way_leaves_nothing),
        cmocka_unit_test(a_front_of_another_version_is_told_so),
    };
    return bt_test_run(tests, argc, argv);
}
