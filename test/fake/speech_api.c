/* baton/whisper.h on the fake recogniser: the bodies, and what only it can show: overlaps, failures, calls that hang.
 */
#include "speech_fake.h"
#include "speech_held.h"
#include "speech_long.h"
#include "speech_probes.h"

#include "lease/lease.h"

static void no_overlaps(void) {
    assert_false(something_is_left());
}

/* A hook that keeps a window from ending. */
static struct {
    _Atomic bool inside, go;
    int window;
} gate;
static void stay_in_window(void *arg, const struct bt_whisper_state *s, int window) {
    (void)arg;
    (void)s;
    if (window != gate.window)
        return;
    gate.inside = true;
    overlap_wait_until(gate.go);
}
static void close_window(int window) {
    gate.inside = gate.go = false;
    gate.window = window;
    bt_fake_whisper_set_hook(stay_in_window, NULL);
}

/* Segments come while it hears, not when it is through; a second reader is refused, and an event loop can wait. */
static void a_stream_is_read_while_it_hears(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    const baton_whisper_segment *g;
    baton_snapshot shot = {.size = sizeof shot};
    close_window(2);
    baton_whisper_stream *s = stream_of(w, 0, 0);
    struct pollfd fd = {.fd = baton_whisper_stream_fd(s), .events = POLLIN};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(poll(&fd, 1, -1), 1);
        assert_int_equal(baton_whisper_stream_next(s, 0, &g), BATON_OK);
        assert_true(same_segment(g, &sounds[0].lone.segments[i]));
    }
    overlap_wait_until(gate.inside);
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_int_equal(baton_whisper_stream_next(s, 0, &g), BATON_AGAIN);
    assert_int_equal(baton_whisper_stream_next(s, 3, &g), BATON_AGAIN);
    assert_null(g);
    int percent = baton_whisper_stream_progress(s);
    assert_true(percent > 0 && percent < 100);
    assert_int_equal(baton_whisper_snapshot(w, &shot, NULL), BATON_OK);
    assert_true(shot.context[0].inside);
    assert_int_equal(shot.context[0].op, BATON_OP_STREAM);
    assert_string_equal(shot.context[0].thread, "baton-whisper");
    assert_int_equal(shot.context[0].request, baton_whisper_stream_id(s));
    baton_snapshot_free(&shot);
    bt_fake_whisper_set_hook(NULL, NULL);
    gate.go = true;
    while (baton_whisper_stream_next(s, -1, &g) == BATON_OK)
        ;
    assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
    baton_whisper_close(&w);
    no_overlaps();
}

/* One whose segments come to more than the audio that they are made of, and than a MiB, is cut when nobody reads it. */
static void probe_P13_what_lies_unread_is_bounded(void **state) {
    (void)state;
    const char *path = on.path;
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_outcome o;
    baton_whisper_result all;
    baton_whisper_stream *s;
    const baton_whisper_segment *g;
    size_t n = 0, bytes = 0;
    on.path = "fake:segments=9000";
    baton_whisper *w = speech_open_states(1, BATON_WAIT);
    assert_int_equal(baton_whisper_full(w, &ask, &all, NULL), BATON_OK);
    assert_int_equal(baton_whisper_stream_open(w, &ask, &s, NULL), BATON_OK);
    overlap_wait_until(speech_counts(w).running == 0);
    for (; baton_whisper_stream_next(s, -1, &g) == BATON_OK; n++) {
        assert_true(same_segment(g, &all.segments[n]));
        bytes += sizeof *g + g->n_tokens * sizeof *g->tokens + strlen(g->text);
    }
    assert_true(n < all.n_segments && bytes <= 1 << 20);
    assert_int_equal(baton_whisper_stream_close(&s, &o), BATON_CANCELLED);
    assert_int_equal(o.segments, n);
    assert_non_null(strstr(o.text, "larger than the audio"));
    baton_whisper_result_free(&all);
    baton_whisper_close(&w);
    on.path = "fake:segments=500"; /* half a MiB of them */
    w = speech_open_states(1, BATON_WAIT);
    assert_int_equal(baton_whisper_stream_open(w, &ask, &s, NULL), BATON_OK);
    overlap_wait_until(speech_counts(w).running == 0);
    for (n = 0; baton_whisper_stream_next(s, -1, &g) == BATON_OK; n++)
        ;
    assert_int_equal(n, 5 * 500);
    assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
    baton_whisper_close(&w);
    on.path = path;
    no_overlaps();
}

static void probe_P05_a_failed_call_gives_the_state_back(void **state) {
    (void)state;
    const char *path = on.path;
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_whisper_outcome o;
    baton_error err;
    on.path = "fake:fail_at=1";
    baton_whisper *w = speech_open(NULL);
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_FAILED);
    assert_non_null(strstr(err.text, "fail_at"));
    assert_int_equal(r.n_segments, 0);
    assert_int_equal(speech_counts(w).failed, 1);
    still_hears(w);
    baton_whisper_close(&w);
    w = speech_open_states(2, BATON_REFUSE);
    assert_int_equal(baton_whisper_full_parallel(w, &ask, &r, &err), BATON_FAILED);
    assert_int_equal(r.n_segments, 0);
    still_hears(w);
    baton_whisper_close(&w);
    w = speech_open(NULL);
    baton_whisper_stream *s = stream_of(w, 0, 0);
    const baton_whisper_segment *g;
    while (baton_whisper_stream_next(s, -1, &g) == BATON_OK)
        ;
    assert_int_equal(baton_whisper_stream_close(&s, &o), BATON_FAILED);
    assert_non_null(strstr(o.text, "fail_at"));
    still_hears(w);
    baton_whisper_close(&w);
    on.path = path;
    no_overlaps();
}

/* A call that would never end, in every way of asking. */
static void probe_P21_a_call_that_hangs_is_ended(void **state) {
    (void)state;
    const char *path = on.path;
    baton_request request = BATON_REQUEST;
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_error err;
    on.path = "fake:hang_at=1";
    ask.request = &request;
    for (int way = 0; way < 3; way++) {
        baton_whisper *w = speech_open_states(way == 1 ? 2 : 1, BATON_REFUSE);
        request.run_ms = 20;
        if (way == 2) {
            baton_whisper_stream *s;
            const baton_whisper_segment *g;
            assert_int_equal(baton_whisper_stream_open(w, &ask, &s, NULL), BATON_OK);
            assert_int_equal(baton_whisper_stream_next(s, -1, &g), BATON_END);
            assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_RUN_TIMEOUT);
        } else if (way == 1) {
            assert_int_equal(baton_whisper_full_parallel(w, &ask, &r, &err), BATON_RUN_TIMEOUT);
            baton_whisper_result_free(&r);
        } else {
            assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_RUN_TIMEOUT);
            baton_whisper_result_free(&r);
        }
        still_hears(w);
        baton_whisper_close(&w);
    }
    baton_whisper *w = speech_open(NULL); /* a cancel of a stream that nobody reads */
    baton_whisper_stream *s = stream_of(w, 0, 6);
    assert_int_equal(baton_whisper_stream_id(s), 6);
    assert_true(baton_whisper_cancel(w, 6));
    const baton_whisper_segment *g;
    assert_int_equal(baton_whisper_stream_next(s, -1, &g), BATON_END);
    assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_CANCELLED);
    still_hears(w);
    baton_whisper_close(&w);
    on.path = path;
    no_overlaps();
}

/* A request that was cancelled between two of its waits does not go to sleep for the second. */
static void probe_P20_a_cancel_between_two_waits_is_not_lost(void **state) {
    (void)state;
    int first, second;
    void *a = &first, *b = &second;
    struct bt_pool *turns, *others;
    const struct bt_ask named = {.when_full = BT_WAIT, .queue_ms = -1, .id = 5, .priority = 1};
    struct bt_pool_params p = {.name = "a turn", .contexts = &a, .n_contexts = 1, .queue_max = 4};
    struct bt_lease turn, lease, none;
    baton_error err;
    assert_int_equal(bt_pool_open(&p, &turns, NULL), BATON_OK);
    p.contexts = &b;
    assert_int_equal(bt_pool_open(&p, &others, NULL), BATON_OK);
    assert_int_equal(bt_lease_acquire(turns, &named, &turn, NULL), BATON_OK);
    assert_int_equal(bt_lease_acquire(others, NULL, &lease, NULL), BATON_OK);
    struct bt_lease parcel; /* not this thread's: it may wait */
    assert_int_equal(bt_lease_give(&lease, &parcel, NULL), BATON_OK);
    assert_true(bt_pool_cancel(turns, 5));
    assert_false(bt_pool_cancel(others, 5)); /* not there yet */
    assert_int_equal(bt_lease_acquire_within(others, &named, &turn, &none, &err), BATON_CANCELLED);
    assert_int_equal(bt_lease_release(&parcel, BT_KEEP, NULL), BATON_OK);
    assert_int_equal(bt_lease_release(&turn, BT_KEEP, NULL), BATON_OK);
    bt_pool_close(&turns, BT_CLOSE_DRAIN, NULL);
    bt_pool_close(&others, BT_CLOSE_DRAIN, NULL);
}

static void opened(const char *path, int contexts, int sequences, baton_owner owner, baton_status expected,
                   const char *part_of_text) {
    baton_policy policy = BATON_POLICY;
    baton_whisper_params params = BATON_WHISPER_PARAMS;
    baton_whisper *w;
    baton_error err = {BATON_OK, ""};
    policy.contexts = contexts;
    policy.sequences = sequences;
    policy.owner = owner;
    params.policy = &policy;
    baton_status status = baton_whisper_open(&w, path, &params, &err);
    if (status != expected || (part_of_text && !strstr(err.text, part_of_text)))
        fail_msg("%s: %s, %s", path, baton_status_name(status), err.text);
    assert_true((status == BATON_OK) == (w != NULL));
    baton_whisper_close(&w);
}

static void an_open_that_cannot_be_is_refused_with_the_cure(void **state) {
    (void)state;
    baton_whisper_params no_size = {0};
    baton_whisper *w;
    opened("fake:", 8, 1, BATON_OWNER_CALLER, BATON_OK, NULL);
    opened("fake:", 9, 1, BATON_OWNER_CALLER, BATON_UNSUPPORTED, "contexts is 9: a model is given 8 states at most");
    opened("fake:", 9, 1, BATON_OWNER_CALLER, BATON_UNSUPPORTED, "Let requests wait for a state");
    opened("fake:", 0, 1, BATON_OWNER_CALLER, BATON_INVALID, "contexts is 0");
    opened("fake:", 1, 2, BATON_OWNER_CALLER, BATON_INVALID, "sequences");
    opened("fake:load_fail=1", 1, 1, BATON_OWNER_CALLER, BATON_BAD_MODEL, "load_fail");
    opened("fake:state_fail=2", 3, 1, BATON_OWNER_CALLER, BATON_NO_MEMORY, "no memory for a state");
    opened("fake:nonsense=2", 1, 1, BATON_OWNER_CALLER, BATON_INVALID, "nonsense");
    opened("/nowhere/ggml-base.bin", 1, 1, BATON_OWNER_CALLER,
           bt_whisper_version() ? BATON_NOT_FOUND : BATON_UNSUPPORTED, "/nowhere/ggml-base.bin");
    opened(NULL, 1, 1, BATON_OWNER_CALLER, BATON_INVALID, "no model file");
    assert_int_equal(baton_whisper_open(&w, "fake:", &no_size, NULL), BATON_MISUSE);
    assert_int_equal(baton_whisper_open(NULL, "fake:", NULL, NULL), BATON_MISUSE);
    no_overlaps();
}

/* Threads that ask in every way on two states: each is right, and the fake finds no two in one state. */
struct storm {
    baton_whisper *w;
    uint64_t seed;
    int wrong, rounds;
    pthread_t thread;
};
static void one_of_many(struct storm *m) {
    struct speaker s;
    m->seed = m->seed * 6364136223846793005u + 1442695040888963407u;
    int sound = (int)(m->seed >> 33) % SOUNDS;
    baton_whisper_result r;
    baton_whisper_ask ask = ask_for(sound);
    baton_status status;
    switch ((m->seed >> 40) % 4) {
    case 0:
        status = baton_whisper_full(m->w, &ask, &r, NULL);
        m->wrong += status || !same_speech(&r, &sounds[sound].lone);
        baton_whisper_result_free(&r);
        break;
    case 1:
        m->wrong += baton_whisper_full_parallel(m->w, &ask, &r, NULL) != BATON_OK;
        baton_whisper_result_free(&r);
        break;
    case 2:
        speaker_init(&s, m->w, sound, 0);
        s.stop = true;
        speak(&s);
        m->wrong += s.status != BATON_OK || s.result.n_segments != 1 || !s.orderly;
        baton_whisper_result_free(&s.result);
        break;
    default: {
        baton_whisper_stream *stream = stream_of(m->w, sound, 0);
        m->wrong += read_all(stream, sound) != sounds[sound].lone.n_segments;
        m->wrong += baton_whisper_stream_close(&stream, NULL) != BATON_OK;
    }
    }
}
static void *storm(void *arg) {
    struct storm *m = arg;
    for (int i = 0; i < m->rounds; i++)
        one_of_many(m);
    return NULL;
}

static void probe_P02_many_ask_in_every_way(void **state) {
    (void)state;
    enum { N = 6 };
    struct storm m[N];
    uint64_t seed = bt_test_seed();
    baton_whisper *w = speech_open_states(2, BATON_WAIT);
    bt_fake_whisper_stats_reset();
    for (int i = 0; i < N; i++) {
        m[i] = (struct storm){.w = w, .seed = seed + (uint64_t)i * 7919, .rounds = 40};
        assert_int_equal(pthread_create(&m[i].thread, NULL, storm, &m[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(m[i].thread, NULL);
        assert_int_equal(m[i].wrong, 0);
    }
    struct bt_fake_whisper_stats s;
    bt_fake_whisper_stats(&s);
    assert_true(s.most <= 2);
    baton_whisper_close(&w);
    no_overlaps();
}

/* On a device of which nothing is promised for two at once the states of all models take turns, call by call. */
static void probe_P02_states_on_one_device_take_turns(void **state) {
    (void)state;
    const char *path = on.path;
    enum { N = 4 };
    static struct speaker s[N];
    struct bt_fake_whisper_stats stats;
    on.path = "fake:device=1,window_us=2000";
    baton_whisper *two = speech_open_states(2, BATON_REFUSE), *other = speech_open_states(2, BATON_REFUSE);
    bt_fake_whisper_stats_reset();
    for (int i = 0; i < N; i++) {
        speaker_init(&s[i], i < 2 ? two : other, i, 0);
        speaker_start(&s[i]);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(speaker_end(&s[i]), BATON_OK);
    bt_fake_whisper_stats(&stats);
    assert_int_equal(stats.most, 1);
    baton_lease lease;
    void *context;
    assert_int_equal(baton_whisper_acquire(two, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &context, NULL), BATON_OK); /* a turn by hand */
    struct speaker waits;
    speaker_init(&waits, other, 0, 0);
    speaker_start(&waits);
    overlap_wait_until(speech_counts(other).running == 1);
    bt_fake_whisper_stats(&stats);
    assert_int_equal(stats.running, 0);
    baton_lease_end(&lease);
    assert_int_equal(speaker_end(&waits), BATON_OK);
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    baton_whisper_close(&two);
    baton_whisper_close(&other);
    on.path = path;
    no_overlaps();
}

static int set_up(void **state) {
    (void)state;
    on.path = "fake:";
    on.seconds = 4.3;
    on.long_seconds = 310;
    on.rounds = on.opens = 1000;
    on.many = MEMORY_COUNTS ? 10000 : 1000;
    on.run_ms = 30;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        SPEECH_BODIES,
        SPEECH_HELD,
        SPEECH_PROBES,
        SPEECH_LONG,
        cmocka_unit_test(probe_P13_what_lies_unread_is_bounded),
        cmocka_unit_test(a_stream_is_read_while_it_hears),
        cmocka_unit_test(probe_P05_a_failed_call_gives_the_state_back),
        cmocka_unit_test(probe_P21_a_call_that_hangs_is_ended),
        cmocka_unit_test(probe_P20_a_cancel_between_two_waits_is_not_lost),
        cmocka_unit_test(an_open_that_cannot_be_is_refused_with_the_cure),
        cmocka_unit_test(probe_P02_many_ask_in_every_way),
        cmocka_unit_test(probe_P02_states_on_one_device_take_turns),
    };
    bt_test_filter(argc, argv);
    int failed = cmocka_run_group_tests(tests, set_up, free_sounds);
    return failed ? failed : something_is_left();
}
