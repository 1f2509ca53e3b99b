/* What a program needs of a speech recogniser: a model (immutable, shared freely) and states of it (one owner at a time
 * each: what a pool holds). native/whisper*.c implement it over libwhisper, fake_whisper.c for tests without a model (a
 * path that begins with "fake:"); in a build without libwhisper opening another one says so. No native type appears
 * here.
 *
 * Threads: functions on a model may be called from any thread at once. Functions on a state need its lease: one thread
 * at a time. Results are memory of the request's: nothing in them points into a state, so they outlive the lease. What
 * a state did before has no influence on what it does next: every run is what a fresh state would give.
 *
 * What stays native: a C++ exception (out of memory, no more threads) or a failed assertion in libwhisper ends the
 * process. Model files and arguments that would lead there are refused before. */
#ifndef BT_WHISPER_H
#define BT_WHISPER_H

#include "base/base.h"
#include "native/native.h"

struct bt_whisper;
struct bt_whisper_state;

enum {
    BT_WHISPER_RATE = 16000,      /* samples a second; nothing here resamples */
    BT_WHISPER_MIN_MS = 100,      /* libwhisper hears nothing in less, and says nothing */
    BT_WHISPER_STATES_MAX = 8,    /* of a model; see the error's text */
    BT_WHISPER_PROMPT_MAX = 4096, /* bytes of initial_prompt: libwhisper cuts it up with a recursive std::regex */
    /* Bytes in a row without a space, or of spaces alone. libwhisper's search for their tokens, which hears no cancel,
     * takes the square: 0.5 s for 4096 on a fast machine with nothing else to do, a quarter of it for four such words.
     * It keeps some 220 tokens of a prompt, which are fewer bytes than these also where there are no spaces. */
    BT_WHISPER_WORD_MAX = 1024,
    BT_WHISPER_THREADS_MAX = 512 /* ggml's */
};

struct bt_whisper_model_params {
    const char *path; /* borrowed: a model in whisper.cpp's own format, "ggml-base.en.bin" */
    bool gpu;
    int gpu_device;
    const int *file; /* a descriptor of it, to be read from its beginning; NULL: `path` is opened */
};

struct bt_whisper_info {
    char name[128]; /* the file's base name */
    char type[32];  /* "tiny" … "large", "unknown" */
    bool multilingual;
    bool timestamps; /* false: a first-release distilled model, which libwhisper runs without them whatever is asked */
    int languages;   /* ids 0 .. languages - 1 */
    int vocab_size, audio_ctx, text_ctx, audio_layers, text_layers, width, mels;
    uint64_t bytes;       /* of the file: the weights, about */
    uint64_t state_bytes; /* of a state's caches and logits: less than it will use, its compute buffers come on top */
    /* tokens that bt_whisper_state_ops.decode is given */
    int32_t start, end, transcribe, translate, no_timestamps, first_timestamp, first_language;
};

/* Mono, -1 to 1. */
struct bt_audio {
    const float *samples; /* borrowed for the call */
    size_t n;
    int rate; /* BT_WHISPER_RATE */
};

struct bt_whisper_token {
    int32_t id;
    float p;              /* probability */
    int64_t t0_ms, t1_ms; /* with token_timestamps; else -1 */
    const char *text;
};

/* Text is what the tokens are made of, in whole characters (bt_whisper_whole). Segments come in order of time; t1_ms of
 * the last one may lie past the end of the audio. */
struct bt_whisper_segment {
    int64_t t0_ms, t1_ms;
    const char *text;
    float no_speech; /* probability that nobody speaks, as libwhisper reckons it: in a run's first 30 s it has a meaning
                      * for a model of English alone or with a detected language only */
    const struct bt_whisper_token *tokens;
    size_t n_tokens;
};

struct bt_whisper_result {
    int language;     /* id; -1 if the run ended before it was known */
    char lang_str[8]; /* "en" */
    bool more;        /* max_segments or on_segment ended it before the end of the audio */
    struct bt_whisper_segment *segments;
    size_t n_segments;
};
/* May be called twice, and on zeroed memory. */
void bt_whisper_result_free(struct bt_whisper_result *r);

struct bt_whisper_params {
    const char *language; /* borrowed, "de" or "german"; NULL, "" or "auto": detected (one of English alone: "en") */
    bool translate;       /* into English */
    bool no_timestamps;
    bool token_timestamps;
    bool single_segment;        /* one per 30 s */
    bool split_on_word;         /* with max_chars: not inside a word */
    bool vad;                   /* UNSUPPORTED: see its text */
    int threads;                /* 0: cores - 1, at least 1 */
    int offset_ms, duration_ms; /* of the audio; duration 0: to the end */
    int max_segments;           /* 0: no bound */
    int max_tokens;             /* of a segment; 0: no bound */
    int max_chars;              /* of a segment, with token_timestamps; 0: no bound */
    float temperature;          /* 0 .. 1 */
    float temperature_step;     /* what a window that failed is tried again with, up to 1; 0: never again */
    int best_of;                /* candidates when the temperature is not 0, 1 .. 8 */
    int beams;                  /* beam search when it is 0, 2 .. 8; 0: greedy */
    const char *initial_prompt; /* borrowed; may be NULL */
    /* Called inside the native call, in the calling thread: they must not use the state. Each may be NULL. The segment
     * lives until the function returns. on_segment: false ends the run, well. on_progress: percent that never goes
     * back, 100 at a good end and at no other. cancelled: asked after each token and each 30 s window. */
    bool (*on_segment)(void *arg, const struct bt_whisper_segment *segment, size_t index);
    void (*on_progress)(void *arg, int percent);
    bool (*cancelled)(void *arg);
    void *arg;
};
#define BT_WHISPER_PARAMS_DEFAULT                                                                                      \
    { .temperature_step = 0.2f, .best_of = 5 }

struct bt_whisper_ops {
    void (*free)(struct bt_whisper *w); /* after the last state of it */
    void (*info)(const struct bt_whisper *w, struct bt_whisper_info *info);
    int (*language)(const struct bt_whisper *w, const char *name); /* "de", "german": its id; -1: not of this model */
    const char *(*lang_str)(const struct bt_whisper *w, int id);   /* "de"; NULL: not of this model */
    const char *(*lang_name)(const struct bt_whisper *w, int id);  /* "german"; NULL: not of this model */
    const char *(*token_text)(const struct bt_whisper *w, int32_t token); /* NULL: there is no such token */
    /* What full would say of these before it hears anything: needs no state. */
    baton_status (*check)(const struct bt_whisper *w, const struct bt_audio *audio,
                          const struct bt_whisper_params *params, baton_error *err);
    /* BATON_UNSUPPORTED beyond BT_WHISPER_STATES_MAX. */
    baton_status (*state)(struct bt_whisper *w, struct bt_whisper_state **s, baton_error *err);
    void *(*native)(const struct bt_whisper *w); /* the native library's own; NULL: there is none */
};

struct bt_whisper_state_ops {
    void (*free)(struct bt_whisper_state *s);
    /* Hears the audio and writes it down. _INVALID (names the value), _TOO_LONG (initial_prompt), _UNSUPPORTED,
     * _NO_MEMORY, _FAILED; _CANCELLED leaves what was ready in *result. The result is to be freed in any case. */
    baton_status (*full)(struct bt_whisper_state *s, const struct bt_audio *audio,
                         const struct bt_whisper_params *params, struct bt_whisper_result *result, baton_error *err);
    /* The language spoken in the 30 s from offset_ms on. probabilities: info.languages of them, or NULL. */
    baton_status (*detect)(struct bt_whisper_state *s, const struct bt_audio *audio, int offset_ms, int threads,
                           int *language, float *probabilities, baton_error *err);
    /* The steps one by one: audio becomes (or the caller brings) a spectrogram of `frames` frames of 10 ms, 30 s of it
     * are encoded, and tokens are decoded after it. The spectrogram of the caller's is stored mel by mel: all frames
     * of the first, then those of the second. */
    baton_status (*mel)(struct bt_whisper_state *s, const struct bt_audio *audio, int threads, int *frames,
                        baton_error *err);
    baton_status (*set_mel)(struct bt_whisper_state *s, const float *data, int frames, int mels, baton_error *err);
    baton_status (*encode)(struct bt_whisper_state *s, int first_frame, int threads, baton_error *err);
    /* logits: info.vocab_size of them, those of the last token. past: how many tokens of earlier decodes stay. */
    baton_status (*decode)(struct bt_whisper_state *s, const int32_t *tokens, int n, int past, int threads,
                           float *logits, baton_error *err);
    /* For calls of the native library by hand: its own state; NULL: there is none, or no memory. What was done to it so
     * is found by the next one who asks for it, unless it was reset in between, and by none of the functions above. */
    void *(*native)(struct bt_whisper_state *s);
    /* Whoever comes next finds nothing of what was before: no spectrogram, no results. Costs nothing until it is
     * asked for by `native`. */
    void (*reset)(struct bt_whisper_state *s);
};

/* Every implementation's objects begin with these. */
struct bt_whisper {
    const struct bt_whisper_ops *ops;
    struct bt_device *device; /* its states take turns on it by themselves (native.h); NULL: they need not */
};
struct bt_whisper_state {
    const struct bt_whisper_state_ops *ops;
    struct bt_whisper *model;
};

/* Blocks while it loads. _NOT_FOUND, _BAD_MODEL, _UNSUPPORTED (among others: this build has no libwhisper), _NO_MEMORY;
 * *w is then NULL. */
baton_status bt_whisper_open(const struct bt_whisper_model_params *params, struct bt_whisper **w, baton_error *err);

/* Opens the file for somebody else to load, without looking into it. *n is 0 where there is none ("fake:"). */
baton_status bt_whisper_file_open(const char *path, int *fd, size_t *n, baton_error *err);

/* "1.9.5"; NULL: this build has no libwhisper. */
const char *bt_whisper_version(void);

/* One audio over n states at once, each in a thread of its own, the first in the caller's; the caller holds the leases
 * of all. (libwhisper's own function for it works on the hidden default state of a context, which nobody can lease.)
 * The audio is cut in n equal parts; a word on a cut may be lost or said twice. The language is detected once.
 * on_segment is called when all are done, in order; on_progress by the caller's thread; cancelled by any of them, also
 * at once. BATON_INVALID when a part is shorter than BT_WHISPER_MIN_MS. There are no segments after a failure. */
baton_status bt_whisper_parallel(struct bt_whisper_state *const *states, int n, const struct bt_audio *audio,
                                 const struct bt_whisper_params *params, struct bt_whisper_result *result,
                                 baton_error *err);

/* For the implementations. */
baton_status bt_whisper_open_native(const struct bt_whisper_model_params *params, struct bt_whisper **w,
                                    baton_error *err);
baton_status bt_whisper_open_fake(const struct bt_whisper_model_params *params, struct bt_whisper **w,
                                  baton_error *err);
/* Where they make no sense, the text names the value (whisper_check.c). */
baton_status bt_whisper_check_run(const struct bt_audio *audio, const struct bt_whisper_params *p, baton_error *err);
baton_status bt_whisper_check_audio(const struct bt_audio *audio, baton_error *err);
baton_status bt_whisper_check_threads(int threads, baton_error *err);
baton_status bt_whisper_check_offset(const struct bt_audio *audio, int offset_ms, baton_error *err);
/* Tokens for decode: `decoded` so far since the audio was encoded. */
baton_status bt_whisper_check_rows(const struct bt_whisper_info *info, const int32_t *tokens, int n, int past,
                                   int decoded, baton_error *err);
baton_status bt_whisper_check_mel(const struct bt_whisper_info *info, const float *data, int frames, int mels,
                                  baton_error *err);
baton_status bt_whisper_fail_too_many(const struct bt_whisper_info *info, baton_error *err);

/* What a segment leaves to the next one: the beginning of a character. */
struct bt_cut {
    char bytes[3];
    size_t n;
};
/* Appends the text of the next segment of a run, NUL-terminated, to `out`: what was cut before, and the bytes of its
 * own tokens, but for a character at their end that the next one may complete. Bytes that are no UTF-8 become U+FFFD.
 */
void bt_whisper_whole(struct bt_cut *cut, const char *text, struct bt_buf *out);

/* Copies a text to *at, where there is room, and moves that behind it. Returns the copy. */
const char *bt_whisper_put_text(char **at, const char *text);

#endif
