/* Those who stop reading, go away or ask for too much, over the fake native. */
#include "api_left.h"

#define PROBE(number, name)                                                                                            \
    static void probe_##number##_##name(void **state) {                                                                \
        (void)state;                                                                                                   \
        probe_##number("fake:len=1000000,step_us=20");                                                                 \
    }
LEFT_PROBES(PROBE)

int main(int argc, char **argv) {
#define ENTRY(number, name) cmocka_unit_test(probe_##number##_##name),
    const struct CMUnitTest tests[] = {LEFT_PROBES(ENTRY)};
    return bt_test_run(tests, argc, argv);
}
