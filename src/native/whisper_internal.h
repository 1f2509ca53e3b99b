/* The parts of the libwhisper implementation: model (whisper.c), its file (whisper_file.c), states and their single
 * steps (whisper_state.c), transcription (whisper_full.c). Backends, log and threads are llama_backend.c's. */
#ifndef BT_WHISPER_INTERNAL_H
#define BT_WHISPER_INTERNAL_H

#include <stdatomic.h>
#include <whisper.h>

#include "native/llama_internal.h"
#include "native/whisper.h"

struct bt_native_whisper {
    struct bt_whisper base;
    /* immutable once open: a context made without a state is only read afterwards */
    struct whisper_context *ctx;
    struct bt_whisper_info info;
    /* anybody */
    _Atomic int states;
};

/* Belongs to one thread at a time: the holder of its lease. */
struct bt_native_whisper_state {
    struct bt_whisper_state base;
    struct whisper_state *state; /* NULL when libwhisper freed it, or a new one could not be had */
    bool tainted;                /* holds what a fresh state would not: replaced before the next run */
    bool decoded;                /* its logits are of some earlier run */
    bool used;                   /* by anybody, since it was made */
    bool cleared;                /* reset since then */
    int mel_frames;              /* 0: none yet */
    bool encoded;
    int tokens; /* decoded one by one since then */
};

static inline struct bt_native_whisper *bt_native_whisper_of(const struct bt_whisper *w) {
    return (struct bt_native_whisper *)BT_CONTAINER(w, const struct bt_native_whisper, base);
}
static inline struct bt_native_whisper_state *bt_native_whisper_state_of(const struct bt_whisper_state *s) {
    return (struct bt_native_whisper_state *)BT_CONTAINER(s, const struct bt_native_whisper_state, base);
}

/* Reads the file's structure through: what libwhisper would answer with an assertion, an exception or numbers out of
 * uninitialised memory. Fills vocab_size, mels and bytes. */
/* file: a descriptor of it that stays open, or NULL. */
baton_status bt_whisper_check_file(const char *path, const int *file, struct bt_whisper_info *info, baton_error *err);

baton_status bt_whisper_state_open(struct bt_whisper *w, struct bt_whisper_state **s, baton_error *err);
/* A native state without a past. */
baton_status bt_whisper_state_refresh(struct bt_native_whisper_state *s, baton_error *err);
baton_status bt_whisper_model_check(const struct bt_whisper *w, const struct bt_audio *audio,
                                    const struct bt_whisper_params *params, baton_error *err);
/* The spectrogram of checked audio, and the language spoken from offset_ms on in the spectrogram. */
baton_status bt_whisper_state_mel(struct bt_native_whisper_state *s, const struct bt_audio *audio, int threads,
                                  baton_error *err);
baton_status bt_whisper_state_language(struct bt_native_whisper_state *s, int offset_ms, int threads, int *language,
                                       float *probabilities, baton_error *err);

baton_status bt_whisper_state_full(struct bt_whisper_state *s, const struct bt_audio *audio,
                                   const struct bt_whisper_params *params, struct bt_whisper_result *result,
                                   baton_error *err);

#endif
