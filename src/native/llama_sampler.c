/* libllama's sampler chain, and at its end our counter-based draw. A sampler belongs to its request and is used by one
 * thread at a time.
 *
 * Invariant: a pick depends on the logits, the history, the answer, the seed and the index alone. The candidates are
 * written anew in order of their ids for every pick, so that ties fall the same way in a resumed or re-batched request;
 * of the chain only the penalties keep anything from token to token, and that is the history. The grammar keeps its
 * place in the answer; it stands before the chain, or top_k could take away all that it admits. */
#include "native/llama_internal.h"

#include <math.h>
#include <stdlib.h>

#include "native/pick.h"

struct sampler {
    struct bt_sampler base;
    /* fixed at creation */
    bool greedy, remembers;
    uint64_t seed;
    struct llama_sampler *chain;   /* NULL: the largest logit, nothing else */
    struct llama_sampler *grammar; /* may be NULL */
    const struct llama_vocab *vocab;
    /* the request's thread */
    uint64_t index;
    bool strayed; /* a token was accepted that the grammar does not admit */
    llama_token_data *candidates;
    int32_t room;
};

static void sampler_accept(struct bt_sampler *base, bt_token token) {
    struct sampler *s = BT_CONTAINER(base, struct sampler, base);
    if (s->remembers)
        llama_sampler_accept(s->chain, token);
    if (!s->grammar || s->strayed)
        return;
    /* libllama throws, which ends the process, at a token that does not fit */
    s->strayed = !bt_llama_grammar_admits(s->grammar, token);
    if (!s->strayed)
        llama_sampler_accept(s->grammar, token);
}

static void sampler_free(struct bt_sampler *base) {
    struct sampler *s = BT_CONTAINER(base, struct sampler, base);
    if (s->chain)
        llama_sampler_free(s->chain);
    if (s->grammar)
        llama_sampler_free(s->grammar);
    free(s->candidates);
    free(s);
}

static const struct bt_sampler_ops sampler_ops = {.accept = sampler_accept, .free = sampler_free};

static const char *draw_name(const struct llama_sampler *sampler) {
    (void)sampler;
    return "baton-draw";
}

static int64_t largest(const llama_token_data_array *a) {
    int64_t best = -1;
    for (size_t i = 0; i < a->size; i++) {
        if (best < 0 || a->data[i].logit > a->data[best].logit ||
            (a->data[i].logit == a->data[best].logit && a->data[i].id < a->data[best].id))
            best = (int64_t)i;
    }
    return best;
}

static void draw_apply(struct llama_sampler *sampler, llama_token_data_array *a) {
    const struct sampler *s = sampler->ctx;
    int64_t best = largest(a);
    a->selected = best;
    if (best < 0 || s->greedy || isinf(a->data[best].logit))
        return;
    double sum = 0, at = 0;
    float max = a->data[best].logit;
    for (size_t i = 0; i < a->size; i++) {
        a->data[i].p = expf(a->data[i].logit - max);
        sum += a->data[i].p;
    }
    double target = bt_draw(s->seed, s->index) * sum;
    for (size_t i = 0; i < a->size; i++) {
        at += a->data[i].p;
        if (at > target) {
            a->selected = (int64_t)i;
            return;
        }
    }
}

static struct llama_sampler_i draw_iface = {.name = draw_name, .apply = draw_apply};

/* Control tokens have no text, but libllama's grammars take them by their names: what they let in would not be read. */
static bool is_text(const struct sampler *s, bt_token token) {
    return !llama_vocab_is_control(s->vocab, token) || llama_vocab_is_eog(s->vocab, token);
}

static size_t fill(struct sampler *s, const float *logits, int32_t n, bool *numbers) {
    size_t size = 0;
    *numbers = false;
    for (int32_t i = 0; i < BT_MIN(n, s->room); i++) {
        bool number = !isnan(logits[i]); /* sorting NaN is undefined */
        *numbers |= number;
        if (!s->grammar || is_text(s, i))
            s->candidates[size++] = (llama_token_data){.id = i, .logit = number ? logits[i] : -INFINITY};
    }
    return size;
}

/* BT_TOKEN_END: what is left is what the caller forbids. */
static bt_token draw(struct sampler *s, size_t size) {
    llama_token_data_array a = {.data = s->candidates, .size = size, .selected = -1};
    llama_sampler_apply(s->chain, &a);
    if (a.selected < 0)
        return -1;
    float logit = a.data[a.selected].logit;
    return s->grammar && isinf(logit) && logit < 0 ? BT_TOKEN_END : a.data[a.selected].id;
}

bt_token bt_llama_sampler_pick(struct bt_sampler *base, const float *logits, int32_t n, uint64_t index) {
    struct sampler *s = BT_CONTAINER(base, struct sampler, base);
    bool numbers;
    if (!s->chain)
        return bt_argmax(logits, n);
    size_t size = fill(s, logits, n, &numbers);
    if (!numbers)
        return -1;
    s->index = index;
    if (!s->grammar)
        return draw(s, size);
    if (s->strayed)
        return BT_TOKEN_END;
    if (s->greedy) { /* the best of all, if it is admitted, is the best of the admitted: most often, and cheaply so */
        bt_token best = draw(s, size);
        if (best >= 0 && bt_llama_grammar_admits(s->grammar, best))
            return best;
        size = fill(s, logits, n, &numbers);
    }
    size = bt_llama_grammar_filter(s->grammar, s->candidates, size);
    return size ? draw(s, size) : BT_TOKEN_END;
}

static baton_status check(const struct bt_llama_model *m, const struct bt_sampling *p, baton_error *err) {
    static const char text[] = "%s is %g: it must be %s";
    if (!isfinite(p->temperature))
        return bt_fail(err, BATON_INVALID, text, "temperature", (double)p->temperature, "a finite number");
    if (!(p->top_p >= 0 && p->top_p <= 1))
        return bt_fail(err, BATON_INVALID, text, "top_p", (double)p->top_p, "from 0 to 1");
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return bt_fail(err, BATON_INVALID, text, "min_p", (double)p->min_p, "from 0 to 1");
    if (!isfinite(p->presence_penalty))
        return bt_fail(err, BATON_INVALID, text, "presence_penalty", (double)p->presence_penalty, "a finite number");
    if (!isfinite(p->frequency_penalty))
        return bt_fail(err, BATON_INVALID, text, "frequency_penalty", (double)p->frequency_penalty, "a finite number");
    if (!(isfinite(p->repeat_penalty) && p->repeat_penalty > 0))
        return bt_fail(err, BATON_INVALID, text, "repeat_penalty", (double)p->repeat_penalty, "above 0");
    for (size_t i = 0; i < p->n_bias; i++) {
        if (p->bias[i].token < 0 || p->bias[i].token >= m->vocab_size)
            return bt_fail(err, BATON_INVALID, "logit_bias names token %d: this model has 0 to %d", p->bias[i].token,
                           m->vocab_size - 1);
        if (isnan(p->bias[i].bias))
            return bt_fail(err, BATON_INVALID, "logit_bias of token %d is not a number", p->bias[i].token);
    }
    return p->n_bias > INT32_MAX ? bt_fail(err, BATON_INVALID, "logit_bias has %zu entries", p->n_bias) : BATON_OK;
}

static bool add(struct sampler *s, struct llama_sampler *link) {
    if (link)
        llama_sampler_chain_add(s->chain, link);
    return link != NULL;
}

/* -1: the whole context, which can be no longer than what the model was trained for when nobody says otherwise. */
static int32_t penalty_window(const struct bt_llama_model *m, const struct bt_sampling *p) {
    return p->penalty_last_n < 0 ? llama_model_n_ctx_train(m->model) : p->penalty_last_n;
}

static bool build(struct sampler *s, const struct bt_llama_model *m, const struct bt_sampling *p) {
    bool ok = true;
    s->chain = llama_sampler_chain_init((struct llama_sampler_chain_params){.no_perf = true});
    s->room = m->vocab_size;
    s->candidates = malloc((size_t)s->room * sizeof *s->candidates);
    if (!s->chain || !s->candidates)
        return false;
    if (p->n_bias) {
        llama_logit_bias *bias = calloc(p->n_bias, sizeof *bias);
        for (size_t i = 0; bias && i < p->n_bias; i++)
            bias[i] = (llama_logit_bias){.token = p->bias[i].token, .bias = p->bias[i].bias};
        ok = bias && add(s, llama_sampler_init_logit_bias(m->vocab_size, (int32_t)p->n_bias, bias));
        free(bias);
    }
    if (s->remembers)
        ok = ok && add(s, llama_sampler_init_penalties(m->vocab_size, penalty_window(m, p), p->repeat_penalty,
                                                       p->frequency_penalty, p->presence_penalty));
    if (!s->greedy && p->top_k > 0)
        ok = ok && add(s, llama_sampler_init_top_k(p->top_k));
    if (!s->greedy && p->top_p < 1)
        ok = ok && add(s, llama_sampler_init_top_p(p->top_p, 1));
    if (!s->greedy && p->min_p > 0)
        ok = ok && add(s, llama_sampler_init_min_p(p->min_p, 1));
    if (!s->greedy && p->temperature != 1)
        ok = ok && add(s, llama_sampler_init_temp(p->temperature));
    return ok && add(s, llama_sampler_init(&draw_iface, s));
}

baton_status bt_llama_sampler_open(const struct bt_model *base, const struct bt_sampling *p, const bt_token *history,
                                   size_t n, struct bt_sampler **out, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    *out = NULL;
    baton_status status = check(m, p, err);
    if (status != BATON_OK)
        return status;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a sampler");
    s->base.ops = &sampler_ops;
    s->seed = p->seed;
    s->greedy = p->temperature <= 0;
    s->remembers =
        p->penalty_last_n != 0 && (p->repeat_penalty != 1 || p->frequency_penalty != 0 || p->presence_penalty != 0);
    s->vocab = m->vocab;
    if (p->grammar && p->grammar[0])
        status = bt_llama_grammar_open(m, p->grammar, &s->grammar, err);
    if (!status && (!s->greedy || s->remembers || p->n_bias || s->grammar) && !build(s, m, p))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a sampler over %d tokens", m->vocab_size);
    if (status) {
        sampler_free(&s->base);
        return status;
    }
    size_t window = s->remembers ? (size_t)penalty_window(m, p) : 0;
    for (size_t i = n - BT_MIN(n, window); i < n; i++)
        llama_sampler_accept(s->chain, history[i]);
    *out = &s->base;
    return BATON_OK;
}
