/* Ends in the wrong moment: a model closed by whoever is in the middle of using it. Run under AddressSanitizer it shows
 * that nothing is used after it was freed; everywhere, that all of it is freed in the end. */
#include "api_bodies.h"

#include <time.h>

#include "fake_left.h"

static baton_llama *open_one(int contexts, baton_pooling pooling) {
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    policy.contexts = contexts;
    params.policy = &policy;
    params.pooling = pooling;
    assert_int_equal(baton_llama_open(&m, "fake:", &params, NULL), BATON_OK);
    return m;
}

static void probe_P25_a_model_lives_until_the_last_lease_by_hand_is_released(void **state) {
    struct bt_fake_stats s;
    (void)state;
    for (int contexts = 1; contexts <= 2; contexts++) {
        baton_llama *m = open_one(contexts, BATON_POOLING_OFF);
        baton_lease leases[2];
        baton_error err;
        for (int i = 0; i < contexts; i++)
            assert_int_equal(baton_llama_acquire(m, NULL, &leases[i], NULL), BATON_OK);
        baton_llama_close(&m);
        assert_true(baton_lease_cancelled(&leases[0]));
        for (int i = 0; i < contexts; i++) {
            bt_fake_stats(&s);
            assert_int_equal(s.contexts, contexts);
            assert_int_equal(s.models, 1);
            assert_int_equal(baton_lease_release(&leases[i], BATON_RESET, &err), BATON_OK);
        }
        bt_fake_stats(&s);
        assert_int_equal(s.contexts + s.models, 0);
    }
}

static void close_inside(void *arg, struct llama_context *context) {
    (void)context;
    baton_llama_close(arg);
}

static void probe_P25_a_model_closed_from_inside_its_own_run(void **state) {
    (void)state;
    baton_llama *m = open_one(1, BATON_POOLING_OFF);
    baton_llama *copy = m;
    assert_int_equal(baton_llama_run(copy, NULL, close_inside, &m, NULL), BATON_OK);
    assert_null(m);
}

/* The owner's own thread cannot wait for its end: the rest is done behind it. */
static void probe_P25_a_model_closed_from_inside_its_own_run_on_an_owner_thread(void **state) {
    (void)state;
    baton_policy policy = BATON_POLICY;
    struct bt_fake_stats s;
    policy.owner = BATON_OWNER_THREAD;
    baton_llama *m = api_open("fake:", &policy, 256);
    baton_llama *copy = m;
    assert_int_equal(baton_llama_run(copy, NULL, close_inside, &m, NULL), BATON_OK);
    assert_null(m);
    for (int tries = 0; bt_fake_stats(&s), s.models + s.contexts > 0 && tries < 5000; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(s.models + s.contexts, 0);
}

struct texts {
    baton_llama **close;
    int left;
};
static const char *next_text(void *arg) {
    struct texts *t = arg;
    return t->left-- > 0 ? "text" : NULL;
}
static bool close_on_vector(void *arg, const float *values, int dim) {
    struct texts *t = arg;
    baton_llama_close(t->close);
    return values && dim > 0;
}

static void probe_P25_a_model_closed_from_a_callback_of_its_vectors(void **state) {
    (void)state;
    baton_llama *m = open_one(1, BATON_POOLING_MEAN);
    struct texts t = {&m, 3};
    baton_llama *copy = m;
    baton_error err;
    assert_int_equal(baton_llama_embed_each(copy, NULL, next_text, close_on_vector, &t, true, &err), BATON_CANCELLED);
    assert_null(m);
    assert_int_equal(t.left, 1); /* one vector was made, the next text found the model closed */
}

struct waiter {
    baton_llama *m;
    baton_status status;
};
static void *reset_all(void *arg) {
    struct waiter *w = arg;
    baton_request wait = BATON_REQUEST;
    wait.when_full = BATON_WAIT;
    w->status = baton_llama_reset(w->m, &wait, NULL);
    return NULL;
}

/* It holds one context, and waits for the other one. */
static void probe_P25_a_model_closed_while_a_reset_waits(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        baton_llama *m = open_one(2, BATON_POOLING_OFF);
        struct waiter w = {m, BATON_OK};
        baton_counts counts = {.size = sizeof counts};
        baton_lease lease;
        pthread_t thread;
        assert_int_equal(baton_llama_acquire(m, NULL, &lease, NULL), BATON_OK);
        assert_int_equal(pthread_create(&thread, NULL, reset_all, &w), 0);
        while (baton_llama_get_counts(m, &counts), counts.queued == 0)
            ;
        baton_llama_close(&m);
        assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
        pthread_join(thread, NULL);
        assert_int_equal(w.status, BATON_CLOSED);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(probe_P25_a_model_lives_until_the_last_lease_by_hand_is_released, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(probe_P25_a_model_closed_from_inside_its_own_run, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_P25_a_model_closed_from_a_callback_of_its_vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_P25_a_model_closed_from_inside_its_own_run_on_an_owner_thread, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(probe_P25_a_model_closed_while_a_reset_waits, setup, teardown),
    };
    return bt_test_run(tests, argc, argv);
}
