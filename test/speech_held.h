/* Bodies that need a native call to stay where it is: each call of a model's states goes through here, and the hook
 * that libwhisper asks between its steps does not return until the test says so. The same on the fake and on
 * libwhisper. */
#ifndef BT_SPEECH_HELD_H
#define BT_SPEECH_HELD_H

#include "speech_more.h"

#include <sys/syscall.h>

#include "api/whisper_int.h"

/* Of the first run, by its asks: before the first encoding, and in the middle of decoding. */
enum { HELD_RUNS = 4, BEFORE_ENCODING = 2, IN_DECODING = 12 };

static struct {
    const struct bt_whisper_state_ops *real;
    struct bt_whisper_state_ops ops;
    int at;     /* the ask of the first run that stays inside */
    bool blind; /* and says to go on, whatever it was told meanwhile */
    _Atomic bool inside, go;
    _Atomic int asked, runs, clock;
    _Atomic int entered[HELD_RUNS], returned[HELD_RUNS];
} held;

struct held_run {
    const struct bt_whisper_params *params;
    int number;
};

static bool held_segment(void *arg, const struct bt_whisper_segment *segment, size_t index) {
    const struct held_run *r = arg;
    return r->params->on_segment(r->params->arg, segment, index);
}
static void held_progress(void *arg, int percent) {
    const struct held_run *r = arg;
    r->params->on_progress(r->params->arg, percent);
}
static bool held_stop(void *arg) {
    const struct held_run *r = arg;
    bool here = r->number == 0 && ++held.asked == held.at;
    if (here) {
        held.inside = true;
        overlap_wait_until(held.go);
    }
    return r->params->cancelled(r->params->arg) && !(here && held.blind);
}
static baton_status held_full(struct bt_whisper_state *state, const struct bt_audio *audio,
                              const struct bt_whisper_params *params, struct bt_whisper_result *result,
                              baton_error *err) {
    struct held_run r = {params, held.runs++};
    struct bt_whisper_params mine = *params;
    mine.on_segment = held_segment;
    mine.on_progress = held_progress;
    mine.cancelled = held_stop;
    mine.arg = &r;
    if (r.number < HELD_RUNS)
        held.entered[r.number] = ++held.clock;
    baton_status status = held.real->full(state, audio, &mine, result, err);
    if (r.number < HELD_RUNS)
        held.returned[r.number] = ++held.clock;
    return status;
}

static inline baton_whisper *open_held(int at, bool blind) {
    baton_whisper *w = speech_open(NULL);
    struct bt_whisper_state *state = w->hearers[0].state;
    held.at = at;
    held.blind = blind;
    held.inside = held.go = false;
    held.asked = held.runs = held.clock = 0;
    held.real = state->ops;
    held.ops = *state->ops;
    held.ops.full = held_full;
    state->ops = &held.ops;
    return w;
}

struct closer {
    baton_whisper_stream *s;
    baton_whisper_outcome o;
    _Atomic bool closed;
    _Atomic int tid;
    pthread_t thread;
};
static inline void *close_stream(void *arg) {
    struct closer *c = arg;
    c->tid = (int)syscall(SYS_gettid);
    (void)!baton_whisper_stream_close(&c->s, &c->o);
    c->closed = true;
    return NULL;
}

/* Closes a stream that is inside, on a thread that waits for it when this returns. */
static inline void close_start(struct closer *c, baton_whisper_stream *s) {
    memset(c, 0, sizeof *c);
    c->s = s;
    assert_int_equal(pthread_create(&c->thread, NULL, close_stream, c), 0);
    overlap_wait_until(c->tid != 0 && asleep(c->tid));
    assert_false(c->closed);
}

/* Nobody enters until the native call has returned; then the next waiter does. */
static inline void probe_P11_a_stream_closed_while_it_hears(void **state) {
    (void)state;
    static const int stages[] = {BEFORE_ENCODING, IN_DECODING};
    for (int i = 0; i < 2; i++) {
        baton_whisper *w = open_held(stages[i], true);
        struct closer c;
        static struct speaker next;
        baton_whisper_stream *s = stream_of(w, 0, 0);
        overlap_wait_until(held.inside);
        speaker_queue(&next, w, 1, 0, false, 1);
        close_start(&c, s);
        assert_int_equal(speech_counts(w).queued, 1);
        assert_int_equal(held.runs, 1);
        held.go = true;
        pthread_join(c.thread, NULL);
        assert_int_equal(c.o.status, BATON_CANCELLED);
        assert_int_equal(speaker_end(&next), BATON_OK);
        assert_int_equal(held.runs, 2);
        assert_true(held.entered[1] > held.returned[0]);
        baton_whisper_close(&w);
    }
}

/* Whoever asked goes away: while it encodes it is heard when that is through, while it decodes with the next token, and
 * not a step later; while it queues at once, and the one that is inside hears nothing of it. */
static inline void probe_P22_who_asked_goes_away(void **state) {
    (void)state;
    static const int stages[] = {BEFORE_ENCODING, IN_DECODING};
    for (int i = 0; i < 2; i++) {
        baton_whisper *w = open_held(stages[i], true);
        struct closer c;
        baton_whisper_stream *s = stream_of(w, 0, 0);
        overlap_wait_until(held.inside);
        close_start(&c, s);
        held.go = true;
        pthread_join(c.thread, NULL);
        assert_int_equal(c.o.status, BATON_CANCELLED);
        assert_int_equal(held.asked, stages[i] + 1);
        still_hears(w);
        baton_whisper_close(&w);
    }
    baton_whisper *w = open_held(IN_DECODING, false);
    static struct speaker leaves;
    baton_whisper_stream *s = stream_of(w, 0, 0);
    overlap_wait_until(held.inside);
    speaker_queue(&leaves, w, 1, 7, false, 1);
    assert_true(baton_whisper_cancel(w, 7));
    assert_int_equal(speaker_end(&leaves), BATON_CANCELLED);
    assert_int_equal(held.runs, 1);
    held.go = true;
    assert_int_equal(read_all(s, 0), sounds[0].lone.n_segments);
    assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

struct freer {
    baton_whisper *w;
    pthread_t thread;
};
static inline void *free_when_somebody_queues(void *arg) {
    struct freer *f = arg;
    overlap_wait_until(speech_counts(f->w).queued == 1);
    held.go = true;
    return NULL;
}

/* One thread, two streams, one state: refused, or in its turn, though nobody reads the first one meanwhile; and read by
 * turns each says what it says alone. */
static inline void probe_P09_two_streams_on_one_thread(void **state) {
    (void)state;
    baton_whisper *w = open_held(BEFORE_ENCODING, false);
    baton_whisper_ask ask = ask_for(1);
    baton_request request = BATON_REQUEST;
    baton_whisper_stream *a = stream_of(w, 0, 0), *b;
    const baton_whisper_segment *g;
    struct freer f = {.w = w};
    baton_lease lease;
    ask.request = &request;
    overlap_wait_until(held.inside);
    assert_int_equal(baton_whisper_stream_open(w, &ask, &b, NULL), BATON_BUSY);
    request.when_full = BATON_WAIT;
    request.queue_ms = 5;
    assert_int_equal(baton_whisper_stream_open(w, &ask, &b, NULL), BATON_QUEUE_TIMEOUT);
    assert_int_equal(held.runs, 1);
    assert_int_equal(pthread_create(&f.thread, NULL, free_when_somebody_queues, &f), 0);
    b = stream_of(w, 1, 0);
    pthread_join(f.thread, NULL);
    baton_status status[2] = {BATON_OK, BATON_OK};
    size_t n[2] = {0, 0};
    for (int i = 0; !status[0] || !status[1]; i ^= 1) {
        status[i] = status[i] ? status[i] : baton_whisper_stream_next(i ? b : a, -1, &g);
        if (!status[i])
            assert_true(same_segment(g, &sounds[i].lone.segments[n[i]++]));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(status[i], BATON_END);
        assert_int_equal(n[i], sounds[i].lone.n_segments);
    }
    assert_int_equal(baton_whisper_stream_close(&a, NULL), BATON_OK);
    assert_int_equal(baton_whisper_stream_close(&b, NULL), BATON_OK);
    assert_true(held.entered[1] > held.returned[0]);
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_whisper_stream_open(w, &ask, &b, NULL), BATON_WOULD_DEADLOCK);
    request.when_full = BATON_REFUSE;
    assert_int_equal(baton_whisper_stream_open(w, &ask, &b, NULL), BATON_BUSY);
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

#define SPEECH_HELD                                                                                                    \
    cmocka_unit_test(probe_P09_two_streams_on_one_thread), cmocka_unit_test(probe_P11_a_stream_closed_while_it_hears), \
        cmocka_unit_test(probe_P22_who_asked_goes_away)

#endif
