/* The fake's states, adapters, vectors and metadata keep what native.h promises. */
#include "ops.h"

#include <pthread.h>

#include "native/fake.h"

static void states_go_on_elsewhere_and_damage_is_seen(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:");
    struct tokens p = tokenize(m, "save me and go on");
    a_restored_answer_goes_on_token_for_token(m, p);
    a_damaged_state_is_refused(m, p);
    free(p.t);
    m->ops->free(m);
}

static void adapters_count(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:"), *other = open_model("fake:");
    struct tokens p = tokenize(m, "with an adapter");
    struct bt_adapter *a;
    baton_error err;
    float one = 1;
    adapters_change_the_answer_and_leave_no_trace(m, p, "fake:pirate");
    assert_int_equal(m->ops->adapter(m, "pirate.gguf", &a, &err), BATON_NOT_FOUND);
    assert_null(a);
    assert_int_equal(other->ops->adapter(other, "fake:x", &a, &err), BATON_OK);
    struct bt_context *c = open_context(m, 1, 64, true);
    assert_int_equal(c->ops->set_adapters(c, &a, &one, 1, &err), BATON_INVALID);
    c->ops->free(c);
    other->ops->adapter_free(other, a);
    free(p.t);
    m->ops->free(m);
    other->ops->free(other);
}

static void *open_and_free(void *arg) {
    struct bt_model *m = arg;
    struct bt_adapter *a;
    baton_error err;
    for (int i = 0; i < 200; i++)
        if (m->ops->adapter(m, "fake:x", &a, &err) == BATON_OK)
            m->ops->adapter_free(m, a);
    return NULL;
}

static void adapters_may_be_opened_by_any_thread(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, open_and_free, m);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    m->ops->free(m);
}

static void vectors_and_scores(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:scores=2");
    for (enum bt_pooling p = BT_POOL_NONE; p <= BT_POOL_RANK; p++)
        vectors_are_what_they_are_alone(m, p, true);
    what_cannot_be_embedded_is_refused_by_number(m);
    m->ops->free(m);
    m = open_model("fake:");
    struct bt_context_params params = {.sequences = 1, .pooling = BT_POOL_RANK};
    struct bt_context *c;
    bt_token *tokens;
    size_t n;
    baton_error err;
    assert_int_equal(m->ops->context(m, &params, &c, &err), BATON_UNSUPPORTED);
    assert_int_equal(m->ops->pair(m, "q", "d", &tokens, &n, &err), BATON_UNSUPPORTED);
    m->ops->free(m);
}

static void it_says_what_it_is(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:len=7");
    struct bt_model_details d;
    struct bt_buf value = BT_BUF_INIT;
    m->ops->details(m, &d);
    assert_true(d.eot == BT_FAKE_EOT && d.sep == -1 && d.generates && d.scores == 0);
    assert_true(find_metadata(m, "fake.len", &value));
    assert_string_equal((char *)value.data, "7");
    assert_false(find_metadata(m, "fake.nothing", &value));
    text_comes_back(m, "caf\xc3\xa9 \xe2\x82\xac");
    bt_buf_free(&value);
    m->ops->free(m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_go_on_elsewhere_and_damage_is_seen),
        cmocka_unit_test(adapters_count),
        cmocka_unit_test(adapters_may_be_opened_by_any_thread),
        cmocka_unit_test(vectors_and_scores),
        cmocka_unit_test(it_says_what_it_is),
    };
    return bt_test_run(tests, argc, argv);
}
