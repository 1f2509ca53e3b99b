/* Models and adapters with random weights, made by tools/make_gguf.py in the working directory. */
#ifndef BT_MADE_H
#define BT_MADE_H

#include "harness.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

/* The arguments end with NULL. The file's name is written to `path`; the test removes it. */
static inline void make_gguf(const char *name, const char *const *args, char path[256]) {
    const char *tools = getenv("BATON_TOOLS");
    char script[512], python[] = "python3", *argv[40] = {python, script, path};
    int n = 3, status;
    pid_t child;
    assert_non_null(tools);
    snprintf(script, sizeof script, "%s/make_gguf.py", tools);
    mkdir("made", 0777);
    snprintf(path, 256, "made/%s-%d.gguf", name, (int)getpid());
    for (int i = 0; args[i]; i++)
        argv[n++] = (char *)args[i];
    assert_int_equal(posix_spawnp(&child, python, NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#endif
