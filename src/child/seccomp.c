/* seccomp: a list of the system calls that computing takes; every other one fails with an errno, because libraries
 * probe for what there is. The filter is a few dozen lines of classic BPF, written here: libseccomp would be one more
 * library in a process that is to have few.
 *
 * A rule is a call, and perhaps one condition on one argument. BPF has words of 32 bits: EQUAL looks at both halves,
 * the others are for arguments of which the kernel takes only the lower one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/sandbox.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

enum test {
    ALWAYS,
    EQUAL,  /* the argument is `value` */
    UP_TO,  /* it is no more */
    HAS,    /* all bits of `value` are set */
    HAS_NO, /* none is */
};
struct rule {
    int nr;
    enum test test;
    unsigned argument;
    uint32_t value;
};

#define CALL(name)                                                                                                     \
    { __NR_##name, ALWAYS, 0, 0 }
#define CALL_IF(name, ...)                                                                                             \
    { __NR_##name, __VA_ARGS__ }

static const struct rule COMPUTING[] = {
    /* memory */
    CALL(mmap),
    CALL(munmap),
    CALL(mremap),
    CALL(mprotect),
    CALL(madvise),
    CALL(brk),
    CALL(membarrier),
    CALL(mincore),
    CALL(mlock),
    CALL(munlock),
    /* what is open already */
    CALL(read),
    CALL(readv),
    CALL(pread64),
    CALL(preadv),
    CALL(write),
    CALL(writev),
    CALL(close),
    CALL(lseek),
    CALL(fstat),
    CALL_IF(newfstatat, HAS, 3, AT_EMPTY_PATH),
    CALL_IF(fcntl, UP_TO, 1, F_SETFL),
    CALL_IF(fcntl, EQUAL, 1, F_DUPFD_CLOEXEC),
    CALL(ppoll),
    CALL(pipe2),
    CALL(recvfrom),
    CALL(sendto),
    CALL(recvmsg),
    CALL(shutdown),
    /* threads, never processes */
    CALL_IF(clone, HAS, 0, CLONE_VM | CLONE_THREAD),
    CALL(futex),
    CALL(set_robust_list),
    CALL(sched_yield),
    CALL(sched_getaffinity),
    CALL(exit),
    CALL(exit_group),
    CALL(gettid),
    CALL(getpid),
    CALL(getppid),
    CALL(getcpu),
    CALL_IF(prctl, EQUAL, 0, PR_SET_NAME),
    CALL_IF(prctl, EQUAL, 0, PR_GET_NAME),
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(sigaltstack),
    CALL(restart_syscall),
    /* time, chance, facts */
    CALL(clock_gettime),
    CALL(clock_getres),
    CALL(clock_nanosleep),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(getrandom),
    CALL(sysinfo),
    CALL(uname),
    CALL(getrusage),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL_IF(prlimit64, EQUAL, 2, 0),
#ifdef __NR_poll
    CALL(poll),
#endif
#ifdef __NR_rseq
    CALL(rseq),
#endif
#ifdef __NR_arch_prctl
    CALL(arch_prctl),
#endif
};

/* Files that were handed over are opened anew by libllama and libmtmd, for reading; Landlock sees to which. */
enum { WRITING = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC };
/* A path alone says what exists, and Landlock lets anybody have one. */
enum { NOT_READING = WRITING | O_PATH };
static const struct rule OPENING[] = {
    CALL_IF(openat, HAS_NO, 2, NOT_READING),
#ifdef __NR_open
    CALL_IF(open, HAS_NO, 1, NOT_READING),
#endif
};

/* Drivers open devices, load libraries and talk to the kernel in ways of their own. */
static const struct rule DEVICES[] = {
    CALL(openat),
    CALL(ioctl),
    CALL(readlinkat),
    CALL(faccessat),
    CALL(getdents64),
    CALL(statx),
    CALL(newfstatat),
    CALL(eventfd2),
    CALL(memfd_create),
    CALL(ftruncate),
    CALL(sched_setaffinity),
    CALL(getcwd),
    CALL(mbind),
    CALL(get_mempolicy),
    CALL(set_mempolicy),
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_pwait),
    CALL(fcntl),
    CALL(dup),
    CALL(dup3),
    CALL(setsockopt),
    CALL(getsockopt),
    CALL(pwrite64),
    CALL(fallocate),
    CALL(unlinkat),
    CALL(mkdirat),
#ifdef __NR_open
    CALL(open),
    CALL(readlink),
    CALL(access),
    CALL(stat),
    CALL(lstat),
    CALL(epoll_wait),
    CALL(mkdir),
    CALL(unlink),
#endif
};

enum { CODE_MAX = 1024, NEWEST_KNOWN = 450 /* calls beyond are new: libraries try them and fall back on ENOSYS */ };
struct code {
    struct sock_filter at[CODE_MAX];
    unsigned short n;
};

static void add(struct code *c, unsigned short op, unsigned char yes, unsigned char no, uint32_t k) {
    if (c->n < CODE_MAX)
        c->at[c->n++] = (struct sock_filter){op, yes, no, k};
}

static void load(struct code *c, size_t offset) {
    add(c, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void add_rule(struct code *c, const struct rule *r) {
    static const struct {
        unsigned short op;
        bool allow_if; /* the comparison says yes */
    } tests[] = {[EQUAL] = {BPF_JMP | BPF_JEQ | BPF_K, true},
                 [UP_TO] = {BPF_JMP | BPF_JGT | BPF_K, false},
                 [HAS_NO] = {BPF_JMP | BPF_JSET | BPF_K, false}};
    if (r->test == ALWAYS) {
        add(c, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)r->nr);
        add(c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
        return;
    }
    size_t argument = offsetof(struct seccomp_data, args) + r->argument * sizeof(uint64_t);
    unsigned char skip = r->test == EQUAL ? 6 : r->test == HAS ? 5 : 4;
    add(c, BPF_JMP | BPF_JEQ | BPF_K, 0, skip, (uint32_t)r->nr);
    if (r->test == EQUAL) {
        load(c, argument + sizeof(uint32_t)); /* little-endian, as both processors are */
        add(c, BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0);
    }
    load(c, argument);
    if (r->test == HAS) {
        add(c, BPF_ALU | BPF_AND | BPF_K, 0, 0, r->value);
        add(c, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, r->value);
    } else {
        bool allow_if = tests[r->test].allow_if;
        add(c, tests[r->test].op, allow_if ? 0 : 1, allow_if ? 1 : 0, r->value);
    }
    add(c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    load(c, offsetof(struct seccomp_data, nr));
}

static void add_rules(struct code *c, const struct rule *rules, size_t n) {
    for (size_t i = 0; i < n; i++)
        add_rule(c, &rules[i]);
}

bool bt_seccomp_opens(const struct bt_sandbox *s) {
    return s->n_files > 1 || s->opens || s->gpu;
}

static void build(struct code *c, const struct bt_sandbox *s) {
    const struct rule own_signals = CALL_IF(tgkill, EQUAL, 0, (uint32_t)getpid()); /* abort sends itself one */
    load(c, offsetof(struct seccomp_data, arch));
    add(c, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCH);
    add(c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS);
    load(c, offsetof(struct seccomp_data, nr));
    add_rules(c, COMPUTING, BT_COUNT(COMPUTING));
    add_rule(c, &own_signals);
    if (bt_seccomp_opens(s))
        add_rules(c, OPENING, BT_COUNT(OPENING));
    if (s->gpu)
        add_rules(c, DEVICES, BT_COUNT(DEVICES));
    /* clone3's flags lie in memory, where a filter cannot look: glibc falls back to clone */
    add(c, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, __NR_clone3);
    add(c, BPF_JMP | BPF_JGT | BPF_K, 0, 1, NEWEST_KNOWN);
    add(c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS);
    add(c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM);
}

bool bt_seccomp_enter(const struct bt_sandbox *s, const char **why) {
    struct code code = {.n = 0};
    if (ARCH == 0) {
        *why = "there is no list of system calls for this processor";
        return false;
    }
    build(&code, s);
    struct sock_fprog program = {code.n, code.at};
    if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
        *why = errno == ENOSYS || errno == EINVAL ? "this kernel has none" : strerror(errno);
        return false;
    }
    return true;
}
