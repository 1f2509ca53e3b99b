/* The fake native's sampler: greedy, or a counter-based draw at a temperature; logit bias. It does not know top_k,
 * top_p, min_p and penalties: what they do to logits is libllama's, and tested there. A sampler belongs to its request.
 */
#include "native/fake_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native/pick.h"

struct fake_sampler {
    struct bt_sampler base;
    float temperature;
    uint64_t seed;
    size_t n_bias;
    struct bt_logit_bias bias[];
};

static void sampler_accept(struct bt_sampler *s, bt_token token) {
    (void)s;
    (void)token;
}

static void sampler_free(struct bt_sampler *s) {
    free(BT_CONTAINER(s, struct fake_sampler, base));
    bt_fake_count(&bt_fake_counters.samplers, -1);
}

static const struct bt_sampler_ops sampler_ops = {.accept = sampler_accept, .free = sampler_free};

baton_status bt_fake_sampler_open(const struct bt_model *m, const struct bt_sampling *sampling, const bt_token *history,
                                  size_t n, struct bt_sampler **out, baton_error *err) {
    (void)m;
    (void)history;
    (void)n;
    *out = NULL;
    struct fake_sampler *s = calloc(1, sizeof *s + sampling->n_bias * sizeof *s->bias);
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a sampler with %zu biases", sampling->n_bias);
    s->base.ops = &sampler_ops;
    s->temperature = sampling->temperature;
    s->seed = sampling->seed;
    s->n_bias = sampling->n_bias;
    if (s->n_bias)
        memcpy(s->bias, sampling->bias, s->n_bias * sizeof *s->bias);
    bt_fake_count(&bt_fake_counters.samplers, 1);
    *out = &s->base;
    return BATON_OK;
}

static float biased(const struct fake_sampler *s, const float *logits, bt_token token) {
    float x = logits[token];
    for (size_t i = 0; i < s->n_bias; i++)
        x += s->bias[i].token == token ? s->bias[i].bias : 0;
    return x;
}

static bt_token greedy(const struct fake_sampler *s, const float *logits, int32_t n) {
    if (s->n_bias == 0)
        return bt_argmax(logits, n);
    bt_token best = 0;
    for (bt_token t = 1; t < n; t++)
        if (biased(s, logits, t) > biased(s, logits, best))
            best = t;
    return best;
}

bt_token bt_fake_sampler_pick(const struct bt_sampler *base, const float *logits, int32_t n, uint64_t index) {
    const struct fake_sampler *s = BT_CONTAINER(base, const struct fake_sampler, base);
    bt_token best = greedy(s, logits, n);
    if (s->temperature <= 0)
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
