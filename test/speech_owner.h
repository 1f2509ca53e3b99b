/* Bodies on baton/whisper.h with the owner in a thread or a process of its own: what is heard is what owner = caller
 * hears alone, to the bit. */
#ifndef BT_SPEECH_OWNER_H
#define BT_SPEECH_OWNER_H

#include "speech_more.h"

#include <dirent.h>
#include <signal.h>

static const baton_owner owners[] = {BATON_OWNER_THREAD, BATON_OWNER_PROCESS};
enum { OWNERS = 2 };

static inline baton_whisper *owned_open(const char *path, baton_owner owner, int contexts, baton_when_full when_full,
                                        bool retry) {
    baton_whisper_params params = BATON_WHISPER_PARAMS;
    baton_policy policy = states(contexts, when_full);
    baton_whisper *w;
    baton_error err;
    policy.owner = owner;
    params.policy = &policy;
    params.threads = 1;
    params.retry = retry;
    if (baton_whisper_open(&w, path, &params, &err))
        fail_msg("%s", err.text);
    return w;
}

/* The processes that this one has started, at most n. */
static inline int children(pid_t *list, int n) {
    DIR *tasks = opendir("/proc/self/task");
    int found = 0;
    assert_non_null(tasks);
    for (struct dirent *e; (e = readdir(tasks));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (f && found < n && fscanf(f, "%d", &list[found]) == 1)
            found++;
        if (f)
            fclose(f);
    }
    closedir(tasks);
    return found;
}

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

#define SPEECH_OWNERS                                                                                                  \
    cmocka_unit_test(owners_hear_what_a_caller_does), cmocka_unit_test(what_owners_cannot_do_is_said),                 \
        cmocka_unit_test(callbacks_run_beside_an_owner), cmocka_unit_test(probe_P02_many_wait_for_an_owner),           \
        cmocka_unit_test(probe_P40_a_killed_owner)

#endif
