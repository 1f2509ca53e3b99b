/* The deciding part of the front, one step at a time, against an owner that is this file: what it has been sent lies in
 * `out` until somebody takes it, time is a number. sim/ draws whole lives of it; here is what needs an exact order. */
#include <signal.h>
#include <string.h>

#include "harness.h"
#include "ipc/dispatch.h"

struct shell {
    struct bt_dispatch d;
    struct bt_buf out;
    int64_t now_ns;
    int starts, kills;
};

static int64_t op_now(void *arg) {
    return ((struct shell *)arg)->now_ns;
}

static void op_write(void *arg, int context) {
    (void)arg;
    (void)context; /* the socket is full */
}

static baton_status op_start(void *arg, int context, baton_error *err) {
    (void)context;
    (void)err;
    ((struct shell *)arg)->starts++;
    return BATON_OK;
}

static void op_kill(void *arg, int context) {
    (void)context;
    ((struct shell *)arg)->kills++;
}

static const struct bt_dispatch_ops OPS = {op_now, op_write, op_start, op_kill};

struct client {
    struct bt_request *request;
    int pieces, done;
    baton_status status;
    bool because_unread;
};

static void on_text(void *arg, const char *text, size_t len) {
    (void)text;
    (void)len;
    ((struct client *)arg)->pieces++;
}

static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct client *c = arg;
    c->done++;
    c->status = outcome->status;
    c->because_unread = strstr(outcome->error, "nobody read its stream") != NULL;
}

static void say(struct shell *s, const struct bt_buf *b) {
    struct bt_frame f;
    for (size_t at = 0; bt_frame_peek(b->data + at, b->len - at, &f) == BATON_OK; at += f.size)
        bt_dispatch_frame(&s->d, 0, &f);
}

static void say_ready(struct shell *s) {
    struct bt_buf b = BT_BUF_INIT;
    bt_put_hello(&b);
    bt_put_ready(&b, &(struct bt_frame_ready){.sequences = 4, .ctx = 4096, .versions = {"", 0}});
    say(s, &b);
    bt_buf_free(&b);
}

static void say_tokens(struct shell *s, uint64_t id, uint32_t attempt, uint32_t from, uint32_t n) {
    struct bt_buf b = BT_BUF_INIT;
    for (uint32_t i = 0; i < n; i++)
        bt_put_token(&b, &(struct bt_frame_token){id, attempt, from + i, 7, 0, {"x", 1}});
    say(s, &b);
    bt_buf_free(&b);
}

/* The owner lists what it has. */
static void say_pulse(struct shell *s, uint64_t id) {
    struct bt_buf b = BT_BUF_INIT;
    static struct bt_pulse p;
    p = (struct bt_pulse){.listed = true, .n = 1};
    p.list[0].id = id;
    p.list[0].standing = BT_STANDING_PREPARING;
    bt_put_pulse(&b, &p);
    say(s, &b);
    bt_buf_free(&b);
}

static void open_shell(struct shell *s) {
    const struct bt_dispatch_params p = {.contexts = 1,
                                         .sequences = 4,
                                         .queue_max = 4,
                                         .restarts = true,
                                         .resume = true,
                                         .hang_ms = 30000,
                                         .start_ms = -1,
                                         .seed = 3};
    memset(s, 0, sizeof *s);
    s->now_ns = BT_NS_PER_S;
    bt_dispatch_init(&s->d, &p, &OPS, s);
    s->d.contexts[0].out = &s->out;
    bt_dispatch_tick(&s->d);
    assert_int_equal(s->starts, 1);
    say_ready(s);
    s->out.len = 0;
}

static void close_shell(struct shell *s) {
    bt_dispatch_close(&s->d);
    bt_dispatch_ended(&s->d, 0, &(struct bt_owner_end){.kind = BT_END_EXITED, .text = ""});
    assert_true(bt_dispatch_closed(&s->d));
    assert_null(bt_dispatch_check(&s->d));
    bt_buf_free(&s->out);
}

static void ask_idle(struct shell *s, struct client *c, uint64_t id, size_t size, int64_t run_ms, int64_t idle_ms) {
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'x', size);
    struct bt_submit ask = {.id = id, .text = {text, size}, .state = {"", 0}, .max_tokens = 1000};
    const struct bt_limits limits = {BT_WAIT, 1, -1, run_ms, idle_ms};
    const struct bt_handler h = {.on_text = on_text, .on_done = on_done, .arg = c};
    memset(c, 0, sizeof *c);
    assert_int_equal(bt_dispatch_submit(&s->d, &ask, &limits, &h, &c->request, NULL), BATON_OK);
    free(text);
}

static void ask(struct shell *s, struct client *c, uint64_t id, size_t size, int64_t run_ms) {
    ask_idle(s, c, id, size, run_ms, -1);
}

/* What lies there for the owner, in order: S and A for SUBMIT and ACK of that request; and is taken. */
static void taken(struct shell *s, uint64_t id, char *order, size_t room) {
    struct bt_frame f;
    struct bt_frame_body h;
    uint64_t acked;
    uint32_t n;
    size_t len = 0;
    do {
        for (size_t at = 0; bt_frame_peek(s->out.data + at, s->out.len - at, &f) == BATON_OK; at += f.size) {
            char what = f.type == BT_FRAME_SUBMIT && !bt_get_body(&f, &h) && h.id == id        ? 'S'
                        : f.type == BT_FRAME_ACK && !bt_get_ack(&f, &acked, &n) && acked == id ? 'A'
                                                                                               : 0;
            if (what && len + 1 < room)
                order[len++] = what;
        }
        s->out.len = 0;
        bt_dispatch_send(&s->d, 0);
    } while (s->out.len > 0);
    order[len] = '\0';
}

enum { BIG = 2 << 20 };

/* The second body waits behind the first; its time passes before anything of it has left. */
static void run_timeouts_of_requests_that_have_not_left_are_told_one_by_one(void **state) {
    (void)state;
    struct shell s;
    struct client c[4];
    open_shell(&s);
    for (int i = 0; i < 4; i++)
        ask(&s, &c[i], (uint64_t)i + 1, BIG, 1000);
    s.now_ns += 2 * BT_NS_PER_S;
    bt_dispatch_tick(&s.d);
    assert_int_equal(c[0].done, 0); /* its beginning is there: the owner has the last word */
    for (int i = 1; i < 4; i++) {
        assert_int_equal(c[i].done, 1);
        assert_int_equal(c[i].status, BATON_RUN_TIMEOUT);
    }
    assert_null(bt_dispatch_check(&s.d));
    close_shell(&s);
    assert_int_equal(c[0].done, 1);
}

/* An owner does not know of a request before it has all of it, and an ACK that comes before that is lost: the window
 * would stay closed for ever. */
static void probe_P40_a_window_opens_again_in_the_next_owner(void **state) {
    (void)state;
    struct shell s;
    struct client big, small;
    char order[16];
    open_shell(&s);
    ask(&s, &big, 1, BIG, -1);
    ask(&s, &small, 2, 16, -1);
    taken(&s, 2, order, sizeof order);
    assert_string_equal(order, "S");
    say_tokens(&s, 2, 1, 0, BT_WINDOW);
    assert_int_equal(small.pieces, BT_WINDOW);
    bt_dispatch_ended(&s.d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = SIGKILL, .text = ""});
    s.out.len = 0;
    bt_dispatch_tick(&s.d);
    assert_int_equal(s.starts, 2);
    say_ready(&s);
    bt_request_consumed(small.request, BT_WINDOW); /* while the big one is on its way, and this one waits */
    taken(&s, 2, order, sizeof order);
    assert_string_equal(order, "S");
    say_pulse(&s, 2);
    taken(&s, 2, order, sizeof order);
    assert_string_equal(order, "A");
    close_shell(&s);
    assert_int_equal(big.done + small.done, 2);
}

/* Otherwise its text would fill this process, however slowly it is read. */
static void an_owner_that_does_not_mind_the_window_is_broken(void **state) {
    (void)state;
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    say_tokens(&s, 1, 1, 0, BT_WINDOW);
    assert_int_equal(c.pieces, BT_WINDOW);
    assert_true(bt_dispatch_listens(&s.d, 0));
    say_tokens(&s, 1, 1, BT_WINDOW, 1);
    assert_int_equal(c.pieces, BT_WINDOW);
    assert_false(bt_dispatch_listens(&s.d, 0));
    bt_dispatch_tick(&s.d);
    assert_int_equal(s.kills, 1);
    close_shell(&s);
    assert_int_equal(c.done, 1);
}

static void an_owner_that_says_more_than_was_asked_is_broken(void **state) {
    (void)state;
    struct shell s;
    struct client c;
    open_shell(&s);
    ask(&s, &c, 1, 16, -1);
    for (uint32_t i = 0; i < 1000; i += 100) {
        say_tokens(&s, 1, 1, i, 100);
        bt_request_consumed(c.request, 100);
    }
    assert_int_equal(c.pieces, 1000);
    assert_true(bt_dispatch_listens(&s.d, 0));
    say_tokens(&s, 1, 1, 1000, 1);
    assert_int_equal(c.pieces, 1000);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);
    assert_int_equal(c.done, 1);
}

/* A log that a hostile owner fills past every bound, with what a terminal obeys. */
static void an_owner_has_no_way_into_the_log_but_what_it_prints(void **state) {
    (void)state;
    struct shell s;
    struct bt_buf b = BT_BUF_INIT;
    open_shell(&s);
    bt_put_log(&b, BATON_LOG_DEBUG, "\x1b[2J");
    say(&s, &b);
    bt_buf_free(&b);
    assert_false(bt_dispatch_listens(&s.d, 0));
    close_shell(&s);
}

static void later(struct shell *s, int64_t ms) {
    s->now_ns += ms * BT_NS_PER_MS;
    bt_dispatch_tick(&s->d);
}

static bool told_to_cancel(struct shell *s) {
    struct bt_frame f;
    bool told = false;
    for (size_t at = 0; bt_frame_peek(s->out.data + at, s->out.len - at, &f) == BATON_OK; at += f.size)
        told |= f.type == BT_FRAME_CANCEL;
    return told;
}

/* The clock of a reader runs while something lies there for it, and begins anew with each read; what waits for a new
 * owner lies there, too. Who is complete all the same stays so. */
static void probe_P13_a_reader_has_its_time_from_each_read_on(void **state) {
    (void)state;
    struct shell s;
    struct client c[3];
    char order[16];
    struct bt_buf b = BT_BUF_INIT;
    open_shell(&s);
    for (int i = 0; i < 3; i++) {
        ask_idle(&s, &c[i], (uint64_t)i + 1, 16, -1, 100);
        taken(&s, (uint64_t)i + 1, order, sizeof order);
    }
    later(&s, 1000); /* nothing came, nothing lies there */
    for (uint32_t i = 0; i < 3; i++)
        say_tokens(&s, i + 1, 1, 0, 10);
    for (int i = 0; i < 5; i++) {
        later(&s, 60);
        bt_request_consumed(c[0].request, 1);
        bt_request_consumed(c[1].request, 1);
        bt_request_consumed(c[2].request, i < 4 ? 1 : 6); /* all of it */
        assert_false(told_to_cancel(&s));
    }
    later(&s, 99);
    assert_false(told_to_cancel(&s));
    bt_request_consumed(c[1].request, 1);
    later(&s, 1); /* the first one alone */
    assert_true(told_to_cancel(&s));
    s.out.len = 0;
    bt_put_done(&b, &(struct bt_frame_done){
                        .id = 1, .attempt = 1, .outcome = BATON_CANCELLED, .text = {"", 0}, .error = {"", 0}});
    say(&s, &b);
    assert_true(c[0].done == 1 && c[0].status == BATON_CANCELLED && c[0].because_unread);
    bt_dispatch_ended(&s.d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = SIGKILL, .text = ""});
    later(&s, 99); /* a new one is being started */
    assert_true(c[1].done == 1 && c[1].status == BATON_CANCELLED && c[1].because_unread);
    assert_int_equal(c[2].done, 0);
    later(&s, 1000);
    assert_int_equal(c[2].done, 0);
    say_ready(&s);
    taken(&s, 3, order, sizeof order);
    say_tokens(&s, 3, 2, 10, 1);
    later(&s, 100);
    assert_true(told_to_cancel(&s));
    b.len = 0;
    bt_put_done(&b, &(struct bt_frame_done){
                        .id = 3, .attempt = 2, .finish = BT_FINISH_STOP, .text = {"", 0}, .error = {"", 0}});
    say(&s, &b);
    assert_true(c[2].done == 1 && c[2].status == BATON_OK && !c[2].because_unread);
    bt_buf_free(&b);
    close_shell(&s);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_timeouts_of_requests_that_have_not_left_are_told_one_by_one),
        cmocka_unit_test(probe_P40_a_window_opens_again_in_the_next_owner),
        cmocka_unit_test(probe_P13_a_reader_has_its_time_from_each_read_on),
        cmocka_unit_test(an_owner_that_does_not_mind_the_window_is_broken),
        cmocka_unit_test(an_owner_that_says_more_than_was_asked_is_broken),
        cmocka_unit_test(an_owner_has_no_way_into_the_log_but_what_it_prints),
    };
    return bt_test_run(tests, argc, argv);
}
