/* Limits, and the order of the sandbox's parts. */
#include "child/sandbox.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FILES_MAX = 64 }; /* beyond what it was handed: pipes, and copies while a model is loaded */

static void limit(int what, rlim_t most) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) == 0) {
        r.rlim_max = BT_MIN(r.rlim_max, most);
        r.rlim_cur = BT_MIN(r.rlim_cur, most);
        setrlimit((__rlimit_resource_t)what, &r);
    }
}

static void set_limits(const struct bt_sandbox *s) {
    if (s->core) {
        struct rlimit r;
        if (getrlimit(RLIMIT_CORE, &r) == 0) {
            r.rlim_cur = r.rlim_max;
            setrlimit(RLIMIT_CORE, &r);
        }
    } else {
        limit(RLIMIT_CORE, 0);
        /* a core that is piped to a program does not ask for the limit */
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (chdir("/") != 0)
            bt_log(BATON_LOG_DEBUG, "the owner stays in its directory");
    }
    if (!s->gpu)
        limit(RLIMIT_NOFILE, (rlim_t)(s->n_files + FILES_MAX));
}

static void tell(struct bt_buf *told, const char *what, bool holds, const char *why, struct bt_buf *missing) {
    if (holds)
        bt_buf_addf(told, "%s%s", told->len ? ", " : "", what);
    else
        bt_buf_addf(missing, "; no %s (%s)", what, why);
}

bool bt_sandbox_enter(const struct bt_sandbox *s, struct bt_buf *told) {
    struct bt_buf missing = BT_BUF_INIT;
    const char *why = "switched off";
    set_limits(s);
    bool closed, holds = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    tell(told, "no_new_privs", holds, "the kernel refuses it", &missing);
    holds = closed = !s->no_landlock && bt_landlock_enter(s, &why);
    tell(told, "landlock", holds, why, &missing);
    why = "switched off";
    holds = !s->no_seccomp && bt_seccomp_enter(s, &why);
    closed = closed || (holds && !bt_seccomp_opens(s));
    tell(told, "seccomp", holds, why, &missing);
    bt_buf_add(told, missing.data, missing.len);
    if (s->gpu)
        bt_buf_adds(told, "; open to GPU devices and their drivers");
    bt_buf_free(&missing);
    return closed;
}
