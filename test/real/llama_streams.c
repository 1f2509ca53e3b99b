/* Streams over libllama and the built-in model: exact in any company. */
#include "streams.h"

static void thirty_two_streams_equal_their_lone_runs(void **state) {
    (void)state;
    many_streams_equal_their_lone_runs(NULL, 1, 8, 32, 3, 0);
    many_streams_equal_their_lone_runs(NULL, 1, 8, 32, 3, 0.8f);
    many_streams_equal_their_lone_runs(NULL, 2, 1, 16, 3, 0.8f);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thirty_two_streams_equal_their_lone_runs),
    };
    return bt_test_run(tests, argc, argv);
}
