/* The oracle of every test: with exact on, a sequence's logits are the same to the bit however its prompt was cut,
 * whoever shares its decodes, and after a resume. Each check compares with a lone run in a fresh context. */
#ifndef BT_EXACTNESS_H
#define BT_EXACTNESS_H

#include "native_util.h"

enum { EXACT_STREAMS = 5, EXACT_STEPS = 24 };

/* Prompts of very different lengths, by repetition; the longest is above 64 tokens, where kernels change. */
static inline struct tokens exact_prompt(const struct bt_model *m, int i) {
    static const char text[] = " A lease is the right to use a context now, and the gate says who gets the next slot;";
    struct bt_buf b = BT_BUF_INIT;
    bt_buf_addf(&b, "Stream %d.", i);
    for (int k = 0; k < (i * 3) % EXACT_STREAMS * 2; k++)
        bt_buf_adds(&b, text);
    bt_buf_add(&b, "", 1);
    assert_false(b.failed);
    struct tokens out = tokenize(m, (char *)b.data);
    out.n = BT_MIN(out.n, (size_t)220); /* a vocabulary without words makes many tokens of it */
    bt_buf_free(&b);
    return out;
}

static inline void same_logits(const float *a, const float *b, int n, const char *what, int at) {
    assert_non_null(a);
    assert_non_null(b);
    if (memcmp(a, b, (size_t)n * sizeof *a) != 0)
        fail_msg("logits differ: %s, %d", what, at);
}

static inline float *keep_logits(struct bt_context *c, int row, int n) {
    float *copy = malloc((size_t)n * sizeof *copy);
    const float *logits = c->ops->logits(c, row);
    assert_non_null(copy);
    assert_non_null(logits);
    return memcpy(copy, logits, (size_t)n * sizeof *copy);
}

static inline int vocab_of(const struct bt_model *m) {
    struct bt_model_info info;
    m->ops->info(m, &info);
    return info.vocab_size;
}

static inline void check_chunking(struct bt_model *m) {
    static const size_t cuts[] = {1, 7, 32, 63, 64, 100};
    int vocab = vocab_of(m);
    struct tokens p = exact_prompt(m, 3);
    assert_true(p.n > 130);
    struct bt_context *c = open_context(m, 2, 1024, true);
    float *whole = keep_logits(c, feed(c, 0, 0, p.t, p.n, 512), vocab);
    for (size_t i = 0; i < BT_COUNT(cuts); i++) {
        assert_true(c->ops->seq_rm(c, 0, -1, -1));
        int row = feed(c, 0, 0, p.t, p.n, cuts[i]);
        same_logits(whole, c->ops->logits(c, row), vocab, "prompt cut at", (int)cuts[i]);
    }
    free(whole);
    free(p.t);
    c->ops->free(c);
}

struct exact_stream {
    struct tokens prompt;
    bt_token tokens[EXACT_STEPS];
    float *logits[EXACT_STEPS];
};

/* The greedy answer of a lone run, end tokens among it, with all its logits. */
static inline void run_lone(struct bt_model *m, struct exact_stream *s) {
    int vocab = vocab_of(m), row;
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    struct bt_sampler *pick = open_sampler(m, &greedy, s->prompt.t, s->prompt.n);
    struct bt_context *c = open_context(m, 1, 1024, true);
    row = feed(c, 0, 0, s->prompt.t, s->prompt.n, 512);
    for (int i = 0; i < EXACT_STEPS; i++) {
        s->logits[i] = keep_logits(c, row, vocab);
        s->tokens[i] = c->ops->sample(c, pick, row, (uint64_t)i);
        row = feed(c, 0, (int32_t)s->prompt.n + i, &s->tokens[i], 1, 1);
    }
    pick->ops->free(pick);
    c->ops->free(c);
}

/* All streams in one context: prompts in different cuts while others already decode, then all in one decode. */
static inline void check_neighbours(struct bt_model *m, struct exact_stream streams[EXACT_STREAMS]) {
    int vocab = vocab_of(m), at[EXACT_STREAMS] = {0};
    struct bt_context *c = open_context(m, EXACT_STREAMS, 1024, true);
    for (int step = 0; step < EXACT_STEPS + EXACT_STREAMS; step++) {
        if (step < EXACT_STREAMS) { /* stream `step` joins */
            struct tokens p = streams[step].prompt;
            int row = feed(c, step, 0, p.t, p.n, (size_t)(20 + 30 * step));
            same_logits(streams[step].logits[0], c->ops->logits(c, row), vocab, "first of stream", step);
        }
        struct bt_row rows[EXACT_STREAMS];
        int n = 0, who[EXACT_STREAMS];
        for (int i = 0; i <= step && i < EXACT_STREAMS; i++)
            if (at[i] < EXACT_STEPS - 1) {
                who[n] = i;
                rows[n++] = (struct bt_row){streams[i].tokens[at[i]], (int32_t)streams[i].prompt.n + at[i], i, true};
                at[i]++;
            }
        if (n == 0)
            break;
        assert_int_equal(c->ops->decode(c, rows, n), BT_DECODE_OK);
        for (int i = 0; i < n; i++)
            same_logits(streams[who[i]].logits[at[who[i]]], c->ops->logits(c, i), vocab, "stream among neighbours",
                        who[i]);
    }
    c->ops->free(c);
}

/* A new owner gets the prompt and the tokens so far, and goes on. */
static inline void check_resume(struct bt_model *m, const struct exact_stream *s) {
    int vocab = vocab_of(m);
    for (int k = 1; k < EXACT_STEPS; k += 5) {
        struct bt_context *c = open_context(m, 2, 1024, true);
        bt_token *all = calloc(s->prompt.n + (size_t)k, sizeof *all);
        assert_non_null(all);
        memcpy(all, s->prompt.t, s->prompt.n * sizeof *all);
        memcpy(all + s->prompt.n, s->tokens, (size_t)k * sizeof *all);
        int row = feed(c, 1, 0, all, s->prompt.n + (size_t)k, 128);
        same_logits(s->logits[k], c->ops->logits(c, row), vocab, "resumed after token", k);
        free(all);
        c->ops->free(c);
    }
}

static inline void check_exactness(struct bt_model *m) {
    struct exact_stream streams[EXACT_STREAMS];
    for (int i = 0; i < EXACT_STREAMS; i++) {
        streams[i].prompt = exact_prompt(m, i);
        run_lone(m, &streams[i]);
    }
    check_chunking(m);
    check_neighbours(m, streams);
    check_resume(m, &streams[0]);
    check_resume(m, &streams[3]);
    for (int i = 0; i < EXACT_STREAMS; i++) {
        for (int k = 0; k < EXACT_STEPS; k++)
            free(streams[i].logits[k]);
        free(streams[i].prompt.t);
    }
}

#endif
