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

/* NULL for the handle, which is what a close leaves behind, or for a place: said, and nothing is touched. */
static inline void limits_without_a_model(void) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_llama_info info = {.size = sizeof info};
    baton_llama_details details = {.size = sizeof details};
    baton_counts counts = {.size = sizeof counts};
    baton_embeddings out;
    baton_outcome o;
    baton_result r;
    baton_stream *s = (baton_stream *)&ask;
    baton_error err;
    int32_t *tokens = (int32_t *)&ask, one = 1;
    char *text = (char *)&ask, *value = text;
    float score;
    size_t n = 7;
    static const char *const texts[] = {"a"};
    ask.prompt = "Once";
    LIMITS_MISUSE(baton_llama_generate(NULL, &ask, &r, &err));
    assert_string_equal(r.text, "");
    assert_int_equal(r.outcome.status, BATON_MISUSE);
    assert_non_null(strstr(err.text, "baton_llama_generate"));
    assert_non_null(strstr(err.text, "model"));
    baton_result_free(&r);
    LIMITS_MISUSE(baton_llama_stream(NULL, &ask, &s, &err));
    assert_null(s);
    LIMITS_MISUSE(baton_llama_generate_cb(NULL, &ask, limits_no_piece, NULL, &o, NULL));
    assert_int_equal(o.status, BATON_MISUSE);
    LIMITS_MISUSE(baton_llama_reset(NULL, NULL, NULL));
    LIMITS_MISUSE(baton_llama_run(NULL, NULL, NULL, NULL, NULL));
    LIMITS_MISUSE(baton_llama_tokenize(NULL, "a", 1, false, &tokens, &n, NULL));
    assert_true(!tokens && n == 0);
    LIMITS_MISUSE(baton_llama_detokenize(NULL, &one, 1, &text, &n, NULL));
    assert_null(text);
    LIMITS_MISUSE(baton_llama_piece(NULL, 1, &text, &n, NULL));
    LIMITS_MISUSE(baton_llama_metadata(NULL, 0, &text, &value, NULL));
    assert_null(value);
    LIMITS_MISUSE(baton_llama_metadata_get(NULL, "a", &value, NULL));
    LIMITS_MISUSE(baton_llama_embed(NULL, NULL, "a", true, &out, NULL));
    assert_null(out.values);
    LIMITS_MISUSE(baton_llama_embed_batch(NULL, NULL, texts, 1, true, &out, NULL));
    LIMITS_MISUSE(baton_llama_embed_each(NULL, NULL, NULL, NULL, NULL, true, NULL));
    LIMITS_MISUSE(baton_llama_rerank(NULL, NULL, "a", texts, 1, &score, NULL));
    LIMITS_TOLD(baton_llama_cancel(NULL, 1));
    LIMITS_TOLD(baton_llama_is_end(NULL, 1));
    LIMITS_TOLD((baton_llama_get_info(NULL, &info), 0));
    LIMITS_TOLD((baton_llama_get_details(NULL, &details), 0));
    LIMITS_TOLD((baton_llama_get_counts(NULL, &counts), 0));
}

static inline void limits_without_a_stream_or_a_ticket(void) {
    baton_delta d;
    void *state = &d;
    size_t n = 7;
    char *json = (char *)&d;
    LIMITS_MISUSE(baton_stream_next(NULL, 0, &d));
    LIMITS_MISUSE(baton_llama_save_state(NULL, &state, &n, NULL));
    assert_true(!state && n == 0);
    LIMITS_MISUSE(baton_llama_save_state_file(NULL, "x", NULL));
    LIMITS_MISUSE(baton_llama_load_state(NULL, &state, &n, NULL));
    LIMITS_MISUSE(baton_snapshot_json(NULL, &json, NULL));
    assert_null(json);
    LIMITS_TOLD(baton_stream_fd(NULL));
    LIMITS_TOLD(baton_stream_id(NULL));
    LIMITS_TOLD(baton_ticket_fd(NULL));
    LIMITS_TOLD(baton_ticket_id(NULL));
    baton_result_free(NULL); /* what frees takes nothing for nothing */
    baton_embeddings_free(NULL);
    baton_snapshot_free(NULL);
    baton_free(NULL);
}

/* A list with a length and no elements, or with one that is not there. */
static inline void limits_with_holes(baton_llama *m) {
    static const char *const no_text[] = {NULL};
    static const baton_message no_role = {NULL, "a"}, no_content = {"user", NULL};
    baton_sampling sampling = BATON_SAMPLING;
    baton_stream *s;
    baton_error err;
    for (int hole = 0; hole < 7; hole++) {
        baton_llama_ask ask = BATON_LLAMA_ASK;
        ask.prompt = hole < 3 ? "Once" : NULL;
        ask.n_stops = hole < 2;
        ask.stops = hole == 1 ? no_text : NULL;
        ask.sampling = hole == 2 ? &sampling : NULL;
        sampling.n_bias = 3;
        ask.messages = hole == 3 ? &no_role : hole == 4 ? &no_content : NULL;
        ask.n_messages = hole == 3 || hole == 4 || hole == 5;
        ask.n_tokens = hole == 6;
        LIMITS_MISUSE(baton_llama_stream(m, &ask, &s, &err));
        assert_null(s);
        assert_true(err.text[0]);
    }
}

static inline void nothing_where_something_is_needed_is_misuse(const char *model) {
    baton_misuse_set(limits_hear, NULL);
    limits_without_a_model();
    limits_without_a_stream_or_a_ticket();
    for (int p = 0; p < API_POLICIES; p += p ? 2 : 3) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 256);
        baton_llama_ask ask = BATON_LLAMA_ASK;
        int32_t *tokens;
        size_t n;
        char *text;
        baton_result r;
        ask.prompt = "Once";
        limits_with_holes(m);
        LIMITS_MISUSE(baton_llama_generate(m, &ask, NULL, NULL));
        LIMITS_MISUSE(baton_llama_generate(m, NULL, &r, NULL));
        baton_result_free(&r);
        LIMITS_MISUSE(baton_llama_stream(m, &ask, NULL, NULL));
        LIMITS_MISUSE(baton_llama_generate_cb(m, &ask, NULL, NULL, NULL, NULL));
        LIMITS_MISUSE(baton_llama_run(m, NULL, NULL, NULL, NULL));
        LIMITS_MISUSE(baton_llama_tokenize(m, "a", 1, false, NULL, NULL, NULL));
        LIMITS_MISUSE(baton_llama_tokenize(m, NULL, 1, false, &tokens, &n, NULL));
        assert_int_equal(baton_llama_tokenize(m, NULL, 0, false, &tokens, &n, NULL), BATON_OK);
        assert_int_equal(n, 0);
        baton_free(tokens);
        assert_int_equal(baton_llama_tokenize(m, "a", (size_t)3 << 30, false, &tokens, &n, NULL), BATON_TOO_LONG);
        LIMITS_MISUSE(baton_llama_detokenize(m, NULL, 1, &text, &n, NULL));
        LIMITS_MISUSE(baton_llama_metadata_get(m, NULL, &text, NULL));
        LIMITS_MISUSE(baton_llama_embed(m, NULL, "a", true, NULL, NULL));
        LIMITS_TOLD((baton_llama_get_info(m, NULL), 0));
        LIMITS_TOLD((baton_llama_get_counts(m, NULL), 0));
        still_answers(m);
        baton_llama_close(&m);
    }
    baton_misuse_set(NULL, NULL);
}

static inline baton_stream *limits_read(baton_llama *m, const char *prompt, uint64_t id) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_request request = BATON_REQUEST;
    baton_stream *s;
    baton_delta d;
    request.id = id;
    ask.request = &request;
    ask.prompt = prompt;
    ask.max_tokens = 12;
    assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
    while (baton_stream_next(s, -1, &d) == BATON_OK)
        ;
    return s;
}

/* What comes after the conversation of the stream, which is closed. */
static inline char *limits_go_on(baton_llama *m, baton_stream **s) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_result r;
    baton_error err;
    void *state;
    size_t size;
    if (baton_llama_save_state(*s, &state, &size, &err))
        fail_msg("%s", err.text);
    assert_int_equal(baton_stream_close(s, NULL), BATON_OK);
    ask.state = state;
    ask.state_size = size;
    ask.prompt = ". And then";
    ask.max_tokens = 12;
    assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_OK);
    baton_free(state);
    return r.text;
}

/* A stream that has ended can still be saved, by its id: nobody else's conversation may go by that then. */
static inline void an_id_is_its_streams_until_that_is_closed(const char *model) {
    for (int p = 2; p < API_POLICIES; p++) {
        static const char *const prompts[] = {"Once upon a time", "Who waits at the gate?"};
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 256);
        baton_llama_ask ask = BATON_LLAMA_ASK;
        baton_request request = BATON_REQUEST;
        baton_result r;
        baton_error err;
        baton_stream *s = limits_read(m, prompts[1], 7);
        char *right = limits_go_on(m, &s), *other;
        s = limits_read(m, prompts[0], 5);
        ask.request = &request;
        ask.prompt = prompts[1];
        ask.max_tokens = 3;
        request.id = 5;
        assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, "5"));
        baton_result_free(&r);
        other = limits_go_on(m, &s);
        assert_string_not_equal(other, right);
        baton_free(other);
        s = limits_read(m, prompts[1], 5); /* the id again, and it is the last one's conversation that is saved */
        other = limits_go_on(m, &s);
        assert_string_equal(other, right);
        baton_free(other);
        baton_free(right);
        baton_llama_close(&m);
    }
}

#endif
