/* What the front believes of results that are no text: they have no window, and their bound is what was asked. */
#include "dispatch_shell.h"
#include "wire/drawing.h"

enum { WIDTH = 8, INPUTS = 3 };

static void open_embedding(struct shell *s, struct client *c, enum bt_what what) {
    static const struct bt_frame_input inputs[INPUTS] = {{{"a", 1}, NULL, 0}, {{"b", 1}, NULL, 0}, {{"c", 1}, NULL, 0}};
    struct bt_frame_ready ready = TRUE_READY;
    struct bt_submit ask = {.id = 1,
                            .what = what,
                            .text = {"", 0},
                            .state = {"", 0},
                            .inputs = (struct bt_frame_input *)inputs,
                            .n_inputs = what == BT_WHAT_EMBED || what == BT_WHAT_SCORE ? INPUTS : 0,
                            .max_tokens = -1};
    ready.pooling = what == BT_WHAT_EMBED ? BT_POOL_MEAN : BT_POOL_OFF;
    ready.width = WIDTH;
    open_silent(s);
    say_this_ready(s, &ready);
    s->out.len = 0;
    ask_this(s, c, &ask, -1, -1);
    take_all(s);
}

/* Results have no window: what was asked is their bound. */
static void probe_P41_results_are_as_long_as_was_asked_and_no_longer(void **state) {
    (void)state;
    const size_t all = INPUTS * BT_RECORD_BYTES(WIDTH);
    struct shell s;
    struct client c;
    open_embedding(&s, &c, BT_WHAT_EMBED);
    say_data(&s, 1, 1, 0, all);
    assert_int_equal(c.bytes, all);
    assert_true(bt_dispatch_listens(&s.d, 0));
    say_data(&s, 1, 1, all, 1);
    assert_int_equal(c.bytes, all);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);

    open_embedding(&s, &c, BT_WHAT_EMBED);
    static const struct bt_frame_input one = {{"d", 1}, NULL, 0};
    assert_int_equal(bt_request_more(c.request, &(struct bt_more){(struct bt_frame_input *)&one, 1, false}, NULL),
                     BATON_OK);
    take_all(&s);
    say_data(&s, 1, 1, 0, all + BT_RECORD_BYTES(WIDTH));
    assert_int_equal(c.bytes, all + BT_RECORD_BYTES(WIDTH));
    say_data(&s, 1, 1, all + BT_RECORD_BYTES(WIDTH), 1);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);

    open_embedding(&s, &c, BT_WHAT_GENERATE); /* an answer is tokens */
    say_data(&s, 1, 1, 0, 1);
    assert_int_equal(c.bytes, 0);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);

    open_embedding(&s, &c, BT_WHAT_TRANSCRIBE); /* of no audio */
    uint64_t at = 0;
    for (; at < (64 << 20) && bt_dispatch_listens(&s.d, 0); at += 1 << 20)
        say_data(&s, 1, 1, at, 1 << 20);
    assert_false(bt_dispatch_listens(&s.d, 0));
    assert_in_range(c.bytes, 1 << 20, 16 << 20);
    close_shell(&s);
}

/* Of the sizes that were asked for, with some room. */
static void probe_P41_a_drawing_is_as_large_as_was_asked_and_not_without_end(void **state) {
    (void)state;
    enum { SIDE = 512, COUNT = 2, ALL = SIDE * SIDE * 3 * COUNT };
    for (enum bt_draw_what what = BT_DRAW_IMAGE; what < BT_DRAW_WHAT_END; what++) {
        const struct bt_sd_ask drawing = {.prompt = "a",
                                          .width = SIDE,
                                          .height = SIDE,
                                          .count = COUNT,
                                          .frames = COUNT,
                                          .init = {16, 16, 3, calloc(16 * 16, 3)}};
        struct shell s;
        struct client c;
        struct bt_buf body = BT_BUF_INIT;
        bt_draw_ask_encode(&body, what, &drawing, SIDE / 16);
        struct bt_submit ask = {
            .id = 1, .what = BT_WHAT_DRAW, .text = {(char *)body.data, body.len}, .state = {"", 0}, .max_tokens = -1};
        open_shell(&s);
        ask_this(&s, &c, &ask, -1, -1);
        take_all(&s);
        uint64_t at = 0;
        for (; at < (64 << 20) && bt_dispatch_listens(&s.d, 0); at += 1 << 18)
            say_data(&s, 1, 1, at, 1 << 18);
        assert_false(bt_dispatch_listens(&s.d, 0));
        assert_in_range(c.bytes, what == BT_DRAW_UPSCALE ? ALL / 8 : ALL, 16 << 20);
        close_shell(&s);
        bt_buf_free(&body);
        free(drawing.init.data);
    }
}

/* Of everything else they would lie about unread. */
static void probe_P41_news_are_of_drawings_alone(void **state) {
    (void)state;
    struct bt_buf body = BT_BUF_INIT;
    bt_draw_ask_encode(&body, BT_DRAW_IMAGE, &(struct bt_sd_ask){.prompt = "a"}, 0);
    for (enum bt_what what = BT_WHAT_GENERATE; what < BT_WHAT_END; what++) {
        struct shell s;
        struct client c;
        bool draws = what == BT_WHAT_DRAW;
        struct bt_submit ask = {
            .id = 1, .what = what, .text = {(char *)body.data, body.len}, .state = {"", 0}, .max_tokens = -1};
        open_shell(&s);
        ask_this(&s, &c, &ask, -1, -1);
        take_all(&s);
        say_news(&s, 2, 1, "of nobody", 9);
        say_news(&s, 1, 2, "of no attempt", 13);
        assert_true(bt_dispatch_listens(&s.d, 0));
        say_news(&s, 1, 1, "half", 4);
        assert_int_equal(c.news, draws ? 4 : 0);
        assert_true(bt_dispatch_listens(&s.d, 0) == draws);
        close_shell(&s);
    }
    bt_buf_free(&body);
}

/* What there was no memory to look at has no bound, and so no owner. */
static void a_drawing_of_no_size_is_refused(void **state) {
    (void)state;
    struct shell s;
    const struct bt_handler handler = {.on_done = on_done};
    const struct bt_limits limits = {BT_WAIT, 1, -1, -1, -1};
    struct bt_submit ask = {.id = 1, .what = BT_WHAT_DRAW, .text = {"", 0}, .state = {"", 0}, .max_tokens = -1};
    struct bt_request *r;
    baton_error err;
    open_shell(&s);
    assert_int_equal(bt_dispatch_submit(&s.d, &ask, &limits, &handler, &r, &err), BATON_NO_MEMORY);
    assert_null(r);
    close_shell(&s);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P41_results_are_as_long_as_was_asked_and_no_longer),
        cmocka_unit_test(probe_P41_a_drawing_is_as_large_as_was_asked_and_not_without_end),
        cmocka_unit_test(probe_P41_news_are_of_drawings_alone),
        cmocka_unit_test(a_drawing_of_no_size_is_refused),
    };
    return bt_test_run(tests, argc, argv);
}
