/* The fake native's sampler: greedy, or a counter-based draw at a temperature; logit bias; of grammars those that are a
 * list of texts, root ::= "a" | "b". It does not know top_k, top_p, min_p and penalties: what they do to logits is
 * libllama's, and tested there. A sampler belongs to its request. */
#include "native/fake_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native/gbnf.h"
#include "native/pick.h"

struct fake_sampler {
    struct bt_sampler base;
    float temperature;
    uint64_t seed;
    char *grammar;        /* NULL: none */
    struct bt_buf answer; /* what was accepted, of a sampler with a grammar */
    size_t n_bias;
    struct bt_logit_bias bias[];
};

static void sampler_accept(struct bt_sampler *base, bt_token token) {
    struct fake_sampler *s = BT_CONTAINER(base, struct fake_sampler, base);
    char piece[16];
    if (s->grammar)
        bt_buf_add(&s->answer, piece, bt_fake_piece(token, piece));
}

static void sampler_free(struct bt_sampler *base) {
    struct fake_sampler *s = BT_CONTAINER(base, struct fake_sampler, base);
    free(s->grammar);
    bt_buf_free(&s->answer);
    free(s);
    bt_fake_count(&bt_fake_counters.samplers, -1);
}

/* The next text of the list from *at; NULL: no more. */
static const char *next_text(const char **at, size_t *len) {
    const char *text = strchr(*at, '"');
    if (!text)
        return NULL;
    *len = strcspn(++text, "\"");
    *at = text + *len + (text[*len] == '"');
    return text;
}

static baton_status check_grammar(const char *grammar, baton_error *err) {
    baton_status status = bt_gbnf_check(grammar, err);
    const char *at = grammar;
    bool list = strncmp(grammar, "root ::= \"", 10) == 0 && !strchr(grammar, '\\');
    for (size_t len; !status && list && next_text(&at, &len);)
        list = *at == '\0' || strncmp(at, " | \"", 4) == 0;
    if (!status && !list)
        status = bt_fail(err, BATON_INVALID, "the fake knows grammars of the form root ::= \"a\" | \"b\" only");
    return status;
}

/* May `more` follow what was accepted? Nothing may follow only a text that is complete. */
static bool admits(const struct fake_sampler *s, const char *more, size_t n) {
    const char *at = s->grammar, *text;
    for (size_t len; (text = next_text(&at, &len));) {
        if (s->answer.len > len || (s->answer.len && memcmp(text, s->answer.data, s->answer.len) != 0))
            continue;
        size_t left = len - s->answer.len;
        if (n == 0 ? left == 0 : n <= left && memcmp(text + s->answer.len, more, n) == 0)
            return true;
    }
    return false;
}

static bool admits_token(const struct fake_sampler *s, bt_token token) {
    char piece[16];
    if (!s->grammar)
        return true;
    size_t n = bt_fake_piece(token, piece);
    return n ? admits(s, piece, n) : (token == BT_FAKE_EOS || token == BT_FAKE_EOT) && admits(s, "", 0);
}

static const struct bt_sampler_ops sampler_ops = {.accept = sampler_accept, .free = sampler_free};

baton_status bt_fake_sampler_open(const struct bt_model *m, const struct bt_sampling *sampling, const bt_token *history,
                                  size_t n, struct bt_sampler **out, baton_error *err) {
    (void)m;
    (void)history;
    (void)n;
    *out = NULL;
    const char *grammar = sampling->grammar && sampling->grammar[0] ? sampling->grammar : NULL;
    baton_status status = grammar ? check_grammar(grammar, err) : BATON_OK;
    if (status)
        return status;
    struct fake_sampler *s = calloc(1, sizeof *s + sampling->n_bias * sizeof *s->bias);
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a sampler with %zu biases", sampling->n_bias);
    s->base.ops = &sampler_ops;
    s->temperature = sampling->temperature;
    s->seed = sampling->seed;
    s->n_bias = sampling->n_bias;
    if (s->n_bias)
        memcpy(s->bias, sampling->bias, s->n_bias * sizeof *s->bias);
    s->grammar = grammar ? strdup(grammar) : NULL;
    if (grammar && !s->grammar) {
        free(s);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a grammar");
    }
    bt_fake_count(&bt_fake_counters.samplers, 1);
    *out = &s->base;
    return BATON_OK;
}

static float biased(const struct fake_sampler *s, const float *logits, bt_token token) {
    float x = logits[token];
    for (size_t i = 0; i < s->n_bias; i++)
        x += s->bias[i].token == token ? s->bias[i].bias : 0;
    return admits_token(s, token) ? x : -INFINITY;
}

/* BT_TOKEN_END: nothing is admitted. */
static bt_token greedy(const struct fake_sampler *s, const float *logits, int32_t n) {
    if (s->n_bias == 0 && !s->grammar)
        return bt_argmax(logits, n);
    bt_token best = 0;
    float most = biased(s, logits, 0);
    for (bt_token t = 1; t < n; t++) {
        float x = biased(s, logits, t);
        if (x > most) {
            best = t;
            most = x;
        }
    }
    return s->grammar && isinf(most) && most < 0 ? BT_TOKEN_END : best;
}

bt_token bt_fake_sampler_pick(const struct bt_sampler *base, const float *logits, int32_t n, uint64_t index) {
    const struct fake_sampler *s = BT_CONTAINER(base, const struct fake_sampler, base);
    bt_token best = greedy(s, logits, n);
    if (s->temperature <= 0 || best < 0)
        return best;
    double sum = 0, at = 0;
    float max = biased(s, logits, best);
    for (bt_token t = 0; t < n; t++)
        sum += exp((biased(s, logits, t) - max) / (double)s->temperature);
    double target = bt_draw(s->seed, index) * sum;
    for (bt_token t = 0; t < n; t++) {
        at += exp((biased(s, logits, t) - max) / (double)s->temperature);
        if (at > target)
            return t;
    }
    return best;
}
