/* More bodies on baton/whisper.h: streams, cancel and close, all states at once. */
#ifndef BT_SPEECH_MORE_H
#define BT_SPEECH_MORE_H

#include "resources.h"
#include "speech_bodies.h"

#include <poll.h>

static inline baton_whisper_stream *stream_of(baton_whisper *w, int sound, uint64_t id) {
    baton_whisper_ask ask = ask_for(sound);
    baton_request request = BATON_REQUEST;
    baton_whisper_stream *s;
    baton_error err;
    request.id = id;
    request.when_full = BATON_WAIT;
    ask.request = &request;
    if (baton_whisper_stream_open(w, &ask, &s, &err))
        fail_msg("%s", err.text);
    return s;
}

/* Reads to the end; the segments are those of a lone run. Returns how many. */
static inline size_t read_all(baton_whisper_stream *s, int sound) {
    const baton_whisper_segment *g;
    baton_status status;
    size_t n = 0;
    while ((status = baton_whisper_stream_next(s, -1, &g)) == BATON_OK) {
        assert_true(n < sounds[sound].lone.n_segments);
        assert_true(same_segment(g, &sounds[sound].lone.segments[n]));
        n++;
    }
    assert_int_equal(status, BATON_END);
    assert_null(g);
    return n;
}

static inline void a_stream_gives_what_a_lone_run_does(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_stream *s;
    baton_whisper_outcome o;
    baton_error err;
    for (int k = 0; k < SOUNDS; k++) {
        s = stream_of(w, k, 0);
        struct pollfd fd = {.fd = baton_whisper_stream_fd(s), .events = POLLIN};
        assert_true(fd.fd >= 0);
        assert_int_equal(poll(&fd, 1, -1), 1);
        assert_int_equal(read_all(s, k), sounds[k].lone.n_segments);
        assert_int_equal(poll(&fd, 1, 0), 1); /* the end can be read, again and again */
        assert_int_equal(baton_whisper_stream_progress(s), 100);
        assert_int_equal(baton_whisper_stream_close(&s, &o), BATON_OK);
        assert_null(s);
        assert_int_equal(o.segments, sounds[k].lone.n_segments);
        assert_string_equal(o.language_name, "en");
        assert_int_equal(baton_whisper_stream_close(&s, &o), BATON_OK); /* twice */
    }
    ask.on_segment = speaker_on_segment;
    assert_int_equal(baton_whisper_stream_open(w, &ask, &s, &err), BATON_MISUSE);
    assert_null(s);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void probe_P10_a_stream_dropped_before_its_first_piece(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    for (int i = 0; i < on.rounds / 20 + 2; i++) {
        baton_whisper_stream *s = stream_of(w, i % SOUNDS, 0);
        baton_status status = baton_whisper_stream_close(&s, NULL);
        assert_true(status == BATON_CANCELLED || status == BATON_OK);
        baton_lease lease;
        assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK); /* free at once */
        assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    }
    still_hears(w);
    baton_whisper_close(&w);
}

/* A stream nobody reads gives its state back all the same, and loses nothing. */
static inline void probe_P13_a_reader_that_stops_reading_holds_nobody_up(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(1, BATON_WAIT);
    baton_whisper_stream *s = stream_of(w, 2, 0);
    baton_whisper_result r;
    must_full(w, 1, &r); /* waits for the state, not for a reader */
    assert_true(same_speech(&r, &sounds[1].lone));
    baton_whisper_result_free(&r);
    assert_int_equal(read_all(s, 2), sounds[2].lone.n_segments);
    assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
    baton_whisper_close(&w);
}

struct opener {
    baton_whisper *w;
    baton_whisper_stream *s;
    size_t n;
};
static inline void *open_stream(void *arg) {
    struct opener *o = arg;
    o->s = stream_of(o->w, 1, 0);
    return NULL;
}
static inline void *read_stream(void *arg) {
    struct opener *o = arg;
    o->n = read_all(o->s, 1);
    return NULL;
}

static inline void probe_P12_a_stream_goes_from_thread_to_thread(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    struct opener o = {.w = w};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_stream, &o), 0);
    pthread_join(thread, NULL); /* it ended; its stream did not */
    assert_int_equal(pthread_create(&thread, NULL, read_stream, &o), 0);
    pthread_join(thread, NULL);
    assert_int_equal(o.n, sounds[1].lone.n_segments);
    assert_int_equal(baton_whisper_stream_close(&o.s, NULL), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void probe_P15_again_and_again(void **state) {
    (void)state;
    int before = threads_alive();
    baton_whisper *w = speech_open(NULL);
    for (int i = 0; i < on.opens; i++) {
        baton_whisper_stream *s = stream_of(w, i % SOUNDS, (uint64_t)i + 1);
        if (i % 3 == 0)
            baton_whisper_cancel(w, (uint64_t)i + 1);
        (void)!baton_whisper_stream_close(&s, NULL);
    }
    baton_counts c = speech_counts(w);
    assert_int_equal(c.accepted, c.completed + c.cancelled);
    assert_int_equal(c.accepted, on.opens);
    still_hears(w);
    baton_whisper_close(&w);
    no_more_threads_than(before);
}

/* ---- cancel, deadline, close */

static inline void probe_P20_a_cancel_hits_whom_it_names(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    static struct speaker first, second, third;
    baton_whisper_ask ask = ask_for(3);
    baton_whisper_result r;
    speaker_hold(&first, w, 0, 1);
    speaker_queue(&second, w, 1, 2, false, 1);
    speaker_queue(&third, w, 2, 3, false, 2);
    assert_true(baton_whisper_cancel(w, 2));
    assert_int_equal(speaker_end(&second), BATON_CANCELLED);
    assert_false(baton_whisper_cancel(w, 2));
    assert_false(baton_whisper_cancel(w, 4));
    assert_true(baton_whisper_cancel(w, 1)); /* the running one */
    assert_int_equal(baton_whisper_full(w, &ask, &r, NULL), BATON_BUSY);
    baton_whisper_result_free(&r); /* who was refused left the holder's cancel as it was */
    assert_int_equal(speaker_end(&first), BATON_CANCELLED);
    assert_int_equal(speaker_end(&third), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void probe_P21_a_cancel_within_a_window_keeps_what_there_was(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    struct speaker s;
    speaker_hold(&s, w, 1, 9);
    assert_true(baton_whisper_cancel(w, 9));
    s.go = true;
    pthread_join(s.thread, NULL);
    assert_int_equal(s.status, BATON_CANCELLED);
    assert_int_equal(s.result.outcome.status, BATON_CANCELLED);
    assert_true(s.result.n_segments >= 1 && s.result.n_segments < sounds[1].lone.n_segments);
    assert_int_equal(s.result.outcome.segments, s.result.n_segments);
    assert_true(begins(&s.result, &sounds[1].lone));
    assert_non_null(strstr(s.err.text, "request 9 was cancelled"));
    baton_whisper_result_free(&s.result);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline bool outlast(void *arg, const baton_whisper_segment *segment, size_t index) {
    (void)segment;
    (void)index;
    nanosleep(&(struct timespec){.tv_nsec = 1000000 * (int64_t) * (int *)arg}, NULL);
    return true;
}

static inline void probe_P23_the_timeouts_and_the_cancel_are_told_apart(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(1, BATON_WAIT);
    static struct speaker first, second;
    baton_whisper_ask ask = ask_for(1);
    baton_request request = BATON_REQUEST;
    baton_whisper_result r;
    baton_error err;
    int ms = on.run_ms + 5;
    ask.request = &request;
    speaker_hold(&first, w, 0, 0);
    request.queue_ms = 5;
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_QUEUE_TIMEOUT);
    assert_non_null(strstr(err.text, "not granted within 5 ms"));
    baton_whisper_result_free(&r);
    assert_int_equal(baton_whisper_full_parallel(w, &ask, &r, &err), BATON_QUEUE_TIMEOUT);
    baton_whisper_result_free(&r);
    speaker_queue(&second, w, 1, 8, false, 1);
    assert_true(baton_whisper_cancel(w, 8));
    assert_int_equal(speaker_end(&second), BATON_CANCELLED);
    assert_int_equal(speaker_end(&first), BATON_OK);
    request.run_ms = on.run_ms;
    ask.on_segment = outlast;
    ask.arg = &ms;
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_RUN_TIMEOUT);
    assert_non_null(strstr(err.text, "run timeout of "));
    assert_true(r.n_segments <= 1);
    assert_true(begins(&r, &sounds[1].lone));
    assert_int_equal(r.outcome.status, BATON_RUN_TIMEOUT);
    assert_false(r.outcome.more);
    baton_whisper_result_free(&r);
    still_hears(w);
    baton_counts c = speech_counts(w);
    assert_int_equal(c.timed_out, 1);
    assert_int_equal(c.refused, 3);
    baton_whisper_close(&w);
}

static inline void probe_P24_a_cancel_beside_the_end_has_one_outcome(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    uint64_t seed = bt_test_seed();
    int cancelled = 0;
    for (int i = 0; i < on.rounds / 4 + 1; i++) {
        struct speaker s;
        speaker_init(&s, w, i % SOUNDS, (uint64_t)i + 1);
        speaker_start(&s);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t spin = seed >> 52; spin > 0; spin--)
            baton_op_text(BATON_OP_IDLE);
        baton_whisper_cancel(w, (uint64_t)i + 1);
        baton_status status = speaker_end(&s); /* whole, or how it begins */
        assert_true(status == BATON_OK || status == BATON_CANCELLED);
        cancelled += status == BATON_CANCELLED;
    }
    baton_counts c = speech_counts(w);
    assert_int_equal(c.cancelled, cancelled);
    assert_int_equal(c.completed + c.cancelled, on.rounds / 4 + 1);
    baton_whisper_close(&w);
}

struct closing {
    baton_whisper *w;
    _Atomic bool closed;
};
static inline void *close_it(void *arg) {
    struct closing *c = arg;
    baton_whisper_close(&c->w);
    c->closed = true;
    return NULL;
}

static inline void probe_P25_a_close_while_it_is_busy(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(2, BATON_WAIT);
    static struct speaker holder, single, all;
    struct closing c = {.w = w};
    baton_lease lease;
    pthread_t thread;
    speaker_hold(&holder, w, 0, 0);
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    speaker_queue(&single, w, 1, 0, false, 1);
    speaker_queue(&all, w, 2, 0, true, 2);
    assert_int_equal(pthread_create(&thread, NULL, close_it, &c), 0);
    assert_int_equal(speaker_end(&single), BATON_CLOSED);
    assert_int_equal(speaker_end(&all), BATON_CLOSED);
    overlap_wait_until(baton_lease_cancelled(&lease));
    assert_false(c.closed); /* one is inside still */
    assert_int_equal(speaker_end(&holder), BATON_CANCELLED);
    assert_false(c.closed); /* and there is a lease by hand */
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    pthread_join(thread, NULL);
    assert_null(c.w);
    baton_whisper_close(&c.w);
}

static inline bool close_from_inside(void *arg, const baton_whisper_segment *segment, size_t index) {
    (void)segment;
    (void)index;
    baton_whisper_close(arg);
    return true;
}

static inline void probe_P25_a_close_from_a_callback_and_beside_a_stream(void **state) {
    (void)state;
    for (int parallel = 0; parallel <= 1; parallel++) {
        baton_whisper *w = speech_open_states(2, BATON_REFUSE);
        baton_whisper_ask ask = ask_for(0);
        baton_whisper_result r;
        ask.on_segment = close_from_inside;
        ask.arg = &w;
        baton_status status =
            parallel ? baton_whisper_full_parallel(w, &ask, &r, NULL) : baton_whisper_full(w, &ask, &r, NULL);
        assert_int_equal(status, parallel ? BATON_OK : BATON_CANCELLED); /* in parallel all was heard before */
        assert_true(parallel || begins(&r, &sounds[0].lone));
        baton_whisper_result_free(&r);
        assert_null(w);
    }
    baton_whisper *w = speech_open(NULL);
    baton_whisper_stream *s = stream_of(w, 1, 0);
    const baton_whisper_segment *g;
    baton_whisper_close(&w);
    size_t n = 0;
    while (baton_whisper_stream_next(s, -1, &g) == BATON_OK)
        assert_true(same_segment(g, &sounds[1].lone.segments[n++]));
    baton_status status = baton_whisper_stream_close(&s, NULL);
    assert_true(status == BATON_CANCELLED || (status == BATON_OK && n == sounds[1].lone.n_segments));
    w = speech_open(NULL); /* with a lease by hand: what is left is done when it is released */
    baton_lease lease;
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    baton_whisper_close(&w);
    assert_true(baton_lease_cancelled(&lease));
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
}

/* ---- all states at once */

static inline void all_states_hear_what_each_would_alone(void **state) {
    (void)state;
    enum { N = 2 };
    baton_whisper *w = speech_open_states(N, BATON_REFUSE), *one = speech_open(NULL);
    struct speaker in;
    baton_whisper_ask ask = ask_for(2), part = ask;
    baton_whisper_result all, again, alone;
    size_t each = ask.n_samples / N / 16 * 16, k = 0;
    assert_int_equal(baton_whisper_full_parallel(w, &ask, &all, NULL), BATON_OK);
    assert_int_equal(baton_whisper_full_parallel(w, &ask, &again, NULL), BATON_OK);
    assert_true(same_speech(&all, &again));
    for (int i = 0; i < N; i++) {
        part.samples = ask.samples + (size_t)i * each;
        part.n_samples = i < N - 1 ? each : ask.n_samples - (size_t)i * each;
        assert_int_equal(baton_whisper_full(one, &part, &alone, NULL), BATON_OK);
        for (size_t j = 0; j < alone.n_segments; j++, k++) {
            assert_true(k < all.n_segments);
            assert_string_equal(alone.segments[j].text, all.segments[k].text);
        }
        baton_whisper_result_free(&alone);
    }
    assert_int_equal(k, all.n_segments);
    baton_whisper_result_free(&all);
    baton_whisper_result_free(&again);
    assert_int_equal(baton_whisper_full_parallel(one, &ask, &alone, NULL), BATON_OK);
    assert_true(same_speech(&alone, &sounds[2].lone)); /* one state: the whole */
    baton_whisper_result_free(&alone);
    speaker_hold(&in, w, 0, 0); /* one in use is all in use, and the other one stays free */
    assert_int_equal(baton_whisper_full_parallel(w, &ask, &all, NULL), BATON_BUSY);
    assert_int_equal(speech_counts(w).running, 1);
    assert_int_equal(speaker_end(&in), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
    baton_whisper_close(&one);
}

/* Two want all states, while the states come free one by one: whoever collects keeps what it has, and the other one
 * must not get what the first still needs. */
static inline void probe_P02_two_that_want_all_states_never_wait_for_each_other(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(3, BATON_WAIT);
    static struct speaker singles[2], all[2], last;
    speaker_hold(&singles[0], w, 0, 0);
    speaker_hold(&singles[1], w, 1, 0);
    speaker_queue(&all[0], w, 2, 0, true, 1); /* has the third, waits for the second */
    speaker_queue(&all[1], w, 3, 0, true, 2);
    speaker_queue(&last, w, 1, 0, false, 3);
    assert_int_equal(speaker_end(&singles[0]), BATON_OK);
    assert_int_equal(speaker_end(&singles[1]), BATON_OK);
    assert_int_equal(speaker_end(&all[0]), BATON_OK);
    assert_int_equal(speaker_end(&all[1]), BATON_OK);
    assert_int_equal(speaker_end(&last), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

/* It would wait for the turn of one who waits for what it holds itself. */
static inline void probe_P04_who_holds_a_state_does_not_wait_for_a_turn(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(2, BATON_WAIT);
    static struct speaker all;
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_lease lease;
    baton_error err;
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    speaker_queue(&all, w, 1, 0, true, 1);
    assert_int_equal(baton_whisper_full_parallel(w, &ask, &r, &err), BATON_WOULD_DEADLOCK);
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_WOULD_DEADLOCK); /* each has what the other needs */
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    assert_int_equal(speaker_end(&all), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void probe_P20_a_request_for_all_states_is_cancelled_whole(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(2, BATON_WAIT);
    static struct speaker in, all, other;
    speaker_hold(&in, w, 0, 1);
    speaker_queue(&all, w, 1, 2, true, 1); /* has one state, waits for the other */
    assert_int_equal(speech_counts(w).running, 2);
    speaker_queue(&other, w, 2, 3, true, 2); /* waits for its turn */
    assert_true(baton_whisper_cancel(w, 3));
    assert_int_equal(speaker_end(&other), BATON_CANCELLED);
    assert_true(baton_whisper_cancel(w, 2));
    assert_int_equal(speaker_end(&all), BATON_CANCELLED);
    assert_int_equal(speech_counts(w).running, 1); /* and its state is free */
    assert_int_equal(speaker_end(&in), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void languages_are_told_apart_and_metadata_need_no_state(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    baton_whisper_info info = {.size = sizeof info};
    baton_whisper_ask ask = ask_for(1);
    baton_whisper_result r;
    int language, again;
    baton_whisper_get_info(w, &info);
    float *p = calloc((size_t)info.languages, sizeof *p);
    assert_non_null(p);
    assert_int_equal(baton_whisper_detect(w, &ask, &language, p, NULL), BATON_OK);
    assert_int_equal(baton_whisper_detect(w, &ask, &again, NULL, NULL), BATON_OK);
    assert_int_equal(language, again);
    for (int i = 0; i < info.languages; i++)
        assert_true(p[i] <= p[language]);
    ask.language = NULL;
    assert_int_equal(baton_whisper_full(w, &ask, &r, NULL), BATON_OK);
    assert_int_equal(r.outcome.language, language);
    assert_string_equal(r.outcome.language_name, baton_whisper_language_name(w, language));
    baton_whisper_result_free(&r);
    assert_int_equal(baton_whisper_language(w, "german"), baton_whisper_language(w, "de"));
    assert_int_equal(baton_whisper_language(w, "klingon"), -1);
    assert_int_equal(baton_whisper_language(w, NULL), -1);
    assert_null(baton_whisper_language_name(w, info.languages));
    assert_non_null(baton_whisper_token_text(w, 0));
    assert_null(baton_whisper_token_text(w, info.vocab_size));
    free(p);
    baton_whisper_close(&w);
}

/* All of them, for a program's list. */
#define SPEECH_BODIES                                                                                                  \
    cmocka_unit_test(probe_P01_the_second_is_refused_by_name),                                                         \
        cmocka_unit_test(probe_P02_those_who_wait_come_in_order_and_are_right),                                        \
        cmocka_unit_test(probe_P03_hand_off_is_right_and_the_old_lease_is_stale),                                      \
        cmocka_unit_test(probe_P03_what_a_lease_leaves_behind),                                                        \
        cmocka_unit_test(a_stay_by_hand_leaves_a_state_as_it_was),                                                     \
        cmocka_unit_test(probe_P04_a_callback_into_its_own_state_is_told_so),                                          \
        cmocka_unit_test(probe_P04_who_holds_an_idle_lease_and_asks_again),                                            \
        cmocka_unit_test(probe_P05_every_way_out_gives_the_state_back),                                                \
        cmocka_unit_test(probe_P06_as_many_at_once_as_there_are_states),                                               \
        cmocka_unit_test(probe_P07_models_never_wait_for_each_other),                                                  \
        cmocka_unit_test(a_stream_gives_what_a_lone_run_does),                                                         \
        cmocka_unit_test(probe_P10_a_stream_dropped_before_its_first_piece),                                           \
        cmocka_unit_test(probe_P13_a_reader_that_stops_reading_holds_nobody_up),                                       \
        cmocka_unit_test(probe_P12_a_stream_goes_from_thread_to_thread), cmocka_unit_test(probe_P15_again_and_again),  \
        cmocka_unit_test(probe_P20_a_cancel_hits_whom_it_names),                                                       \
        cmocka_unit_test(probe_P21_a_cancel_within_a_window_keeps_what_there_was),                                     \
        cmocka_unit_test(probe_P23_the_timeouts_and_the_cancel_are_told_apart),                                        \
        cmocka_unit_test(probe_P24_a_cancel_beside_the_end_has_one_outcome),                                           \
        cmocka_unit_test(probe_P25_a_close_while_it_is_busy),                                                          \
        cmocka_unit_test(probe_P25_a_close_from_a_callback_and_beside_a_stream),                                       \
        cmocka_unit_test(all_states_hear_what_each_would_alone),                                                       \
        cmocka_unit_test(probe_P02_two_that_want_all_states_never_wait_for_each_other),                                \
        cmocka_unit_test(probe_P04_who_holds_a_state_does_not_wait_for_a_turn),                                        \
        cmocka_unit_test(probe_P20_a_request_for_all_states_is_cancelled_whole),                                       \
        cmocka_unit_test(languages_are_told_apart_and_metadata_need_no_state)

#endif
