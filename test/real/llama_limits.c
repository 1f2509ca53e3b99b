/* What no program should ask, over libllama and the built-in model. */
#include "api_limits.h"

static void no_time_to_run_is_a_timeout(void **state) {
    (void)state;
    no_time_to_run_is_a_timeout_under_every_policy(NULL);
}

static void an_id_of_batons_own_is_refused(void **state) {
    (void)state;
    an_id_of_batons_own_is_refused_under_every_policy(NULL);
}

static void nothing_where_something_is_needed(void **state) {
    (void)state;
    nothing_where_something_is_needed_is_misuse(NULL);
}

static void an_id_is_its_streams(void **state) {
    (void)state;
    an_id_is_its_streams_until_that_is_closed(NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_time_to_run_is_a_timeout),
        cmocka_unit_test(nothing_where_something_is_needed),
        cmocka_unit_test(an_id_of_batons_own_is_refused),
        cmocka_unit_test(an_id_is_its_streams),
    };
    return bt_test_run(tests, argc, argv);
}
