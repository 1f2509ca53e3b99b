/* Sampling: a pick depends on the logits, the history, the seed and the index, and on nothing else. Tokens that a
 * large bias lifts to exactly the same logit make every case exact: 1e30 swallows what the model thinks of them. */
#include "native_util.h"

#include <math.h>

#include "native/pick.h"

#define LIFT 1e30f

static struct bt_model *model;
static struct bt_context *context;
static struct tokens prompt;
static int row;

static bt_token pick(const struct bt_sampling *p, uint64_t index, const bt_token *history, size_t n) {
    struct bt_sampler *s = open_sampler(model, p, history, n);
    bt_token token = context->ops->sample(context, s, row, index);
    s->ops->free(s);
    return token;
}

static void argmax_takes_the_lowest_of_equals_and_never_a_nan(void **state) {
    (void)state;
    float x[67];
    for (int32_t n = 1; n <= 67; n++)
        for (int32_t at = 0; at < n; at++) {
            for (int32_t i = 0; i < n; i++)
                x[i] = i % 7 == 3 ? NAN : -5 - (float)i;
            x[at] = 1;
            assert_int_equal(bt_argmax(x, n), at);
            x[n - 1] = 1;
            assert_int_equal(bt_argmax(x, n), at);
            x[0] = 1;
            assert_int_equal(bt_argmax(x, n), 0);
        }
    static float many[20000]; /* several blocks; the same largest number in each */
    for (int32_t at = 19999; at > 0; at -= 1237) {
        many[at] = 3;
        assert_int_equal(bt_argmax(many, 20000), at);
    }
    for (int i = 0; i < 67; i++)
        x[i] = NAN;
    assert_int_equal(bt_argmax(x, 67), -1);
    x[40] = x[50] = -INFINITY;
    assert_int_equal(bt_argmax(x, 67), 40);
    assert_int_equal(bt_argmax(x, 0), -1);
}

static void greedy_is_the_largest_logit_and_ties_go_to_the_lowest_id(void **state) {
    (void)state;
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    struct bt_model_info info;
    model->ops->info(model, &info);
    assert_int_equal(pick(&p, 0, NULL, 0), bt_argmax(context->ops->logits(context, row), info.vocab_size));
    struct bt_logit_bias bias[] = {{500, LIFT}, {77, LIFT}, {300, LIFT}};
    p.bias = bias;
    p.n_bias = 3;
    assert_int_equal(pick(&p, 0, NULL, 0), 77);
    bias[1].bias = -INFINITY;
    assert_int_equal(pick(&p, 0, NULL, 0), 300);
}

static void a_draw_is_the_counter_based_one(void **state) {
    (void)state;
    struct bt_logit_bias bias[] = {{9, LIFT}, {40, LIFT}, {500, LIFT}, {41, LIFT}, {1000, LIFT}};
    static const bt_token in_order[] = {9, 40, 41, 500, 1000};
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    p.bias = bias;
    p.n_bias = 5;
    p.temperature = 0.8f;
    for (uint64_t seed = 1; seed < 4; seed++)
        for (uint64_t index = 0; index < 200; index++) {
            p.seed = seed;
            assert_int_equal(pick(&p, index, NULL, 0), in_order[(int)(bt_draw(seed, index) * 5)]);
        }
}

/* One sampler asked in any order and as often as one likes: no state but the history. */
static void a_sampler_keeps_no_draws(void **state) {
    (void)state;
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    bt_token first[64];
    int differ = 0;
    p.temperature = 1.5f;
    p.top_k = 50;
    p.top_p = 0.95f;
    p.min_p = 0.01f;
    p.seed = 3;
    struct bt_sampler *s = open_sampler(model, &p, prompt.t, prompt.n);
    for (uint64_t i = 0; i < 64; i++) {
        first[i] = context->ops->sample(context, s, row, i);
        differ += first[i] != first[0];
    }
    assert_true(differ > 5);
    for (uint64_t i = 64; i-- > 0;)
        assert_int_equal(context->ops->sample(context, s, row, i), first[i]);
    s->ops->free(s);
}

static void cutting_to_one_candidate_is_greedy(void **state) {
    (void)state;
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT, p;
    bt_token best = pick(&greedy, 0, NULL, 0);
    for (int kind = 0; kind < 3; kind++)
        for (uint64_t index = 0; index < 50; index++) {
            p = greedy;
            p.temperature = 2;
            p.seed = 11;
            p.top_k = kind == 0 ? 1 : 0;
            p.top_p = kind == 1 ? 0 : 1;
            p.min_p = kind == 2 ? 1 : 0;
            assert_int_equal(pick(&p, index, NULL, 0), best);
        }
}

static void penalties_look_back_over_prompt_and_answer(void **state) {
    (void)state;
    struct bt_logit_bias bias[] = {{20, 1000}, {30, 1100}};
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    bt_token history[70];
    p.bias = bias;
    p.n_bias = 2;
    p.presence_penalty = 500;
    for (int i = 0; i < 70; i++)
        history[i] = 5;
    assert_int_equal(pick(&p, 0, history, 70), 30);
    history[70 - 64] = 30; /* the last place that 64 tokens back reaches */
    assert_int_equal(pick(&p, 0, history, 70), 20);
    history[70 - 64] = 5;
    history[70 - 65] = 30;
    assert_int_equal(pick(&p, 0, history, 70), 30);
    p.penalty_last_n = -1;
    assert_int_equal(pick(&p, 0, history, 70), 20);
    p.penalty_last_n = 64;
    struct bt_sampler *s = open_sampler(model, &p, history, 70);
    s->ops->accept(s, 30);
    assert_int_equal(context->ops->sample(context, s, row, 0), 20);
    s->ops->accept(s, 20);
    assert_int_equal(context->ops->sample(context, s, row, 1), 30);
    for (int i = 0; i < 64; i++)
        s->ops->accept(s, 5);
    assert_int_equal(context->ops->sample(context, s, row, 2), 30);
    s->ops->free(s);
    p.presence_penalty = 0;
    p.frequency_penalty = 60; /* by how often: 2 x 60 outweigh the 100 between them, once does not */
    history[69] = 30;
    assert_int_equal(pick(&p, 0, history, 70), 30);
    history[68] = 30;
    assert_int_equal(pick(&p, 0, history, 70), 20);
    p.frequency_penalty = 0;
    p.repeat_penalty = 1.5f;
    assert_int_equal(pick(&p, 0, history, 70), 20);
}

/* The answer of a request whose owner died in the middle is what it would have been. */
static void a_sampler_made_from_the_history_goes_on_where_the_old_one_was(void **state) {
    (void)state;
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    enum { N = 40 };
    bt_token whole[N], all[512];
    p.temperature = 0.9f;
    p.seed = 42;
    p.repeat_penalty = 1.2f;
    p.frequency_penalty = 0.3f;
    p.top_p = 0.9f;
    size_t n = generate(context, model, 0, prompt, &p, whole, N);
    assert_true(n > 10);
    memcpy(all, prompt.t, prompt.n * sizeof *all);
    memcpy(all + prompt.n, whole, n * sizeof *all);
    for (size_t k = 1; k < n; k += 4) {
        struct bt_sampler *s = open_sampler(model, &p, all, prompt.n + k);
        assert_true(context->ops->seq_rm(context, 1, -1, -1));
        int at = feed(context, 1, 0, all, prompt.n + k, 50);
        for (size_t i = k; i < n; i++) {
            bt_token token = context->ops->sample(context, s, at, i);
            assert_int_equal(token, whole[i]);
            s->ops->accept(s, token);
            at = feed(context, 1, (int32_t)(prompt.n + i), &token, 1, 1);
        }
        s->ops->free(s);
    }
    row = feed(context, 0, (int32_t)(prompt.n + n - 1), &whole[n - 1], 1, 1); /* for the other tests */
}

static void values_that_make_no_sense_are_refused_by_name(void **state) {
    (void)state;
    static const struct bt_logit_bias outside[] = {{3, 1}, {1 << 20, 1}}, negative[] = {{-1, 1}},
                                      nan_bias[] = {{1, NAN}};
    struct {
        const char *name;
        struct bt_sampling p;
    } bad[] = {
        {"temperature", {.temperature = NAN, .top_p = 1, .repeat_penalty = 1}},
        {"temperature", {.temperature = INFINITY, .top_p = 1, .repeat_penalty = 1}},
        {"top_p", {.top_p = 1.5f, .repeat_penalty = 1}},
        {"top_p", {.top_p = NAN, .repeat_penalty = 1}},
        {"min_p", {.top_p = 1, .min_p = -1, .repeat_penalty = 1}},
        {"repeat_penalty", {.top_p = 1, .repeat_penalty = 0}},
        {"presence_penalty", {.top_p = 1, .repeat_penalty = 1, .presence_penalty = INFINITY}},
        {"frequency_penalty", {.top_p = 1, .repeat_penalty = 1, .frequency_penalty = NAN}},
        {"1048576", {.top_p = 1, .repeat_penalty = 1, .bias = outside, .n_bias = 2}},
        {"-1", {.top_p = 1, .repeat_penalty = 1, .bias = negative, .n_bias = 1}},
        {"logit_bias", {.top_p = 1, .repeat_penalty = 1, .bias = nan_bias, .n_bias = 1}},
    };
    for (size_t i = 0; i < BT_COUNT(bad); i++) {
        struct bt_sampler *s;
        baton_error err;
        assert_int_equal(model->ops->sampler(model, &bad[i].p, NULL, 0, &s, &err), BATON_INVALID);
        assert_null(s);
        assert_non_null(strstr(err.text, bad[i].name));
    }
}

static int set_up(void **state) {
    (void)state;
    model = open_model(NULL);
    context = open_context(model, 2, 512, true);
    prompt = ask(model, "Tell me a story.");
    row = feed(context, 0, 0, prompt.t, prompt.n, 512);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(prompt.t);
    context->ops->free(context);
    model->ops->free(model);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(argmax_takes_the_lowest_of_equals_and_never_a_nan),
        cmocka_unit_test(greedy_is_the_largest_logit_and_ties_go_to_the_lowest_id),
        cmocka_unit_test(a_draw_is_the_counter_based_one),
        cmocka_unit_test(a_sampler_keeps_no_draws),
        cmocka_unit_test(cutting_to_one_candidate_is_greedy),
        cmocka_unit_test(penalties_look_back_over_prompt_and_answer),
        cmocka_unit_test(a_sampler_made_from_the_history_goes_on_where_the_old_one_was),
        cmocka_unit_test(values_that_make_no_sense_are_refused_by_name),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
