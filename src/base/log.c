/* Log lines on stderr. The level is the only state: one atomic word, set at start. */
#include "base/base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static _Atomic int level_now = BT_LOG_INFO;

void bt_log_set_level(enum bt_log_level level) {
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

enum bt_log_level bt_log_level(void) {
    return (enum bt_log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

void bt_log(enum bt_log_level level, const char *format, ...) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > bt_log_level())
        return;
    char line[1024];
    int at = snprintf(line, sizeof line, "baton: %s: ", names[level]);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + at, sizeof line - (size_t)at - 1, format, args);
    va_end(args);
    size_t len = BT_MIN((size_t)at + (size_t)BT_MAX(n, 0), sizeof line - 2);
    line[len++] = '\n';
    /* one write, so that lines of several threads and processes stay whole */
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written;
}
