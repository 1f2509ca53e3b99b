/* Around a test over the fake: no two were ever inside one context at once, and nothing is left behind. */
#ifndef BT_FAKE_LEFT_H
#define BT_FAKE_LEFT_H

#include "harness.h"

#include "native/fake.h"

static inline int setup(void **state) {
    (void)state;
    bt_fake_stats_reset();
    return 0;
}
static inline int teardown(void **state) {
    struct bt_fake_stats s;
    (void)state;
    bt_fake_stats(&s);
    return s.overlaps || s.contexts || s.models || s.samplers;
}

#endif
