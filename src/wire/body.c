/* The codec of bodies: what is asked, what comes after it, and questions. Decoding is written for a peer that may lie,
 * as in unframe.c. Pure; what it returns borrows from the body but for arrays. */
#include <stdlib.h>

#include "wire/wire_int.h"

static void put_sampling(struct bt_buf *b, const struct bt_sampling *s) {
    put_float(b, s->temperature);
    put_float(b, s->top_p);
    put_u32(b, (uint32_t)s->top_k);
    put_float(b, s->min_p);
    put_float(b, s->presence_penalty);
    put_float(b, s->frequency_penalty);
    put_float(b, s->repeat_penalty);
    put_u32(b, (uint32_t)s->penalty_last_n);
    put_u64(b, s->seed);
    put_u32(b, (uint32_t)s->n_bias);
    for (size_t i = 0; i < s->n_bias; i++) {
        put_u32(b, (uint32_t)s->bias[i].token);
        put_float(b, s->bias[i].bias);
    }
    put_text(b, s->grammar ? s->grammar : "", s->grammar ? strlen(s->grammar) : 0);
}

static void put_inputs(struct bt_buf *b, const struct bt_frame_input *inputs, size_t n) {
    put_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_text(b, inputs[i].text.data, inputs[i].text.len);
        put_tokens(b, inputs[i].tokens, inputs[i].n);
    }
}

void bt_submit_encode(struct bt_buf *b, const struct bt_submit *s) {
    put_u64(b, s->flow);
    put_u8(b, (unsigned)s->what);
    put_u8(b, (unsigned)s->kind);
    put_text(b, s->text.data, s->text.len);
    put_u32(b, (uint32_t)s->n_messages);
    for (size_t i = 0; i < s->n_messages; i++) {
        put_text(b, s->messages[i].role, strlen(s->messages[i].role));
        put_text(b, s->messages[i].content, strlen(s->messages[i].content));
    }
    put_u32(b, (uint32_t)s->n_images);
    for (size_t i = 0; i < s->n_images; i++) {
        put_u64(b, s->images[i].message);
        put_u64(b, s->images[i].offset);
        put_text(b, s->images[i].bytes, s->images[i].len);
    }
    put_tokens(b, s->tokens, s->n_tokens);
    put_tokens(b, s->resume, s->n_resume);
    put_u32(b, s->resume_held);
    put_u32(b, s->resume_unread);
    put_text(b, s->state.data, s->state.len);
    put_sampling(b, &s->sampling);
    put_u32(b, (uint32_t)s->max_tokens);
    put_u32(b, s->window);
    put_u32(b, (uint32_t)s->n_stops);
    for (size_t i = 0; i < s->n_stops; i++)
        put_text(b, s->stops[i].data, s->stops[i].len);
    put_inputs(b, s->inputs, s->n_inputs);
    put_u8(b, s->normalise);
    put_u8(b, s->open);
    put_u8(b, s->keep);
}

void bt_more_encode(struct bt_buf *b, const struct bt_more *m) {
    put_inputs(b, m->inputs, m->n_inputs);
    put_u8(b, m->open);
}

void bt_call_encode(struct bt_buf *b, const struct bt_call *c) {
    put_u8(b, (unsigned)c->op);
    put_u64(b, c->about);
    put_u32(b, c->number);
    put_text(b, c->bytes.data, c->bytes.len);
}

size_t bt_put_piece(struct bt_buf *b, enum bt_frame_type type, uint64_t id, uint32_t attempt, const unsigned char *body,
                    size_t total, size_t offset) {
    size_t n = BT_MIN(total - offset, (size_t)BT_PIECE);
    size_t at = begin(b, offset ? BT_FRAME_PART : type);
    put_u64(b, id);
    put_u32(b, attempt);
    if (offset == 0)
        put_u64(b, total);
    bt_buf_add(b, body + offset, n);
    end(b, at);
    return offset + n;
}

static void put_pieces(struct bt_buf *b, enum bt_frame_type type, uint64_t id, uint32_t attempt, struct bt_buf *body) {
    size_t offset = 0;
    b->failed |= body->failed;
    while (!b->failed && offset < body->len)
        offset = bt_put_piece(b, type, id, attempt, body->data, body->len, offset);
    bt_buf_free(body);
}

void bt_put_submit(struct bt_buf *b, const struct bt_submit *s) {
    struct bt_buf body = BT_BUF_INIT;
    bt_submit_encode(&body, s);
    put_pieces(b, BT_FRAME_SUBMIT, s->id, s->attempt, &body);
}

void bt_put_more(struct bt_buf *b, uint64_t id, uint32_t attempt, const struct bt_more *m) {
    struct bt_buf body = BT_BUF_INIT;
    bt_more_encode(&body, m);
    put_pieces(b, BT_FRAME_MORE, id, attempt, &body);
}

void bt_put_call(struct bt_buf *b, const struct bt_call *c) {
    struct bt_buf body = BT_BUF_INIT;
    bt_call_encode(&body, c);
    put_pieces(b, BT_FRAME_CALL, c->id, 0, &body);
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

/* Pairs of C strings. */
static baton_status get_messages(struct reader *r, struct bt_chat_message **messages, size_t *n) {
    size_t count = get_count(r, 10); /* two texts of at least five bytes */
    if (count == 0)
        return BATON_OK;
    *messages = calloc(count, sizeof **messages);
    if (!*messages)
        return BATON_NO_MEMORY;
    for (*n = 0; *n < count; ++*n) {
        (*messages)[*n].role = get_string(r);
        (*messages)[*n].content = get_string(r);
    }
    return BATON_OK;
}

static baton_status get_images(struct reader *r, struct bt_image **images, size_t *n) {
    size_t count = get_count(r, 21); /* two numbers and a text of at least five bytes */
    r->bad |= count > BT_IMAGES_MAX;
    if (count == 0 || r->bad)
        return BATON_OK;
    *images = calloc(count, sizeof **images);
    if (!*images)
        return BATON_NO_MEMORY;
    for (*n = 0; *n < count; ++*n) {
        struct bt_image *image = &(*images)[*n];
        image->message = get_u64(r);
        image->offset = get_u64(r);
        struct bt_text bytes = get_text(r);
        image->bytes = bytes.data;
        image->len = bytes.len;
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

static baton_status get_inputs(struct reader *r, struct bt_frame_input **inputs, size_t *n) {
    size_t count = get_count(r, 9); /* a text of at least five bytes and a length */
    if (count == 0)
        return BATON_OK;
    *inputs = calloc(count, sizeof **inputs);
    if (!*inputs)
        return BATON_NO_MEMORY;
    for (*n = 0; *n < count; ++*n) {
        struct bt_frame_input *in = &(*inputs)[*n];
        bt_token *tokens = NULL;
        in->text = get_text(r);
        baton_status status = get_tokens(r, &tokens, &in->n);
        in->tokens = tokens;
        if (status)
            return status;
    }
    return BATON_OK;
}

static baton_status get_submit(struct reader *r, struct bt_submit *s) {
    s->flow = get_u64(r);
    s->what = (enum bt_what)get_small(r, BT_WHAT_END);
    s->kind = (enum bt_prompt_kind)get_small(r, BT_PROMPT_STATE + 1);
    s->text = get_text(r);
    if (get_messages(r, &s->messages, &s->n_messages) || get_images(r, &s->images, &s->n_images) ||
        get_tokens(r, &s->tokens, &s->n_tokens) || get_tokens(r, &s->resume, &s->n_resume))
        return BATON_NO_MEMORY;
    s->resume_held = get_u32(r);
    s->resume_unread = get_u32(r);
    s->state = get_text(r);
    if (get_sampling(r, &s->sampling))
        return BATON_NO_MEMORY;
    s->max_tokens = get_i32(r);
    s->window = get_u32(r);
    uint32_t n_stops = get_u32(r);
    r->bad |= n_stops > BT_STOPS_MAX;
    for (uint32_t i = 0; i < n_stops && !r->bad; i++)
        s->stops[s->n_stops++] = get_text(r);
    size_t stop_bytes = 0;
    for (size_t i = 0; i < s->n_stops; i++)
        stop_bytes += s->stops[i].len;
    r->bad |= stop_bytes > BT_STOP_BYTES;
    if (get_inputs(r, &s->inputs, &s->n_inputs))
        return BATON_NO_MEMORY;
    s->normalise = get_bool(r);
    s->open = get_bool(r);
    s->keep = get_bool(r);
    return finish(r);
}

baton_status bt_get_submit(const struct bt_frame_body *h, const unsigned char *body, size_t len, struct bt_submit *s) {
    struct reader r = reader_of_bytes(body, len);
    memset(s, 0, sizeof *s);
    baton_status status = get_submit(&r, s);
    if (status)
        bt_submit_free(s);
    s->id = h->id;
    s->attempt = h->attempt;
    return status;
}

static void free_inputs(struct bt_frame_input **inputs, size_t *n) {
    for (size_t i = 0; i < *n; i++)
        free((void *)(*inputs)[i].tokens);
    free(*inputs);
    *inputs = NULL;
    *n = 0;
}

void bt_submit_free(struct bt_submit *s) {
    free(s->messages);
    free(s->images);
    free(s->tokens);
    free(s->resume);
    free((void *)s->sampling.bias);
    free_inputs(&s->inputs, &s->n_inputs);
    s->messages = NULL;
    s->images = NULL;
    s->n_images = 0;
    s->tokens = s->resume = NULL;
    s->sampling.bias = NULL;
    s->n_messages = s->n_tokens = s->n_resume = s->sampling.n_bias = 0;
}

baton_status bt_get_more(const unsigned char *body, size_t len, struct bt_more *m) {
    struct reader r = reader_of_bytes(body, len);
    memset(m, 0, sizeof *m);
    baton_status status = get_inputs(&r, &m->inputs, &m->n_inputs);
    m->open = get_bool(&r);
    if (!status)
        status = finish(&r);
    if (status)
        bt_more_free(m);
    return status;
}

void bt_more_free(struct bt_more *m) {
    free_inputs(&m->inputs, &m->n_inputs);
}

baton_status bt_get_call(const struct bt_frame_body *h, const unsigned char *body, size_t len, struct bt_call *c) {
    struct reader r = reader_of_bytes(body, len);
    c->id = h->id;
    c->op = (enum bt_call_op)get_small(&r, BT_CALL_END);
    c->about = get_u64(&r);
    c->number = get_u32(&r);
    c->bytes = get_text(&r);
    r.bad |= h->attempt != 0;
    return finish(&r);
}

void bt_put_record(struct bt_buf *b, uint32_t tokens, const float *values, size_t width) {
    put_u32(b, tokens);
    for (size_t i = 0; i < width; i++)
        put_float(b, values[i]);
}

bool bt_get_record(const unsigned char *bytes, size_t width, uint32_t *tokens, float *values) {
    struct reader r = reader_of_bytes(bytes, BT_RECORD_BYTES(width));
    *tokens = get_u32(&r);
    for (size_t i = 0; i < width; i++)
        values[i] = get_float(&r);
    return !r.bad;
}

void bt_put_tokens(struct bt_buf *b, const bt_token *tokens, size_t n) {
    put_tokens(b, tokens, n);
}

baton_status bt_get_tokens(const unsigned char *bytes, size_t len, bt_token **tokens, size_t *n) {
    struct reader r = reader_of_bytes(bytes, len);
    *tokens = NULL;
    *n = 0;
    baton_status status = get_tokens(&r, tokens, n);
    if (!status)
        status = finish(&r);
    if (status) {
        free(*tokens);
        *tokens = NULL;
        *n = 0;
    }
    return status;
}

void bt_put_pair(struct bt_buf *b, const char *key, size_t key_len, const char *value, size_t value_len) {
    put_text(b, key, key_len);
    put_text(b, value, value_len);
}

baton_status bt_get_pairs(const unsigned char *bytes, size_t len, struct bt_chat_message **pairs, size_t *n) {
    struct reader r = reader_of_bytes(bytes, len);
    size_t room = 0;
    *pairs = NULL;
    *n = 0;
    while (r.left > 0 && !r.bad) {
        if (*n == room) {
            room = BT_MAX(room * 2, (size_t)16);
            struct bt_chat_message *more = realloc(*pairs, room * sizeof *more);
            if (!more)
                break;
            *pairs = more;
        }
        (*pairs)[*n].role = get_string(&r);
        (*pairs)[*n].content = get_string(&r);
        ++*n;
    }
    baton_status status = r.left > 0 && !r.bad ? BATON_NO_MEMORY : finish(&r);
    if (status) {
        free(*pairs);
        *pairs = NULL;
        *n = 0;
    }
    return status;
}

uint64_t bt_call_result_max(enum bt_call_op op, size_t size) {
    enum { TEXT = 16 << 20, ALL_METADATA = 64 << 20, TOKENS_PER_BYTE = 16, TIMES_IN_A_CHAT = 16 };
    uint64_t most = 0;
    switch (op) {
    case BT_CALL_TOKENIZE:
        most = ((uint64_t)size + 256) * TOKENS_PER_BYTE * sizeof(bt_token);
        break;
    case BT_CALL_DETOKENIZE:
        most = (uint64_t)size / sizeof(bt_token) * BT_TOKEN_TEXT_MAX;
        break;
    case BT_CALL_CHAT:
        most = (uint64_t)size * TIMES_IN_A_CHAT + TEXT;
        break;
    case BT_CALL_METADATA:
        most = ALL_METADATA;
        break;
    case BT_CALL_SAVE:
        most = BT_BODY_MAX;
        break;
    case BT_CALL_RESET:
    case BT_CALL_END:
        break;
    }
    return BT_MIN(most, (uint64_t)BT_BODY_MAX);
}
