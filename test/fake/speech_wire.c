/* What goes into the frames of an owner that hears: it arrives as it was sent, and from a broken peer nothing does. */
#include "harness.h"

#include <string.h>

#include "wire/speech.h"

static const struct bt_whisper_token tokens[] = {{7, 0.5f, 10, 20, " a"}, {8, 0.25f, -1, -1, ""}};
static const struct bt_whisper_segment segment = {
    .t0_ms = 1000, .t1_ms = 1990, .text = " a\xff", .no_speech = 0.125f, .tokens = tokens, .n_tokens = 2};

static void a_segment_arrives_as_it_was_sent(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_whisper_segment s;
    enum bt_speech_kind kind;
    size_t len;
    bt_speech_put_segment(&b, &segment);
    assert_int_equal(bt_speech_head(b.data, &kind, &len), BATON_OK);
    assert_int_equal(kind, BT_SPEECH_SEGMENT);
    assert_int_equal(len, b.len - BT_SPEECH_HEAD);
    assert_int_equal(bt_speech_get_segment(b.data + BT_SPEECH_HEAD, len, &s), BATON_OK);
    assert_true(s.t0_ms == 1000 && s.t1_ms == 1990 && s.no_speech == 0.125f && s.n_tokens == 2);
    assert_string_equal(s.text, segment.text);
    for (int i = 0; i < 2; i++) {
        assert_true(s.tokens[i].id == tokens[i].id && s.tokens[i].p == tokens[i].p);
        assert_true(s.tokens[i].t0_ms == tokens[i].t0_ms && s.tokens[i].t1_ms == tokens[i].t1_ms);
        assert_string_equal(s.tokens[i].text, tokens[i].text);
    }
    free((void *)s.tokens);
    for (size_t n = 0; n < len; n++) { /* cut off anywhere */
        unsigned char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, b.data + BT_SPEECH_HEAD, n);
        assert_int_equal(bt_speech_get_segment(copy, n, &s), BATON_PROTOCOL);
        assert_null(s.tokens);
        free(copy);
    }
    bt_buf_free(&b);
}

static void an_ask_arrives_as_it_was_sent(void **state) {
    (void)state;
    const float samples[] = {0, 0.5f, -1};
    const struct bt_audio audio = {samples, 3, BT_WHISPER_RATE};
    struct bt_whisper_params p = BT_WHISPER_PARAMS_DEFAULT;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_speech_ask ask;
    p.language = "de";
    p.translate = p.split_on_word = true;
    p.offset_ms = 3;
    p.beams = 2;
    p.initial_prompt = "before";
    bt_speech_ask_encode(&b, &audio, &p, true);
    assert_int_equal(bt_speech_ask_decode((struct bt_text){(char *)b.data, b.len}, &ask), BATON_OK);
    assert_true(ask.detect && ask.params.translate && ask.params.split_on_word && !ask.params.no_timestamps);
    assert_string_equal(ask.params.language, "de");
    assert_string_equal(ask.params.initial_prompt, "before");
    assert_true(ask.params.offset_ms == 3 && ask.params.beams == 2 && ask.params.best_of == p.best_of);
    assert_true(ask.params.temperature_step == p.temperature_step && ask.rate == BT_WHISPER_RATE);
    assert_int_equal(ask.samples.len, sizeof samples);
    assert_memory_equal(ask.samples.data, samples, sizeof samples);
    for (size_t n = 0; n < b.len; n++) {
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        bool whole = (b.len - n) % sizeof(float) == 0 && n >= b.len - sizeof samples; /* fewer samples */
        assert_int_equal(bt_speech_ask_decode((struct bt_text){copy, n}, &ask), whole ? BATON_OK : BATON_PROTOCOL);
        free(copy);
    }
    bt_buf_free(&b);
}

static void heads_languages_and_percents_are_looked_at(void **state) {
    (void)state;
    const unsigned char no_kind[BT_SPEECH_HEAD] = {BT_SPEECH_END}, too_long[BT_SPEECH_HEAD] = {0, 1, 0, 0, 0x7f},
                        too_much[] = {101};
    const float probabilities[] = {0.25f, 0.75f};
    enum bt_speech_kind kind;
    struct bt_buf b = BT_BUF_INIT;
    float p[2] = {0};
    char name[8];
    size_t len;
    int n;
    assert_int_equal(bt_speech_head(no_kind, &kind, &len), BATON_PROTOCOL);
    assert_int_equal(bt_speech_head(too_long, &kind, &len), BATON_PROTOCOL);
    assert_int_equal(bt_speech_get_percent(too_much, 1, &n), BATON_PROTOCOL);
    bt_speech_put_percent(&b, 100);
    assert_int_equal(bt_speech_get_percent(b.data + BT_SPEECH_HEAD, b.len - BT_SPEECH_HEAD, &n), BATON_OK);
    assert_int_equal(n, 100);
    b.len = 0;
    bt_speech_put_language(&b, 1, "a-long-code", probabilities, 2);
    const unsigned char *content = b.data + BT_SPEECH_HEAD;
    len = b.len - BT_SPEECH_HEAD;
    assert_int_equal(bt_speech_get_language(content, len, &n, name, p, 2), BATON_OK);
    assert_int_equal(n, 1);
    assert_string_equal(name, "a-long-");
    assert_memory_equal(p, probabilities, sizeof p);
    assert_int_equal(bt_speech_get_language(content, len, &n, name, p, 1),
                     BATON_PROTOCOL); /* more than there is room */
    assert_int_equal(bt_speech_get_language(content, len, &n, name, NULL, 2), BATON_OK);
    b.len = 0;
    bt_speech_put_more(&b);
    assert_int_equal(bt_speech_head(b.data, &kind, &len), BATON_OK);
    assert_true(kind == BT_SPEECH_MORE && len == 0);
    bt_buf_free(&b);
}

static void a_model_arrives_as_it_is(void **state) {
    (void)state;
    const struct bt_whisper_model_params params = {.path = "fake:"};
    struct bt_whisper_info info;
    struct bt_speech_model m;
    struct bt_whisper *w;
    struct bt_buf b = BT_BUF_INIT;
    assert_int_equal(bt_whisper_open(&params, &w, NULL), BATON_OK);
    w->ops->info(w, &info);
    bt_speech_model_encode(&b, w);
    assert_int_equal(bt_speech_model_decode((struct bt_text){(char *)b.data, b.len}, &m), BATON_OK);
    assert_memory_equal(&m.info, &info, sizeof info);
    assert_string_equal(m.languages[2], w->ops->lang_str(w, 1));
    assert_string_equal(m.languages[3], w->ops->lang_name(w, 1));
    for (int32_t t = 0; t < info.vocab_size; t++)
        assert_string_equal(m.tokens[t], w->ops->token_text(w, t));
    bt_speech_model_free(&m);
    for (size_t n = 0; n < b.len; n += n < 300 ? 1 : 97) {
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        assert_int_equal(bt_speech_model_decode((struct bt_text){copy, n}, &m), BATON_PROTOCOL);
        assert_null(m.tokens);
        free(copy);
    }
    bt_buf_free(&b);
    w->ops->free(w);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_arrives_as_it_was_sent),
        cmocka_unit_test(an_ask_arrives_as_it_was_sent),
        cmocka_unit_test(heads_languages_and_percents_are_looked_at),
        cmocka_unit_test(a_model_arrives_as_it_is),
    };
    return bt_test_run(tests, argc, argv);
}
