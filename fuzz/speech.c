/* Fuzzing what an owner that hears says, and what it is asked: refused, or decoded within its bytes. Segments say the
 * same when they are encoded and decoded again. The first byte says which it is. State: none. */
#include <string.h>

#include "fuzz.h"
#include "wire/speech.h"

enum { LANGUAGES = 100, KINDS = 3 };

static bool same_text(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

static void trip_segment(const struct bt_whisper_segment *s) {
    struct bt_buf b = BT_BUF_INIT;
    struct bt_whisper_segment again;
    bt_speech_put_segment(&b, s);
    FUZZ_ASSERT(!b.failed && b.len >= BT_SPEECH_HEAD);
    FUZZ_ASSERT(bt_speech_get_segment(b.data + BT_SPEECH_HEAD, b.len - BT_SPEECH_HEAD, &again) == BATON_OK);
    FUZZ_ASSERT(again.n_tokens == s->n_tokens && same_text(again.text, s->text));
    for (size_t i = 0; i < s->n_tokens; i++)
        FUZZ_ASSERT(again.tokens[i].id == s->tokens[i].id && same_text(again.tokens[i].text, s->tokens[i].text));
    free((void *)again.tokens);
    bt_buf_free(&b);
}

static void take(enum bt_speech_kind kind, const uint8_t *content, size_t len) {
    struct bt_whisper_segment s;
    float probabilities[LANGUAGES];
    char name[8];
    int number;
    if (kind == BT_SPEECH_SEGMENT && bt_speech_get_segment(content, len, &s) == BATON_OK) {
        trip_segment(&s);
        free((void *)s.tokens);
    }
    if (kind == BT_SPEECH_PERCENT && bt_speech_get_percent(content, len, &number) == BATON_OK)
        FUZZ_ASSERT(number >= 0 && number <= 100);
    if (kind == BT_SPEECH_LANGUAGE &&
        bt_speech_get_language(content, len, &number, name, probabilities, LANGUAGES) == BATON_OK)
        FUZZ_ASSERT(memchr(name, 0, sizeof name));
}

static void records(const uint8_t *data, size_t size) {
    enum bt_speech_kind kind;
    size_t len;
    while (size >= BT_SPEECH_HEAD && bt_speech_head(data, &kind, &len) == BATON_OK && len <= size - BT_SPEECH_HEAD) {
        take(kind, data + BT_SPEECH_HEAD, len);
        data += BT_SPEECH_HEAD + len;
        size -= BT_SPEECH_HEAD + len;
    }
}

static void model(struct bt_text bytes) {
    struct bt_speech_model m;
    size_t sum = 0;
    if (bt_speech_model_decode(bytes, &m))
        return;
    for (int i = 0; i < 2 * m.info.languages; i++)
        sum += strlen(m.languages[i]);
    for (int i = 0; i < m.info.vocab_size; i++)
        sum += strlen(m.tokens[i]);
    FUZZ_ASSERT(sum <= bytes.len);
    bt_speech_model_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bt_speech_ask ask;
    if (size == 0)
        return 0;
    const struct bt_text rest = {(const char *)data + 1, size - 1};
    if (data[0] % KINDS == 0)
        records(data + 1, size - 1);
    else if (data[0] % KINDS == 1)
        model(rest);
    else if (bt_speech_ask_decode(rest, &ask) == BATON_OK)
        FUZZ_ASSERT(ask.samples.len <= rest.len && ask.samples.len % sizeof(float) == 0);
    return 0;
}
