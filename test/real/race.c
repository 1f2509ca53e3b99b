/* Sharing a raw native context: what the demonstration shows, and that the lock over the whole transaction is enough.
 */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native/race.h"

enum outcome { RIGHT, WRONG, FAILED, CRASH, HANG, OUTCOMES };

static struct bt_race *race;

/* A trial in a child, which may die of it. */
static enum outcome trial(enum bt_race_lock lock) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        enum bt_race_verdict verdict;
        baton_error err;
        if (!freopen("/dev/null", "w", stderr))
            _exit(100);
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        alarm(20);
        _exit(bt_race_trial(race, lock, &verdict, &err) == BATON_OK ? (int)verdict : 100);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? HANG : CRASH;
    assert_in_range(WEXITSTATUS(status), BT_RACE_RIGHT, BT_RACE_ERROR);
    return (enum outcome)WEXITSTATUS(status);
}

static void trials(const char *name, enum bt_race_lock lock, int n, int counts[OUTCOMES]) {
    for (int i = 0; i < OUTCOMES; i++)
        counts[i] = 0;
    for (int i = 0; i < n; i++)
        counts[trial(lock)]++;
    print_message("%s: right %d, wrong %d, error %d, crash %d, hang %d\n", name, counts[RIGHT], counts[WRONG],
                  counts[FAILED], counts[CRASH], counts[HANG]);
}

static void probe_P08_a_lock_over_decode_and_reading_is_right_every_time(void **state) {
    (void)state;
    int counts[OUTCOMES];
    trials("lock over the transaction", BT_RACE_LOCK_TRANSACTION, 25, counts);
    assert_int_equal(counts[RIGHT], 25);
}

/* If this fails, the fault that baton cures has become rare on this machine, and the demonstration says too much. */
static void sharing_without_a_lock_goes_wrong(void **state) {
    (void)state;
    int counts[OUTCOMES];
    trials("no lock", BT_RACE_NO_LOCK, 25, counts);
    assert_true(counts[RIGHT] < 25);
    trials("lock around decode", BT_RACE_LOCK_DECODE, 25, counts);
    assert_true(counts[RIGHT] < 25);
}

static void a_race_needs_two_threads_and_a_model(void **state) {
    (void)state;
    struct bt_race *r;
    baton_error err;
    assert_int_equal(bt_race_open(&(struct bt_race_params){.threads = 1, .tokens = 8}, &r, &err), BATON_INVALID);
    assert_int_equal(bt_race_open(&(struct bt_race_params){.path = "/no/such", .threads = 2, .tokens = 8}, &r, &err),
                     BATON_NOT_FOUND);
    assert_null(r);
}

static int set_up(void **state) {
    (void)state;
    baton_error err;
    struct bt_race_params params = {.threads = 2, .tokens = 64};
    if (bt_race_open(&params, &race, &err) != BATON_OK)
        fail_msg("%s", err.text);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bt_race_close(race);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P08_a_lock_over_decode_and_reading_is_right_every_time),
        cmocka_unit_test(sharing_without_a_lock_goes_wrong),
        cmocka_unit_test(a_race_needs_two_threads_and_a_model),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
