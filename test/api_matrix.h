/* One question for every way to ask and every policy that is possible: contexts x sequences, refuse or wait, the owner
 * a caller, a thread or a process. With exact on, an answer to a policy question never changes what a model answers. */
#ifndef BT_API_MATRIX_H
#define BT_API_MATRIX_H

#include <math.h>
#include <sched.h>

#include "api_bodies.h"

enum { MATRIX_KINDS = 9, MATRIX_ASKERS = 2 * MATRIX_KINDS, MATRIX_STOP_MAX = 4 };

struct matrix_asker {
    baton_llama *m;
    pthread_t thread;
    int kind;
    bool streaming;
    int refused; /* times */
    char text[4096];
    baton_outcome outcome;
};

/* What the asks of all kinds are made of. */
struct matrix {
    int32_t *tokens; /* of the prompt of one kind */
    size_t n_tokens;
    char long_prompt[512];
    char stop[MATRIX_STOP_MAX + 1]; /* found in an answer that nothing stopped */
    const char *stops[2];
    struct matrix_asker alone[MATRIX_KINDS];
};

static const char *const matrix_kinds[MATRIX_KINDS] = {
    "greedy", "drawn", "cut at the edges", "grammar", "stop", "penalties", "bias", "chat", "long, as tokens"};

static inline void matrix_fill(const struct matrix *x, int kind, baton_llama_ask *ask, baton_sampling *s) {
    static const baton_message chat[] = {{"system", "You are brief."}, {"user", "Who holds the lease?"}};
    static const baton_logit_bias bias[] = {{40, 2.5f}, {101, -INFINITY}, {102, -INFINITY}};
    *ask = (baton_llama_ask)BATON_LLAMA_ASK;
    *s = (baton_sampling)BATON_SAMPLING;
    ask->prompt = "Once upon a time";
    ask->sampling = s;
    ask->max_tokens = 20 + kind;
    s->temperature = kind == 0 ? 0 : 0.9f;
    s->seed = 7;
    switch (kind) {
    case 2:
        s->top_k = 30;
        s->top_p = 0.9f;
        s->min_p = 0.01f;
        break;
    case 3:
        ask->grammar = "root ::= \"the gate waits\" | \"a lease holds\" | \"once more\"";
        break;
    case 4:
        ask->stops = x->stops;
        ask->n_stops = x->stop[0] ? 2 : 1;
        break;
    case 5:
        s->repeat_penalty = 1.3f;
        s->presence_penalty = 0.4f;
        s->frequency_penalty = 0.2f;
        s->penalty_last_n = 16;
        break;
    case 6:
        s->bias = bias;
        s->n_bias = sizeof bias / sizeof *bias;
        break;
    case 7:
        ask->prompt = NULL;
        ask->messages = chat;
        ask->n_messages = sizeof chat / sizeof *chat;
        break;
    case 8:
        ask->prompt = NULL;
        ask->tokens = x->tokens;
        ask->n_tokens = x->n_tokens;
        break;
    default:
        break;
    }
}

static struct matrix matrix;

/* Who is refused asks again, until it is not. */
static inline void *matrix_ask(void *arg) {
    struct matrix_asker *a = arg;
    baton_llama_ask ask;
    baton_sampling sampling;
    baton_result r;
    baton_stream *s;
    baton_delta d;
    size_t len = 0;
    matrix_fill(&matrix, a->kind, &ask, &sampling);
    do {
        if (a->streaming) {
            a->outcome.status = baton_llama_stream(a->m, &ask, &s, NULL);
            if (!a->outcome.status) {
                while (baton_stream_next(s, -1, &d) == BATON_OK) {
                    memcpy(a->text + len, d.text, d.len);
                    len += d.len;
                }
                (void)baton_stream_close(&s, &a->outcome);
            }
        } else {
            (void)!baton_llama_generate(a->m, &ask, &r, NULL);
            snprintf(a->text, sizeof a->text, "%s", r.text);
            a->outcome = r.outcome;
            baton_result_free(&r);
        }
        a->refused += a->outcome.status == BATON_BUSY;
        if (a->outcome.status == BATON_BUSY)
            sched_yield();
    } while (a->outcome.status == BATON_BUSY);
    return NULL;
}

static inline baton_llama *matrix_open(const char *path, const baton_policy *policy) {
    baton_llama *m = api_open(path, policy, 256);
    baton_llama_info info = {.size = sizeof info};
    baton_llama_get_info(m, &info);
    assert_true(info.exact);
    assert_int_equal(info.contexts, policy->contexts);
    assert_int_equal(info.sequences, policy->sequences);
    return m;
}

/* Each ask by itself: what all others are compared with. */
static inline void matrix_alone(const char *path) {
    baton_policy one = BATON_POLICY;
    baton_llama *m = matrix_open(path, &one);
    memset(&matrix, 0, sizeof matrix);
    matrix.stops[0] = "never said";
    matrix.stops[1] = matrix.stop;
    for (size_t n = 0; n < 400; n = strlen(matrix.long_prompt))
        snprintf(matrix.long_prompt + n, sizeof matrix.long_prompt - n, "The owner holds the gate, and waits. ");
    assert_int_equal(baton_llama_tokenize(m, matrix.long_prompt, strlen(matrix.long_prompt), true, &matrix.tokens,
                                          &matrix.n_tokens, NULL),
                     BATON_OK);
    assert_true(matrix.n_tokens > 64); /* where kernels change */
    if (matrix.n_tokens > 150)         /* a vocabulary without words makes many of it */
        matrix.n_tokens = 150;
    for (int again = 0; again < 2; again++)
        for (int kind = 0; kind < MATRIX_KINDS; kind++) {
            matrix.alone[kind] = (struct matrix_asker){.m = m, .kind = kind};
            matrix_ask(&matrix.alone[kind]);
            assert_int_equal(matrix.alone[kind].outcome.status, BATON_OK);
            const char *text = matrix.alone[kind].text;
            size_t len = strlen(text);
            if (kind == 4 && !again && len > 8) {
                size_t from = len / 2;
                while (from > 0 && ((unsigned char)text[from] & 0xc0) == 0x80)
                    from--;
                snprintf(matrix.stop, sizeof matrix.stop, "%s", text + from);
            }
        }
    const struct matrix_asker *a = matrix.alone;
    assert_string_not_equal(a[0].text, a[1].text);
    assert_true(strcmp(a[3].text, "the gate waits") == 0 || strcmp(a[3].text, "a lease holds") == 0 ||
                strcmp(a[3].text, "once more") == 0);
    assert_int_equal(a[3].outcome.finish, BATON_FINISH_STOP);
    assert_true(matrix.stop[0] && !strstr(a[4].text, matrix.stop));
    assert_int_equal(a[4].outcome.finish, BATON_FINISH_STOP);
    baton_llama_close(&m);
}

static inline void matrix_under(const char *path, const baton_policy *policy) {
    static struct matrix_asker askers[MATRIX_ASKERS];
    baton_llama *m = matrix_open(path, policy);
    int refused = 0;
    for (int i = 0; i < MATRIX_ASKERS; i++) {
        askers[i] = (struct matrix_asker){.m = m, .kind = i % MATRIX_KINDS, .streaming = i >= MATRIX_KINDS};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, matrix_ask, &askers[i]), 0);
    }
    for (int i = 0; i < MATRIX_ASKERS; i++) {
        const struct matrix_asker *a = &askers[i], *alone = &matrix.alone[a->kind];
        pthread_join(a->thread, NULL);
        refused += a->refused;
        if (a->outcome.status || strcmp(a->text, alone->text) != 0)
            fail_msg("%s, %s, with %d contexts x %d, when_full %d, owner %d: %s: '%s' instead of '%s'",
                     matrix_kinds[a->kind], a->streaming ? "a stream" : "whole", policy->contexts, policy->sequences,
                     (int)policy->when_full, (int)policy->owner, baton_status_name(a->outcome.status), a->text,
                     alone->text);
        assert_int_equal(a->outcome.answer_tokens, alone->outcome.answer_tokens);
        assert_int_equal(a->outcome.prompt_tokens, alone->outcome.prompt_tokens);
        assert_int_equal(a->outcome.finish, alone->outcome.finish);
    }
    if (policy->when_full == BATON_WAIT)
        assert_int_equal(refused, 0);
    baton_counts counts = counts_of(m);
    assert_int_equal(counts.running + counts.queued, 0);
    assert_int_equal(counts.slots, policy->contexts * policy->sequences);
    assert_int_equal(counts.completed, MATRIX_ASKERS);
    assert_int_equal(counts.refused, refused);
    baton_llama_close(&m);
    assert_null(m);
}

static inline void the_policy_never_changes_an_answer(const char *path) {
    enum { SHAPES = 2 };
    static const int sequences[SHAPES] = {1, 5};
    matrix_alone(path);
    for (int owner = BATON_OWNER_CALLER; owner <= BATON_OWNER_PROCESS; owner++)
        for (int contexts = 1; contexts <= 2; contexts++)
            for (int s = 0; s < SHAPES; s++)
                for (int when_full = BATON_REFUSE; when_full <= BATON_WAIT; when_full++) {
                    baton_policy policy = BATON_POLICY;
                    policy.contexts = contexts;
                    policy.sequences = sequences[s];
                    policy.when_full = (baton_when_full)when_full;
                    policy.owner = (baton_owner)owner;
                    if (owner != BATON_OWNER_CALLER || sequences[s] == 1) {
                        matrix_under(path, &policy);
                        continue;
                    }
                    baton_llama_params params = BATON_LLAMA_PARAMS;
                    baton_llama *none;
                    params.policy = &policy;
                    assert_int_equal(baton_llama_open(&none, path, &params, NULL), BATON_INVALID);
                    assert_null(none);
                }
    baton_free(matrix.tokens);
}

#endif
