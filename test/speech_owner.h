/* Bodies on baton/whisper.h with the owner in a thread or a process of its own: what is heard is what owner = caller
 * hears alone, to the bit. */
#ifndef BT_SPEECH_OWNER_H
#define BT_SPEECH_OWNER_H

#include "orphans.h"
#include "speech_probes.h"

#include <signal.h>

/* It is gone, and reaped, when this returns: what is asked after it goes to the next one. */
static inline void kill_the_owner(void) {
    pid_t pid = 0;
    assert_int_equal(children(&pid, 1), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    overlap_wait_until(kill(pid, 0) != 0);
}

static inline void owners_hear_what_a_caller_does(void **state) {
    (void)state;
    baton_whisper *here = speech_open(NULL);
    baton_whisper_info mine = {.size = sizeof mine}, theirs = {.size = sizeof theirs};
    baton_whisper_get_info(here, &mine);
    for (int k = 0; k < OWNERS; k++) {
        baton_whisper *w = owned_open(on.path, owners[k], 1, BATON_WAIT, false);
        baton_whisper_ask ask = ask_for(1);
        baton_whisper_stream *s;
        int language, expected;
        baton_whisper_get_info(w, &theirs);
        assert_memory_equal(&mine, &theirs, sizeof mine);
        for (int32_t t = 0; t < mine.vocab_size; t++)
            assert_string_equal(baton_whisper_token_text(here, t), baton_whisper_token_text(w, t));
        for (int id = 0; id < mine.languages; id++)
            assert_string_equal(baton_whisper_language_name(here, id), baton_whisper_language_name(w, id));
        assert_int_equal(baton_whisper_language(w, "german"), baton_whisper_language(here, "german"));
        assert_int_equal(baton_whisper_language(w, "klingon"), -1);
        float *p = calloc((size_t)mine.languages, sizeof *p), *q = calloc((size_t)mine.languages, sizeof *q);
        assert_true(p && q);
        assert_int_equal(baton_whisper_detect(here, &ask, &expected, p, NULL), BATON_OK);
        assert_int_equal(baton_whisper_detect(w, &ask, &language, q, NULL), BATON_OK);
        assert_int_equal(language, expected);
        assert_memory_equal(p, q, (size_t)mine.languages * sizeof *p);
        free(p);
        free(q);
        for (int sound = 0; sound < SOUNDS; sound++) {
            still_hears(w);
            s = stream_of(w, sound, 0);
            assert_int_equal(read_all(s, sound), sounds[sound].lone.n_segments);
            assert_int_equal(baton_whisper_stream_progress(s), 100);
            assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
        }
        baton_whisper_close(&w);
    }
    baton_whisper_close(&here);
}

static inline void what_owners_cannot_do_is_said(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++) {
        baton_whisper *w = owned_open(on.path, owners[k], 1, BATON_REFUSE, false);
        baton_whisper_ask ask = ask_for(0);
        baton_whisper_result r;
        baton_snapshot shot = {.size = sizeof shot};
        baton_lease lease;
        baton_error err;
        assert_int_equal(baton_whisper_full_parallel(w, &ask, &r, &err), BATON_UNSUPPORTED);
        assert_int_equal(baton_whisper_acquire(w, NULL, &lease, &err), BATON_UNSUPPORTED);
        assert_non_null(strstr(err.text, "BATON_OWNER_CALLER"));
        baton_whisper_stream *s = stream_of(w, 0, 0);
        assert_int_equal(baton_whisper_snapshot(w, &shot, &err), BATON_OK);
        assert_int_equal(shot.contexts, 1);
        assert_int_equal(shot.granted, 1);
        assert_true(shot.running == 0 || shot.run[0].op == BATON_OP_TRANSCRIBE); /* it may be through by now */
        assert_true(shot.owner[0].ready);
        baton_snapshot_free(&shot);
        (void)baton_whisper_stream_close(&s, NULL);
        assert_null(baton_whisper_context(w));
        ask.language = "klingon";
        assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_INVALID);
        ask = ask_for(0);
        ask.rate = 8000;
        assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_INVALID);
        still_hears(w);
        baton_whisper_close(&w);
    }
}

/* Callbacks run on the calling thread, and may stop it, ask the same model again, and close it. */
static inline void callbacks_run_beside_an_owner(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++) {
        baton_whisper *w = owned_open(on.path, owners[k], 1, BATON_WAIT, false), *other = speech_open(NULL);
        struct speaker s;
        speaker_init(&s, w, 1, 0);
        s.stop = true;
        speak(&s);
        assert_int_equal(s.status, BATON_OK);
        assert_int_equal(s.result.n_segments, 1);
        assert_true(s.orderly && s.result.outcome.more);
        baton_whisper_result_free(&s.result);
        struct reentry r = {w, other, 0, 0, 0, 0, 0, 0, 0};
        baton_whisper_ask ask = ask_for(0);
        baton_whisper_result made;
        ask.on_segment = reenter;
        ask.arg = &r;
        assert_int_equal(baton_whisper_full(w, &ask, &made, NULL), BATON_OK);
        assert_true(same_speech(&made, &sounds[0].lone));
        baton_whisper_result_free(&made);
        assert_int_equal(r.full, BATON_OK); /* its answer does not wait for the callback */
        ask.on_segment = close_from_inside;
        ask.arg = &w;
        baton_status status = baton_whisper_full(w, &ask, &made, NULL);
        assert_true(status == BATON_OK || status == BATON_CLOSED);
        assert_true(begins(&made, &sounds[0].lone));
        baton_whisper_result_free(&made);
        assert_null(w);
        baton_whisper_close(&other);
    }
}

static inline void probe_P02_many_wait_for_an_owner(void **state) {
    (void)state;
    enum { N = 5 };
    for (int k = 0; k < OWNERS; k++) {
        static struct speaker s[N];
        baton_whisper *w = owned_open(on.path, owners[k], 2, BATON_WAIT, false);
        for (int i = 0; i < N; i++) {
            speaker_init(&s[i], w, i % SOUNDS, 0);
            speaker_start(&s[i]);
        }
        for (int i = 0; i < N; i++)
            assert_int_equal(speaker_end(&s[i]), BATON_OK);
        assert_int_equal(speech_counts(w).completed, N);
        baton_whisper_close(&w);
    }
}

/* kill -9 in the middle: cut, or as if undisturbed; and the next owner hears. */
static inline void probe_P40_a_killed_owner(void **state) {
    (void)state;
    for (int retry = 0; retry <= 1; retry++) {
        baton_whisper *w = owned_open(on.slow_path, BATON_OWNER_PROCESS, 1, BATON_WAIT, retry);
        baton_whisper_stream *s = stream_of(w, 1, 0);
        const baton_whisper_result *lone = &sounds[1].lone;
        const baton_whisper_segment *g;
        baton_whisper_outcome o;
        size_t n = 0;
        assert_int_equal(baton_whisper_stream_next(s, -1, &g), BATON_OK);
        assert_true(same_segment(g, &lone->segments[n++]));
        kill_the_owner();
        while (baton_whisper_stream_next(s, -1, &g) == BATON_OK)
            assert_true(same_segment(g, &lone->segments[n++]));
        baton_status status = baton_whisper_stream_close(&s, &o);
        if (retry || n == lone->n_segments) {
            assert_int_equal(n, lone->n_segments);
            assert_true(status == BATON_OK || !retry);
        } else {
            assert_int_equal(status, BATON_CRASHED);
            assert_string_equal(o.text[0] ? "text" : "", "text");
        }
        still_hears(w);
        baton_whisper_close(&w);
    }
    pid_t pid;
    assert_int_equal(children(&pid, 1), 0);
}

static inline void probe_P08_an_owner_gives_each_what_it_asked_for(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++)
        nobody_reads_anothers(owners[k]);
}

/* Two streams on one thread, whose opening never waits, and one loop that waits for both. */
static inline void probe_P09_an_event_loop_waits_for_two_streams(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++) {
        baton_whisper *w = owned_open(on.slow_path, owners[k], 1, BATON_WAIT, false);
        baton_whisper_stream *s[2] = {stream_of(w, 0, 0), stream_of(w, 1, 0)};
        struct pollfd fd[2];
        size_t n[2] = {0, 0};
        int open = 2, first = -1;
        for (int i = 0; i < 2; i++) {
            fd[i] = (struct pollfd){.fd = baton_whisper_stream_fd(s[i]), .events = POLLIN};
            assert_true(fd[i].fd >= 0);
        }
        while (open > 0) {
            const baton_whisper_segment *g;
            assert_true(poll(fd, 2, -1) > 0);
            for (int i = 0; i < 2; i++) {
                if (!(fd[i].revents & POLLIN))
                    continue;
                baton_status status = baton_whisper_stream_next(s[i], 0, &g);
                assert_true(status == BATON_OK || status == BATON_END); /* it would not have blocked */
                if (status == BATON_OK) {
                    assert_true(same_segment(g, &sounds[i].lone.segments[n[i]++]));
                    continue;
                }
                first = first < 0 ? i : first;
                fd[i].fd = -1;
                open--;
            }
        }
        assert_int_equal(first, 0); /* one state, in order of arrival */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(n[i], sounds[i].lone.n_segments);
            assert_int_equal(baton_whisper_stream_close(&s[i], NULL), BATON_OK);
        }
        baton_whisper_close(&w);
    }
}

/* A stream is closed while it queues, before its first segment and after it. Its owner hears of it inside the native
 * call, lives on, and has time for the next. */
static inline void probe_P22_who_asked_an_owner_goes_away(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++) {
        baton_whisper *w = owned_open(on.slow_path, owners[k], 1, BATON_WAIT, false);
        const baton_whisper_segment *g;
        baton_whisper_stream *s = stream_of(w, 1, 0), *leaves = stream_of(w, 2, 0);
        overlap_wait_until(speech_counts(w).queued == 1);
        assert_int_equal(baton_whisper_stream_close(&leaves, NULL), BATON_CANCELLED);
        assert_int_equal(speech_counts(w).queued, 0);
        assert_int_equal(read_all(s, 1), sounds[1].lone.n_segments);
        assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
        for (int decoding = 0; decoding <= 1; decoding++) {
            s = stream_of(w, LONG_SOUND, 0);
            overlap_wait_until(speech_counts(w).running == 1);
            if (decoding)
                assert_int_equal(baton_whisper_stream_next(s, -1, &g), BATON_OK);
            assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_CANCELLED);
            overlap_wait_until(speech_counts(w).running == 0);
            still_hears(w);
        }
        assert_int_equal(speech_counts(w).cancelled, 3);
        assert_int_equal(owners_ended(w), 0);
        baton_whisper_close(&w);
    }
}

/* In a process of its own: a stream that nobody reads and whose owner is inside the native call. */
static inline void host_of_a_long_hearing(int told) {
    baton_whisper *w = owned_open(on.slow_path, BATON_OWNER_PROCESS, 1, BATON_WAIT, false);
    baton_whisper_stream *s = stream_of(w, LONG_SOUND, 0);
    pid_t owner = 0;
    overlap_wait_until(speech_counts(w).running == 1);
    if (s && children(&owner, 1) == 1 && write(told, &owner, sizeof owner) == (ssize_t)sizeof owner)
        pause();
}

static inline void probe_P22_the_front_of_a_hearing_owner_dies(void **state) {
    (void)state;
    pid_t owner = host_killed(host_of_a_long_hearing);
    assert_int_equal(orphan_ended(), owner);
    no_orphans();
}

static inline void probe_P26_an_owner_closed_between_queue_and_slot(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++)
        closed_between_queue_and_slot(owners[k], on.rounds / 40 + 3);
}

#define SPEECH_OWNERS                                                                                                  \
    cmocka_unit_test(owners_hear_what_a_caller_does), cmocka_unit_test(what_owners_cannot_do_is_said),                 \
        cmocka_unit_test(callbacks_run_beside_an_owner), cmocka_unit_test(probe_P02_many_wait_for_an_owner),           \
        cmocka_unit_test(probe_P40_a_killed_owner)

/* These need a long sound. */
#define SPEECH_OWNER_PROBES                                                                                            \
    cmocka_unit_test(probe_P08_an_owner_gives_each_what_it_asked_for),                                                 \
        cmocka_unit_test(probe_P09_an_event_loop_waits_for_two_streams),                                               \
        cmocka_unit_test(probe_P13_a_reader_that_stops_reading_is_cancelled),                                          \
        cmocka_unit_test(probe_P16_characters_arrive_whole_in_segments),                                               \
        cmocka_unit_test(probe_P22_who_asked_an_owner_goes_away),                                                      \
        cmocka_unit_test(probe_P22_the_front_of_a_hearing_owner_dies),                                                 \
        cmocka_unit_test(probe_P26_an_owner_closed_between_queue_and_slot),                                            \
        cmocka_unit_test(probe_P61_too_long_a_prompt_is_refused_up_front)

#endif
