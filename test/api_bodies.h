/* The public API under every policy: the same bodies on the fake and on libllama. Only public headers are used, as a
 * program would. */
#ifndef BT_API_BODIES_H
#define BT_API_BODIES_H

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "baton/llama.h"
#include "harness.h"

enum { API_POLICIES = 6 };
static inline baton_policy api_policy(int i) {
    baton_policy p = BATON_POLICY;
    p.when_full = BATON_WAIT;
    p.contexts = i == 1 || i == 4 || i == 5 ? 2 : 1;
    p.sequences = i == 3 ? 8 : i >= 4 ? 3 : 1;
    p.owner = i < 2 ? BATON_OWNER_CALLER : i < 5 ? BATON_OWNER_THREAD : BATON_OWNER_PROCESS;
    return p;
}

static inline baton_llama *api_open(const char *path, const baton_policy *policy, int ctx) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    params.policy = policy;
    params.ctx = ctx;
    params.threads = 1;
    if (baton_llama_open(&m, path, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

static inline baton_counts counts_of(const baton_llama *m) {
    baton_counts c = {.size = sizeof c};
    baton_llama_get_counts(m, &c);
    return c;
}

struct api_asker {
    baton_llama *m;
    pthread_t thread;
    int number;
    float temperature;
    bool streaming;
    char text[4096];
    baton_outcome outcome;
};

static inline void *api_ask(void *arg) {
    struct api_asker *a = arg;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_sampling sampling = BATON_SAMPLING;
    char prompt[64];
    snprintf(prompt, sizeof prompt, "Once upon a time number %d", a->number);
    sampling.temperature = a->temperature;
    sampling.seed = 7 + (uint64_t)a->number;
    ask.prompt = prompt;
    ask.sampling = &sampling;
    ask.max_tokens = 20 + a->number;
    if (a->streaming) {
        baton_stream *s;
        baton_delta d;
        size_t len = 0;
        if (baton_llama_stream(a->m, &ask, &s, NULL))
            return NULL;
        while (baton_stream_next(s, -1, &d) == BATON_OK) {
            memcpy(a->text + len, d.text, d.len);
            len += d.len;
        }
        (void)baton_stream_close(&s, &a->outcome);
        return NULL;
    }
    baton_result r;
    (void)!baton_llama_generate(a->m, &ask, &r, NULL);
    snprintf(a->text, sizeof a->text, "%s", r.text);
    a->outcome = r.outcome;
    baton_result_free(&r);
    return NULL;
}

static inline void text_survives_its_tokens(const char *path) {
    for (int p = 0; p < API_POLICIES; p += p < 4 ? 2 : 1) {
        static const char text[] = "A lease, h\xc3\xa9las: 3 \xe2\x82\xac \xf0\x9f\x98\x80";
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(path, &policy, 256);
        int32_t *tokens, bad = 1 << 30;
        size_t n, len;
        char *back;
        baton_error err;
        assert_int_equal(baton_llama_tokenize(m, text, sizeof text - 1, false, &tokens, &n, &err), BATON_OK);
        assert_int_equal(baton_llama_detokenize(m, tokens, n, &back, &len, &err), BATON_OK);
        assert_string_equal(back, text);
        assert_int_equal(len, sizeof text - 1);
        baton_free(back);
        baton_free(tokens);
        assert_int_equal(baton_llama_detokenize(m, &bad, 1, &back, &len, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, "1073741824"));
        baton_llama_close(&m);
    }
}

#endif
