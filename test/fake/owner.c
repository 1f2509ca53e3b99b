/* An owner spoken to in frames, as a front in another process would. */
#include "peer.h"

static void a_resumed_answer_goes_on_token_for_token_from_anywhere(void **state) {
    (void)state;
    resumed_answers_go_on_token_for_token("fake:len=60", "resume me");
}

static void an_answer_that_was_complete_before_its_resume_ends_at_once(void **state) {
    (void)state;
    struct peer p;
    struct heard h;
    bt_token token = 'x';
    start(&p, "fake:len=60");
    greet(&p);
    struct bt_submit s = ask(1, "p", 0);
    s.resume = &token;
    s.n_resume = 1;
    s.max_tokens = 1;
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.finish, BT_FINISH_LENGTH);
    assert_int_equal(h.n, 0);
    s.id = 2;
    s.max_tokens = 60;
    s.stops[s.n_stops++] = (struct bt_text){"x", 1};
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.finish, BT_FINISH_STOP);
    assert_int_equal(h.n, 0);
    stop(&p);
}

static void a_stop_string_ends_the_answer_before_it(void **state) {
    (void)state;
    struct peer p;
    struct heard whole, cut;
    start(&p, "fake:len=60");
    greet(&p);
    struct bt_submit s = ask(1, "stop me", 0);
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &whole);
    size_t at = strlen(whole.text) / 2, end = at + 3;
    while ((whole.text[at] & 0xc0) == 0x80)
        at--;
    while ((whole.text[end] & 0xc0) == 0x80)
        end++;
    s.id = 2;
    s.stops[s.n_stops++] = (struct bt_text){strndup(whole.text + at, end - at), end - at};
    size_t first = (size_t)(strstr(whole.text, s.stops[0].data) - whole.text);
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &cut);
    assert_int_equal(cut.done.finish, BT_FINISH_STOP);
    assert_int_equal(strlen(cut.text), first);
    assert_memory_equal(cut.text, whole.text, first);
    free((void *)s.stops[0].data);
    stop(&p);
}

static void what_makes_no_sense_ends_the_owner_with_a_word(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct peer p;
        struct bt_frame f;
        bool fatal = false;
        start(&p, "fake:");
        if (kind == 0)
            bt_put_cancel(&p.out, 1, BATON_CANCELLED); /* before any hello */
        if (kind == 1) {                               /* a hello of another version */
            bt_put_hello(&p.out);
            p.out.data[BT_FRAME_HEADER] ^= 0x40;
        }
        if (kind == 2) { /* a frame that only an owner says */
            bt_put_hello(&p.out);
            bt_put_pulse(&p.out, 1);
        }
        say(&p);
        while (hear(&p, &f))
            fatal |= f.type == BT_FRAME_FATAL;
        assert_true(fatal);
        stop(&p);
    }
}

static void one_id_is_alive_once(void **state) {
    (void)state;
    struct peer p;
    struct bt_frame f;
    struct bt_frame_done done;
    int ends[2] = {0, 0};
    start(&p, "fake:len=40,step_us=500");
    greet(&p);
    struct bt_submit s = ask(5, "twice", 0);
    bt_put_submit(&p.out, &s);
    bt_put_submit(&p.out, &s);
    say(&p);
    while (ends[0] + ends[1] < 2 && hear(&p, &f))
        if (f.type == BT_FRAME_DONE) {
            assert_int_equal(bt_get_done(&f, &done), BATON_OK);
            ends[done.outcome == BATON_OK]++;
        }
    assert_int_equal(ends[0], 1);
    assert_int_equal(ends[1], 1);
    stop(&p);
}

static void drain_finishes_what_runs_and_refuses_the_rest(void **state) {
    (void)state;
    struct peer p;
    struct bt_frame f;
    struct bt_frame_done done;
    baton_status ends[3] = {0};
    start(&p, "fake:len=40");
    greet(&p);
    struct bt_submit s = ask(1, "drain", 0);
    bt_put_submit(&p.out, &s);
    bt_put_close(&p.out, true);
    s.id = 2;
    bt_put_submit(&p.out, &s);
    say(&p);
    while (hear(&p, &f))
        if (f.type == BT_FRAME_DONE) {
            assert_int_equal(bt_get_done(&f, &done), BATON_OK);
            ends[done.id] = done.outcome ? done.outcome : BATON_END;
        }
    assert_int_equal(ends[1], BATON_END);
    assert_int_equal(ends[2], BATON_CLOSED);
    stop(&p);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_answer_goes_on_token_for_token_from_anywhere),
        cmocka_unit_test(an_answer_that_was_complete_before_its_resume_ends_at_once),
        cmocka_unit_test(a_stop_string_ends_the_answer_before_it),
        cmocka_unit_test(what_makes_no_sense_ends_the_owner_with_a_word),
        cmocka_unit_test(one_id_is_alive_once),
        cmocka_unit_test(drain_finishes_what_runs_and_refuses_the_rest),
    };
    return bt_test_run(tests, argc, argv);
}
