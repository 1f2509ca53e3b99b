/* All of llama.h at once, over the fake native. */
#include "api_storm.h"

#include "native/fake.h"

static void everything_at_once(void **state) {
    (void)state;
    storm("fake:len=60,step_us=30", 60, bt_test_seed());
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.overlaps, 0);
    assert_int_equal(s.models + s.contexts + s.samplers, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};
    return bt_test_run(tests, argc, argv);
}
