/* The life of tasks: decisions alone, with a clock that is a number. State: none. */
#include "harness.h"

#include <string.h>

#include "task/life.h"

static struct bt_task *task(const char *id, int attempt) {
    char line[80];
    struct bt_task_line t;
    baton_error err;
    int n = snprintf(line, sizeof line, "{\"task_id\":\"%s\",\"retry_count\":%d}", id, attempt);
    struct bt_text text = {line, (size_t)n};
    assert_int_equal(bt_task_line_parse(text, true, &t, &err), BATON_OK);
    struct bt_task *made = bt_task_new(&t, text);
    assert_non_null(made);
    return made;
}

static struct bt_life *life(int workers, int backlog, bool one_shot) {
    struct bt_life *l = calloc(1, sizeof *l);
    assert_non_null(l);
    bt_life_init(l,
                 &(struct bt_life_params){
                     .workers = workers, .backlog = backlog, .drain_ms = 100, .bytes_max = 1000, .one_shot = one_shot});
    return l;
}

static baton_status arrive(struct bt_life *l, struct bt_task *t) {
    struct bt_task *older;
    baton_status status = bt_life_arrive(l, t, 1, &older);
    assert_null(older);
    assert_true(bt_life_check(l));
    return status;
}

static void end(struct bt_life *l, struct bt_task *t, struct bt_task *next) {
    assert_ptr_equal(bt_life_ended(l, t, 2), next);
    bt_task_free(t);
    assert_true(bt_life_check(l));
}

static void probe_P50_as_many_run_as_there_are_workers(void **state) {
    (void)state;
    struct bt_life *l = life(2, 1, false);
    struct bt_task *a = task("a", 0), *b = task("b", 0), *c = task("c", 0), *d = task("d", 0);
    assert_int_equal(arrive(l, a), BATON_OK);
    assert_int_equal(arrive(l, b), BATON_OK);
    assert_int_equal(arrive(l, c), BATON_AGAIN);
    assert_int_equal(arrive(l, d), BATON_QUEUE_FULL);
    bt_life_answered(l, a);
    assert_int_equal(arrive(l, d), BATON_QUEUE_FULL); /* answered, and its place still taken */
    end(l, a, c);
    assert_int_equal(arrive(l, d), BATON_AGAIN);
    end(l, b, d);
    end(l, c, NULL);
    end(l, d, NULL);
    free(l);
}

static void probe_P52_the_newer_attempt_takes_over(void **state) {
    (void)state;
    struct bt_life *l = life(1, 4, false);
    struct bt_task *first = task("a", 0), *second = task("a", 1), *third = task("a", 2), *again = task("a", 2), *older;
    assert_int_equal(arrive(l, first), BATON_OK);
    assert_int_equal(bt_life_arrive(l, second, 1, &older), BATON_AGAIN);
    assert_ptr_equal(older, first);
    assert_true(first->answered && bt_life_check(l));
    assert_ptr_equal(bt_life_find(l, first->is.id), second);
    assert_int_equal(bt_life_arrive(l, third, 1, &older), BATON_AGAIN);
    assert_ptr_equal(older, second);
    assert_true(bt_list_empty(&second->all) && bt_life_check(l));
    bt_task_free(second);
    assert_int_equal(arrive(l, again), BATON_END);
    bt_task_free(again);
    end(l, first, third);
    end(l, third, NULL);
    free(l);
}

static void probe_P53_stopping_refuses_drains_and_leaves(void **state) {
    (void)state;
    struct bt_life *l = life(1, 4, false);
    struct bt_task *a = task("a", 0), *b = task("b", 0), *c = task("c", 0);
    assert_int_equal(arrive(l, a), BATON_OK);
    assert_int_equal(arrive(l, b), BATON_AGAIN);
    assert_int_equal(bt_life_next(l, 1), BT_LIFE_GO_ON);
    assert_true(bt_life_deadline(l) == BT_NEVER_NS);
    assert_ptr_equal(bt_life_stop(l, 1000), b);
    bt_task_free(b);
    assert_null(bt_life_stop(l, 2000));
    assert_int_equal(arrive(l, c), BATON_CLOSED);
    bt_task_free(c);
    int64_t cancel = bt_life_deadline(l);
    assert_int_equal(cancel, 1000 + 100 * BT_NS_PER_MS);
    assert_int_equal(bt_life_next(l, cancel - 1), BT_LIFE_GO_ON);
    assert_int_equal(bt_life_next(l, cancel), BT_LIFE_CANCEL_REST);
    assert_int_equal(bt_life_next(l, cancel), BT_LIFE_GO_ON);
    assert_int_equal(bt_life_next(l, bt_life_deadline(l)), BT_LIFE_LEAVE_REST);
    end(l, a, NULL);
    assert_int_equal(bt_life_next(l, cancel), BT_LIFE_OVER);
    free(l);
}

static void one_shot_takes_one(void **state) {
    (void)state;
    struct bt_life *l = life(1, 4, true);
    struct bt_task *a = task("a", 0), *b = task("b", 0);
    assert_true(bt_life_wants_lines(l));
    assert_int_equal(arrive(l, a), BATON_OK);
    assert_false(bt_life_wants_lines(l));
    assert_int_equal(arrive(l, b), BATON_CLOSED);
    bt_task_free(b);
    end(l, a, NULL);
    assert_int_equal(bt_life_next(l, 1), BT_LIFE_OVER);
    free(l);
}

static void no_more_lines_are_read_than_are_held(void **state) {
    (void)state;
    struct bt_life *l = life(1, 100, false);
    struct bt_task *t[100];
    char id[8];
    int n = 0;
    while (bt_life_wants_lines(l)) {
        snprintf(id, sizeof id, "%d", n);
        t[n] = task(id, 0);
        assert_int_equal(arrive(l, t[n]), n ? BATON_AGAIN : BATON_OK);
        n++;
    }
    assert_in_range(n, 10, 50);
    assert_int_equal(bt_life_next(l, 1), BT_LIFE_GO_ON);
    l->eof = true;
    assert_int_equal(bt_life_next(l, 1), BT_LIFE_GO_ON);
    for (int i = 0; i < n; i++)
        end(l, t[i], i + 1 < n ? t[i + 1] : NULL);
    assert_int_equal(bt_life_next(l, 1), BT_LIFE_OVER);
    free(l);
}

/* Any order of events keeps the books, and every task has one end. */
static void any_order_of_events_keeps_the_invariants(void **state) {
    uint64_t seed = bt_test_seed();
    (void)state;
    for (int round = 0; round < 40; round++) {
        struct bt_life *l = life(1 + (int)(bt_mix64(seed + (uint64_t)round) % 4), 5, false);
        l->bytes_max = 1 << 20;
        struct bt_task *running[16];
        int n = 0, alive = 0;
        for (int step = 0; step < 400; step++) {
            uint64_t draw = bt_mix64(seed ^ bt_mix64((uint64_t)(round * 1000 + step)));
            if (draw % 3 == 0 && n > 0) {
                int i = (int)((draw >> 8) % (uint64_t)n);
                struct bt_task *next = bt_life_ended(l, running[i], step);
                bt_task_free(running[i]);
                alive--;
                running[i] = running[--n];
                if (next)
                    running[n++] = next;
            } else {
                char id[8];
                snprintf(id, sizeof id, "%d", (int)((draw >> 8) % 8));
                struct bt_task *t = task(id, (int)((draw >> 16) % 3)), *older;
                baton_status status = bt_life_arrive(l, t, step, &older);
                alive += status == BATON_OK || status == BATON_AGAIN;
                if (older && older->waiter.state != BT_WAITER_GRANTED) {
                    bt_task_free(older);
                    alive--;
                }
                if (status == BATON_OK)
                    running[n++] = t;
                else if (status != BATON_AGAIN)
                    bt_task_free(t);
            }
            assert_true(bt_life_check(l));
            assert_true(n <= l->gate.slots);
        }
        for (struct bt_task *t; (t = bt_life_stop(l, 1000)); alive--)
            bt_task_free(t);
        while (n > 0) {
            assert_null(bt_life_ended(l, running[--n], 1001));
            bt_task_free(running[n]);
            alive--;
        }
        assert_int_equal(alive, 0);
        assert_int_equal(bt_life_next(l, 1002), BT_LIFE_OVER);
        free(l);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P50_as_many_run_as_there_are_workers),
        cmocka_unit_test(probe_P52_the_newer_attempt_takes_over),
        cmocka_unit_test(probe_P53_stopping_refuses_drains_and_leaves),
        cmocka_unit_test(one_shot_takes_one),
        cmocka_unit_test(no_more_lines_are_read_than_are_held),
        cmocka_unit_test(any_order_of_events_keeps_the_invariants),
    };
    return bt_test_run(tests, argc, argv);
}
