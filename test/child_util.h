/* For tests of an owner process: one started directly, spoken to in bare frames, watched to its end. */
#ifndef BT_CHILD_UTIL_H
#define BT_CHILD_UTIL_H

#include "peer.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "ipc/spawn.h"

struct child {
    struct bt_spawn *spawn;
    struct peer peer; /* its fd is the front's end of the socket */
};

static inline struct bt_spawn_params child_params(const char *model) {
    return (struct bt_spawn_params){.model = {.path = model},
                                    .context = {.sequences = 2, .ctx = 256, .threads = 1, .exact = true},
                                    .contexts = 1,
                                    .owner = BT_OWNER_PROCESS};
}

static inline void child_start(struct child *c) {
    baton_error err;
    memset(&c->peer, 0, sizeof c->peer);
    if (bt_spawn_start(c->spawn, 0, &c->peer.fd, &err))
        fail_msg("%s", err.text);
    fcntl(c->peer.fd, F_SETFL, 0); /* the peer waits in recv */
}

static inline void child_open_with(struct child *c, const struct bt_spawn_params *params) {
    baton_error err;
    if (bt_spawn_open(params, &c->spawn, &err))
        fail_msg("%s", err.text);
    child_start(c);
}

static inline void child_open(struct child *c, const char *model) {
    struct bt_spawn_params params = child_params(model);
    child_open_with(c, &params);
}

static inline void child_hang_up(struct child *c) {
    shutdown(c->peer.fd, SHUT_RDWR);
    close(c->peer.fd);
    bt_buf_free(&c->peer.in);
    bt_buf_free(&c->peer.out);
}

static inline void child_close(struct child *c) {
    child_hang_up(c);
    bt_spawn_close(&c->spawn);
}

/* How it ended; the test fails if it does not. */
static inline struct bt_owner_end child_end(struct child *c) {
    struct bt_owner_end end;
    struct pollfd fd = {bt_spawn_pidfd(c->spawn, 0), POLLIN, 0};
    assert_true(fd.fd >= 0);
    assert_int_equal(poll(&fd, 1, 20000), 1);
    assert_true(bt_spawn_reap(c->spawn, 0, &end));
    assert_int_equal(bt_spawn_pidfd(c->spawn, 0), -1);
    return end;
}

/* Up to READY, FATAL or the end; true: READY. What READY says goes to *ready, whose texts live until the next frame. */
static inline bool child_ready(struct child *c, struct bt_frame_ready *ready, baton_error *err) {
    struct bt_frame f;
    struct bt_text text;
    bt_put_hello(&c->peer.out);
    send(c->peer.fd, c->peer.out.data, c->peer.out.len, MSG_NOSIGNAL);
    c->peer.out.len = 0;
    *err = (baton_error){BATON_OK, ""};
    while (hear(&c->peer, &f)) {
        if (f.type == BT_FRAME_READY)
            return bt_get_ready(&f, ready) == BATON_OK;
        if (f.type == BT_FRAME_FATAL) {
            assert_int_equal(bt_get_fatal(&f, &err->status, &text), BATON_OK);
            snprintf(err->text, sizeof err->text, "%s", text.data);
            return false;
        }
    }
    return false;
}

static inline void child_ask(struct child *c, uint64_t id, const char *prompt) {
    struct bt_submit s = ask(id, prompt, 0);
    bt_put_submit(&c->peer.out, &s);
    say(&c->peer);
}

#endif
