/* A whisper_state and its single steps. It belongs to one thread at a time: the holder of its lease.
 *
 * Invariant: nothing that a state did before shows in what it does next. One thing libwhisper keeps: the probability
 * that nobody speaks is read from row 0 of the logits, which the first decode of a run does not write when its prompt
 * has more than one token. The row is zeroed, as it is in a state that is new. A state in which a call failed or was
 * stopped is replaced. */
#include <stdlib.h>
#include <string.h>

#include "native/device.h"
#include "native/whisper_internal.h"

_Static_assert(BT_WHISPER_THREADS_MAX == GGML_MAX_N_THREADS, "what ggml takes");

static struct whisper_context *context_of(const struct bt_native_whisper_state *s) {
    return bt_native_whisper_of(s->base.model)->ctx;
}

static void state_free(struct bt_whisper_state *base) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    whisper_free_state(s->state);
    atomic_fetch_sub(&bt_native_whisper_of(base->model)->states, 1);
    free(s);
}

static baton_status make(struct bt_native_whisper_state *s, baton_error *err) {
    struct bt_buf causes = BT_BUF_INIT;
    bt_llama_listen(&causes);
    s->state = whisper_init_state(context_of(s));
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    if (!s->state)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a state of %s: %s",
                         bt_native_whisper_of(s->base.model)->info.name, cause);
    bt_buf_free(&causes);
    s->tainted = s->decoded = s->encoded = s->used = s->cleared = false;
    s->mel_frames = 0;
    return status;
}

baton_status bt_whisper_state_refresh(struct bt_native_whisper_state *s, baton_error *err) {
    if (s->tainted) {
        whisper_free_state(s->state);
        s->state = NULL;
    }
    if (!s->state) {
        baton_status status = make(s, err);
        if (status)
            return status;
    }
    s->used = true;
    s->cleared = false;
    if (s->decoded)
        memset(whisper_get_logits_from_state(s->state), 0,
               sizeof(float) * (size_t)bt_native_whisper_of(s->base.model)->info.vocab_size);
    return BATON_OK;
}

baton_status bt_whisper_state_mel(struct bt_native_whisper_state *s, const struct bt_audio *audio, int threads,
                                  baton_error *err) {
    s->mel_frames = 0;
    s->encoded = false;
    if (whisper_pcm_to_mel_with_state(context_of(s), s->state, audio->samples, (int)audio->n, threads) != 0)
        return bt_fail(err, BATON_FAILED, "libwhisper made no spectrogram of %zu samples", audio->n);
    s->mel_frames = whisper_n_len_from_state(s->state);
    return BATON_OK;
}

/* libwhisper compares all the languages it knows. A model that was made before the last of them came has another token
 * in that place: only what is the model's own is compared. */
static int loudest(float *probabilities, int n) {
    int best = 0;
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += (double)probabilities[i];
        if (probabilities[i] > probabilities[best])
            best = i;
    }
    for (int i = 0; i < n && sum > 0; i++)
        probabilities[i] = (float)((double)probabilities[i] / sum);
    return best;
}

baton_status bt_whisper_state_language(struct bt_native_whisper_state *s, int offset_ms, int threads, int *language,
                                       float *probabilities, baton_error *err) {
    const struct bt_whisper_info *info = &bt_native_whisper_of(s->base.model)->info;
    float *all = calloc((size_t)whisper_lang_max_id() + 1, sizeof *all);
    if (!all)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the probabilities of languages");
    int rc = whisper_lang_auto_detect_with_state(context_of(s), s->state, offset_ms, threads, all);
    baton_status status = BATON_OK;
    s->decoded = true;
    if (rc >= 0) {
        s->encoded = true;
        s->tokens = 0;
        *language = loudest(all, info->languages);
        if (probabilities)
            memcpy(probabilities, all, sizeof *all * (size_t)info->languages);
    } else {
        s->tainted = true;
        status = bt_fail(err, BATON_FAILED, "libwhisper could not tell the language (%d)", rc);
    }
    free(all);
    return status;
}

static baton_status state_detect(struct bt_whisper_state *base, const struct bt_audio *audio, int offset_ms,
                                 int threads, int *language, float *probabilities, baton_error *err) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    const struct bt_whisper_info *info = &bt_native_whisper_of(base->model)->info;
    *language = -1;
    if (!info->multilingual)
        return bt_fail(err, BATON_UNSUPPORTED, "%s knows English alone: it cannot tell languages apart", info->name);
    baton_status status = bt_whisper_check_audio(audio, err);
    if (!status)
        status = bt_whisper_check_threads(threads, err);
    if (!status)
        status = bt_whisper_check_offset(audio, offset_ms, err);
    if (!status)
        status = bt_whisper_state_refresh(s, err);
    threads = bt_native_threads(threads);
    if (!status)
        status = bt_whisper_state_mel(s, audio, threads, err);
    if (!status)
        status = bt_whisper_state_language(s, offset_ms, threads, language, probabilities, err);
    return status;
}

static baton_status state_mel(struct bt_whisper_state *base, const struct bt_audio *audio, int threads, int *frames,
                              baton_error *err) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    *frames = 0;
    baton_status status = bt_whisper_check_audio(audio, err);
    if (!status)
        status = bt_whisper_check_threads(threads, err);
    if (!status)
        status = bt_whisper_state_refresh(s, err);
    if (!status)
        status = bt_whisper_state_mel(s, audio, bt_native_threads(threads), err);
    *frames = s->mel_frames;
    return status;
}

static baton_status state_set_mel(struct bt_whisper_state *base, const float *data, int frames, int mels,
                                  baton_error *err) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    baton_status status = bt_whisper_check_mel(&bt_native_whisper_of(base->model)->info, data, frames, mels, err);
    if (!status)
        status = bt_whisper_state_refresh(s, err);
    if (status)
        return status;
    s->encoded = false;
    s->mel_frames = 0;
    if (whisper_set_mel_with_state(context_of(s), s->state, data, frames, mels) != 0)
        return bt_fail(err, BATON_FAILED, "libwhisper did not take the spectrogram");
    s->mel_frames = frames;
    return BATON_OK;
}

static baton_status state_encode(struct bt_whisper_state *base, int first_frame, int threads, baton_error *err) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    baton_status status = bt_whisper_check_threads(threads, err);
    if (status)
        return status;
    if (!s->state || s->mel_frames == 0)
        return bt_fail(err, BATON_MISUSE, "there is no spectrogram to encode: make one, or set one, first");
    if (first_frame < 0 || first_frame >= s->mel_frames)
        return bt_fail(err, BATON_INVALID, "frame %d: the spectrogram has frames 0 to %d", first_frame,
                       s->mel_frames - 1);
    s->encoded = whisper_encode_with_state(context_of(s), s->state, first_frame, bt_native_threads(threads)) == 0;
    s->tokens = 0;
    if (s->encoded)
        return BATON_OK;
    s->tainted = true;
    return bt_fail(err, BATON_FAILED, "libwhisper could not encode from frame %d", first_frame);
}

static baton_status state_decode(struct bt_whisper_state *base, const int32_t *tokens, int n, int past, int threads,
                                 float *logits, baton_error *err) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    const struct bt_whisper_info *info = &bt_native_whisper_of(base->model)->info;
    baton_status status = bt_whisper_check_threads(threads, err);
    if (!status && (!s->state || !s->encoded))
        status = bt_fail(err, BATON_MISUSE, "nothing is encoded yet: decoding would read what is not there");
    if (!status)
        status = bt_whisper_check_rows(info, tokens, n, past, s->tokens, err);
    if (status)
        return status;
    s->decoded = true;
    if (whisper_decode_with_state(context_of(s), s->state, tokens, n, past, bt_native_threads(threads)) != 0) {
        s->tainted = true;
        return bt_fail(err, BATON_FAILED, "libwhisper could not decode %d tokens after %d", n, past);
    }
    s->tokens = past + n;
    const float *rows = whisper_get_logits_from_state(s->state);
    memcpy(logits, rows + (size_t)(n - 1) * (size_t)info->vocab_size, sizeof *logits * (size_t)info->vocab_size);
    return BATON_OK;
}

/* Shown as it was left, but for a reset. What is done to it by hand is not known here: a run of ours gets a new one. */
static void *state_native(struct bt_whisper_state *base) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    s->tainted |= s->cleared && s->used;
    if ((!s->state || s->cleared) && bt_whisper_state_refresh(s, NULL))
        return NULL;
    s->cleared = false;
    s->used = s->tainted = true;
    return s->state;
}

static void state_reset(struct bt_whisper_state *base) {
    struct bt_native_whisper_state *s = bt_native_whisper_state_of(base);
    s->cleared = true;
    s->encoded = false;
    s->mel_frames = 0;
}

/* Each call that computes takes its turn where the device needs it. */
static baton_status turn_full(struct bt_whisper_state *s, const struct bt_audio *audio,
                              const struct bt_whisper_params *params, struct bt_whisper_result *result,
                              baton_error *err) {
    bt_device_enter(s->model->device);
    baton_status status = bt_whisper_state_full(s, audio, params, result, err);
    bt_device_leave(s->model->device);
    return status;
}
static baton_status turn_detect(struct bt_whisper_state *s, const struct bt_audio *audio, int offset_ms, int threads,
                                int *language, float *probabilities, baton_error *err) {
    bt_device_enter(s->model->device);
    baton_status status = state_detect(s, audio, offset_ms, threads, language, probabilities, err);
    bt_device_leave(s->model->device);
    return status;
}
static baton_status turn_encode(struct bt_whisper_state *s, int first_frame, int threads, baton_error *err) {
    bt_device_enter(s->model->device);
    baton_status status = state_encode(s, first_frame, threads, err);
    bt_device_leave(s->model->device);
    return status;
}
static baton_status turn_decode(struct bt_whisper_state *s, const int32_t *tokens, int n, int past, int threads,
                                float *logits, baton_error *err) {
    bt_device_enter(s->model->device);
    baton_status status = state_decode(s, tokens, n, past, threads, logits, err);
    bt_device_leave(s->model->device);
    return status;
}

static const struct bt_whisper_state_ops state_ops = {
    .free = state_free,
    .full = turn_full,
    .detect = turn_detect,
    .mel = state_mel,
    .set_mel = state_set_mel,
    .encode = turn_encode,
    .decode = turn_decode,
    .native = state_native,
    .reset = state_reset,
};

static bool count_in(struct bt_native_whisper *w) {
    int n = atomic_load(&w->states);
    while (n < BT_WHISPER_STATES_MAX)
        if (atomic_compare_exchange_weak(&w->states, &n, n + 1))
            return true;
    return false;
}

baton_status bt_whisper_state_open(struct bt_whisper *base, struct bt_whisper_state **out, baton_error *err) {
    struct bt_native_whisper *w = bt_native_whisper_of(base);
    *out = NULL;
    if (!count_in(w))
        return bt_whisper_fail_too_many(&w->info, err);
    struct bt_native_whisper_state *s = calloc(1, sizeof *s);
    if (!s) {
        atomic_fetch_sub(&w->states, 1);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a state");
    }
    s->base.ops = &state_ops;
    s->base.model = base;
    baton_status status = make(s, err);
    if (status) {
        state_free(&s->base);
        return status;
    }
    *out = &s->base;
    return BATON_OK;
}
