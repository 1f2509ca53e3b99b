/* What an owner process prints: bounded, cleaned log lines with the model's name, whatever comes and however much. */
#include "child_util.h"

#include "ipc/spawn_lines.h"

static struct {
    int lines;
    baton_log_level level;
    char last[1100], dropped[1100];
} seen;

static void on_line(void *arg, baton_log_level level, const char *line) {
    (void)arg;
    seen.lines++;
    seen.level = level;
    snprintf(seen.last, sizeof seen.last, "%s", line);
    if (strstr(line, "were dropped"))
        snprintf(seen.dropped, sizeof seen.dropped, "%s", line);
}

static int start_log(void **state) {
    (void)state;
    memset(&seen, 0, sizeof seen);
    bt_log_set_handler(on_line, NULL);
    bt_log_set_level(BATON_LOG_DEBUG);
    return 0;
}
static int end_log(void **state) {
    (void)state;
    bt_log_set_handler(NULL, NULL);
    bt_log_set_level(BATON_LOG_INFO);
    return 0;
}

static void print(struct bt_printed *l, const char *text, int64_t now_ns) {
    bt_printed_add(l, text, strlen(text), now_ns);
}

static void lines_have_the_model_s_name_and_their_own_level(void **state) {
    (void)state;
    struct bt_printed l;
    bt_printed_init(&l, "m.gguf", 0);
    print(&l, "half a ", 1);
    assert_int_equal(seen.lines, 0);
    print(&l, "line\n\n   \nbaton: warning: careful\nand no end", 1);
    assert_int_equal(seen.lines, 2);
    assert_string_equal(seen.last, "m.gguf: careful");
    assert_int_equal(seen.level, BATON_LOG_WARN);
    bt_printed_end(&l, 1);
    assert_string_equal(seen.last, "m.gguf: and no end");
    assert_int_equal(seen.level, BATON_LOG_INFO);
    assert_string_equal(l.last, "and no end");
}

static void what_a_terminal_would_obey_is_taken_out(void **state) {
    (void)state;
    struct bt_printed l;
    bt_printed_init(&l, "m", 0);
    bt_printed_add(&l, "a\033[2Jb\r\0c\xff\x7f\n", 12, 1);
    assert_string_equal(seen.last, "m: a [2Jb  c ");
}

static void a_line_without_end_is_cut(void **state) {
    (void)state;
    struct bt_printed l;
    bt_printed_init(&l, "m", 0);
    for (int i = 0; i < 10 * BT_LINE_MAX; i++)
        print(&l, "x", 1);
    print(&l, "\n", 1);
    assert_int_equal(seen.lines, 1);
    assert_int_equal(strlen(seen.last), strlen("m: ") + BT_LINE_MAX + strlen(" [...]"));
    assert_non_null(strstr(seen.last, "xxx [...]"));
}

static void a_flood_is_cut_and_that_is_said(void **state) {
    (void)state;
    struct bt_printed l;
    bt_printed_init(&l, "m", 0);
    for (int i = 0; i < BT_LINES_BURST + 1000; i++)
        print(&l, "x\n", 1);
    assert_int_equal(seen.lines, BT_LINES_BURST);
    assert_string_equal(seen.dropped, "");
    print(&l, "later\n", BT_NS_PER_S + 1);
    assert_non_null(strstr(seen.dropped, "m: 1000 more lines"));
    assert_string_equal(seen.last, "m: later");
    assert_int_equal(seen.lines, BT_LINES_BURST + 2);
    for (int i = 0; i < 1000; i++)
        print(&l, "x\n", BT_NS_PER_S + 1); /* a second has brought room for so many */
    assert_int_equal(seen.lines, BT_LINES_BURST + 2 + BT_LINES_PER_S - 1);
    bt_printed_end(&l, BT_NS_PER_S + 1);
    assert_non_null(strstr(seen.dropped, "951 more lines"));
}

/* 8 MiB on fd 1 and 2, and nobody reads them: the owner answers. Then they are read, and few of them are logged. */
static void probe_P41_a_flood_stops_nobody(void **state) {
    (void)state;
    struct child c;
    struct bt_frame_ready ready;
    struct heard h;
    baton_error err;
    child_open(&c, "fake:die=flood@12,len=8");
    assert_true(child_ready(&c, &ready, &err));
    child_ask(&c, 1, "who are you");
    hear_answer(&c.peer, &h);
    assert_int_equal(h.done.outcome, BATON_OK);
    bt_spawn_read_log(c.spawn, 0);
    assert_in_range(seen.lines, 1, BT_LINES_BURST + 10);
    child_hang_up(&c);
    child_end(&c);
    assert_non_null(strstr(seen.dropped, "fake:die=flood@12"));
    bt_spawn_close(&c.spawn);
}

static void what_is_printed_reaches_the_log_and_nothing_else(void **state) {
    (void)state;
    struct child c;
    struct bt_frame_ready ready;
    struct heard h;
    baton_error err;
    child_open(&c, "fake:print=1,len=8");
    assert_true(child_ready(&c, &ready, &err));
    child_ask(&c, 1, "who are you");
    hear_answer(&c.peer, &h);
    assert_int_equal(h.done.outcome, BATON_OK);
    child_hang_up(&c);
    child_end(&c);
    assert_in_range(seen.lines, 2 * 18, 2 * 40); /* every decode, on both */
    assert_string_equal(seen.last, "fake:print=1,len=8: fake native: a decode, on stderr");
    bt_spawn_close(&c.spawn);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_have_the_model_s_name_and_their_own_level, start_log, end_log),
        cmocka_unit_test_setup_teardown(what_a_terminal_would_obey_is_taken_out, start_log, end_log),
        cmocka_unit_test_setup_teardown(a_line_without_end_is_cut, start_log, end_log),
        cmocka_unit_test_setup_teardown(a_flood_is_cut_and_that_is_said, start_log, end_log),
        cmocka_unit_test_setup_teardown(probe_P41_a_flood_stops_nobody, start_log, end_log),
        cmocka_unit_test_setup_teardown(what_is_printed_reaches_the_log_and_nothing_else, start_log, end_log),
    };
    return bt_test_run(tests, argc, argv);
}
