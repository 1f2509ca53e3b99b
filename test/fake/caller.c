/* owner = caller: generation in the caller's own thread, and closing around it. */
#include "harness.h"

#include <pthread.h>
#include <string.h>

#include "lease/caller.h"
#include "native/fake.h"

static struct bt_caller *open_caller(void) {
    const struct bt_model_params model = {.path = "fake:len=60"};
    const struct bt_context_params context = {.sequences = 1, .ctx = 256, .threads = 1, .exact = true};
    struct bt_caller *caller;
    baton_error err;
    if (bt_caller_open(&model, &context, 1, 4, &caller, &err) != BATON_OK)
        fail_msg("%s", err.text);
    return caller;
}

struct listener {
    struct bt_caller *caller;
    int tokens, close_at;
    bool on_another_thread;
    pthread_t closer;
    struct bt_fake_stats after_close;
};

static void *closes(void *arg) {
    struct listener *l = arg;
    bt_caller_close(&l->caller, BT_CLOSE_DRAIN);
    return NULL;
}

static bool hears(void *arg, bt_token token, const char *text, size_t len) {
    struct listener *l = arg;
    (void)token, (void)text, (void)len;
    if (++l->tokens != l->close_at)
        return true;
    if (l->on_another_thread) {
        assert_int_equal(pthread_create(&l->closer, NULL, closes, l), 0);
    } else {
        bt_caller_close(&l->caller, BT_CLOSE_DRAIN);
        bt_fake_stats(&l->after_close);
    }
    return true;
}

static char *answer(struct listener *l) {
    static const bt_token prompt[] = {BT_FAKE_BOS, 'h', 'i', BT_FAKE_ASSISTANT};
    const struct bt_sampling sampling = {.temperature = 0};
    const struct bt_run run = {.prompt = prompt,
                               .n_prompt = BT_COUNT(prompt),
                               .max_tokens = 40,
                               .sampling = &sampling,
                               .on_token = hears,
                               .arg = l};
    struct bt_run_result result;
    baton_error err;
    if (bt_caller_generate(l->caller, NULL, &run, &result, &err) != BATON_OK)
        fail_msg("%s", err.text);
    char *text = strndup((const char *)result.text.data, result.text.len);
    bt_run_result_free(&result);
    return text;
}

static void probe_P25_closed_from_its_own_callback_it_answers_first(void **state) {
    (void)state;
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        struct listener alone = {.caller = open_caller()};
        char *whole = answer(&alone);
        assert_true(alone.tokens > 3);
        bt_caller_close(&alone.caller, BT_CLOSE_DRAIN);
        struct listener l = {.caller = open_caller(), .close_at = 3, .on_another_thread = elsewhere};
        char *text = answer(&l);
        if (elsewhere) {
            pthread_join(l.closer, NULL);
        } else { /* what it still runs on was there after close had returned */
            assert_int_equal(l.after_close.models, 1);
            assert_int_equal(l.after_close.contexts, 1);
        }
        assert_string_equal(text, whole);
        assert_null(l.caller);
        struct bt_fake_stats stats;
        bt_fake_stats(&stats);
        assert_int_equal(stats.models, 0);
        assert_int_equal(stats.contexts, 0);
        free(text);
        free(whole);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P25_closed_from_its_own_callback_it_answers_first),
    };
    return bt_test_run(tests, argc, argv);
}
