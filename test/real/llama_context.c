/* A llama_context at its limits: full, invalid, aborted; and several contexts of one model at once. */
#include "exactness.h"

#include <pthread.h>

static struct bt_model *model;

static void probe_P61_a_full_sequence_says_so_and_leaves_its_neighbours_alone(void **state) {
    (void)state;
    int vocab = vocab_of(model);
    struct tokens p = exact_prompt(model, 1);
    struct bt_context *c = open_context(model, 2, 100, true), *lone = open_context(model, 1, 100, true);
    int cells = c->ops->capacity(c);
    assert_int_equal(cells, 256); /* what was asked for, rounded up: the cache comes in grains */
    bt_token many[257];
    for (int i = 0; i < 257; i++)
        many[i] = p.t[(size_t)i % p.n];
    struct bt_row rows[257];
    for (int i = 0; i < 257; i++)
        rows[i] = (struct bt_row){many[i], i, 0, i == 256};
    assert_int_equal(c->ops->decode(c, rows, 257), BT_DECODE_FULL);
    assert_int_equal(c->ops->pos_max(c, 0), -1);
    feed(c, 0, 0, many, 256, 512);
    feed(c, 1, 0, p.t, 19, 512);
    feed(c, 1, 19, p.t + 19, 1, 1);
    assert_non_null(c->ops->logits(c, 0));
    struct bt_row both[] = {{many[0], 256, 0, true}, {p.t[20], 20, 1, true}};
    assert_int_equal(c->ops->decode(c, both, 2), BT_DECODE_FULL);
    assert_int_equal(c->ops->pos_max(c, 0), 255);
    assert_int_equal(c->ops->pos_max(c, 1), 19);
    assert_null(c->ops->logits(c, 0)); /* a decode that was refused leaves nothing to be read */
    assert_int_equal(c->ops->decode(c, both + 1, 1), BT_DECODE_OK);
    int row = feed(lone, 0, 0, p.t, 21, 512);
    same_logits(lone->ops->logits(lone, row), c->ops->logits(c, 0), vocab, "neighbour of a full sequence", 20);
    free(p.t);
    c->ops->free(c);
    lone->ops->free(lone);
}

static void rows_that_make_no_sense_change_nothing(void **state) {
    (void)state;
    struct bt_context *c = open_context(model, 2, 256, true);
    struct bt_row good = {5, 0, 0, true};
    int vocab = vocab_of(model);
    assert_int_equal(c->ops->decode(c, &good, 1), BT_DECODE_OK);
    struct bt_row bad[] = {{5, 2, 0, true},  {5, 0, 0, true},     {5, 1, 2, true}, {5, 1, -1, true},
                           {-1, 1, 0, true}, {vocab, 1, 0, true}, {5, -1, 1, true}};
    for (size_t i = 0; i < BT_COUNT(bad); i++)
        assert_int_equal(c->ops->decode(c, &bad[i], 1), BT_DECODE_INVALID);
    assert_int_equal(c->ops->decode(c, &good, 0), BT_DECODE_INVALID);
    assert_int_equal(c->ops->pos_max(c, 0), 0);
    assert_int_equal(c->ops->pos_max(c, 1), -1);
    assert_int_equal(c->ops->pos_max(c, 7), -1);
    assert_false(c->ops->seq_rm(c, 7, -1, -1));
    good.pos = 1;
    good.want_logits = false;
    assert_int_equal(c->ops->decode(c, &good, 1), BT_DECODE_OK);
    assert_null(c->ops->logits(c, 0)); /* not asked for */
    assert_null(c->ops->logits(c, -1));
    assert_null(c->ops->logits(c, 1));
    c->ops->free(c);
}

static void contexts_that_make_no_sense_are_refused(void **state) {
    (void)state;
    struct bt_context_params bad[] = {{.sequences = 0},
                                      {.sequences = 100000},
                                      {.sequences = 1, .ctx = -1},
                                      {.sequences = 1, .chunk = -1},
                                      {.sequences = 1, .threads = -1},
                                      {.sequences = 200, .ctx = INT32_MAX}};
    for (size_t i = 0; i < BT_COUNT(bad); i++) {
        struct bt_context *c;
        baton_error err;
        assert_int_equal(model->ops->context(model, &bad[i], &c, &err), BATON_INVALID);
        assert_null(c);
    }
    struct bt_context *c = open_context(model, 3, 0, true);
    struct bt_model_info info;
    model->ops->info(model, &info);
    assert_true(c->ops->capacity(c) >= info.ctx_train);
    c->ops->free(c);
}

/* More rows than a chunk are refused; a step of all sequences always fits, however small the chunk. */
static void a_chunk_is_the_most_that_a_decode_takes(void **state) {
    (void)state;
    struct bt_context_params params = {.sequences = 4, .ctx = 256, .chunk = 2, .threads = 1, .exact = true};
    struct bt_context *c;
    baton_error err;
    struct bt_row rows[] = {{5, 0, 0, true}, {5, 0, 1, true}, {5, 0, 2, true}, {5, 0, 3, true}, {5, 1, 0, true}};
    assert_int_equal(model->ops->context(model, &params, &c, &err), BATON_OK);
    assert_int_equal(c->ops->decode(c, rows, 5), BT_DECODE_INVALID);
    assert_int_equal(c->ops->decode(c, rows, 4), BT_DECODE_OK);
    c->ops->free(c);
}

static void logits_can_be_wanted_of_so_many_rows_and_no_more(void **state) {
    (void)state;
    struct bt_context *c = open_context(model, 2, 256, true);
    struct bt_row rows[BT_LOGITS_MAX(2) + 1];
    for (int i = 0; i <= BT_LOGITS_MAX(2); i++)
        rows[i] = (struct bt_row){5, i, 0, true};
    assert_int_equal(c->ops->decode(c, rows, BT_LOGITS_MAX(2) + 1), BT_DECODE_INVALID);
    assert_int_equal(c->ops->pos_max(c, 0), -1);
    assert_int_equal(c->ops->decode(c, rows, BT_LOGITS_MAX(2)), BT_DECODE_OK);
    for (int i = 0; i < BT_LOGITS_MAX(2); i++)
        assert_non_null(c->ops->logits(c, i));
    c->ops->free(c);
}

struct fuse {
    int left;
};

static bool burn(void *arg) {
    struct fuse *f = arg;
    return f->left > 0 && --f->left == 0;
}

/* Aborted at many places; then what is there is read, cut off, and fed again: right to the bit. */
static void an_aborted_decode_can_be_rolled_back(void **state) {
    (void)state;
    int vocab = vocab_of(model), aborted = 0;
    struct tokens p = exact_prompt(model, 3);
    struct bt_context *c = open_context(model, 2, 512, true);
    float *right = keep_logits(c, feed(c, 0, 0, p.t, p.n, 512), vocab);
    for (int at = 1; at < 200; at += 13) {
        struct fuse fuse = {at};
        struct bt_row rows[256];
        assert_true(c->ops->seq_rm(c, 1, -1, -1));
        feed(c, 1, 0, p.t, 10, 512);
        for (size_t i = 10; i < p.n; i++)
            rows[i - 10] = (struct bt_row){p.t[i], (int32_t)i, 1, i + 1 == p.n};
        c->ops->set_abort(c, burn, &fuse);
        enum bt_decode result = c->ops->decode(c, rows, (int)p.n - 10);
        c->ops->set_abort(c, NULL, NULL);
        aborted += result == BT_DECODE_ABORTED;
        if (result == BT_DECODE_ABORTED) {
            assert_null(c->ops->logits(c, (int)p.n - 11));
            assert_true(c->ops->pos_max(c, 1) >= 9);
            assert_true(c->ops->seq_rm(c, 1, 10, -1));
            assert_int_equal(c->ops->pos_max(c, 1), 9);
            assert_int_equal(c->ops->decode(c, rows, (int)p.n - 10), BT_DECODE_OK);
        }
        same_logits(right, c->ops->logits(c, (int)p.n - 11), vocab, "after an abort at node", at);
    }
    assert_true(aborted > 3);
    free(right);
    free(p.t);
    c->ops->free(c);
}

enum { THREADS = 4 };

struct worker {
    pthread_t thread;
    pthread_barrier_t *inside;
    bool met;
    char question[64];
    bt_token lone[48], got[48];
    size_t n_lone, n_got;
};

static void run_worker(struct worker *w, bt_token *out, size_t *n, bool (*hook)(void *arg)) {
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    struct tokens p = ask(model, w->question);
    struct bt_context *c = open_context(model, 1, 256, true);
    if (hook)
        c->ops->set_abort(c, hook, w);
    *n = generate(c, model, 0, p, &greedy, out, 48);
    c->ops->free(c);
    free(p.t);
}

/* The first time that libllama asks in the middle of its decode, wait until it does so in every other context. */
static bool meet(void *arg) {
    struct worker *w = arg;
    if (!w->met)
        pthread_barrier_wait(w->inside);
    w->met = true;
    return false;
}

static void *work(void *arg) {
    struct worker *w = arg;
    run_worker(w, w->got, &w->n_got, meet);
    return NULL;
}

static void probe_P06_contexts_of_one_model_run_at_the_same_time_and_are_right(void **state) {
    (void)state;
    struct worker workers[THREADS] = {0};
    pthread_barrier_t inside;
    pthread_barrier_init(&inside, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        snprintf(workers[i].question, sizeof workers[i].question, "Tell me story number %d.", i);
        workers[i].inside = &inside;
        run_worker(&workers[i], workers[i].lone, &workers[i].n_lone, NULL);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_true(workers[i].met);
        assert_int_equal(workers[i].n_got, workers[i].n_lone);
        assert_memory_equal(workers[i].got, workers[i].lone, workers[i].n_lone * sizeof(bt_token));
    }
    pthread_barrier_destroy(&inside);
}

static int set_up(void **state) {
    (void)state;
    model = open_model(NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    model->ops->free(model);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P61_a_full_sequence_says_so_and_leaves_its_neighbours_alone),
        cmocka_unit_test(rows_that_make_no_sense_change_nothing),
        cmocka_unit_test(contexts_that_make_no_sense_are_refused),
        cmocka_unit_test(a_chunk_is_the_most_that_a_decode_takes),
        cmocka_unit_test(logits_can_be_wanted_of_so_many_rows_and_no_more),
        cmocka_unit_test(an_aborted_decode_can_be_rolled_back),
        cmocka_unit_test(probe_P06_contexts_of_one_model_run_at_the_same_time_and_are_right),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
