/* serve/speech_out.h: records of an owner that hears, in pieces cut anywhere, become the same JSON. */
#include "harness.h"

#include <string.h>

#include "serve/speech_out.h"

/* What an owner sends for three segments, with records between that are no segments; one text ends inside of a
 * character, which the next one completes. */
static struct bt_buf some_records(void) {
    static const char *const texts[] = {" one \"a\"", " tw\xc3", "\xa4 three"};
    struct bt_buf b = BT_BUF_INIT;
    for (int i = 0; i < 3; i++) {
        const struct bt_whisper_token token = {.id = i, .p = 0.5f, .t0_ms = -1, .t1_ms = -1, .text = texts[i]};
        const struct bt_whisper_segment s = {
            .t0_ms = 900 * i, .t1_ms = 900 * i + 1005, .text = texts[i], .tokens = &token, .n_tokens = 1};
        bt_speech_put_percent(&b, 30 * i);
        bt_speech_put_segment(&b, &s);
    }
    bt_speech_put_language(&b, 1, "de", NULL, 0);
    bt_speech_put_percent(&b, 100);
    assert_false(b.failed);
    return b;
}

/* Takes all there is; each segment's members, in brackets. */
static baton_status take_all(struct bt_speech_out *o, struct bt_buf *events) {
    baton_status status;
    struct bt_buf one = BT_BUF_INIT;
    while (one.len = 0, (status = bt_speech_out_next(o, &one)) == BATON_OK)
        bt_buf_addf(events, "[%.*s]", (int)one.len, (const char *)one.data);
    bt_buf_free(&one);
    return status;
}

static void must_be(const struct bt_buf *b, const char *text) {
    assert_int_equal(b->len, strlen(text));
    assert_memory_equal(b->data, text, b->len);
}

static void whole_is_right(const struct bt_speech_out *o, const struct bt_buf *events) {
    struct bt_buf b = BT_BUF_INIT;
    must_be(events, "[,\"index\":0,\"start\":0.000,\"end\":1.005,\"text\":\" one \\\"a\\\"\"]"
                    "[,\"index\":1,\"start\":0.900,\"end\":1.905,\"text\":\" tw\\ufffd\"]"
                    "[,\"index\":2,\"start\":1.800,\"end\":2.805,\"text\":\"\\ufffd three\"]");
    bt_speech_out_whole(o, false, 0, &b);
    must_be(&b, "{\"text\":\" one \\\"a\\\" tw\xc3\xa4 three\"}");
    b.len = 0;
    bt_speech_out_whole(o, true, 61002, &b);
    must_be(
        &b,
        "{\"text\":\" one \\\"a\\\" tw\xc3\xa4 three\",\"task\":\"transcribe\",\"language\":\"de\",\"duration\":61.002,"
        "\"segments\":[{\"id\":0,\"start\":0.000,\"end\":1.005,\"text\":\" one \\\"a\\\"\"},"
        "{\"id\":1,\"start\":0.900,\"end\":1.905,\"text\":\" tw\\ufffd\"},"
        "{\"id\":2,\"start\":1.800,\"end\":2.805,\"text\":\"\\ufffd three\"}]}");
    bt_buf_free(&b);
}

static void probe_P50_records_in_pieces_cut_anywhere_are_the_same(void **state) {
    (void)state;
    struct bt_buf records = some_records();
    const char *bytes = (const char *)records.data;
    for (size_t piece = 1; piece <= records.len; piece++) {
        struct bt_speech_out o = {.n = 0};
        struct bt_buf events = BT_BUF_INIT;
        for (size_t at = 0; at < records.len; at += piece) {
            bt_speech_out_add(&o, bytes + at, BT_MIN(piece, records.len - at));
            assert_int_equal(take_all(&o, &events), BATON_AGAIN);
        }
        whole_is_right(&o, &events);
        bt_buf_free(&events);
        bt_speech_out_free(&o);
    }
    bt_buf_free(&records);
}

static void what_are_no_records_is_told(void **state) {
    (void)state;
    static const char no_kind[] = {BT_SPEECH_END, 0, 0, 0, 0}, short_segment[] = {BT_SPEECH_SEGMENT, 1, 0, 0, 0, 7},
                      huge[] = {BT_SPEECH_PERCENT, 0, 0, 0, 0x7f};
    const struct bt_text cases[] = {
        {no_kind, sizeof no_kind}, {short_segment, sizeof short_segment}, {huge, sizeof huge}};
    for (size_t i = 0; i < BT_COUNT(cases); i++) {
        struct bt_speech_out o = {.n = 0};
        struct bt_buf events = BT_BUF_INIT;
        bt_speech_out_add(&o, cases[i].data, cases[i].len);
        assert_int_equal(take_all(&o, &events), BATON_PROTOCOL);
        assert_int_equal(events.len, 0);
        bt_buf_free(&events);
        bt_speech_out_free(&o);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P50_records_in_pieces_cut_anywhere_are_the_same),
        cmocka_unit_test(what_are_no_records_is_told),
    };
    return bt_test_run(tests, argc, argv);
}
