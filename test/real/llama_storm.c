/* All of llama.h at once, over libllama and the built-in model. */
#include "api_storm.h"

static void everything_at_once(void **state) {
    (void)state;
    storm(NULL, 12, bt_test_seed());
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};
    return bt_test_run(tests, argc, argv);
}
