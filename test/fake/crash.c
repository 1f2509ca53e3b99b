/* Probes of owners as processes, on the fake with all its ways to die. */
#include "crashes.h"

static void probe_P40_killed_owners_are_not_noticed(void **state) {
    (void)state;
    killed_owners_are_not_noticed("fake:len=60,step_us=200", 1, 8, 40, 12, 0);
    killed_owners_are_not_noticed("fake:len=60,step_us=200", 2, 8, 40, 12, 0.9f);
}

/* A piece from the middle of its answer, where nobody else's has it: who says it dies of it. */
static void poison_of(const struct crowd *c, int who, char *text, size_t size) {
    const struct bt_buf *own = &c->lone[who];
    for (size_t at = own->len / 2; at + size < own->len; at++) {
        bool unique = true;
        memcpy(text, own->data + at, size - 1);
        text[size - 1] = '\0';
        for (int i = 0; i < c->n && unique; i++)
            unique = i == who || !memmem(c->lone[i].data, c->lone[i].len, text, size - 1);
        if (unique && !strpbrk(text, ",="))
            return;
    }
    fail_msg("nothing in answer %d is its own", who);
}

static void probe_P42_who_faults_its_owner_alone_is_quarantined_and_seven_neighbours_finish(void **state) {
    (void)state;
    static const char *const kinds[] = {"segv", "abort", "assert", "exit0", "exit1", "partial", "garbage"};
    static struct crowd c;
    char model[96], poison[11];
    crowd_init(&c, "fake:len=60", 8, 40, 0);
    poison_of(&c, 3, poison, sizeof poison);
    for (size_t k = 0; k < BT_COUNT(kinds); k++) {
        snprintf(model, sizeof model, "fake:len=60,step_us=200,poison=%s,die=%s", poison, kinds[k]);
        struct bt_front_params p = crash_params(model, 1, 8);
        struct bt_front *f = crash_open(&p);
        crowd_ask(&c, f);
        answers_wait(f, c.answers, 8);
        assert_true(c.answers[3].text.len > 0);
        print_message("%s: %s\n", kinds[k], c.answers[3].error);
        if (strcmp(kinds[k], "assert") == 0)
            assert_non_null(strstr(c.answers[3].error, "ASSERT"));
        all_but_one(&c, f, 3, BATON_CRASHED);
        assert_int_equal(counts_of(f).quarantined, 1);
        assert_string_equal(state_of(f, 0), "ready");
        bt_front_close(&f);
    }
    crowd_free(&c);
}

static void probe_P41_a_hang_is_noticed_and_told_and_costs_nobody_else_a_token(void **state) {
    (void)state;
    static struct crowd c;
    char model[96], poison[11];
    crowd_init(&c, "fake:len=60", 4, 40, 0);
    poison_of(&c, 2, poison, sizeof poison);
    snprintf(model, sizeof model, "fake:len=60,step_us=200,poison=%s,die=hang", poison);
    struct bt_front_params p = crash_params(model, 1, 4);
    p.hang_ms = BT_HANG_MIN_MS;
    struct bt_front *f = crash_open(&p);
    bool silent = false, unready = false;
    crowd_ask(&c, f);
    while (!c.answers[2].done) {
        bt_front_run_once(f, 100);
        silent |= strcmp(state_of(f, 0), "silent") == 0;
        unready |= !bt_front_ready(f);
    }
    assert_true(silent && unready);
    assert_int_equal(c.answers[2].outcome.status, BATON_HUNG);
    all_but_one(&c, f, 2, BATON_HUNG);
    assert_int_equal(counts_of(f).quarantined, 1);
    assert_true(bt_front_ready(f));
    bt_front_close(&f);
    crowd_free(&c);
}

/* The self-test takes decodes 1 to 10. Loading has all of the start limit, and what comes after it has not. */
static void probe_P41_a_hang_in_the_self_test_is_noticed_as_any_other(void **state) {
    (void)state;
    struct bt_front_params p = crash_params("fake:die=hang@3", 1, 1);
    struct bt_front *f;
    baton_error err;
    p.hang_ms = BT_HANG_MIN_MS;
    p.start_ms = 15000;
    assert_int_equal(bt_front_open(&p, &f, &err), BATON_HUNG);
    assert_null(f);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "hung and was killed"));
    p.model.path = "fake:load_us=4000000"; /* longer than the hang limit */
    f = crash_open(&p);
    assert_true(bt_front_ready(f));
    bt_front_close(&f);
}

static void probe_P41_a_fault_that_does_not_come_again_convicts_nobody(void **state) {
    (void)state;
    static const char *const kinds[] = {"segv@18",    "assert@25",  "exit0@16", "exit1@30",
                                        "partial@20", "garbage@20", "flood@18"};
    static struct crowd c;
    crowd_init(&c, "fake:len=60", 8, 30, 0.8f);
    for (size_t k = 0; k < BT_COUNT(kinds); k++) {
        char model[96];
        snprintf(model, sizeof model, "fake:len=60,step_us=200,lives=1,die=%s", kinds[k]);
        struct bt_front_params p = crash_params(model, 2, 4);
        struct bt_front *f = crash_open(&p);
        crowd_ask(&c, f);
        crowd_is_whole(&c, f);
        assert_int_equal(counts_of(f).quarantined, 0);
        assert_int_equal(counts_of(f).restarts > 0, strncmp(kinds[k], "flood", 5) != 0);
        bt_front_close(&f);
    }
    crowd_free(&c);
}

static void probe_P40_without_resume_a_crash_is_told_with_the_text_so_far_and_the_last_words(void **state) {
    (void)state;
    static struct crowd c;
    crowd_init(&c, "fake:len=60", 2, 50, 0);
    struct bt_front_params p = crash_params("fake:len=60,step_us=500,lives=1,die=assert@40", 1, 2);
    p.no_resume = true;
    struct bt_front *f = crash_open(&p);
    crowd_ask(&c, f);
    answers_wait(f, c.answers, 2);
    for (int i = 0; i < 2; i++) {
        const struct answer *a = &c.answers[i];
        assert_int_equal(a->outcome.status, BATON_CRASHED);
        assert_int_equal(a->outcome.finish, BT_FINISH_NONE);
        assert_non_null(strstr(a->error, "FAKE_ASSERT"));
        assert_in_range(a->text.len, 1, c.lone[i].len - 1);
        assert_memory_equal(a->text.data, c.lone[i].data, a->text.len);
        answer_free(&c.answers[i]);
    }
    crowd_ask(&c, f); /* in the next owner */
    crowd_is_whole(&c, f);
    bt_front_close(&f);
    crowd_free(&c);
}

/* Who waits for a slot is not told of a crash, and a cancel and a deadline hold across one. */
static void probe_P40_deadlines_and_cancels_hold_across_restarts_and_waiters_notice_nothing(void **state) {
    (void)state;
    struct bt_front_params p = crash_params("fake:len=100000,step_us=4000", 1, 2);
    const struct bt_limits brief = {BT_WAIT, 1, -1, 700, -1}, any = {BT_WAIT, 1, -1, -1, -1};
    struct bt_front *f = crash_open(&p);
    struct answer a[3];
    struct bt_buf lone = BT_BUF_INIT;
    baton_error err;
    pid_t pid = 0;
    memset(a, 0, sizeof a);
    p.context.ctx = 512;
    for (int i = 0; i < 3; i++) {
        struct bt_submit s = ask_text("on and on", i == 2 ? 20 : 400, 0, 0);
        struct bt_handler h = {.on_text = answer_text, .on_done = answer_done, .arg = &a[i]};
        if (i == 2)
            lone_text("fake:len=100000", &s, 512, &lone);
        assert_int_equal(bt_front_submit(f, &s, i == 0 ? &brief : &any, &h, &a[i].request, &err), BATON_OK);
    }
    for (int kills = 0; kills < 3; kills++) {
        int before = a[1].pieces;
        while (a[1].pieces < before + 3)
            bt_front_run_once(f, 1000);
        while (owners_alive(&pid, 1) < 1)
            bt_front_run_once(f, 1000);
        assert_int_equal(kill(pid, SIGKILL), 0);
    }
    assert_int_equal(bt_request_position(a[2].request) < 0 ? 1 : 0, a[0].done);
    while (a[1].request && !a[0].done)
        bt_front_run_once(f, 1000);
    assert_int_equal(a[0].outcome.status, BATON_RUN_TIMEOUT);
    bt_request_cancel(a[1].request, BATON_CANCELLED);
    answers_wait(f, a, 3);
    assert_int_equal(a[1].outcome.status, BATON_CANCELLED);
    assert_int_equal(a[2].outcome.status, BATON_OK);
    assert_same_text(&a[2].text, &lone);
    for (int i = 0; i < 3; i++)
        answer_free(&a[i]);
    bt_buf_free(&lone);
    bt_front_close(&f);
}

/* What it has not read yet counts in the next owner, too. */
static void probe_P13_a_slow_reader_is_given_no_more_because_owners_die(void **state) {
    (void)state;
    struct bt_front_params p = crash_params("fake:len=100000", 1, 1);
    struct bt_front *f = crash_open(&p);
    struct bt_submit s = ask_text("slowly", 400, 0, 0);
    struct bt_buf lone = BT_BUF_INIT;
    struct bt_front_health h;
    struct answer a;
    pid_t pid = 0;
    lone_text("fake:len=100000", &s, 512, &lone);
    assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
    a.slow = true;
    for (uint32_t kills = 0; kills < 3; kills++) {
        while (a.pieces < BT_WINDOW)
            bt_front_run_once(f, 1000);
        assert_int_equal(owners_alive(&pid, 1), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        do {
            bt_front_run_once(f, 1000);
            bt_front_health(f, 0, &h);
        } while (h.restarts <= kills || !h.ready);
        for (int i = 0; i < 20; i++)
            bt_front_run_once(f, 1);
        assert_int_equal(a.pieces, BT_WINDOW);
    }
    a.slow = false;
    bt_request_consumed(a.request, BT_WINDOW);
    answers_wait(f, &a, 1);
    assert_int_equal(a.outcome.status, BATON_OK);
    assert_same_text(&a.text, &lone);
    answer_free(&a);
    bt_buf_free(&lone);
    bt_front_close(&f);
}

static void probe_P44_an_owner_that_is_stopped_is_not_ready_and_then_not_kept(void **state) {
    (void)state;
    an_owner_that_is_stopped_is_not_kept("fake:len=60,step_us=2000");
}

static void probe_P40_killed_owners_cost_no_vector(void **state) {
    (void)state;
    killed_owners_cost_no_vector("fake:step_us=3000");
}

static void probe_P42_a_fault_from_outside_convicts_who_is_there_alone(void **state) {
    (void)state;
    who_is_there_at_two_faults_is_quarantined("fake:len=60,step_us=5000");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P40_killed_owners_are_not_noticed),
        cmocka_unit_test(probe_P41_a_hang_is_noticed_and_told_and_costs_nobody_else_a_token),
        cmocka_unit_test(probe_P41_a_hang_in_the_self_test_is_noticed_as_any_other),
        cmocka_unit_test(probe_P41_a_fault_that_does_not_come_again_convicts_nobody),
        cmocka_unit_test(probe_P40_without_resume_a_crash_is_told_with_the_text_so_far_and_the_last_words),
        cmocka_unit_test(probe_P40_deadlines_and_cancels_hold_across_restarts_and_waiters_notice_nothing),
        cmocka_unit_test(probe_P13_a_slow_reader_is_given_no_more_because_owners_die),
        cmocka_unit_test(probe_P44_an_owner_that_is_stopped_is_not_ready_and_then_not_kept),
        cmocka_unit_test(probe_P40_killed_owners_cost_no_vector),
        cmocka_unit_test(probe_P42_a_fault_from_outside_convicts_who_is_there_alone),
        cmocka_unit_test(probe_P42_who_faults_its_owner_alone_is_quarantined_and_seven_neighbours_finish),
    };
    bt_log_set_level(BATON_LOG_ERROR);
    return bt_test_run(tests, argc, argv);
}
