/* Streams over the fake native: exact in any company, one outcome each, slots conserved. */
#include "streams.h"

#include "native/fake.h"

#define FAKE "fake:len=60"

static void thirty_two_streams_equal_their_lone_runs(void **state) {
    (void)state;
    bt_fake_stats_reset();
    many_streams_equal_their_lone_runs(FAKE, 1, 8, 32, 2, 0);
    many_streams_equal_their_lone_runs(FAKE, 1, 8, 32, 2, 0.8f);
    many_streams_equal_their_lone_runs(FAKE, 2, 1, 16, 2, 0.8f);
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.overlaps, 0);
    assert_true(s.rows_max >= 8);
    assert_int_equal(s.contexts, 0);
    assert_int_equal(s.models, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thirty_two_streams_equal_their_lone_runs),
    };
    return bt_test_run(tests, argc, argv);
}
