/* The codec of what an owner that hears is asked, and says. Pure. */
#include "wire/speech.h"

#include <stdlib.h>

#include "wire/wire_int.h"

_Static_assert((int)BT_SPEECH_HEAD == (int)RECORD_HEAD, "the same number");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples go as they lie in memory");

void bt_speech_ask_encode(struct bt_buf *b, const struct bt_audio *audio, const struct bt_whisper_params *p,
                          bool detect) {
    put_u8(b, detect);
    put_string(b, p->language);
    put_u8(b, p->translate);
    put_u8(b, p->no_timestamps);
    put_u8(b, p->token_timestamps);
    put_u8(b, p->single_segment);
    put_u8(b, p->split_on_word);
    put_u32(b, (uint32_t)p->threads);
    put_u32(b, (uint32_t)p->offset_ms);
    put_u32(b, (uint32_t)p->duration_ms);
    put_u32(b, (uint32_t)p->max_segments);
    put_u32(b, (uint32_t)p->max_tokens);
    put_u32(b, (uint32_t)p->max_chars);
    put_float(b, p->temperature);
    put_float(b, p->temperature_step);
    put_u32(b, (uint32_t)p->best_of);
    put_u32(b, (uint32_t)p->beams);
    put_string(b, p->initial_prompt);
    put_u32(b, (uint32_t)audio->rate);
    bt_buf_add(b, audio->samples, audio->n * sizeof *audio->samples);
}

baton_status bt_speech_ask_decode(struct bt_text bytes, struct bt_speech_ask *ask) {
    struct reader r = reader_of_bytes((const unsigned char *)bytes.data, bytes.len);
    struct bt_whisper_params *p = &ask->params;
    memset(ask, 0, sizeof *ask);
    ask->detect = get_bool(&r);
    p->language = get_optional(&r);
    p->translate = get_bool(&r);
    p->no_timestamps = get_bool(&r);
    p->token_timestamps = get_bool(&r);
    p->single_segment = get_bool(&r);
    p->split_on_word = get_bool(&r);
    p->threads = get_i32(&r);
    p->offset_ms = get_i32(&r);
    p->duration_ms = get_i32(&r);
    p->max_segments = get_i32(&r);
    p->max_tokens = get_i32(&r);
    p->max_chars = get_i32(&r);
    p->temperature = get_float(&r);
    p->temperature_step = get_float(&r);
    p->best_of = get_i32(&r);
    p->beams = get_i32(&r);
    p->initial_prompt = get_optional(&r);
    ask->rate = get_i32(&r);
    ask->samples = get_rest(&r);
    r.bad |= ask->samples.len % sizeof(float) != 0;
    return finish(&r);
}

void bt_speech_put_segment(struct bt_buf *b, const struct bt_whisper_segment *s) {
    size_t at = begin_record(b, BT_SPEECH_SEGMENT);
    put_u64(b, (uint64_t)s->t0_ms);
    put_u64(b, (uint64_t)s->t1_ms);
    put_float(b, s->no_speech);
    put_string(b, s->text);
    put_u32(b, (uint32_t)s->n_tokens);
    for (size_t i = 0; i < s->n_tokens; i++) {
        put_u32(b, (uint32_t)s->tokens[i].id);
        put_float(b, s->tokens[i].p);
        put_u64(b, (uint64_t)s->tokens[i].t0_ms);
        put_u64(b, (uint64_t)s->tokens[i].t1_ms);
        put_string(b, s->tokens[i].text);
    }
    end_record(b, at);
}

void bt_speech_put_percent(struct bt_buf *b, int percent) {
    size_t at = begin_record(b, BT_SPEECH_PERCENT);
    put_u8(b, (unsigned)percent);
    end_record(b, at);
}

void bt_speech_put_language(struct bt_buf *b, int language, const char *name, const float *probabilities, size_t n) {
    size_t at = begin_record(b, BT_SPEECH_LANGUAGE);
    put_u32(b, (uint32_t)language);
    put_string(b, name);
    put_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_float(b, probabilities[i]);
    end_record(b, at);
}

void bt_speech_put_more(struct bt_buf *b) {
    end_record(b, begin_record(b, BT_SPEECH_MORE));
}

baton_status bt_speech_head(const unsigned char head[BT_SPEECH_HEAD], enum bt_speech_kind *kind, size_t *len) {
    *kind = (enum bt_speech_kind)head[0];
    *len = (size_t)bt_load(head + 1, 4);
    return head[0] < BT_SPEECH_END && *len <= BT_FRAME_MAX ? BATON_OK : BATON_PROTOCOL;
}

/* Texts are copied behind the tokens: what came is as long as the texts and more. */
baton_status bt_speech_get_segment(const unsigned char *content, size_t len, struct bt_whisper_segment *s) {
    enum { TOKEN_BYTES = 4 + 4 + 8 + 8 + 5 };
    struct reader r = reader_of_bytes(content, len);
    memset(s, 0, sizeof *s);
    s->t0_ms = (int64_t)get_u64(&r);
    s->t1_ms = (int64_t)get_u64(&r);
    s->no_speech = get_float(&r);
    const char *text = get_string(&r);
    size_t n = get_count(&r, TOKEN_BYTES);
    struct bt_whisper_token *tokens = malloc(n * sizeof *tokens + len + 1);
    if (!tokens)
        return BATON_NO_MEMORY;
    char *at = (char *)(tokens + n);
    memcpy(at, content, len); /* and texts keep their places in it */
    s->text = r.bad ? "" : at + (text - (const char *)content);
    for (size_t i = 0; i < n; i++) {
        struct bt_whisper_token *t = &tokens[i];
        t->id = get_i32(&r);
        t->p = get_float(&r);
        t->t0_ms = (int64_t)get_u64(&r);
        t->t1_ms = (int64_t)get_u64(&r);
        text = get_string(&r);
        t->text = r.bad ? "" : at + (text - (const char *)content);
    }
    s->tokens = tokens;
    s->n_tokens = n;
    if (finish(&r) == BATON_OK)
        return BATON_OK;
    free(tokens);
    memset(s, 0, sizeof *s);
    return BATON_PROTOCOL;
}

baton_status bt_speech_get_percent(const unsigned char *content, size_t len, int *percent) {
    struct reader r = reader_of_bytes(content, len);
    *percent = (int)get_small(&r, 101);
    return finish(&r);
}

baton_status bt_speech_get_language(const unsigned char *content, size_t len, int *language, char name[8],
                                    float *probabilities, size_t most) {
    struct reader r = reader_of_bytes(content, len);
    *language = get_i32(&r);
    get_name(&r, name, 8);
    size_t n = get_count(&r, 4);
    r.bad |= n > most;
    for (size_t i = 0; i < n; i++) {
        float p = get_float(&r);
        if (probabilities && !r.bad)
            probabilities[i] = p;
    }
    return finish(&r);
}

#define NUMBERS(X)                                                                                                     \
    X(vocab_size)                                                                                                      \
    X(audio_ctx)                                                                                                       \
    X(text_ctx)                                                                                                        \
    X(audio_layers)                                                                                                    \
    X(text_layers)                                                                                                     \
    X(width)                                                                                                           \
    X(mels)                                                                                                            \
    X(start)                                                                                                           \
    X(end)                                                                                                             \
    X(transcribe)                                                                                                      \
    X(translate)                                                                                                       \
    X(no_timestamps)                                                                                                   \
    X(first_timestamp)                                                                                                 \
    X(first_language)

void bt_speech_model_encode(struct bt_buf *b, const struct bt_whisper *w) {
    struct bt_whisper_info i;
    w->ops->info(w, &i);
    put_string(b, i.name);
    put_string(b, i.type);
    put_u8(b, i.multilingual);
    put_u8(b, i.timestamps);
    put_u64(b, i.bytes);
    put_u64(b, i.state_bytes);
#define PUT(field) put_u32(b, (uint32_t)i.field);
    NUMBERS(PUT)
#undef PUT
    put_u32(b, (uint32_t)i.languages);
    for (int id = 0; id < i.languages; id++) {
        put_string(b, w->ops->lang_str(w, id));
        put_string(b, w->ops->lang_name(w, id));
    }
    for (int32_t t = 0; t < i.vocab_size; t++)
        put_string(b, w->ops->token_text(w, t));
}

static baton_status get_strings(struct reader *r, size_t n, const char ***list) {
    *list = calloc(n + 1, sizeof **list);
    if (!*list)
        return BATON_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        (*list)[i] = get_string(r);
    return BATON_OK;
}

baton_status bt_speech_model_decode(struct bt_text bytes, struct bt_speech_model *m) {
    enum { TEXT_BYTES = 5 };
    struct reader r = reader_of_bytes((const unsigned char *)bytes.data, bytes.len);
    struct bt_whisper_info *i = &m->info;
    memset(m, 0, sizeof *m);
    get_name(&r, i->name, sizeof i->name);
    get_name(&r, i->type, sizeof i->type);
    i->multilingual = get_bool(&r);
    i->timestamps = get_bool(&r);
    i->bytes = get_u64(&r);
    i->state_bytes = get_u64(&r);
#define GET(field) i->field = get_i32(&r);
    NUMBERS(GET)
#undef GET
    size_t n = get_count(&r, 2 * (size_t)TEXT_BYTES);
    i->languages = (int)n;
    baton_status status = get_strings(&r, 2 * n, &m->languages);
    r.bad |= i->vocab_size < 0 || (size_t)i->vocab_size > r.left / TEXT_BYTES;
    if (!status && !r.bad)
        status = get_strings(&r, (size_t)i->vocab_size, &m->tokens);
    if (!status)
        status = finish(&r);
    if (status)
        bt_speech_model_free(m);
    return status;
}

void bt_speech_model_free(struct bt_speech_model *m) {
    free(m->languages);
    free(m->tokens);
    memset(m, 0, sizeof *m);
}
