/* Answers under a grammar, through the owner's loop: they match it, go on after a resume from any token as if nothing
 * had happened, and leave a neighbour without a grammar as it is alone. */
#ifndef BT_GRAMMAR_PEER_H
#define BT_GRAMMAR_PEER_H

#include "peer.h"

#include <regex.h>

struct grammar_case {
    const char *grammar, *regex;
};

static inline void assert_matches(const char *text, const char *regex) {
    regex_t r;
    assert_int_equal(regcomp(&r, regex, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&r, text, 0, NULL, 0) != 0)
        fail_msg("'%s' does not match %s", text, regex);
    regfree(&r);
}

static inline void answers_match_and_resume(const char *model, const char *prompt, const struct grammar_case *cases,
                                            size_t n) {
    static const float temperatures[] = {0, 0.8f, 2};
    struct peer p;
    struct heard whole, rest;
    start(&p, model);
    greet(&p);
    for (size_t i = 0; i < n * BT_COUNT(temperatures); i++) {
        struct bt_submit s = ask(1, prompt, temperatures[i % BT_COUNT(temperatures)]);
        s.sampling.grammar = cases[i / BT_COUNT(temperatures)].grammar;
        s.max_tokens = -1;
        bt_put_submit(&p.out, &s);
        say(&p);
        hear_answer(&p, &whole);
        assert_int_equal(whole.done.outcome, BATON_OK);
        assert_int_equal(whole.done.finish, BT_FINISH_STOP);
        assert_matches(whole.text, cases[i / BT_COUNT(temperatures)].regex);
        for (uint32_t cut = 1; cut <= whole.n; cut++) {
            s.attempt++;
            s.resume = whole.tokens;
            s.n_resume = cut;
            s.resume_held = whole.held[cut - 1];
            bt_put_submit(&p.out, &s);
            say(&p);
            hear_answer(&p, &rest);
            assert_int_equal(rest.done.outcome, BATON_OK);
            assert_int_equal(rest.n, whole.n - cut);
            assert_memory_equal(rest.tokens, whole.tokens + cut, rest.n * sizeof *rest.tokens);
            assert_string_equal(rest.text, whole.text + whole.before[cut - 1]);
        }
    }
    stop(&p);
}

/* A grammar that does not parse is told to its request; the owner goes on. */
static inline void a_bad_grammar_fails_its_request_alone(const char *model, const char *prompt) {
    struct peer p;
    struct heard h;
    start(&p, model);
    greet(&p);
    struct bt_submit s = ask(1, prompt, 0);
    s.sampling.grammar = "root ::= (\"a\"";
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.outcome, BATON_INVALID);
    assert_non_null(strstr(h.done.error.data, "line 1"));
    s.sampling.grammar = NULL;
    s.id = 2;
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.outcome, BATON_OK);
    assert_true(h.n > 0);
    stop(&p);
}

#endif
