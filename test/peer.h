/* A front made of bare frames, for tests of an owner: what it says, and what comes of a resume anywhere. */
#ifndef BT_PEER_H
#define BT_PEER_H

#include "harness.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "native/fake.h"
#include "owner/owner.h"
#include "wire/frame.h"

struct peer {
    struct bt_model *model;
    pthread_t thread;
    struct bt_owner_params params;
    int fd;
    struct bt_buf in, out;
    size_t eaten; /* of the frame that was returned last */
};

static int peer_socket = SOCK_STREAM; /* SOCK_SEQPACKET: what the owner writes at once is read at once */

static inline void *peer_run(void *arg) {
    struct peer *p = arg;
    bt_owner_run(&p->params);
    close(p->params.fd);
    return NULL;
}

static inline void start_as(struct peer *p, const char *model, const struct bt_context_params *context) {
    int pair[2];
    baton_error err;
    struct bt_model_params mp = {.path = model};
    memset(p, 0, sizeof *p);
    assert_int_equal(bt_model_open(&mp, &p->model, &err), BATON_OK);
    assert_int_equal(socketpair(AF_UNIX, peer_socket | SOCK_CLOEXEC, 0, pair), 0);
    p->fd = pair[0];
    p->params = (struct bt_owner_params){p->model, *context, pair[1], -1};
    assert_int_equal(bt_thread_start(&p->thread, peer_run, p), 0);
}
static inline void start_with(struct peer *p, const char *model, int sequences, int ctx) {
    start_as(p, model, &(struct bt_context_params){.sequences = sequences, .ctx = ctx, .exact = true});
}
static inline void start(struct peer *p, const char *model) {
    start_with(p, model, 2, 256);
}

static inline void stop(struct peer *p) {
    close(p->fd);
    pthread_join(p->thread, NULL);
    p->model->ops->free(p->model);
    bt_buf_free(&p->in);
    bt_buf_free(&p->out);
}

static inline void say(struct peer *p) {
    assert_int_equal(send(p->fd, p->out.data, p->out.len, MSG_NOSIGNAL), p->out.len);
    p->out.len = 0;
}

/* The next frame; false: the owner has closed its end. */
static inline bool hear(struct peer *p, struct bt_frame *f) {
    bt_buf_drop(&p->in, p->eaten);
    p->eaten = 0;
    while (bt_frame_peek(p->in.data, p->in.len, f) != BATON_OK) {
        assert_true(bt_buf_reserve(&p->in, 4096));
        ssize_t n = recv(p->fd, p->in.data + p->in.len, 4096, 0);
        if (n <= 0)
            return false;
        p->in.len += (size_t)n;
    }
    p->eaten = f->size;
    return true;
}

static inline void greet(struct peer *p) {
    struct bt_frame f;
    bt_put_hello(&p->out);
    say(p);
    assert_true(hear(p, &f));
    assert_int_equal(f.type, BT_FRAME_HELLO);
    do
        assert_true(hear(p, &f));
    while (f.type == BT_FRAME_PULSE); /* of the self-test */
    assert_int_equal(f.type, BT_FRAME_READY);
}

struct heard {
    bt_token tokens[256];
    uint32_t held[256];
    char text[4096];    /* released, up to and including DONE's */
    size_t before[256]; /* bytes of text released up to this token */
    uint32_t n, first;
    struct bt_frame_done done;
};

/* Everything about one request, up to its DONE. */
static inline void hear_answer(struct peer *p, struct heard *h) {
    struct bt_frame f;
    struct bt_frame_token t;
    size_t len = 0;
    memset(h, 0, sizeof *h);
    while (hear(p, &f) && f.type != BT_FRAME_DONE) {
        if (f.type != BT_FRAME_TOKEN)
            continue;
        assert_int_equal(bt_get_token(&f, &t), BATON_OK);
        if (h->n == 0)
            h->first = t.index;
        assert_int_equal(t.index, h->first + h->n);
        memcpy(h->text + len, t.text.data, t.text.len);
        len += t.text.len;
        h->tokens[h->n] = t.token;
        h->held[h->n] = t.held;
        h->before[h->n++] = len;
    }
    assert_int_equal(f.type, BT_FRAME_DONE);
    assert_int_equal(bt_get_done(&f, &h->done), BATON_OK);
    memcpy(h->text + len, h->done.text.data, h->done.text.len);
}

/* Of a request whose result is bytes, up to its DONE. */
static inline void hear_data(struct peer *p, uint64_t id, struct bt_buf *bytes, struct bt_frame_done *done) {
    struct bt_frame f;
    struct bt_frame_data d;
    bytes->len = 0;
    while (hear(p, &f)) {
        if (f.type == BT_FRAME_DATA) {
            assert_int_equal(bt_get_data(&f, &d), BATON_OK);
            if (d.id != id)
                continue;
            assert_int_equal(d.offset, bytes->len);
            bt_buf_add(bytes, d.bytes.data, d.bytes.len);
        } else if (f.type == BT_FRAME_DONE) {
            assert_int_equal(bt_get_done(&f, done), BATON_OK);
            if (done->id == id)
                return;
        }
    }
    fail_msg("the owner ended without a DONE of %llu", (unsigned long long)id);
}

/* A call and what comes of it; on failure `bytes` is the text. */
static inline baton_status call_owner(struct peer *p, const struct bt_call *call, struct bt_buf *bytes) {
    struct bt_frame f;
    struct bt_frame_data d;
    struct bt_frame_reply r;
    bytes->len = 0;
    bt_put_call(&p->out, call);
    say(p);
    while (hear(p, &f)) {
        if (f.type == BT_FRAME_DATA && !bt_get_data(&f, &d) && d.id == call->id) {
            assert_int_equal(d.attempt, 0);
            assert_int_equal(d.offset, bytes->len);
            bt_buf_add(bytes, d.bytes.data, d.bytes.len);
        }
        if (f.type == BT_FRAME_REPLY && !bt_get_reply(&f, &r) && r.id == call->id) {
            assert_int_equal(r.offset, r.status ? 0 : bytes->len);
            bt_buf_add(bytes, r.bytes.data, r.bytes.len);
            return r.status;
        }
    }
    fail_msg("the owner ended without a REPLY");
    return BATON_CRASHED;
}

static inline struct bt_submit ask(uint64_t id, const char *prompt, float temperature) {
    struct bt_submit s = {.id = id,
                          .attempt = 1,
                          .kind = BT_PROMPT_TEXT,
                          .text = {prompt, strlen(prompt)},
                          .max_tokens = 60,
                          .window = 1000};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    s.sampling.temperature = temperature;
    s.sampling.frequency_penalty = temperature > 0 ? 1.5f : 0;
    s.sampling.seed = 99;
    return s;
}

static inline void resumed_answers_go_on_token_for_token(const char *model, const char *prompt) {
    struct peer p;
    struct heard whole, rest;
    static const float temperatures[] = {0, 0.9f};
    start(&p, model);
    greet(&p);
    for (size_t k = 0; k < 2; k++) {
        struct bt_submit s = ask(1, prompt, temperatures[k]);
        s.stops[s.n_stops++] = (struct bt_text){"never in the text", 17};
        bt_put_submit(&p.out, &s);
        say(&p);
        hear_answer(&p, &whole);
        assert_int_equal(whole.done.outcome, BATON_OK);
        assert_true(whole.n > 20);
        for (uint32_t cut = 0; cut < whole.n; cut += 7) {
            s.attempt++;
            s.resume = whole.tokens;
            s.n_resume = cut;
            s.resume_held = cut ? whole.held[cut - 1] : 0;
            bt_put_submit(&p.out, &s);
            say(&p);
            hear_answer(&p, &rest);
            assert_int_equal(rest.done.outcome, BATON_OK);
            assert_int_equal(rest.done.attempt, s.attempt);
            assert_int_equal(rest.n, whole.n - cut);
            assert_int_equal(rest.first, cut);
            assert_memory_equal(rest.tokens, whole.tokens + cut, rest.n * sizeof *rest.tokens);
            assert_string_equal(rest.text, whole.text + (cut ? whole.before[cut - 1] : 0));
            assert_int_equal(rest.done.answer_tokens, whole.done.answer_tokens);
        }
        s.resume = NULL;
        s.n_resume = 0;
    }
    stop(&p);
}

#endif
