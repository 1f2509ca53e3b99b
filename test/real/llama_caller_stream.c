/* owner = caller over libllama: a stream is the answer in pieces, whoever pulls, and ends inside a native call. */
#include "caller_held.h"

static const struct bt_ask refuse = {.when_full = BT_REFUSE, .priority = 1};

static struct bt_caller *open_caller(void) {
    struct bt_model_params m = {.path = NULL};
    struct bt_context_params p = {.sequences = 1, .ctx = 1024, .threads = 1, .exact = true};
    struct bt_caller *c;
    baton_error err;
    if (bt_caller_open(&m, &p, 1, 4, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

static struct bt_run run_of(struct bt_caller *c, const char *question, const struct bt_sampling *sampling) {
    struct bt_chat_message message = {.role = "user", .content = question};
    struct bt_run run = {.max_tokens = 40, .sampling = sampling};
    bt_token *tokens;
    baton_error err;
    assert_int_equal(bt_caller_chat(c, &message, 1, &tokens, &run.n_prompt, &err), BATON_OK);
    run.prompt = tokens;
    return run;
}

struct turn {
    struct bt_caller_stream *stream;
    struct bt_buf text;
    baton_status status;
};

static void *take_a_turn(void *arg) {
    struct turn *t = arg;
    struct bt_delta d;
    baton_error err;
    for (int i = 0; i < 4 && t->status == BATON_OK; i++) {
        t->status = bt_caller_stream_next(t->stream, &d, &err);
        bt_buf_add(&t->text, d.text, d.len);
    }
    bt_caller_stream_park(t->stream, &err);
    return NULL;
}

static void probe_P12_pulled_by_many_threads_it_is_the_same_answer(void **state) {
    (void)state;
    struct bt_caller *c = open_caller();
    struct bt_sampling sampling[3] = {BT_SAMPLING_DEFAULT, BT_SAMPLING_DEFAULT, BT_SAMPLING_DEFAULT};
    baton_error err;
    sampling[1].temperature = 0.9f;
    sampling[1].frequency_penalty = 0.5f;
    sampling[2].grammar = "root ::= \"It is \" [0-9]{1,2} \" o'clock\" (\", \" [a-z ]{3,20})? \".\"";
    for (int i = 0; i < 3; i++) {
        struct bt_run run = run_of(c, "What is the time?", &sampling[i]);
        struct bt_run_result whole, pieces;
        struct turn t = {0};
        assert_int_equal(bt_caller_generate(c, &refuse, &run, &whole, &err), BATON_OK);
        assert_int_equal(bt_caller_stream_open(c, &refuse, &run, &t.stream, &err), BATON_OK);
        while (t.status == BATON_OK) {
            pthread_t thread;
            pthread_create(&thread, NULL, take_a_turn, &t);
            pthread_join(thread, NULL);
        }
        assert_int_equal(t.status, BATON_END);
        assert_int_equal(bt_caller_stream_close(&t.stream, &pieces, &err), BATON_OK);
        assert_int_equal(pieces.n_tokens, whole.n_tokens);
        assert_memory_equal(pieces.tokens, whole.tokens, whole.n_tokens * sizeof *whole.tokens);
        assert_int_equal(t.text.len, whole.text.len);
        assert_memory_equal(t.text.data, whole.text.data, whole.text.len);
        assert_true(whole.n_tokens > 4 && !pieces.partial && pieces.prefill_ns > 0 && pieces.decode_ns > 0);
        bt_run_result_free(&whole);
        bt_run_result_free(&pieces);
        bt_buf_free(&t.text);
        free((void *)run.prompt);
    }
    bt_caller_close(&c, BT_CLOSE_DRAIN);
}

/* Asked between the nodes of a graph: the prompt is one native call, and is not finished. */
static bool at_the_third(void *arg) {
    return ++*(int *)arg >= 3;
}

static void probe_P21_a_prefill_is_left_in_the_middle_of_its_native_call(void **state) {
    (void)state;
    struct bt_caller *c = open_caller();
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    struct bt_run run = run_of(c, "Tell me a story about a ferry.", &greedy), stopped = run;
    struct bt_run_result before, after, r;
    struct bt_caller_stream *s;
    struct bt_delta d;
    baton_error err;
    int asked = 0;
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &before, &err), BATON_OK);
    stopped.cancelled = at_the_third;
    stopped.arg = &asked;
    assert_int_equal(bt_caller_stream_open(c, &refuse, &stopped, &s, &err), BATON_OK);
    assert_int_equal(bt_caller_stream_next(s, &d, &err), BATON_CANCELLED);
    assert_int_equal(bt_caller_stream_close(&s, &r, &err), BATON_CANCELLED);
    assert_true(r.partial && r.n_tokens == 0 && r.finish == BT_FINISH_NONE);
    bt_run_result_free(&r);
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &after, &err), BATON_OK); /* nothing is left of it */
    assert_int_equal(after.n_tokens, before.n_tokens);
    assert_memory_equal(after.tokens, before.tokens, before.n_tokens * sizeof *before.tokens);
    bt_run_result_free(&before);
    bt_run_result_free(&after);
    free((void *)run.prompt);
    bt_caller_close(&c, BT_CLOSE_DRAIN);
}

static void probe_P11_nobody_enters_until_the_native_call_has_returned(void **state) {
    (void)state;
    struct bt_caller *c = open_caller();
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    struct bt_run run = run_of(c, "What is a lease?", &greedy);
    closed_inside_a_native_call(c, &run, 3); /* between the nodes of its graph */
    free((void *)run.prompt);
    bt_caller_close(&c, BT_CLOSE_DRAIN);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P11_nobody_enters_until_the_native_call_has_returned),
        cmocka_unit_test(probe_P12_pulled_by_many_threads_it_is_the_same_answer),
        cmocka_unit_test(probe_P21_a_prefill_is_left_in_the_middle_of_its_native_call),
    };
    return bt_test_run(tests, argc, argv);
}
