/* Exactness on the built-in model, to the bit. */
#include "exactness.h"

static void logits_do_not_depend_on_cuts_neighbours_or_a_resume(void **state) {
    (void)state;
    struct bt_model *m = open_model(NULL);
    check_exactness(m);
    m->ops->free(m);
}

/* A sequence takes over the place of one that has ended: nothing of the old one may shine through. */
static void a_sequence_that_was_used_before_is_as_good_as_new(void **state) {
    (void)state;
    struct bt_model *m = open_model(NULL);
    struct tokens first = exact_prompt(m, 3), second = ask(m, "What is a lease?");
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    bt_token lone[32], again[32];
    struct bt_context *fresh = open_context(m, 2, 1024, true), *used = open_context(m, 2, 1024, true);
    size_t n = generate(fresh, m, 0, second, &greedy, lone, 32);
    feed(used, 0, 0, first.t, first.n, 512);
    feed(used, 1, 0, first.t, first.n, 512);
    assert_int_equal(generate(used, m, 0, second, &greedy, again, 32), n);
    assert_memory_equal(lone, again, n * sizeof *lone);
    free(first.t);
    free(second.t);
    fresh->ops->free(fresh);
    used->ops->free(used);
    m->ops->free(m);
}

/* What prefix reuse needs: a whole copy and a cut tail go on as a lone run would. */
static void a_copied_and_trimmed_sequence_goes_on_as_its_lone_run(void **state) {
    (void)state;
    struct bt_model *m = open_model(NULL);
    int vocab = vocab_of(m);
    struct tokens p = exact_prompt(m, 3);
    int32_t keep = (int32_t)p.n / 2;
    struct bt_context *c = open_context(m, 3, 1024, true);
    float *lone = keep_logits(c, feed(c, 0, 0, p.t, p.n, 512), vocab);
    feed(c, 2, 0, p.t + 1, p.n - 1, 512); /* stale content, to be replaced */
    c->ops->seq_cp(c, 0, 2);
    assert_int_equal(c->ops->pos_max(c, 2), (int32_t)p.n - 1);
    assert_true(c->ops->seq_rm(c, 2, keep, -1));
    assert_int_equal(c->ops->pos_max(c, 2), keep - 1);
    assert_true(c->ops->seq_rm(c, 0, -1, -1));
    int row = feed(c, 2, keep, p.t + keep, p.n - (size_t)keep, 40);
    same_logits(lone, c->ops->logits(c, row), vocab, "copied and trimmed at", keep);
    assert_int_equal(c->ops->pos_max(c, 0), -1);
    free(lone);
    free(p.t);
    c->ops->free(c);
    m->ops->free(m);
}

static void logits_do_not_depend_on_the_number_of_threads(void **state) {
    (void)state;
    struct bt_model *m = open_model(NULL);
    int vocab = vocab_of(m);
    struct tokens p = exact_prompt(m, 3);
    struct bt_context *one = open_context(m, 1, 1024, true), *more;
    float *right = keep_logits(one, feed(one, 0, 0, p.t, p.n, 512), vocab);
    for (int threads = 2; threads <= 3; threads++) {
        struct bt_context_params params = {.sequences = 1, .ctx = 1024, .threads = threads, .exact = true};
        baton_error err;
        assert_int_equal(m->ops->context(m, &params, &more, &err), BATON_OK);
        same_logits(right, more->ops->logits(more, feed(more, 0, 0, p.t, p.n, 90)), vocab, "threads", threads);
        more->ops->free(more);
    }
    free(right);
    free(p.t);
    one->ops->free(one);
    m->ops->free(m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_do_not_depend_on_cuts_neighbours_or_a_resume),
        cmocka_unit_test(logits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(a_sequence_that_was_used_before_is_as_good_as_new),
        cmocka_unit_test(a_copied_and_trimmed_sequence_goes_on_as_its_lone_run),
    };
    return bt_test_run(tests, argc, argv);
}
