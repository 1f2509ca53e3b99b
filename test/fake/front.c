/* The front and an owner thread over the fake native: admission, cancel, timeouts, windows, faults, reuse. */
#include "frontrun.h"
#include "ipc/dispatch.h"

#include <stdatomic.h>
#include <unistd.h>

#include "native/fake.h"

/* The owner's self-test takes decodes 1 to 10: faults are set to come after it. */

/* Holds decodes at a gate that the test opens: what happens while a native call runs is then a matter of order, not of
 * time. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut;
    int inside; /* decodes that wait at the gate */
    int copies; /* seq_cp calls */
} door = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void at_door(void *arg, const struct bt_fake_event *event) {
    (void)arg;
    pthread_mutex_lock(&door.lock);
    if (event->call == BT_FAKE_SEQ_CP)
        door.copies++;
    if (event->call == BT_FAKE_DECODE_BEGIN) {
        door.inside++;
        pthread_cond_broadcast(&door.changed);
        while (door.shut)
            pthread_cond_wait(&door.changed, &door.lock);
        door.inside--;
    }
    pthread_mutex_unlock(&door.lock);
}
static void door_set(bool shut) {
    pthread_mutex_lock(&door.lock);
    door.shut = shut;
    pthread_cond_broadcast(&door.changed);
    pthread_mutex_unlock(&door.lock);
}
static void door_wait_inside(void) {
    pthread_mutex_lock(&door.lock);
    while (door.inside == 0)
        pthread_cond_wait(&door.changed, &door.lock);
    pthread_mutex_unlock(&door.lock);
}

static int setup(void **state) {
    (void)state;
    door.copies = 0;
    bt_fake_stats_reset();
    bt_fake_set_hook(at_door, NULL);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    bt_fake_set_hook(NULL, NULL);
    return s.overlaps || s.contexts || s.models || s.samplers;
}

static struct bt_front_counts counts_of(struct bt_front *f) {
    struct bt_front_counts c;
    bt_front_counts(f, &c);
    return c;
}

static void answers_free(struct answer *a, int n) {
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].done, 1);
        answer_free(&a[i]);
    }
}

static void probe_P10_a_request_dropped_before_its_first_piece_frees_its_slot(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=60000,step_us=2000", 1, 1, 65536, 1, BT_WAIT);
    struct answer dropped, next;
    struct bt_submit s = ask_text("a", -1, 0, 0); /* two minutes, if nobody ends it */
    assert_int_equal(answer_ask(&dropped, f, &s), BATON_OK);
    bt_request_abandon(dropped.request);
    s.id = 0;
    s.max_tokens = 20;
    assert_int_equal(answer_ask(&next, f, &s), BATON_OK);
    answers_wait(f, &next, 1);
    assert_int_equal(next.outcome.status, BATON_OK);
    assert_int_equal(dropped.done, 0);
    assert_int_equal(counts_of(f).running, 0);
    answers_free(&next, 1);
    answer_free(&dropped);
    bt_front_close(&f);
}

static void probe_P11_nobody_enters_until_the_native_call_of_a_dropped_request_has_returned(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=20", 1, 1, 256, 1, BT_WAIT);
    struct answer dropped, next;
    struct bt_submit s = ask_text("a", 20, 0, 0);
    door_set(true);
    assert_int_equal(answer_ask(&dropped, f, &s), BATON_OK);
    s.id = 0;
    assert_int_equal(answer_ask(&next, f, &s), BATON_OK);
    door_wait_inside();
    bt_request_abandon(dropped.request);
    for (int i = 0; i < 20; i++)
        bt_front_run_once(f, 1);
    assert_int_equal(counts_of(f).running, 1);
    assert_int_equal(counts_of(f).queued, 1);
    assert_int_equal(bt_request_position(next.request), 0);
    door_set(false);
    answers_wait(f, &next, 1);
    assert_int_equal(next.outcome.status, BATON_OK);
    answers_free(&next, 1);
    answer_free(&dropped);
    bt_front_close(&f);
}

static void probe_P30_the_queue_is_bounded_and_the_next_is_refused_at_once(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=5", 1, 1, 256, 2, BT_WAIT), *g;
    struct answer a[4];
    struct bt_submit s = ask_text("a", 5, 0, 0);
    door_set(true);
    for (int i = 0; i < 3; i++, s.id = 0)
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    assert_int_equal(answer_ask(&a[3], f, &s), BATON_QUEUE_FULL);
    assert_int_equal(counts_of(f).refused, 1);
    door_set(false);
    answers_wait(f, a, 3);
    answers_free(a, 3);
    bt_front_close(&f);

    g = front_open("fake:len=5", 1, 2, 256, 2, BT_REFUSE);
    door_set(true);
    s.id = 0;
    assert_int_equal(answer_ask(&a[0], g, &s), BATON_OK);
    s.id = 0;
    assert_int_equal(answer_ask(&a[1], g, &s), BATON_OK);
    s.id = 0;
    assert_int_equal(answer_ask(&a[2], g, &s), BATON_BUSY);
    door_set(false);
    answers_wait(g, a, 2);
    answers_free(a, 2);
    bt_front_close(&g);
}

static void probe_P20_cancel_of_a_queued_request_leaves_the_running_one_alone_and_the_reverse(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=30", 1, 1, 256, 4, BT_WAIT);
    struct answer a[3];
    struct bt_submit s = ask_text("a", 30, 0, 0);
    door_set(true);
    for (int i = 0; i < 3; i++, s.id = 0)
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    door_wait_inside();
    bt_request_cancel(a[1].request, BATON_CANCELLED);
    assert_int_equal(a[1].done, 1);
    assert_int_equal(a[1].outcome.status, BATON_CANCELLED);
    bt_request_cancel(a[0].request, BATON_CANCELLED);
    door_set(false);
    answers_wait(f, a, 3);
    assert_int_equal(a[0].outcome.status, BATON_CANCELLED);
    assert_int_equal(a[0].outcome.finish, BT_FINISH_NONE);
    assert_int_equal(a[2].outcome.status, BATON_OK);
    answers_free(a, 3);
    bt_front_close(&f);
}

static void probe_P23_queue_timeout_and_run_timeout_are_told_apart(void **state) {
    (void)state;
    struct bt_front_params p = {.model = {.path = "fake:len=100000,step_us=2000"},
                                .context = {.sequences = 1, .ctx = 65536, .threads = 1, .exact = true},
                                .contexts = 1,
                                .when_full = BT_WAIT,
                                .queue_max = 1,
                                .queue_ms = 20,
                                .run_ms = 100,
                                .owner = front_owner};
    struct bt_front *f;
    struct bt_front_health h;
    baton_error err;
    struct answer a[2];
    struct bt_submit s = ask_text("a", -1, 0, 0);
    assert_int_equal(bt_front_open(&p, &f, &err), BATON_OK);
    assert_int_equal(answer_ask(&a[0], f, &s), BATON_OK);
    s.id = 0;
    assert_int_equal(answer_ask(&a[1], f, &s), BATON_OK);
    answers_wait(f, a, 2);
    assert_int_equal(a[0].outcome.status, BATON_RUN_TIMEOUT);
    assert_int_equal(a[0].outcome.finish, BT_FINISH_NONE);
    assert_true(a[0].text.len > 0);
    assert_int_equal(a[1].outcome.status, BATON_QUEUE_TIMEOUT);
    bt_front_health(f, 0, &h); /* who tells another reason than it was given is not believed, and ended */
    assert_true(h.ready && h.restarts == 0);
    answers_free(a, 2);
    bt_front_close(&f);
}

static void a_wait_for_anything_ends_when_a_deadline_has_passed_before_it(void **state) {
    (void)state;
    struct bt_front_params p = {.model = {.path = "fake:len=20"},
                                .context = {.sequences = 1, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 1,
                                .when_full = BT_WAIT,
                                .queue_max = 1,
                                .queue_ms = 1,
                                .run_ms = -1};
    struct bt_front *f;
    baton_error err;
    struct answer a[2];
    struct bt_submit s = ask_text("a", 20, 0, 0);
    assert_int_equal(bt_front_open(&p, &f, &err), BATON_OK);
    door_set(true);
    assert_int_equal(answer_ask(&a[0], f, &s), BATON_OK);
    s.id = 0;
    assert_int_equal(answer_ask(&a[1], f, &s), BATON_OK);
    door_wait_inside();
    usleep(5000);
    alarm(20); /* the running request will say nothing: without a word on the other this would wait for ever */
    bt_front_run_once(f, -1);
    alarm(0);
    assert_int_equal(a[1].outcome.status, BATON_QUEUE_TIMEOUT);
    door_set(false);
    answers_wait(f, a, 2);
    answers_free(a, 2);
    bt_front_close(&f);
}

static void probe_P24_cancel_racing_completion_gives_exactly_one_outcome(void **state) {
    (void)state;
    enum { N = 400 };
    uint64_t seed = bt_test_seed();
    struct bt_front *f = front_open("fake:len=6", 1, 4, 256, 4, BT_WAIT);
    static struct answer a[N];
    int cancelled = 0, completed = 0;
    for (int i = 0; i < N; i++) {
        struct bt_submit s = ask_text("a", 6, 0, 0);
        while (answer_ask(&a[i], f, &s) == BATON_QUEUE_FULL)
            bt_front_run_once(f, 100);
        for (uint64_t spin = bt_mix64(seed + (uint64_t)i) % 6; spin > 0; spin--)
            bt_front_run_once(f, 0);
        int victim = i - (int)(bt_mix64(seed ^ (uint64_t)i) % 5);
        if (victim >= 0 && a[victim].request)
            bt_request_cancel(a[victim].request, BATON_CANCELLED);
    }
    answers_wait(f, a, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(a[i].done, 1);
        cancelled += a[i].outcome.status == BATON_CANCELLED;
        completed += a[i].outcome.status == BATON_OK;
        answer_free(&a[i]);
    }
    assert_int_equal(cancelled + completed, N);
    assert_true(cancelled > 0 && completed > 0);
    struct bt_front_counts c = counts_of(f);
    assert_int_equal(c.running + c.queued, 0);
    assert_int_equal(c.completed, completed);
    bt_front_close(&f);
}

static void probe_P61_too_long_a_prompt_names_both_numbers_and_a_full_context_is_length(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=100000", 1, 2, 256, 2, BT_WAIT);
    char prompt[400];
    struct answer a[2];
    memset(prompt, 'x', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = '\0';
    struct bt_submit s = ask_text(prompt, 5, 0, 0), t = ask_text("short", -1, 0, 0);
    assert_int_equal(answer_ask(&a[0], f, &s), BATON_OK);
    assert_int_equal(answer_ask(&a[1], f, &t), BATON_OK);
    answers_wait(f, a, 2);
    assert_int_equal(a[0].outcome.status, BATON_TOO_LONG);
    assert_non_null(strstr(a[0].error, "401"));
    assert_non_null(strstr(a[0].error, "256"));
    assert_int_equal(a[1].outcome.status, BATON_OK);
    assert_int_equal(a[1].outcome.finish, BT_FINISH_LENGTH);
    assert_int_equal(a[1].outcome.prompt_tokens + a[1].outcome.answer_tokens, 256);
    answers_free(a, 2);
    bt_front_close(&f);
}

static void probe_P13_a_slow_reader_pauses_alone_and_loses_nothing(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=2000", 1, 2, 4096, 2, BT_WAIT);
    struct answer slow, quick;
    struct bt_submit s = ask_text("slow", 1000, 0, 0), q = ask_text("quick", 1000, 0, 0);
    struct bt_buf lone = BT_BUF_INIT;
    lone_text("fake:len=2000", &s, 4096, &lone);
    assert_int_equal(answer_ask(&slow, f, &s), BATON_OK);
    slow.slow = true;
    assert_int_equal(answer_ask(&quick, f, &q), BATON_OK);
    answers_wait(f, &quick, 1);
    while (bt_front_run_once(f, 50) == BATON_OK && slow.pieces < BT_WINDOW)
        ;
    for (int i = 0; i < 20; i++)
        bt_front_run_once(f, 1);
    assert_int_equal(slow.pieces, BT_WINDOW);
    assert_int_equal(slow.done, 0);
    slow.slow = false;
    bt_request_consumed(slow.request, BT_WINDOW);
    answers_wait(f, &slow, 1);
    assert_int_equal(slow.outcome.status, BATON_OK);
    assert_same_text(&slow.text, &lone);
    answers_free(&slow, 1);
    answers_free(&quick, 1);
    bt_buf_free(&lone);
    bt_front_close(&f);
}

static void a_decode_that_fails_half_way_costs_nobody_a_token(void **state) {
    (void)state;
    static const char *const models[] = {"fake:len=40,fail_at=12", "fake:len=40,fail_at=15", "fake:len=40,fail_at=25",
                                         "fake:len=40,recurrent=1,fail_at=15"};
    for (size_t m = 0; m < BT_COUNT(models); m++) {
        struct bt_front *f = front_open(models[m], 1, 4, 256, 4, BT_WAIT);
        struct answer a[4];
        for (int i = 0; i < 4; i++) {
            char prompt[32];
            snprintf(prompt, sizeof prompt, "prompt %d", i);
            struct bt_submit s = ask_text(prompt, 40, 0, 0);
            assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
        }
        answers_wait(f, a, 4);
        for (int i = 0; i < 4; i++) {
            char prompt[32];
            struct bt_buf lone = BT_BUF_INIT;
            snprintf(prompt, sizeof prompt, "prompt %d", i);
            struct bt_submit s = ask_text(prompt, 40, 0, 0);
            lone_text("fake:len=40", &s, 256, &lone);
            assert_int_equal(a[i].outcome.status, BATON_OK);
            assert_same_text(&a[i].text, &lone);
            bt_buf_free(&lone);
        }
        answers_free(a, 4);
        bt_front_close(&f);
    }
}

static void a_prefix_is_reused_in_its_own_flow_only_and_changes_nothing(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=30", 1, 4, 256, 4, BT_WAIT);
    struct answer a[3];
    static const uint64_t flows[] = {5, 5, 6};
    for (int i = 0; i < 3; i++) {
        struct bt_submit s = ask_text("the same long prompt, asked again and again", 30, 0, 0);
        s.flow = flows[i];
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
        answers_wait(f, &a[i], 1);
    }
    assert_int_equal(a[0].outcome.reused_tokens, 0);
    assert_true(a[1].outcome.reused_tokens >= 40);
    assert_int_equal(a[2].outcome.reused_tokens, 0);
    assert_same_text(&a[1].text, &a[0].text);
    assert_same_text(&a[2].text, &a[0].text);
    answers_free(a, 3);
    bt_front_close(&f);
}

static void holes_are_closed_by_moving_and_nobody_notices(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=400,step_us=200", 1, 6, 1024, 6, BT_WAIT);
    struct answer a[6];
    struct bt_buf lone[6];
    memset(lone, 0, sizeof lone);
    for (int i = 0; i < 6; i++) {
        char prompt[32];
        snprintf(prompt, sizeof prompt, "prompt %d", i);
        struct bt_submit s = ask_text(prompt, i % 2 ? 200 : 40 + i, 0, 0);
        lone_text("fake:len=400", &s, 1024, &lone[i]);
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    }
    answers_wait(f, a, 6);
    for (int i = 0; i < 6; i++) {
        assert_same_text(&a[i].text, &lone[i]);
        bt_buf_free(&lone[i]);
    }
    assert_true(door.copies >= 1);
    answers_free(a, 6);
    bt_front_close(&f);
}

static void probe_P21_cancel_reaches_a_long_prefill_inside_its_native_call(void **state) {
    (void)state;
    char prompt[400];
    memset(prompt, 'x', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = '\0';
    struct bt_front *f = front_open("fake:hang_at=11", 1, 1, 1024, 1, BT_WAIT);
    struct answer a;
    struct bt_submit s = ask_text(prompt, 5, 0, 0);
    assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
    while (!a.request->seen || a.request->standing != BT_STANDING_STEPPING) /* told just before the native call */
        bt_front_run_once(f, 1000);
    bt_request_cancel(a.request, BATON_CANCELLED);
    answers_wait(f, &a, 1);
    assert_int_equal(a.outcome.status, BATON_CANCELLED);
    s.id = 0;
    answers_free(&a, 1);
    assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
    answers_wait(f, &a, 1);
    assert_int_equal(a.outcome.status, BATON_OK);
    answers_free(&a, 1);
    bt_front_close(&f);
}

static void probe_P15_a_thousand_that_are_cancelled_at_once_leave_nothing_behind(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:len=1000", 1, 2, 2048, 2, BT_WAIT);
    struct answer a;
    for (int i = 0; i < 1000; i++) {
        struct bt_submit s = ask_text("again", 1000, 0, 0);
        while (counts_of(f).queued == 2)
            bt_front_run_once(f, 1000);
        assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
        if (i % 2)
            bt_front_run_once(f, 0);
        bt_request_cancel(a.request, BATON_CANCELLED);
        if (i % 3 == 0)
            answers_wait(f, &a, 1);
        else if (!a.done) /* queued, and over at once */
            bt_request_abandon(a.request);
        answer_free(&a);
    }
    struct bt_submit s = ask_text("the last one", 20, 0, 0);
    while (counts_of(f).queued == 2)
        bt_front_run_once(f, 1000);
    assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
    answers_wait(f, &a, 1);
    assert_int_equal(a.outcome.status, BATON_OK);
    while (counts_of(f).running > 0)
        bt_front_run_once(f, 1000);
    assert_int_equal(counts_of(f).restarts, 0);
    answers_free(&a, 1);
    bt_front_close(&f);
}

static void closing_ends_everything_once_even_inside_a_native_call(void **state) {
    (void)state;
    struct bt_front *f = front_open("fake:hang_at=14", 1, 2, 256, 4, BT_WAIT);
    struct answer a[4];
    struct bt_fake_stats stats;
    for (int i = 0; i < 4; i++) {
        struct bt_submit s = ask_text("a", 100, 0, 0);
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    }
    do {
        bt_front_run_once(f, 1);
        bt_fake_stats(&stats);
    } while (stats.decodes < 14);
    bt_front_close(&f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(a[i].outcome.status, BATON_CLOSED);
    answers_free(a, 4);
}

static void a_model_that_cannot_be_loaded_is_a_clear_error(void **state) {
    (void)state;
    struct bt_front_params p = {.model = {.path = "/nowhere/model.gguf"},
                                .contexts = 1,
                                .context = {.sequences = 1},
                                .queue_ms = -1,
                                .run_ms = -1};
    struct bt_front *f;
    baton_error err;
    assert_int_equal(bt_front_open(&p, &f, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/model.gguf"));
    p.context.sequences = 0;
    assert_int_equal(bt_front_open(&p, &f, &err), BATON_INVALID);
    p.context.sequences = 1;
    p.contexts = 65;
    assert_int_equal(bt_front_open(&p, &f, &err), BATON_INVALID);
    assert_null(f);
}

static int setup_process(void **state) {
    front_owner = BT_OWNER_PROCESS;
    return setup(state);
}

static int teardown_process(void **state) {
    front_owner = BT_OWNER_THREAD;
    return teardown(state);
}

#define FRONT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define PROCESS_TEST(test)                                                                                             \
    { #test "_with_owners_as_processes", test, setup_process, teardown_process, NULL }

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        FRONT_TEST(probe_P10_a_request_dropped_before_its_first_piece_frees_its_slot),
        FRONT_TEST(probe_P11_nobody_enters_until_the_native_call_of_a_dropped_request_has_returned),
        FRONT_TEST(probe_P30_the_queue_is_bounded_and_the_next_is_refused_at_once),
        FRONT_TEST(probe_P20_cancel_of_a_queued_request_leaves_the_running_one_alone_and_the_reverse),
        FRONT_TEST(probe_P23_queue_timeout_and_run_timeout_are_told_apart),
        FRONT_TEST(a_wait_for_anything_ends_when_a_deadline_has_passed_before_it),
        FRONT_TEST(probe_P24_cancel_racing_completion_gives_exactly_one_outcome),
        FRONT_TEST(probe_P61_too_long_a_prompt_names_both_numbers_and_a_full_context_is_length),
        FRONT_TEST(probe_P13_a_slow_reader_pauses_alone_and_loses_nothing),
        FRONT_TEST(a_decode_that_fails_half_way_costs_nobody_a_token),
        FRONT_TEST(a_prefix_is_reused_in_its_own_flow_only_and_changes_nothing),
        FRONT_TEST(holes_are_closed_by_moving_and_nobody_notices),
        FRONT_TEST(probe_P21_cancel_reaches_a_long_prefill_inside_its_native_call),
        FRONT_TEST(probe_P15_a_thousand_that_are_cancelled_at_once_leave_nothing_behind),
        FRONT_TEST(closing_ends_everything_once_even_inside_a_native_call),
        FRONT_TEST(a_model_that_cannot_be_loaded_is_a_clear_error),
        PROCESS_TEST(probe_P10_a_request_dropped_before_its_first_piece_frees_its_slot),
        PROCESS_TEST(probe_P30_the_queue_is_bounded_and_the_next_is_refused_at_once),
        PROCESS_TEST(probe_P23_queue_timeout_and_run_timeout_are_told_apart),
        PROCESS_TEST(probe_P24_cancel_racing_completion_gives_exactly_one_outcome),
        PROCESS_TEST(probe_P61_too_long_a_prompt_names_both_numbers_and_a_full_context_is_length),
        PROCESS_TEST(probe_P13_a_slow_reader_pauses_alone_and_loses_nothing),
        PROCESS_TEST(a_decode_that_fails_half_way_costs_nobody_a_token),
        PROCESS_TEST(a_prefix_is_reused_in_its_own_flow_only_and_changes_nothing),
        PROCESS_TEST(probe_P21_cancel_reaches_a_long_prefill_inside_its_native_call),
        PROCESS_TEST(probe_P15_a_thousand_that_are_cancelled_at_once_leave_nothing_behind),
    };
    return bt_test_run(tests, argc, argv);
}
