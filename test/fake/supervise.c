/* The life of one owner, in virtual time: when it is killed, started, given up, and whom its end blames. */
#include <signal.h>
#include <string.h>

#include "harness.h"
#include "ipc/supervise.h"

static const struct bt_supervise_params usual = {.restarts = true, .hang_ms = 30000, .start_ms = 60000, .seed = 5};
enum { S = 1000000000 };

static void begin(struct bt_supervisor *s, int64_t now) {
    bt_supervise_init(s, &usual, now);
    assert_int_equal(bt_supervise_tick(s, now), BT_ORDER_START);
    bt_supervise_started(s, now);
    bt_supervise_ready(s, now);
    assert_true(bt_supervise_answers(s, now));
}

static enum bt_blame end_of(struct bt_supervisor *s, int kind, int code, int64_t now) {
    struct bt_owner_end end = {.kind = kind, .code = code, .text = "last words"};
    return bt_supervise_ended(s, &end, now);
}

static void ends_are_understood(void **state) {
    (void)state;
    static const struct {
        int kind, code;
        enum bt_blame blame;
    } ends[] = {
        {BT_END_SIGNALLED, SIGKILL, BT_BLAME_NOBODY},   {BT_END_SIGNALLED, SIGTERM, BT_BLAME_NOBODY},
        {BT_END_SIGNALLED, SIGSEGV, BT_BLAME_SUSPECTS}, {BT_END_SIGNALLED, SIGABRT, BT_BLAME_SUSPECTS},
        {BT_END_SIGNALLED, SIGBUS, BT_BLAME_SUSPECTS},  {BT_END_SIGNALLED, SIGILL, BT_BLAME_SUSPECTS},
        {BT_END_SIGNALLED, SIGFPE, BT_BLAME_SUSPECTS},  {BT_END_SIGNALLED, SIGSYS, BT_BLAME_SUSPECTS},
        {BT_END_EXITED, 0, BT_BLAME_SUSPECTS},          {BT_END_EXITED, 3, BT_BLAME_SUSPECTS},
        {BT_END_UNKNOWN, 0, BT_BLAME_UNKNOWN},
    };
    for (size_t i = 0; i < BT_COUNT(ends); i++) {
        struct bt_supervisor s;
        begin(&s, S);
        assert_int_equal(end_of(&s, ends[i].kind, ends[i].code, 2 * (int64_t)S), ends[i].blame);
        assert_non_null(strstr(s.account, "last words"));
        assert_int_equal(s.life, BT_LIFE_WAITING);
        begin(&s, S);
        bt_supervise_condemn(&s, BT_CHARGE_GARBAGE, S);
        assert_int_equal(bt_supervise_tick(&s, S), BT_ORDER_KILL);
        assert_int_equal(bt_supervise_tick(&s, S), BT_ORDER_NONE); /* told once */
        assert_int_equal(end_of(&s, BT_END_SIGNALLED, SIGKILL, S), BT_BLAME_SUSPECTS);
        begin(&s, S);
        bt_supervise_condemn(&s, BT_CHARGE_CLOSED, S);
        assert_int_equal(end_of(&s, ends[i].kind, ends[i].code, S), BT_BLAME_NOBODY);
        assert_int_equal(s.life, BT_LIFE_GONE);
    }
}

static void probe_P44_silence_is_told_before_it_is_fatal(void **state) {
    (void)state;
    struct bt_supervisor s;
    begin(&s, S);
    assert_string_equal(bt_supervise_name(&s, 2 * (int64_t)S), "ready");
    assert_false(bt_supervise_answers(&s, 11 * (int64_t)S));
    assert_string_equal(bt_supervise_name(&s, 11 * (int64_t)S), "silent");
    assert_int_equal(bt_supervise_tick(&s, 30 * (int64_t)S), BT_ORDER_NONE);
    bt_supervise_heard(&s, 30 * (int64_t)S);
    assert_true(bt_supervise_answers(&s, 31 * (int64_t)S));
    assert_int_equal(bt_supervise_next(&s), 60 * (int64_t)S);
    assert_int_equal(bt_supervise_tick(&s, 60 * (int64_t)S), BT_ORDER_KILL);
    assert_string_equal(bt_supervise_name(&s, 60 * (int64_t)S), "hung");
    assert_int_equal(end_of(&s, BT_END_SIGNALLED, SIGKILL, 61 * (int64_t)S), BT_BLAME_SUSPECTS);
}

static void probe_P41_who_computes_long_is_not_hung(void **state) {
    (void)state;
    struct bt_supervisor s;
    begin(&s, S);
    bt_supervise_step(&s, 4 * (int64_t)S); /* a call takes so long: 80 s of silence are possible */
    assert_int_equal(bt_supervise_tick(&s, 80 * (int64_t)S), BT_ORDER_NONE);
    assert_int_equal(bt_supervise_tick(&s, 81 * (int64_t)S), BT_ORDER_KILL);
    bt_supervise_init(&s, &usual, S);
    bt_supervise_started(&s, S); /* it loads: the hang limit is not its */
    assert_int_equal(bt_supervise_tick(&s, 60 * (int64_t)S), BT_ORDER_NONE);
    assert_int_equal(bt_supervise_tick(&s, 61 * (int64_t)S), BT_ORDER_KILL);
    assert_int_equal(end_of(&s, BT_END_SIGNALLED, SIGKILL, 61 * (int64_t)S), BT_BLAME_NOBODY);
}

/* A model has been loaded: what comes between that and READY are native calls, and they hang as others do. */
static void probe_P41_who_hangs_in_its_self_test_is_not_taken_for_loading(void **state) {
    (void)state;
    struct bt_supervise_params slow = usual;
    struct bt_supervisor s;
    slow.start_ms = 600000;
    for (int way = 0; way < 2; way++) {
        bt_supervise_init(&s, &slow, S);
        bt_supervise_started(&s, S);
        bt_supervise_heard(&s, 2 * (int64_t)S);
        assert_int_equal(bt_supervise_next(&s), 601 * (int64_t)S);
        bt_supervise_loaded(&s);
        assert_int_equal(bt_supervise_next(&s), 32 * (int64_t)S);
        bt_supervise_heard(&s, 20 * (int64_t)S); /* from inside it */
        assert_int_equal(bt_supervise_tick(&s, 49 * (int64_t)S), BT_ORDER_NONE);
        assert_string_equal(bt_supervise_name(&s, 49 * (int64_t)S), "starting");
        if (way) {
            bt_supervise_ready(&s, 49 * (int64_t)S);
            assert_true(bt_supervise_answers(&s, 21 * (int64_t)S));
            continue;
        }
        assert_int_equal(bt_supervise_tick(&s, 50 * (int64_t)S), BT_ORDER_KILL);
        assert_string_equal(bt_supervise_name(&s, 50 * (int64_t)S), "hung");
        assert_int_equal(end_of(&s, BT_END_SIGNALLED, SIGKILL, 50 * (int64_t)S), BT_BLAME_SUSPECTS);
        bt_supervise_started(&s, 60 * (int64_t)S); /* the next one loads again */
        assert_int_equal(bt_supervise_next(&s), 660 * (int64_t)S);
    }
    bt_supervise_init(&s, &slow, S);
    bt_supervise_started(&s, S);
    bt_supervise_loaded(&s);
    for (int64_t at = 20; at < 600; at += 20) { /* one that lives and never gets ready has the time of a start */
        bt_supervise_heard(&s, at * S);
        assert_int_equal(bt_supervise_tick(&s, at * S), BT_ORDER_NONE);
    }
    bt_supervise_heard(&s, 600 * (int64_t)S);
    assert_int_equal(bt_supervise_tick(&s, 601 * (int64_t)S), BT_ORDER_KILL);
    assert_int_equal(end_of(&s, BT_END_SIGNALLED, SIGKILL, 602 * (int64_t)S), BT_BLAME_NOBODY);
}

static void restarts_wait_longer_only_while_nothing_comes_of_them(void **state) {
    (void)state;
    struct bt_supervisor s;
    int64_t now = S, last = 0;
    begin(&s, now);
    bt_supervise_progress(&s);
    end_of(&s, BT_END_SIGNALLED, SIGSEGV, now);
    assert_int_equal(bt_supervise_tick(&s, now), BT_ORDER_START); /* at once: there was a token */
    for (int death = 1; death < BT_DEATHS_MAX; death++) {
        bt_supervise_started(&s, now);
        end_of(&s, BT_END_SIGNALLED, SIGKILL, now);
        int64_t wait = bt_supervise_next(&s) - now, whole = BT_MIN(100 << (death - 1), 10000) * BT_NS_PER_MS;
        assert_in_range(wait, whole / 2, whole);
        assert_true(wait >= last);
        last = death < 7 ? wait : 0;
        assert_int_equal(bt_supervise_tick(&s, now), BT_ORDER_NONE);
        now += wait;
        assert_int_equal(bt_supervise_tick(&s, now), BT_ORDER_START);
    }
    bt_supervise_started(&s, now);
    end_of(&s, BT_END_SIGNALLED, SIGKILL, now);
    assert_int_equal(s.life, BT_LIFE_GONE);
    assert_string_equal(bt_supervise_name(&s, now), "given up");
    assert_int_equal(bt_supervise_next(&s), BT_NEVER_NS);
}

static void an_owner_that_lived_long_begins_anew(void **state) {
    (void)state;
    struct bt_supervisor s;
    int64_t now = S;
    begin(&s, now);
    for (int i = 0; i < 3 * BT_DEATHS_MAX; i++) { /* killed every two minutes while nobody asks: never given up */
        now += 120 * (int64_t)S;
        end_of(&s, BT_END_SIGNALLED, SIGKILL, now);
        assert_int_equal(bt_supervise_tick(&s, now), BT_ORDER_START);
        bt_supervise_started(&s, now);
        bt_supervise_ready(&s, now);
    }
}

static void convictions_excuse_an_owner_but_not_for_ever(void **state) {
    (void)state;
    struct bt_supervisor s;
    int64_t now = S;
    int convictions = 0;
    begin(&s, now);
    while (s.life != BT_LIFE_GONE &&
           convictions < 1000) { /* whatever is asked of it, it dies: it is not the requests */
        end_of(&s, BT_END_SIGNALLED, SIGSEGV, now);
        bt_supervise_convicted(&s);
        convictions++;
        now = BT_MAX(now, s.start_ns);
        if (s.life == BT_LIFE_WAITING)
            bt_supervise_started(&s, now);
    }
    assert_in_range(convictions, BT_CONVICTIONS_MAX, BT_CONVICTIONS_MAX + BT_DEATHS_MAX);
}

static void one_that_lingers_after_its_socket_is_killed(void **state) {
    (void)state;
    struct bt_supervisor s;
    begin(&s, S);
    bt_supervise_parted(&s, S);
    assert_int_equal(bt_supervise_tick(&s, S), BT_ORDER_NONE);
    assert_int_equal(bt_supervise_tick(&s, bt_supervise_next(&s)), BT_ORDER_KILL);
    assert_int_equal(end_of(&s, BT_END_SIGNALLED, SIGKILL, 9 * (int64_t)S), BT_BLAME_UNKNOWN);
}

/* What runs is over for its requests already: nothing is gained by waiting long for the native call, and nothing at all
 * by waiting for one that has been silent. */
static void a_close_waits_a_moment_for_one_that_answers_and_not_for_one_that_hangs(void **state) {
    (void)state;
    struct bt_supervisor s;
    begin(&s, S);
    bt_supervise_condemn(&s, BT_CHARGE_CLOSED, S);
    assert_int_equal(bt_supervise_tick(&s, S), BT_ORDER_NONE);
    assert_true(bt_supervise_next(&s) <= 2 * (int64_t)S);
    assert_int_equal(bt_supervise_tick(&s, 2 * (int64_t)S), BT_ORDER_KILL);
    begin(&s, S);
    bt_supervise_condemn(&s, BT_CHARGE_CLOSED, 4 * (int64_t)S);
    assert_int_equal(bt_supervise_tick(&s, 4 * (int64_t)S), BT_ORDER_KILL);
    begin(&s, S);
    bt_supervise_parted(&s, S); /* it lingers, and is not waited for longer than others are */
    bt_supervise_condemn(&s, BT_CHARGE_CLOSED, S);
    assert_true(bt_supervise_next(&s) <= 2 * (int64_t)S);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_are_understood),
        cmocka_unit_test(probe_P44_silence_is_told_before_it_is_fatal),
        cmocka_unit_test(probe_P41_who_computes_long_is_not_hung),
        cmocka_unit_test(probe_P41_who_hangs_in_its_self_test_is_not_taken_for_loading),
        cmocka_unit_test(restarts_wait_longer_only_while_nothing_comes_of_them),
        cmocka_unit_test(an_owner_that_lived_long_begins_anew),
        cmocka_unit_test(convictions_excuse_an_owner_but_not_for_ever),
        cmocka_unit_test(one_that_lingers_after_its_socket_is_killed),
        cmocka_unit_test(a_close_waits_a_moment_for_one_that_answers_and_not_for_one_that_hangs),
    };
    return bt_test_run(tests, argc, argv);
}
