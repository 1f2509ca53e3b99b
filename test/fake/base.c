/* base/: status table, buffers, JSON text, UTF-8, draws. */
#include "harness.h"

#include <string.h>

#include "base/base.h"

static void status_names_texts_and_families_come_from_one_table(void **state) {
    (void)state;
    assert_string_equal(baton_status_name(BATON_WOULD_DEADLOCK), "WOULD_DEADLOCK");
    assert_string_equal(baton_status_name((baton_status)9999), "UNKNOWN");
    assert_int_equal(baton_status_family_of(BATON_BUSY), BATON_FAMILY_OUTCOME);
    assert_int_equal(baton_status_family_of(BATON_STALE), BATON_FAMILY_BUG);
    assert_int_equal(baton_status_family_of(BATON_TOO_LONG), BATON_FAMILY_WORLD);
}

static void json_text_is_valid_whatever_the_bytes(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    const char raw[] = "a\"b\\c\n\x01\xc3\xa9\xff\xe2\x82";
    bt_json_string(&b, raw, sizeof raw - 1);
    bt_buf_add(&b, "", 1);
    assert_string_equal((char *)b.data, "\"a\\\"b\\\\c\\n\\u0001\xc3\xa9\\ufffd\\ufffd\\ufffd\"");
    bt_buf_free(&b);
}

static void an_unfinished_character_is_counted_and_a_whole_one_is_not(void **state) {
    (void)state;
    const char euro[] = "x\xe2\x82\xac", smile[] = "\xf0\x9f\x98\x80";
    assert_int_equal(bt_utf8_unfinished(euro, 4), 0);
    assert_int_equal(bt_utf8_unfinished(euro, 3), 2);
    assert_int_equal(bt_utf8_unfinished(euro, 2), 1);
    assert_int_equal(bt_utf8_unfinished(euro, 1), 0);
    for (size_t n = 1; n < 4; n++)
        assert_int_equal(bt_utf8_unfinished(smile, n), n);
    assert_int_equal(bt_utf8_unfinished("\x80\x80\x80\x80", 4), 0);
    assert_false(bt_utf8_valid("\xc0\xaf", 2));
    assert_false(bt_utf8_valid("\xed\xa0\x80", 3));
    assert_true(bt_utf8_valid(smile, 4));
}

static void a_text_is_cut_between_characters(void **state) {
    (void)state;
    char text[] = "a\xe2\x82 \xe2\x82\xac\xff b\xf0\x9f\x98";
    bt_utf8_mend(text);
    assert_string_equal(text, "a \xe2\x82\xac b");
    for (int before = 0; before < 3; before++) {
        char name[2000];
        memset(name, 'x', (size_t)before);
        for (int i = 0; i < 600; i++)
            memcpy(name + before + 3 * i, "\xe2\x82\xac", 4);
        baton_error err;
        bt_fail(&err, BATON_BUSY, "%s", name);
        size_t len = strlen(err.text);
        assert_true(len > sizeof err.text - 4 && bt_utf8_valid(err.text, len));
    }
}

static void a_draw_depends_on_seed_and_index_alone_and_is_even(void **state) {
    (void)state;
    double sum = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        double x = bt_draw(42, i);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(sum > 4900 && sum < 5100);
    assert_true(bt_draw(1, 2) == bt_draw(1, 2));
    assert_true(bt_draw(1, 2) != bt_draw(2, 1));
}

static void deadlines_saturate(void **state) {
    (void)state;
    assert_int_equal(bt_deadline(5, -1), BT_NEVER_NS);
    assert_int_equal(bt_deadline(5, INT64_MAX), BT_NEVER_NS);
    assert_int_equal(bt_deadline(5, 1), 5 + BT_NS_PER_MS);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_names_texts_and_families_come_from_one_table),
        cmocka_unit_test(json_text_is_valid_whatever_the_bytes),
        cmocka_unit_test(an_unfinished_character_is_counted_and_a_whole_one_is_not),
        cmocka_unit_test(a_text_is_cut_between_characters),
        cmocka_unit_test(a_draw_depends_on_seed_and_index_alone_and_is_even),
        cmocka_unit_test(deadlines_saturate),
    };
    return bt_test_run(tests, argc, argv);
}
