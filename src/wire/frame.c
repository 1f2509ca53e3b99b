/* Encoding of frames and the framing itself. Pure: bytes in, bytes out. */
#include "wire/wire_int.h"

baton_status bt_frame_peek(const unsigned char *data, size_t len, struct bt_frame *f) {
    if (len < BT_FRAME_HEADER)
        return BATON_AGAIN;
    uint64_t size = bt_load(data, 4);
    if (size < 1 || size > BT_FRAME_MAX || data[4] < BT_FRAME_HELLO || data[4] >= BT_FRAME_END)
        return BATON_PROTOCOL;
    if (len - 4 < size)
        return BATON_AGAIN;
    f->type = (enum bt_frame_type)data[4];
    f->payload = data + BT_FRAME_HEADER;
    f->len = (size_t)size - 1;
    f->size = (size_t)size + 4;
    return BATON_OK;
}

void bt_put_hello(struct bt_buf *b) {
    size_t at = begin(b, BT_FRAME_HELLO);
    put_u32(b, BT_IPC_VERSION);
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

static void put_details(struct bt_buf *b, const struct bt_model_details *d) {
    const int numbers[] = {d->layers, d->width, d->heads, d->heads_kv, d->embedding_width, d->scores,
                           d->bos,    d->eos,   d->eot,   d->sep,      d->newline,         d->pad};
    put_u64(b, d->params);
    for (size_t i = 0; i < BT_COUNT(numbers); i++)
        put_u32(b, (uint32_t)numbers[i]);
    put_u8(b, d->generates);
    put_u8(b, d->add_bos);
    put_u8(b, d->add_eos);
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
    put_u8(b, r->info.vision);
    put_text(b, r->versions.data, r->versions.len);
    put_text(b, r->device, strlen(r->device));
    put_details(b, &r->details);
    put_u8(b, (unsigned)r->pooling);
    put_u32(b, r->width);
    put_tokens(b, r->ends, r->n_ends);
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

void bt_put_data(struct bt_buf *b, const struct bt_frame_data *d) {
    size_t at = begin(b, BT_FRAME_DATA);
    put_u64(b, d->id);
    put_u32(b, d->attempt);
    put_u64(b, d->offset);
    bt_buf_add(b, d->bytes.data, d->bytes.len);
    end(b, at);
}

void bt_put_news(struct bt_buf *b, const struct bt_frame_news *n) {
    size_t at = begin(b, BT_FRAME_NEWS);
    put_u64(b, n->id);
    put_u32(b, n->attempt);
    bt_buf_add(b, n->bytes.data, n->bytes.len);
    end(b, at);
}

void bt_put_reply(struct bt_buf *b, const struct bt_frame_reply *r) {
    size_t at = begin(b, BT_FRAME_REPLY);
    put_u64(b, r->id);
    put_u8(b, (unsigned)r->status);
    put_u64(b, r->offset);
    put_text(b, r->bytes.data, r->bytes.len);
    end(b, at);
}

void bt_put_start(struct bt_buf *b, const struct bt_start *s) {
    size_t at = begin(b, BT_FRAME_START);
    put_u32(b, BT_IPC_VERSION);
    put_u8(b, (unsigned)s->library);
    put_u32(b, s->number);
    put_u32(b, s->flags);
    put_text(b, s->path.data, s->path.len);
    put_u8(b, s->has_chat_template);
    put_text(b, s->chat_template.data, s->chat_template.len);
    put_u32(b, (uint32_t)s->gpu_layers);
    put_u32(b, (uint32_t)s->context.sequences);
    put_u32(b, (uint32_t)s->context.ctx);
    put_u32(b, (uint32_t)s->context.threads);
    put_u32(b, (uint32_t)s->context.chunk);
    put_u8(b, s->context.exact);
    put_u8(b, (unsigned)s->context.pooling);
    put_u32(b, (uint32_t)s->n_files);
    for (size_t i = 0; i < s->n_files; i++)
        put_u32(b, (uint32_t)s->files[i]);
    put_u32(b, (uint32_t)s->n_loras);
    for (size_t i = 0; i < s->n_loras; i++) {
        put_u32(b, (uint32_t)s->loras[i].fd);
        put_float(b, s->loras[i].scale);
        put_text(b, s->loras[i].path.data, s->loras[i].path.len);
    }
    put_u8(b, s->has_mmproj);
    put_u32(b, (uint32_t)s->mmproj_file);
    put_text(b, s->mmproj.data, s->mmproj.len);
    for (size_t i = 0; i < BT_SD_PARTS; i++)
        put_text(b, s->parts[i].data, s->parts[i].len);
    put_u8(b, s->flash_attention);
    end(b, at);
}
