/* What no program should ask, over the fake native. */
#include "api_limits.h"

static void no_time_to_run_is_a_timeout(void **state) {
    (void)state;
    no_time_to_run_is_a_timeout_under_every_policy("fake:len=1000000");
}

static void no_time_for_a_vector_is_a_timeout(void **state) {
    (void)state;
    no_time_for_a_vector_is_a_timeout_at_once("fake:");
}

static void an_id_of_batons_own_is_refused(void **state) {
    (void)state;
    an_id_of_batons_own_is_refused_under_every_policy("fake:len=60");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_time_to_run_is_a_timeout),
        cmocka_unit_test(no_time_for_a_vector_is_a_timeout),
        cmocka_unit_test(an_id_of_batons_own_is_refused),
    };
    return bt_test_run(tests, argc, argv);
}
