/* What tests of native/ share: a model, a context, and generation of a lone run with nothing between. */
#ifndef BT_NATIVE_UTIL_H
#define BT_NATIVE_UTIL_H

#include "harness.h"

#include <string.h>

#include "native/native.h"

static inline struct bt_model *open_model(const char *path) {
    struct bt_model_params params = {.path = path};
    struct bt_model *m;
    baton_error err;
    if (bt_model_open(&params, &m, &err) != BATON_OK)
        fail_msg("model: %s", err.text);
    return m;
}

static inline struct bt_context *open_context(struct bt_model *m, int sequences, int ctx, bool exact) {
    struct bt_context_params params = {.sequences = sequences, .ctx = ctx, .threads = 1, .exact = exact};
    struct bt_context *c;
    baton_error err;
    if (m->ops->context(m, &params, &c, &err) != BATON_OK)
        fail_msg("context: %s", err.text);
    return c;
}

static inline struct bt_sampler *open_sampler(const struct bt_model *m, const struct bt_sampling *p,
                                              const bt_token *history, size_t n) {
    struct bt_sampler *s;
    baton_error err;
    if (m->ops->sampler(m, p, history, n, &s, &err) != BATON_OK)
        fail_msg("sampler: %s", err.text);
    return s;
}

struct tokens {
    bt_token *t;
    size_t n;
};

static inline struct tokens tokenize(const struct bt_model *m, const char *text) {
    struct tokens out;
    baton_error err;
    if (m->ops->tokenize(m, text, strlen(text), true, true, &out.t, &out.n, &err) != BATON_OK)
        fail_msg("tokenize: %s", err.text);
    return out;
}

/* The prompt of a chat of one question. */
static inline struct tokens ask(const struct bt_model *m, const char *question) {
    struct bt_chat_message message = {.role = "user", .content = question};
    struct bt_buf text = BT_BUF_INIT;
    baton_error err;
    if (m->ops->chat(m, &message, 1, &text, &err) != BATON_OK)
        fail_msg("chat: %s", err.text);
    bt_buf_add(&text, "", 1);
    struct tokens out = tokenize(m, (char *)text.data);
    bt_buf_free(&text);
    return out;
}

/* Feeds tokens[0 .. n) to a sequence from position `pos`, `cut` at a time; only the last wants logits. Returns the
 * row of the last one. */
static inline int feed(struct bt_context *c, int seq, int32_t pos, const bt_token *tokens, size_t n, size_t cut) {
    struct bt_row rows[512];
    size_t count = 0;
    for (size_t i = 0; i < n; i += count) {
        count = n - i < cut ? n - i : cut;
        for (size_t k = 0; k < count; k++)
            rows[k] = (struct bt_row){tokens[i + k], pos + (int32_t)(i + k), seq, i + k + 1 == n};
        assert_int_equal(c->ops->decode(c, rows, (int)count), BT_DECODE_OK);
    }
    return (int)count - 1;
}

/* Up to max tokens of the answer, the end token not among them; returns how many. */
static inline size_t generate(struct bt_context *c, const struct bt_model *m, int seq, struct tokens prompt,
                              const struct bt_sampling *p, bt_token *out, size_t max) {
    struct bt_sampler *s = open_sampler(m, p, prompt.t, prompt.n);
    size_t n = 0;
    assert_true(c->ops->seq_rm(c, seq, -1, -1));
    int row = feed(c, seq, 0, prompt.t, prompt.n, 64);
    while (n < max) {
        bt_token token = c->ops->sample(c, s, row, n);
        assert_true(token >= 0);
        if (m->ops->is_end(m, token))
            break;
        s->ops->accept(s, token);
        out[n++] = token;
        if (n < max)
            row = feed(c, seq, (int32_t)(prompt.n + n - 1), &token, 1, 1);
    }
    s->ops->free(s);
    return n;
}

static inline void print_answer(const struct bt_model *m, const bt_token *tokens, size_t n) {
    struct bt_buf text = BT_BUF_INIT;
    for (size_t i = 0; i < n; i++)
        m->ops->piece(m, tokens[i], &text);
    print_message("%zu tokens: %.*s\n", n, (int)text.len, (char *)text.data);
    bt_buf_free(&text);
}

#endif
