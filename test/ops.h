/* What the fake and libllama promise alike: states, adapters, vectors. */
#ifndef BT_OPS_H
#define BT_OPS_H

#include "native_util.h"

#include <math.h>

/* Goes on with an answer from what is in the cache: `known` tokens, all but the last of them fed. */
static inline size_t go_on(struct bt_context *c, const struct bt_model *m, int seq, const struct bt_sampling *p,
                           struct tokens known, size_t answered, bt_token *out, size_t max) {
    struct bt_sampler *s = open_sampler(m, p, known.t, known.n);
    size_t n = 0;
    int row = feed(c, seq, (int32_t)known.n - 1, known.t + known.n - 1, 1, 1);
    while (n < max) {
        bt_token token = c->ops->sample(c, s, row, answered + n);
        if (m->ops->is_end(m, token))
            break;
        s->ops->accept(s, token);
        out[n++] = token;
        if (n < max)
            row = feed(c, seq, (int32_t)(known.n + n - 1), &token, 1, 1);
    }
    s->ops->free(s);
    return n;
}

/* Saved in one context after k tokens of the answer, restored in another at another place, and gone on from there. */
static inline void a_restored_answer_goes_on_token_for_token(struct bt_model *m, struct tokens prompt) {
    enum { N = 24 };
    struct bt_context *a = open_context(m, 2, 512, true), *b = open_context(m, 2, 512, true);
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    bt_token whole[N], rest[N], other[N], *known = malloc((prompt.n + N) * sizeof *known);
    baton_error err;
    p.temperature = 0.9f;
    p.seed = 17;
    size_t n = generate(a, m, 0, prompt, &p, whole, N);
    assert_true(n > 4);
    memcpy(known, prompt.t, prompt.n * sizeof *known);
    memcpy(known + prompt.n, whole, n * sizeof *known);
    for (size_t k = 1; k < n; k += 5) {
        struct tokens so_far = {known, prompt.n + k};
        assert_true(a->ops->seq_rm(a, 1, -1, -1));
        feed(a, 1, 0, known, so_far.n - 1, 64);
        size_t size = a->ops->state_size(a, 1);
        unsigned char *state = malloc(size);
        assert_true(size > 0);
        assert_int_equal(a->ops->state_get(a, 1, state, size - 1), 0);
        size = a->ops->state_get(a, 1, state, size);
        assert_true(size > 0);
        size_t beside = generate(b, m, 0, prompt, &p, other, N); /* a neighbour, and old tokens in the way */
        assert_true(b->ops->seq_rm(b, 1, -1, -1));
        feed(b, 1, 0, prompt.t, prompt.n, 64);
        if (b->ops->state_set(b, 1, state, size, &err))
            fail_msg("%s", err.text);
        assert_int_equal(b->ops->pos_max(b, 1), so_far.n - 2);
        assert_int_equal(go_on(b, m, 1, &p, so_far, k, rest, n - k), n - k);
        assert_memory_equal(rest, whole + k, (n - k) * sizeof *rest);
        assert_true(beside == n && memcmp(other, whole, n * sizeof *other) == 0);
        free(state);
    }
    free(known);
    a->ops->free(a);
    b->ops->free(b);
}

static inline void expect_refused(struct bt_context *c, const unsigned char *state, size_t size, baton_status why,
                                  const char *says) {
    baton_error err;
    int32_t before = c->ops->pos_max(c, 1);
    assert_int_equal(c->ops->state_set(c, 1, state, size, &err), why);
    if (!strstr(err.text, says))
        fail_msg("%s: '%s' is not in it", err.text, says);
    assert_int_equal(c->ops->pos_max(c, 1), before);
}

/* Bytes that are not what was saved are refused, and what was there stays. */
static inline void a_damaged_state_is_refused(struct bt_model *m, struct tokens prompt) {
    struct bt_context *c = open_context(m, 2, 512, true);
    feed(c, 0, 0, prompt.t, prompt.n, 64);
    feed(c, 1, 0, prompt.t, prompt.n / 2, 64);
    size_t size = c->ops->state_size(c, 0);
    unsigned char *state = malloc(size + 8);
    size = c->ops->state_get(c, 0, state, size);
    expect_refused(c, state, 3, BATON_INVALID, "cut off");
    expect_refused(c, state, size - 8, BATON_INVALID, "cut off");
    for (size_t at = 0; at < size; at += size / 13) {
        if (at >= 24 && at < 32)
            continue;
        state[at] ^= 0x10;
        expect_refused(c, state, size, BATON_INVALID, "state");
        state[at] ^= 0x10;
    }
    baton_error err;
    assert_int_equal(c->ops->state_set(c, 1, state, size, &err), BATON_OK);
    assert_int_equal(c->ops->state_set(c, 2, state, size, &err), BATON_INVALID);
    assert_int_equal(c->ops->state_size(c, -1), 0);
    free(state);
    c->ops->free(c);
}

/* With an adapter the answer is another one; without it again, the same; and no cell outlives the change. */
static inline void adapters_change_the_answer_and_leave_no_trace(struct bt_model *m, struct tokens prompt,
                                                                 const char *path) {
    enum { N = 12 };
    struct bt_context *c = open_context(m, 2, 512, true), *d = open_context(m, 2, 512, true);
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    bt_token plain[N], with[N], again[N];
    struct bt_adapter *a;
    baton_error err;
    float one = 1, half = 0.5f;
    if (m->ops->adapter(m, path, &a, &err))
        fail_msg("%s", err.text);
    size_t n = generate(c, m, 0, prompt, &p, plain, N);
    assert_int_equal(c->ops->set_adapters(c, &a, &one, 1, &err), BATON_OK);
    assert_int_equal(c->ops->pos_max(c, 0), -1);
    size_t k = generate(c, m, 0, prompt, &p, with, N);
    assert_true(k != n || memcmp(plain, with, n * sizeof *plain) != 0);
    feed(c, 1, 0, prompt.t, prompt.n, 64);
    assert_int_equal(c->ops->set_adapters(c, &a, &one, 1, &err), BATON_OK); /* no change: nothing is lost */
    assert_int_equal(c->ops->pos_max(c, 1), prompt.n - 1);
    size_t size = c->ops->state_size(c, 1);
    unsigned char *state = malloc(size);
    size = c->ops->state_get(c, 1, state, size);
    assert_int_equal(d->ops->state_set(d, 0, state, size, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "adapters"));
    assert_int_equal(d->ops->set_adapters(d, &a, &one, 1, &err), BATON_OK);
    assert_int_equal(generate(d, m, 0, prompt, &p, again, N), k);
    assert_memory_equal(again, with, k * sizeof *with);
    assert_int_equal(d->ops->state_set(d, 0, state, size, &err), BATON_OK);
    assert_int_equal(c->ops->set_adapters(c, &a, &half, 1, &err), BATON_OK);
    assert_int_equal(c->ops->pos_max(c, 1), -1);
    assert_int_equal(c->ops->set_adapters(c, NULL, NULL, 0, &err), BATON_OK);
    assert_int_equal(generate(c, m, 0, prompt, &p, again, N), n);
    assert_memory_equal(again, plain, n * sizeof *plain);
    free(state);
    c->ops->free(c);
    d->ops->free(d);
    m->ops->adapter_free(m, a);
}

static inline struct bt_context *open_embedder(struct bt_model *m, int sequences, int ctx, bool exact,
                                               enum bt_pooling pooling) {
    struct bt_context_params params = {
        .sequences = sequences, .ctx = ctx, .threads = 1, .exact = exact, .pooling = pooling};
    struct bt_context *c;
    baton_error err;
    if (m->ops->context(m, &params, &c, &err) != BATON_OK)
        fail_msg("context: %s", err.text);
    return c;
}

/* Vectors come in the inputs' order, each as it is alone (to the bit when exact), normalised when asked. */
static inline void vectors_are_what_they_are_alone(struct bt_model *m, enum bt_pooling pooling, bool exact) {
    static const char *const texts[] = {"one", "a lease covers the transaction", "two words", "x", "the gate is open"};
    enum { N = BT_COUNT(texts) };
    struct bt_context *c = open_embedder(m, 3, 256, exact, pooling);
    struct bt_input inputs[N];
    baton_error err;
    size_t width = (size_t)c->ops->embed_width(c), vectors = 0;
    assert_true(width > 0);
    for (size_t i = 0; i < N; i++) {
        struct tokens t = tokenize(m, texts[i]);
        inputs[i] = (struct bt_input){t.t, t.n};
        vectors += pooling == BT_POOL_NONE ? t.n : 1;
    }
    float *all = malloc(vectors * width * sizeof *all), *alone = malloc(vectors * width * sizeof *alone);
    if (c->ops->embed(c, inputs, N, true, all, &err))
        fail_msg("%s", err.text);
    float *at = alone;
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(c->ops->embed(c, &inputs[i], 1, true, at, &err), BATON_OK);
        at += width * (pooling == BT_POOL_NONE ? inputs[i].n : 1);
    }
    for (size_t v = 0; v < vectors; v++) {
        double length = 0;
        for (size_t i = v * width; i < (v + 1) * width; i++) {
            length += (double)all[i] * all[i];
            assert_true(isfinite(all[i]));
            if (exact ? all[i] != alone[i] : fabsf(all[i] - alone[i]) > 2e-3f)
                fail_msg("vector %zu differs: %g and %g alone", v, (double)all[i], (double)alone[i]);
        }
        assert_true(pooling == BT_POOL_RANK || fabs(length - 1) < 1e-4);
        assert_true(v == 0 || pooling == BT_POOL_NONE || memcmp(all, all + v * width, width * sizeof *all) != 0);
    }
    struct bt_row row = {inputs[0].tokens[0], 0, 0, true};
    assert_int_equal(c->ops->decode(c, &row, 1), BT_DECODE_INVALID);
    for (size_t i = 0; i < N; i++)
        free((void *)inputs[i].tokens);
    free(all);
    free(alone);
    c->ops->free(c);
}

static inline void what_cannot_be_embedded_is_refused_by_number(struct bt_model *m) {
    struct bt_context *c = open_embedder(m, 2, 256, true, BT_POOL_MEAN), *generates = NULL;
    static bt_token many[5000];
    float vector[1024];
    baton_error err;
    struct bt_input inputs[] = {{many, 2}, {many, 5000}}, empty = {many, 0};
    assert_true(c->ops->embed_width(c) <= 1024);
    assert_int_equal(c->ops->embed(c, inputs, 2, true, vector, &err), BATON_TOO_LONG);
    assert_non_null(strstr(err.text, "input 1 has 5000"));
    assert_int_equal(c->ops->embed(c, &empty, 1, true, vector, &err), BATON_INVALID);
    c->ops->free(c);
    struct bt_model_details details;
    m->ops->details(m, &details);
    if (!details.generates)
        return;
    generates = open_context(m, 1, 256, true);
    assert_int_equal(generates->ops->embed_width(generates), 0);
    assert_int_equal(generates->ops->embed(generates, inputs, 1, true, vector, &err), BATON_UNSUPPORTED);
    generates->ops->free(generates);
}

static inline bool find_metadata(const struct bt_model *m, const char *key, struct bt_buf *value) {
    struct bt_buf k = BT_BUF_INIT;
    bool found = false;
    for (int i = 0; !found; i++) {
        k.len = value->len = 0;
        if (!m->ops->metadata(m, i, &k, value))
            break;
        bt_buf_add(&k, "", 1);
        bt_buf_add(value, "", 1);
        found = strcmp((char *)k.data, key) == 0;
    }
    bt_buf_free(&k);
    return found;
}

static inline void text_comes_back(const struct bt_model *m, const char *text) {
    struct tokens t = tokenize(m, text);
    struct bt_buf out = BT_BUF_INIT;
    baton_error err;
    bt_token bad[] = {t.t[0], 1 << 28};
    assert_int_equal(m->ops->detokenize(m, t.t, t.n, false, &out, &err), BATON_OK);
    bt_buf_add(&out, "", 1);
    assert_string_equal((char *)out.data, text);
    assert_int_equal(m->ops->detokenize(m, bad, 2, false, &out, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "index 1"));
    bt_buf_free(&out);
    free(t.t);
}

#endif
