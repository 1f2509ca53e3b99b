/* What the end of an owner process costs: the time until another has gone on with its answer. Bare frames, so that
 * nobody's back-off is in it. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "ipc/spawn.h"
#include "wire/frame.h"

enum { TURNS = 21, CUT = 16 };

struct owner {
    struct bt_spawn *spawn;
    int fd;
    struct bt_buf in;
    size_t eaten;
};

static void must(bool ok, const char *what) {
    if (!ok) {
        bt_log(BATON_LOG_ERROR, "bench: %s", what);
        abort();
    }
}

static void send_all(struct owner *o, struct bt_buf *out) {
    must(!out->failed && send(o->fd, out->data, out->len, MSG_NOSIGNAL) == (ssize_t)out->len, "send");
    bt_buf_free(out);
}

/* The next frame of that type. */
static void hear(struct owner *o, enum bt_frame_type type, struct bt_frame *f) {
    do {
        bt_buf_drop(&o->in, o->eaten);
        o->eaten = 0;
        while (bt_frame_peek(o->in.data, o->in.len, f) != BATON_OK) {
            must(bt_buf_reserve(&o->in, 4096), "memory");
            ssize_t n = recv(o->fd, o->in.data + o->in.len, 4096, 0);
            must(n > 0, "the owner has ended");
            o->in.len += (size_t)n;
        }
        o->eaten = f->size;
    } while (f->type != type);
}

static void start(struct owner *o) {
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame f;
    baton_error err;
    must(bt_spawn_start(o->spawn, 0, &o->fd, &err) == BATON_OK, err.text);
    fcntl(o->fd, F_SETFL, 0);
    bt_put_hello(&out);
    send_all(o, &out);
    hear(o, BT_FRAME_READY, &f);
}

static void end(struct owner *o) {
    struct bt_owner_end ignored;
    struct pollfd fd = {bt_spawn_pidfd(o->spawn, 0), POLLIN, 0};
    bt_spawn_kill(o->spawn, 0);
    must(poll(&fd, 1, -1) == 1 && bt_spawn_reap(o->spawn, 0, &ignored), "reap");
    close(o->fd);
    bt_buf_free(&o->in);
    o->eaten = 0;
}

static void ask(struct owner *o, uint32_t attempt, bt_token *resume, size_t n, uint32_t held) {
    char text[128];
    struct bt_buf out = BT_BUF_INIT;
    bt_bench_prompt(text, sizeof text, 1, 1);
    struct bt_submit s = {.id = 1,
                          .attempt = attempt,
                          .kind = BT_PROMPT_TEXT,
                          .text = {text, strlen(text)},
                          .max_tokens = BT_BENCH_TOKENS,
                          .window = 4096,
                          .resume = resume,
                          .n_resume = n,
                          .resume_held = held};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    bt_put_submit(&out, &s);
    send_all(o, &out);
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void bt_bench_restart(const char *path, double *ready_ms, double *next_ms) {
    struct bt_spawn_params params = {.model = {.path = path},
                                     .context = {.sequences = 8, .ctx = BT_BENCH_CTX, .threads = 1, .exact = true},
                                     .contexts = 1,
                                     .owner = BT_OWNER_PROCESS};
    struct owner o = {.fd = -1};
    int64_t ready[TURNS], next[TURNS];
    baton_error err;
    must(bt_spawn_open(&params, &o.spawn, &err) == BATON_OK, err.text);
    for (int turn = 0; turn < TURNS; turn++) {
        struct bt_frame f;
        struct bt_frame_token t = {.held = 0};
        bt_token head[CUT];
        int64_t at = bt_now_ns();
        start(&o);
        ready[turn] = bt_now_ns() - at;
        ask(&o, 1, NULL, 0, 0);
        for (int i = 0; i < CUT; i++) {
            hear(&o, BT_FRAME_TOKEN, &f);
            must(bt_get_token(&f, &t) == BATON_OK, "a token");
            head[i] = t.token;
        }
        at = bt_now_ns();
        end(&o);
        start(&o);
        ask(&o, 2, head, CUT, t.held);
        hear(&o, BT_FRAME_TOKEN, &f);
        next[turn] = bt_now_ns() - at;
        end(&o);
    }
    bt_spawn_close(&o.spawn);
    qsort(ready, TURNS, sizeof ready[0], ascending);
    qsort(next, TURNS, sizeof next[0], ascending);
    *ready_ms = (double)ready[TURNS / 2] / 1e6;
    *next_ms = (double)next[TURNS / 2] / 1e6;
}
