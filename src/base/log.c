/* Log lines. State: the level and the handler, atomic words set at start. */
#include "base/base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef void log_handler(void *arg, baton_log_level level, const char *line);
int bt_log_level_now = BATON_LOG_INFO;
static log_handler *_Atomic handler_now;
static void *_Atomic handler_arg;

void bt_log_set_level(baton_log_level level) {
    __atomic_store_n(&bt_log_level_now, (int)level, __ATOMIC_RELAXED);
}

baton_log_level bt_log_level(void) {
    return (baton_log_level)__atomic_load_n(&bt_log_level_now, __ATOMIC_RELAXED);
}

void bt_log_set_handler(log_handler *handler, void *arg) {
    atomic_store(&handler_now, NULL);
    atomic_store(&handler_arg, arg);
    atomic_store(&handler_now, handler);
}

void bt_log(baton_log_level level, const char *format, ...) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > bt_log_level())
        return;
    char line[1024];
    log_handler *handler = atomic_load(&handler_now);
    int at = handler ? 0 : snprintf(line, sizeof line, "baton: %s: ", names[level]);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, sizeof line - (size_t)at - 1, format, args);
    va_end(args);
    bt_line_clean(line);
    if (handler) {
        handler(atomic_load(&handler_arg), level, line);
        return;
    }
    size_t len = strlen(line);
    line[len++] = '\n';
    /* one write, so that lines of several threads and processes stay whole */
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written;
}
