/* Decoding of frames, from a peer that may lie: every length is checked before it is used, every enum before it is
 * believed, and a payload must end where its fields end. Pure; what it returns borrows from the payload. */
#include <stdlib.h>

#include "wire/wire_int.h"

baton_status bt_get_hello(const struct bt_frame *f, uint32_t *version) {
    struct reader r = reader_of(f);
    *version = get_u32(&r);
    return finish(&r);
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

static void get_details(struct reader *r, struct bt_model_details *d) {
    int *const numbers[] = {&d->layers, &d->width, &d->heads, &d->heads_kv, &d->embedding_width, &d->scores,
                            &d->bos,    &d->eos,   &d->eot,   &d->sep,      &d->newline,         &d->pad};
    d->params = get_u64(r);
    for (size_t i = 0; i < BT_COUNT(numbers); i++)
        *numbers[i] = get_i32(r);
    d->generates = get_bool(r);
    d->add_bos = get_bool(r);
    d->add_eos = get_bool(r);
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
    out->info.vision = get_bool(&r);
    out->versions = get_text(&r);
    get_name(&r, out->device, sizeof out->device);
    get_details(&r, &out->details);
    out->pooling = (enum bt_pooling)get_small(&r, BT_POOL_RANK + 1);
    out->width = get_u32(&r);
    uint32_t n = get_u32(&r);
    r.bad |= n > BT_ENDS_MAX;
    for (out->n_ends = 0; out->n_ends < n && !r.bad; out->n_ends++)
        out->ends[out->n_ends] = get_i32(&r);
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

baton_status bt_get_body(const struct bt_frame *f, struct bt_frame_body *h) {
    struct reader r = reader_of(f);
    h->id = get_u64(&r);
    h->attempt = get_u32(&r);
    uint64_t total = get_u64(&r);
    h->first = get_rest(&r);
    r.bad |= total > BT_BODY_MAX || h->first.len > total;
    h->total = r.bad ? 0 : (size_t)total;
    return finish(&r);
}

baton_status bt_get_part(const struct bt_frame *f, struct bt_frame_part *p) {
    struct reader r = reader_of(f);
    p->id = get_u64(&r);
    p->attempt = get_u32(&r);
    p->bytes = get_rest(&r);
    r.bad |= p->bytes.len == 0; /* it would bring a peer no further */
    return finish(&r);
}

baton_status bt_get_data(const struct bt_frame *f, struct bt_frame_data *d) {
    struct reader r = reader_of(f);
    d->id = get_u64(&r);
    d->attempt = get_u32(&r);
    d->offset = get_u64(&r);
    d->bytes = get_rest(&r);
    r.bad |= d->offset > UINT64_MAX - d->bytes.len;
    return finish(&r);
}

baton_status bt_get_news(const struct bt_frame *f, struct bt_frame_news *n) {
    struct bt_frame_part part;
    baton_status status = bt_get_part(f, &part); /* the same fields */
    *n = (struct bt_frame_news){part.id, part.attempt, part.bytes};
    return status;
}

baton_status bt_get_reply(const struct bt_frame *f, struct bt_frame_reply *out) {
    struct reader r = reader_of(f);
    out->id = get_u64(&r);
    out->status = get_status(&r);
    out->offset = get_u64(&r);
    out->bytes = get_text(&r);
    return finish(&r);
}

static void get_context(struct reader *r, struct bt_context_params *c) {
    c->sequences = get_i32(r);
    c->ctx = get_i32(r);
    c->threads = get_i32(r);
    c->chunk = get_i32(r);
    c->exact = get_bool(r);
    c->pooling = (enum bt_pooling)get_small(r, BT_POOL_AUTO + 1);
}

static baton_status get_loras(struct reader *r, struct bt_start *s) {
    size_t n = get_count(r, 13); /* two numbers and a text of at least five bytes */
    if (n == 0)
        return BATON_OK;
    s->loras = calloc(n, sizeof *s->loras);
    if (!s->loras)
        return BATON_NO_MEMORY;
    for (s->n_loras = 0; s->n_loras < n; s->n_loras++) {
        s->loras[s->n_loras].fd = get_i32(r);
        s->loras[s->n_loras].scale = get_float(r);
        s->loras[s->n_loras].path = get_ctext(r);
    }
    return BATON_OK;
}

static baton_status get_start(struct reader *r, struct bt_start *s) {
    s->version = get_u32(r);
    if (s->version != BT_IPC_VERSION) /* the rest has another shape */
        return r->bad ? BATON_PROTOCOL : BATON_OK;
    s->library = (enum bt_library)get_small(r, BT_LIBRARY_END);
    s->number = get_u32(r);
    s->flags = get_u32(r);
    s->path = get_ctext(r);
    s->has_chat_template = get_bool(r);
    s->chat_template = get_ctext(r);
    s->gpu_layers = get_i32(r);
    get_context(r, &s->context);
    uint32_t files = get_u32(r);
    r->bad |= files > BT_FILES_MAX;
    while (s->n_files < files && !r->bad)
        s->files[s->n_files++] = get_i32(r);
    baton_status status = get_loras(r, s);
    s->has_mmproj = get_bool(r);
    s->mmproj_file = get_i32(r);
    s->mmproj = get_ctext(r);
    for (size_t i = 0; i < BT_SD_PARTS; i++)
        s->parts[i] = get_ctext(r);
    s->flash_attention = get_bool(r);
    return status ? status : finish(r);
}

baton_status bt_get_start(const struct bt_frame *f, struct bt_start *s) {
    struct reader r = reader_of(f);
    memset(s, 0, sizeof *s);
    baton_status status = get_start(&r, s);
    if (status)
        bt_start_free(s);
    return status;
}

void bt_start_free(struct bt_start *s) {
    free(s->loras);
    s->loras = NULL;
    s->n_loras = 0;
}
