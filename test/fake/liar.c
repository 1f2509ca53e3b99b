/* A front whose owners lie: what comes over the socket touches only what that owner was given. The owners are this
 * file's: it takes the place of ipc/spawn.c. */
#include "frontrun.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/link.h"
#include "ipc/spawn.h"

enum { OWNERS = 2 };
static int owners[OWNERS]; /* their ends of the sockets */
static uint32_t sequences;

baton_status bt_spawn_open(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err) {
    (void)err;
    sequences = (uint32_t)params->context.sequences;
    *spawn = NULL;
    return BATON_OK;
}

baton_status bt_spawn_start(struct bt_spawn *s, int context, int *fd, baton_error *err) {
    int pair[2];
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame_ready ready = {.sequences = sequences,
                                   .ctx = 64,
                                   .width = 1,
                                   .exact = context != 1,
                                   .info = {.name = "a\nb\xff", .description = "\x1b[2J", .vocab_size = 8},
                                   .device = "\r",
                                   .versions = {"c\x7f", 2}};
    (void)s;
    (void)err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *fd = pair[0];
    owners[context] = pair[1];
    bt_put_hello(&out);
    bt_put_ready(&out, &ready);
    assert_int_equal(send(pair[1], out.data, out.len, 0), out.len);
    bt_buf_free(&out);
    return BATON_OK;
}

int bt_spawn_pidfd(const struct bt_spawn *s, int context) {
    (void)s;
    (void)context;
    return -1;
}

int bt_spawn_log_fd(const struct bt_spawn *s, int context) {
    (void)s;
    (void)context;
    return -1;
}

void bt_spawn_read_log(struct bt_spawn *s, int context) {
    (void)s;
    (void)context;
}

void bt_spawn_kill(struct bt_spawn *s, int context) {
    (void)s;
    (void)context;
}

bool bt_spawn_reap(struct bt_spawn *s, int context, struct bt_owner_end *end) {
    (void)s;
    (void)context;
    (void)end;
    return false;
}

const char *bt_spawn_sandbox(const struct bt_spawn *s, int context) {
    (void)s;
    (void)context;
    return "";
}

void bt_spawn_visit(struct bt_spawn *spawn, int context, struct bt_visit *visit) {
    (void)spawn;
    (void)context;
    visit->done(visit, false);
}

bool bt_spawn_is_owner(const struct bt_spawn *spawn) {
    (void)spawn;
    return false;
}

void bt_spawn_close(struct bt_spawn **spawn) {
    *spawn = NULL;
}

static void say_token(int owner, uint64_t id) {
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame_token t = {.id = id, .attempt = 1, .token = 7, .text = {"lie", 3}};
    bt_put_token(&out, &t);
    assert_int_equal(send(owners[owner], out.data, out.len, 0), out.len);
    bt_buf_free(&out);
}

static void say_done(int owner, uint64_t id) {
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame_done d = {.id = id, .attempt = 1, .finish = BT_FINISH_STOP, .text = {"", 0}, .error = {"", 0}};
    bt_put_done(&out, &d);
    assert_int_equal(send(owners[owner], out.data, out.len, 0), out.len);
    bt_buf_free(&out);
}

static void say_data(int owner, uint64_t id, uint64_t offset, const char *bytes) {
    struct bt_buf out = BT_BUF_INIT;
    bt_put_data(&out, &(struct bt_frame_data){id, 1, offset, {bytes, strlen(bytes)}});
    assert_int_equal(send(owners[owner], out.data, out.len, 0), out.len);
    bt_buf_free(&out);
}

static void say_reply(int owner, uint64_t id, const char *bytes) {
    struct bt_buf out = BT_BUF_INIT;
    bt_put_reply(&out, &(struct bt_frame_reply){id, BATON_OK, 0, {bytes, strlen(bytes)}});
    assert_int_equal(send(owners[owner], out.data, out.len, 0), out.len);
    bt_buf_free(&out);
}

static struct bt_front *liars(int contexts) {
    struct bt_front *f = front_open("nobody reads this", contexts, 1, 64, 4, BT_WAIT);
    return f;
}

static void part(struct bt_front *f, int contexts) {
    for (int i = 0; i < contexts; i++)
        close(owners[i]);
    bt_front_close(&f);
}

static void an_owner_ends_only_requests_that_it_was_given(void **state) {
    (void)state;
    struct bt_front *f = liars(OWNERS);
    struct bt_front_counts n;
    struct answer a[3];
    struct bt_submit s = ask_text("a", 5, 0, 0);
    for (int i = 0; i < 3; i++) {
        s.id = (uint64_t)i + 1;
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    }
    assert_int_equal(bt_request_position(a[2].request), 0);
    say_token(0, 3); /* in the queue */
    say_done(0, 3);
    say_token(0, 2); /* the neighbour's */
    say_done(0, 2);
    bt_front_run_once(f, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].done, 0);
        assert_int_equal(a[i].pieces, 0);
    }
    bt_front_counts(f, &n);
    assert_int_equal(n.running, 2);
    assert_int_equal(n.queued, 1);
    for (int i = 0; i < 2; i++)
        say_done(i, (uint64_t)i + 1);
    bt_front_run_once(f, 0);
    assert_int_equal(a[0].done, 1);
    assert_int_equal(a[1].done, 1);
    part(f, OWNERS);
    assert_int_equal(a[2].done, 1);
    assert_int_equal(a[2].outcome.status, BATON_CLOSED);
    for (int i = 0; i < 3; i++)
        answer_free(&a[i]);
}

static void probe_P08_results_come_once_and_from_their_owner_alone(void **state) {
    (void)state;
    struct bt_front *f = liars(OWNERS);
    struct answer a[2];
    struct bt_frame_input input = {{"x", 1}, NULL, 0};
    struct bt_submit s = {.what = BT_WHAT_EMBED, .text = {"", 0}, .state = {"", 0}, .inputs = &input, .n_inputs = 1};
    memset(a, 0, sizeof a);
    for (int i = 0; i < 2; i++) {
        struct bt_handler h = {.on_done = answer_done, .arg = &a[i], .on_data = answer_data};
        s.id = (uint64_t)i + 1;
        assert_int_equal(bt_front_submit(f, &s, NULL, &h, &a[i].request, NULL), BATON_OK);
    }
    say_data(0, 1, 0, "abc");
    say_data(0, 1, 0, "abc"); /* as after a new attempt */
    say_data(0, 1, 2, "cdef");
    say_data(1, 1, 6, "lie"); /* the neighbour's */
    say_done(0, 1);
    say_done(1, 2);
    bt_front_run_once(f, 1000);
    assert_int_equal(a[0].done + a[1].done, 2);
    assert_int_equal(a[0].text.len, 6);
    assert_memory_equal(a[0].text.data, "abcdef", 6);
    assert_int_equal(a[1].text.len, 0);
    for (int i = 0; i < 2; i++)
        answer_free(&a[i]);
    part(f, OWNERS);
}

/* A gap: what is missing will never come. */
static void a_result_with_a_gap_is_a_broken_owner(void **state) {
    (void)state;
    struct bt_front *f = liars(1);
    struct answer a;
    struct bt_frame_input input = {{"x", 1}, NULL, 0};
    struct bt_submit s = {
        .id = 1, .what = BT_WHAT_EMBED, .text = {"", 0}, .state = {"", 0}, .inputs = &input, .n_inputs = 1};
    assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
    say_data(0, 1, 3, "abc"); /* of eight bytes */
    say_done(0, 1);           /* it is not listened to any more */
    bt_front_run_once(f, 1000);
    assert_int_equal(a.done, 0);
    close(owners[0]);
    answers_wait(f, &a, 1);
    assert_int_not_equal(a.outcome.status, BATON_OK);
    answer_free(&a);
    bt_front_close(&f);
}

struct told {
    int times;
    baton_status status;
    struct bt_buf bytes;
};
static void told_data(void *arg, const char *bytes, size_t len) {
    bt_buf_add(&((struct told *)arg)->bytes, bytes, len);
}
static void told_reply(void *arg, baton_status status, const char *text) {
    struct told *t = arg;
    (void)text;
    t->times++;
    t->status = status;
}

static void probe_P08_replies_come_from_the_owner_that_was_asked(void **state) {
    (void)state;
    struct bt_front *f = liars(OWNERS);
    struct told t = {.times = 0}, dropped = {.times = 0};
    struct bt_call_handler h = {told_data, told_reply, &t}, g = {told_data, told_reply, &dropped};
    struct bt_call call = {.op = BT_CALL_SAVE, .about = 7, .bytes = {"", 0}}, other = call;
    assert_int_equal(bt_front_call(f, 0, &call, &h, NULL), BATON_OK);
    assert_int_equal(bt_front_call(f, 0, &other, &g, NULL), BATON_OK);
    bt_front_call_drop(f, other.id);
    say_reply(1, call.id, "lie");
    say_reply(0, other.id, "late");
    bt_front_run_once(f, 1000);
    assert_int_equal(t.times, 0);
    say_reply(0, call.id, "truth");
    bt_front_run_once(f, 1000);
    assert_true(t.times == 1 && t.status == BATON_OK && t.bytes.len == 5);
    assert_int_equal(dropped.times, 0);
    t.times = 0;
    assert_int_equal(bt_front_call(f, 0, &call, &h, NULL), BATON_OK);
    close(owners[0]);
    while (t.times == 0)
        bt_front_run_once(f, 1000);
    assert_int_equal(t.status, BATON_CRASHED);
    assert_int_equal(bt_front_call(f, 0, &call, &h, NULL), BATON_STALE);
    close(owners[1]);
    bt_front_close(&f);
    assert_int_equal(t.times, 1);
    bt_buf_free(&t.bytes);
}

/* The owner takes nothing: what it has not heard of needs no word of its to end. */
static void a_request_that_has_not_left_is_cancelled_at_once(void **state) {
    (void)state;
    enum { SIZE = 8 << 20 };
    struct bt_front *f = front_open("nobody reads this", 1, 2, 64, 4, BT_WAIT);
    struct answer a[2];
    char *text = malloc(SIZE);
    assert_non_null(text);
    memset(text, 'x', SIZE - 1);
    text[SIZE - 1] = '\0';
    struct bt_submit s = ask_text(text, 5, 0, 0);
    for (int i = 0; i < 2; i++) {
        s.id = (uint64_t)i + 1;
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    }
    bt_request_cancel(a[1].request, BATON_CANCELLED);
    assert_int_equal(a[1].done, 1);
    assert_int_equal(a[1].outcome.status, BATON_CANCELLED);
    bt_request_cancel(a[0].request, BATON_CANCELLED); /* its beginning is there: its owner has the last word */
    assert_int_equal(a[0].done, 0);
    close(owners[0]);
    answers_wait(f, a, 1);
    for (int i = 0; i < 2; i++)
        answer_free(&a[i]);
    free(text);
    bt_front_close(&f);
}

static void contexts_are_exact_if_each_of_them_is(void **state) {
    (void)state;
    struct bt_front *f = liars(1);
    assert_true(bt_front_info(f)->ready.exact);
    part(f, 1);
    f = liars(OWNERS);
    assert_false(bt_front_info(f)->ready.exact);
    part(f, OWNERS);
}

/* They come to logs, terminals and metrics. */
static void names_are_lines(void **state) {
    (void)state;
    struct bt_front *f = liars(1);
    const struct bt_frame_ready *r = &bt_front_info(f)->ready;
    assert_string_equal(r->info.name, "a b");
    assert_string_equal(r->info.description, " [2J");
    assert_string_equal(r->device, " ");
    assert_string_equal(r->versions.data, "c ");
    part(f, 1);
}

/* The dead one's place in the gate is given on, to those that live. */
static void the_death_of_one_owner_of_two_costs_only_its_own_requests(void **state) {
    (void)state;
    struct bt_front *f = liars(OWNERS);
    struct answer a[3];
    struct bt_submit s = ask_text("a", 5, 0, 0);
    for (int i = 0; i < 3; i++) {
        s.id = (uint64_t)i + 1;
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    }
    close(owners[0]);
    assert_int_equal(bt_front_run_once(f, 1000), BATON_CRASHED);
    assert_int_equal(a[0].done, 1);
    assert_int_equal(a[0].outcome.status, BATON_CRASHED);
    assert_int_equal(a[1].done, 0);
    assert_int_equal(bt_request_position(a[2].request), -1);
    for (uint64_t id = 2; id <= 3; id++) {
        say_token(1, id);
        say_done(1, id);
    }
    bt_front_run_once(f, 1000);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(a[i].done, 1);
        assert_int_equal(a[i].outcome.status, BATON_OK);
        assert_int_equal(a[i].pieces, 1);
    }
    close(owners[1]);
    bt_front_run_once(f, 1000);
    s.id = 4;
    assert_int_equal(answer_ask(&a[0], f, &s), BATON_CLOSED);
    bt_front_close(&f);
    for (int i = 0; i < 3; i++)
        answer_free(&a[i]);
}

/* Whatever lies there, and however much comes meanwhile: the others have their turn after a piece of it. */
static void probe_P41_a_flood_is_read_a_piece_at_a_time(void **state) {
    (void)state;
    static const char bytes[4096] = "";
    int pair[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    size_t there = 0, seen = 0;
    struct bt_link l;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(bt_link_open(&l, pair[0], epoll, 1, NULL), BATON_OK);
    for (int way = 0; way < 2; way++) {
        for (ssize_t n; (n = send(pair[1], bytes, sizeof bytes, 0)) > 0;)
            there += (size_t)n;
        assert_true(there > BT_LINK_FILL_MAX);
        if (way) {
            assert_true(bt_link_ignore(&l));
            seen = 0;
            while (recv(pair[0], &(char[4096]){0}, 4096, 0) > 0)
                seen++;
            assert_true(seen > 0);
            break;
        }
        while (seen < there) {
            assert_true(bt_link_fill(&l));
            assert_in_range(l.in.len, 1, BT_LINK_FILL_MAX);
            seen += l.in.len;
            l.in.len = 0;
        }
        there = 0;
    }
    bt_link_close(&l);
    close(pair[1]);
    close(epoll);
}

/* Frames that make sense, and are none of anybody's business. */
static void *pulse_for_ever(void *arg) {
    struct bt_buf out = BT_BUF_INIT;
    static struct bt_pulse p;
    p.listed = true;
    p.n = BT_PULSE_MAX;
    for (size_t i = 0; i < p.n; i++)
        p.list[i].id = i;
    bt_put_pulse(&out, &p);
    while (send(*(int *)arg, out.data, out.len, MSG_NOSIGNAL) == (ssize_t)out.len)
        ;
    bt_buf_free(&out);
    return NULL;
}

static void probe_P41_a_flood_of_frames_holds_up_nobody_else(void **state) {
    (void)state;
    struct bt_front *f = liars(OWNERS);
    struct answer a[3];
    struct bt_submit s = ask_text("a", 5, 0, 0);
    const struct bt_limits brief = {BT_WAIT, 1, 20, -1, -1};
    struct bt_handler h = {answer_text, answer_done, &a[2], NULL, NULL};
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        s.id = (uint64_t)i + 1;
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
    }
    memset(&a[2], 0, sizeof a[2]);
    s.id = 3;
    assert_int_equal(bt_front_submit(f, &s, &brief, &h, &a[2].request, NULL), BATON_OK);
    assert_int_equal(bt_thread_start(&thread, pulse_for_ever, &owners[0]), 0);
    while (!a[2].done) /* its deadline is noticed */
        bt_front_run_once(f, 1000);
    assert_int_equal(a[2].outcome.status, BATON_QUEUE_TIMEOUT);
    say_token(1, 2);
    say_done(1, 2);
    answers_wait(f, &a[1], 1);
    assert_int_equal(a[1].outcome.status, BATON_OK);
    assert_int_equal(a[1].pieces, 1);
    assert_int_equal(a[0].done, 0);
    shutdown(owners[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    part(f, OWNERS);
    assert_int_equal(a[0].done, 1);
    for (int i = 0; i < 3; i++)
        answer_free(&a[i]);
}

static void *close_front(void *arg) {
    struct bt_front *f = arg;
    bt_front_close(&f);
    return NULL;
}

static void owners_are_closed_at_once_not_one_after_the_other(void **state) {
    (void)state;
    struct bt_front *f = liars(OWNERS);
    struct timeval patience = {20, 0};
    unsigned char frames[256];
    pthread_t thread;
    assert_int_equal(setsockopt(owners[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_true(recv(owners[1], frames, sizeof frames, 0) > 0); /* hello */
    assert_int_equal(bt_thread_start(&thread, close_front, f), 0);
    struct bt_frame frame = {0};
    ssize_t n = recv(owners[1], frames, sizeof frames, 0); /* while the first owner has not answered */
    bool told = n > 0 && bt_frame_peek(frames, (size_t)n, &frame) == BATON_OK && frame.type == BT_FRAME_CLOSE;
    for (int i = 0; i < OWNERS; i++)
        close(owners[i]);
    pthread_join(thread, NULL);
    assert_true(told);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_owner_ends_only_requests_that_it_was_given),
        cmocka_unit_test(names_are_lines),
        cmocka_unit_test(contexts_are_exact_if_each_of_them_is),
        cmocka_unit_test(probe_P08_results_come_once_and_from_their_owner_alone),
        cmocka_unit_test(a_result_with_a_gap_is_a_broken_owner),
        cmocka_unit_test(probe_P08_replies_come_from_the_owner_that_was_asked),
        cmocka_unit_test(a_request_that_has_not_left_is_cancelled_at_once),
        cmocka_unit_test(the_death_of_one_owner_of_two_costs_only_its_own_requests),
        cmocka_unit_test(probe_P41_a_flood_is_read_a_piece_at_a_time),
        cmocka_unit_test(probe_P41_a_flood_of_frames_holds_up_nobody_else),
        cmocka_unit_test(owners_are_closed_at_once_not_one_after_the_other),
    };
    return bt_test_run(tests, argc, argv);
}
