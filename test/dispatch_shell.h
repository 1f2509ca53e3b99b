/* For tests of the deciding part of the front, one step at a time, against an owner that is the test: what the owner
 * has been sent lies in `out` until somebody takes it, time is a number. */
#ifndef BT_DISPATCH_SHELL_H
#define BT_DISPATCH_SHELL_H

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

static inline int64_t op_now(void *arg) {
    return ((struct shell *)arg)->now_ns;
}

static inline void op_write(void *arg, int context) {
    (void)arg;
    (void)context; /* the socket is full */
}

static inline baton_status op_start(void *arg, int context, baton_error *err) {
    (void)context;
    (void)err;
    ((struct shell *)arg)->starts++;
    return BATON_OK;
}

static inline void op_kill(void *arg, int context) {
    (void)context;
    ((struct shell *)arg)->kills++;
}

static const struct bt_dispatch_ops OPS = {op_now, op_write, op_start, op_kill};

struct client {
    struct bt_request *request;
    int pieces, done;
    size_t bytes; /* of text and data */
    size_t news;
    baton_status status;
    struct bt_outcome outcome;
    char error[BATON_ERROR_TEXT_MAX];
};

static inline void on_text(void *arg, const char *text, size_t len) {
    struct client *c = arg;
    (void)text;
    c->pieces++;
    c->bytes += len;
}

static inline void on_news(void *arg, const char *bytes, size_t len) {
    struct client *c = arg;
    (void)bytes;
    c->news += len;
}

static inline void on_data(void *arg, const char *bytes, size_t len) {
    (void)bytes;
    ((struct client *)arg)->bytes += len;
}

static inline void on_done(void *arg, const struct bt_outcome *outcome) {
    struct client *c = arg;
    c->done++;
    c->status = outcome->status;
    c->outcome = *outcome;
    snprintf(c->error, sizeof c->error, "%s", outcome->error);
}

static inline void say(struct shell *s, const struct bt_buf *b) {
    struct bt_frame f;
    for (size_t at = 0; bt_frame_peek(b->data + at, b->len - at, &f) == BATON_OK; at += f.size)
        bt_dispatch_frame(&s->d, 0, &f);
}

static const struct bt_frame_ready TRUE_READY = {
    .sequences = 4, .ctx = 4096, .info = {.vocab_size = 300}, .versions = {"", 0}};

static inline void say_this_ready(struct shell *s, const struct bt_frame_ready *ready) {
    struct bt_buf b = BT_BUF_INIT;
    bt_put_hello(&b);
    bt_put_ready(&b, ready);
    say(s, &b);
    bt_buf_free(&b);
}

static inline void say_ready(struct shell *s) {
    say_this_ready(s, &TRUE_READY);
}

static inline void say_tokens(struct shell *s, uint64_t id, uint32_t attempt, uint32_t from, uint32_t n) {
    struct bt_buf b = BT_BUF_INIT;
    for (uint32_t i = 0; i < n; i++)
        bt_put_token(&b, &(struct bt_frame_token){id, attempt, from + i, 7, 0, {"x", 1}});
    say(s, &b);
    bt_buf_free(&b);
}

static inline void say_data(struct shell *s, uint64_t id, uint32_t attempt, uint64_t offset, size_t len) {
    struct bt_buf b = BT_BUF_INIT;
    char *bytes = calloc(1, len);
    assert_non_null(bytes);
    bt_put_data(&b, &(struct bt_frame_data){id, attempt, offset, {bytes, len}});
    say(s, &b);
    bt_buf_free(&b);
    free(bytes);
}

static inline void say_news(struct shell *s, uint64_t id, uint32_t attempt, const char *bytes, size_t len) {
    struct bt_buf b = BT_BUF_INIT;
    bt_put_news(&b, &(struct bt_frame_news){id, attempt, {bytes, len}});
    say(s, &b);
    bt_buf_free(&b);
}

/* The owner lists what it has. */
static inline void say_pulse(struct shell *s, uint64_t id) {
    struct bt_buf b = BT_BUF_INIT;
    static struct bt_pulse p;
    p = (struct bt_pulse){.listed = true, .n = 1};
    p.list[0].id = id;
    p.list[0].standing = BT_STANDING_PREPARING;
    bt_put_pulse(&b, &p);
    say(s, &b);
    bt_buf_free(&b);
}

/* Its owner has said nothing yet. */
static inline void open_silent(struct shell *s) {
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
}

static inline void open_shell(struct shell *s) {
    open_silent(s);
    say_ready(s);
    s->out.len = 0;
}

/* Whatever lies there for the owner, it takes. */
static inline void take_all(struct shell *s) {
    do {
        s->out.len = 0;
        bt_dispatch_send(&s->d, 0);
    } while (s->out.len > 0);
}

static inline void close_shell(struct shell *s) {
    bt_dispatch_close(&s->d);
    bt_dispatch_ended(&s->d, 0, &(struct bt_owner_end){.kind = BT_END_EXITED, .text = ""});
    assert_true(bt_dispatch_closed(&s->d));
    assert_null(bt_dispatch_check(&s->d));
    bt_buf_free(&s->out);
}

static inline void ask_this(struct shell *s, struct client *c, struct bt_submit *ask, int64_t run_ms, int64_t idle_ms) {
    const struct bt_limits limits = {BT_WAIT, 1, -1, run_ms, idle_ms};
    const struct bt_handler h = {
        .on_text = on_text, .on_done = on_done, .arg = c, .on_data = on_data, .on_news = on_news};
    memset(c, 0, sizeof *c);
    assert_int_equal(bt_dispatch_submit(&s->d, ask, &limits, &h, &c->request, NULL), BATON_OK);
}

static inline void ask_idle(struct shell *s, struct client *c, uint64_t id, size_t size, int64_t run_ms,
                            int64_t idle_ms) {
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'x', size);
    struct bt_submit ask = {.id = id, .text = {text, size}, .state = {"", 0}, .max_tokens = 1000};
    ask_this(s, c, &ask, run_ms, idle_ms);
    free(text);
}

static inline void ask(struct shell *s, struct client *c, uint64_t id, size_t size, int64_t run_ms) {
    ask_idle(s, c, id, size, run_ms, -1);
}

#endif
