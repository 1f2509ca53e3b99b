/* All of llama.h at once, over the fake native. */
#include "api_storm.h"

#include "fake_left.h"

static void everything_at_once(void **state) {
    (void)state;
    storm("fake:len=60,step_us=30", 60, bt_test_seed());
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(everything_at_once, setup, teardown)};
    return bt_test_run(tests, argc, argv);
}
