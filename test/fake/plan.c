/* The batch planner: which rows go into the next native calls. */
#include "harness.h"

#include "owner/plan.h"

static struct bt_seq_view decode(int32_t cells) {
    return (struct bt_seq_view){.phase = BT_PHASE_DECODE, .todo = 1, .cells = cells};
}
static struct bt_seq_view prefill(int32_t todo, uint64_t arrived) {
    return (struct bt_seq_view){.phase = BT_PHASE_PREFILL, .todo = todo, .arrived = arrived};
}
static const struct bt_seq_view idle = {.phase = BT_PHASE_FREE};
static const struct bt_seq_view paused = {.phase = BT_PHASE_PAUSED, .cells = 9};

static void every_decoding_sequence_gets_one_row_in_ascending_order(void **state) {
    (void)state;
    struct bt_seq_view v[] = {decode(3), paused, decode(4), prefill(5, 1), decode(6)};
    struct bt_plan p;
    bt_plan_step(v, 5, 512, 64, 0, &p);
    assert_int_equal(p.n_decode, 3);
    assert_int_equal(p.decode[0], 0);
    assert_int_equal(p.decode[1], 2);
    assert_int_equal(p.decode[2], 4);
    assert_int_equal(p.n_prefill, 1);
    assert_int_equal(p.share[3], 5);
    assert_int_equal(p.move_from, -1);
}

static void a_long_prompt_gets_the_budget_while_others_decode_and_the_chunk_when_alone(void **state) {
    (void)state;
    struct bt_seq_view v[] = {decode(3), prefill(5000, 1)};
    struct bt_plan p;
    bt_plan_step(v, 2, 512, 64, 0, &p);
    assert_int_equal(p.share[1], 64);
    v[0] = idle;
    bt_plan_step(v, 2, 512, 64, 0, &p);
    assert_int_equal(p.share[1], 512);
}

static void prompts_share_a_chunk_oldest_first(void **state) {
    (void)state;
    struct bt_seq_view v[] = {prefill(40, 7), prefill(30, 3), prefill(20, 5)};
    struct bt_plan p;
    bt_plan_step(v, 3, 60, 60, 0, &p);
    assert_int_equal(p.share[1], 30);
    assert_int_equal(p.share[2], 20);
    assert_int_equal(p.share[0], 10);
    assert_int_equal(p.n_prefill, 3);
    assert_int_equal(p.prefill[0], 0);
    bt_plan_step(v, 3, 50, 50, 0, &p);
    assert_int_equal(p.n_prefill, 2);
    assert_int_equal(p.share[0], 0);
}

static void a_hole_is_closed_once_it_has_cost_what_the_move_costs(void **state) {
    (void)state;
    struct bt_seq_view v[] = {decode(100), idle, decode(320)};
    struct bt_plan p;
    bt_plan_step(v, 3, 512, 64, 9, &p);
    assert_true(p.holes);
    assert_int_equal(p.move_from, -1);
    bt_plan_step(v, 3, 512, 64, 10, &p);
    assert_int_equal(p.move_from, 2);
    assert_int_equal(p.move_to, 1);
    struct bt_seq_view no_hole[] = {idle, idle, decode(1), decode(1), idle};
    bt_plan_step(no_hole, 5, 512, 64, 1000, &p);
    assert_false(p.holes);
    assert_int_equal(p.move_from, -1);
}

static void a_request_takes_the_longest_prefix_of_its_own_flow_else_the_lowest_free(void **state) {
    (void)state;
    bt_token a[40], b[40];
    for (int i = 0; i < 40; i++)
        a[i] = b[i] = i;
    b[20] = 999;
    struct bt_seq_view v[] = {decode(1), idle, idle, idle};
    struct bt_seq_cache c[] = {{a, 40, 1}, {NULL, 0, 0}, {b, 40, 1}, {a, 40, 2}};
    int32_t reuse;
    assert_int_equal(bt_plan_place(v, c, 4, a, 40, 1, true, &reuse), 2);
    assert_int_equal(reuse, 20);
    assert_int_equal(bt_plan_place(v, c, 4, a, 40, 2, true, &reuse), 3);
    assert_int_equal(reuse, 39); /* one token is left to feed */
    assert_int_equal(bt_plan_place(v, c, 4, a, 40, 3, true, &reuse), 1);
    assert_int_equal(reuse, 0);
    assert_int_equal(bt_plan_place(v, c, 4, a, BT_REUSE_MIN, 2, true, &reuse), 1);
    assert_int_equal(bt_plan_place(v, c, 4, a, 40, 2, false, &reuse), 1); /* cannot trim: all or nothing */
    assert_int_equal(bt_plan_place(v, c, 1, a, 40, 1, true, &reuse), -1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_decoding_sequence_gets_one_row_in_ascending_order),
        cmocka_unit_test(a_long_prompt_gets_the_budget_while_others_decode_and_the_chunk_when_alone),
        cmocka_unit_test(prompts_share_a_chunk_oldest_first),
        cmocka_unit_test(a_hole_is_closed_once_it_has_cost_what_the_move_costs),
        cmocka_unit_test(a_request_takes_the_longest_prefix_of_its_own_flow_else_the_lowest_free),
    };
    return bt_test_run(tests, argc, argv);
}
