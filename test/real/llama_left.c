/* Those who stop reading, go away or ask for too much, over libllama and the built-in model. */
#include "api_left.h"

#define PROBE(number, name)                                                                                            \
    static void probe_##number##_##name(void **state) {                                                                \
        (void)state;                                                                                                   \
        probe_##number(NULL);                                                                                          \
    }
LEFT_PROBES(PROBE)

int main(int argc, char **argv) {
#define ENTRY(number, name) cmocka_unit_test(probe_##number##_##name),
    const struct CMUnitTest tests[] = {LEFT_PROBES(ENTRY)};
    return bt_test_run(tests, argc, argv);
}
