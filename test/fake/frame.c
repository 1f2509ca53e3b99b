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

static struct bt_submit sample_of(const struct bt_chat_message *messages, bt_token *prompt, bt_token *resume,
                                  const struct bt_logit_bias *bias, struct bt_frame_input *inputs) {
    struct bt_submit s = {.id = 7,
                          .attempt = 2,
                          .flow = UINT64_MAX,
                          .what = BT_WHAT_EMBED,
                          .kind = BT_PROMPT_CHAT,
                          .text = {"hi", 2},
                          .messages = (struct bt_chat_message *)messages,
                          .n_messages = 2,
                          .tokens = prompt,
                          .n_tokens = 3,
                          .resume = resume,
                          .n_resume = 2,
                          .resume_held = 1,
                          .state = {"s\0s", 3},
                          .resume_unread = 5,
                          .max_tokens = -1,
                          .window = 256,
                          .stops = {{"END", 3}, {"\n", 1}},
                          .n_stops = 2,
                          .inputs = inputs,
                          .n_inputs = 2,
                          .normalise = true,
                          .open = true,
                          .keep = true};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    s.sampling.temperature = 0.8f;
    s.sampling.seed = 42;
    s.sampling.bias = bias;
    s.sampling.n_bias = 1;
    s.sampling.grammar = "root ::= \"caf\xc3\xa9\"";
    return s;
}

/* As frames, or as the bytes of the body alone. */
static void put_sample(struct bt_buf *b, bool framed) {
    struct bt_chat_message messages[] = {{"system", "be brief"}, {"user", "caf\xc3\xa9?"}};
    bt_token prompt[] = {1, 2, 3}, resume[] = {-1, 9};
    struct bt_logit_bias bias[] = {{5, -1.5f}};
    struct bt_frame_input inputs[] = {{{"one", 3}, NULL, 0}, {{"", 0}, prompt, 2}};
    struct bt_submit s = sample_of(messages, prompt, resume, bias, inputs);
    if (framed)
        bt_put_submit(b, &s);
    else
        bt_submit_encode(b, &s);
}

static void a_submit_comes_out_as_it_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_frame_body h = {.id = 0};
    struct bt_submit s;
    put_sample(&b, true);
    struct bt_frame f = peek(&b);
    assert_int_equal(bt_get_body(&f, &h), BATON_OK);
    assert_true(h.id == 7 && h.attempt == 2 && h.total == h.first.len);
    assert_int_equal(bt_get_submit(&h, (const unsigned char *)h.first.data, h.total, &s), BATON_OK);
    assert_true(s.id == 7 && s.attempt == 2 && s.flow == UINT64_MAX && s.kind == BT_PROMPT_CHAT);
    assert_string_equal(s.messages[1].content, "caf\xc3\xa9?");
    assert_true(s.n_tokens == 3 && s.tokens[2] == 3 && s.n_resume == 2 && s.resume[0] == -1);
    assert_true(s.resume_held == 1 && s.resume_unread == 5);
    assert_true(s.max_tokens == -1 && s.window == 256 && s.n_stops == 2 && s.stops[0].len == 3);
    assert_true(s.sampling.temperature == 0.8f && s.sampling.seed == 42 && s.sampling.bias[0].bias == -1.5f);
    assert_string_equal(s.sampling.grammar, "root ::= \"caf\xc3\xa9\"");
    assert_true(s.what == BT_WHAT_EMBED && s.normalise && s.open && s.keep && s.state.len == 3 &&
                s.state.data[2] == 's');
    assert_true(s.n_inputs == 2 && s.inputs[0].text.len == 3 && s.inputs[0].n == 0 && s.inputs[1].n == 2 &&
                s.inputs[1].tokens[1] == 2);
    bt_submit_free(&s);
    bt_buf_free(&b);
}

static void stop_strings_are_bounded(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_frame_body h = {.id = 7};
    struct bt_submit s = {.id = 7, .text = {"", 0}, .state = {"", 0}, .n_stops = 2}, out;
    char *big = calloc(1, BT_STOP_BYTES + 1);
    assert_non_null(big);
    for (size_t more = 0; more < 2; more++) {
        s.stops[0] = (struct bt_text){big, BT_STOP_BYTES / 2};
        s.stops[1] = (struct bt_text){big, BT_STOP_BYTES / 2 + more};
        b.len = 0;
        bt_submit_encode(&b, &s);
        assert_int_equal(bt_get_submit(&h, b.data, b.len, &out), more ? BATON_PROTOCOL : BATON_OK);
        bt_submit_free(&out);
    }
    free(big);
    bt_buf_free(&b);
}

static void a_ready_comes_out_as_it_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_frame_ready r = {.sequences = 8, .versions = {"v", 1}, .pooling = BT_POOL_CLS, .width = 64}, out;
    r.details = (struct bt_model_details){
        .params = 1ull << 40, .layers = 1, .scores = 6, .generates = true, .bos = -1, .pad = 12, .add_eos = true};
    snprintf(r.device, sizeof r.device, "Vulkan0");
    r.ends[0] = 2;
    r.ends[1] = 7;
    r.n_ends = 2;
    bt_put_ready(&b, &r);
    struct bt_frame f = peek(&b);
    assert_int_equal(bt_get_ready(&f, &out), BATON_OK);
    assert_true(out.pooling == BT_POOL_CLS && out.width == 64 && out.n_ends == 2 && out.ends[1] == 7);
    assert_true(out.details.params == 1ull << 40 && out.details.layers == 1 && out.details.scores == 6);
    assert_true(out.details.generates && out.details.bos == -1 && out.details.pad == 12);
    assert_true(!out.details.add_bos && out.details.add_eos);
    assert_string_equal(out.device, "Vulkan0");
    bt_buf_free(&b);
}

static void put_start(struct bt_buf *b) {
    struct bt_start_lora loras[] = {{5, 0.5f, {"a.gguf", 6}}, {6, 1, {"b.gguf", 6}}};
    struct bt_start s = {.library = BT_LIBRARY_WHISPER,
                         .number = 3,
                         .flags = 9,
                         .path = {"/m/x.gguf", 9},
                         .has_chat_template = true,
                         .chat_template = {"", 0},
                         .gpu_layers = -1,
                         .context = {4, 512, 2, 64, true, BT_POOL_LAST},
                         .files = {3, 4},
                         .n_files = 2,
                         .loras = loras,
                         .n_loras = 2,
                         .has_mmproj = true,
                         .mmproj_file = 9,
                         .mmproj = {"eye.gguf", 8},
                         .parts[BT_SD_VAE] = {"v", 1},
                         .flash_attention = true};
    bt_put_start(b, &s);
}

static void a_start_comes_out_as_it_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_start s;
    put_start(&b);
    struct bt_frame f = peek(&b);
    assert_int_equal(bt_get_start(&f, &s), BATON_OK);
    assert_true(s.version == BT_IPC_VERSION && s.library == BT_LIBRARY_WHISPER && s.number == 3 && s.flags == 9);
    assert_string_equal(s.path.data, "/m/x.gguf");
    assert_true(s.has_chat_template && s.chat_template.len == 0 && s.gpu_layers == -1);
    assert_true(s.context.sequences == 4 && s.context.ctx == 512 && s.context.threads == 2 && s.context.chunk == 64 &&
                s.context.exact && s.context.pooling == BT_POOL_LAST);
    assert_true(s.n_files == 2 && s.files[1] == 4 && s.n_loras == 2 && s.loras[1].fd == 6 && s.loras[0].scale == 0.5f);
    assert_string_equal(s.loras[1].path.data, "b.gguf");
    assert_true(s.has_mmproj && s.mmproj_file == 9);
    assert_string_equal(s.mmproj.data, "eye.gguf");
    assert_string_equal(s.parts[BT_SD_VAE].data, "v");
    assert_true(s.parts[BT_SD_UPSCALER].len == 0 && s.flash_attention);
    bt_start_free(&s);
    size_t whole = f.len;
    for (f.len = 0; f.len < whole; f.len++)
        assert_int_equal(bt_get_start(&f, &s), BATON_PROTOCOL);
    b.data[BT_FRAME_HEADER]++; /* the version: what follows is not looked at */
    f.len = whole;
    assert_int_equal(bt_get_start(&f, &s), BATON_OK);
    assert_true(s.version == BT_IPC_VERSION + 1 && s.n_loras == 0);
    bt_buf_free(&b);
}

static void data_and_replies_come_out_as_they_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_frame_data d;
    struct bt_frame_reply r;
    bt_put_data(&b, &(struct bt_frame_data){7, 3, 1ull << 33, {"v\0w", 3}});
    struct bt_frame f = peek(&b);
    assert_int_equal(bt_get_data(&f, &d), BATON_OK);
    assert_true(d.id == 7 && d.attempt == 3 && d.offset == 1ull << 33 && d.bytes.len == 3);
    assert_memory_equal(d.bytes.data, "v\0w", 3);
    b.len = 0;
    bt_put_data(&b, &(struct bt_frame_data){7, 3, UINT64_MAX, {"v", 1}});
    f = peek(&b);
    assert_int_equal(bt_get_data(&f, &d), BATON_PROTOCOL); /* an end past all numbers */
    b.len = 0;
    bt_put_reply(&b, &(struct bt_frame_reply){9, BATON_STALE, 5, {"gone", 4}});
    f = peek(&b);
    assert_int_equal(bt_get_reply(&f, &r), BATON_OK);
    assert_true(r.id == 9 && r.status == BATON_STALE && r.offset == 5);
    assert_string_equal(r.bytes.data, "gone");
    b.len = 0;
    struct bt_frame_news n;
    bt_put_news(&b, &(struct bt_frame_news){7, 3, {"half", 4}});
    f = peek(&b);
    assert_int_equal(bt_get_news(&f, &n), BATON_OK);
    assert_true(n.id == 7 && n.attempt == 3 && n.bytes.len == 4 && memcmp(n.bytes.data, "half", 4) == 0);
    bt_buf_free(&b);
}

static void lists_in_calls_come_out_as_they_went_in(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    const bt_token tokens[] = {-1, 70000, 3};
    bt_token *out;
    struct bt_chat_message *pairs;
    size_t n;
    bt_put_tokens(&b, tokens, 3);
    assert_int_equal(bt_get_tokens(b.data, b.len, &out, &n), BATON_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(out, tokens, sizeof tokens);
    free(out);
    for (size_t len = 0; len < b.len; len++) {
        assert_int_equal(bt_get_tokens(b.data, len, &out, &n), BATON_PROTOCOL);
        assert_null(out);
    }
    b.len = 0;
    for (int i = 0; i < 40; i++)
        bt_put_pair(&b, "key", 3, "a value", 7);
    assert_int_equal(bt_get_pairs(b.data, b.len, &pairs, &n), BATON_OK);
    assert_int_equal(n, 40);
    assert_string_equal(pairs[39].content, "a value");
    free(pairs);
    assert_int_equal(bt_get_pairs(b.data, b.len - 1, &pairs, &n), BATON_PROTOCOL);
    assert_null(pairs);
    assert_int_equal(bt_get_pairs(b.data, 0, &pairs, &n), BATON_OK);
    assert_int_equal(n, 0);
    b.len = 0;
    bt_put_pair(&b, "a\0b", 3, "v", 1); /* a NUL in a C string */
    assert_int_equal(bt_get_pairs(b.data, b.len, &pairs, &n), BATON_PROTOCOL);
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

/* A body, whatever the frame says that it is of. */
static void decode_body(const unsigned char *bytes, size_t len, uint32_t attempt) {
    struct bt_frame_body h = {.id = 1, .attempt = attempt};
    struct bt_submit submit;
    struct bt_more more;
    struct bt_call call;
    bt_token *tokens;
    struct bt_chat_message *pairs;
    size_t n;
    if (bt_get_submit(&h, bytes, len, &submit) == BATON_OK)
        bt_submit_free(&submit);
    if (bt_get_more(bytes, len, &more) == BATON_OK)
        bt_more_free(&more);
    bt_get_call(&h, bytes, len, &call);
    if (bt_get_tokens(bytes, len, &tokens, &n) == BATON_OK)
        free(tokens);
    if (bt_get_pairs(bytes, len, &pairs, &n) == BATON_OK)
        free(pairs);
}

static void decode_small(const struct bt_frame *f) {
    uint64_t id;
    uint32_t n;
    baton_status status;
    struct bt_text text;
    baton_log_level level;
    bool drain;
    switch (f->type) {
    case BT_FRAME_HELLO:
        bt_get_hello(f, &n);
        break;
    case BT_FRAME_CANCEL:
        bt_get_cancel(f, &id, &status);
        break;
    case BT_FRAME_ACK:
        bt_get_ack(f, &id, &n);
        break;
    case BT_FRAME_CLOSE:
        bt_get_close(f, &drain);
        break;
    case BT_FRAME_FATAL:
        bt_get_fatal(f, &status, &text);
        break;
    default:
        bt_get_log(f, &level, &text);
    }
}

/* Decodes whatever it is, as both sides would. */
static void decode_any(const struct bt_frame *f) {
    union {
        struct bt_start start;
        struct bt_frame_body body;
        struct bt_frame_part part;
        struct bt_frame_data data;
        struct bt_frame_news news;
        struct bt_frame_reply reply;
        struct bt_frame_ready ready;
        struct bt_frame_token token;
        struct bt_frame_done done;
        struct bt_pulse pulse;
    } out;
    decode_body(f->payload, f->len, 0);
    switch (f->type) {
    case BT_FRAME_SUBMIT:
    case BT_FRAME_MORE:
    case BT_FRAME_CALL:
        if (bt_get_body(f, &out.body) == BATON_OK)
            decode_body((const unsigned char *)out.body.first.data, out.body.first.len, out.body.attempt);
        break;
    case BT_FRAME_PART:
        bt_get_part(f, &out.part);
        break;
    case BT_FRAME_DATA:
        bt_get_data(f, &out.data);
        break;
    case BT_FRAME_NEWS:
        bt_get_news(f, &out.news);
        break;
    case BT_FRAME_REPLY:
        bt_get_reply(f, &out.reply);
        break;
    case BT_FRAME_START:
        if (bt_get_start(f, &out.start) == BATON_OK)
            bt_start_free(&out.start);
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
    case BT_FRAME_PULSE:
        bt_get_pulse(f, &out.pulse);
        break;
    default:
        decode_small(f);
    }
}

static void put_one_of_each(struct bt_buf *b) {
    struct bt_frame_ready ready = {.sequences = 8, .ctx = 256, .exact = true, .versions = {"v", 1}};
    snprintf(ready.info.name, sizeof ready.info.name, "tiny");
    bt_token token = 5;
    struct bt_frame_input input = {{"x", 1}, &token, 1};
    struct bt_more more = {&input, 1, true};
    struct bt_call call = {9, BT_CALL_SAVE, 7, 3, {"abc", 3}};
    put_start(b);
    bt_put_hello(b);
    put_sample(b, true);
    bt_put_more(b, 7, 1, &more);
    bt_put_call(b, &call);
    bt_put_piece(b, BT_FRAME_SUBMIT, 7, 1, (const unsigned char *)"xyz", 3, 1); /* a PART */
    bt_put_data(b, &(struct bt_frame_data){7, 1, 0, {"v", 1}});
    bt_put_news(b, &(struct bt_frame_news){7, 1, {"n", 1}});
    bt_put_reply(b, &(struct bt_frame_reply){9, BATON_OK, 0, {"r", 1}});
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

/* Every flip of one bit of every frame: decoded or refused, never read past its end. */
static void flipped_bits_are_harmless(void **state) {
    (void)state;
    struct bt_buf good = BT_BUF_INIT;
    struct bt_frame f;
    put_one_of_each(&good);
    for (size_t at = 0; at < good.len; at += f.size) {
        assert_int_equal(bt_frame_peek(good.data + at, good.len - at, &f), BATON_OK);
        unsigned char *bad = malloc(f.size);
        assert_non_null(bad);
        for (size_t bit = 0; bit < f.size * 8; bit++) {
            struct bt_frame flipped;
            memcpy(bad, good.data + at, f.size);
            bad[bit / 8] ^= (unsigned char)(1 << bit % 8);
            if (bt_frame_peek(bad, f.size, &flipped) == BATON_OK)
                decode_any(&flipped);
        }
        free(bad);
    }
    bt_buf_free(&good);
}

static void truncated_and_overlong_payloads_are_protocol_errors(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_frame f;
    struct bt_frame_body h = {.id = 7, .attempt = 2};
    struct bt_submit s;
    put_sample(&b, false);
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(bt_get_submit(&h, b.data, len, &s), BATON_PROTOCOL);
    bt_buf_add(&b, "z", 1);
    assert_int_equal(bt_get_submit(&h, b.data, b.len, &s), BATON_PROTOCOL);
    unsigned char huge[] = {0xff, 0xff, 0xff, 0x7f, BT_FRAME_TOKEN}, unknown[] = {1, 0, 0, 0, 99};
    unsigned char last[] = {1, 0, 0, 0, BT_FRAME_END};
    assert_int_equal(bt_frame_peek(huge, sizeof huge, &f), BATON_PROTOCOL);
    assert_int_equal(bt_frame_peek(unknown, sizeof unknown, &f), BATON_PROTOCOL);
    assert_int_equal(bt_frame_peek(last, sizeof last, &f), BATON_PROTOCOL);
    assert_int_equal(bt_frame_peek(huge, 4, &f), BATON_AGAIN);
    bt_buf_free(&b);
}

/* Each frame of its own shape, cut anywhere: whatever is left says that it is broken, not something else. DATA, PART
 * and the frames that begin a body hold bytes that may end anywhere. */
static void every_truncation_of_every_frame_is_noticed(void **state) {
    (void)state;
    struct bt_buf good = BT_BUF_INIT;
    struct bt_frame f;
    put_one_of_each(&good);
    for (size_t at = 0; at < good.len; at += f.size) {
        union {
            struct bt_frame_ready ready;
            struct bt_frame_token token;
            struct bt_frame_done done;
            struct bt_frame_reply reply;
            struct bt_frame_data data;
            struct bt_frame_part part;
            struct bt_frame_body body;
        } out;
        assert_int_equal(bt_frame_peek(good.data + at, good.len - at, &f), BATON_OK);
        size_t whole = f.len;
        for (f.len = 0; f.len < whole; f.len++) {
            if (f.type == BT_FRAME_READY)
                assert_int_equal(bt_get_ready(&f, &out.ready), BATON_PROTOCOL);
            if (f.type == BT_FRAME_TOKEN)
                assert_int_equal(bt_get_token(&f, &out.token), BATON_PROTOCOL);
            if (f.type == BT_FRAME_DONE)
                assert_int_equal(bt_get_done(&f, &out.done), BATON_PROTOCOL);
            if (f.type == BT_FRAME_REPLY)
                assert_int_equal(bt_get_reply(&f, &out.reply), BATON_PROTOCOL);
            if (f.type == BT_FRAME_DATA && f.len < 20)
                assert_int_equal(bt_get_data(&f, &out.data), BATON_PROTOCOL);
            if (f.type == BT_FRAME_PART && f.len < 13)
                assert_int_equal(bt_get_part(&f, &out.part), BATON_PROTOCOL);
            if (f.type == BT_FRAME_SUBMIT && f.len < 20)
                assert_int_equal(bt_get_body(&f, &out.body), BATON_PROTOCOL);
        }
    }
    bt_buf_free(&good);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submit_comes_out_as_it_went_in),
        cmocka_unit_test(stop_strings_are_bounded),
        cmocka_unit_test(a_ready_comes_out_as_it_went_in),
        cmocka_unit_test(a_start_comes_out_as_it_went_in),
        cmocka_unit_test(data_and_replies_come_out_as_they_went_in),
        cmocka_unit_test(lists_in_calls_come_out_as_they_went_in),
        cmocka_unit_test(token_and_done_come_out_as_they_went_in),
        cmocka_unit_test(garbage_is_refused_and_never_read_past_its_end),
        cmocka_unit_test(flipped_bits_are_harmless),
        cmocka_unit_test(every_truncation_of_every_frame_is_noticed),
        cmocka_unit_test(truncated_and_overlong_payloads_are_protocol_errors),
    };
    return bt_test_run(tests, argc, argv);
}
