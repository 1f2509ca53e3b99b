/* baton/guard.h with a clock of the test's own, which lets another thread act at the one moment that matters: after an
 * enter has begun and before it has published anything. So this is seen on one core, too, and every time. */
#include "harness.h"

#include <pthread.h>
#include <stdbool.h>

static uint32_t clock_that_lets_others_act(void);
#define BATON_GUARD_CLOCK_MS() clock_that_lets_others_act()
#include "baton/guard.h"

static baton_guard guard;
static void *(*act)(void *);

static uint32_t clock_that_lets_others_act(void) {
    void *(*now)(void *) = act;
    pthread_t other;
    act = NULL;
    if (now) {
        assert_int_equal(pthread_create(&other, NULL, now, NULL), 0);
        pthread_join(other, NULL);
    }
    return 1;
}

static baton_guard_word others_word;

static void *enters(void *unused) {
    (void)unused;
    if (baton_guard_enter(&guard, 2) == 0)
        others_word = baton_guard_read(&guard);
    return NULL;
}

static void probe_P01_somebody_enters_while_this_thread_is_entering(void **state) {
    (void)state;
    act = enters;
    baton_guard_word who = baton_guard_enter(&guard, 1);
    assert_int_not_equal(others_word, 0);
    assert_int_equal(who, others_word); /* refused, by the one that was quicker, as it was */
    assert_int_equal(baton_guard_read(&guard), others_word);
    assert_int_equal(baton_guard_op(who), 2);
}

static void probe_P03_somebody_takes_over_while_this_thread_is_taking_over(void **state) {
    (void)state;
    guard.word = 0;
    assert_int_equal(baton_guard_enter(&guard, BATON_GUARD_IDLE), 0);
    baton_guard_word seen = baton_guard_read(&guard);
    baton_guard_leave(&guard);
    others_word = 0;
    guard.word = 0;
    act = enters;
    assert_int_not_equal(baton_guard_take(&guard, 0, 1), 0);
    assert_int_equal(baton_guard_read(&guard), others_word);
    assert_int_equal(baton_guard_take(&guard, seen, 1), others_word);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_somebody_enters_while_this_thread_is_entering),
        cmocka_unit_test(probe_P03_somebody_takes_over_while_this_thread_is_taking_over),
    };
    return bt_test_run(tests, argc, argv);
}
