/* Streams over libllama and the built-in model: exact in any company. */
#include "streams.h"

static void thirty_two_streams_equal_their_lone_runs(void **state) {
    (void)state;
    many_streams_equal_their_lone_runs(NULL, 1, 8, 32, 3, 0);
    many_streams_equal_their_lone_runs(NULL, 1, 8, 32, 3, 0.8f);
    many_streams_equal_their_lone_runs(NULL, 2, 1, 16, 3, 0.8f);
}

/* Longer than the model was trained for. */
static void penalties_that_look_back_without_end_see_the_whole_context(void **state) {
    (void)state;
    enum { CTX = 4096, ENDS_MAX = 16, TOKENS = 2250 };
    struct bt_model_params params = {.path = NULL};
    struct bt_model_info info;
    struct bt_model *m;
    baton_error err;
    struct bt_logit_bias ends[ENDS_MAX];
    static const int windows[] = {CTX, -1};
    struct answer a[BT_COUNT(windows)];
    struct bt_submit s = ask_text("Once upon a time", TOKENS, 0, 0);
    assert_int_equal(bt_model_open(&params, &m, &err), BATON_OK);
    m->ops->info(m, &info);
    assert_in_range(info.ctx_train, 1, TOKENS - 100);
    for (bt_token t = 0; t < info.vocab_size; t++)
        if (m->ops->is_end(m, t) && s.sampling.n_bias < ENDS_MAX)
            ends[s.sampling.n_bias++] = (struct bt_logit_bias){t, -1000};
    m->ops->free(m);
    s.sampling.bias = ends;
    s.sampling.frequency_penalty = 0.2f;
    struct bt_front *f = front_open(NULL, 1, 1, CTX, 1, BT_WAIT);
    for (size_t i = 0; i < BT_COUNT(windows); i++) {
        s.id = 0;
        s.sampling.penalty_last_n = windows[i];
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
        answers_wait(f, &a[i], 1);
        assert_int_equal(a[i].outcome.answer_tokens, TOKENS);
        assert_same_text(&a[i].text, &a[0].text);
    }
    for (size_t i = 0; i < BT_COUNT(windows); i++)
        answer_free(&a[i]);
    bt_front_close(&f);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thirty_two_streams_equal_their_lone_runs),
        cmocka_unit_test(penalties_that_look_back_without_end_see_the_whole_context),
    };
    return bt_test_run(tests, argc, argv);
}
