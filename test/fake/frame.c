/* The frames' codec: what goes in comes out, and no bytes of a broken peer get past it. */
#include "harness.h"

#include <string.h>

#include "wire/frame.h"

static struct bt_frame peek(const struct bt_buf *b) {
    struct bt_frame f;
    assert_int_equal(bt_frame_peek(b->data, b->len, &f), BATON_OK);
    assert_int_equal(f.size, b->len);
    return f;
}

static void put_sample(struct bt_buf *b) {
    struct bt_chat_message messages[] = {{"system", "be brief"}, {"user", "caf\xc3\xa9?"}};
    bt_token prompt[] = {1, 2, 3}, resume[] = {-1, 9};
    struct bt_logit_bias bias[] = {{5, -1.5f}};
    struct bt_submit s = {.id = 7,
                          .attempt = 2,
                          .flow = UINT64_MAX,
                          .kind = BT_PROMPT_CHAT,
                          .text = {"hi", 2},
                          .messages = messages,
                          .n_messages = 2,
                          .tokens = prompt,
                          .n_tokens = 3,
                          .resume = resume,
                          .n_resume = 2,
                          .resume_held = 1,
                          .resume_unread = 5,
                          .max_tokens = -1,
                          .window = 256,
                          .stops = {{"END", 3}, {"\n", 1}},
                          .n_stops = 2};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    s.sampling.temperature = 0.8f;
    s.sampling.seed = 42;
    s.sampling.bias = bias;
    s.sampling.n_bias = 1;
    s.sampling.grammar = "root ::= \"caf\xc3\xa9\"";
    bt_put_submit(b, &s);
}

static void a_submit_comes_out_as_it_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_submit s;
    put_sample(&b);
    struct bt_frame f = peek(&b);
    assert_int_equal(bt_get_submit(&f, &s), BATON_OK);
    assert_true(s.id == 7 && s.attempt == 2 && s.flow == UINT64_MAX && s.kind == BT_PROMPT_CHAT);
    assert_string_equal(s.messages[1].content, "caf\xc3\xa9?");
    assert_true(s.n_tokens == 3 && s.tokens[2] == 3 && s.n_resume == 2 && s.resume[0] == -1);
    assert_true(s.resume_held == 1 && s.resume_unread == 5);
    assert_true(s.max_tokens == -1 && s.window == 256 && s.n_stops == 2 && s.stops[0].len == 3);
    assert_true(s.sampling.temperature == 0.8f && s.sampling.seed == 42 && s.sampling.bias[0].bias == -1.5f);
    assert_string_equal(s.sampling.grammar, "root ::= \"caf\xc3\xa9\"");
    bt_submit_free(&s);
    bt_buf_free(&b);
}

static void token_and_done_come_out_as_they_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    bt_put_token(&b, &(struct bt_frame_token){7, 1, 3, 99, 2, {"ab", 2}});
    struct bt_frame f = peek(&b);
    struct bt_frame_token t;
    assert_int_equal(bt_get_token(&f, &t), BATON_OK);
    assert_true(t.id == 7 && t.attempt == 1 && t.index == 3 && t.token == 99 && t.held == 2);
    assert_string_equal(t.text.data, "ab");
    b.len = 0;
    bt_put_done(&b, &(struct bt_frame_done){7, 1, BATON_RUN_TIMEOUT, BT_FINISH_NONE, 4, 5, 6, {"x", 1}, {"late", 4}});
    f = peek(&b);
    struct bt_frame_done d;
    assert_int_equal(bt_get_done(&f, &d), BATON_OK);
    assert_true(d.outcome == BATON_RUN_TIMEOUT && d.prompt_tokens == 4 && d.reused_tokens == 5 && d.answer_tokens == 6);
    assert_string_equal(d.error.data, "late");
    bt_buf_free(&b);
}

/* Decodes whatever it is, as both sides would. */
static void decode_any(const struct bt_frame *f) {
    union {
        struct bt_submit submit;
        struct bt_frame_ready ready;
        struct bt_frame_token token;
        struct bt_frame_done done;
        struct bt_pulse pulse;
        uint32_t number;
        bool drain;
    } out;
    uint64_t id;
    uint32_t n;
    baton_status status;
    struct bt_text text;
    baton_log_level level;
    switch (f->type) {
    case BT_FRAME_SUBMIT:
        if (bt_get_submit(f, &out.submit) == BATON_OK)
            bt_submit_free(&out.submit);
        break;
    case BT_FRAME_READY:
        bt_get_ready(f, &out.ready);
        break;
    case BT_FRAME_TOKEN:
        bt_get_token(f, &out.token);
        break;
    case BT_FRAME_DONE:
        bt_get_done(f, &out.done);
        break;
    case BT_FRAME_HELLO:
        bt_get_hello(f, &out.number);
        break;
    case BT_FRAME_CANCEL:
        bt_get_cancel(f, &id, &status);
        break;
    case BT_FRAME_ACK:
        bt_get_ack(f, &id, &n);
        break;
    case BT_FRAME_CLOSE:
        bt_get_close(f, &out.drain);
        break;
    case BT_FRAME_FATAL:
        bt_get_fatal(f, &status, &text);
        break;
    case BT_FRAME_PULSE:
        bt_get_pulse(f, &out.pulse);
        break;
    case BT_FRAME_LOG:
        bt_get_log(f, &level, &text);
        break;
    }
}

static void put_one_of_each(struct bt_buf *b) {
    struct bt_frame_ready ready = {.sequences = 8, .ctx = 256, .exact = true, .versions = {"v", 1}};
    snprintf(ready.info.name, sizeof ready.info.name, "tiny");
    bt_put_hello(b);
    put_sample(b);
    bt_put_cancel(b, 7, BATON_CANCELLED);
    bt_put_ack(b, 7, 128);
    bt_put_close(b, true);
    bt_put_ready(b, &ready);
    bt_put_fatal(b, BATON_BAD_MODEL, "no");
    bt_put_token(b, &(struct bt_frame_token){7, 1, 3, 99, 2, {"ab", 2}});
    bt_put_done(b, &(struct bt_frame_done){7, 1, BATON_OK, BT_FINISH_STOP, 4, 5, 6, {"x", 1}, {"", 0}});
    bt_put_pulse(b, &(struct bt_pulse){.steps = 9,
                                       .call_ns = 5,
                                       .listed = true,
                                       .n = 2,
                                       .list = {{7, BT_STANDING_RESTING}, {8, BT_STANDING_STEPPING}}});
    bt_put_log(b, BATON_LOG_WARN, "w");
}

static void garbage_is_refused_and_never_read_past_its_end(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    struct bt_buf good = BT_BUF_INIT;
    put_one_of_each(&good);
    for (uint64_t round = 0; round < 20000; round++) {
        /* a copy of its own size, so that AddressSanitizer sees a read past the end */
        size_t len = 1 + bt_mix64(seed ^ round * 3) % good.len;
        unsigned char *bad = malloc(len);
        assert_non_null(bad);
        memcpy(bad, good.data, len);
        for (uint64_t i = 0; i < round % 5; i++)
            bad[bt_mix64(seed + round * 7 + i) % len] = (unsigned char)bt_mix64(seed ^ (round * 11 + i));
        struct bt_frame f;
        for (size_t at = 0; bt_frame_peek(bad + at, len - at, &f) == BATON_OK; at += f.size)
            decode_any(&f);
        free(bad);
    }
    bt_buf_free(&good);
}

static void truncated_and_overlong_payloads_are_protocol_errors(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_submit s;
    put_sample(&b);
    struct bt_frame f = peek(&b);
    size_t whole = f.len;
    for (f.len = 0; f.len < whole; f.len++)
        assert_int_equal(bt_get_submit(&f, &s), BATON_PROTOCOL);
    bt_buf_add(&b, "z", 1);
    f.payload = b.data + BT_FRAME_HEADER;
    f.len = whole + 1;
    assert_int_equal(bt_get_submit(&f, &s), BATON_PROTOCOL);
    unsigned char huge[] = {0xff, 0xff, 0xff, 0x7f, BT_FRAME_TOKEN}, unknown[] = {1, 0, 0, 0, 99};
    assert_int_equal(bt_frame_peek(huge, sizeof huge, &f), BATON_PROTOCOL);
    assert_int_equal(bt_frame_peek(unknown, sizeof unknown, &f), BATON_PROTOCOL);
    assert_int_equal(bt_frame_peek(huge, 4, &f), BATON_AGAIN);
    bt_buf_free(&b);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submit_comes_out_as_it_went_in),
        cmocka_unit_test(token_and_done_come_out_as_they_went_in),
        cmocka_unit_test(garbage_is_refused_and_never_read_past_its_end),
        cmocka_unit_test(truncated_and_overlong_payloads_are_protocol_errors),
    };
    return bt_test_run(tests, argc, argv);
}
