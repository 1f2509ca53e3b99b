/* Grammars, callbacks, states, adapters, vectors, resets of the public API, over the fake native. */
#include "api_vectors.h"

#include "fake_left.h"

static void grammars(void **state) {
    (void)state;
    a_grammar_holds_under_every_policy("fake:");
}
static void rates(void **state) {
    (void)state;
    an_answer_says_how_fast_it_was("fake:len=60,step_us=300");
}
static void probe_P04_callbacks(void **state) {
    (void)state;
    callbacks_get_it_all_and_may_stop("fake:len=20", "fake:len=300");
}

static bool close_it(void *arg, const baton_delta *d) {
    (void)d;
    baton_llama_close(arg);
    return true;
}
static void a_callback_may_close_its_model(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open("fake:len=100000", &policy, 65536);
        baton_llama_ask ask = more_ask(NULL, -1);
        baton_outcome o;
        assert_int_not_equal(baton_llama_generate_cb(m, &ask, close_it, &m, &o, NULL), BATON_OK);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        assert_null(m);
    }
}

static void states_go_on(void **state) {
    (void)state;
    a_saved_answer_goes_on_to_the_letter("fake:len=60");
    a_new_turn_goes_on_from_a_state("fake:len=60");
    a_new_turn_goes_on_from_a_state("fake:len=60,recurrent=1");
}
static void states_refused(void **state) {
    (void)state;
    for (int p = 0; p <= 2; p += 2)
        a_state_that_cannot_be_is_refused("fake:len=60", p);
}
static void adapters(void **state) {
    (void)state;
    adapters_are_part_of_the_handle("fake:len=40", "fake:pirate");
}
static void vectors(void **state) {
    (void)state;
    for (baton_pooling p = BATON_POOLING_MEAN; p <= BATON_POOLING_LAST; p++)
        vectors_come_in_order_and_the_same_in_company("fake:", p);
    for (int p = 0; p <= 2; p += 2)
        what_a_handle_is_not_for_is_refused("fake:", "fake:", p);
}

struct timed {
    baton_llama *m;
    pthread_t thread;
    baton_status status;
};
static void *embed_for_long(void *arg) {
    struct timed *t = arg;
    baton_request request = BATON_REQUEST;
    baton_embeddings out;
    request.id = 9;
    t->status = baton_llama_embed(t->m, &request, "long", true, &out, NULL);
    return NULL;
}
static void probe_P20_an_embedding_is_cancelled_by_its_id_and_ends_in_time(void **state) {
    (void)state;
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama_params params = BATON_LLAMA_PARAMS;
        baton_request request = BATON_REQUEST;
        baton_embeddings out;
        struct timed t = {.status = BATON_OK};
        params.pooling = BATON_POOLING_LAST;
        params.policy = &policy;
        t.m = more_open("fake:step_us=100000000", &params);
        assert_int_equal(pthread_create(&t.thread, NULL, embed_for_long, &t), 0);
        while (!baton_llama_cancel(t.m, 9))
            ;
        pthread_join(t.thread, NULL);
        assert_int_equal(t.status, BATON_CANCELLED);
        request.run_ms = 20;
        assert_int_equal(baton_llama_embed(t.m, &request, "long", true, &out, NULL), BATON_RUN_TIMEOUT);
        baton_llama_close(&t.m);
    }
}

static void ranks(void **state) {
    (void)state;
    documents_are_ranked("fake:scores=2");
}
static void details(void **state) {
    (void)state;
    for (int p = 0; p <= 2; p += 2)
        a_model_says_what_it_is("fake:", "fake.vocab", p);
}
static void resets(void **state) {
    (void)state;
    resets_wait_or_refuse_and_change_no_answer("fake:len=60");
}

static void stay_until_one_waits(void *arg, struct llama_context *context) {
    baton_counts counts = {.size = sizeof counts};
    (void)context;
    do
        baton_llama_get_counts(arg, &counts);
    while (counts.queued == 0);
}
static void *hold_until_one_waits(void *arg) {
    return (void *)(uintptr_t)baton_llama_run(arg, NULL, stay_until_one_waits, arg, NULL);
}
static void a_reset_that_waits_comes_after_the_holder(void **state) {
    (void)state;
    baton_policy policy = api_policy(1);
    baton_llama *m = api_open("fake:", &policy, 256);
    pthread_t thread;
    void *status;
    baton_counts counts = {.size = sizeof counts};
    assert_int_equal(pthread_create(&thread, NULL, hold_until_one_waits, m), 0);
    do
        baton_llama_get_counts(m, &counts);
    while (counts.running == 0);
    assert_int_equal(baton_llama_reset(m, NULL, NULL), BATON_OK);
    pthread_join(thread, &status);
    assert_int_equal((uintptr_t)status, BATON_OK);
    baton_llama_close(&m);
}

#define API_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        API_TEST(grammars),
        API_TEST(rates),
        API_TEST(probe_P04_callbacks),
        API_TEST(a_callback_may_close_its_model),
        API_TEST(states_go_on),
        API_TEST(states_refused),
        API_TEST(adapters),
        API_TEST(vectors),
        API_TEST(probe_P20_an_embedding_is_cancelled_by_its_id_and_ends_in_time),
        API_TEST(ranks),
        API_TEST(details),
        API_TEST(resets),
        API_TEST(a_reset_that_waits_comes_after_the_holder),
    };
    return bt_test_run(tests, argc, argv);
}
