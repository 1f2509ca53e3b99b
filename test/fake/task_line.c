/* The codec of the task worker's lines, without a pipe. State: none. */
#include "harness.h"

#include <string.h>

#include "task/json.h"
#include "task/line.h"

static struct bt_text text(const char *s) {
    return (struct bt_text){s, strlen(s)};
}

static void assert_text(struct bt_text t, const char *expected) {
    assert_int_equal(t.len, strlen(expected));
    assert_memory_equal(t.data, expected, t.len);
}

static void json_is_checked_as_rfc_8259_says(void **state) {
    static const char *const good[] = {
        "null",
        "true",
        "-0",
        "0.5e+7",
        "12E-2",
        "\"\"",
        "\"\\u20ac\\\\\\n\"",
        "[]",
        "{}",
        "[1,[2,{}],\"a\"]",
        "{\"a\":{\"b\":[{}]},\"c\":null}",
        " [ 1 , 2 ] ",
        "{ \"a\" : 1 }",
    };
    static const char *const bad[] = {
        "",         "nul",   "01", "-",   "1.",   ".5",   "1e",    "+1",    "\"",      "\"\\x\"",  "\"\\u12g4\"",
        "\"\t\"",   "[",     "[1", "[1,", "[1,]", "[,1]", "{",     "{a:1}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
        "{\"a\":1", "{1:2}", "]",  "}",   "[}",   "{]",   "[1 2]", "'a'",   "NaN",     "tru",
    };
    (void)state;
    struct bt_json j;
    struct bt_text value;
    for (size_t i = 0; i < BT_COUNT(good); i++) {
        bt_json_start(&j, text(good[i]));
        assert_true(bt_json_value(&j, &value) && bt_json_over(&j));
    }
    for (size_t i = 0; i < BT_COUNT(bad); i++) {
        bt_json_start(&j, text(bad[i]));
        assert_false(bt_json_value(&j, &value) && bt_json_over(&j));
    }
}

static void nesting_has_a_bound_and_no_stack(void **state) {
    (void)state;
    for (int depth = BT_JSON_DEPTH_MAX; depth <= BT_JSON_DEPTH_MAX + 1; depth++) {
        struct bt_buf b = BT_BUF_INIT;
        struct bt_json j;
        struct bt_text value;
        for (int i = 0; i < depth; i++)
            bt_buf_adds(&b, i % 3 ? "[" : "{\"a\":");
        bt_buf_adds(&b, "1");
        for (int i = depth - 1; i >= 0; i--)
            bt_buf_adds(&b, i % 3 ? "]" : "}");
        bt_json_start(&j, (struct bt_text){(char *)b.data, b.len});
        assert_int_equal(bt_json_value(&j, &value) && bt_json_over(&j), depth == BT_JSON_DEPTH_MAX);
        bt_buf_free(&b);
    }
}

static void strings_say_what_they_say(void **state) {
    static const struct {
        const char *string, *says;
    } table[] = {
        {"\"\"", ""},
        {"\"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"", "a\n\t\"\\/\b\f\r"},
        {"\"\\u0041\\u20ac\\ud83d\\ude00\"", "A\u20ac\U0001F600"},
        {"\"\\ud83d!\\ude00\\ud83dx\"", "\ufffd!\ufffd\ufffdx"},
        {"\"\\ud83d\\u0041\"", "\ufffdA"},
    };
    (void)state;
    for (size_t i = 0; i < BT_COUNT(table); i++) {
        struct bt_buf b = BT_BUF_INIT;
        bt_json_decode(text(table[i].string), &b);
        assert_text((struct bt_text){b.data ? (char *)b.data : "", b.len}, table[i].says);
        assert_true(bt_json_says(text(table[i].string), table[i].says));
        assert_false(bt_json_says(text(table[i].string), "other"));
        bt_buf_free(&b);
    }
    assert_text(bt_json_find(text("{\"a\":1,\"b\":[2],\"\\u0061\":3}"), "a"), "3");
    assert_int_equal(bt_json_find(text("[1]"), "a").len, 0);
}

static void lines_come_out_however_bytes_come_in(void **state) {
    static const char stream[] = "one\n\nthree\r\n\xff\xfe\nlast";
    static const char *const expected[] = {"one", "", "three\r", "\xff\xfe", "last"};
    (void)state;
    for (size_t step = 1; step < sizeof stream; step++) {
        struct bt_line_reader r = {0};
        struct bt_text line;
        size_t n = 0;
        for (size_t at = 0; at < sizeof stream - 1; at += step) {
            assert_true(bt_lines_add(&r, stream + at, BT_MIN(step, sizeof stream - 1 - at)));
            while (bt_lines_next(&r, &line) == BATON_OK)
                assert_text(line, expected[n++]);
        }
        assert_int_equal(bt_lines_last(&r, &line), BATON_OK);
        assert_text(line, expected[n++]);
        assert_int_equal(n, BT_COUNT(expected));
        assert_int_equal(bt_lines_last(&r, &line), BATON_AGAIN);
        bt_lines_free(&r);
    }
}

static void probe_P52_a_line_without_end_is_cut_and_the_next_is_whole(void **state) {
    (void)state;
    for (size_t step = 1; step < 40; step++) {
        struct bt_line_reader r = {.max = 10};
        struct bt_text line;
        static const char stream[] = "0123456789\n0123456789a\nwell\nabcdefghijklmnopqrstuvwxyzabcdefghijklmnopq\nwell";
        static const char *const expected[] = {"0123456789", "0123456789", "well", "abcdefghij"};
        size_t n = 0;
        for (size_t at = 0; at < sizeof stream - 1; at += step) {
            assert_true(bt_lines_add(&r, stream + at, BT_MIN(step, sizeof stream - 1 - at)));
            for (baton_status s; (s = bt_lines_next(&r, &line)) != BATON_AGAIN; n++) {
                assert_int_equal(s, n % 2 ? BATON_TOO_LONG : BATON_OK);
                assert_true(line.len >= strlen(expected[n]));
                assert_memory_equal(line.data, expected[n], strlen(expected[n]));
            }
            assert_true(r.in.len - r.from <= 10);
        }
        assert_int_equal(n, 4);
        assert_int_equal(bt_lines_last(&r, &line), BATON_OK);
        assert_text(line, "well");
        bt_lines_free(&r);
    }
}

static void a_task_is_read_as_the_worker_writes_it(void **state) {
    struct bt_task_line t;
    baton_error err;
    (void)state;
    assert_int_equal(
        bt_task_line_parse(text("{\"task_id\":\"a\\u00e9\\\"1\",\"type\":\"task\",\"payload\":{\"kind\":"
                                "\"chat\",\"x\":1.50},\"retry_count\":1,\"max_retry\":2,\"queue\":\"q.s\"}"),
                           true, &t, &err),
        BATON_OK);
    assert_int_equal(t.kind, BT_LINE_TASK);
    assert_text(t.id, "\"a\\u00e9\\\"1\"");
    assert_text(t.payload, "{\"kind\":\"chat\",\"x\":1.50}");
    assert_text(t.work_kind, "\"chat\"");
    assert_text(t.queue, "\"q.s\"");
    assert_int_equal(t.retry_count * 10 + t.max_retry, 12);
    assert_int_equal(bt_task_line_parse(text("{\"task_id\":\"a\",\"payload\":null}"), true, &t, &err), BATON_OK);
    assert_text(t.payload, "null");
    assert_int_equal(bt_task_line_parse(text("{\"task_id\":\"a\",\"type\":\"cancel\"}"), true, &t, &err), BATON_OK);
    assert_int_equal(t.kind, BT_LINE_CANCEL);
    assert_int_equal(bt_task_line_parse(text(" \t\r"), true, &t, &err), BATON_OK);
    assert_int_equal(t.kind, BT_LINE_BLANK);
}

static void probe_P52_a_broken_line_says_whose_it_is(void **state) {
    static const struct {
        const char *line, *id;
        baton_status status;
    } table[] = {
        {"{\"task_id\":\"a\",\"payload\":{\"x\":", "\"a\"", BATON_INVALID},
        {"{\"task_id\":\"a\"} {}", "\"a\"", BATON_INVALID},
        {"{\"payload\":[1,\"task_id\":\"a\"}", "", BATON_INVALID},
        {"{\"task_id\":\"a\",\"payload\":\"\xff\"}", "\"a\"", BATON_INVALID},
        {"{\"task_id\":\"\xff\"}", "", BATON_INVALID},
        {"{\"task_id\":7,\"x\":1}", "", BATON_INVALID},
        {"{\"task_id\":\"a\",\"task_id\":null}", "", BATON_INVALID},
        {"{\"task_id\":\"a\",\"type\":\"dance\"}", "\"a\"", BATON_UNSUPPORTED},
        {"{\"retry_count\":1.5,\"task_id\":\"a\"}", "\"a\"", BATON_INVALID},
        {"{\"retry_count\":99999999999999999999,\"task_id\":\"a\"}", "\"a\"", BATON_INVALID},
        {"[\"task_id\"]", "", BATON_INVALID},
        {"{}", "", BATON_INVALID},
    };
    struct bt_task_line t;
    baton_error err;
    (void)state;
    for (size_t i = 0; i < BT_COUNT(table); i++) {
        assert_int_equal(bt_task_line_parse(text(table[i].line), true, &t, &err), table[i].status);
        assert_text(t.id.len ? t.id : text(""), table[i].id);
        assert_true(err.text[0]);
    }
    assert_int_equal(bt_task_line_parse(text("{\"task_id\":\"a\",\"payload\":{\"x"), false, &t, &err), BATON_TOO_LONG);
    assert_text(t.id, "\"a\"");
    char line[2 * BT_TASK_ID_MAX + 40];
    int n = snprintf(line, sizeof line, "{\"task_id\":\"%0*d\"}", 2 * BT_TASK_ID_MAX, 1);
    assert_int_equal(bt_task_line_parse((struct bt_text){line, (size_t)n}, true, &t, &err), BATON_TOO_LONG);
    assert_int_equal(t.id.len, 2 * BT_TASK_ID_MAX + 2);
}

static void answers_are_one_line_each(void **state) {
    struct bt_buf b = BT_BUF_INIT;
    (void)state;
    bt_line_ready(&b);
    bt_line_result(&b, text("\"a\""), text("{\n\"x\":\r\n1}"));
    bt_line_failure(&b, text("\"a\""), BATON_QUEUE_FULL, "no \"room\"\n", (struct bt_text){0});
    bt_line_failure(&b, (struct bt_text){0}, BATON_INVALID, NULL, text("so\xe2\x82"));
    bt_buf_add(&b, "", 1);
    assert_string_equal((char *)b.data,
                        "{\"status\":\"ready\"}\n"
                        "{\"task_id\":\"a\",\"result\":{ \"x\":  1},\"error\":null,\"retry\":false}\n"
                        "{\"task_id\":\"a\",\"result\":null,\"error\":\"BATON_QUEUE_FULL: no \\\"room\\\"\\n\","
                        "\"retry\":true}\n"
                        "{\"task_id\":\"unknown\",\"result\":{\"partial\":\"so\"},\"error\":\"BATON_INVALID: invalid "
                        "value\",\"retry\":false}\n");
    bt_buf_free(&b);
}

static void probe_P52_no_answer_passes_what_the_parent_takes(void **state) {
    static const size_t sizes[] = {BT_LINE_OUT_MAX - 64, BT_LINE_OUT_MAX - 49, BT_LINE_OUT_MAX, 3 * BT_LINE_OUT_MAX};
    struct bt_buf big = BT_BUF_INIT, b = BT_BUF_INIT;
    (void)state;
    assert_true(bt_buf_reserve(&big, 3 * BT_LINE_OUT_MAX + 10));
    memset(big.data, 1, 3 * BT_LINE_OUT_MAX);
    for (size_t i = 0; i < BT_COUNT(sizes); i++) {
        b.len = 0;
        bt_line_failure(&b, text("\"a\""), BATON_CRASHED, "x", (struct bt_text){(char *)big.data, sizes[i]});
        assert_true(b.len < 10 << 20);
        b.len = 0;
        big.data[0] = '"';
        memset(big.data + 1, 'x', sizes[i] - 2);
        big.data[sizes[i] - 1] = '"';
        bt_line_result(&b, text("\"a\""), (struct bt_text){(char *)big.data, sizes[i]});
        assert_true(b.len < 10 << 20);
        assert_int_equal(memmem(b.data, b.len, "BATON_TOO_LONG", 14) != NULL, sizes[i] > BT_LINE_OUT_MAX - 59);
        memset(big.data, 1, sizes[i]);
    }
    bt_buf_free(&big);
    bt_buf_free(&b);
}

static void a_childs_line_is_taken_as_runqy_takes_it(void **state) {
    static const struct {
        const char *line;
        enum bt_reply_kind kind;
        bool sound;
    } table[] = {
        {"{\"status\":\"ready\"}", BT_REPLY_READY, true},
        {"{\"status\":\"loading\"}", BT_REPLY_LOG, true},
        {"{\"status\":\"error\",\"error\":\"no\"}", BT_REPLY_ERROR, true},
        {"loading...", BT_REPLY_NOISE, true},
        {"[]", BT_REPLY_NOISE, true},
        {"{\"task_id\":\"a\"} x", BT_REPLY_NOISE, true},
        {"{\"level\":\"info\"}", BT_REPLY_LOG, true},
        {"{\"task_id\":\"\",\"x\":1}", BT_REPLY_NOISE, true},
        {"{\"TASK_ID\":\"a\",\"Result\":1}", BT_REPLY_ANSWER, true},
        {"{\"task_id\":\"a\",\"error\":\"x\",\"retry\":true}", BT_REPLY_ANSWER, true},
        {"{\"task_id\":\"a\",\"error\":{\"x\":1}}", BT_REPLY_ANSWER, false},
        {"{\"task_id\":\"a\",\"error\":null,\"retry\":\"yes\"}", BT_REPLY_ANSWER, false},
        {"{\"task_id\":7}", BT_REPLY_NOISE, true},
    };
    struct bt_reply_line r;
    (void)state;
    for (size_t i = 0; i < BT_COUNT(table); i++) {
        bt_reply_line_parse(text(table[i].line), &r);
        assert_int_equal(r.kind, table[i].kind);
        if (r.kind == BT_REPLY_ANSWER)
            assert_int_equal(r.sound, table[i].sound);
    }
    bt_reply_line_parse(text("{\"Task_Id\":\"a\",\"RESULT\":[1, 2],\"Error\":\"\",\"RETRY\":true}"), &r);
    assert_true(r.sound && r.retry && r.error.len == 0);
    assert_int_equal(r.result.len, 6);
    assert_memory_equal(r.result.data, "[1, 2]", 6);
    bt_reply_line_parse(text("{\"task_id\":\"a\",\"error\":\"x\",\"retry\":null}"), &r);
    assert_true(r.sound && !r.retry);
    assert_int_equal(r.error.len, 3);
    assert_memory_equal(r.result.data, "null", 4);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_checked_as_rfc_8259_says),
        cmocka_unit_test(nesting_has_a_bound_and_no_stack),
        cmocka_unit_test(strings_say_what_they_say),
        cmocka_unit_test(lines_come_out_however_bytes_come_in),
        cmocka_unit_test(probe_P52_a_line_without_end_is_cut_and_the_next_is_whole),
        cmocka_unit_test(a_task_is_read_as_the_worker_writes_it),
        cmocka_unit_test(probe_P52_a_broken_line_says_whose_it_is),
        cmocka_unit_test(answers_are_one_line_each),
        cmocka_unit_test(probe_P52_no_answer_passes_what_the_parent_takes),
        cmocka_unit_test(a_childs_line_is_taken_as_runqy_takes_it),
    };
    return bt_test_run(tests, argc, argv);
}
