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

/* The last token filled the context and was delivered, and then the owner died before it could say so. */
static void a_resumed_answer_that_fills_the_context_ends_by_length(void **state) {
    (void)state;
    enum { CTX = 256, PROMPT = 3 };
    struct peer p;
    struct heard h;
    bt_token tokens[CTX];
    for (int i = 0; i < CTX; i++)
        tokens[i] = 'x';
    start_with(&p, "fake:len=1000", 1, CTX);
    greet(&p);
    struct bt_submit s = ask(1, "p", 0);
    s.max_tokens = -1;
    s.resume = tokens;
    s.n_resume = CTX - PROMPT;
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.outcome, BATON_OK);
    assert_int_equal(h.done.finish, BT_FINISH_LENGTH);
    assert_int_equal(h.done.answer_tokens, CTX - PROMPT);
    assert_int_equal(h.n, 0);
    s.n_resume++;
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.outcome, BATON_TOO_LONG);
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
            bt_put_pulse(&p.out, &(struct bt_pulse){.steps = 1});
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

static struct bt_fake_stats stats_now(void) {
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    return s;
}

static void what_a_slow_peer_has_not_read_yet_is_not_lost_when_a_drained_owner_ends(void **state) {
    (void)state;
    struct peer p;
    struct heard h;
    int small = 1;
    start(&p, "fake:len=200");
    assert_int_equal(setsockopt(p.params.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    greet(&p);
    struct bt_submit s = ask(1, "drain slowly", 0);
    s.max_tokens = 200;
    bt_put_submit(&p.out, &s);
    bt_put_close(&p.out, true);
    bt_fake_stats_reset();
    say(&p);
    while (stats_now().decodes < 200)
        usleep(1000);
    for (int i = 0; i < 100 && stats_now().contexts > 0; i++) /* the chance to end too early */
        usleep(1000);
    hear_answer(&p, &h);
    assert_int_equal(h.n, 200);
    assert_int_equal(h.done.outcome, BATON_OK);
    stop(&p);
}

/* Output above its limit stops the computing; once it has all gone out, in one go, there is nothing left to wait for.
 */
static void output_that_was_full_goes_on_when_it_is_empty(void **state) {
    (void)state;
    enum { SEQUENCES = 6, TOKENS = 40000 };
    struct peer p;
    struct bt_frame f;
    struct timeval patience = {30, 0};
    int huge = 64 << 20, ends = 0;
    start_with(&p, "fake:len=50000", SEQUENCES, 1 << 16);
    assert_int_equal(setsockopt(p.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    greet(&p);
    struct bt_submit s = ask(0, "flood", 0);
    s.max_tokens = TOKENS;
    s.window = 0;
    for (s.id = 1; s.id <= SEQUENCES; s.id++)
        bt_put_submit(&p.out, &s);
    say(&p);
    for (uint64_t before = 0, now = 1; now != before; usleep(100000)) {
        before = now;
        now = stats_now().decodes;
    }
    /* without the right to do this, only a peer that reads as fast as the owner writes would show the same */
    (void)setsockopt(p.params.fd, SOL_SOCKET, SO_SNDBUFFORCE, &huge, sizeof huge);
    while (ends < SEQUENCES && hear(&p, &f))
        ends += f.type == BT_FRAME_DONE;
    assert_int_equal(ends, SEQUENCES);
    stop(&p);
}

/* However many are served: what a step brought leaves in one write. */
static void a_step_is_one_write_for_all_sequences(void **state) {
    (void)state;
    enum { N = 4, TOKENS = 60 };
    static unsigned char bytes[64 << 10];
    struct peer p;
    struct bt_frame f;
    struct bt_frame_token t;
    int together = 0, done = 0;
    peer_socket = SOCK_SEQPACKET;
    start_with(&p, "fake:len=1000,step_us=500", N, 256);
    peer_socket = SOCK_STREAM;
    greet(&p);
    for (uint64_t id = 1; id <= N; id++) {
        struct bt_submit s = ask(id, "all of them", 0);
        s.max_tokens = TOKENS;
        bt_put_submit(&p.out, &s);
    }
    say(&p);
    while (done < N) {
        ssize_t n = recv(p.fd, bytes, sizeof bytes, 0);
        int tokens = 0;
        assert_true(n > 0);
        for (size_t at = 0; bt_frame_peek(bytes + at, (size_t)n - at, &f) == BATON_OK; at += f.size) {
            tokens += f.type == BT_FRAME_TOKEN && bt_get_token(&f, &t) == BATON_OK;
            done += f.type == BT_FRAME_DONE;
        }
        assert_in_range(tokens, 0, N);
        together += tokens == N;
    }
    assert_true(together > TOKENS / 2); /* before and after that fewer are there */
    stop(&p);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_answer_goes_on_token_for_token_from_anywhere),
        cmocka_unit_test(an_answer_that_was_complete_before_its_resume_ends_at_once),
        cmocka_unit_test(a_resumed_answer_that_fills_the_context_ends_by_length),
        cmocka_unit_test(what_a_slow_peer_has_not_read_yet_is_not_lost_when_a_drained_owner_ends),
        cmocka_unit_test(output_that_was_full_goes_on_when_it_is_empty),
        cmocka_unit_test(a_step_is_one_write_for_all_sequences),
        cmocka_unit_test(a_stop_string_ends_the_answer_before_it),
        cmocka_unit_test(what_makes_no_sense_ends_the_owner_with_a_word),
        cmocka_unit_test(one_id_is_alive_once),
        cmocka_unit_test(drain_finishes_what_runs_and_refuses_the_rest),
    };
    return bt_test_run(tests, argc, argv);
}
