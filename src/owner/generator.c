/* Generation step by step: prefill in chunks, decode, draw, text. A generator belongs to whoever pulls it, one thread
 * at a time, who has the context too; it keeps no pointer to the context between two pulls. */
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"
#include "owner/saved.h"
#include "owner/text.h"

struct bt_generator {
    /* fixed at open */
    const struct bt_model *m;
    int seq, capacity, chunk;
    int32_t max_tokens;
    int64_t run_ms, deadline_ns;
    bool (*cancelled)(void *arg);
    void *arg;
    struct bt_text *stops;    /* with their bytes behind */
    size_t n_resume;          /* tokens of the answer that were there before */
    struct bt_chunks *chunks; /* of the prompt; NULL: it is text alone */
    /* whoever pulls */
    struct bt_run_result result;
    baton_error outcome; /* status BATON_OK: it goes on */
    bool begun;
    int last_row;
    unsigned char *cache; /* until begun; NULL: none */
    size_t cache_size;
    int32_t cached;
    bt_token *tokens; /* prompt and answer */
    int32_t n, fed;
    struct bt_sampler *sampler;
    struct bt_textout text;
    struct bt_row *rows;
    struct bt_buf piece;
};

static baton_status stop_reason(const struct bt_generator *g) {
    if (g->cancelled && g->cancelled(g->arg))
        return BATON_CANCELLED;
    return g->deadline_ns != BT_NEVER_NS && bt_now_coarse_ns() >= g->deadline_ns ? BATON_RUN_TIMEOUT : BATON_OK;
}

static bool abort_hook(void *arg) {
    return stop_reason(arg) != BATON_OK;
}

static baton_status cut(const struct bt_generator *g, baton_status why, baton_error *err) {
    if (why == BATON_RUN_TIMEOUT)
        return bt_fail(err, why,
                       "the run timeout passed after %zu tokens of the answer: allow more time, or fewer tokens",
                       g->result.n_tokens);
    return bt_fail(err, why, "cancelled after %d of %d tokens", (int)g->fed, (int)g->n);
}

/* One native call: rows of tokens, or an image; *share is how many places it takes. The sequence is the request's own,
 * so that its own end may abort a call in the middle. */
static enum bt_decode decode(struct bt_generator *g, struct bt_context *c, int32_t *share) {
    bool hooked = g->cancelled || g->deadline_ns != BT_NEVER_NS;
    int32_t n = 0, most = BT_MIN(g->chunk, g->n - g->fed);
    enum bt_decode result;
    for (; n < most && g->tokens[g->fed + n] != BT_TOKEN_IMAGE; n++)
        g->rows[n] = (struct bt_row){g->tokens[g->fed + n], g->fed + n, g->seq, g->fed + n == g->n - 1};
    if (hooked)
        c->ops->set_abort(c, abort_hook, g);
    if (n > 0) {
        *share = n;
        result = c->ops->decode(c, g->rows, n);
    } else {
        size_t i = bt_chunk_at(g->chunks, g->fed);
        *share = g->chunks->list[i].n;
        result = c->ops->image(c, g->chunks, i, g->seq, g->fed);
    }
    if (hooked)
        c->ops->set_abort(c, NULL, NULL);
    return result;
}

static baton_status feed(struct bt_generator *g, struct bt_context *c, baton_error *err) {
    while (g->fed < g->n) {
        int32_t share;
        baton_status why = stop_reason(g);
        if (why)
            return cut(g, why, err);
        enum bt_decode result = decode(g, c, &share);
        if (result == BT_DECODE_ABORTED) {
            why = stop_reason(g);
            return cut(g, why ? why : BATON_CANCELLED, err);
        }
        if (result != BT_DECODE_OK)
            return bt_fail(err, BATON_FAILED, "the native decode failed at position %d (%s)", (int)g->fed,
                           result == BT_DECODE_FULL ? "no room in the cache" : "native error");
        g->fed += share;
        g->last_row = share - 1;
    }
    return BATON_OK;
}

/* The answer is over. A cut one keeps its text and says that it is cut. */
static void end(struct bt_generator *g, enum bt_finish finish) {
    g->result.finish = finish;
    g->result.full = finish == BT_FINISH_LENGTH;
    g->result.partial = finish == BT_FINISH_NONE;
    bt_textout_flush(&g->text, &g->result.text);
    g->outcome.status = BATON_END;
}

static void take(struct bt_generator *g, bt_token token) {
    struct bt_run_result *r = &g->result;
    if (g->m->ops->is_end(g->m, token)) {
        end(g, BT_FINISH_STOP);
        return;
    }
    g->sampler->ops->accept(g->sampler, token);
    g->tokens[g->n++] = token;
    r->tokens[r->n_tokens++] = token;
    g->piece.len = 0;
    g->m->ops->piece(g->m, token, &g->piece);
    if (bt_textout_push(&g->text, g->piece.data, g->piece.len, &r->text))
        end(g, BT_FINISH_STOP);
    else if (g->n >= g->capacity || (int32_t)r->n_tokens == g->max_tokens)
        end(g, BT_FINISH_LENGTH);
}

/* The sequence gets what is known of its beginning. The last token has to be decoded here, for its logits. */
static baton_status begin(struct bt_generator *g, struct bt_context *c, baton_error *err) {
    g->begun = true;
    c->ops->seq_rm(c, g->seq, 0, -1);
    if (!g->cache)
        return BATON_OK;
    baton_status status =
        bt_saved_restore(c, g->seq, g->cache, g->cache_size, BT_MIN(g->cached, g->n - 1), &g->fed, err);
    free(g->cache);
    g->cache = NULL;
    return status;
}

static baton_status step(struct bt_generator *g, struct bt_context *c, baton_error *err) {
    if (g->max_tokens == 0) {
        end(g, BT_FINISH_LENGTH);
        return BATON_OK;
    }
    int64_t from = bt_now_ns();
    baton_status status = g->begun ? BATON_OK : begin(g, c, err);
    if (!status)
        status = feed(g, c, err);
    bt_token token = status ? -1 : c->ops->sample(c, g->sampler, g->last_row, g->n_resume + g->result.n_tokens);
    *(g->result.n_tokens ? &g->result.decode_ns : &g->result.prefill_ns) += (uint64_t)(bt_now_ns() - from);
    if (status)
        return status;
    if (token < 0 && token != BT_TOKEN_END)
        return bt_fail(err, BATON_FAILED, "the native library computed logits that are no numbers");
    take(g, token);
    bool lost = g->result.text.failed || g->text.pending.failed || g->piece.failed;
    return lost ? bt_fail(err, BATON_NO_MEMORY, "no memory for the answer") : BATON_OK;
}

baton_status bt_generator_next(struct bt_generator *g, struct bt_context *c, struct bt_delta *d, baton_error *err) {
    struct bt_run_result *r = &g->result;
    size_t text = r->text.len, tokens = r->n_tokens;
    *d = (struct bt_delta){.token = -1, .text = ""};
    if (g->outcome.status == BATON_OK) {
        baton_error why;
        baton_status status = step(g, c, &why);
        if (status) {
            end(g, BT_FINISH_NONE);
            g->outcome = why;
        }
        if (r->n_tokens > tokens || r->text.len > text) {
            *d = (struct bt_delta){.token = r->n_tokens > tokens ? r->tokens[tokens] : -1,
                                   .text = r->text.len > text ? (const char *)r->text.data + text : "",
                                   .len = r->text.len - text};
            if (!status)
                return BATON_OK;
        }
    }
    if (g->outcome.status == BATON_END)
        return bt_fail(err, BATON_END, "the answer is complete");
    return bt_fail(err, g->outcome.status, "%s", g->outcome.text);
}

baton_status bt_generator_save(struct bt_generator *g, struct bt_context *c, struct bt_buf *out, baton_error *err) {
    if (!g->begun)
        return bt_fail(err, BATON_AGAIN, "nothing was generated yet: read a piece first");
    if (g->chunks)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "a conversation with images cannot be saved: its bytes would not have the images. Keep the "
                       "messages and the images, and ask again");
    struct bt_saved s = {.tokens = g->tokens,
                         .n_tokens = (size_t)g->n,
                         .n_prompt = g->result.n_prompt,
                         .cache_size = c->ops->state_size(c, g->seq),
                         .cached = g->fed};
    unsigned char *cache;
    if (!bt_saved_begin(out, &s, &cache))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a state of %zu bytes", s.cache_size);
    size_t written = c->ops->state_get(c, g->seq, cache, s.cache_size);
    if (written == 0)
        return bt_fail(err, BATON_FAILED, "the native library gives no state of this sequence");
    bt_saved_end(out, written);
    return BATON_OK;
}

void bt_generator_stop(struct bt_generator *g, baton_status why, const char *text) {
    if (g->outcome.status != BATON_OK)
        return;
    end(g, BT_FINISH_NONE);
    bt_fail(&g->outcome, why, "%s", text);
}

baton_status bt_generator_outcome(const struct bt_generator *g, baton_error *err) {
    if (g->outcome.status == BATON_END)
        return BATON_OK;
    if (g->outcome.status == BATON_OK)
        return bt_fail(err, BATON_AGAIN, "the answer is not complete yet");
    return bt_fail(err, g->outcome.status, "%s", g->outcome.text);
}

void bt_generator_take(struct bt_generator *g, struct bt_run_result *result) {
    *result = g->result;
    memset(&g->result, 0, sizeof g->result);
}

static bool copy_stops(struct bt_generator *g, const struct bt_run *run) {
    size_t size = run->n_stops * sizeof *g->stops;
    for (size_t i = 0; i < run->n_stops; i++)
        size += run->stops[i].len;
    g->stops = malloc(size ? size : 1);
    if (!g->stops)
        return false;
    char *bytes = (char *)(g->stops + run->n_stops);
    for (size_t i = 0; i < run->n_stops; i++) {
        if (run->stops[i].len)
            memcpy(bytes, run->stops[i].data, run->stops[i].len);
        g->stops[i] = (struct bt_text){bytes, run->stops[i].len};
        bytes += run->stops[i].len;
    }
    g->text.stops = g->stops;
    g->text.n_stops = run->n_stops;
    return true;
}

/* The sampler and the text machine are brought to where the answer was left; its text was delivered then. */
static baton_status replay(struct bt_generator *g, const struct bt_run *run, baton_error *err) {
    struct bt_buf delivered = BT_BUF_INIT;
    bool over = false;
    for (size_t i = 0; i < run->n_resume && !over; i++) {
        bt_token token = run->resume[i];
        g->sampler->ops->accept(g->sampler, token);
        g->piece.len = 0;
        g->m->ops->piece(g->m, token, &g->piece);
        over = bt_textout_push(&g->text, g->piece.data, g->piece.len, &delivered);
    }
    bool failed = delivered.failed || g->text.pending.failed || g->piece.failed;
    bt_buf_free(&delivered);
    if (over)
        end(g, BT_FINISH_STOP);
    return failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the text of an answer that goes on") : BATON_OK;
}

static baton_status keep_cache(struct bt_generator *g, const struct bt_run *run, baton_error *err) {
    if (!run->cache)
        return BATON_OK;
    g->cache = malloc(run->cache_size ? run->cache_size : 1);
    if (!g->cache)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a state of %zu bytes", run->cache_size);
    memcpy(g->cache, run->cache, run->cache_size);
    g->cache_size = run->cache_size;
    g->cached = run->cached;
    return BATON_OK;
}

static baton_status open_sampler(struct bt_generator *g, const struct bt_run *run, baton_error *err) {
    struct bt_sampling sampling = *run->sampling;
    const bt_token *history = run->prompt;
    bt_token *text = NULL;
    size_t n = run->n_prompt;
    if (sampling.penalty_last_n < 0 || sampling.penalty_last_n > g->capacity)
        sampling.penalty_last_n = g->capacity;
    baton_status status = BATON_OK;
    if (g->chunks) {
        status = bt_check_chunks(g->chunks, g->chunk, err);
        status = status ? status : bt_text_tokens(run->prompt, run->n_prompt, &text, &n, err);
        history = text;
    }
    if (!status)
        status = g->m->ops->sampler(g->m, &sampling, history, n, &g->sampler, err);
    free(text);
    return status;
}

static baton_status prepare(struct bt_generator *g, const struct bt_run *run, baton_error *err) {
    size_t room = (size_t)g->capacity, known = run->n_prompt + run->n_resume;
    baton_status status = g->chunks ? BATON_OK : bt_check_tokens(g->m, run->prompt, run->n_prompt, err);
    if (!status)
        status = bt_check_tokens(g->m, run->resume, run->n_resume, err);
    if (status)
        return status;
    if (run->n_prompt == 0)
        return bt_fail(err, BATON_INVALID, "the prompt has no tokens: there is nothing to continue");
    if (known >= room)
        return bt_fail(err, BATON_TOO_LONG, "the prompt has %zu tokens and the context holds %zu", known, room);
    g->tokens = malloc(room * sizeof *g->tokens);
    g->rows = malloc((size_t)g->chunk * sizeof *g->rows);
    g->result.tokens = malloc(room * sizeof *g->tokens);
    if (!g->tokens || !g->rows || !g->result.tokens || !copy_stops(g, run))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", room);
    memcpy(g->tokens, run->prompt, run->n_prompt * sizeof *run->prompt);
    if (run->n_resume)
        memcpy(g->tokens + run->n_prompt, run->resume, run->n_resume * sizeof *run->resume);
    g->n = (int32_t)known;
    g->n_resume = run->n_resume;
    g->result.n_prompt = run->n_prompt;
    g->result.partial = true; /* until it is known to be whole */
    status = open_sampler(g, run, err);
    if (!status)
        status = keep_cache(g, run, err);
    return status ? status : replay(g, run, err);
}

baton_status bt_generator_open(const struct bt_model *m, int capacity, int seq, const struct bt_run *run,
                               struct bt_generator **out, baton_error *err) {
    *out = NULL;
    struct bt_generator *g = calloc(1, sizeof *g);
    if (!g) {
        bt_chunks_free(run->chunks);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    }
    g->chunks = run->chunks;
    g->m = m;
    g->seq = seq;
    g->capacity = capacity;
    g->chunk = run->chunk > 0 ? run->chunk : 512;
    g->max_tokens = run->max_tokens;
    g->cancelled = run->cancelled;
    g->arg = run->arg;
    g->run_ms = run->run_ms;
    bt_generator_start_clock(g);
    baton_status status = prepare(g, run, err);
    if (status) {
        bt_generator_free(g);
        return status;
    }
    *out = g;
    return BATON_OK;
}

void bt_generator_start_clock(struct bt_generator *g) {
    g->deadline_ns = g->run_ms > 0   ? bt_deadline(bt_now_ns(), g->run_ms)
                     : g->run_ms < 0 ? 0 /* also by the coarse clock, which is late */
                                     : BT_NEVER_NS;
}

void bt_generator_free(struct bt_generator *g) {
    if (!g)
        return;
    if (g->sampler)
        g->sampler->ops->free(g->sampler);
    bt_buf_free(&g->text.pending);
    bt_chunks_free(g->chunks);
    bt_buf_free(&g->piece);
    bt_run_result_free(&g->result);
    free(g->cache);
    free(g->stops);
    free(g->tokens);
    free(g->rows);
    free(g);
}
