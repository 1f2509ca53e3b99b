/* Streams through a front against their lone runs: the same bodies on the fake and on libllama. */
#ifndef BT_STREAMS_H
#define BT_STREAMS_H

#include "frontrun.h"

static inline void many_streams_equal_their_lone_runs(const char *model, int contexts, int sequences, int n, int rounds,
                                                      float temperature) {
    enum { MOST = 32 };
    static const char *const openings[] = {"The ferry waits",  "One key, two doors:", "A queue is",
                                           "The runner takes", "Once upon a time",    "What is a lease?",
                                           "Count from 1 to",  "In the morning"};
    struct bt_front *f = front_open(model, contexts, sequences, 256, n, BT_WAIT);
    struct bt_submit asks[MOST];
    struct bt_buf lone[MOST];
    char prompts[MOST][96];
    assert_true(n <= MOST);
    memset(lone, 0, sizeof lone);
    for (int i = 0; i < n; i++) {
        snprintf(prompts[i], sizeof prompts[i], "%s number %d ", openings[i % 8], i);
        asks[i] = ask_text(prompts[i], 24 + i, temperature, 1000 + (uint64_t)i);
        lone_text(model, &asks[i], 256, &lone[i]);
        assert_true(lone[i].len > 0);
    }
    for (int round = 0; round < rounds; round++) {
        struct answer a[MOST];
        for (int i = 0; i < n; i++) {
            asks[i].id = 0;
            assert_int_equal(answer_ask(&a[i], f, &asks[i]), BATON_OK);
        }
        answers_wait(f, a, n);
        for (int i = 0; i < n; i++) {
            assert_int_equal(a[i].outcome.status, BATON_OK);
            assert_int_equal(a[i].done, 1);
            assert_same_text(&a[i].text, &lone[i]);
            answer_free(&a[i]);
        }
    }
    for (int i = 0; i < n; i++)
        bt_buf_free(&lone[i]);
    bt_front_close(&f);
}

#endif
