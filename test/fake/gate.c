/* gate/: one event at a time, then a random schedule against a plain model of what must hold. */
#include "harness.h"

#include <string.h>

#include "gate/gate.h"

static struct bt_waiter waiter(uint64_t id, int priority, int64_t deadline_ns) {
    return (struct bt_waiter){.id = id, .priority = priority, .deadline_ns = deadline_ns};
}

static void the_lowest_free_slot_is_granted(void **state) {
    (void)state;
    struct bt_gate g;
    struct bt_waiter w[130];
    bt_gate_init(&g, 130, 0);
    for (int i = 0; i < 130; i++) {
        w[i] = waiter(0, 1, BT_NEVER_NS);
        assert_int_equal(bt_gate_ask(&g, &w[i], BT_REFUSE, i), BATON_OK);
        assert_int_equal(w[i].slot, i);
        assert_true(bt_gate_check(&g));
    }
    struct bt_waiter more = waiter(0, 1, BT_NEVER_NS);
    assert_int_equal(bt_gate_ask(&g, &more, BT_REFUSE, 200), BATON_BUSY);
    assert_null(bt_gate_give(&g, &w[70], 201));
    assert_null(bt_gate_give(&g, &w[7], 202));
    assert_null(bt_gate_give(&g, &w[7], 203)); /* twice changes nothing */
    assert_int_equal(g.used, 128);
    assert_int_equal(bt_gate_ask(&g, &more, BT_REFUSE, 204), BATON_OK);
    assert_int_equal(more.slot, 7);
    assert_true(bt_gate_check(&g));
}

static void probe_P01_refuse_is_busy_at_once_and_leaves_no_trace(void **state) {
    (void)state;
    struct bt_gate g;
    struct bt_waiter holder = waiter(1, 1, BT_NEVER_NS), w = waiter(2, 0, BT_NEVER_NS);
    bt_gate_init(&g, 1, 4);
    assert_int_equal(bt_gate_ask(&g, &holder, BT_REFUSE, 0), BATON_OK);
    assert_int_equal(bt_gate_ask(&g, &w, BT_REFUSE, 1), BATON_BUSY);
    assert_int_equal(w.state, BT_WAITER_IDLE);
    assert_int_equal(g.queued, 0);
    assert_null(bt_gate_give(&g, &holder, 2));
    assert_true(bt_gate_check(&g));
}

static void waiters_are_granted_in_the_order_in_which_they_asked(void **state) {
    (void)state;
    struct bt_gate g;
    struct bt_waiter holder = waiter(100, 1, BT_NEVER_NS), w[5];
    bt_gate_init(&g, 1, 5);
    assert_int_equal(bt_gate_ask(&g, &holder, BT_WAIT, 0), BATON_OK);
    for (int i = 0; i < 5; i++) {
        w[i] = waiter((uint64_t)i + 1, 1, BT_NEVER_NS);
        assert_int_equal(bt_gate_ask(&g, &w[i], BT_WAIT, i), BATON_AGAIN);
        assert_int_equal(bt_gate_position(&g, &w[i]), i);
    }
    assert_int_equal(bt_gate_position(&g, &holder), -1);
    struct bt_waiter *now = &holder;
    for (int i = 0; i < 5; i++) {
        now = bt_gate_give(&g, now, 10 + i);
        assert_ptr_equal(now, &w[i]);
        assert_int_equal(now->state, BT_WAITER_GRANTED);
        assert_int_equal(now->slot, 0);
        assert_true(bt_gate_check(&g));
    }
    assert_null(bt_gate_give(&g, now, 20));
    assert_int_equal(g.used, 0);
}

static void a_higher_band_goes_first_and_each_band_is_fifo(void **state) {
    (void)state;
    struct bt_gate g;
    struct bt_waiter holder = waiter(0, 1, BT_NEVER_NS), w[6];
    static const int priority[6] = {2, 1, 0, 2, 1, 0}, order[6] = {2, 5, 1, 4, 0, 3};
    bt_gate_init(&g, 1, 6);
    assert_int_equal(bt_gate_ask(&g, &holder, BT_WAIT, 0), BATON_OK);
    for (int i = 0; i < 6; i++) {
        w[i] = waiter(0, priority[i], BT_NEVER_NS);
        assert_int_equal(bt_gate_ask(&g, &w[i], BT_WAIT, i), BATON_AGAIN);
    }
    struct bt_waiter *now = &holder;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(bt_gate_position(&g, &w[order[i]]), 0);
        now = bt_gate_give(&g, now, 10);
        assert_ptr_equal(now, &w[order[i]]);
    }
    struct bt_waiter none = waiter(0, BT_PRIORITIES, BT_NEVER_NS);
    assert_int_equal(bt_gate_ask(&g, &none, BT_WAIT, 11), BATON_MISUSE);
}

static void probe_P30_the_waiter_beyond_the_bound_is_refused_at_once(void **state) {
    (void)state;
    for (int queue_max = 0; queue_max <= 3; queue_max++) {
        struct bt_gate g;
        struct bt_waiter holder = waiter(1, 1, BT_NEVER_NS), w[3], extra = waiter(9, 0, BT_NEVER_NS);
        bt_gate_init(&g, 1, queue_max);
        assert_int_equal(bt_gate_ask(&g, &holder, BT_WAIT, 0), BATON_OK);
        for (int i = 0; i < queue_max; i++) {
            w[i] = waiter(2, 1, BT_NEVER_NS);
            assert_int_equal(bt_gate_ask(&g, &w[i], BT_WAIT, 1), BATON_AGAIN);
        }
        assert_int_equal(bt_gate_ask(&g, &extra, BT_WAIT, 2), BATON_QUEUE_FULL);
        assert_int_equal(g.queued, queue_max);
        assert_true(bt_gate_check(&g));
        /* room again as soon as one has left */
        if (queue_max > 0) {
            assert_true(bt_gate_withdraw(&g, &w[0]));
            assert_int_equal(bt_gate_ask(&g, &extra, BT_WAIT, 3), BATON_AGAIN);
        }
    }
}

static void a_deadline_takes_out_whom_it_concerns_and_nobody_else(void **state) {
    (void)state;
    struct bt_gate g;
    struct bt_waiter holder = waiter(0, 1, 5), late = waiter(0, 1, 5), a = waiter(0, 1, 30), b = waiter(0, 1, 20);
    struct bt_waiter c = waiter(0, 1, BT_NEVER_NS);
    bt_gate_init(&g, 1, 5);
    assert_int_equal(bt_gate_next_deadline(&g), BT_NEVER_NS);
    /* a passed deadline does not matter while a slot is free: nobody waits */
    assert_int_equal(bt_gate_ask(&g, &holder, BT_WAIT, 6), BATON_OK);
    assert_int_equal(bt_gate_ask(&g, &late, BT_WAIT, 7), BATON_QUEUE_TIMEOUT);
    assert_int_equal(bt_gate_ask(&g, &a, BT_WAIT, 8), BATON_AGAIN);
    assert_int_equal(bt_gate_ask(&g, &b, BT_WAIT, 9), BATON_AGAIN);
    assert_int_equal(bt_gate_ask(&g, &c, BT_WAIT, 9), BATON_AGAIN);
    assert_int_equal(bt_gate_next_deadline(&g), 20);
    assert_null(bt_gate_expire(&g, 19));
    assert_ptr_equal(bt_gate_expire(&g, 20), &b);
    assert_null(bt_gate_expire(&g, 20));
    assert_int_equal(b.state, BT_WAITER_IDLE);
    assert_false(bt_gate_withdraw(&g, &b)); /* one verdict */
    assert_ptr_equal(bt_gate_expire(&g, 1000), &a);
    assert_null(bt_gate_expire(&g, BT_NEVER_NS - 1));
    assert_ptr_equal(bt_gate_give(&g, &holder, 1001), &c);
    assert_false(bt_gate_withdraw(&g, &c)); /* granted: no longer the queue's */
}

static void a_closed_gate_refuses_and_empties_its_queue_and_grants_no_more(void **state) {
    (void)state;
    struct bt_gate g;
    struct bt_waiter h[2], a = waiter(7, 1, BT_NEVER_NS), b = waiter(8, 0, BT_NEVER_NS), c = waiter(9, 1, BT_NEVER_NS);
    bt_gate_init(&g, 2, 5);
    for (int i = 0; i < 2; i++) {
        h[i] = waiter(0, 1, BT_NEVER_NS);
        assert_int_equal(bt_gate_ask(&g, &h[i], BT_WAIT, 0), BATON_OK);
    }
    assert_int_equal(bt_gate_ask(&g, &a, BT_WAIT, 1), BATON_AGAIN);
    assert_int_equal(bt_gate_ask(&g, &b, BT_WAIT, 1), BATON_AGAIN);
    assert_ptr_equal(bt_gate_find(&g, 7), &a);
    assert_null(bt_gate_find(&g, 1234));
    assert_null(bt_gate_find(&g, 0));
    assert_ptr_equal(bt_gate_close(&g), &b);
    assert_true(bt_gate_check(&g));
    assert_null(bt_gate_give(&g, &h[0], 2)); /* a is still queued: its verdict is CLOSED all the same */
    assert_int_equal(bt_gate_ask(&g, &c, BT_WAIT, 3), BATON_CLOSED);
    assert_ptr_equal(bt_gate_close(&g), &a);
    assert_null(bt_gate_close(&g));
    assert_null(bt_gate_give(&g, &h[1], 4));
    assert_int_equal(g.used, 0);
    assert_true(bt_gate_check(&g));
}

/* The model: a list of the waiters' indexes in the order in which they asked, per band. */
enum { PEOPLE = 40, STEPS = 60000 };
enum where { OUTSIDE, WAITING, HOLDING };

struct schedule {
    struct bt_gate gate;
    struct bt_waiter people[PEOPLE];
    enum where where[PEOPLE];
    uint64_t asked[PEOPLE]; /* ticket numbers, to check the order */
    uint64_t asks, verdicts, tickets;
    int64_t now;
    uint64_t seed, draws;
};

static uint64_t draw(struct schedule *s, uint64_t n) {
    return bt_mix64(s->seed ^ bt_mix64(s->draws++)) % n;
}

static void verdict(struct schedule *s, int who, enum where from, enum where to) {
    assert_int_equal(s->where[who], from);
    s->where[who] = to;
    s->verdicts += from == WAITING;
}

static void granted_in_order(struct schedule *s, const struct bt_waiter *w) {
    int who = (int)(w - s->people);
    assert_int_equal(w->state, BT_WAITER_GRANTED);
    for (int i = 0; i < PEOPLE; i++) {
        if (s->where[i] == HOLDING)
            assert_int_not_equal(s->people[i].slot, w->slot);
        if (i == who || s->where[i] != WAITING)
            continue;
        assert_true(s->people[i].priority >= w->priority);
        if (s->people[i].priority == w->priority)
            assert_true(s->asked[i] > s->asked[who]);
    }
    verdict(s, who, WAITING, HOLDING);
}

static void somebody_asks(struct schedule *s, int who) {
    struct bt_waiter *w = &s->people[who];
    int64_t deadline = draw(s, 3) ? s->now + (int64_t)draw(s, 200) : BT_NEVER_NS;
    *w = (struct bt_waiter){.id = (uint64_t)who + 1, .priority = (int)draw(s, 3), .deadline_ns = deadline};
    enum bt_when_full when_full = draw(s, 4) ? BT_WAIT : BT_REFUSE;
    bool free_slot = s->gate.used < s->gate.slots, full = s->gate.queued >= s->gate.queue_max;
    baton_status status = bt_gate_ask(&s->gate, w, when_full, s->now);
    s->asks++;
    s->asked[who] = s->tickets++;
    if (free_slot) {
        assert_int_equal(status, BATON_OK);
        s->where[who] = HOLDING;
    } else if (when_full == BT_REFUSE) {
        assert_int_equal(status, BATON_BUSY);
    } else if (deadline <= s->now) {
        assert_int_equal(status, BATON_QUEUE_TIMEOUT);
    } else if (full) {
        assert_int_equal(status, BATON_QUEUE_FULL);
    } else {
        assert_int_equal(status, BATON_AGAIN);
        s->where[who] = WAITING;
    }
}

static void one_step(struct schedule *s) {
    int who = (int)draw(s, PEOPLE);
    struct bt_waiter *w = &s->people[who];
    s->now += (int64_t)draw(s, 10);
    if (s->where[who] == OUTSIDE) {
        somebody_asks(s, who);
    } else if (s->where[who] == HOLDING && draw(s, 2)) {
        struct bt_waiter *next = bt_gate_give(&s->gate, w, s->now);
        verdict(s, who, HOLDING, OUTSIDE);
        if (next)
            granted_in_order(s, next);
    } else if (draw(s, 3) == 0) {
        bool queued = s->where[who] == WAITING;
        assert_int_equal(bt_gate_withdraw(&s->gate, w), queued);
        if (queued)
            verdict(s, who, WAITING, OUTSIDE);
    } else {
        for (struct bt_waiter *late; (late = bt_gate_expire(&s->gate, s->now));) {
            assert_true(late->deadline_ns <= s->now);
            verdict(s, (int)(late - s->people), WAITING, OUTSIDE);
        }
        assert_true(bt_gate_next_deadline(&s->gate) > s->now);
    }
}

static void conserved(const struct schedule *s) {
    const struct bt_gate *g = &s->gate;
    int waiting = 0, holding = 0;
    for (int i = 0; i < PEOPLE; i++) {
        waiting += s->where[i] == WAITING;
        holding += s->where[i] == HOLDING;
    }
    assert_true(bt_gate_check(g));
    assert_int_equal(g->queued, waiting);
    assert_int_equal(g->used, holding);
    assert_int_equal(g->granted_total + g->refused_total + g->expired_total + g->cancelled_total + (uint64_t)g->queued,
                     s->asks);
}

static void any_schedule_keeps_the_invariants_and_gives_one_verdict_each(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    for (int round = 0; round < 4; round++) {
        static struct schedule s;
        memset(&s, 0, sizeof s);
        s.seed = seed + (uint64_t)round;
        bt_gate_init(&s.gate, 1 + (int)draw(&s, 6), (int)draw(&s, PEOPLE));
        for (int i = 0; i < STEPS; i++) {
            one_step(&s);
            conserved(&s);
        }
        for (struct bt_waiter *w; (w = bt_gate_close(&s.gate));)
            verdict(&s, (int)(w - s.people), WAITING, OUTSIDE);
        conserved(&s);
        for (int i = 0; i < PEOPLE; i++)
            if (s.where[i] == HOLDING) {
                assert_null(bt_gate_give(&s.gate, &s.people[i], s.now));
                s.where[i] = OUTSIDE;
            }
        conserved(&s);
        assert_int_equal(s.gate.used + s.gate.queued, 0);
        assert_true(s.gate.queue_max == 0 || s.verdicts > 0);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_free_slot_is_granted),
        cmocka_unit_test(probe_P01_refuse_is_busy_at_once_and_leaves_no_trace),
        cmocka_unit_test(waiters_are_granted_in_the_order_in_which_they_asked),
        cmocka_unit_test(a_higher_band_goes_first_and_each_band_is_fifo),
        cmocka_unit_test(probe_P30_the_waiter_beyond_the_bound_is_refused_at_once),
        cmocka_unit_test(a_deadline_takes_out_whom_it_concerns_and_nobody_else),
        cmocka_unit_test(a_closed_gate_refuses_and_empties_its_queue_and_grants_no_more),
        cmocka_unit_test(any_schedule_keeps_the_invariants_and_gives_one_verdict_each),
    };
    return bt_test_run(tests, argc, argv);
}
