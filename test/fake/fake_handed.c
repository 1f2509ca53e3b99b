/* Hand-over, cancel, times and close over the fake native. */
#include "api_handed.h"

#define PROBE(number, name)                                                                                            \
    static void probe_##number##_##name(void **state) {                                                                \
        (void)state;                                                                                                   \
        probe_##number("fake:len=1000000,step_us=20");                                                                 \
    }
HANDED_PROBES(PROBE)

int main(int argc, char **argv) {
#define ENTRY(number, name) cmocka_unit_test(probe_##number##_##name),
    const struct CMUnitTest tests[] = {HANDED_PROBES(ENTRY)};
    return bt_test_run(tests, argc, argv);
}
