/* Grammars over libllama and the built-in model, through the owner's loop. */
#include "grammar_peer.h"

static const char prompt[] = "<|im_start|>user\nWhat is the time?<|im_end|>\n<|im_start|>assistant\n";

static void an_owner_keeps_to_a_grammar_and_resumes_in_it(void **state) {
    (void)state;
    static const struct grammar_case cases[] = {
        {"root ::= \"yes\" | \"no\" | \"caf\xc3\xa9\"", "^(yes|no|caf\xc3\xa9)$"},
        {"root ::= [0-2] [0-9] \":\" [0-5] [0-9]", "^[0-2][0-9]:[0-5][0-9]$"},
        {"root ::= \"{\\\"time\\\": \" num \", \\\"zone\\\": \\\"\" [A-Z]{3} \"\\\"}\"\nnum ::= [1-9] [0-9]{0,3}",
         "^\\{\"time\": [1-9][0-9]{0,3}, \"zone\": \"[A-Z]{3}\"\\}$"},
    };
    answers_match_and_resume(NULL, prompt, cases, BT_COUNT(cases));
    a_bad_grammar_fails_its_request_alone(NULL, prompt);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_owner_keeps_to_a_grammar_and_resumes_in_it)};
    return bt_test_run(tests, argc, argv);
}
