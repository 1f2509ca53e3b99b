/* For tests of what runs behind a front: requests that gather their answer, and the lone run to compare with. */
#ifndef BT_FRONTRUN_H
#define BT_FRONTRUN_H

#include <string.h>

#include "harness.h"
#include "ipc/front.h"
#include "owner/owner.h"

struct answer {
    struct bt_request *request; /* NULL once done */
    struct bt_buf text;
    int done; /* how many times: must be 1 */
    int pieces;
    bool slow; /* never says that it has consumed anything */
    struct bt_outcome outcome;
    char error[256];
};

static inline void answer_text(void *arg, const char *text, size_t len) {
    struct answer *a = arg;
    bt_buf_add(&a->text, text, len);
    a->pieces++;
    if (!a->slow)
        bt_request_consumed(a->request, 1);
}
/* Of a result that is no text. */
static inline void answer_data(void *arg, const char *bytes, size_t len) {
    bt_buf_add(&((struct answer *)arg)->text, bytes, len);
}
static inline void answer_done(void *arg, const struct bt_outcome *outcome) {
    struct answer *a = arg;
    a->done++;
    a->outcome = *outcome;
    snprintf(a->error, sizeof a->error, "%s", outcome->error);
    a->outcome.error = a->error;
    a->request = NULL;
}

static inline struct bt_submit ask_text(const char *prompt, int max_tokens, float temperature, uint64_t seed) {
    struct bt_submit s = {.kind = BT_PROMPT_TEXT, .text = {prompt, strlen(prompt)}, .max_tokens = max_tokens};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    s.sampling.temperature = temperature;
    s.sampling.seed = seed;
    return s;
}

static inline baton_status answer_ask(struct answer *a, struct bt_front *f, struct bt_submit *s) {
    baton_error err;
    struct bt_handler h = {.on_text = answer_text, .on_done = answer_done, .arg = a};
    memset(a, 0, sizeof *a);
    return bt_front_submit(f, s, NULL, &h, &a->request, &err);
}

static inline void answers_wait(struct bt_front *f, const struct answer *a, int n) {
    for (int i = 0; i < n; i++)
        while (!a[i].done)
            assert_int_not_equal(bt_front_run_once(f, 10000), BATON_IO);
}

static inline void answer_free(struct answer *a) {
    bt_buf_free(&a->text);
}

/* Where front_open's owners live. */
static enum bt_owner_kind front_owner;

static inline struct bt_front *front_open(const char *model, int contexts, int sequences, int ctx, int queue,
                                          enum bt_when_full when_full) {
    struct bt_front_params p = {.model = {.path = model, .gpu_layers = 0},
                                .context = {.sequences = sequences, .ctx = ctx, .threads = 1, .exact = true},
                                .contexts = contexts,
                                .when_full = when_full,
                                .queue_max = queue,
                                .queue_ms = -1,
                                .run_ms = -1,
                                .owner = front_owner};
    struct bt_front *f;
    baton_error err;
    if (bt_front_open(&p, &f, &err))
        fail_msg("%s", err.text);
    return f;
}

/* What the request says when nobody else is there: one context of its own, one sequence, no owner loop. */
static inline void lone_text(const char *model, const struct bt_submit *s, int ctx, struct bt_buf *text) {
    struct bt_model_params mp = {.path = model};
    struct bt_context_params cp = {.sequences = 1, .ctx = ctx, .threads = 1, .exact = true};
    struct bt_model *m;
    struct bt_context *c;
    baton_error err;
    if (bt_model_open(&mp, &m, &err) || m->ops->context(m, &cp, &c, &err))
        fail_msg("%s", err.text);
    bt_token *prompt;
    size_t n;
    assert_int_equal(m->ops->tokenize(m, s->text.data, s->text.len, true, true, &prompt, &n, &err), BATON_OK);
    struct bt_run run = {.prompt = prompt,
                         .n_prompt = n,
                         .max_tokens = s->max_tokens,
                         .sampling = &s->sampling,
                         .stops = s->stops,
                         .n_stops = s->n_stops};
    struct bt_run_result r;
    if (bt_run_alone(c, m, 0, &run, &r, &err))
        fail_msg("%s", err.text);
    bt_buf_add(text, r.text.data, r.text.len);
    bt_run_result_free(&r);
    free(prompt);
    c->ops->free(c);
    m->ops->free(m);
}

static inline void assert_same_text(const struct bt_buf *a, const struct bt_buf *b) {
    if (a->len != b->len || (a->len > 0 && memcmp(a->data, b->data, a->len) != 0))
        fail_msg("answers differ:\n  %.*s\n  %.*s", (int)a->len, (const char *)a->data, (int)b->len,
                 (const char *)b->data);
}

#endif
