/* The public API over libllama and the built-in model. */
#include "api_matrix.h"

static void an_answer_is_the_same_under_every_policy(void **state) {
    (void)state;
    the_policy_never_changes_an_answer(NULL);
}

static void text_and_tokens(void **state) {
    (void)state;
    text_survives_its_tokens(NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_same_under_every_policy),
        cmocka_unit_test(text_and_tokens),
    };
    return bt_test_run(tests, argc, argv);
}
