/* Vectors and scores of the public API: the same bodies on the fake and on libllama. */
#ifndef BT_API_VECTORS_H
#define BT_API_VECTORS_H

#include "api_more.h"

struct more_embedder {
    pthread_t thread;
    baton_llama *m;
    const float *expected;
    bool same;
};
static const char *const more_texts[] = {"one", "a lease covers the transaction", "two words", "the gate is open"};
enum { MORE_TEXTS = sizeof more_texts / sizeof more_texts[0] };

static inline void *more_embed(void *arg) {
    struct more_embedder *e = arg;
    baton_embeddings out;
    e->same = true;
    for (int i = 0; i < 5; i++) {
        if (baton_llama_embed_batch(e->m, NULL, more_texts, MORE_TEXTS, true, &out, NULL))
            e->same = false;
        else
            e->same &= memcmp(out.values, e->expected, out.n * (size_t)out.dim * sizeof(float)) == 0;
        baton_embeddings_free(&out);
    }
    return NULL;
}

struct more_each {
    baton_llama *m;
    size_t at, vectors;
    const float *expected;
    baton_status inner;
    size_t stop_at;
};
static inline const char *more_next(void *arg) {
    struct more_each *e = arg;
    return e->at < MORE_TEXTS ? more_texts[e->at++] : NULL;
}
static inline bool more_on_vector(void *arg, const float *values, int dim) {
    struct more_each *e = arg;
    baton_embeddings out;
    assert_memory_equal(values, e->expected + e->vectors * (size_t)dim, (size_t)dim * sizeof *values);
    e->inner = baton_llama_embed(e->m, NULL, "inside", true, &out, NULL);
    baton_embeddings_free(&out);
    return ++e->vectors != e->stop_at;
}

/* What was asked of one handle, once and from four threads at once. */
static inline void more_vectors(baton_llama *m, baton_pooling pooling, baton_embeddings *all) {
    struct more_embedder askers[4];
    baton_embeddings one;
    baton_error err;
    baton_llama_details details = {.size = sizeof details};
    if (baton_llama_embed_batch(m, NULL, more_texts, MORE_TEXTS, true, all, &err))
        fail_msg("%s", err.text);
    baton_llama_get_details(m, &details);
    assert_true(all->dim == details.embedding_width && all->dim > 0);
    assert_true(all->n == MORE_TEXTS && all->normalised && all->pooling == pooling);
    for (size_t i = 0; i < MORE_TEXTS; i++) {
        double length = 0;
        const float *v = all->values + i * (size_t)all->dim;
        for (int k = 0; k < all->dim; k++)
            length += (double)v[k] * v[k];
        assert_true(fabs(length - 1) < 1e-4);
        assert_int_equal(baton_llama_embed(m, NULL, more_texts[i], true, &one, NULL), BATON_OK);
        assert_memory_equal(one.values, v, (size_t)all->dim * sizeof(float));
        assert_true(one.n == 1 && one.tokens[0] == all->tokens[i] && one.tokens[0] > 0);
        baton_embeddings_free(&one);
        baton_embeddings_free(&one);
    }
    for (int i = 0; i < 4; i++) {
        askers[i] = (struct more_embedder){.m = m, .expected = all->values};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, more_embed, &askers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_true(askers[i].same);
    }
}

static inline void more_one_after_the_other(baton_llama *m, const float *expected, int slots) {
    baton_error err;
    struct more_each each = {.m = m, .expected = expected};
    if (baton_llama_embed_each(m, NULL, more_next, more_on_vector, &each, true, &err))
        fail_msg("%s", err.text);
    assert_int_equal(each.vectors, MORE_TEXTS);
    assert_int_equal(each.inner, slots > 1 ? BATON_OK : BATON_REENTRANT); /* of two slots one is free */
    each = (struct more_each){.m = m, .expected = expected, .stop_at = 2};
    assert_int_equal(baton_llama_embed_each(m, NULL, more_next, more_on_vector, &each, true, &err), BATON_CANCELLED);
    assert_int_equal(each.vectors, 2);
    each = (struct more_each){.m = m, .expected = expected, .at = MORE_TEXTS};
    assert_int_equal(baton_llama_embed_each(m, NULL, more_next, more_on_vector, &each, true, &err), BATON_OK);
    assert_int_equal(each.vectors, 0);
}

/* Vectors are what they are alone, to the bit, in every way to ask for them and whoever the owner is. */
static inline void vectors_come_in_order_and_the_same_in_company(const char *path, baton_pooling pooling) {
    baton_embeddings first = {.n = 0}, all;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama_params params = BATON_LLAMA_PARAMS;
        params.policy = &policy;
        params.pooling = pooling;
        params.ctx = 256;
        params.threads = 1;
        params.exact = 1;
        baton_llama *m = more_open(path, &params);
        more_vectors(m, pooling, &all);
        more_one_after_the_other(m, all.values, policy.contexts * policy.sequences);
        baton_llama_close(&m);
        if (p == 0) {
            first = all;
            continue;
        }
        assert_int_equal(all.dim, first.dim);
        assert_memory_equal(all.values, first.values, MORE_TEXTS * (size_t)all.dim * sizeof(float));
        assert_memory_equal(all.tokens, first.tokens, MORE_TEXTS * sizeof *all.tokens);
        baton_embeddings_free(&all);
    }
    baton_embeddings_free(&first);
}

static inline void what_a_handle_is_not_for_is_refused(const char *generates, const char *embeds, int number) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_policy policy = api_policy(number);
    baton_llama_ask ask = more_ask(NULL, 3);
    baton_llama *m = api_open(generates, &policy, 256), *none;
    baton_embeddings out;
    baton_result r;
    baton_error err;
    float score;
    assert_int_equal(baton_llama_embed(m, NULL, "x", true, &out, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "pooling"));
    assert_int_equal(baton_llama_rerank(m, NULL, "q", more_texts, 1, &score, &err), BATON_UNSUPPORTED);
    baton_llama_close(&m);
    params.policy = &policy;
    params.pooling = BATON_POOLING_RANK;
    assert_int_equal(baton_llama_open(&none, generates, &params, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "rank head"));
    params.pooling = BATON_POOLING_NONE;
    assert_int_equal(baton_llama_open(&none, embeds, &params, &err), BATON_UNSUPPORTED);
    params.pooling = (baton_pooling)77;
    assert_int_equal(baton_llama_open(&none, embeds, &params, &err), BATON_INVALID);
    params.pooling = BATON_POOLING_MEAN;
    params.ctx = 256;
    m = more_open(embeds, &params);
    assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "BATON_POOLING_OFF"));
    baton_result_free(&r);
    char *long_text = calloc(1, 20000);
    memset(long_text, 'x', 19999);
    for (int i = 1; i < 19999; i += 2)
        long_text[i] = ' ';
    const char *texts[] = {"short", long_text};
    assert_int_equal(baton_llama_embed_batch(m, NULL, texts, 2, true, &out, &err), BATON_TOO_LONG);
    assert_non_null(strstr(err.text, "input 1"));
    assert_null(out.values);
    free(long_text);
    baton_llama_close(&m);
}

static inline void documents_are_ranked(const char *path) {
    float first[MORE_TEXTS], scores[MORE_TEXTS], alone;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama_params params = BATON_LLAMA_PARAMS;
        baton_embeddings out;
        baton_error err;
        params.policy = &policy;
        params.pooling = BATON_POOLING_RANK;
        params.ctx = 256;
        params.threads = 1;
        params.exact = 1;
        baton_llama *m = more_open(path, &params);
        if (baton_llama_rerank(m, NULL, "which gate", more_texts, MORE_TEXTS, scores, &err))
            fail_msg("%s", err.text);
        for (size_t i = 0; i < MORE_TEXTS; i++) {
            assert_int_equal(baton_llama_rerank(m, NULL, "which gate", &more_texts[i], 1, &alone, &err), BATON_OK);
            assert_true(alone == scores[i] && isfinite(alone));
        }
        assert_true(scores[0] != scores[1]);
        if (p == 0)
            memcpy(first, scores, sizeof first);
        assert_memory_equal(scores, first, sizeof first);
        assert_int_equal(baton_llama_embed(m, NULL, "x", true, &out, &err), BATON_UNSUPPORTED);
        baton_llama_close(&m);
    }
}

#endif
