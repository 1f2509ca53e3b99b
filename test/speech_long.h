/* Long audio, and many answers: right, and memory flat once warm. */
#ifndef BT_SPEECH_LONG_H
#define BT_SPEECH_LONG_H

#include "speech_more.h"

static inline size_t count_tokens(const baton_whisper_result *r) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_segments; i++)
        n += r->segments[i].n_tokens;
    return n;
}

/* A thousand tokens and more, as a stream that is read when all is heard. */
static inline void probe_P14_one_audio_of_more_than_a_thousand_tokens(void **state) {
    (void)state;
    baton_whisper *w = speech_open_states(1, BATON_WAIT);
    const baton_whisper_result *lone = &sounds[LONG_SOUND].lone;
    assert_true(count_tokens(lone) > 1000);
    baton_whisper_stream *s = stream_of(w, LONG_SOUND, 0);
    overlap_wait_until(speech_counts(w).running == 0);
    assert_int_equal(read_all(s, LONG_SOUND), lone->n_segments);
    assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
    baton_whisper_close(&w);
}

static inline void probe_P14_many_answers_leave_memory_flat(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result first;
    long warm = 0;
    ask.n_samples = BATON_WHISPER_RATE; /* short ones */
    assert_int_equal(baton_whisper_full(w, &ask, &first, NULL), BATON_OK);
    for (int i = 0; i < on.many; i++) {
        baton_whisper_result r;
        baton_whisper_stream *s;
        const baton_whisper_segment *g;
        if (i % 2) {
            assert_int_equal(baton_whisper_full(w, &ask, &r, NULL), BATON_OK);
            assert_true(same_speech(&r, &first));
            baton_whisper_result_free(&r);
        } else {
            assert_int_equal(baton_whisper_stream_open(w, &ask, &s, NULL), BATON_OK);
            for (size_t n = 0; baton_whisper_stream_next(s, -1, &g) == BATON_OK; n++)
                assert_true(n < first.n_segments && same_segment(g, &first.segments[n]));
            assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
        }
        if (i == on.many / 10)
            warm = resident_kib();
    }
    memory_is_flat(warm, "answers");
    assert_int_equal(speech_counts(w).completed, on.many + 1);
    baton_whisper_result_free(&first);
    baton_whisper_close(&w);
}

#define SPEECH_LONG                                                                                                    \
    cmocka_unit_test(probe_P14_one_audio_of_more_than_a_thousand_tokens),                                              \
        cmocka_unit_test(probe_P14_many_answers_leave_memory_flat)

#endif
