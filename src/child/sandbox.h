/* What an owner process takes from itself before it looks at a model file, which may be hostile: files, network, other
 * processes. State: none; what is taken is gone for the process. */
#ifndef BT_SANDBOX_H
#define BT_SANDBOX_H

#include "base/base.h"

struct bt_sandbox {
    const int *files; /* descriptors that may be opened anew for reading, as /proc/self/fd/N; a library does so when
                       * there are more than one, and what else it may open is then Landlock's to say alone */
    size_t n_files;
    bool opens;                   /* the library does so with a single one, too */
    bool gpu;                     /* drivers are loaded and devices used: much more is allowed */
    bool core;                    /* a core file may be left */
    bool no_landlock, no_seccomp; /* for tests of the other one */
};

/* Limits, no_new_privs, Landlock, seccomp, in this order. For the first thread, before there are others. What the
 * kernel lacks is left out. `told` gets one line: what holds, and what is missing. False: a file that was not handed
 * over can be opened, for want of Landlock. */
bool bt_sandbox_enter(const struct bt_sandbox *s, struct bt_buf *told);

/* The two halves; true: it holds. `why` is set otherwise. */
bool bt_landlock_enter(const struct bt_sandbox *s, const char **why);
bool bt_seccomp_enter(const struct bt_sandbox *s, const char **why);
bool bt_seccomp_opens(const struct bt_sandbox *s); /* its list has the opening of files, of whatever path */

#endif
