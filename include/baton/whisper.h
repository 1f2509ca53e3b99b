/* baton for libwhisper: speech to text by one model on few states, and whisper.h by hand under a lease.
 *
 * A baton_whisper is a model with a pool of states, which share its weights: policy.contexts of them (1 to 8; more are
 * refused, as some releases of whisper.cpp crash beyond). Each request runs on one state, alone. A transcription
 * depends on the audio and the parameters, not on what a state did before, nor on who runs beside it.
 *
 * What runs where:
 *   owner = caller   baton_whisper_full, _full_parallel and _detect run native code on the calling thread, and so do
 *                    callbacks, inside the native call. libwhisper cannot be stopped between two segments and gone on
 *                    with, so a stream (baton_whisper_stream_open) has a thread of baton's of its own from open to
 *                    close; the stream's lease is that thread's. States can be used by hand.
 *   owner = thread   each state has a thread of baton's. Callbacks run on the calling thread, beside the native call.
 *                    States cannot be touched from outside, nor all be taken for one audio.
 *   owner = process  the same with a process for each state, in a sandbox, which loads the model for itself: a crash,
 *                    an exception or a failed assertion in libwhisper ends it alone, and it is started again.
 *
 * What libwhisper hears is mono, 16,000 samples a second, -1 to 1. Nothing here resamples, and nothing detects voice:
 * libwhisper does that only in calls on a context's hidden state, which no pool can hold. Cut silence out before.
 *
 * A C++ exception (out of memory, no more threads) or a failed assertion in libwhisper ends the process. Model files
 * and arguments that would lead there are refused before.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_WHISPER_H
#define BATON_WHISPER_H

#include "baton/baton.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BATON_WHISPER_RATE 16000       /* samples a second */
#define BATON_WHISPER_CONTEXTS_MAX 8   /* states of a model */
#define BATON_WHISPER_AUDIO_MIN_MS 100 /* libwhisper hears nothing in less, and says nothing */

typedef struct baton_whisper baton_whisper;

/* How a model is opened. */
typedef struct baton_whisper_params {
    size_t size;
    bool gpu;
    int gpu_device;
    int threads; /* of a native call; 0: cores - 1, shared out among the contexts, at least 1 */
    /* NULL: BATON_POLICY. contexts: states, 1 to BATON_WHISPER_CONTEXTS_MAX; sequences: 1 */
    const baton_policy *policy;
    bool retry; /* owner = process: when one ends in the middle of a transcription, that is begun again in the next one,
                   and goes on where it was; who ends it alone is BATON_CRASHED. false: BATON_CRASHED at once, with the
                   segments so far */
} baton_whisper_params;
#define BATON_WHISPER_PARAMS                                                                                           \
    { sizeof(baton_whisper_params), false, 0, 0, NULL, false }

/* Opens a model and makes its states.
 *   whisper  out; ended by baton_whisper_close
 *   path     a model in whisper.cpp's own format, "ggml-base.en.bin"; read through before it is loaded
 *   params   NULL: BATON_WHISPER_PARAMS
 * Returns: BATON_OK. _NOT_FOUND, _BAD_MODEL (no whisper model, damaged, cut off, or one that would end the process),
 * _IO, _INVALID (its text names the number), _UNSUPPORTED (more states than are safe; a build without libwhisper,
 * which says how to get it), _MISUSE, _NO_MEMORY: *whisper is NULL.
 * Threads: any. Blocks: while the model loads. Since: 0.1.0. */
BATON_API baton_status baton_whisper_open(baton_whisper **whisper, const char *path, const baton_whisper_params *params,
                                          baton_error *err) BATON_MUST_USE;

/* Closes: refuses new requests, gives those that wait BATON_CLOSED, cancels those that run, and frees everything after
 * the last native call has returned.
 *   whisper  taken; *whisper is NULL after. NULL inside is harmless
 * Its streams stay valid objects, to be read to their end and closed by their holders. From inside a callback, or while
 * this thread holds a lease on a state: the rest is done when that is over.
 * Threads: any; no other call may begin on it afterwards. Blocks: for native calls under way. Since: 0.1.0. */
BATON_API void baton_whisper_close(baton_whisper **whisper);

/*
 * What is known without a state: safe beside anything
 */

/* What a model is. */
typedef struct baton_whisper_info {
    size_t size;
    char name[128]; /* the file's */
    char type[32];  /* "tiny" to "large", "unknown" */
    bool multilingual;
    bool timestamps; /* false: a distilled model of the first release, which runs without them whatever is asked */
    int languages;   /* ids 0 to languages - 1 */
    int vocab_size, audio_ctx, text_ctx, audio_layers, text_layers, width, mels;
    int contexts;
    uint64_t weight_bytes;
    uint64_t context_bytes; /* of the caches and logits of all states; their compute buffers come on top */
    /* tokens for baton_whisper_decode */
    int32_t start, end, transcribe, translate, no_timestamps, first_timestamp, first_language;
} baton_whisper_info;

/* Fills *info, whose size the caller has set. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_whisper_get_info(const baton_whisper *whisper, baton_whisper_info *info);

/* The id of a language by its code or its name, "de" or "german".
 * Returns: -1 if the model does not know it. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API int baton_whisper_language(const baton_whisper *whisper, const char *name);

/* The code of a language, "de".
 * Returns: a string that lives as long as the model; NULL: there is none of that id. Threads: any. Blocks: never.
 * Since: 0.1.0. */
BATON_API const char *baton_whisper_language_name(const baton_whisper *whisper, int id);

/* The bytes of a token, perhaps a part of a character.
 * Returns: a string that lives as long as the model; NULL: not in the vocabulary. Threads: any. Blocks: never.
 * Since: 0.1.0. */
BATON_API const char *baton_whisper_token_text(const baton_whisper *whisper, int32_t token);

/* The version of libwhisper, "1.9.5".
 * Returns: a static string; NULL: this baton was built without it. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_whisper_version(void);

/*
 * Transcription
 */

typedef struct baton_whisper_token {
    int32_t id;
    float p;              /* probability */
    int64_t t0_ms, t1_ms; /* with token_timestamps; else -1 */
    const char *text;
} baton_whisper_token;

/* A piece of what was said. Segments come in order of time; the end of the last one may lie past that of the audio. A
 * text is what its tokens are made of, in whole characters: one that a segment begins and the next one completes is the
 * next one's, and one that nobody completes is left out. */
typedef struct baton_whisper_segment {
    int64_t t0_ms, t1_ms; /* from the beginning of the audio */
    const char *text;
    float no_speech; /* probability that nobody speaks */
    const baton_whisper_token *tokens;
    size_t n_tokens;
} baton_whisper_segment;

/* What is asked. Audio first, the rest has good presets. */
typedef struct baton_whisper_ask {
    size_t size;
    const float *samples; /* mono, -1 to 1 */
    size_t n_samples;
    int rate;                     /* BATON_WHISPER_RATE; another one is refused */
    const baton_request *request; /* NULL: BATON_REQUEST */
    const char *language; /* "de" or "german"; NULL, "" or "auto": detected (a model of English alone: English) */
    bool translate;       /* into English */
    bool no_timestamps;
    bool token_timestamps;
    bool single_segment;        /* one per 30 s */
    bool split_on_word;         /* with max_chars: not inside a word */
    int threads;                /* 0: as the model was opened */
    int offset_ms, duration_ms; /* of the audio; duration 0: to the end */
    int max_segments;           /* 0: no bound */
    int max_tokens;             /* of a segment; 0: no bound */
    int max_chars;              /* of a segment, with token_timestamps; 0: no bound */
    float temperature;          /* 0 to 1 */
    float temperature_step;     /* what 30 s that failed are tried again with, up to 1; 0: never again */
    int best_of;                /* candidates when the temperature is not 0, 1 to 8 */
    int beams;                  /* beam search when it is 0, 2 to 8; 0: the likeliest token */
    const char *initial_prompt; /* what is taken for said before, at most 4096 bytes, and no more than 1024 of them in
                                 * a row without a space, or all spaces; may be NULL */
    /* Called on the calling thread, with owner = caller inside the native call. They may use other models, and other
     * states of this one; what would need the state they are called from gets BATON_REENTRANT. They may close the
     * model, and cancel. Each may be NULL; a stream has neither. on_segment: the segment lives until it returns; false
     * ends the run, well. on_progress: percent, never going back, 100 at a complete end and at no other. */
    bool (*on_segment)(void *arg, const baton_whisper_segment *segment, size_t index);
    void (*on_progress)(void *arg, int percent);
    void *arg;
} baton_whisper_ask;
#define BATON_WHISPER_ASK                                                                                              \
    {                                                                                                                  \
        sizeof(baton_whisper_ask), NULL, 0, BATON_WHISPER_RATE, NULL, NULL, false, false, false, false, false, 0, 0,   \
            0, 0, 0, 0, 0, 0.2f, 5, 0, NULL, NULL, NULL, NULL                                                          \
    }

/* What became of a request. */
typedef struct baton_whisper_outcome {
    baton_status status; /* BATON_OK: complete. Else why not; the segments so far are right, and the text is cut */
    bool more;           /* max_segments or on_segment ended it, well, before the end of the audio */
    int language;        /* id; -1 if the run ended before it was known */
    char language_name[8];
    size_t segments;          /* so many were made */
    int64_t queue_ns, run_ns; /* waited; ran */
    char text[256];           /* one line, when status is not BATON_OK */
} baton_whisper_outcome;

/* A transcription. Belongs to the request that asked: nothing in it points into a state or a model. */
typedef struct baton_whisper_result {
    baton_whisper_segment *segments; /* with another status than BATON_OK what there was, and cut */
    size_t n_segments;
    baton_whisper_outcome outcome;
} baton_whisper_result;

/* Hears the audio and writes it down, on one state.
 *   ask     borrowed for the call
 *   result  out; freed with baton_whisper_result_free, whatever was returned
 * Returns: BATON_OK: complete, or as much as max_segments or on_segment wanted. Refused, nothing was run: _INVALID,
 * _TOO_LONG, _UNSUPPORTED (each names the value, before anything is waited for), _BUSY (names the holder and the cure),
 * _REENTRANT, _WOULD_DEADLOCK, _QUEUE_FULL, _QUEUE_TIMEOUT, _CANCELLED, _CLOSED, _MISUSE. Cut: _RUN_TIMEOUT,
 * _CANCELLED, _CLOSED, _FAILED (then there are no segments); with an owner of its own also _CRASHED, _HUNG, and
 * _PROTOCOL: what it said makes no sense. _NO_MEMORY. A cut is noticed after the token under way. Threads: any.
 * Blocks: under BATON_WAIT until there is a state; while it hears. Since: 0.1.0. */
BATON_API baton_status baton_whisper_full(baton_whisper *whisper, const baton_whisper_ask *ask,
                                          baton_whisper_result *result, baton_error *err) BATON_MUST_USE;

/* Frees what a result points to, and clears it. Twice is harmless. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_whisper_result_free(baton_whisper_result *result);

/* One audio over all the states of the model at once, cut into as many equal parts, each on a thread of its own, the
 * first on the calling one. A word on a cut may be lost or said twice. The language is detected once, at the beginning.
 *
 * The request has all states or none: under BATON_REFUSE one that is in use is BATON_BUSY at once, and nothing is held.
 * Under BATON_WAIT it takes them as they become free, each in its turn among the others who wait, and keeps them; of
 * several such requests one collects at a time, in order of arrival, so that two of them never wait for each other.
 * queue_ms is for all of it; the others' queue is bounded as well, by itself. A thread that holds a state of this model
 * could wait for itself alone: it gets _WOULD_DEADLOCK (_BUSY under BATON_REFUSE, _REENTRANT from a callback), as it
 * does when somebody keeps a lease by hand and waits for another one here.
 *
 * on_segment is called when all parts are done, in order; on_progress meanwhile, both on this thread. With another
 * status than BATON_OK there are no segments.
 * Parameters and returns as baton_whisper_full; _INVALID: parts of less than 100 ms; _UNSUPPORTED with owners of their
 * own. Threads: any. Blocks: under BATON_WAIT until it has all states; while they hear. Since: 0.1.0. */
BATON_API baton_status baton_whisper_full_parallel(baton_whisper *whisper, const baton_whisper_ask *ask,
                                                   baton_whisper_result *result, baton_error *err) BATON_MUST_USE;

/* The language that is spoken in the 30 s from the ask's offset_ms on.
 *   ask            its audio, offset_ms, threads and request alone are looked at
 *   language       out: its id
 *   probabilities  out: info.languages of the caller's floats; may be NULL
 * Returns: as baton_whisper_full; _UNSUPPORTED for a model of English alone. Once it runs it
 * cannot be stopped: a cancel or a run timeout comes too late. Threads: any. Blocks: as full. Since: 0.1.0. */
BATON_API baton_status baton_whisper_detect(baton_whisper *whisper, const baton_whisper_ask *ask, int *language,
                                            float *probabilities, baton_error *err) BATON_MUST_USE;

/* Ends the request of that id, queued or running, with BATON_CANCELLED, after the token under way; touches no other.
 * Returns: true if there was one. A transcription that is complete at that moment stays complete. Threads: any,
 * callbacks too. Blocks: never. Since: 0.1.0. */
BATON_API bool baton_whisper_cancel(baton_whisper *whisper, uint64_t id);

/*
 * Streams: segments as they are made, pulled
 */

/* A transcription on its way. Its native call runs on a thread of its own and never waits for who reads: the state is
 * free as soon as the audio is heard, and what is not read yet is kept, about a hundredth of the audio's size. While it
 * hears, one that nobody reads for the request's idle_ms though there is a segment, or that comes to more unread bytes
 * than the audio has (or 1 MiB), is cancelled. One thread at a time, any thread. */
typedef struct baton_whisper_stream baton_whisper_stream;

/* Begins one.
 *   ask     borrowed for the call; the audio is copied. Without on_segment and on_progress: _MISUSE
 *   stream  out; ended by baton_whisper_stream_close
 * Returns: BATON_OK: it has its state, and hears; with an owner of its own it may still be queued: a later refusal is
 * its outcome. Refusals as baton_whisper_full: *stream is NULL.
 * Threads: any. Blocks: under BATON_WAIT with owner = caller, until there is a state. Since: 0.1.0. */
BATON_API baton_status baton_whisper_stream_open(baton_whisper *whisper, const baton_whisper_ask *ask,
                                                 baton_whisper_stream **stream, baton_error *err) BATON_MUST_USE;

/* The next segment.
 *   timeout_ms  how long to wait for it; < 0: until it comes
 *   segment     out: valid until the next call on the stream; NULL unless BATON_OK
 * Returns: BATON_OK. _AGAIN: none within the timeout. _END: there is no more, and baton_whisper_stream_close tells the
 * outcome. _BUSY: another thread is in a call on this stream. Threads: any, one at a time. Blocks: until a segment, the
 * end, or the timeout. Since: 0.1.0. */
BATON_API baton_status baton_whisper_stream_next(baton_whisper_stream *stream, int64_t timeout_ms,
                                                 const baton_whisper_segment **segment) BATON_MUST_USE;

/* A descriptor that is readable while baton_whisper_stream_next would not block: for event loops. Poll it, never read
 * it. Returns: -1 when out of descriptors. Threads: any, one at a time. Blocks: never. Since: 0.1.0. */
BATON_API int baton_whisper_stream_fd(baton_whisper_stream *stream);

/* The id of its request, for baton_whisper_cancel. Returns: never 0. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API uint64_t baton_whisper_stream_id(const baton_whisper_stream *stream);

/* How much was heard, in percent; 100 at a complete end alone. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API int baton_whisper_stream_progress(const baton_whisper_stream *stream);

/* Ends a stream, at any time, read to its end or not; what still runs is cancelled.
 *   stream   taken; *stream is NULL after. NULL inside is harmless
 *   outcome  out, may be NULL: exactly one
 * Returns: the outcome's status. Threads: any, not beside another call on the stream. Blocks: until the native call
 * under way has returned, a token at most; the state is free then. Since: 0.1.0. */
BATON_API baton_status baton_whisper_stream_close(baton_whisper_stream **stream, baton_whisper_outcome *outcome);

/*
 * By hand: several steps on one state, under a lease that covers them all
 */

/* As whisper.h declares them; either header may come first. */
struct whisper_context;
struct whisper_state;

/* Acquires one of the model's states.
 *   request  NULL: BATON_REQUEST, and what it leaves open as the model's policy says; its run_ms is not looked at
 *   lease    out; released with baton_lease_release. BATON_RESET: the next one finds a state as new. BATON_KEEP: it
 *            finds the state as it is, spectrogram and all; full, detect and streams begin as new in any case
 * Returns: as baton_lease_acquire; BATON_UNSUPPORTED with owners of their own. Threads: any. Blocks: under BATON_WAIT
 * until there is a state. Since: 0.1.0. */
BATON_API baton_status baton_whisper_acquire(baton_whisper *whisper, const baton_request *request, baton_lease *lease,
                                             baton_error *err) BATON_MUST_USE BATON_TRY_ACQUIRE(0, lease);

/* Each of these four is a native call under a lease of baton_whisper_acquire, between whose begin and end the others
 * stand; do not call them between a begin and an end of your own. Refused with _STALE (the lease is none any more),
 * _REENTRANT and _BUSY (somebody is inside with a copy of the lease), _MISUSE (the lease of something else).
 *
 * The first makes a spectrogram of audio, in frames of 10 ms.
 *   threads  0: as the model was opened
 *   frames   out
 * Returns: BATON_OK, _INVALID (its text says what of the audio), _FAILED, _NO_MEMORY. Threads: any, one at a time.
 * Blocks: while it computes. Since: 0.1.0. */
BATON_API baton_status baton_whisper_pcm_to_mel(const baton_lease *lease, const float *samples, size_t n, int rate,
                                                int threads, int *frames, baton_error *err) BATON_MUST_USE
    BATON_REQUIRES(lease) BATON_EXCLUDES(lease->pool);

/* Takes a spectrogram of the program's own.
 *   data  info.mels times `frames` numbers: all frames of the first mel, then those of the second
 * Returns: as pcm_to_mel. Threads: any, one at a time. Blocks: for a copy. Since: 0.1.0. */
BATON_API baton_status baton_whisper_set_mel(const baton_lease *lease, const float *data, int frames, int mels,
                                             baton_error *err) BATON_MUST_USE BATON_REQUIRES(lease)
    BATON_EXCLUDES(lease->pool);

/* Encodes the 30 s of the spectrogram from first_frame on.
 * Returns: as pcm_to_mel; _MISUSE: there is no spectrogram. Threads: any, one at a time. Blocks: while it computes.
 * Since: 0.1.0. */
BATON_API baton_status baton_whisper_encode(const baton_lease *lease, int first_frame, int threads,
                                            baton_error *err) BATON_MUST_USE BATON_REQUIRES(lease)
    BATON_EXCLUDES(lease->pool);

/* Decodes tokens after what is encoded.
 *   past    how many tokens of earlier decodes stay before them
 *   logits  out: info.vocab_size of the caller's floats, those of the last token. They are a copy: nobody else's decode
 *           can be read as yours
 * Returns: as pcm_to_mel; _MISUSE: nothing is encoded. Threads: any, one at a time. Blocks: while it computes.
 * Since: 0.1.0. */
BATON_API baton_status baton_whisper_decode(const baton_lease *lease, const int32_t *tokens, int n, int past,
                                            int threads, float *logits, baton_error *err) BATON_MUST_USE
    BATON_REQUIRES(lease) BATON_EXCLUDES(lease->pool);

/* The native state, between baton_lease_begin and _end of this lease, on the thread that began, for the functions of
 * whisper.h that take one: whisper_full_with_state(baton_whisper_context(w), baton_whisper_state(&lease), ...). It is
 * to be used until end alone. (begin's own `context` is the same pointer.) Returns: NULL anywhere else, and the misuse
 * handler is told. Threads: the one that is inside. Blocks: never. Since: 0.1.0. */
BATON_API struct whisper_state *baton_whisper_state(const baton_lease *lease) BATON_REQUIRES(lease, lease->pool);

/* The native model, which has no state of its own: only for functions that take a state beside it, or that read the
 * model. Lives until the model is closed.
 * Returns: NULL: the model is not libwhisper's. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API struct whisper_context *baton_whisper_context(const baton_whisper *whisper);

/*
 * Diagnostics
 */

/* Fills *counts, whose size the caller has set. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_whisper_get_counts(const baton_whisper *whisper, baton_counts *counts);

/* A snapshot of the model's states, as baton_pool_snapshot; with owners of their own as baton_llama_snapshot.
 * Returns: as baton_llama_snapshot. Threads: any. Blocks: as baton_llama_snapshot. Since: 0.1.0. */
BATON_API baton_status baton_whisper_snapshot(const baton_whisper *whisper, baton_snapshot *snapshot,
                                              baton_error *err) BATON_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
