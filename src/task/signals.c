/* SIGTERM and SIGINT. A handler, not signalfd: threads of libraries do not block them.
 * State: the process's; set by the thread that takes and gives back, counted by handlers on any thread. */
#include "task/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "task/worker.h"

static int fd = -1;
static volatile sig_atomic_t in_loop;
static int seen;
static const int NUMBERS[] = {SIGTERM, SIGINT, SIGPIPE};
static struct sigaction before[BT_COUNT(NUMBERS)];

enum { PATIENCE = 2 /* signals that the loop is trusted to notice */ };

static void on_signal(int number) {
    int kept = errno;
    uint64_t one = 1;
    if (!in_loop || __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) > PATIENCE)
        _exit(128 + number);
    (void)!write(fd, &one, sizeof one);
    errno = kept;
}

int bt_signals_fd(void) {
    return fd;
}

void bt_signals_hush(void) {
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
}

int bt_signals_seen(void) {
    return __atomic_load_n(&seen, __ATOMIC_SEQ_CST);
}

void bt_signals_to_loop(void) {
    in_loop = fd >= 0;
}

void bt_worker_signals_take(void) {
    if (fd < 0)
        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (size_t i = 0; i < BT_COUNT(NUMBERS); i++) {
        struct sigaction action = {.sa_handler = NUMBERS[i] == SIGPIPE ? SIG_IGN : on_signal, .sa_flags = SA_RESTART};
        sigaction(NUMBERS[i], &action, &before[i]);
    }
}

void bt_worker_signals_give_back(void) {
    for (size_t i = 0; i < BT_COUNT(NUMBERS); i++)
        sigaction(NUMBERS[i], &before[i], NULL);
    in_loop = 0;
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
}

/* The number in the environment, over the one on the command line. */

static baton_status from(const char *name, int *n, baton_error *err) {
    const char *text = getenv(name);
    char *end;
    if (!text)
        return BATON_OK;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < 1 || value > BT_WORKERS_MAX)
        return bt_fail(err, BATON_INVALID, "%s is \"%.60s\": expected a whole number from 1 to %d", name, text,
                       BT_WORKERS_MAX);
    *n = (int)value;
    return BATON_OK;
}

baton_status bt_workers_from_environment(int *n, baton_error *err) {
    baton_status status = from("RUNQY_PYTHON_WORKERS", n, err);
    return status ? status : from("BATON_WORKERS", n, err);
}
