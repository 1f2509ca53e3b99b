/* A resume over libllama and the built-in model: the answer goes on as if nothing had happened. */
#include "peer.h"

static void a_resumed_answer_goes_on_token_for_token_from_anywhere(void **state) {
    (void)state;
    resumed_answers_go_on_token_for_token(
        NULL, "<|im_start|>user\nTell me a story about a ferry.<|im_end|>\n<|im_start|>assistant\n");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_answer_goes_on_token_for_token_from_anywhere),
    };
    return bt_test_run(tests, argc, argv);
}
