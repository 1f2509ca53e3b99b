/* Long answers and many of them, over libllama and the built-in model. */
#include "api_long.h"

static void probe_P14_many_answers_leave_memory_flat(void **state) {
    (void)state;
    many_answers(NULL, 0, 400);
    many_answers(NULL, 3, 400);
    many_answers(NULL, 5, 400);
}

static void probe_P14_one_answer_of_more_than_a_thousand_tokens(void **state) {
    (void)state;
    one_long_answer(NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P14_many_answers_leave_memory_flat),
        cmocka_unit_test(probe_P14_one_answer_of_more_than_a_thousand_tokens),
    };
    return bt_test_run(tests, argc, argv);
}
