/* An owner that lies: its model file was a stranger's, and whoever got hold of the parser speaks in its name. What it
 * may say of its requests, its sizes and its own end, and what is none of its business. */
#include "dispatch_shell.h"

static bool is_status(int number) {
    return strcmp(baton_status_name((baton_status)number), "UNKNOWN") != 0;
}

static void say_done(struct shell *s, const struct bt_frame_done *done) {
    struct bt_buf b = BT_BUF_INIT;
    bt_put_done(&b, done);
    say(s, &b);
    bt_buf_free(&b);
}

static void say_this_token(struct shell *s, uint32_t index, bt_token token, uint32_t held, const char *text,
                           size_t len) {
    struct bt_buf b = BT_BUF_INIT;
    bt_put_token(&b, &(struct bt_frame_token){1, 1, index, token, held, {text, len}});
    say(s, &b);
    bt_buf_free(&b);
}

static void say_token(struct shell *s, uint32_t index, uint32_t held, const char *text, size_t len) {
    say_this_token(s, index, 7, held, text, len);
}

static void say_reply(struct shell *s, uint64_t id, baton_status status, uint64_t offset, const char *text,
                      size_t len) {
    struct bt_buf b = BT_BUF_INIT;
    bt_put_reply(&b, &(struct bt_frame_reply){id, status, offset, {text, len}});
    say(s, &b);
    bt_buf_free(&b);
}

/* It is not listened to any more, is killed, and its request goes on in the next one. */
static void is_broken(struct shell *s, const struct client *c, uint64_t id) {
    assert_false(bt_dispatch_listens(&s->d, 0));
    assert_int_equal(c->done, 0);
    bt_dispatch_tick(&s->d);
    assert_int_equal(s->kills, 1);
    bt_dispatch_ended(&s->d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = SIGKILL, .text = ""});
    s->now_ns += BT_NS_PER_S;
    bt_dispatch_tick(&s->d);
    assert_int_equal(s->starts, 2);
    say_ready(s);
    assert_int_equal(c->done, 0);
    assert_non_null(bt_dispatch_find(&s->d, id));
    assert_null(bt_dispatch_check(&s->d));
}

/* What an owner of a request that nobody cancelled may say of its end: that it is complete, or what was wrong with it.
 */
static bool may_say(baton_status outcome, enum bt_finish finish) {
    if (outcome == BATON_OK)
        return finish != BT_FINISH_NONE;
    return finish == BT_FINISH_NONE &&
           (outcome == BATON_FAILED || baton_status_family_of(outcome) == BATON_FAMILY_WORLD);
}

static void probe_P41_only_the_outcomes_that_an_owner_knows_are_believed(void **state) {
    (void)state;
    int believed = 0;
    for (int number = 0; number < 256; number++)
        for (int finish = BT_FINISH_NONE; is_status(number) && finish <= BT_FINISH_LENGTH; finish++) {
            struct shell s;
            struct client c;
            const struct bt_frame_done done = {.id = 1,
                                               .attempt = 1,
                                               .outcome = (baton_status)number,
                                               .finish = (enum bt_finish)finish,
                                               .text = {"", 0},
                                               .error = {"because", 7}};
            open_shell(&s);
            ask(&s, &c, 1, 16, -1);
            take_all(&s);
            say_tokens(&s, 1, 1, 0, 3);
            say_done(&s, &done);
            if (may_say(done.outcome, done.finish)) {
                assert_int_equal(c.done, 1);
                assert_int_equal(c.status, number);
                assert_true(bt_dispatch_listens(&s.d, 0));
                believed++;
            } else {
                is_broken(&s, &c, 1);
            }
            close_shell(&s);
        }
    assert_in_range(believed, 10, 20);
}

static void probe_P41_a_cancel_is_told_by_who_was_asked_to(void **state) {
    (void)state;
    static const baton_status asked[] = {BATON_OK, BATON_CANCELLED, BATON_RUN_TIMEOUT},
                              said[] = {BATON_CANCELLED, BATON_RUN_TIMEOUT, BATON_CLOSED};
    for (size_t i = 0; i < BT_COUNT(asked); i++)
        for (size_t k = 0; k < BT_COUNT(said); k++) {
            struct shell s;
            struct client c;
            open_shell(&s);
            ask(&s, &c, 1, 16, -1);
            take_all(&s);
            if (asked[i])
                bt_request_cancel(c.request, asked[i]);
            say_done(&s, &(struct bt_frame_done){
                             .id = 1, .attempt = 1, .outcome = said[k], .text = {"", 0}, .error = {"", 0}});
            assert_int_equal(c.done, asked[i] == said[k]);
            assert_int_equal(bt_dispatch_listens(&s.d, 0), asked[i] == said[k]);
            close_shell(&s);
            assert_int_equal(c.done, 1);
        }
}

static void what_a_request_came_to_is_counted_here(void **state) {
    (void)state;
    struct shell s;
    struct client c;
    struct bt_frame_done done = {.id = 1,
                                 .attempt = 1,
                                 .finish = BT_FINISH_STOP,
                                 .prompt_tokens = 16,
                                 .answer_tokens = UINT32_MAX,
                                 .text = {"", 0},
                                 .error = {"", 0}};
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    take_all(&s);
    say_tokens(&s, 1, 1, 0, 3);
    say_done(&s, &done);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.outcome.answer_tokens, 3);
    static const struct { uint32_t prompt, reused; } lies[] = {{UINT32_MAX, 0}, {4097, 0}, {5, 6}};
    for (size_t i = 0; i < BT_COUNT(lies); i++) {
        close_shell(&s);
        open_shell(&s);
        ask(&s, &c, 1, 16, -1);
        take_all(&s);
        done.prompt_tokens = lies[i].prompt;
        done.reused_tokens = lies[i].reused;
        say_done(&s, &done);
        is_broken(&s, &c, 1);
    }
    close_shell(&s);
}

/* A line of a log, and of an error that a program prints. */
static void an_error_s_text_is_one_line(void **state) {
    (void)state;
    static const char text[] = "a\n\x1b[2Jb\x7f\xff\xc2\x9b"
                               "2J";
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    take_all(&s);
    say_done(&s,
             &(struct bt_frame_done){
                 .id = 1, .attempt = 1, .outcome = BATON_FAILED, .text = {"", 0}, .error = {text, sizeof text - 1}});
    assert_string_equal(c.error, "a  [2Jb   2J");
    struct bt_buf b = BT_BUF_INIT;
    bt_put_fatal(&b, BATON_BAD_MODEL, text);
    say(&s, &b);
    bt_buf_free(&b);
    assert_string_equal(s.d.contexts[0].error.text, "a  [2Jb   2J");
    close_shell(&s);
}

static void an_end_that_no_owner_comes_to_is_a_broken_owner_s(void **state) {
    (void)state;
    for (int number = 0; number < 256; number++) {
        struct shell s;
        struct bt_buf b = BT_BUF_INIT;
        if (!is_status(number))
            continue;
        open_silent(&s);
        bt_put_fatal(&b, (baton_status)number, "so it is");
        say(&s, &b);
        bt_buf_free(&b);
        bool known = number && may_say((baton_status)number, BT_FINISH_NONE);
        assert_int_equal(bt_dispatch_listens(&s.d, 0), known);
        assert_int_equal(s.d.contexts[0].error.status, known ? number : BATON_OK);
        close_shell(&s);
    }
}

/* A front and a baton-owner of two builds. */
static void an_owner_of_another_version_is_not_listened_to(void **state) {
    (void)state;
    for (uint32_t more = 0; more < 2; more++) {
        struct shell s;
        struct bt_buf b = BT_BUF_INIT;
        open_silent(&s);
        bt_put_hello(&b);
        b.data[BT_FRAME_HEADER] += (unsigned char)more;
        say(&s, &b);
        bt_buf_free(&b);
        assert_int_equal(bt_dispatch_listens(&s.d, 0), more == 0);
        close_shell(&s);
    }
}

static void refuses_ready(const struct bt_frame_ready *ready) {
    struct shell s;
    open_silent(&s);
    say_this_ready(&s, ready);
    assert_false(bt_dispatch_listens(&s.d, 0));
    assert_int_not_equal(s.d.contexts[0].life.life, BT_LIFE_READY);
    close_shell(&s);
}

/* Callers reckon with them: rows of so many floats, prompts of so many tokens. */
static void probe_P41_sizes_that_cannot_be_are_not_believed(void **state) {
    (void)state;
    struct bt_frame_ready r[12];
    for (size_t i = 0; i < BT_COUNT(r); i++)
        r[i] = TRUE_READY;
    r[0].sequences = 5; /* 4 were asked for */
    r[1].sequences = 0;
    r[2].ctx = 0;
    r[3].ctx = UINT32_MAX;
    r[4].width = UINT32_MAX;
    r[5].width = BT_WIDTH_MAX + 1;
    r[6].pooling = BT_POOL_MEAN; /* vectors of no floats */
    r[7].details.embedding_width = INT32_MAX;
    r[8].details.embedding_width = -1;
    r[9].details.scores = INT32_MAX;
    r[10].info.vocab_size = -1;
    r[11].memory = UINT64_MAX;
    for (size_t i = 0; i < BT_COUNT(r); i++)
        refuses_ready(&r[i]);
    r[0] = TRUE_READY;
    r[0].pooling = BT_POOL_MEAN;
    r[0].width = r[0].details.embedding_width = BT_WIDTH_MAX;
    struct shell s;
    open_silent(&s);
    say_this_ready(&s, &r[0]);
    assert_int_equal(s.d.contexts[0].life.life, BT_LIFE_READY);
    close_shell(&s);
}

/* What was asked was checked against the sizes of the first. */
static void the_next_owner_has_the_sizes_of_the_first(void **state) {
    (void)state;
    struct bt_frame_ready r[5];
    for (size_t i = 0; i < BT_COUNT(r); i++) {
        struct shell s;
        r[i] = TRUE_READY;
        r[0].ctx = 8192;
        r[i].width = i == 1 ? 8 : 0;
        r[i].info.vocab_size += i == 4;
        if (i == 2) {
            r[i].pooling = BT_POOL_MEAN;
            r[i].width = 8;
        }
        open_shell(&s);
        bt_dispatch_ended(&s.d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = SIGKILL, .text = ""});
        s.now_ns += BT_NS_PER_S;
        bt_dispatch_tick(&s.d);
        say_this_ready(&s, &r[i]);
        assert_int_equal(s.d.contexts[0].life.life == BT_LIFE_READY, i == 3);
        if (i == 3) { /* and says so once */
            say_this_ready(&s, &r[i]);
            assert_false(bt_dispatch_listens(&s.d, 0));
        }
        close_shell(&s);
    }
}

/* A window of 256 tokens would not bound memory if each could bring a book. */
static void probe_P41_a_token_s_text_is_whole_characters_and_no_longer_than_it_can_be(void **state) {
    (void)state;
    enum { HUGE = 4 << 20 };
    char *huge = malloc(HUGE);
    assert_non_null(huge);
    memset(huge, 'x', HUGE);
    const struct {
        const char *text;
        size_t len;
        uint32_t held;
        bool fine;
    } says[] = {{"\xe2\x82\xac", 3, 0, true},
                {"\xe2\x82", 2, 0, false},
                {"\xff", 1, 0, false},
                {"", 0, 3, true},
                {huge, BT_TOKEN_TEXT_MAX, 0, true},
                {huge, 6 * BT_TOKEN_TEXT_MAX + 3, 0, false},
                {huge, HUGE, 0, false},
                {"", 0, UINT32_MAX, false},
                {"", 0, BT_TOKEN_TEXT_MAX + 1, false}};
    for (size_t i = 0; i < BT_COUNT(says); i++) {
        struct shell s;
        struct client c;
        open_shell(&s);
        ask(&s, &c, 1, 16, -1);
        take_all(&s);
        say_token(&s, 0, says[i].held, says[i].text, says[i].len);
        assert_int_equal(bt_dispatch_listens(&s.d, 0), says[i].fine);
        assert_int_equal(c.pieces, says[i].fine);
        close_shell(&s);
    }
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    take_all(&s);
    for (uint32_t i = 0; i < 64 && bt_dispatch_listens(&s.d, 0); i++) /* held back, it would have to fit a frame */
        say_token(&s, i, (i + 1) * BT_TOKEN_TEXT_MAX, "", 0);
    assert_false(bt_dispatch_listens(&s.d, 0));
    assert_in_range(c.pieces, 1, 3);
    close_shell(&s);
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    take_all(&s);
    say_done(&s, &(struct bt_frame_done){
                     .id = 1, .attempt = 1, .finish = BT_FINISH_STOP, .text = {huge, HUGE}, .error = {"", 0}});
    is_broken(&s, &c, 1);
    close_shell(&s);
    free(huge);
}

/* The next owner refuses a request that is to go on after one: the lie of one would end it. */
static void a_token_is_of_the_vocabulary(void **state) {
    (void)state;
    static const bt_token tokens[] = {0, 299, 300, -1, INT32_MAX};
    for (size_t i = 0; i < BT_COUNT(tokens); i++) {
        struct shell s;
        struct client c;
        open_shell(&s);
        ask(&s, &c, 1, 16, -1);
        take_all(&s);
        say_this_token(&s, 0, tokens[i], 0, "x", 1);
        assert_int_equal(bt_dispatch_listens(&s.d, 0), i < 2);
        assert_int_equal(c.pieces, i < 2);
        close_shell(&s);
    }
}

/* A reader that keeps up opens the window for ever. */
static void an_answer_fits_into_the_context(void **state) {
    (void)state;
    struct shell s;
    struct client c;
    struct bt_submit endless = {.id = 1, .text = {"x", 1}, .state = {"", 0}, .max_tokens = -1};
    open_shell(&s);
    ask_this(&s, &c, &endless, -1, -1);
    take_all(&s);
    for (uint32_t i = 0; i < TRUE_READY.ctx; i += 64) {
        say_tokens(&s, 1, 1, i, 64);
        bt_request_consumed(c.request, 64);
        take_all(&s);
    }
    assert_int_equal(c.pieces, TRUE_READY.ctx);
    assert_true(bt_dispatch_listens(&s.d, 0));
    say_tokens(&s, 1, 1, TRUE_READY.ctx, 1);
    assert_int_equal(c.pieces, TRUE_READY.ctx);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);
}

struct caller {
    struct shell *s;
    uint64_t call;
    int told;
    size_t bytes;
    baton_status status;
};

static void caller_data(void *arg, const char *bytes, size_t len) {
    struct caller *c = arg;
    (void)bytes;
    c->bytes += len;
    if (c->call)
        bt_dispatch_call_drop(&c->s->d, c->call);
}

static void caller_reply(void *arg, baton_status status, const char *text) {
    struct caller *c = arg;
    (void)text;
    c->told++;
    c->status = status;
}

static void call(struct shell *s, struct caller *c, enum bt_call_op op, size_t size) {
    char *bytes = calloc(1, size + 1);
    const struct bt_call_handler h = {caller_data, caller_reply, c};
    assert_non_null(bytes);
    *c = (struct caller){.s = s};
    assert_int_equal(
        bt_dispatch_call(&s->d, -1, &(struct bt_call){.id = 9, .op = op, .about = 1, .bytes = {bytes, size}}, &h, NULL),
        BATON_OK);
    free(bytes);
}

static void probe_P41_replies_are_as_long_as_they_can_be(void **state) {
    (void)state;
    static const enum bt_call_op ops[] = {BT_CALL_TOKENIZE, BT_CALL_DETOKENIZE, BT_CALL_CHAT, BT_CALL_METADATA,
                                          BT_CALL_RESET};
    for (size_t i = 0; i < BT_COUNT(ops); i++) {
        struct shell s;
        struct caller c;
        open_shell(&s);
        call(&s, &c, ops[i], 12);
        take_all(&s);
        for (uint64_t at = 0; at < (96 << 20) && bt_dispatch_listens(&s.d, 0); at += BT_PIECE)
            say_data(&s, 9, 0, at, BT_PIECE);
        assert_false(bt_dispatch_listens(&s.d, 0));
        assert_true(c.bytes <= bt_call_result_max(ops[i], 12));
        assert_int_equal(c.told, 0);
        close_shell(&s);
    }
}

static void an_owner_refuses_what_it_can_refuse(void **state) {
    (void)state;
    static const enum bt_call_op ops[] = {BT_CALL_TOKENIZE, BT_CALL_SAVE, BT_CALL_RESET};
    for (size_t i = 0; i < BT_COUNT(ops); i++)
        for (int number = 1; number < 256; number++) {
            struct shell s;
            struct caller c;
            if (!is_status(number))
                continue;
            open_shell(&s);
            call(&s, &c, ops[i], 0);
            take_all(&s);
            say_reply(&s, 9, (baton_status)number, 0, "no", 2);
            bool known = may_say((baton_status)number, BT_FINISH_NONE) ||
                         (number == BATON_STALE && ops[i] == BT_CALL_SAVE) ||
                         (number == BATON_BUSY && ops[i] == BT_CALL_RESET);
            assert_int_equal(c.told, known);
            assert_int_equal(bt_dispatch_listens(&s.d, 0), known);
            close_shell(&s);
            assert_int_equal(c.told, 1);
        }
}

static void on_text_cancels(void *arg, const char *text, size_t len) {
    on_text(arg, text, len);
    bt_request_cancel(((struct client *)arg)->request, BATON_CANCELLED);
}

enum { BIG = 2 << 20 };

/* Handlers may end what nobody has heard of on the spot: an owner that speaks of it would speak of freed memory. */
static void probe_P41_nobody_speaks_of_what_it_has_not_got_whole(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct shell s;
        struct client c[2];
        const struct bt_limits limits = {BT_WAIT, 1, -1, -1, -1};
        const struct bt_handler h = {.on_text = on_text_cancels, .on_done = on_done, .arg = &c[1]};
        struct bt_submit second = {.id = 2, .text = {"x", 1}, .state = {"", 0}, .max_tokens = 9};
        struct bt_buf b = BT_BUF_INIT;
        open_shell(&s);
        ask(&s, &c[0], 1, BIG, -1); /* fills the way there */
        memset(&c[1], 0, sizeof c[1]);
        assert_int_equal(bt_dispatch_submit(&s.d, &second, &limits, &h, &c[1].request, NULL), BATON_OK);
        if (way == 0)
            bt_put_token(&b, &(struct bt_frame_token){2, 1, 0, 7, 0, {"x", 1}});
        else if (way == 1)
            bt_put_done(&b, &(struct bt_frame_done){
                                .id = 2, .attempt = 1, .finish = BT_FINISH_STOP, .text = {"x", 1}, .error = {"", 0}});
        else
            bt_put_token(&b, &(struct bt_frame_token){1, 1, 0, 7, 0, {"x", 1}}); /* only a part of it is there */
        say(&s, &b);
        bt_buf_free(&b);
        assert_int_equal(c[0].pieces + c[1].pieces, 0);
        is_broken(&s, &c[0], 2);
        close_shell(&s);
        assert_int_equal(c[0].done + c[1].done, 2);
    }
}

static void probe_P41_a_reply_to_what_was_not_asked_whole(void **state) {
    (void)state;
    struct shell s;
    struct client big;
    struct caller c;
    open_shell(&s);
    ask(&s, &big, 1, BIG, -1);
    call(&s, &c, BT_CALL_TOKENIZE, 12);
    c.call = 9; /* its reader drops it at the first byte */
    say_reply(&s, 9, BATON_OK, 0, "x", 1);
    assert_false(bt_dispatch_listens(&s.d, 0));
    assert_int_equal(c.bytes, 0);
    close_shell(&s);
    assert_int_equal(c.told, 1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P41_only_the_outcomes_that_an_owner_knows_are_believed),
        cmocka_unit_test(probe_P41_a_cancel_is_told_by_who_was_asked_to),
        cmocka_unit_test(what_a_request_came_to_is_counted_here),
        cmocka_unit_test(an_error_s_text_is_one_line),
        cmocka_unit_test(an_end_that_no_owner_comes_to_is_a_broken_owner_s),
        cmocka_unit_test(an_owner_of_another_version_is_not_listened_to),
        cmocka_unit_test(probe_P41_sizes_that_cannot_be_are_not_believed),
        cmocka_unit_test(the_next_owner_has_the_sizes_of_the_first),
        cmocka_unit_test(probe_P41_a_token_s_text_is_whole_characters_and_no_longer_than_it_can_be),
        cmocka_unit_test(a_token_is_of_the_vocabulary),
        cmocka_unit_test(an_answer_fits_into_the_context),
        cmocka_unit_test(probe_P41_replies_are_as_long_as_they_can_be),
        cmocka_unit_test(an_owner_refuses_what_it_can_refuse),
        cmocka_unit_test(probe_P41_nobody_speaks_of_what_it_has_not_got_whole),
        cmocka_unit_test(probe_P41_a_reply_to_what_was_not_asked_whole),
    };
    return bt_test_run(tests, argc, argv);
}
