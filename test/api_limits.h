/* What a program should not ask, and sometimes does: nothing where something is needed, no time at all, ids that are
 * not its own. The same answer whatever the policy, and the handle is as it was. */
#ifndef BT_API_LIMITS_H
#define BT_API_LIMITS_H

#include "api_probes.h"

static int limits_told; /* misuses that the handler heard of */
static inline void limits_hear(void *arg, baton_status status, const char *text) {
    (void)arg;
    limits_told += status == BATON_MISUSE && text[0] != '\0';
}

#define LIMITS_MISUSE(call)                                                                                            \
    do {                                                                                                               \
        int before_ = limits_told;                                                                                     \
        assert_int_equal(call, BATON_MISUSE);                                                                          \
        assert_int_equal(limits_told, before_ + 1);                                                                    \
    } while (0)
/* Of functions that return no status. */
#define LIMITS_TOLD(call)                                                                                              \
    do {                                                                                                               \
        int before_ = limits_told;                                                                                     \
        (void)(call);                                                                                                  \
        assert_int_equal(limits_told, before_ + 1);                                                                    \
    } while (0)

static inline bool limits_no_piece(void *arg, const baton_delta *d) {
    (void)arg;
    (void)d;
    return true;
}

/* A time of 0 ms is no time, not time without end. */
static inline void no_time_to_run_is_a_timeout_under_every_policy(const char *model) {
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_request request = BATON_REQUEST;
        baton_outcome o;
        baton_result r;
        baton_error err;
        if (p % 2) /* once as the policy's, once as the request's */
            request.run_ms = 0;
        else
            policy.run_ms = 0;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        endless_init(&e, m, model);
        e.request = request;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, &err), BATON_RUN_TIMEOUT);
        assert_int_equal(r.outcome.status, BATON_RUN_TIMEOUT);
        assert_int_equal(r.outcome.finish, BATON_FINISH_NONE);
        assert_non_null(strstr(err.text, "run time"));
        baton_result_free(&r);
        assert_int_equal(baton_llama_generate_cb(m, &e.ask, limits_no_piece, NULL, &o, &err), BATON_RUN_TIMEOUT);
        e.request.run_ms = -1;
        e.ask.max_tokens = 20;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, &err), BATON_OK);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

/* With another owner one short text may be through before the front looks at the time. */
static inline void no_time_for_a_vector_is_a_timeout_at_once(const char *model) {
    for (int p = 0; api_policy(p).owner == BATON_OWNER_CALLER; p++) {
        baton_policy policy = api_policy(p);
        baton_llama_params params = BATON_LLAMA_PARAMS;
        baton_request request = BATON_REQUEST;
        baton_embeddings out;
        baton_llama *m;
        baton_error err;
        params.policy = &policy;
        params.ctx = 256;
        params.pooling = BATON_POOLING_MEAN;
        assert_int_equal(baton_llama_open(&m, model, &params, &err), BATON_OK);
        request.run_ms = 0;
        assert_int_equal(baton_llama_embed(m, &request, "a lease", true, &out, &err), BATON_RUN_TIMEOUT);
        assert_null(out.values);
        request.run_ms = -1;
        assert_int_equal(baton_llama_embed(m, &request, "a lease", true, &out, &err), BATON_OK);
        baton_embeddings_free(&out);
        baton_llama_close(&m);
    }
}

/* Those from 2^63 on are baton's: a program's could be somebody else's, in a cancel. */
static inline void an_id_of_batons_own_is_refused_under_every_policy(const char *model) {
    baton_misuse_set(limits_hear, NULL);
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 256);
        baton_request request = BATON_REQUEST;
        baton_llama_ask ask = BATON_LLAMA_ASK;
        baton_stream *s;
        baton_result r;
        baton_error err;
        ask.request = &request;
        ask.prompt = "Once";
        ask.max_tokens = 2;
        request.id = UINT64_C(1) << 63;
        LIMITS_MISUSE(baton_llama_generate(m, &ask, &r, &err));
        assert_non_null(strstr(err.text, "9223372036854775808"));
        baton_result_free(&r);
        LIMITS_MISUSE(baton_llama_stream(m, &ask, &s, &err));
        assert_null(s);
        request.id--;
        assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_OK);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
    baton_misuse_set(NULL, NULL);
}

#endif
