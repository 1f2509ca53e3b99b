/* Transcriptions as OpenAI tells them. State: the struct's. */
#include "serve/speech_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void bt_speech_out_free(struct bt_speech_out *o) {
    bt_buf_free(&o->text);
    bt_buf_free(&o->records);
    bt_buf_free(&o->segments);
}

void bt_speech_out_add(struct bt_speech_out *o, const char *bytes, size_t len) {
    bt_buf_add(&o->records, bytes, len);
}

static void put_seconds(struct bt_buf *b, const char *name, int64_t ms) {
    bt_buf_addf(b, ",\"%s\":%" PRId64 ".%03d", name, ms / 1000, (int)(ms % 1000));
}

static void put_segment(const struct bt_whisper_segment *s, struct bt_buf *b) {
    put_seconds(b, "start", BT_MAX(s->t0_ms, 0));
    put_seconds(b, "end", BT_MAX(s->t1_ms, 0));
    bt_buf_adds(b, ",\"text\":");
    bt_json_string(b, s->text, strlen(s->text));
}

static baton_status take_segment(struct bt_speech_out *o, const unsigned char *content, size_t len, struct bt_buf *b) {
    struct bt_whisper_segment s;
    baton_status status = bt_speech_get_segment(content, len, &s);
    if (status)
        return status;
    bt_buf_add(&o->text, s.text, strlen(s.text));
    bt_buf_addf(&o->segments, "%s{\"id\":%zu", o->n ? "," : "", o->n);
    put_segment(&s, &o->segments);
    bt_buf_adds(&o->segments, "}");
    bt_buf_addf(b, ",\"index\":%zu", o->n++);
    put_segment(&s, b);
    free((void *)s.tokens);
    return o->text.failed || o->segments.failed || b->failed ? BATON_NO_MEMORY : BATON_OK;
}

baton_status bt_speech_out_next(struct bt_speech_out *o, struct bt_buf *b) {
    enum bt_speech_kind kind = BT_SPEECH_END;
    baton_status status = o->records.failed ? BATON_NO_MEMORY : BATON_OK;
    for (size_t len = 0; !status && kind != BT_SPEECH_SEGMENT; bt_buf_drop(&o->records, BT_SPEECH_HEAD + len)) {
        if (o->records.len < BT_SPEECH_HEAD)
            return BATON_AGAIN;
        status = bt_speech_head(o->records.data, &kind, &len);
        if (!status && o->records.len - BT_SPEECH_HEAD < len)
            return BATON_AGAIN;
        int id;
        if (!status && kind == BT_SPEECH_SEGMENT)
            status = take_segment(o, o->records.data + BT_SPEECH_HEAD, len, b);
        else if (!status && kind == BT_SPEECH_LANGUAGE)
            status = bt_speech_get_language(o->records.data + BT_SPEECH_HEAD, len, &id, o->language, NULL, 0);
        if (status)
            return status;
    }
    return status;
}

void bt_speech_out_whole(const struct bt_speech_out *o, bool verbose, int64_t audio_ms, struct bt_buf *b) {
    bt_buf_adds(b, "{\"text\":");
    bt_json_string(b, (const char *)o->text.data, o->text.len);
    if (verbose) {
        bt_buf_adds(b, ",\"task\":\"transcribe\",\"language\":");
        bt_json_string(b, o->language, strlen(o->language));
        put_seconds(b, "duration", audio_ms);
        bt_buf_adds(b, ",\"segments\":[");
        bt_buf_add(b, o->segments.data, o->segments.len);
        bt_buf_adds(b, "]");
    }
    bt_buf_adds(b, "}");
}
