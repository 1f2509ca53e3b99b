/* Which program, and what of this process's environment it gets to see. State: none. */
#include "ipc/spawn_program.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "baton-owner"

/* True: it is there, and *path says where. `tried` grows else. */
static bool is_there(char path[PATH_MAX], const char *dir, const char *below, struct bt_buf *tried) {
    int n = snprintf(path, PATH_MAX, "%s%s/" PROGRAM, dir, below);
    if (n > 0 && n < PATH_MAX && access(path, X_OK) == 0)
        return true;
    bt_buf_addf(tried, "%s%s", tried->len ? ", " : "", path);
    return false;
}

static bool is_beside(char path[PATH_MAX], const char *file, struct bt_buf *tried) {
    static const char *const below[] = {"", "/../libexec/baton", "/../../libexec/baton"};
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", file);
    char *slash = strrchr(dir, '/');
    if (!slash)
        return false;
    *slash = '\0';
    for (size_t i = 0; i < BT_COUNT(below); i++)
        if (is_there(path, dir, below[i], tried))
            return true;
    return false;
}

baton_status bt_owner_program(char path[PATH_MAX], baton_error *err) {
    struct bt_buf tried = BT_BUF_INIT;
    const char *own = secure_getenv("BATON_OWNER");
    char program[PATH_MAX];
    Dl_info here;
    if (own && *own) {
        if (strlen(own) < PATH_MAX && access(own, X_OK) == 0) {
            memcpy(path, own, strlen(own) + 1);
            return BATON_OK;
        }
        return bt_fail(err, BATON_NOT_FOUND,
                       "BATON_OWNER is %.200s, and there is no program: set it to the path of " PROGRAM
                       ", or unset it, or use owner = thread",
                       own);
    }
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    bool found = is_beside(path, program, &tried) ||
                 (dladdr((void *)bt_owner_program, &here) && here.dli_fname && strcmp(here.dli_fname, program) != 0 &&
                  is_beside(path, here.dli_fname, &tried)) ||
                 is_there(path, BATON_LIBEXEC_DIR, "", &tried);
    bt_buf_add(&tried, "", 1);
    baton_status status = BATON_OK;
    if (!found)
        status = bt_fail(err, BATON_NOT_FOUND,
                         "the program " PROGRAM " is not installed; looked at %s: set BATON_OWNER to its path, or use "
                         "owner = thread",
                         tried.failed ? "" : (char *)tried.data);
    bt_buf_free(&tried);
    return status;
}

/* What native libraries ask for, and no place where people keep secrets. A name that ends with '*' is a prefix. */
static const char *const PASSED[] = {
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "OMP_*",
    "GOMP_*",
    "KMP_*",
    "CUDA_*",
    "NVIDIA_*",
    "HIP_*",
    "ROCR_*",
    "HSA_*",
    "GGML_*",
    "ZE_*",
    "SYCL_*",
    "ONEAPI_DEVICE_SELECTOR",
    "VK_*",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "TSAN_OPTIONS",
};

static bool is_passed(const char *entry) {
    for (size_t i = 0; i < BT_COUNT(PASSED); i++) {
        size_t n = strlen(PASSED[i]);
        bool prefix = PASSED[i][n - 1] == '*';
        if (strncmp(entry, PASSED[i], prefix ? n - 1 : n) == 0 && (prefix || entry[n] == '='))
            return true;
    }
    return false;
}

/* name=value, unless the name is in the list. */
static bool add(char **list, size_t *n, const char *name, const char *value) {
    size_t len = strlen(name);
    for (size_t i = 0; i < *n; i++)
        if (strncmp(list[i], name, len) == 0 && list[i][len] == '=')
            return true;
    size_t size = len + strlen(value) + 2;
    char *entry = malloc(size);
    if (!entry)
        return false;
    snprintf(entry, size, "%s=%s", name, value);
    list[(*n)++] = entry;
    return true;
}

char **bt_owner_environment(int contexts, int threads) {
    extern char **environ;
    size_t n = 0, room = 4, cpus = 1;
    char number[16];
    cpu_set_t set;
    bool ok = true;
    for (char **e = environ; e && *e; e++)
        room++;
    char **list = calloc(room, sizeof *list);
    if (!list)
        return NULL;
    for (char **e = environ; e && *e; e++)
        if (is_passed(*e)) {
            list[n] = strdup(*e);
            ok &= list[n] != NULL;
            n += list[n] != NULL;
        }
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cpus = (size_t)CPU_COUNT(&set);
    snprintf(number, sizeof number, "%d", threads);
    ok = ok && add(list, &n, "GGML_NO_BACKTRACE", "1"); /* it would start a debugger */
    ok = ok && add(list, &n, "OMP_NUM_THREADS", number);
    /* Threads that wait for each other by spinning are quick on cores of their own, and stand still where other
     * contexts need the same cores. */
    if (threads > 1 && (size_t)contexts * (size_t)threads > cpus)
        ok = ok && add(list, &n, "OMP_WAIT_POLICY", "passive");
    if (!ok) {
        bt_owner_environment_free(list);
        return NULL;
    }
    return list;
}

void bt_owner_environment_free(char **list) {
    for (char **e = list; e && *e; e++)
        free(*e);
    free(list);
}
