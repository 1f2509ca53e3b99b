/* Grammars: what is checked before libllama sees one, and what an owner does with one (the fake's lists of texts). */
#include "grammar_peer.h"

#include "native/gbnf.h"

static void grammars_are_checked_and_errors_say_where(void **state) {
    (void)state;
    static const char *const good[] = {
        "root ::= \"a\"",
        "root ::= x | (y \"b\")* # a comment\r\nx::=[a-z0-9]{2,5}\ny ::= [^\\x41\\]] |\n  .+",
        "\n\n# nothing but\nroot ::= item{3} item{2,}\nitem ::= \"\\\"\" \"\\u00e9\" | ",
        "root ::= ((\"a\"? \"b\")+ | root-2\n)*\nroot-2 ::= \"\\n\"",
        "root ::= (\"a\"{100}){100}",
    };
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"root ::= (\"a\"", "bracket that none closes"},
        {"root ::= \"a\")", "none has opened"},
        {"root ::= \"a", "closing quote"},
        {"root ::= [a-z", "closing bracket"},
        {"root ::= \"\\q\"", "escape"},
        {"root ::= \"\\x4\"", "hexadecimal"},
        {"root ::= *", "repetition of nothing"},
        {"root ::= \"a\" | *", "repetition of nothing"},
        {"root ::= \"a\"{x}", "without a number"},
        {"root ::= \"a\"{3", "closing brace"},
        {"root ::= \"a\"{3,2}", "from more to less"},
        {"root ::= \"a\"{1,1000000}", "too large"},
        {"root ::= ((\"a\"{1000}){1000}){1000}", "too large"},
        {"\nroot ::= x\ny ::= \"a\"", "line 2: there is no rule 'x'"},
        {"x ::= \"a\"", "no rule 'root'"},
        {"root \"a\"", "'::=' is expected"},
        {"root ::= \"a\"\n\n= 3", "line 3"},
        {"root ::= <|im_end|>", "tokens by name"},
        {"root ::= \xff", "UTF-8"},
        {"root ::= a_b\na ::= .", "no meaning"},
    };
    baton_error err;
    for (size_t i = 0; i < BT_COUNT(good); i++)
        if (bt_gbnf_check(good[i], &err))
            fail_msg("%s: %s", good[i], err.text);
    for (size_t i = 0; i < BT_COUNT(bad); i++) {
        assert_int_equal(bt_gbnf_check(bad[i].text, &err), BATON_INVALID);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

static void probe_P60_hostile_grammars_are_bounded(void **state) {
    (void)state;
    baton_error err;
    char *deep = malloc(200002);
    memcpy(deep, "root ::= ", 9);
    memset(deep + 9, '(', 100000);
    deep[100009] = '\0';
    assert_int_equal(bt_gbnf_check(deep, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "nested too deeply"));
    free(deep);
    char *long_one = malloc(BT_GBNF_BYTES_MAX + 2);
    memset(long_one, ' ', BT_GBNF_BYTES_MAX + 1);
    long_one[BT_GBNF_BYTES_MAX + 1] = '\0';
    assert_int_equal(bt_gbnf_check(long_one, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "bytes"));
    free(long_one);
    static const char seedling[] = "root ::= (\"a\" x){1,3} | [^b-c]* .\nx ::= \"\\x41\" # c\n";
    uint64_t seed = bt_test_seed();
    for (uint64_t i = 0; i < 20000; i++) {
        char text[sizeof seedling];
        memcpy(text, seedling, sizeof text);
        for (uint64_t k = 0; k < 1 + i % 4; k++) {
            uint64_t dice = bt_mix64(seed + i * 8 + k);
            text[dice % (sizeof text - 1)] = seedling[(dice >> 16) % sizeof text];
        }
        bt_gbnf_check(text, &err);
    }
}

static void an_owner_keeps_to_a_grammar_and_resumes_in_it(void **state) {
    (void)state;
    static const struct grammar_case cases[] = {
        {"root ::= \"yes, by all means\" | \"no\" | \"yes, but\"", "^(yes, by all means|no|yes, but)$"},
        {"root ::= \"the lease holds the slot\"", "^the lease holds the slot$"},
    };
    answers_match_and_resume("fake:len=3", "which?", cases, BT_COUNT(cases));
    a_bad_grammar_fails_its_request_alone("fake:", "which?");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammars_are_checked_and_errors_say_where),
        cmocka_unit_test(probe_P60_hostile_grammars_are_bounded),
        cmocka_unit_test(an_owner_keeps_to_a_grammar_and_resumes_in_it),
    };
    return bt_test_run(tests, argc, argv);
}
