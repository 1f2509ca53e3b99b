/* What is asked of a recogniser, checked without one: numbers, audio, tokens. Calls no native library. Stateless. */
#include <math.h>
#include <string.h>

#include "native/whisper.h"

enum { CANDIDATES_MAX = 8 /* libwhisper's WHISPER_MAX_DECODERS */ };

baton_status bt_whisper_check_threads(int threads, baton_error *err) {
    if (threads >= 0 && threads <= BT_WHISPER_THREADS_MAX)
        return BATON_OK;
    return bt_fail(err, BATON_INVALID, "%d threads: 0 for one less than there are cores, or 1 to %d", threads,
                   BT_WHISPER_THREADS_MAX);
}

baton_status bt_whisper_check_audio(const struct bt_audio *audio, baton_error *err) {
    const size_t per_ms = BT_WHISPER_RATE / 1000,
                 most = (size_t)INT32_MAX - (size_t)31 * BT_WHISPER_RATE; /* it pads by 30 s */
    if (audio->rate != BT_WHISPER_RATE)
        return bt_fail(err, BATON_INVALID, "audio of %d samples a second: whisper hears %d, mono; resample it first",
                       audio->rate, BT_WHISPER_RATE);
    if (!audio->samples || audio->n < BT_WHISPER_MIN_MS * per_ms)
        return bt_fail(err, BATON_INVALID,
                       "%zu samples are %zu ms of audio, and less than %d ms are too short: pad it with "
                       "silence",
                       audio->samples ? audio->n : 0, audio->samples ? audio->n / per_ms : 0, BT_WHISPER_MIN_MS);
    if (audio->n > most)
        return bt_fail(err, BATON_INVALID,
                       "%zu samples are more than the %zu that whisper takes at once: cut the audio", audio->n, most);
    for (size_t i = 0; i < audio->n; i++)
        if (!isfinite(audio->samples[i]))
            return bt_fail(err, BATON_INVALID, "sample %zu of the audio is not a number", i);
    return BATON_OK;
}

static baton_status check_range(const char *what, double value, double from, double to, baton_error *err) {
    if (value >= from && value <= to)
        return BATON_OK;
    return bt_fail(err, BATON_INVALID, "%s is %g: give %g to %g", what, value, from, to);
}

/* A word, for libwhisper, is also a run of spaces. */
static baton_status check_prompt(const char *prompt, baton_error *err) {
    static const char spaces[] = " \t\n\v\f\r";
    size_t len = strlen(prompt);
    if (len > BT_WHISPER_PROMPT_MAX)
        return bt_fail(err, BATON_TOO_LONG,
                       "an initial prompt of %zu bytes: whisper reads its last 200 tokens or so, and "
                       "at most %d bytes are taken",
                       len, BT_WHISPER_PROMPT_MAX);
    for (size_t at = 0, n; at < len; at += n) {
        n = strspn(prompt + at, spaces);
        n = n ? n : strcspn(prompt + at, spaces);
        if (n > BT_WHISPER_WORD_MAX)
            return bt_fail(err, BATON_INVALID,
                           "%zu bytes of the initial prompt are one word: at most %d bytes may be, as libwhisper takes "
                           "the square of that; cut it down to its end, of which whisper reads 200 tokens or so",
                           n, BT_WHISPER_WORD_MAX);
    }
    return BATON_OK;
}

static baton_status check_params(const struct bt_whisper_params *p, baton_error *err) {
    const struct {
        const char *what;
        double value, from, to;
    } ranges[] = {
        {"the temperature", (double)p->temperature, 0, 1},
        {"the step of the temperature", (double)p->temperature_step, 0, 1},
        {"best_of", p->best_of, 1, CANDIDATES_MAX},
        {"the number of beams", p->beams, 0, CANDIDATES_MAX},
        {"the offset in ms", p->offset_ms, 0, INT32_MAX},
        {"the duration in ms", p->duration_ms, 0, INT32_MAX},
        {"the most segments", p->max_segments, 0, INT32_MAX},
        {"the most tokens of a segment", p->max_tokens, 0, INT32_MAX},
        {"the most characters of a segment", p->max_chars, 0, INT32_MAX},
    };
    for (size_t i = 0; i < BT_COUNT(ranges); i++)
        if (check_range(ranges[i].what, ranges[i].value, ranges[i].from, ranges[i].to, err))
            return BATON_INVALID;
    if (p->temperature_step > 0 && p->temperature_step < 0.01f)
        return bt_fail(err, BATON_INVALID, "the step of the temperature is %g: give 0 or at least 0.01",
                       (double)p->temperature_step);
    if (p->max_chars > 0 && !p->token_timestamps)
        return bt_fail(err, BATON_INVALID, "max_chars is %d: it needs token_timestamps", p->max_chars);
    if (p->vad)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "vad: libwhisper detects voice only in calls on a context's hidden state, not on states of a "
                       "pool, which ignore it. Cut the silence out before");
    baton_status status = p->initial_prompt ? check_prompt(p->initial_prompt, err) : BATON_OK;
    return status ? status : bt_whisper_check_threads(p->threads, err);
}

static baton_status check_window(const struct bt_audio *audio, const struct bt_whisper_params *p, baton_error *err) {
    int64_t ms = (int64_t)(audio->n / (BT_WHISPER_RATE / 1000)), left = ms - p->offset_ms;
    if (p->duration_ms > 0)
        left = BT_MIN(left, p->duration_ms);
    if (left >= BT_WHISPER_MIN_MS)
        return BATON_OK;
    return bt_fail(err, BATON_INVALID,
                   "an offset of %d ms and a duration of %d ms leave less than %d ms of %lld ms of audio", p->offset_ms,
                   p->duration_ms, BT_WHISPER_MIN_MS, (long long)ms);
}

baton_status bt_whisper_check_run(const struct bt_audio *audio, const struct bt_whisper_params *p, baton_error *err) {
    baton_status status = check_params(p, err);
    if (!status)
        status = bt_whisper_check_audio(audio, err);
    return status ? status : check_window(audio, p, err);
}

baton_status bt_whisper_check_offset(const struct bt_audio *audio, int offset_ms, baton_error *err) {
    if (offset_ms >= 0 && (size_t)offset_ms + BT_WHISPER_MIN_MS <= audio->n / (BT_WHISPER_RATE / 1000))
        return BATON_OK;
    return bt_fail(err, BATON_INVALID, "an offset of %d ms leaves less than %d ms of %zu ms of audio", offset_ms,
                   BT_WHISPER_MIN_MS, audio->n / (BT_WHISPER_RATE / 1000));
}

baton_status bt_whisper_check_mel(const struct bt_whisper_info *info, const float *data, int frames, int mels,
                                  baton_error *err) {
    if (mels != info->mels)
        return bt_fail(err, BATON_INVALID, "a spectrogram of %d mels: %s hears %d", mels, info->name, info->mels);
    if (frames < 1 || frames > INT32_MAX / mels)
        return bt_fail(err, BATON_INVALID, "a spectrogram of %d frames: give 1 to %d", frames, INT32_MAX / mels);
    for (size_t i = 0; i < (size_t)frames * (size_t)mels; i++)
        if (!isfinite(data[i]))
            return bt_fail(err, BATON_INVALID, "number %zu of the spectrogram is not a number", i);
    return BATON_OK;
}

baton_status bt_whisper_check_rows(const struct bt_whisper_info *info, const int32_t *tokens, int n, int past,
                                   int decoded, baton_error *err) {
    if (n < 1 || past < 0 || n > info->text_ctx || past > info->text_ctx - n)
        return bt_fail(err, BATON_INVALID, "%d tokens after %d: together 1 to %d", n, past, info->text_ctx);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= info->vocab_size)
            return bt_fail(err, BATON_INVALID, "token %d is %d: there are 0 to %d", i, (int)tokens[i],
                           info->vocab_size - 1);
    if (past > decoded)
        return bt_fail(err, BATON_INVALID, "after %d tokens: %d were decoded since the audio was encoded", past,
                       decoded);
    return BATON_OK;
}

baton_status bt_whisper_fail_too_many(const struct bt_whisper_info *info, baton_error *err) {
    return bt_fail(err, BATON_UNSUPPORTED,
                   "%s has %d states, and more are not made: some releases of whisper.cpp crash beyond that "
                   "(whisper.cpp issue 2521). Let requests wait for a state, or use a second process",
                   info->name, BT_WHISPER_STATES_MAX);
}
