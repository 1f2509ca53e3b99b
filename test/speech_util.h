/* What tests of speech recognition share: the models that tools/make_whisper.py wrote, audio, lone runs to compare
 * with. */
#ifndef BT_SPEECH_UTIL_H
#define BT_SPEECH_UTIL_H

#include "harness.h"

#include <math.h>
#include <string.h>

#include "native/whisper.h"

static const struct bt_whisper_params preset = BT_WHISPER_PARAMS_DEFAULT;

static inline const char *model_path(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("BATON_WHISPER_MODELS"), name);
    return path;
}

static inline struct bt_whisper *open_whisper(const char *name) {
    struct bt_whisper_model_params params = {.path = model_path(name)};
    struct bt_whisper *w;
    baton_error err;
    if (bt_whisper_open(&params, &w, &err) != BATON_OK)
        fail_msg("model: %s", err.text);
    return w;
}

static inline struct bt_whisper_state *open_state(struct bt_whisper *w) {
    struct bt_whisper_state *s;
    baton_error err;
    if (w->ops->state(w, &s, &err) != BATON_OK)
        fail_msg("state: %s", err.text);
    return s;
}

/* A sweeping tone over a steady one: each pitch is heard as something else. */
static inline struct bt_audio make_audio(double pitch, double seconds) {
    size_t n = (size_t)(seconds * BT_WHISPER_RATE);
    float *samples = malloc(sizeof *samples * n);
    assert_non_null(samples);
    for (size_t i = 0; i < n; i++) {
        double t = (double)i, turn = 2 * M_PI * pitch / BT_WHISPER_RATE;
        samples[i] =
            (float)(0.3 * sin(t * turn * (2 + sin(t * 0.0002))) * sin(t * 0.00003 * pitch) + 0.1 * sin(t * 3.1 * turn));
    }
    return (struct bt_audio){samples, n, BT_WHISPER_RATE};
}

static inline void free_audio(struct bt_audio *a) {
    free((void *)a->samples);
}

static inline struct bt_whisper_params english(void) {
    struct bt_whisper_params p = preset;
    p.language = "en";
    p.threads = 1;
    p.temperature_step = 0;
    return p;
}

static inline struct bt_whisper_result must_hear(struct bt_whisper_state *s, const struct bt_audio *a,
                                                 const struct bt_whisper_params *p) {
    struct bt_whisper_result r;
    baton_error err;
    if (s->ops->full(s, a, p, &r, &err) != BATON_OK)
        fail_msg("full: %s", err.text);
    return r;
}

/* What a state that never did anything else makes of it. */
static inline struct bt_whisper_result lone_run(struct bt_whisper *w, const struct bt_audio *a,
                                                const struct bt_whisper_params *p) {
    struct bt_whisper_state *s = open_state(w);
    struct bt_whisper_result r = must_hear(s, a, p);
    s->ops->free(s);
    return r;
}

/* To the bit. */
static inline bool same_segment(const struct bt_whisper_segment *a, const struct bt_whisper_segment *b) {
    bool same = a->t0_ms == b->t0_ms && a->t1_ms == b->t1_ms && a->n_tokens == b->n_tokens &&
                strcmp(a->text, b->text) == 0 && memcmp(&a->no_speech, &b->no_speech, sizeof a->no_speech) == 0;
    for (size_t i = 0; same && i < a->n_tokens; i++)
        same = a->tokens[i].id == b->tokens[i].id && memcmp(&a->tokens[i].p, &b->tokens[i].p, sizeof(float)) == 0 &&
               a->tokens[i].t0_ms == b->tokens[i].t0_ms && a->tokens[i].t1_ms == b->tokens[i].t1_ms &&
               strcmp(a->tokens[i].text, b->tokens[i].text) == 0;
    return same;
}

static inline bool same_result(const struct bt_whisper_result *a, const struct bt_whisper_result *b) {
    bool same = a->n_segments == b->n_segments && a->language == b->language && a->more == b->more;
    for (size_t i = 0; same && i < a->n_segments; i++)
        same = same_segment(&a->segments[i], &b->segments[i]);
    return same;
}

/* a is how b begins. */
static inline bool begins(const struct bt_whisper_result *a, const struct bt_whisper_result *b) {
    bool same = a->n_segments <= b->n_segments;
    for (size_t i = 0; same && i < a->n_segments; i++)
        same = same_segment(&a->segments[i], &b->segments[i]);
    return same;
}

#endif
