/* Streams whose owner has no memory for a piece: who reads is told. */
#include "nomem_api.h"

/* A lost piece is told at once: nobody waits for the end of an answer that waits for its reader. */
static void a_lost_piece_is_told_before_the_window_is_full(void **state) {
    enum { TOKENS = 600 }; /* more than are under way without having been read */
    (void)state;
    bool told = false;
    for (at = 1, failed = true; failed; at++) {
        baton_policy policy = BATON_POLICY;
        baton_llama_params params = BATON_LLAMA_PARAMS;
        baton_llama_ask ask = BATON_LLAMA_ASK;
        baton_outcome o = {.status = BATON_OK};
        baton_llama *m;
        baton_stream *s;
        baton_delta d;
        policy.owner = BATON_OWNER_THREAD;
        params.policy = &policy;
        params.exact = 0;
        assert_int_equal(baton_llama_open(&m, "fake:len=100000", &params, NULL), BATON_OK);
        ask.prompt = "endless";
        ask.max_tokens = TOKENS;
        alarm(20);
        arm();
        baton_status status = baton_llama_stream(m, &ask, &s, NULL), last = BATON_END;
        if (!status) {
            while ((last = baton_stream_next(s, -1, &d)) == BATON_OK)
                ;
            status = baton_stream_close(&s, &o);
        }
        disarm();
        alarm(0);
        told |= last == BATON_NO_MEMORY;
        if (last == BATON_NO_MEMORY)
            assert_int_equal(status, BATON_NO_MEMORY);
        else if (!status)
            assert_int_equal(o.answer_tokens, TOKENS);
        baton_llama_close(&m);
    }
    assert_true(told);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_lost_piece_is_told_before_the_window_is_full)};
    return bt_test_run(tests, argc, argv);
}
