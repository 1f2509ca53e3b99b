/* Vectors under owner = thread, for programs: refused, queued, cancelled, closed, and never anybody else's. */
#include "api_vectors.h"

#include "fake_left.h"

enum { WIDTH = 16, ASKERS = 8 };

static baton_llama *open_as(const char *model, int contexts, int sequences, baton_when_full when_full, int exact) {
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    policy.owner = BATON_OWNER_THREAD;
    policy.contexts = contexts;
    policy.sequences = sequences;
    policy.when_full = when_full;
    params.policy = &policy;
    params.pooling = BATON_POOLING_MEAN;
    params.exact = exact;
    params.ctx = 256;
    return more_open(model, &params);
}

struct asker {
    pthread_t thread;
    baton_llama *m;
    uint64_t id;
    char text[48];
    baton_status status;
    baton_error err;
    float vector[WIDTH];
};

static void *ask_vector(void *arg) {
    struct asker *a = arg;
    baton_request request = BATON_REQUEST;
    baton_embeddings out;
    request.id = a->id;
    a->status = baton_llama_embed(a->m, &request, a->text, true, &out, &a->err);
    if (!a->status)
        memcpy(a->vector, out.values, sizeof a->vector);
    baton_embeddings_free(&out);
    return NULL;
}

static void ask_start(struct asker *a, baton_llama *m, uint64_t id, const char *text) {
    *a = (struct asker){.m = m, .id = id};
    snprintf(a->text, sizeof a->text, "%s", text);
    assert_int_equal(pthread_create(&a->thread, NULL, ask_vector, a), 0);
}

static void until_running(const baton_llama *m, int running, int queued) {
    baton_counts c;
    do
        c = counts_of(m);
    while (c.running != running || c.queued != queued);
}

static void lone(const char *text, float *vector) {
    struct asker a;
    baton_llama *m = open_as("fake:", 1, 1, BATON_REFUSE, 1);
    ask_start(&a, m, 1, text);
    pthread_join(a.thread, NULL);
    assert_int_equal(a.status, BATON_OK);
    memcpy(vector, a.vector, sizeof a.vector);
    baton_llama_close(&m);
}

static void probe_P01_who_is_refused_is_told_who_embeds_and_the_cure(void **state) {
    (void)state;
    baton_llama *m = open_as("fake:step_us=100000000", 1, 1, BATON_REFUSE, 1);
    struct asker a, b;
    ask_start(&a, m, 4711, "long");
    until_running(m, 1, 0);
    ask_start(&b, m, 2, "refused");
    pthread_join(b.thread, NULL);
    assert_int_equal(b.status, BATON_BUSY);
    assert_non_null(strstr(b.err.text, "embeddings for request 4711"));
    assert_non_null(strstr(b.err.text, " ms"));
    assert_non_null(strstr(b.err.text, "when_full = wait"));
    assert_int_equal(counts_of(m).running, 1);
    assert_true(baton_llama_cancel(m, 4711));
    pthread_join(a.thread, NULL);
    assert_int_equal(a.status, BATON_CANCELLED);
    baton_llama_close(&m);
}

/* Together in one native call or one after the other: each has its own. */
static void all_get_their_own(int contexts, int sequences, int exact) {
    static struct asker a[ASKERS];
    float alone[ASKERS][WIDTH];
    char text[48];
    for (int i = 0; i < ASKERS; i++) {
        snprintf(text, sizeof text, "the vector of runner %d", i);
        lone(text, alone[i]);
    }
    baton_llama *m = open_as("fake:step_us=300", contexts, sequences, BATON_WAIT, exact);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < ASKERS; i++) {
            snprintf(text, sizeof text, "the vector of runner %d", i);
            ask_start(&a[i], m, 0, text);
        }
        for (int i = 0; i < ASKERS; i++) {
            pthread_join(a[i].thread, NULL);
            assert_int_equal(a[i].status, BATON_OK);
            assert_memory_equal(a[i].vector, alone[i], sizeof alone[i]);
        }
    }
    baton_llama_close(&m);
}

static void probe_P02_all_wait_and_all_are_served(void **state) {
    (void)state;
    all_get_their_own(1, 1, 1);
    all_get_their_own(2, 1, 1);
}

static void probe_P08_no_vector_is_anothers(void **state) {
    (void)state;
    all_get_their_own(1, 4, 0);
    all_get_their_own(2, 3, 1);
}

static void probe_P20_cancel_of_a_queued_one_and_of_a_running_one_touches_no_neighbour(void **state) {
    (void)state;
    baton_llama *m = open_as("fake:step_us=300000", 1, 1, BATON_WAIT, 1);
    struct asker a, b, c;
    float alone[WIDTH];
    lone("third", alone);
    ask_start(&a, m, 1, "first");
    until_running(m, 1, 0);
    ask_start(&b, m, 2, "second");
    until_running(m, 1, 1);
    ask_start(&c, m, 3, "third");
    until_running(m, 1, 2);
    assert_true(baton_llama_cancel(m, 2));
    pthread_join(b.thread, NULL);
    assert_int_equal(b.status, BATON_CANCELLED);
    assert_true(baton_llama_cancel(m, 1));
    pthread_join(a.thread, NULL);
    assert_int_equal(a.status, BATON_CANCELLED);
    assert_false(baton_llama_cancel(m, 2));
    pthread_join(c.thread, NULL);
    assert_int_equal(c.status, BATON_OK);
    assert_memory_equal(c.vector, alone, sizeof alone);
    baton_llama_close(&m);
}

static void probe_P21_a_cancelled_one_frees_its_slot_inside_the_native_call(void **state) {
    (void)state;
    baton_llama *m = open_as("fake:step_us=100000000", 1, 1, BATON_REFUSE, 1);
    struct asker a;
    for (uint64_t id = 1; id <= 3; id++) {
        ask_start(&a, m, id, "long");
        until_running(m, 1, 0);
        assert_true(baton_llama_cancel(m, id));
        pthread_join(a.thread, NULL);
        assert_int_equal(a.status, BATON_CANCELLED);
        until_running(m, 0, 0);
    }
    baton_llama_close(&m);
}

static void probe_P24_cancel_racing_completion_has_one_outcome(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    baton_llama *m = open_as("fake:", 1, 2, BATON_WAIT, 1);
    uint64_t ends[2] = {0, 0};
    for (uint64_t i = 1; i <= 60; i++) {
        struct asker a;
        ask_start(&a, m, i, "raced");
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        for (volatile uint64_t spin = seed >> 46; spin > 0; spin--)
            ;
        baton_llama_cancel(m, i);
        pthread_join(a.thread, NULL);
        assert_true(a.status == BATON_OK || a.status == BATON_CANCELLED);
        ends[a.status == BATON_OK]++;
    }
    baton_counts c = counts_of(m);
    assert_int_equal(c.completed, ends[1]);
    assert_int_equal(c.cancelled, ends[0]);
    assert_int_equal(c.running + c.queued, 0);
    baton_llama_close(&m);
}

static void probe_P25_close_ends_what_runs_and_what_waits(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        baton_llama *m = open_as("fake:step_us=100000000", 1, 1, BATON_WAIT, 1);
        struct asker a, b;
        ask_start(&a, m, 1, "runs");
        until_running(m, 1, 0);
        ask_start(&b, m, 2, "waits");
        until_running(m, 1, 1);
        baton_llama_close(&m);
        pthread_join(a.thread, NULL);
        pthread_join(b.thread, NULL);
        assert_int_equal(a.status, BATON_CLOSED);
        assert_int_equal(b.status, BATON_CLOSED);
    }
}

/* Between the queue and the slot, and anywhere else: a definite outcome. */
static void probe_P26_closed_at_any_moment(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    for (int round = 0; round < 20; round++) {
        baton_llama *m = open_as("fake:step_us=100", 1, 2, BATON_WAIT, 0);
        static struct asker a[ASKERS];
        for (int i = 0; i < ASKERS; i++)
            ask_start(&a[i], m, 0, "whenever");
        baton_counts c;
        do
            c = counts_of(m);
        while (c.accepted < ASKERS / 2);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        for (volatile uint64_t spin = seed >> 46; spin > 0; spin--)
            ;
        while (counts_of(m).accepted < ASKERS)
            ;
        baton_llama_close(&m);
        for (int i = 0; i < ASKERS; i++) {
            pthread_join(a[i].thread, NULL);
            assert_true(a[i].status == BATON_OK || a[i].status == BATON_CLOSED);
        }
    }
}

static void ask_inside(void *arg, struct llama_context *context) {
    struct asker *a = arg;
    int32_t *tokens;
    size_t n;
    (void)context;
    assert_int_equal(baton_llama_tokenize(a->m, "x", 1, true, &tokens, &n, NULL), BATON_REENTRANT);
    assert_int_equal(baton_llama_reset(a->m, NULL, NULL), BATON_REENTRANT);
    ask_vector(a);
}

/* What would wait for its own thread is told so. */
static void the_owner_itself_may_not_ask(void **state) {
    (void)state;
    baton_llama *m = open_as("fake:", 1, 1, BATON_WAIT, 1);
    struct asker a = {.m = m, .text = "x"};
    assert_int_equal(baton_llama_run(m, NULL, ask_inside, &a, NULL), BATON_OK);
    assert_int_equal(a.status, BATON_REENTRANT);
    baton_llama_close(&m);
}

#define VECTORS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        VECTORS_TEST(probe_P01_who_is_refused_is_told_who_embeds_and_the_cure),
        VECTORS_TEST(probe_P02_all_wait_and_all_are_served),
        VECTORS_TEST(probe_P08_no_vector_is_anothers),
        VECTORS_TEST(probe_P20_cancel_of_a_queued_one_and_of_a_running_one_touches_no_neighbour),
        VECTORS_TEST(probe_P21_a_cancelled_one_frees_its_slot_inside_the_native_call),
        VECTORS_TEST(probe_P24_cancel_racing_completion_has_one_outcome),
        VECTORS_TEST(probe_P25_close_ends_what_runs_and_what_waits),
        VECTORS_TEST(probe_P26_closed_at_any_moment),
        VECTORS_TEST(the_owner_itself_may_not_ask),
    };
    return bt_test_run(tests, argc, argv);
}
