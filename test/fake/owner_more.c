/* What an owner does besides generating, in frames: vectors, scores, questions, saved states, resets. */
#include "peer.h"

#include "owner/saved.h"

enum { WIDTH = 16, RECORD = BT_RECORD_BYTES(WIDTH) };

static void start_pooled(struct peer *p, const char *model, enum bt_pooling pooling, int sequences, bool exact) {
    start_as(p, model,
             &(struct bt_context_params){.sequences = sequences, .ctx = 64, .exact = exact, .pooling = pooling});
    greet(p);
}

static struct bt_submit embed(uint64_t id, struct bt_frame_input *inputs, size_t n) {
    return (struct bt_submit){.id = id,
                              .attempt = 1,
                              .what = BT_WHAT_EMBED,
                              .text = {"", 0},
                              .state = {"", 0},
                              .inputs = inputs,
                              .n_inputs = n,
                              .normalise = true};
}

static struct bt_frame_input text_input(const char *text) {
    return (struct bt_frame_input){{text, strlen(text)}, NULL, 0};
}

/* What a context makes of it by itself. */
static void alone(const char *model, enum bt_pooling pooling, const char *text, float *values) {
    struct bt_model_params mp = {.path = model};
    struct bt_context_params cp = {.sequences = 1, .ctx = 64, .pooling = pooling, .exact = true};
    struct bt_model *m;
    struct bt_context *c;
    struct bt_input in;
    bt_token *tokens;
    assert_int_equal(bt_model_open(&mp, &m, NULL), BATON_OK);
    assert_int_equal(bt_context_open(m, &cp, &c, NULL), BATON_OK);
    assert_int_equal(m->ops->tokenize(m, text, strlen(text), true, false, &tokens, &in.n, NULL), BATON_OK);
    in.tokens = tokens;
    assert_int_equal(c->ops->embed(c, &in, 1, true, values, NULL), BATON_OK);
    free(tokens);
    c->ops->free(c);
    m->ops->free(m);
}

static void vectors_are_what_they_are_alone(void **state) {
    (void)state;
    static const char *const texts[] = {"one", "two two", "three three three", "four", "five"};
    for (int sequences = 1; sequences <= 4; sequences += 3) {
        struct peer p;
        struct bt_buf bytes = BT_BUF_INIT;
        struct bt_frame_done done;
        struct bt_frame_input inputs[5];
        uint32_t sum = 0;
        for (int i = 0; i < 5; i++)
            inputs[i] = text_input(texts[i]);
        start_pooled(&p, "fake:", BT_POOL_MEAN, sequences, sequences == 1);
        struct bt_submit s = embed(1, inputs, 5);
        bt_put_submit(&p.out, &s);
        say(&p);
        hear_data(&p, 1, &bytes, &done);
        assert_int_equal(done.outcome, BATON_OK);
        assert_int_equal(bytes.len, 5 * RECORD);
        for (int i = 0; i < 5; i++) {
            float got[WIDTH], expected[WIDTH];
            uint32_t tokens;
            assert_true(bt_get_record(bytes.data + i * RECORD, WIDTH, &tokens, got));
            alone("fake:", BT_POOL_MEAN, texts[i], expected);
            assert_memory_equal(got, expected, sizeof got);
            sum += tokens;
        }
        assert_int_equal(done.prompt_tokens, sum);
        bt_buf_free(&bytes);
        stop(&p);
    }
}

/* A long list does not keep a short one waiting: they take turns. */
static void requests_for_vectors_take_turns(void **state) {
    (void)state;
    struct peer p;
    struct bt_frame f;
    struct bt_frame_done done;
    struct bt_frame_input many[40], one = text_input("short");
    for (int i = 0; i < 40; i++)
        many[i] = text_input("long");
    start_pooled(&p, "fake:step_us=500", BT_POOL_MEAN, 1, true);
    struct bt_submit a = embed(1, many, 40), b = embed(2, &one, 1);
    bt_put_submit(&p.out, &a);
    bt_put_submit(&p.out, &b);
    say(&p);
    do
        assert_true(hear(&p, &f));
    while (f.type != BT_FRAME_DONE);
    assert_int_equal(bt_get_done(&f, &done), BATON_OK);
    assert_int_equal(done.id, 2);
    stop(&p);
}

static void a_bad_input_names_itself_and_spares_its_neighbours(void **state) {
    (void)state;
    struct peer p;
    struct bt_buf bytes = BT_BUF_INIT;
    struct bt_frame_done done;
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    bt_token stranger = 1 << 30;
    struct bt_frame_input good = text_input("good"),
                          bad[3][2] = {{good, text_input(longer)}, {good, {{"", 0}, &stranger, 1}}, {good, good}};
    baton_status expected[] = {BATON_TOO_LONG, BATON_INVALID, BATON_UNSUPPORTED};
    start_pooled(&p, "fake:", BT_POOL_MEAN, 4, false);
    for (int i = 0; i < 3; i++) {
        struct bt_submit a = embed(1, bad[i], 2), b = embed(2, &good, 1);
        if (i == 2)
            a.what = BT_WHAT_SCORE; /* of a context that embeds */
        bt_put_submit(&p.out, &a);
        say(&p);
        hear_data(&p, 1, &bytes, &done);
        assert_int_equal(done.outcome, expected[i]);
        assert_int_equal(bytes.len, 0);
        if (i < 2)
            assert_non_null(strstr(done.error.data, "input 1"));
        bt_put_submit(&p.out, &b);
        say(&p);
        hear_data(&p, 2, &bytes, &done);
        assert_int_equal(done.outcome, BATON_OK);
        assert_int_equal(bytes.len, RECORD);
    }
    bt_buf_free(&bytes);
    stop(&p);
}

static void more_inputs_follow_and_their_end(void **state) {
    (void)state;
    struct peer p;
    struct bt_frame f;
    struct bt_frame_data d;
    struct bt_frame_done done;
    struct bt_buf bytes = BT_BUF_INIT;
    struct bt_frame_input first = text_input("first"), next = text_input("next");
    float got[WIDTH], expected[WIDTH];
    uint32_t tokens;
    start_pooled(&p, "fake:", BT_POOL_LAST, 2, true);
    struct bt_submit s = embed(1, &first, 1);
    s.open = true;
    bt_put_submit(&p.out, &s);
    bt_put_more(&p.out, 1, 1, &(struct bt_more){&next, 1, true}); /* may come before the first is done */
    say(&p);
    for (int i = 0; i < 2; i++) {
        do
            assert_true(hear(&p, &f));
        while (f.type != BT_FRAME_DATA);
        assert_int_equal(bt_get_data(&f, &d), BATON_OK);
        assert_int_equal(d.offset, i * RECORD);
        assert_true(bt_get_record((const unsigned char *)d.bytes.data, WIDTH, &tokens, got));
        alone("fake:", BT_POOL_LAST, i ? "next" : "first", expected);
        assert_memory_equal(got, expected, sizeof got);
    }
    bt_put_more(&p.out, 1, 1, &(struct bt_more){NULL, 0, false});
    say(&p);
    hear_data(&p, 1, &bytes, &done);
    assert_int_equal(done.outcome, BATON_OK);
    bt_put_more(&p.out, 1, 1, &(struct bt_more){&next, 1, false}); /* too late: nobody is meant */
    bt_put_submit(&p.out, &s);
    say(&p);
    bt_put_cancel(&p.out, 1, BATON_CANCELLED);
    say(&p);
    hear_data(&p, 1, &bytes, &done);
    assert_int_equal(done.outcome, BATON_CANCELLED);
    s.open = false;
    bt_put_submit(&p.out, &s);
    bt_put_more(&p.out, 1, 1, &(struct bt_more){&next, 1, false}); /* to one that did not ask for it */
    say(&p);
    do
        assert_true(hear(&p, &f));
    while (f.type != BT_FRAME_FATAL);
    bt_buf_free(&bytes);
    stop(&p);
}

static void documents_are_scored_for_a_query(void **state) {
    (void)state;
    struct peer p;
    struct bt_buf bytes = BT_BUF_INIT;
    struct bt_frame_done done;
    struct bt_frame_input documents[2] = {text_input("yes"), text_input("no")};
    uint32_t tokens;
    float a, b;
    start_pooled(&p, "fake:scores=1", BT_POOL_RANK, 1, true);
    struct bt_submit s = embed(1, documents, 2);
    s.what = BT_WHAT_SCORE;
    s.text = (struct bt_text){"query", 5};
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_data(&p, 1, &bytes, &done);
    assert_int_equal(done.outcome, BATON_OK);
    assert_int_equal(bytes.len, 2 * BT_RECORD_BYTES(1));
    assert_true(bt_get_record(bytes.data, 1, &tokens, &a));
    assert_true(bt_get_record(bytes.data + BT_RECORD_BYTES(1), 1, &tokens, &b));
    assert_true(a != b);
    s.text = (struct bt_text){"que\0ry", 6};
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_data(&p, 1, &bytes, &done);
    assert_int_equal(done.outcome, BATON_INVALID);
    bt_buf_free(&bytes);
    stop(&p);
}

static void questions_about_the_model_are_answered(void **state) {
    (void)state;
    struct peer p;
    struct bt_buf bytes = BT_BUF_INIT, asked = BT_BUF_INIT;
    bt_token *tokens;
    struct bt_chat_message *pairs;
    size_t n;
    start(&p, "fake:len=9");
    greet(&p);
    assert_int_equal(
        call_owner(&p, &(struct bt_call){5, BT_CALL_TOKENIZE, 0, BT_TOKENIZE_ADD, {"caf\xc3\xa9", 5}}, &bytes),
        BATON_OK);
    assert_int_equal(bt_get_tokens(bytes.data, bytes.len, &tokens, &n), BATON_OK);
    assert_true(n > 5);
    bt_put_tokens(&asked, tokens, n); /* control tokens have no bytes */
    free(tokens);
    struct bt_call call = {6, BT_CALL_DETOKENIZE, 0, 0, {(char *)asked.data, asked.len}};
    assert_int_equal(call_owner(&p, &call, &bytes), BATON_OK);
    assert_int_equal(bytes.len, 5);
    assert_memory_equal(bytes.data, "caf\xc3\xa9", 5);
    asked.len = 0;
    bt_put_tokens(&asked, &(bt_token){-7}, 1);
    call.bytes = (struct bt_text){(char *)asked.data, asked.len};
    assert_int_equal(call_owner(&p, &call, &bytes), BATON_INVALID);
    assert_int_equal(call_owner(&p, &(struct bt_call){7, BT_CALL_METADATA, 0, 0, {"", 0}}, &bytes), BATON_OK);
    assert_int_equal(bt_get_pairs(bytes.data, bytes.len, &pairs, &n), BATON_OK);
    bool found = false;
    for (size_t i = 0; i < n; i++)
        found |= strcmp(pairs[i].role, "fake.len") == 0 && strcmp(pairs[i].content, "9") == 0;
    assert_true(found);
    free(pairs);
    asked.len = 0;
    bt_put_pair(&asked, "user", 4, "hello", 5);
    call = (struct bt_call){8, BT_CALL_CHAT, 0, 0, {(char *)asked.data, asked.len}};
    assert_int_equal(call_owner(&p, &call, &bytes), BATON_OK);
    assert_non_null(memmem(bytes.data, bytes.len, "hello", 5));
    bt_buf_free(&asked);
    bt_buf_free(&bytes);
    stop(&p);
}

/* More than a frame holds, both ways: megabytes of text to tokenise, and their tokens. */
static void what_is_large_travels_in_pieces(void **state) {
    (void)state;
    enum { SIZE = 5 << 20 };
    struct peer p;
    struct bt_buf bytes = BT_BUF_INIT;
    bt_token *tokens;
    size_t n;
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 26);
    start(&p, "fake:");
    greet(&p);
    assert_int_equal(call_owner(&p, &(struct bt_call){5, BT_CALL_TOKENIZE, 0, 0, {text, SIZE}}, &bytes), BATON_OK);
    assert_int_equal(bt_get_tokens(bytes.data, bytes.len, &tokens, &n), BATON_OK);
    assert_int_equal(n, SIZE);
    for (size_t i = 0; i < n; i += 4099)
        assert_int_equal(tokens[i], text[i]);
    free(tokens);
    free(text);
    bt_buf_free(&bytes);
    stop(&p);
}

static void submit_and_hear(struct peer *p, const struct bt_submit *s, struct heard *h) {
    bt_put_submit(&p->out, s);
    say(p);
    hear_answer(p, h);
    assert_int_equal(h->done.outcome, BATON_OK);
}

/* The state of an answer, after any number of its tokens, in another owner: the rest is what it was. `others`: so many
 * requests come in between, which take the cache away. */
static void goes_on_from(const char *model, int others) {
    struct peer p, q;
    struct bt_buf saved = BT_BUF_INIT;
    struct heard whole, rest, other;
    start_with(&p, model, 1, 256);
    start_with(&q, model, 1, 256);
    greet(&p);
    greet(&q);
    for (uint32_t cut = 0; cut < 60; cut += 13) {
        struct bt_submit s = ask(1 + cut, "save me", 0.8f);
        s.keep = true;
        submit_and_hear(&p, &s, &whole);
        for (int i = 0; i < others; i++) {
            struct bt_submit stranger = ask(1000, "somebody else", 0);
            submit_and_hear(&p, &stranger, &other);
        }
        assert_int_equal(call_owner(&p, &(struct bt_call){99, BT_CALL_SAVE, 1 + cut, cut, {"", 0}}, &saved), BATON_OK);
        s.kind = BT_PROMPT_STATE;
        s.state = (struct bt_text){(char *)saved.data, saved.len};
        s.max_tokens -= (int32_t)cut;
        submit_and_hear(&q, &s, &rest);
        assert_int_equal(rest.n, whole.n - cut);
        assert_int_equal(rest.first, 0);
        assert_memory_equal(rest.tokens, whole.tokens + cut, rest.n * sizeof *rest.tokens);
        assert_string_equal(rest.text, whole.text + (cut ? whole.before[cut - 1] : 0));
        assert_int_equal(rest.done.answer_tokens, rest.n);
        if (cut == 0) /* the other owner knows nothing yet but what is in the state */
            assert_int_equal(rest.done.reused_tokens, others ? 0 : rest.done.prompt_tokens);
    }
    bt_buf_free(&saved);
    stop(&p);
    stop(&q);
}

static void a_saved_answer_goes_on_elsewhere(void **state) {
    (void)state;
    goes_on_from("fake:len=60", 0);
    goes_on_from("fake:len=60", 1);
}

static void one_that_cannot_be_trimmed_goes_on_too(void **state) {
    (void)state;
    goes_on_from("fake:len=60,recurrent=1", 1);
}

static void a_state_is_refused_when_it_is_none(void **state) {
    (void)state;
    struct peer p;
    struct heard h;
    struct bt_buf saved = BT_BUF_INIT;
    start(&p, "fake:len=30");
    greet(&p);
    assert_int_equal(call_owner(&p, &(struct bt_call){9, BT_CALL_SAVE, 77, 0, {"", 0}}, &saved), BATON_STALE);
    struct bt_submit s = ask(1, "x", 0);
    s.keep = true;
    submit_and_hear(&p, &s, &h);
    assert_int_equal(call_owner(&p, &(struct bt_call){9, BT_CALL_SAVE, 1, h.n + 1, {"", 0}}, &saved), BATON_INVALID);
    assert_int_equal(call_owner(&p, &(struct bt_call){9, BT_CALL_SAVE, 1, 3, {"", 0}}, &saved), BATON_OK);
    saved.data[saved.len / 2] ^= 1;
    s = ask(2, "", 0);
    s.kind = BT_PROMPT_STATE;
    s.state = (struct bt_text){(char *)saved.data, saved.len};
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.outcome, BATON_INVALID);
    s.state = (struct bt_text){"", 0};
    bt_put_submit(&p.out, &s);
    say(&p);
    hear_answer(&p, &h);
    assert_int_equal(h.done.outcome, BATON_INVALID);
    bt_buf_free(&saved);
    stop(&p);
}

static uint32_t reused(struct peer *p, const char *prompt) {
    struct heard h;
    struct bt_submit s = ask(50, prompt, 0);
    submit_and_hear(p, &s, &h);
    return h.done.reused_tokens;
}

static void a_reset_empties_what_is_kept_for_reuse(void **state) {
    (void)state;
    static const char prompt[] = "a prompt that is long enough to be worth keeping";
    struct peer p;
    struct bt_buf bytes = BT_BUF_INIT;
    start_with(&p, "fake:len=5", 1, 256);
    greet(&p);
    assert_int_equal(reused(&p, prompt), 0);
    assert_true(reused(&p, prompt) > 0);
    assert_int_equal(call_owner(&p, &(struct bt_call){9, BT_CALL_RESET, 0, 0, {"", 0}}, &bytes), BATON_OK);
    assert_int_equal(reused(&p, prompt), 0);
    bt_buf_free(&bytes);
    stop(&p);
}

/* What runs is not touched: who does not wait hears of it, who waits gets its turn when it is over, and finds nothing
 * of it left. */
static void a_reset_waits_for_what_runs_or_says_that_it_does(void **state) {
    (void)state;
    static const char prompt[] = "a prompt that is long enough to be worth keeping";
    struct peer p;
    struct bt_frame f;
    struct bt_frame_reply reply;
    struct bt_frame_done done;
    struct bt_buf bytes = BT_BUF_INIT;
    int tokens = 0;
    start_with(&p, "fake:len=200,step_us=1000", 1, 512);
    greet(&p);
    struct bt_submit s = ask(1, prompt, 0);
    s.max_tokens = 100;
    bt_put_submit(&p.out, &s);
    say(&p);
    do
        assert_true(hear(&p, &f));
    while (f.type != BT_FRAME_TOKEN);
    assert_int_equal(call_owner(&p, &(struct bt_call){9, BT_CALL_RESET, 0, 0, {"", 0}}, &bytes), BATON_BUSY);
    bt_put_call(&p.out, &(struct bt_call){10, BT_CALL_RESET, 0, 1, {"", 0}});
    say(&p);
    for (done.id = 0; hear(&p, &f) && f.type != BT_FRAME_REPLY;) {
        tokens += f.type == BT_FRAME_TOKEN;
        if (f.type == BT_FRAME_DONE)
            assert_int_equal(bt_get_done(&f, &done), BATON_OK);
    }
    assert_int_equal(done.id, 1);
    assert_int_equal(done.outcome, BATON_OK);
    assert_int_equal(bt_get_reply(&f, &reply), BATON_OK);
    assert_int_equal(reply.status, BATON_OK);
    assert_int_equal(reused(&p, prompt), 0);
    assert_true(tokens > 0);
    bt_buf_free(&bytes);
    stop(&p);
}

/* While a body is on its way its request may be given up: the rest does not come, and its end is told. */
static void a_request_is_cancelled_before_it_is_whole(void **state) {
    (void)state;
    struct peer p;
    struct bt_buf body = BT_BUF_INIT;
    struct bt_frame_done done;
    struct heard h;
    char *text = calloc(1, 2 * BT_PIECE);
    assert_non_null(text);
    memset(text, 'x', 2 * BT_PIECE - 1);
    start(&p, "fake:len=9");
    greet(&p);
    struct bt_submit s = ask(1, text, 0);
    bt_submit_encode(&body, &s);
    bt_put_piece(&p.out, BT_FRAME_SUBMIT, 1, 1, body.data, body.len, 0);
    bt_put_cancel(&p.out, 1, BATON_RUN_TIMEOUT);
    say(&p);
    hear_data(&p, 1, &body, &done);
    assert_int_equal(done.outcome, BATON_RUN_TIMEOUT);
    s = ask(1, "x", 0);
    submit_and_hear(&p, &s, &h);
    free(text);
    bt_buf_free(&body);
    stop(&p);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_what_they_are_alone),
        cmocka_unit_test(requests_for_vectors_take_turns),
        cmocka_unit_test(a_bad_input_names_itself_and_spares_its_neighbours),
        cmocka_unit_test(more_inputs_follow_and_their_end),
        cmocka_unit_test(documents_are_scored_for_a_query),
        cmocka_unit_test(questions_about_the_model_are_answered),
        cmocka_unit_test(what_is_large_travels_in_pieces),
        cmocka_unit_test(a_saved_answer_goes_on_elsewhere),
        cmocka_unit_test(one_that_cannot_be_trimmed_goes_on_too),
        cmocka_unit_test(a_state_is_refused_when_it_is_none),
        cmocka_unit_test(a_reset_empties_what_is_kept_for_reuse),
        cmocka_unit_test(a_reset_waits_for_what_runs_or_says_that_it_does),
        cmocka_unit_test(a_request_is_cancelled_before_it_is_whole),
    };
    return bt_test_run(tests, argc, argv);
}
