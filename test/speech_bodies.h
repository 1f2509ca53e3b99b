/* baton/whisper.h under its policies: the same bodies on the fake and on libwhisper. Only public headers are used, as a
 * program would. What is heard is compared to the bit with what a model heard that did nothing else. */
#ifndef BT_SPEECH_BODIES_H
#define BT_SPEECH_BODIES_H

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "baton/whisper.h"
#include "harness.h"
#include "overlap.h"

enum { SOUNDS = 4, LONG_SOUND = SOUNDS };

/* What the bodies run on; set by the program before. */
static struct {
    const char *path, *slow_path; /* slow: time to kill its owner between two segments */
    double seconds;               /* of a sound: several segments */
    double long_seconds;          /* of another one, with more than a thousand tokens; 0: there is none */
    const char *split_path;       /* words end inside characters */
    int rounds, opens;            /* of what is done again and again; of streams that are closed at once */
    int many;                     /* answers, of which memory stays flat */
    int run_ms;                   /* a run timeout that a first segment makes, but no second */
} on;

static struct sound {
    float *samples;
    size_t n;
    baton_whisper_result lone;
} sounds[SOUNDS + 1];

static inline baton_whisper *speech_open(const baton_policy *policy) {
    baton_whisper_params params = BATON_WHISPER_PARAMS;
    baton_whisper *w;
    baton_error err;
    params.policy = policy;
    params.threads = 1;
    if (baton_whisper_open(&w, on.path, &params, &err))
        fail_msg("%s", err.text);
    return w;
}

static inline baton_policy states(int n, baton_when_full when_full) {
    baton_policy p = BATON_POLICY;
    p.contexts = n;
    p.when_full = when_full;
    return p;
}

static inline baton_whisper *speech_open_states(int n, baton_when_full when_full) {
    baton_policy p = states(n, when_full);
    return speech_open(&p);
}

static inline baton_whisper_ask ask_for(int sound) {
    baton_whisper_ask ask = BATON_WHISPER_ASK;
    ask.samples = sounds[sound].samples;
    ask.n_samples = sounds[sound].n;
    ask.language = "en";
    ask.temperature_step = 0;
    return ask;
}

static inline bool same_segment(const baton_whisper_segment *a, const baton_whisper_segment *b) {
    bool same = a->t0_ms == b->t0_ms && a->t1_ms == b->t1_ms && a->n_tokens == b->n_tokens &&
                strcmp(a->text, b->text) == 0 && memcmp(&a->no_speech, &b->no_speech, sizeof a->no_speech) == 0;
    for (size_t i = 0; same && i < a->n_tokens; i++)
        same = a->tokens[i].id == b->tokens[i].id && memcmp(&a->tokens[i].p, &b->tokens[i].p, sizeof(float)) == 0 &&
               a->tokens[i].t0_ms == b->tokens[i].t0_ms && a->tokens[i].t1_ms == b->tokens[i].t1_ms &&
               strcmp(a->tokens[i].text, b->tokens[i].text) == 0;
    return same;
}

/* a is how b begins. */
static inline bool begins(const baton_whisper_result *a, const baton_whisper_result *b) {
    bool same = a->n_segments <= b->n_segments;
    for (size_t i = 0; same && i < a->n_segments; i++)
        same = same_segment(&a->segments[i], &b->segments[i]);
    return same;
}

static inline bool same_speech(const baton_whisper_result *a, const baton_whisper_result *b) {
    return a->n_segments == b->n_segments && begins(a, b) && a->outcome.language == b->outcome.language;
}

static inline void must_full(baton_whisper *w, int sound, baton_whisper_result *r) {
    baton_whisper_ask ask = ask_for(sound);
    baton_error err;
    if (baton_whisper_full(w, &ask, r, &err))
        fail_msg("%s", err.text);
}

/* A sweeping tone over a steady one, and what a model makes of it that never heard anything else. */
static inline void make_sound(int k, double seconds) {
    struct sound *s = &sounds[k];
    s->n = (size_t)(seconds * BATON_WHISPER_RATE);
    s->samples = malloc(s->n * sizeof *s->samples);
    assert_non_null(s->samples);
    for (size_t i = 0; i < s->n; i++) {
        double t = (double)i, pitch = 170 + 90 * k, turn = 2 * M_PI * pitch / BATON_WHISPER_RATE;
        s->samples[i] =
            (float)(0.3 * sin(t * turn * (2 + sin(t * 0.0002))) * sin(t * 0.00003 * pitch) + 0.1 * sin(t * 3.1 * turn));
    }
    baton_whisper *w = speech_open(NULL);
    must_full(w, k, &s->lone);
    assert_true(s->lone.n_segments >= 2);
    baton_whisper_close(&w);
}

static inline void make_sounds(void) {
    for (int k = 0; k < SOUNDS; k++)
        make_sound(k, on.seconds + 0.7 * k);
    if (on.long_seconds > 0)
        make_sound(LONG_SOUND, on.long_seconds);
    assert_false(same_speech(&sounds[0].lone, &sounds[1].lone)); /* it does listen */
}

/* What a group of tests ends with. */
static inline int free_sounds(void **state) {
    (void)state;
    for (int k = 0; k <= LONG_SOUND; k++) {
        free(sounds[k].samples);
        baton_whisper_result_free(&sounds[k].lone);
    }
    return 0;
}

/* Everything was given back: a refusing model has every state, and is right. */
static inline void still_hears(baton_whisper *w) {
    baton_whisper_result r;
    baton_counts c = {.size = sizeof c};
    must_full(w, 0, &r);
    assert_true(same_speech(&r, &sounds[0].lone));
    baton_whisper_result_free(&r);
    baton_whisper_get_counts(w, &c);
    assert_int_equal(c.running + c.queued, 0);
}

static inline baton_counts speech_counts(const baton_whisper *w) {
    baton_counts c = {.size = sizeof c};
    baton_whisper_get_counts(w, &c);
    return c;
}

/* A thread that asks once, and may stay inside the native call, in its first segment, until it is let go. */
struct speaker {
    baton_whisper *w;
    baton_whisper_ask ask;
    baton_request request;
    int sound;
    bool parallel, hold, stop; /* hold: stay inside; stop: one segment is enough */
    _Atomic bool inside, go;
    uint64_t order; /* of its first segment */
    bool orderly;
    baton_whisper_result result;
    baton_status status;
    baton_error err;
    pthread_t thread;
};
static _Atomic uint64_t first_segments;

static inline bool speaker_on_segment(void *arg, const baton_whisper_segment *segment, size_t index) {
    struct speaker *s = arg;
    const baton_whisper_result *lone = &sounds[s->sound].lone;
    s->orderly &= s->parallel || (index < lone->n_segments && same_segment(segment, &lone->segments[index]));
    if (index > 0)
        return true;
    s->order = ++first_segments;
    s->inside = true;
    if (s->hold)
        overlap_wait_until(s->go);
    return !s->stop;
}
static inline void *speak(void *arg) {
    struct speaker *s = arg;
    if (s->hold)
        prctl(PR_SET_NAME, "the-holder");
    s->status = s->parallel ? baton_whisper_full_parallel(s->w, &s->ask, &s->result, &s->err)
                            : baton_whisper_full(s->w, &s->ask, &s->result, &s->err);
    return NULL;
}
static inline void speaker_init(struct speaker *s, baton_whisper *w, int sound, uint64_t id) {
    memset(s, 0, sizeof *s);
    s->w = w;
    s->sound = sound;
    s->orderly = true;
    s->request = (baton_request)BATON_REQUEST;
    s->request.id = id;
    s->ask = ask_for(sound);
    s->ask.request = &s->request;
    s->ask.on_segment = speaker_on_segment;
    s->ask.arg = s;
}
static inline void speaker_start(struct speaker *s) {
    assert_int_equal(pthread_create(&s->thread, NULL, speak, s), 0);
}
/* Inside, and staying there. */
static inline void speaker_hold(struct speaker *s, baton_whisper *w, int sound, uint64_t id) {
    speaker_init(s, w, sound, id);
    s->hold = true;
    speaker_start(s);
    overlap_wait_until(s->inside);
}
/* Waits in the queue, as the n-th. */
static inline void speaker_queue(struct speaker *s, baton_whisper *w, int sound, uint64_t id, bool parallel, int n) {
    speaker_init(s, w, sound, id);
    s->request.when_full = BATON_WAIT;
    s->parallel = parallel;
    speaker_start(s);
    overlap_wait_until(speech_counts(w).queued == n);
}
static inline baton_status speaker_end(struct speaker *s) {
    s->go = true;
    pthread_join(s->thread, NULL);
    assert_int_equal(s->result.outcome.status, s->status);
    assert_true(s->orderly);
    if (!s->parallel)
        assert_true(begins(&s->result, &sounds[s->sound].lone));
    if (!s->parallel && s->status == BATON_OK && !s->stop)
        assert_true(same_speech(&s->result, &sounds[s->sound].lone));
    if (s->status != BATON_OK)
        assert_string_equal(s->result.outcome.text[0] ? "text" : "", "text");
    baton_whisper_result_free(&s->result);
    return s->status;
}

/* ---- exclusion and leases */

static inline void probe_P01_the_second_is_refused_by_name(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    struct speaker first;
    baton_whisper_ask ask = ask_for(1);
    baton_whisper_result r;
    baton_error err;
    static const char *const words[] = {"the-holder", "transcribe", " ms", "Try again", "wait in a queue"};
    speaker_hold(&first, w, 0, 0);
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_BUSY);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(err.text, words[i]))
            fail_msg("'%s' is not in: %s", words[i], err.text);
    assert_int_equal(r.outcome.status, BATON_BUSY);
    assert_int_equal(r.n_segments, 0);
    baton_whisper_result_free(&r);
    assert_int_equal(speaker_end(&first), BATON_OK); /* undisturbed */
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void probe_P02_those_who_wait_come_in_order_and_are_right(void **state) {
    (void)state;
    enum { N = 4 };
    baton_whisper *w = speech_open(NULL);
    struct speaker first;
    static struct speaker others[N];
    speaker_hold(&first, w, 0, 0);
    for (int i = 0; i < N; i++)
        speaker_queue(&others[i], w, i % SOUNDS, 0, false, i + 1);
    assert_int_equal(speaker_end(&first), BATON_OK);
    uint64_t last = first.order;
    for (int i = 0; i < N; i++) {
        assert_int_equal(speaker_end(&others[i]), BATON_OK);
        assert_true(others[i].order > last);
        last = others[i].order;
    }
    assert_int_equal(speech_counts(w).completed, N + 1);
    baton_whisper_close(&w);
}

struct passed {
    baton_whisper *w;
    baton_lease parcel, lease;
    float *logits;
    int32_t token;
    baton_status status;
};
static inline void *passed_on(void *arg) {
    struct passed *p = arg;
    p->status = baton_lease_take(&p->parcel, &p->lease, NULL);
    if (!p->status)
        p->status = baton_whisper_decode(&p->lease, &p->token, 1, 0, 0, p->logits, NULL);
    if (!p->status)
        p->status = baton_lease_release(&p->lease, BATON_RESET, NULL);
    return NULL;
}
static inline void *close_there(void *arg) {
    baton_whisper_close(arg);
    return NULL;
}
static inline baton_lease encoded(baton_whisper *w, int sound) {
    baton_lease lease;
    int frames;
    baton_error err;
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    if (baton_whisper_pcm_to_mel(&lease, sounds[sound].samples, sounds[sound].n, BATON_WHISPER_RATE, 0, &frames, &err))
        fail_msg("%s", err.text);
    assert_true(frames > 0);
    assert_int_equal(baton_whisper_encode(&lease, 0, 0, NULL), BATON_OK);
    return lease;
}

/* Made on one thread, used on a second one, closed on a third; a lease given on in the middle of a transaction. */
static inline void probe_P03_hand_off_is_right_and_the_old_lease_is_stale(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    baton_whisper_info info = {.size = sizeof info};
    baton_whisper_get_info(w, &info);
    size_t size = (size_t)info.vocab_size * sizeof(float);
    float *mine = malloc(size), *theirs = malloc(size);
    struct speaker there;
    struct passed p = {.w = w, .logits = theirs, .token = info.start};
    pthread_t thread;
    baton_error err;
    assert_true(mine && theirs);
    speaker_init(&there, w, 1, 0);
    speaker_start(&there);
    assert_int_equal(speaker_end(&there), BATON_OK);
    baton_lease lease = encoded(w, 2);
    assert_int_equal(baton_whisper_decode(&lease, &info.start, 1, 0, 0, mine, NULL), BATON_OK);
    baton_lease old = lease;
    assert_int_equal(baton_lease_give(&lease, &p.parcel, NULL), BATON_OK);
    assert_int_equal(baton_whisper_decode(&old, &info.start, 1, 0, 0, mine, &err), BATON_STALE);
    assert_int_equal(pthread_create(&thread, NULL, passed_on, &p), 0);
    pthread_join(thread, NULL);
    assert_int_equal(p.status, BATON_OK);
    assert_memory_equal(mine, theirs, size);
    assert_int_equal(baton_whisper_encode(&old, 0, 0, &err), BATON_STALE);
    free(mine);
    free(theirs);
    still_hears(w);
    assert_int_equal(pthread_create(&thread, NULL, close_there, &w), 0);
    pthread_join(thread, NULL);
    assert_null(w);
}

/* Being inside by hand, and doing nothing there, changes nothing. */
static inline void a_stay_by_hand_leaves_a_state_as_it_was(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    baton_whisper_info info = {.size = sizeof info};
    baton_whisper_get_info(w, &info);
    size_t size = (size_t)info.vocab_size * sizeof(float);
    float *first = malloc(size), *second = malloc(size);
    assert_true(first && second);
    for (int stay = 0; stay <= 1; stay++) {
        void *context;
        baton_lease lease = encoded(w, 1);
        if (stay) {
            assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &context, NULL), BATON_OK);
            baton_lease_end(&lease);
        }
        assert_int_equal(
            baton_whisper_decode(&lease, (int32_t[]){info.start, 1, 2}, 3, 0, 0, stay ? second : first, NULL),
            BATON_OK);
        assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    }
    assert_memory_equal(first, second, size);
    free(first);
    free(second);
    baton_whisper_close(&w);
}

/* With BATON_RESET nothing of one holder is left to the next, with BATON_KEEP all of it. */
static inline void probe_P03_what_a_lease_leaves_behind(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    baton_error err;
    baton_lease lease = encoded(w, 1);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_whisper_encode(&lease, 0, 0, &err), BATON_OK);
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_whisper_encode(&lease, 0, 0, &err), BATON_MISUSE);
    assert_non_null(strstr(err.text, "no spectrogram"));
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

struct reentry {
    baton_whisper *own, *other;
    int calls;
    baton_status full, parallel, detect, stream, acquire, elsewhere;
};
static inline void try_all(struct reentry *r) {
    baton_whisper_ask ask = ask_for(1);
    baton_request wait = BATON_REQUEST;
    baton_whisper_result made;
    baton_whisper_stream *stream;
    baton_lease lease;
    int language;
    wait.when_full = BATON_WAIT;
    ask.request = &wait;
    r->full = baton_whisper_full(r->own, &ask, &made, NULL);
    baton_whisper_result_free(&made);
    r->parallel = baton_whisper_full_parallel(r->own, &ask, &made, NULL);
    baton_whisper_result_free(&made);
    r->detect = baton_whisper_detect(r->own, &ask, &language, NULL, NULL);
    r->stream = baton_whisper_stream_open(r->own, &ask, &stream, NULL);
    if (!r->stream)
        (void)baton_whisper_stream_close(&stream, NULL);
    r->acquire = baton_whisper_acquire(r->own, &wait, &lease, NULL);
    if (!r->acquire)
        r->acquire = baton_lease_release(&lease, BATON_KEEP, NULL);
    r->elsewhere = baton_whisper_full(r->other, &ask, &made, NULL);
    baton_whisper_result_free(&made);
}
static inline bool reenter(void *arg, const baton_whisper_segment *segment, size_t index) {
    struct reentry *r = arg;
    (void)segment;
    if (index == 0)
        try_all(r);
    r->calls++;
    return true;
}

static inline void probe_P04_a_callback_into_its_own_state_is_told_so(void **state) {
    (void)state;
    for (int n = 1; n <= 2; n++) {
        baton_whisper *w = speech_open_states(n, BATON_REFUSE), *other = speech_open(NULL);
        for (int parallel = 0; parallel <= 1; parallel++) {
            struct reentry r = {w, other, 0, 0, 0, 0, 0, 0, 0};
            baton_whisper_ask ask = ask_for(0);
            baton_whisper_result made;
            ask.on_segment = reenter;
            ask.arg = &r;
            assert_int_equal(parallel ? baton_whisper_full_parallel(w, &ask, &made, NULL)
                                      : baton_whisper_full(w, &ask, &made, NULL),
                             BATON_OK);
            baton_status expected = n == 2 && !parallel ? BATON_OK : BATON_REENTRANT; /* the other state is free */
            assert_int_equal(r.full, expected);
            assert_int_equal(r.stream, expected);
            assert_int_equal(r.acquire, expected);
            assert_int_equal(r.parallel, BATON_REENTRANT);
            assert_int_equal(r.elsewhere, BATON_OK);
            assert_int_equal(r.calls, made.n_segments);
            if (!parallel)
                assert_true(same_speech(&made, &sounds[0].lone)); /* unharmed */
            baton_whisper_result_free(&made);
        }
        still_hears(w);
        baton_whisper_close(&w);
        baton_whisper_close(&other);
    }
}

static inline void probe_P04_who_holds_an_idle_lease_and_asks_again(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL), *two = speech_open_states(2, BATON_REFUSE);
    baton_whisper_ask ask = ask_for(0);
    baton_request request = BATON_REQUEST;
    baton_whisper_result r;
    baton_lease lease, of_two;
    baton_error err;
    ask.request = &request;
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_whisper_acquire(two, NULL, &of_two, NULL), BATON_OK);
    for (int i = 0; i < 2; i++) {
        request.when_full = i ? BATON_WAIT : BATON_REFUSE;
        baton_status expected = i ? BATON_WOULD_DEADLOCK : BATON_BUSY;
        assert_int_equal(baton_whisper_full(w, &ask, &r, &err), expected);
        assert_int_equal(baton_whisper_full_parallel(w, &ask, &r, &err), expected);
        assert_int_equal(baton_whisper_full_parallel(two, &ask, &r, &err), expected);
        assert_non_null(strstr(err.text, "Release it first"));
        assert_int_equal(baton_whisper_full(two, &ask, &r, &err), BATON_OK); /* the other one is free */
        baton_whisper_result_free(&r);
    }
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    assert_int_equal(baton_lease_release(&of_two, BATON_RESET, NULL), BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
    baton_whisper_close(&two);
}

static inline void *acquire_and_exit(void *arg) {
    baton_lease lease;
    baton_status status = baton_whisper_acquire(arg, NULL, &lease, NULL);
    return (void *)(intptr_t)status;
}
static inline void ignore_line(void *arg, baton_log_level level, const char *line) {
    (void)arg, (void)level, (void)line;
}

static inline void probe_P05_every_way_out_gives_the_state_back(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    struct speaker s;
    pthread_t thread;
    speaker_init(&s, w, 1, 0); /* a callback that asks to stop */
    s.stop = true;
    speaker_start(&s);
    assert_int_equal(speaker_end(&s), BATON_OK);
    still_hears(w);
    speaker_hold(&s, w, 1, 77); /* a cancel */
    assert_true(baton_whisper_cancel(w, 77));
    assert_int_equal(speaker_end(&s), BATON_CANCELLED);
    still_hears(w);
    speaker_init(&s, w, 1, 0); /* a timeout */
    s.request.run_ms = 0;
    speaker_start(&s);
    assert_int_equal(speaker_end(&s), BATON_RUN_TIMEOUT);
    still_hears(w);
    baton_whisper_ask bad = ask_for(0); /* an error */
    baton_whisper_result r;
    bad.rate = 44100;
    assert_int_equal(baton_whisper_full(w, &bad, &r, NULL), BATON_INVALID);
    still_hears(w);
    baton_log_set(BATON_LOG_INFO, ignore_line, NULL);
    assert_int_equal(pthread_create(&thread, NULL, acquire_and_exit, w), 0); /* the end of a thread */
    void *acquired;
    pthread_join(thread, &acquired);
    baton_log_set(BATON_LOG_INFO, NULL, NULL);
    assert_int_equal((intptr_t)acquired, BATON_OK);
    still_hears(w);
    baton_whisper_close(&w);
}

static inline void probe_P06_as_many_at_once_as_there_are_states(void **state) {
    (void)state;
    enum { N = 3 };
    static struct speaker s[N], one_more;
    baton_whisper *w = speech_open_states(N, BATON_REFUSE);
    for (int i = 0; i < N; i++)
        speaker_hold(&s[i], w, i, 0);
    assert_int_equal(speech_counts(w).running, N);
    speaker_init(&one_more, w, 3, 0);
    speaker_start(&one_more);
    assert_int_equal(speaker_end(&one_more), BATON_BUSY);
    for (int i = 0; i < N; i++)
        assert_int_equal(speaker_end(&s[i]), BATON_OK);
    baton_whisper_close(&w);
}

static inline void probe_P07_models_never_wait_for_each_other(void **state) {
    (void)state;
    baton_whisper *a = speech_open(NULL), *b = speech_open(NULL);
    struct speaker in_a, in_b;
    speaker_hold(&in_a, a, 0, 0);
    speaker_hold(&in_b, b, 1, 0); /* both inside at once */
    still_hears((assert_int_equal(speaker_end(&in_b), BATON_OK), b));
    assert_false(in_a.go);
    assert_int_equal(speaker_end(&in_a), BATON_OK);
    baton_whisper_close(&a);
    baton_whisper_close(&b);
}

#endif
