/* All of llama.h at once, over the fake native. */
#include "api_storm.h"

#include <signal.h>
#include <time.h>

#include "fake_left.h"
#include "owner_pids.h"

static void everything_at_once(void **state) {
    (void)state;
    storm("fake:len=60,step_us=30", 60, bt_test_seed());
}

/* So many of them, however quick the rest is: the last ones may find nobody asking. */
static bool kill_an_owner(void) {
    enum { KILLS = 10 };
    static int kills;
    pid_t owner;
    if (owners(&owner) > 0) {
        kill(owner, SIGKILL);
        kills++;
    }
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    return kills < KILLS;
}

/* Nobody notices that owners come and go: the answers and the statuses are the same. */
static void everything_at_once_while_owners_are_killed(void **state) {
    (void)state;
    storm_under("fake:len=60,step_us=30", API_POLICIES - 1, 200, bt_test_seed(), kill_an_owner);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_at_once_while_owners_are_killed, setup, teardown)};
    return bt_test_run(tests, argc, argv);
}
