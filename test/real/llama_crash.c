/* Owners over libllama that end: killed at random moments under eight streams ($BATON_KILLS says how many, 30),
 * stopped, at fault. */
#include "crashes.h"

static void probe_P40_killed_owners_are_not_noticed(void **state) {
    (void)state;
    const char *text = getenv("BATON_KILLS");
    int kills = text ? (int)strtol(text, NULL, 10) : 30;
    killed_owners_are_not_noticed(NULL, 1, 8, 40, kills / 2, 0);
    killed_owners_are_not_noticed(NULL, 2, 8, 40, kills - kills / 2, 0.9f);
}

static void probe_P44_an_owner_that_is_stopped_is_not_ready_and_then_not_kept(void **state) {
    (void)state;
    an_owner_that_is_stopped_is_not_kept(NULL);
}

static void probe_P40_killed_owners_cost_no_vector(void **state) {
    (void)state;
    killed_owners_cost_no_vector(NULL);
}

static void probe_P42_a_fault_from_outside_convicts_who_is_there_alone(void **state) {
    (void)state;
    who_is_there_at_two_faults_is_quarantined(NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P40_killed_owners_are_not_noticed),
        cmocka_unit_test(probe_P40_killed_owners_cost_no_vector),
        cmocka_unit_test(probe_P42_a_fault_from_outside_convicts_who_is_there_alone),
        cmocka_unit_test(probe_P44_an_owner_that_is_stopped_is_not_ready_and_then_not_kept),
    };
    bt_log_set_level(BATON_LOG_ERROR);
    return bt_test_run(tests, argc, argv);
}
