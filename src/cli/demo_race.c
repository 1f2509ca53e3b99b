/* Part (a): what two threads on one raw context do, a child process per trial. State: none. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/demo.h"
#include "native/race.h"

enum { HANG_MS = 5000, EXIT_WRONG = 10, EXIT_ERROR = 11, RACE_TOKENS = 48 };

/* In the child: a crash is its own affair, and silent. One that hangs does not outlive the demo. */
static void trial(struct bt_race *race, enum bt_race_lock lock, pid_t parent) {
    struct rlimit none = {0, 0};
    enum bt_race_verdict verdict = BT_RACE_ERROR;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(EXIT_ERROR);
    setrlimit(RLIMIT_CORE, &none);
    dup2(null, STDERR_FILENO);
    if (bt_race_trial(race, lock, &verdict, NULL))
        verdict = BT_RACE_ERROR;
    _exit(verdict == BT_RACE_RIGHT ? 0 : verdict == BT_RACE_WRONG ? EXIT_WRONG : EXIT_ERROR);
}

static void judge(pid_t pid, struct bt_demo_row *row) {
    int status = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd fd = {pidfd, POLLIN, 0};
    bool hang = pidfd >= 0 && poll(&fd, 1, HANG_MS) == 0;
    if (hang)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pidfd >= 0)
        close(pidfd);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (hang)
        row->hang++;
    else if (code == 0)
        row->right++;
    else if (code == EXIT_WRONG)
        row->wrong++;
    else if (code == EXIT_ERROR)
        row->error++;
    else
        row->crash++;
}

static baton_status trials(const struct bt_demo *d, struct bt_race *race, enum bt_race_lock lock,
                           struct bt_demo_row *row, baton_error *err) {
    for (int i = 0; i < d->trials; i++) {
        fflush(NULL);
        pid_t parent = getpid(), pid = fork();
        if (pid == 0)
            trial(race, lock, parent);
        if (pid < 0)
            return bt_fail(err, BATON_IO, "no child process for a trial: %s", strerror(errno));
        judge(pid, row);
        if (d->live) {
            printf("\r  trial %d of %d: %d right, %d silently wrong, %d error, %d crash, %d hang ", i + 1, d->trials,
                   row->right, row->wrong, row->error, row->crash, row->hang);
            fflush(stdout);
        }
    }
    if (d->live)
        putchar('\n');
    return BATON_OK;
}

baton_status bt_demo_race(const struct bt_demo *d, struct bt_demo_row rows[2], baton_error *err) {
    struct bt_race_params params = {.path = d->model->file, .threads = 2, .tokens = RACE_TOKENS};
    struct bt_race *race;
    snprintf(rows[0].name, sizeof rows[0].name, "no baton: no lock");
    snprintf(rows[1].name, sizeof rows[1].name, "no baton: a lock around each decode");
    setenv("GGML_NO_BACKTRACE", "1", 1); /* else an assert starts a debugger */
    baton_status status = bt_race_open(&params, &race, err);
    if (status)
        return status;
    status = trials(d, race, BT_RACE_NO_LOCK, &rows[0], err);
    if (!status)
        status = trials(d, race, BT_RACE_LOCK_DECODE, &rows[1], err);
    bt_race_close(race);
    return status;
}
