/* What every test starts with: cmocka, and a filter from the command line, so that one probe can be run alone:
 * test_gate 'probe_P30*'. */
#ifndef BT_HARNESS_H
#define BT_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#undef stop /* cmocka 2 has a macro of that name, for tests that stand under a debugger */

#define bt_test_run(tests, argc, argv) (bt_test_filter(argc, argv), cmocka_run_group_tests(tests, NULL, NULL))

static inline void bt_test_filter(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
}

/* The seed of a stress test: $BATON_SEED, else from the clock; printed, so that a failure can be run again. */
static inline uint64_t bt_test_seed(void) {
    const char *text = getenv("BATON_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)(uintptr_t)&text ^ (uint64_t)rand();
    printf("[   SEED   ] BATON_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
