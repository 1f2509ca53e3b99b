/* The deciding part of the front where it needs an exact order; sim/ draws whole lives of it. */
#include "dispatch_shell.h"

/* What lies there for the owner, in order: S and A for SUBMIT and ACK of that request; and is taken. */
static void taken(struct shell *s, uint64_t id, char *order, size_t room) {
    struct bt_frame f;
    struct bt_frame_body h;
    uint64_t acked;
    uint32_t n;
    size_t len = 0;
    do {
        for (size_t at = 0; bt_frame_peek(s->out.data + at, s->out.len - at, &f) == BATON_OK; at += f.size) {
            char what = f.type == BT_FRAME_SUBMIT && !bt_get_body(&f, &h) && h.id == id        ? 'S'
                        : f.type == BT_FRAME_ACK && !bt_get_ack(&f, &acked, &n) && acked == id ? 'A'
                                                                                               : 0;
            if (what && len + 1 < room)
                order[len++] = what;
        }
        s->out.len = 0;
        bt_dispatch_send(&s->d, 0);
    } while (s->out.len > 0);
    order[len] = '\0';
}

enum { BIG = 2 << 20 };

/* The second body waits behind the first; its time passes before anything of it has left. */
static void run_timeouts_of_requests_that_have_not_left_are_told_one_by_one(void **state) {
    (void)state;
    struct shell s;
    struct client c[4];
    open_shell(&s);
    for (int i = 0; i < 4; i++)
        ask(&s, &c[i], (uint64_t)i + 1, BIG, 1000);
    s.now_ns += 2 * BT_NS_PER_S;
    bt_dispatch_tick(&s.d);
    assert_int_equal(c[0].done, 0); /* its beginning is there: the owner has the last word */
    for (int i = 1; i < 4; i++) {
        assert_int_equal(c[i].done, 1);
        assert_int_equal(c[i].status, BATON_RUN_TIMEOUT);
    }
    assert_null(bt_dispatch_check(&s.d));
    close_shell(&s);
    assert_int_equal(c[0].done, 1);
}

/* An owner does not know of a request before it has all of it, and an ACK that comes before that is lost: the window
 * would stay closed for ever. */
static void probe_P40_a_window_opens_again_in_the_next_owner(void **state) {
    (void)state;
    struct shell s;
    struct client big, small;
    char order[16];
    open_shell(&s);
    ask(&s, &big, 1, BIG, -1);
    ask(&s, &small, 2, 16, -1);
    taken(&s, 2, order, sizeof order);
    assert_string_equal(order, "S");
    say_tokens(&s, 2, 1, 0, BT_WINDOW);
    assert_int_equal(small.pieces, BT_WINDOW);
    bt_dispatch_ended(&s.d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = SIGKILL, .text = ""});
    s.out.len = 0;
    bt_dispatch_tick(&s.d);
    assert_int_equal(s.starts, 2);
    say_ready(&s);
    bt_request_consumed(small.request, BT_WINDOW); /* while the big one is on its way, and this one waits */
    taken(&s, 2, order, sizeof order);
    assert_string_equal(order, "S");
    say_pulse(&s, 2);
    taken(&s, 2, order, sizeof order);
    assert_string_equal(order, "A");
    close_shell(&s);
    assert_int_equal(big.done + small.done, 2);
}

/* Otherwise its text would fill this process, however slowly it is read. */
static void an_owner_that_does_not_mind_the_window_is_broken(void **state) {
    (void)state;
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    say_tokens(&s, 1, 1, 0, BT_WINDOW);
    assert_int_equal(c.pieces, BT_WINDOW);
    assert_true(bt_dispatch_listens(&s.d, 0));
    say_tokens(&s, 1, 1, BT_WINDOW, 1);
    assert_int_equal(c.pieces, BT_WINDOW);
    assert_false(bt_dispatch_listens(&s.d, 0));
    bt_dispatch_tick(&s.d);
    assert_int_equal(s.kills, 1);
    close_shell(&s);
    assert_int_equal(c.done, 1);
}

static void an_owner_that_says_more_than_was_asked_is_broken(void **state) {
    (void)state;
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    for (uint32_t i = 0; i < 1000; i += 100) {
        say_tokens(&s, 1, 1, i, 100);
        bt_request_consumed(c.request, 100);
    }
    assert_int_equal(c.pieces, 1000);
    assert_true(bt_dispatch_listens(&s.d, 0));
    say_tokens(&s, 1, 1, 1000, 1);
    assert_int_equal(c.pieces, 1000);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);
    assert_int_equal(c.done, 1);
}

/* A log that a hostile owner fills past every bound, with what a terminal obeys. */
static void an_owner_has_no_way_into_the_log_but_what_it_prints(void **state) {
    (void)state;
    struct shell s;
    struct bt_buf b = BT_BUF_INIT;
    open_shell(&s);
    bt_put_log(&b, BATON_LOG_DEBUG, "\x1b[2J");
    say(&s, &b);
    bt_buf_free(&b);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);
}

/* On trial, and sent to an owner that ends before it has said that it has it: what ended that one came before. */
static void probe_P42_nobody_is_convicted_of_what_it_was_not_there_for(void **state) {
    (void)state;
    const struct bt_owner_end fault = {.kind = BT_END_SIGNALLED, .code = SIGSEGV, .text = ""};
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    for (uint32_t attempt = 1; attempt <= 4; attempt++) {
        take_all(&s);
        if (attempt == 1 || attempt == 4)
            say_pulse(&s, 1);
        if (attempt == 1) /* it is suspected with reason */
            say_tokens(&s, 1, 1, 0, 3);
        assert_int_equal(c.done, 0);
        assert_int_equal(c.request->on_trial, attempt > 1);
        bt_dispatch_ended(&s.d, 0, &fault);
        s.now_ns += 10 * BT_NS_PER_S;
        if (attempt < 4) {
            bt_dispatch_tick(&s.d);
            say_ready(&s);
        }
    }
    assert_int_equal(c.done, 1); /* there, alone */
    assert_int_equal(c.status, BATON_CRASHED);
    assert_int_equal(s.d.counts.quarantined, 1);
    bt_dispatch_tick(&s.d);
    say_ready(&s);
    close_shell(&s);
}

static void later(struct shell *s, int64_t ms) {
    s->now_ns += ms * BT_NS_PER_MS;
    bt_dispatch_tick(&s->d);
}

static bool told_to_cancel(struct shell *s) {
    struct bt_frame f;
    bool told = false;
    for (size_t at = 0; bt_frame_peek(s->out.data + at, s->out.len - at, &f) == BATON_OK; at += f.size)
        told |= f.type == BT_FRAME_CANCEL;
    return told;
}

static bool unread(const struct client *c) {
    return strstr(c->error, "nobody read its stream") != NULL;
}

/* The clock of a reader runs while something lies there for it, and begins anew with each read; what waits for a new
 * owner lies there, too. Who is complete all the same stays so. */
static void probe_P13_a_reader_has_its_time_from_each_read_on(void **state) {
    (void)state;
    struct shell s;
    struct client c[3];
    char order[16];
    struct bt_buf b = BT_BUF_INIT;
    open_shell(&s);
    for (int i = 0; i < 3; i++) {
        ask_idle(&s, &c[i], (uint64_t)i + 1, 16, -1, 100);
        taken(&s, (uint64_t)i + 1, order, sizeof order);
    }
    later(&s, 1000); /* nothing came, nothing lies there */
    for (uint32_t i = 0; i < 3; i++)
        say_tokens(&s, i + 1, 1, 0, 10);
    for (int i = 0; i < 5; i++) {
        later(&s, 60);
        bt_request_consumed(c[0].request, 1);
        bt_request_consumed(c[1].request, 1);
        bt_request_consumed(c[2].request, i < 4 ? 1 : 6); /* all of it */
        assert_false(told_to_cancel(&s));
    }
    later(&s, 99);
    assert_false(told_to_cancel(&s));
    bt_request_consumed(c[1].request, 1);
    later(&s, 1); /* the first one alone */
    assert_true(told_to_cancel(&s));
    s.out.len = 0;
    bt_put_done(&b, &(struct bt_frame_done){
                        .id = 1, .attempt = 1, .outcome = BATON_CANCELLED, .text = {"", 0}, .error = {"", 0}});
    say(&s, &b);
    assert_true(c[0].done == 1 && c[0].status == BATON_CANCELLED && unread(&c[0]));
    bt_dispatch_ended(&s.d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = SIGKILL, .text = ""});
    later(&s, 99); /* a new one is being started */
    assert_true(c[1].done == 1 && c[1].status == BATON_CANCELLED && unread(&c[1]));
    assert_int_equal(c[2].done, 0);
    later(&s, 1000);
    assert_int_equal(c[2].done, 0);
    say_ready(&s);
    taken(&s, 3, order, sizeof order);
    say_tokens(&s, 3, 2, 10, 1);
    later(&s, 100);
    assert_true(told_to_cancel(&s));
    b.len = 0;
    bt_put_done(&b, &(struct bt_frame_done){
                        .id = 3, .attempt = 2, .finish = BT_FINISH_STOP, .text = {"", 0}, .error = {"", 0}});
    say(&s, &b);
    assert_true(c[2].done == 1 && c[2].status == BATON_OK && !unread(&c[2]));
    bt_buf_free(&b);
    close_shell(&s);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_timeouts_of_requests_that_have_not_left_are_told_one_by_one),
        cmocka_unit_test(probe_P40_a_window_opens_again_in_the_next_owner),
        cmocka_unit_test(probe_P13_a_reader_has_its_time_from_each_read_on),
        cmocka_unit_test(probe_P42_nobody_is_convicted_of_what_it_was_not_there_for),
        cmocka_unit_test(an_owner_that_does_not_mind_the_window_is_broken),
        cmocka_unit_test(an_owner_that_says_more_than_was_asked_is_broken),
        cmocka_unit_test(an_owner_has_no_way_into_the_log_but_what_it_prints),
    };
    return bt_test_run(tests, argc, argv);
}
