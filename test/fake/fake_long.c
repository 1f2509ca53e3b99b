/* Long answers and ten thousand of them, over the fake native. */
#include "api_long.h"

#define FAKE "fake:len=1000000"

static void probe_P14_ten_thousand_answers_leave_memory_flat(void **state) {
    (void)state;
    many_answers(FAKE, 0, MEMORY_COUNTS ? 10000 : 1000);
    many_answers(FAKE, 3, MEMORY_COUNTS ? 10000 : 1000);
    many_answers(FAKE, 5, MEMORY_COUNTS ? 10000 : 1000);
}

static void probe_P14_one_answer_of_more_than_a_thousand_tokens(void **state) {
    (void)state;
    one_long_answer(FAKE);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P14_ten_thousand_answers_leave_memory_flat),
        cmocka_unit_test(probe_P14_one_answer_of_more_than_a_thousand_tokens),
    };
    return bt_test_run(tests, argc, argv);
}
