/* Encoding of frames and the framing itself. Pure: bytes in, bytes out. */
#include "wire/frame.h"

#include <string.h>

#include "wire/wire_int.h"

baton_status bt_frame_peek(const unsigned char *data, size_t len, struct bt_frame *f) {
    if (len < BT_FRAME_HEADER)
        return BATON_AGAIN;
    uint64_t size = bt_load(data, 4);
    if (size < 1 || size > BT_FRAME_MAX || data[4] < BT_FRAME_HELLO || data[4] > BT_FRAME_LOG)
        return BATON_PROTOCOL;
    if (len - 4 < size)
        return BATON_AGAIN;
    f->type = (enum bt_frame_type)data[4];
    f->payload = data + BT_FRAME_HEADER;
    f->len = (size_t)size - 1;
    f->size = (size_t)size + 4;
    return BATON_OK;
}

static void put(struct bt_buf *b, uint64_t x, int bytes) {
    if (!bt_buf_reserve(b, 8))
        return;
    for (int i = 0; i < bytes; i++)
        b->data[b->len++] = (unsigned char)(x >> (8 * i));
}
static void put_u8(struct bt_buf *b, unsigned x) {
    put(b, x, 1);
}
static void put_u32(struct bt_buf *b, uint32_t x) {
    put(b, x, 4);
}
static void put_u64(struct bt_buf *b, uint64_t x) {
    put(b, x, 8);
}
static void put_float(struct bt_buf *b, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_u32(b, bits);
}
/* With a NUL after it, so that the reader can use it in place as a C string. */
static void put_text(struct bt_buf *b, const char *data, size_t len) {
    put_u32(b, (uint32_t)len);
    bt_buf_add(b, data, len);
    put_u8(b, 0);
}
static void put_tokens(struct bt_buf *b, const bt_token *tokens, size_t n) {
    put_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_u32(b, (uint32_t)tokens[i]);
}

/* Room for the length comes first and is filled in by end: frames nest in one growing buffer without a copy. */
static size_t begin(struct bt_buf *b, enum bt_frame_type type) {
    size_t at = b->len;
    put_u32(b, 0);
    put_u8(b, (unsigned)type);
    return at;
}
static void end(struct bt_buf *b, size_t at) {
    if (b->failed)
        return;
    uint64_t size = b->len - at - 4;
    for (int i = 0; i < 4; i++)
        b->data[at + (size_t)i] = (unsigned char)(size >> (8 * i));
}

void bt_put_hello(struct bt_buf *b) {
    size_t at = begin(b, BT_FRAME_HELLO);
    put_u32(b, BT_IPC_VERSION);
    end(b, at);
}

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

void bt_put_submit(struct bt_buf *b, const struct bt_submit *s) {
    size_t at = begin(b, BT_FRAME_SUBMIT);
    put_u64(b, s->id);
    put_u32(b, s->attempt);
    put_u64(b, s->flow);
    put_u8(b, (unsigned)s->kind);
    put_text(b, s->text.data, s->text.len);
    put_u32(b, (uint32_t)s->n_messages);
    for (size_t i = 0; i < s->n_messages; i++) {
        put_text(b, s->messages[i].role, strlen(s->messages[i].role));
        put_text(b, s->messages[i].content, strlen(s->messages[i].content));
    }
    put_tokens(b, s->tokens, s->n_tokens);
    put_tokens(b, s->resume, s->n_resume);
    put_u32(b, s->resume_held);
    put_u32(b, s->resume_unread);
    put_sampling(b, &s->sampling);
    put_u32(b, (uint32_t)s->max_tokens);
    put_u32(b, s->window);
    put_u32(b, (uint32_t)s->n_stops);
    for (size_t i = 0; i < s->n_stops; i++)
        put_text(b, s->stops[i].data, s->stops[i].len);
    end(b, at);
}

void bt_put_cancel(struct bt_buf *b, uint64_t id, baton_status reason) {
    size_t at = begin(b, BT_FRAME_CANCEL);
    put_u64(b, id);
    put_u8(b, (unsigned)reason);
    end(b, at);
}

void bt_put_ack(struct bt_buf *b, uint64_t id, uint32_t tokens) {
    size_t at = begin(b, BT_FRAME_ACK);
    put_u64(b, id);
    put_u32(b, tokens);
    end(b, at);
}

void bt_put_close(struct bt_buf *b, bool drain) {
    size_t at = begin(b, BT_FRAME_CLOSE);
    put_u8(b, drain);
    end(b, at);
}

void bt_put_ready(struct bt_buf *b, const struct bt_frame_ready *r) {
    size_t at = begin(b, BT_FRAME_READY);
    put_u32(b, r->sequences);
    put_u32(b, r->ctx);
    put_u8(b, r->exact);
    put_u64(b, r->memory);
    put_text(b, r->info.name, strlen(r->info.name));
    put_text(b, r->info.description, strlen(r->info.description));
    put_u32(b, (uint32_t)r->info.vocab_size);
    put_u32(b, (uint32_t)r->info.ctx_train);
    put_u64(b, r->info.bytes);
    put_u8(b, r->info.recurrent);
    put_u8(b, r->info.has_chat_template);
    put_text(b, r->versions.data, r->versions.len);
    end(b, at);
}

void bt_put_fatal(struct bt_buf *b, baton_status status, const char *text) {
    size_t at = begin(b, BT_FRAME_FATAL);
    put_u8(b, (unsigned)status);
    put_text(b, text, strlen(text));
    end(b, at);
}

void bt_put_token(struct bt_buf *b, const struct bt_frame_token *t) {
    size_t at = begin(b, BT_FRAME_TOKEN);
    put_u64(b, t->id);
    put_u32(b, t->attempt);
    put_u32(b, t->index);
    put_u32(b, (uint32_t)t->token);
    put_u32(b, t->held);
    put_text(b, t->text.data, t->text.len);
    end(b, at);
}

void bt_put_done(struct bt_buf *b, const struct bt_frame_done *d) {
    size_t at = begin(b, BT_FRAME_DONE);
    put_u64(b, d->id);
    put_u32(b, d->attempt);
    put_u8(b, (unsigned)d->outcome);
    put_u8(b, (unsigned)d->finish);
    put_u32(b, d->prompt_tokens);
    put_u32(b, d->reused_tokens);
    put_u32(b, d->answer_tokens);
    put_text(b, d->text.data, d->text.len);
    put_text(b, d->error.data, d->error.len);
    end(b, at);
}

void bt_put_log(struct bt_buf *b, baton_log_level level, const char *text) {
    size_t at = begin(b, BT_FRAME_LOG);
    put_u8(b, (unsigned)level);
    put_text(b, text, strlen(text));
    end(b, at);
}
