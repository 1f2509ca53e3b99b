/* Decoding of frames, from a peer that may lie: every length is checked before it is used, every enum before it is
 * believed, and a payload must end where its fields end. Pure; what it returns borrows from the payload. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/wire_int.h"

struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static struct reader reader_of(const struct bt_frame *f) {
    return (struct reader){f->payload, f->len, false};
}
static uint64_t get(struct reader *r, int bytes) {
    if (r->left < (size_t)bytes) {
        r->bad = true;
        r->left = 0;
        return 0;
    }
    uint64_t x = bt_load(r->at, bytes);
    r->at += bytes;
    r->left -= (size_t)bytes;
    return x;
}
static uint32_t get_u32(struct reader *r) {
    return (uint32_t)get(r, 4);
}
static int32_t get_i32(struct reader *r) {
    return (int32_t)get_u32(r);
}
static uint64_t get_u64(struct reader *r) {
    return get(r, 8);
}
static bool get_bool(struct reader *r) {
    uint64_t x = get(r, 1);
    r->bad |= x > 1;
    return x == 1;
}
/* An enum or status below `limit`. */
static unsigned get_small(struct reader *r, unsigned limit) {
    unsigned x = (unsigned)get(r, 1);
    r->bad |= x >= limit;
    return x < limit ? x : 0;
}
static baton_status get_status(struct reader *r) {
    baton_status s = (baton_status)get(r, 1);
    if (strcmp(baton_status_name(s), "UNKNOWN") == 0)
        r->bad = true;
    return s;
}
static float get_float(struct reader *r) {
    uint32_t bits = get_u32(r);
    float x;
    memcpy(&x, &bits, sizeof x);
    r->bad |= !isfinite(x);
    return x;
}
/* As a float, but minus infinity forbids a token. */
static float get_bias_value(struct reader *r) {
    uint32_t bits = get_u32(r);
    float x;
    memcpy(&x, &bits, sizeof x);
    r->bad |= isnan(x);
    return x;
}
static struct bt_text get_text(struct reader *r) {
    struct bt_text t = {"", 0};
    uint32_t len = get_u32(r);
    if (r->left < (size_t)len + 1 || r->at[len] != 0) {
        r->bad = true;
        r->left = 0;
        return t;
    }
    t = (struct bt_text){(const char *)r->at, len};
    r->at += (size_t)len + 1;
    r->left -= (size_t)len + 1;
    return t;
}
/* A C string: a text without a NUL inside. */
static const char *get_string(struct reader *r) {
    struct bt_text t = get_text(r);
    r->bad |= strlen(t.data) != t.len;
    return t.data;
}
static void get_name(struct reader *r, char *out, size_t size) {
    const char *s = get_string(r);
    size_t len = BT_MIN(strlen(s), size - 1);
    memcpy(out, s, len);
    out[len] = '\0';
}
/* How many elements follow: never more than the bytes left could hold. */
static size_t get_count(struct reader *r, size_t element_bytes) {
    uint32_t n = get_u32(r);
    if (n > r->left / element_bytes) {
        r->bad = true;
        return 0;
    }
    return n;
}
static baton_status finish(const struct reader *r) {
    return r->bad || r->left != 0 ? BATON_PROTOCOL : BATON_OK;
}

baton_status bt_get_hello(const struct bt_frame *f, uint32_t *version) {
    struct reader r = reader_of(f);
    *version = get_u32(&r);
    return finish(&r);
}

static baton_status get_tokens(struct reader *r, bt_token **tokens, size_t *n) {
    size_t count = get_count(r, 4);
    if (count == 0)
        return BATON_OK;
    *tokens = malloc(count * sizeof **tokens);
    if (!*tokens)
        return BATON_NO_MEMORY;
    for (*n = 0; *n < count; ++*n)
        (*tokens)[*n] = get_i32(r);
    return BATON_OK;
}

static baton_status get_messages(struct reader *r, struct bt_submit *s) {
    size_t n = get_count(r, 10); /* two texts of at least five bytes */
    if (n == 0)
        return BATON_OK;
    s->messages = calloc(n, sizeof *s->messages);
    if (!s->messages)
        return BATON_NO_MEMORY;
    for (s->n_messages = 0; s->n_messages < n; s->n_messages++) {
        s->messages[s->n_messages].role = get_string(r);
        s->messages[s->n_messages].content = get_string(r);
    }
    return BATON_OK;
}

static baton_status get_bias(struct reader *r, struct bt_sampling *s) {
    size_t n = get_count(r, 8);
    if (n == 0)
        return BATON_OK;
    struct bt_logit_bias *bias = malloc(n * sizeof *bias);
    if (!bias)
        return BATON_NO_MEMORY;
    s->bias = bias;
    for (s->n_bias = 0; s->n_bias < n; s->n_bias++) {
        bias[s->n_bias].token = get_i32(r);
        bias[s->n_bias].bias = get_bias_value(r);
    }
    return BATON_OK;
}

static baton_status get_sampling(struct reader *r, struct bt_sampling *s) {
    s->temperature = get_float(r);
    s->top_p = get_float(r);
    s->top_k = get_i32(r);
    s->min_p = get_float(r);
    s->presence_penalty = get_float(r);
    s->frequency_penalty = get_float(r);
    s->repeat_penalty = get_float(r);
    s->penalty_last_n = get_i32(r);
    s->seed = get_u64(r);
    if (get_bias(r, s))
        return BATON_NO_MEMORY;
    const char *grammar = get_string(r);
    s->grammar = grammar[0] ? grammar : NULL;
    return BATON_OK;
}

static baton_status get_submit(struct reader *r, struct bt_submit *s) {
    s->id = get_u64(r);
    s->attempt = get_u32(r);
    s->flow = get_u64(r);
    s->kind = (enum bt_prompt_kind)get_small(r, BT_PROMPT_TOKENS + 1);
    s->text = get_text(r);
    if (get_messages(r, s) || get_tokens(r, &s->tokens, &s->n_tokens) || get_tokens(r, &s->resume, &s->n_resume))
        return BATON_NO_MEMORY;
    s->resume_held = get_u32(r);
    s->resume_unread = get_u32(r);
    if (get_sampling(r, &s->sampling))
        return BATON_NO_MEMORY;
    s->max_tokens = get_i32(r);
    s->window = get_u32(r);
    uint32_t n_stops = get_u32(r);
    r->bad |= n_stops > BT_STOPS_MAX;
    for (uint32_t i = 0; i < n_stops && !r->bad; i++)
        s->stops[s->n_stops++] = get_text(r);
    return finish(r);
}

baton_status bt_get_submit(const struct bt_frame *f, struct bt_submit *s) {
    struct reader r = reader_of(f);
    memset(s, 0, sizeof *s);
    baton_status status = get_submit(&r, s);
    if (status)
        bt_submit_free(s);
    return status;
}

void bt_submit_free(struct bt_submit *s) {
    free(s->messages);
    free(s->tokens);
    free(s->resume);
    free((void *)s->sampling.bias);
    s->messages = NULL;
    s->tokens = s->resume = NULL;
    s->sampling.bias = NULL;
    s->n_messages = s->n_tokens = s->n_resume = s->sampling.n_bias = 0;
}

baton_status bt_get_cancel(const struct bt_frame *f, uint64_t *id, baton_status *reason) {
    struct reader r = reader_of(f);
    *id = get_u64(&r);
    *reason = get_status(&r);
    return finish(&r);
}

baton_status bt_get_ack(const struct bt_frame *f, uint64_t *id, uint32_t *tokens) {
    struct reader r = reader_of(f);
    *id = get_u64(&r);
    *tokens = get_u32(&r);
    return finish(&r);
}

baton_status bt_get_close(const struct bt_frame *f, bool *drain) {
    struct reader r = reader_of(f);
    *drain = get_bool(&r);
    return finish(&r);
}

baton_status bt_get_ready(const struct bt_frame *f, struct bt_frame_ready *out) {
    struct reader r = reader_of(f);
    out->sequences = get_u32(&r);
    out->ctx = get_u32(&r);
    out->exact = get_bool(&r);
    out->memory = get_u64(&r);
    get_name(&r, out->info.name, sizeof out->info.name);
    get_name(&r, out->info.description, sizeof out->info.description);
    out->info.vocab_size = get_i32(&r);
    out->info.ctx_train = get_i32(&r);
    out->info.bytes = get_u64(&r);
    out->info.recurrent = get_bool(&r);
    out->info.has_chat_template = get_bool(&r);
    out->versions = get_text(&r);
    return finish(&r);
}

baton_status bt_get_fatal(const struct bt_frame *f, baton_status *status, struct bt_text *text) {
    struct reader r = reader_of(f);
    *status = get_status(&r);
    *text = get_text(&r);
    return finish(&r);
}

baton_status bt_get_token(const struct bt_frame *f, struct bt_frame_token *t) {
    struct reader r = reader_of(f);
    t->id = get_u64(&r);
    t->attempt = get_u32(&r);
    t->index = get_u32(&r);
    t->token = get_i32(&r);
    t->held = get_u32(&r);
    t->text = get_text(&r);
    return finish(&r);
}

baton_status bt_get_done(const struct bt_frame *f, struct bt_frame_done *d) {
    struct reader r = reader_of(f);
    d->id = get_u64(&r);
    d->attempt = get_u32(&r);
    d->outcome = get_status(&r);
    d->finish = (enum bt_finish)get_small(&r, BT_FINISH_LENGTH + 1);
    d->prompt_tokens = get_u32(&r);
    d->reused_tokens = get_u32(&r);
    d->answer_tokens = get_u32(&r);
    d->text = get_text(&r);
    d->error = get_text(&r);
    return finish(&r);
}

baton_status bt_get_log(const struct bt_frame *f, baton_log_level *level, struct bt_text *text) {
    struct reader r = reader_of(f);
    *level = (baton_log_level)get_small(&r, BATON_LOG_DEBUG + 1);
    *text = get_text(&r);
    return finish(&r);
}
