/* Streams of owners of their own over libllama and the built-in model. */
#include "api_owned.h"

#define PROBE(number, name)                                                                                            \
    static void probe_##number##_##name(void **state) {                                                                \
        (void)state;                                                                                                   \
        probe_##number(NULL);                                                                                          \
    }
OWNED_PROBES(PROBE)

int main(int argc, char **argv) {
#define ENTRY(number, name) cmocka_unit_test(probe_##number##_##name),
    const struct CMUnitTest tests[] = {OWNED_PROBES(ENTRY)};
    return bt_test_run(tests, argc, argv);
}
