/* One request alone, in the caller's thread: a generator pulled to its end. The caller holds the context's lease for
 * the whole of it; nothing is kept between calls. */
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"
<<<<<<< HEAD
=======
#include "owner/text.h"

struct alone {
    struct bt_context *c;
    const struct bt_model *m;
    const struct bt_run *run;
    struct bt_run_result *result;
    int seq, capacity, chunk, last_row;
    bt_token *tokens; /* prompt and answer */
    int32_t n, fed;
    struct bt_sampler *sampler;
    struct bt_textout text;
    struct bt_row *rows;
    struct bt_buf piece;
};

static baton_status feed(struct alone *a, baton_error *err) {
    while (a->fed < a->n) {
        int32_t share = BT_MIN(a->chunk, a->n - a->fed);
        if (a->run->cancelled && a->run->cancelled(a->run->arg))
            return bt_fail(err, BATON_CANCELLED, "cancelled after %d of %d tokens", (int)a->fed, (int)a->n);
        for (int32_t i = 0; i < share; i++)
            a->rows[i] = (struct bt_row){a->tokens[a->fed + i], a->fed + i, a->seq, a->fed + i == a->n - 1};
        enum bt_decode result = a->c->ops->decode(a->c, a->rows, share);
        if (result != BT_DECODE_OK)
            return bt_fail(err, result == BT_DECODE_ABORTED ? BATON_CANCELLED : BATON_FAILED,
                           "the native decode failed at position %d (%s)", (int)a->fed,
                           result == BT_DECODE_FULL      ? "no room in the cache"
                           : result == BT_DECODE_ABORTED ? "aborted"
                                                         : "native error");
        a->fed += share;
        a->last_row = share - 1;
    }
    return BATON_OK;
}

/* True when the answer ends with this token. */
static bool take(struct alone *a, bt_token token) {
    struct bt_run_result *r = a->result;
    if (a->m->ops->is_end(a->m, token))
        return true;
    a->sampler->ops->accept(a->sampler, token);
    a->tokens[a->n++] = token;
    r->tokens[r->n_tokens++] = token;
    a->piece.len = 0;
    a->m->ops->piece(a->m, token, &a->piece);
    size_t before = r->text.len;
    bool end = bt_textout_push(&a->text, a->piece.data, a->piece.len, &r->text);
    if (a->run->on_token &&
        !a->run->on_token(a->run->arg, token, (const char *)r->text.data + before, r->text.len - before))
        end = true;
    r->full = !end && (a->n >= a->capacity || (int32_t)r->n_tokens == a->run->max_tokens);
    return end || r->full;
}

static baton_status generate(struct alone *a, baton_error *err) {
    for (bool end = a->run->max_tokens == 0; !end;) {
        baton_status status = feed(a, err);
        if (status)
            return status;
        bt_token token = a->c->ops->sample(a->c, a->sampler, a->last_row, a->result->n_tokens);
        if (token < 0)
            return bt_fail(err, BATON_FAILED, "the native library computed logits that are no numbers");
        end = take(a, token);
    }
    bt_textout_flush(&a->text, &a->result->text);
    bool lost = a->result->text.failed || a->text.pending.failed || a->piece.failed;
    return lost ? bt_fail(err, BATON_NO_MEMORY, "no memory for the answer") : BATON_OK;
}

static baton_status begin(struct alone *a, baton_error *err) {
    const struct bt_run *run = a->run;
    if (run->n_prompt == 0)
        return bt_fail(err, BATON_INVALID, "the prompt has no tokens: there is nothing to continue");
    if (run->n_prompt >= (size_t)a->capacity)
        return bt_fail(err, BATON_TOO_LONG, "the prompt has %zu tokens and the context holds %d", run->n_prompt,
                       a->capacity);
    a->tokens = malloc((size_t)a->capacity * sizeof *a->tokens);
    a->rows = malloc((size_t)a->chunk * sizeof *a->rows);
    a->result->tokens = malloc((size_t)a->capacity * sizeof *a->tokens);
    if (!a->tokens || !a->rows || !a->result->tokens)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d tokens", a->capacity);
    memcpy(a->tokens, run->prompt, run->n_prompt * sizeof *run->prompt);
    a->n = (int32_t)run->n_prompt;
    a->c->ops->seq_rm(a->c, a->seq, 0, -1);
    struct bt_sampling sampling = *run->sampling;
    if (sampling.penalty_last_n < 0 || sampling.penalty_last_n > a->capacity)
        sampling.penalty_last_n = a->capacity;
    return a->m->ops->sampler(a->m, &sampling, run->prompt, run->n_prompt, &a->sampler, err);
}
>>>>>>> review1

baton_status bt_run_alone(struct bt_context *c, const struct bt_model *m, int seq, const struct bt_run *run,
                          struct bt_run_result *result, baton_error *err) {
    struct bt_generator *g;
    struct bt_delta d;
    memset(result, 0, sizeof *result);
    baton_status status = bt_generator_open(m, c->ops->capacity(c), seq, run, &g, err);
    if (status)
        return status;
    while ((status = bt_generator_next(g, c, &d, err)) == BATON_OK)
        if (run->on_token && !run->on_token(run->arg, d.token, d.text, d.len))
            bt_generator_stop(g, BATON_END, "stopped by on_token");
    bt_generator_take(g, result);
    bt_generator_free(g);
    return status == BATON_END ? BATON_OK : status;
}

void bt_run_result_free(struct bt_run_result *r) {
    bt_buf_free(&r->text);
    free(r->tokens);
    memset(r, 0, sizeof *r);
}
