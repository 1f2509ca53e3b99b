/* Grammars, callbacks, states and adapters of the public API: the same bodies on the fake and on libllama. */
#ifndef BT_API_MORE_H
#define BT_API_MORE_H

#include "api_bodies.h"

#include <math.h>

/* The name of an empty file that nobody else has. */
static inline void more_file(char *path, size_t size) {
    snprintf(path, size, "/tmp/baton-state-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static inline baton_llama_ask more_ask(const baton_sampling *sampling, int max_tokens) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    ask.prompt = "Once upon a time there was";
    ask.sampling = sampling;
    ask.max_tokens = max_tokens;
    return ask;
}

static inline char *more_generate(baton_llama *m, const baton_llama_ask *ask, baton_outcome *o) {
    baton_result r;
    baton_error err;
    if (baton_llama_generate(m, ask, &r, &err))
        fail_msg("%s", err.text);
    if (o)
        *o = r.outcome;
    return r.text;
}

static inline baton_llama *more_open(const char *path, const baton_llama_params *params) {
    baton_llama *m;
    baton_error err;
    if (baton_llama_open(&m, path, params, &err))
        fail_msg("%s", err.text);
    return m;
}

static inline void a_grammar_holds_under_every_policy(const char *path) {
    char *first = NULL;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(path, &policy, 256);
        baton_sampling sampling = BATON_SAMPLING;
        baton_llama_ask ask = more_ask(&sampling, -1);
        baton_result r;
        baton_error err;
        baton_outcome o;
        sampling.temperature = 1;
        sampling.seed = 3;
        ask.grammar = "root ::= \"yes\" | \"no\" | \"perhaps\"";
        char *text = more_generate(m, &ask, &o);
        if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0 && strcmp(text, "perhaps") != 0)
            fail_msg("'%s' is not of the grammar", text);
        assert_int_equal(o.finish, BATON_FINISH_STOP);
        if (first)
            assert_string_equal(text, first);
        else
            first = strdup(text);
        baton_free(text);
        ask.grammar = "root ::= \"a\"\nb ::= (\"c\"";
        assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, "line 2"));
        assert_string_equal(r.text, "");
        baton_result_free(&r);
        baton_llama_close(&m);
    }
    free(first);
}

static inline void an_answer_says_how_fast_it_was(const char *path) {
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(path, &policy, 256);
        baton_llama_ask ask = more_ask(NULL, 12);
        baton_outcome o;
        baton_free(more_generate(m, &ask, &o));
        assert_true(o.answer_tokens > 1);
        assert_true(o.prefill_ns > 0 && o.decode_ns > 0);
        assert_true(o.prefill_ns + o.decode_ns <= o.run_ns);
        assert_true(o.prompt_per_s > 0 && o.answer_per_s > 0);
        assert_true(fabs(o.answer_per_s * (double)o.decode_ns / 1e9 - (o.answer_tokens - 1)) < 1e-3);
        baton_llama_close(&m);
    }
}

struct more_callback {
    baton_llama *own, *other;
    int calls, stop_at;
    char text[4096];
    size_t len;
    baton_status own_status, other_status;
};
static inline bool more_on_delta(void *arg, const baton_delta *d) {
    struct more_callback *c = arg;
    baton_llama_ask ask = more_ask(NULL, 2);
    baton_result r;
    memcpy(c->text + c->len, d->text, d->len);
    c->len += d->len;
    c->text[c->len] = '\0';
    if (c->calls++ == 0 && c->own) {
        c->own_status = baton_llama_generate(c->own, &ask, &r, NULL);
        baton_result_free(&r);
        c->other_status = baton_llama_generate(c->other, &ask, &r, NULL);
        baton_result_free(&r);
    }
    return c->calls != c->stop_at;
}

static inline void callbacks_get_it_all_and_may_stop(const char *path, const char *long_path) {
    baton_llama *other = api_open(path, NULL, 256);
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(long_path, &policy, 512);
        baton_llama_ask ask = more_ask(NULL, 300);
        baton_outcome o;
        baton_error err;
        char *whole = more_generate(m, &ask, NULL);
        static struct more_callback c;
        c = (struct more_callback){.own = m, .other = other};
        assert_int_equal(baton_llama_generate_cb(m, &ask, more_on_delta, &c, &o, &err), BATON_OK);
        assert_string_equal(c.text, whole);
        assert_int_equal(c.other_status, BATON_OK);
        if (policy.contexts * policy.sequences == 1)
            assert_true(c.own_status == BATON_REENTRANT || (policy.owner != BATON_OWNER_CALLER && !c.own_status));
        else
            assert_int_equal(c.own_status, BATON_OK);
        if (policy.owner == BATON_OWNER_CALLER && policy.contexts == 1)
            assert_int_equal(c.own_status, BATON_REENTRANT);
        c = (struct more_callback){.stop_at = 3};
        baton_status status = baton_llama_generate_cb(m, &ask, more_on_delta, &c, &o, &err);
        assert_int_equal(status, o.status);
        if (policy.owner == BATON_OWNER_CALLER) {
            assert_int_equal(status, BATON_CANCELLED);
            assert_int_equal(o.finish, BATON_FINISH_NONE);
        }
        assert_true(policy.owner != BATON_OWNER_CALLER ? c.calls <= 3 : c.calls == 3); /* pieces come together */
        assert_true(strncmp(c.text, whole, c.len) == 0);
        baton_free(whole);
        baton_llama_close(&m);
    }
    baton_llama_close(&other);
}

/* Reads until there are at least n tokens; the text of them. */
static inline baton_stream *more_begin(baton_llama *m, const baton_llama_ask *ask, uint32_t n, char *text,
                                       uint32_t *tokens) {
    baton_stream *s;
    baton_delta d;
    baton_error err;
    size_t len = 0;
    if (baton_llama_stream(m, ask, &s, &err))
        fail_msg("%s", err.text);
    do {
        assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
        memcpy(text + len, d.text, d.len);
        len += d.len;
    } while (d.tokens < n);
    text[len] = '\0';
    *tokens = d.tokens;
    return s;
}

static inline void expect_rest(baton_llama *m, const baton_llama_ask *asked, const void *state, size_t size, int left,
                               const char *rest) {
    baton_llama_ask ask = *asked;
    baton_outcome o;
    ask.prompt = NULL;
    ask.state = state;
    ask.state_size = size;
    ask.max_tokens = left;
    char *text = more_generate(m, &ask, &o);
    assert_string_equal(text, rest);
    assert_true(o.answer_tokens <= (uint32_t)left && o.finish != BATON_FINISH_NONE);
    baton_free(text);
}

/* Saved at any point, by memory and by file: here, in another handle and under another owner it goes on to the letter.
 */
static inline void a_saved_answer_of_a_policy_goes_on(const char *path, int number) {
    enum { N = 32 };
    baton_policy policy = api_policy(number), thread = api_policy(3);
    baton_llama *a = api_open(path, &policy, 256), *b = api_open(path, NULL, 256), *c = api_open(path, &thread, 256);
    baton_sampling sampling = BATON_SAMPLING;
    baton_llama_ask ask = more_ask(&sampling, N);
    char begun[4096], file[64];
    baton_outcome whole_outcome;
    sampling.temperature = 0.8f;
    sampling.seed = 21;
    more_file(file, sizeof file);
    char *whole = more_generate(a, &ask, &whole_outcome);
    assert_true(whole_outcome.answer_tokens > 20);
    for (uint32_t k = 1; k < 20; k += 6) {
        void *state, *again;
        size_t size, again_size;
        uint32_t tokens;
        baton_stream *s = more_begin(a, &ask, k, begun, &tokens);
        assert_true(strncmp(whole, begun, strlen(begun)) == 0);
        assert_int_equal(baton_llama_save_state(s, &state, &size, NULL), BATON_OK);
        assert_int_equal(baton_llama_save_state_file(s, file, NULL), BATON_OK);
        baton_status cut = baton_stream_close(&s, NULL);
        assert_true(cut == BATON_CANCELLED || (policy.owner != BATON_OWNER_CALLER && !cut)); /* it is ahead of us */
        assert_int_equal(baton_llama_load_state(file, &again, &again_size, NULL), BATON_OK);
        assert_true(size == again_size || policy.owner != BATON_OWNER_CALLER); /* its cache is ahead of us, too */
        expect_rest(a, &ask, state, size, N - (int)tokens, whole + strlen(begun));
        expect_rest(b, &ask, again, again_size, N - (int)tokens, whole + strlen(begun));
        expect_rest(c, &ask, state, size, N - (int)tokens, whole + strlen(begun));
        baton_free(state);
        baton_free(again);
    }
    remove(file);
    baton_free(whole);
    baton_llama_close(&a);
    baton_llama_close(&b);
    baton_llama_close(&c);
}
static inline void a_saved_answer_goes_on_to_the_letter(const char *path) {
    for (int p = 0; p < API_POLICIES; p++)
        a_saved_answer_of_a_policy_goes_on(path, p);
}

/* A new turn after a saved conversation is the same with its cache and computed anew (in a context of another shape),
 * whoever the owner was. */
static inline void a_new_turn_of_a_policy_goes_on(const char *path, int number) {
    baton_policy policy = api_policy(number), thread = api_policy(3);
    baton_llama *a = api_open(path, &policy, 256), *c = api_open(path, &thread, 256);
    baton_llama_ask ask = more_ask(NULL, 10);
    char begun[4096];
    void *state;
    size_t size;
    uint32_t tokens;
    baton_outcome o;
    baton_delta d;
    baton_stream *s = more_begin(a, &ask, 1, begun, &tokens);
    while (baton_stream_next(s, -1, &d) == BATON_OK)
        ;
    assert_int_equal(baton_llama_save_state(s, &state, &size, NULL), BATON_OK); /* after the end, too */
    assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
    ask.state = state;
    ask.state_size = size;
    ask.prompt = " And then";
    char *with = more_generate(a, &ask, &o), *anew = more_generate(c, &ask, NULL);
    assert_string_equal(with, anew);
    assert_true(o.reused_tokens > 0 && o.reused_tokens < o.prompt_tokens);
    ask.prompt = " But never";
    char *else_ = more_generate(a, &ask, NULL);
    assert_string_not_equal(else_, with);
    baton_free(with);
    baton_free(anew);
    baton_free(else_);
    baton_free(state);
    baton_llama_close(&a);
    baton_llama_close(&c);
}
static inline void a_new_turn_goes_on_from_a_state(const char *path) {
    for (int p = 0; p <= 2; p++)
        a_new_turn_of_a_policy_goes_on(path, p);
}

static inline void expect_state_refused(baton_llama *m, const void *state, size_t size, baton_status why) {
    baton_llama_ask ask = more_ask(NULL, 3);
    baton_result r;
    baton_error err;
    ask.prompt = NULL;
    ask.state = state;
    ask.state_size = size;
    assert_int_equal(baton_llama_generate(m, &ask, &r, &err), why);
    assert_non_null(strstr(err.text, "saved"));
    baton_result_free(&r);
}

static inline void a_state_that_cannot_be_is_refused(const char *path, int number) {
    baton_policy policy = api_policy(number);
    baton_llama *m = api_open(path, &policy, 256);
    baton_llama_ask ask = more_ask(NULL, 10);
    char begun[4096], file[64];
    void *state, *none;
    size_t size, none_size;
    uint32_t tokens;
    baton_stream *s;
    baton_result r;
    baton_error err;
    assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
    assert_int_equal(baton_llama_save_state(s, &none, &none_size, &err), BATON_AGAIN);
    assert_null(none);
    (void)baton_stream_close(&s, NULL);
    s = more_begin(m, &ask, 2, begun, &tokens);
    assert_int_equal(baton_llama_save_state(s, &state, &size, NULL), BATON_OK);
    assert_int_equal(baton_llama_save_state_file(s, "nowhere/at/all", &err), BATON_IO);
    (void)baton_stream_close(&s, NULL);
    expect_state_refused(m, state, 5, BATON_INVALID);
    expect_state_refused(m, state, size - 1, BATON_INVALID);
    for (size_t at = 0; at < size; at += size / 11) {
        ((unsigned char *)state)[at] ^= 4;
        expect_state_refused(m, state, size, BATON_INVALID);
        ((unsigned char *)state)[at] ^= 4;
    }
    baton_message message = {"user", "hello"};
    ask.prompt = NULL;
    ask.messages = &message;
    ask.n_messages = 1;
    ask.state = state;
    ask.state_size = size;
    assert_int_equal(baton_llama_generate(m, &ask, &r, &err), BATON_UNSUPPORTED);
    baton_result_free(&r);
    assert_int_equal(baton_llama_load_state("nowhere.state", &none, &none_size, &err), BATON_NOT_FOUND);
    more_file(file, sizeof file);
    FILE *f = fopen(file, "w");
    fwrite(state, 1, size - 7, f);
    fclose(f);
    assert_int_equal(baton_llama_load_state(file, &none, &none_size, &err), BATON_INVALID);
    assert_int_equal(baton_llama_load_state(".", &none, &none_size, &err), BATON_IO);
    remove(file);
    baton_free(state);
    baton_llama_close(&m);
}

static inline void adapters_are_part_of_the_handle(const char *path, const char *lora) {
    baton_llama_ask ask = more_ask(NULL, 16);
    baton_llama_lora list[] = {{lora, 1}};
    baton_llama *plain = api_open(path, NULL, 256), *m;
    char *without = more_generate(plain, &ask, NULL), *with = NULL;
    baton_error err;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    params.ctx = 256;
    params.threads = 1;
    params.loras = list;
    params.n_loras = 1;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        params.policy = &policy;
        m = more_open(path, &params);
        char *text = more_generate(m, &ask, NULL);
        if (with)
            assert_string_equal(text, with);
        else
            with = strdup(text);
        baton_free(text);
        baton_llama_close(&m);
    }
    assert_string_not_equal(with, without);
    char *still = more_generate(plain, &ask, NULL);
    assert_string_equal(still, without);
    list[0].path = "nowhere.gguf";
    for (int owner = 0; owner < 2; owner++) {
        baton_policy policy = api_policy(owner * 2);
        params.policy = &policy;
        assert_int_equal(baton_llama_open(&m, path, &params, &err), BATON_NOT_FOUND);
        assert_null(m);
    }
    baton_free(still);
    baton_free(without);
    free(with);
    baton_llama_close(&plain);
}

static inline void a_model_says_what_it_is(const char *path, const char *key, int number) {
    baton_policy policy = api_policy(number);
    baton_llama *m = api_open(path, &policy, 256);
    char *name, *value, *again;
    baton_error err;
    int n = 0;
    size_t len;
    bool found = false;
    baton_status status;
    while ((status = baton_llama_metadata(m, n, &name, &value, &err)) == BATON_OK) {
        if (strcmp(name, key) == 0) {
            assert_int_equal(baton_llama_metadata_get(m, key, &again, &err), BATON_OK);
            assert_string_equal(value, again);
            baton_free(again);
            found = true;
        }
        baton_free(name);
        baton_free(value);
        n++;
    }
    assert_true(status == BATON_END && found && n > 1);
    assert_int_equal(baton_llama_metadata(m, -1, &name, &value, &err), BATON_END);
    assert_int_equal(baton_llama_metadata_get(m, "no.such.key", &value, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "no.such.key"));
    baton_llama_details d = {.size = sizeof d};
    baton_llama_get_details(m, &d);
    assert_true(d.generates && baton_llama_is_end(m, d.eos) && !baton_llama_is_end(m, -1));
    assert_int_equal(baton_llama_piece(m, d.eos, &name, &len, &err), BATON_OK);
    assert_int_equal(len, 0);
    baton_free(name);
    assert_int_equal(baton_llama_piece(m, 1 << 30, &name, &len, &err), BATON_INVALID);
    struct {
        size_t size;
        uint64_t params;
    } old = {sizeof old, 1};
    baton_llama_get_details(m, (baton_llama_details *)&old);
    assert_true(old.params == d.params && old.size == sizeof old);
    baton_llama_close(&m);
}

/* What runs and is not read does not end: its reader's window is full. */
static inline baton_stream *more_unread(baton_llama *m, baton_sampling *sampling, const baton_request *request) {
    static baton_logit_bias never[2];
    baton_llama_details d = {.size = sizeof d};
    baton_llama_ask ask = more_ask(sampling, -1);
    char begun[4096];
    uint32_t tokens;
    baton_llama_get_details(m, &d);
    never[0] = (baton_logit_bias){d.eos, -INFINITY};
    never[1] = (baton_logit_bias){d.eot < 0 ? d.eos : d.eot, -INFINITY};
    sampling->bias = never;
    sampling->n_bias = 2;
    ask.request = request;
    return more_begin(m, &ask, 1, begun, &tokens);
}

/* An owner's idle sequences are emptied whatever runs; those that run are waited for, or named. */
static inline void resets_of_an_owner_wait_or_refuse(const char *path, int number) {
    baton_policy policy = api_policy(number);
    baton_llama *m = api_open(path, &policy, 2048);
    baton_sampling sampling = BATON_SAMPLING;
    baton_llama_ask ask = more_ask(NULL, 10);
    baton_request request = BATON_REQUEST, named = BATON_REQUEST;
    baton_error err;
    char *before = more_generate(m, &ask, NULL), *after;
    assert_int_equal(baton_llama_reset(m, NULL, &err), BATON_OK);
    named.id = 4711;
    baton_stream *s = more_unread(m, &sampling, &named);
    request.when_full = BATON_REFUSE;
    assert_int_equal(baton_llama_reset(m, &request, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "4711"));
    request.when_full = BATON_WAIT;
    request.queue_ms = 30;
    assert_int_equal(baton_llama_reset(m, &request, &err), BATON_QUEUE_TIMEOUT);
    (void)baton_stream_close(&s, NULL);
    request.queue_ms = -1;
    assert_int_equal(baton_llama_reset(m, &request, &err), BATON_OK);
    after = more_generate(m, &ask, NULL);
    assert_string_equal(before, after);
    baton_free(before);
    baton_free(after);
    baton_llama_close(&m);
}

static inline void resets_wait_or_refuse_and_change_no_answer(const char *path) {
    for (int p = 0; p < 2; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(path, &policy, 512);
        baton_llama_ask ask = more_ask(NULL, 10);
        baton_request request = BATON_REQUEST;
        baton_error err;
        char begun[4096], *before = more_generate(m, &ask, NULL), *after;
        uint32_t tokens;
        assert_int_equal(baton_llama_reset(m, NULL, &err), BATON_OK);
        baton_stream *s = more_begin(m, &ask, 2, begun, &tokens);
        assert_int_equal(baton_llama_reset(m, NULL, &err), BATON_WOULD_DEADLOCK);
        request.when_full = BATON_REFUSE;
        assert_int_equal(baton_llama_reset(m, &request, &err), BATON_BUSY);
        (void)baton_stream_close(&s, NULL);
        assert_int_equal(baton_llama_reset(m, &request, &err), BATON_OK);
        after = more_generate(m, &ask, NULL);
        assert_string_equal(before, after);
        baton_free(before);
        baton_free(after);
        baton_llama_close(&m);
    }
    for (int p = 2; p < API_POLICIES; p++)
        resets_of_an_owner_wait_or_refuse(path, p);
}

#endif
