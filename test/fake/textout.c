/* From bytes of tokens to text: characters whole, stop strings found across tokens, nothing taken back. */
#include "harness.h"

#include <string.h>

#include "owner/text.h"

/* Feeds `text` cut into pieces of `cut` bytes; returns true if a stop string ended it. */
static bool feed(const char *text, size_t cut, const struct bt_text *stops, size_t n_stops, struct bt_buf *out) {
    struct bt_textout t = {.stops = stops, .n_stops = n_stops};
    size_t len = strlen(text);
    bool stopped = false;
    out->len = 0;
    for (size_t at = 0; at < len && !stopped; at += cut) {
        size_t before = out->len;
        stopped = bt_textout_push(&t, text + at, BT_MIN(cut, len - at), out);
        assert_true(bt_utf8_valid((char *)out->data + before, out->len - before));
    }
    bt_textout_flush(&t, out);
    bt_buf_free(&t.pending);
    bt_buf_add(out, "", 1);
    out->len--;
    return stopped;
}

static void probe_P16_characters_split_across_tokens_arrive_whole(void **state) {
    (void)state;
    const char *text = "a\xe2\x82\xac"
                       "b\xf0\x9f\x98\x80"
                       "c\xc3\xa9";
    struct bt_buf out = BT_BUF_INIT;
    for (size_t cut = 1; cut <= strlen(text); cut++) {
        assert_false(feed(text, cut, NULL, 0, &out));
        assert_string_equal((char *)out.data, text);
    }
    feed("x\xe2\x82", 1, NULL, 0, &out);
    assert_string_equal((char *)out.data, "x\xef\xbf\xbd\xef\xbf\xbd");
    feed("x\xff\xfey", 1, NULL, 0, &out);
    assert_string_equal((char *)out.data, "x\xef\xbf\xbd\xef\xbf\xbdy");
    bt_buf_free(&out);
}

static void a_stop_string_is_found_wherever_tokens_end(void **state) {
    (void)state;
    const struct bt_text stops[] = {{"END", 3}, {"", 0}, {"\xe2\x82\xac", 3}};
    struct bt_buf out = BT_BUF_INIT;
    for (size_t cut = 1; cut < 12; cut++) {
        assert_true(feed("one EN two ENEND three", cut, stops, 3, &out));
        assert_string_equal((char *)out.data, "one EN two EN");
        assert_true(feed("price 5\xe2\x82\xac"
                         "END",
                         cut, stops, 3, &out));
        assert_string_equal((char *)out.data, "price 5");
        assert_false(feed("nearly EN", cut, stops, 3, &out));
        assert_string_equal((char *)out.data, "nearly EN");
    }
    bt_buf_free(&out);
}

static void the_earliest_of_two_stop_strings_wins(void **state) {
    (void)state;
    const struct bt_text stops[] = {{"later", 5}, {"b", 1}};
    struct bt_buf out = BT_BUF_INIT;
    assert_true(feed("a b later", 100, stops, 2, &out));
    assert_string_equal((char *)out.data, "a ");
    bt_buf_free(&out);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P16_characters_split_across_tokens_arrive_whole),
        cmocka_unit_test(a_stop_string_is_found_wherever_tokens_end),
        cmocka_unit_test(the_earliest_of_two_stop_strings_wins),
    };
    return bt_test_run(tests, argc, argv);
}
