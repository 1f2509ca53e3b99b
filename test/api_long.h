/* Long answers and many answers: right, and memory flat once warm. */
#ifndef BT_API_LONG_H
#define BT_API_LONG_H

#include "api_probes.h"
#include "resources.h"

/* $BATON_ANSWERS asks for another number of them than a test of everyday does. */
static inline int answers_wanted(int n) {
    const char *asked = getenv("BATON_ANSWERS");
    return asked ? (int)strtol(asked, NULL, 10) : n;
}

static inline void many_answers(const char *model, int policy_number, int n) {
    baton_policy policy = api_policy(policy_number);
    baton_llama *m = api_open(model, &policy, 256);
    baton_llama_ask ask = BATON_LLAMA_ASK;
    char first[64] = "";
    long warm = 0;
    n = answers_wanted(n);
    ask.prompt = "Once upon a time";
    ask.max_tokens = 3;
    for (int i = 0; i < n; i++) {
        baton_result r;
        assert_int_equal(baton_llama_generate(m, &ask, &r, NULL), BATON_OK);
        if (i == 0)
            snprintf(first, sizeof first, "%s", r.text);
        assert_string_equal(r.text, first);
        baton_result_free(&r);
        if (i == n / 10)
            warm = resident_kib();
    }
    memory_is_flat(warm, "answers");
    baton_llama_close(&m);
}

/* More than a thousand tokens in one answer, whole and as a stream. */
static inline void one_long_answer(const char *model) {
    for (int p = 0; p < API_POLICIES; p += 3) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 2048);
        struct endless e;
        baton_result r;
        baton_stream *s;
        baton_delta d;
        baton_outcome o;
        size_t len = 0;
        endless_init(&e, m, model);
        e.ask.max_tokens = 1200;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, NULL), BATON_OK);
        assert_int_equal(r.outcome.answer_tokens, 1200);
        assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
        while (baton_stream_next(s, -1, &d) == BATON_OK) {
            assert_true(len + d.len <= r.len && memcmp(r.text + len, d.text, d.len) == 0);
            len += d.len;
        }
        assert_int_equal(len, r.len);
        assert_int_equal(baton_stream_close(&s, &o), BATON_OK);
        assert_int_equal(o.finish, BATON_FINISH_LENGTH);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

#endif
