/* The loop of an owner that runs one request at a time, with a kind of its own: what becomes of a result that is larger
 * than what waits for a slow front, and of one that there is no memory for. */
#include "harness.h"

#include <linux/sockios.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlap.h"
#include "owner/single.h"

enum { LARGE = 24 << 20 };

struct owner {
    int fd;    /* the front's end */
    int inner; /* the owner's */
    bool no_memory;
    _Atomic bool inside, sent;
    pthread_t thread;
    struct bt_buf in, out;
    size_t eaten;
};

static baton_status run(void *arg, struct bt_single *s, struct bt_text asked, baton_error *err) {
    struct owner *o = arg;
    struct bt_buf bytes = {.failed = o->no_memory};
    (void)asked;
    atomic_store(&o->inside, true);
    if (!o->no_memory && bt_buf_reserve(&bytes, LARGE)) {
        for (size_t i = 0; i < LARGE; i++)
            bytes.data[i] = (unsigned char)(i * 2654435761u >> 24);
        bytes.len = LARGE;
    }
    bt_single_data(s, &bytes);
    atomic_store(&o->sent, true);
    return bt_single_stop(s) ? bt_fail(err, BATON_CANCELLED, "it was stopped") : BATON_OK;
}

static void *own(void *arg) {
    struct owner *o = arg;
    const struct bt_single_kind kind = {BT_WHAT_DRAW, "no", run, NULL, o};
    const struct bt_frame_ready ready = {.sequences = 1, .ctx = 1, .versions = {"", 0}};
    struct bt_single *s = bt_single_new(o->inner, &kind);
    assert_non_null(s);
    bt_single_serve(s, &ready);
    bt_single_free(s);
    close(o->inner);
    return NULL;
}

static void say(struct owner *o) {
    assert_int_equal(send(o->fd, o->out.data, o->out.len, MSG_NOSIGNAL), o->out.len);
    o->out.len = 0;
}

static void start(struct owner *o, bool no_memory) {
    int pair[2];
    memset(o, 0, sizeof *o);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    o->fd = pair[0];
    o->inner = pair[1];
    o->no_memory = no_memory;
    assert_int_equal(bt_thread_start(&o->thread, own, o), 0);
    const struct bt_submit ask = {
        .id = 7, .attempt = 1, .what = BT_WHAT_DRAW, .text = {"x", 1}, .state = {"", 0}, .max_tokens = -1};
    bt_put_hello(&o->out);
    bt_put_submit(&o->out, &ask);
    say(o);
}

/* False: the owner has closed its end. */
static bool hear(struct owner *o, struct bt_frame *f) {
    bt_buf_drop(&o->in, o->eaten);
    o->eaten = 0;
    while (bt_frame_peek(o->in.data, o->in.len, f) != BATON_OK) {
        assert_true(bt_buf_reserve(&o->in, 1 << 16));
        ssize_t n = recv(o->fd, o->in.data + o->in.len, 1 << 16, 0);
        if (n <= 0)
            return false;
        o->in.len += (size_t)n;
    }
    o->eaten = f->size;
    return true;
}

/* Up to DONE, whose outcome this is; the bytes before it are counted, and must be in their places. */
static baton_status outcome(struct owner *o, size_t *bytes) {
    struct bt_frame f;
    struct bt_frame_data data;
    struct bt_frame_done done;
    *bytes = 0;
    while (hear(o, &f)) {
        if (f.type == BT_FRAME_DONE) {
            assert_int_equal(bt_get_done(&f, &done), BATON_OK);
            assert_true(done.id == 7 && (!done.outcome || done.error.len > 0));
            return done.outcome;
        }
        if (f.type != BT_FRAME_DATA)
            continue;
        assert_int_equal(bt_get_data(&f, &data), BATON_OK);
        assert_int_equal(data.offset, *bytes);
        for (size_t i = 0; i < data.bytes.len; i += 997)
            assert_int_equal((unsigned char)data.bytes.data[i], (unsigned char)((*bytes + i) * 2654435761u >> 24));
        *bytes += data.bytes.len;
    }
    fail_msg("%s", "the owner ended without a DONE");
    return BATON_FAILED;
}

static void end(struct owner *o) {
    close(o->fd);
    pthread_join(o->thread, NULL);
    bt_buf_free(&o->in);
    bt_buf_free(&o->out);
}

/* What the front said, the owner has read. */
static bool is_read(struct owner *o) {
    int unread;
    assert_int_equal(ioctl(o->fd, SIOCOUTQ, &unread), 0);
    return unread == 0;
}

/* The front does not read: the result waits, most of it where it was made, and what the front says is heard. */
static void probe_P13_a_large_result_waits_for_its_front(void **state) {
    static struct owner o;
    size_t bytes;
    (void)state;
    for (int closes = 0; closes <= 1; closes++) {
        start(&o, false);
        if (closes)
            bt_put_close(&o.out, false);
        else
            bt_put_cancel(&o.out, 7, BATON_RUN_TIMEOUT);
        overlap_wait_until(atomic_load(&o.inside));
        say(&o);
        overlap_wait_until(is_read(&o));
        assert_false(atomic_load(&o.sent));
        assert_int_equal(outcome(&o, &bytes), closes ? BATON_CLOSED : BATON_RUN_TIMEOUT);
        assert_int_equal(bytes, LARGE);
        end(&o);
    }
    start(&o, false); /* nobody says anything, and all is well */
    assert_int_equal(outcome(&o, &bytes), BATON_OK);
    assert_int_equal(bytes, LARGE);
    end(&o);
    start(&o, false); /* the front is gone: nobody is waited for */
    overlap_wait_until(atomic_load(&o.inside));
    end(&o);
    assert_true(atomic_load(&o.sent));
}

/* It is told as that: a cancel that nobody asked for would be the owner's word against the front's, and cost its life.
 */
static void probe_P23_a_result_lost_for_want_of_memory_is_no_cancel(void **state) {
    static struct owner o;
    size_t bytes;
    (void)state;
    start(&o, true);
    assert_int_equal(outcome(&o, &bytes), BATON_NO_MEMORY);
    assert_int_equal(bytes, 0);
    end(&o);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P13_a_large_result_waits_for_its_front),
        cmocka_unit_test(probe_P23_a_result_lost_for_want_of_memory_is_no_cancel),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
