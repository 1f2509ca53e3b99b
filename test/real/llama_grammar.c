/* Grammars in the sampler: before the cuts, before the draw, fed by accept alone; a token that does not fit ends the
 * answer and not the process. */
#include "native_util.h"

#include <math.h>

static struct bt_model *model;
static struct bt_context *context;
static struct tokens prompt;

/* The row whose logits follow the prompt. */
static int fed(void) {
    context->ops->seq_rm(context, 0, -1, -1);
    return feed(context, 0, 0, prompt.t, prompt.n, 64);
}

static struct bt_buf text_of(const bt_token *tokens, size_t n) {
    struct bt_buf text = BT_BUF_INIT;
    for (size_t i = 0; i < n; i++)
        model->ops->piece(model, tokens[i], &text);
    bt_buf_add(&text, "", 1);
    return text;
}

/* Of 1,500 tokens the favourite one alone would pass: the grammar must come before it. */
static void cuts_leave_something_that_the_grammar_admits(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct bt_sampling p = BT_SAMPLING_DEFAULT;
        bt_token out[40];
        p.temperature = 1;
        p.seed = 5;
        p.top_k = kind == 0 ? 1 : 0;
        p.top_p = kind == 1 ? 0 : 1;
        p.min_p = kind == 2 ? 1 : 0;
        p.frequency_penalty = kind == 3 ? 2 : 0; /* the prompt is history for this, and nothing to the grammar */
        p.grammar = "root ::= \"Q\" [xyz]{7} \"!\"";
        size_t n = generate(context, model, 0, prompt, &p, out, 40);
        struct bt_buf text = text_of(out, n);
        assert_int_equal(strlen((char *)text.data), 9);
        assert_int_equal(strspn((char *)text.data + 1, "xyz"), 7);
        assert_true(text.data[0] == 'Q' && text.data[8] == '!');
        bt_buf_free(&text);
    }
}

static void greedy_under_a_grammar_is_the_best_that_it_admits(void **state) {
    (void)state;
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    struct bt_model_info info;
    struct bt_buf piece = BT_BUF_INIT;
    model->ops->info(model, &info);
    p.grammar = "root ::= [a-f] [a-f]*";
    struct bt_sampler *s = open_sampler(model, &p, prompt.t, prompt.n);
    int row = fed();
    const float *logits = context->ops->logits(context, row);
    bt_token best = -1;
    for (bt_token t = 0; t < info.vocab_size; t++) {
        piece.len = 0;
        model->ops->piece(model, t, &piece);
        bool fits = piece.len > 0;
        for (size_t i = 0; i < piece.len; i++)
            fits = fits && piece.data[i] >= 'a' && piece.data[i] <= 'f';
        if (fits && (best < 0 || logits[t] > logits[best]))
            best = t;
    }
    assert_int_equal(context->ops->sample(context, s, row, 0), best);
    s->ops->free(s);
    bt_buf_free(&piece);
}

static void a_grammar_that_admits_nothing_more_ends_the_answer(void **state) {
    (void)state;
    struct bt_model_info info;
    struct bt_logit_bias bias[64];
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    int row = fed();
    model->ops->info(model, &info);
    p.grammar = "root ::= \"ab\"";
    p.bias = bias;
    for (bt_token t = 0; t < info.vocab_size; t++)
        if (model->ops->is_end(model, t))
            bias[p.n_bias++] = (struct bt_logit_bias){t, -INFINITY};
    assert_true(p.n_bias > 0);
    for (int hot = 0; hot < 2; hot++) {
        p.temperature = (float)hot;
        struct bt_sampler *s = open_sampler(model, &p, prompt.t, prompt.n);
        size_t letters = 0;
        for (bt_token t; letters < 2;) {
            struct bt_buf piece = BT_BUF_INIT;
            t = context->ops->sample(context, s, row, letters);
            assert_true(t >= 0);
            s->ops->accept(s, t);
            model->ops->piece(model, t, &piece);
            letters += piece.len;
            bt_buf_free(&piece);
        }
        bt_token end = context->ops->sample(context, s, row, 2);
        assert_int_equal(end, BT_TOKEN_END);
        assert_true(model->ops->is_end(model, end));
        s->ops->free(s);
    }
}

static void a_token_that_does_not_fit_ends_the_answer_and_not_the_process(void **state) {
    (void)state;
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    struct tokens other = tokenize(model, "zebra");
    int row = fed();
    p.grammar = "root ::= \"ab\"";
    struct bt_sampler *s = open_sampler(model, &p, NULL, 0);
    for (size_t i = 0; i < other.n; i++)
        s->ops->accept(s, other.t[i]);
    assert_int_equal(context->ops->sample(context, s, row, 0), BT_TOKEN_END);
    s->ops->free(s);
    free(other.t);
}

/* Two sequences step by step in one context: the one without a grammar is as it is alone. */
static void a_neighbour_is_untouched(void **state) {
    (void)state;
    struct bt_sampling plain = BT_SAMPLING_DEFAULT, bound = plain;
    enum { N = 24 };
    bt_token lone[N], next[2], beside[N];
    plain.temperature = 0.9f;
    plain.seed = 8;
    bound.grammar = "root ::= [0-9]+";
    size_t n = generate(context, model, 0, prompt, &plain, lone, N);
    struct bt_sampler *s[2] = {open_sampler(model, &bound, prompt.t, prompt.n),
                               open_sampler(model, &plain, prompt.t, prompt.n)};
    for (int i = 0; i < 2; i++) {
        context->ops->seq_rm(context, i, -1, -1);
        next[i] = context->ops->sample(context, s[i], feed(context, i, 0, prompt.t, prompt.n, 64), 0);
    }
    for (size_t k = 0; k < n; k++) {
        struct bt_row rows[2];
        beside[k] = next[1];
        for (int i = 0; i < 2; i++) {
            if (model->ops->is_end(model, next[i]))
                next[i] = 0; /* goes on for company's sake */
            else
                s[i]->ops->accept(s[i], next[i]);
            rows[i] = (struct bt_row){next[i], (int32_t)(prompt.n + k), i, true};
        }
        assert_int_equal(context->ops->decode(context, rows, 2), BT_DECODE_OK);
        for (int i = 0; i < 2; i++)
            next[i] = context->ops->sample(context, s[i], i, k + 1);
    }
    assert_memory_equal(beside, lone, n * sizeof *lone);
    s[0]->ops->free(s[0]);
    s[1]->ops->free(s[1]);
}

static void what_is_no_grammar_is_refused_with_what_is_known(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"root ::= (", "line 1"},
               {"x ::= \"a\"", "root"},
               {"root ::= root \"a\" | \"b\"", "left recursion"},
               {"root ::= <|im_end|>", "tokens by name"}};
    for (size_t i = 0; i < BT_COUNT(bad); i++) {
        struct bt_sampling p = BT_SAMPLING_DEFAULT;
        struct bt_sampler *s;
        baton_error err;
        p.grammar = bad[i].text;
        assert_int_equal(model->ops->sampler(model, &p, NULL, 0, &s, &err), BATON_INVALID);
        assert_null(s);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s", err.text);
    }
}

static int set_up(void **state) {
    (void)state;
    model = open_model(NULL);
    context = open_context(model, 2, 512, true);
    prompt = ask(model, "Tell me a story.");
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
        cmocka_unit_test(cuts_leave_something_that_the_grammar_admits),
        cmocka_unit_test(greedy_under_a_grammar_is_the_best_that_it_admits),
        cmocka_unit_test(a_grammar_that_admits_nothing_more_ends_the_answer),
        cmocka_unit_test(a_token_that_does_not_fit_ends_the_answer_and_not_the_process),
        cmocka_unit_test(a_neighbour_is_untouched),
        cmocka_unit_test(what_is_no_grammar_is_refused_with_what_is_known),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
