/* Landlock: no path can be opened but what was handed over, no TCP port bound or connected, no signal sent outside. The
 * kernel's interface is used directly: there is no library to depend on, and the headers may be older than the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/sandbox.h"

#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif

/* include/uapi/linux/landlock.h: bits of access to files, in the order in which versions of the interface brought them
 */
enum {
    EXECUTE = 1 << 0,
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_DIR = 1 << 3,
    MAKE_REG = 1 << 8,
    FIRST = (1 << 13) - 1, /* all of version 1 */
    REFER = 1 << 13,       /* 2 */
    TRUNCATE = 1 << 14,    /* 3 */
    IOCTL_DEV = 1 << 15,   /* 5 */
    NET_BOTH = 3,          /* 4: bind and connect, TCP */
    SCOPE_BOTH = 3,        /* 6: abstract sockets, signals */
    CREATE_RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    NVIDIA_CARDS = 32,
};

struct ruleset {
    uint64_t fs, net, scoped;
};
struct path_beneath {
    uint64_t access;
    int32_t parent; /* the kernel's has no padding behind it, and does not look there */
};

static long create(const struct ruleset *r, size_t size, unsigned flags) {
    return syscall(__NR_landlock_create_ruleset, r, size, flags);
}

static bool allow(int ruleset, int fd, uint64_t access) {
    struct path_beneath rule = {access, fd};
    return syscall(__NR_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0;
}

static void allow_path(int ruleset, const char *path, uint64_t access) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        access &= ~(uint64_t)(READ_DIR | MAKE_REG | REFER);
    allow(ruleset, fd, access);
    close(fd);
}

/* Where a core file goes: the pattern's directory, or the present one. */
static void allow_core(int ruleset, uint64_t handled) {
    char pattern[256] = "";
    int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, pattern, sizeof pattern - 1) : 0;
    if (fd >= 0)
        close(fd);
    char *slash = n > 0 && pattern[0] != '|' ? strrchr(pattern, '/') : NULL;
    if (slash)
        *slash = '\0';
    if (pattern[0] != '|')
        allow_path(ruleset, slash ? (pattern[0] ? pattern : "/") : ".", handled & (MAKE_REG | WRITE_FILE | TRUNCATE));
}

static void allow_gpu(int ruleset, uint64_t handled) {
    /* not all of /dev, where disks are, too */
    static const char *const devices[] = {"/dev/dri",         "/dev/kfd",
                                          "/dev/accel",       "/dev/nvidiactl",
                                          "/dev/nvidia-uvm",  "/dev/nvidia-uvm-tools",
                                          "/dev/nvidia-caps", "/dev/nvidia-modeset",
                                          "/dev/shm",         "/dev/null",
                                          "/dev/zero",        "/dev/urandom"};
    static const char *const libraries[] = {"/usr", "/lib", "/lib64", "/opt", "/etc", "/nix/store"};
    static const char *const facts[] = {"/sys", "/proc"};
    for (size_t i = 0; i < BT_COUNT(devices); i++)
        allow_path(ruleset, devices[i], handled & (READ_FILE | WRITE_FILE | READ_DIR | IOCTL_DEV));
    for (int i = 0; i < NVIDIA_CARDS; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/nvidia%d", i);
        allow_path(ruleset, path, handled & (READ_FILE | WRITE_FILE | IOCTL_DEV));
    }
    for (size_t i = 0; i < BT_COUNT(libraries); i++)
        allow_path(ruleset, libraries[i], handled & (READ_FILE | READ_DIR | EXECUTE));
    for (size_t i = 0; i < BT_COUNT(facts); i++)
        allow_path(ruleset, facts[i], handled & (READ_FILE | READ_DIR));
}

bool bt_landlock_enter(const struct bt_sandbox *s, const char **why) {
    struct ruleset r = {FIRST, 0, 0};
    long version = create(NULL, 0, CREATE_RULESET_VERSION);
    if (version < 1) {
        *why = errno == EOPNOTSUPP ? "it is switched off at boot" : "this kernel has none";
        return false;
    }
    r.fs |= (version >= 2 ? REFER : 0) | (version >= 3 ? TRUNCATE : 0) | (version >= 5 ? IOCTL_DEV : 0);
    r.net = version >= 4 ? NET_BOTH : 0;
    r.scoped = version >= 6 ? SCOPE_BOTH : 0;
    size_t size = version >= 6 ? sizeof r : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    int ruleset = (int)create(&r, size, 0);
    if (ruleset < 0) {
        *why = strerror(errno);
        return false;
    }
    bool holds = true;
    for (size_t i = 0; i < s->n_files && holds; i++)
        holds = allow(ruleset, s->files[i], READ_FILE);
    if (s->gpu)
        allow_gpu(ruleset, r.fs);
    if (s->core)
        allow_core(ruleset, r.fs);
    holds = holds && syscall(__NR_landlock_restrict_self, ruleset, 0) == 0;
    if (!holds)
        *why = strerror(errno);
    close(ruleset);
    return holds;
}
