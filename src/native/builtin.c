/* Where the built-in model lies. State: one path per thread, rewritten by each call. */
#include "native/native.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "baton-tiny-q8_0.gguf"

static bool is_there(char path[PATH_MAX], const char *dir, const char *below) {
    int n = snprintf(path, PATH_MAX, "%s%s/" FILE_NAME, dir, below);
    return n > 0 && n < PATH_MAX && access(path, R_OK) == 0;
}

/* Of the library or program that this code is in: it may have been installed elsewhere than it was made for. */
static bool is_beside_this_code(char path[PATH_MAX]) {
    static const char *const beside[] = {"/../share/baton", "/../../share/baton"};
    Dl_info where;
    char *file = dladdr((void *)(uintptr_t)is_there, &where) ? realpath(where.dli_fname, NULL) : NULL;
    char *slash = file ? strrchr(file, '/') : NULL;
    bool found = false;
    if (slash)
        *slash = '\0';
    for (size_t i = 0; slash && i < BT_COUNT(beside) && !found; i++)
        found = is_there(path, file, beside[i]);
    free(file);
    return found;
}

const char *bt_builtin_model_path(void) {
    static _Thread_local char path[PATH_MAX];
    static const char *const beside[] = {"", "/../share/baton", "/../models", "/../../../models"};
    const char *dir = getenv("BATON_MODEL_DIR");
    if (dir && *dir && is_there(path, dir, ""))
        return path;
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0) {
        program[n] = '\0';
        char *slash = strrchr(program, '/');
        if (slash)
            *slash = '\0';
        for (size_t i = 0; i < BT_COUNT(beside); i++)
            if (is_there(path, program, beside[i]))
                return path;
    }
    return is_beside_this_code(path) || is_there(path, BATON_DATA_DIR, "") ? path : NULL;
}

baton_status bt_builtin_model(const char **path, baton_error *err) {
    *path = bt_builtin_model_path();
    return *path ? BATON_OK
                 : bt_fail(err, BATON_NOT_FOUND,
                           "the built-in model (" FILE_NAME ") is neither in $BATON_MODEL_DIR, nor beside the program, "
                           "nor in " BATON_DATA_DIR ": give a GGUF file, or set BATON_MODEL_DIR");
}
