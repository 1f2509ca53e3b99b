/* Validation of requests for transcriptions. What only the model knows (its languages) its owner looks at. State: none.
 */
#include "serve/speech_in.h"

#include <stdlib.h>
#include <string.h>

#include "serve/json_in.h"
#include "serve/wav.h"
#include "wire/speech.h"

static bool take_format(struct bt_in *x, struct bt_speech_request *r) {
    const json_t *v = bt_in_get(x, "response_format"), *times = bt_in_get(x, "timestamp_granularities");
    const char *name = json_string_value(v);
    r->verbose = name && strcmp(name, "verbose_json") == 0;
    if (v && !r->verbose && (!name || strcmp(name, "json") != 0))
        return bt_in_unsupported(x, "response_format", v, "use \"json\" or \"verbose_json\"");
    for (size_t i = 0; i < json_array_size(times); i++) {
        const char *one = json_string_value(json_array_get(times, i));
        if (!one || strcmp(one, "segment") != 0)
            return bt_in_unsupported(x, "timestamp_granularities", times, "use [\"segment\"]");
    }
    return (!times || json_is_array(times)) || bt_in_expected(x, "timestamp_granularities", times, "[\"segment\"]");
}

static bool refuse_others(struct bt_in *x) {
    static const char *const others[] = {"include", "chunking_strategy"};
    for (size_t i = 0; i < BT_COUNT(others); i++) {
        const json_t *v = bt_in_get(x, others[i]);
        if (v && !(json_is_array(v) && json_array_size(v) == 0))
            return bt_in_unsupported(x, others[i], v, "leave it out");
    }
    return true;
}

static bool read_wav(struct bt_in *x, const unsigned char *bytes, size_t len, float **samples, size_t *n) {
    baton_error err;
    baton_status status = bt_wav_read(bytes, len, BT_WHISPER_RATE, samples, n, &err);
    if (status == BATON_NO_MEMORY)
        return bt_in_no_memory(x);
    return !status || bt_in_fail(x, 400, "invalid_value", "audio", "audio: %s", err.text);
}

static bool take_audio(struct bt_in *x, float **samples, size_t *n) {
    const json_t *v = bt_in_get(x, "audio");
    unsigned char *bytes;
    size_t len;
    if (!v)
        return bt_in_fail(x, 400, "missing_field", "audio", "audio is missing: expected a WAV file as base64%s",
                          bt_in_get(x, "file") ? " (here it is not called file)" : "");
    if (!json_is_string(v) || json_string_length(v) == 0)
        return bt_in_expected(x, "audio", v, "a WAV file as base64");
    bool sound = bt_in_base64(json_string_value(v), json_string_length(v), &bytes, &len);
    if (!bytes)
        return bt_in_no_memory(x);
    bool ok = sound ? read_wav(x, bytes, len, samples, n)
                    : bt_in_fail(x, 400, "invalid_value", "audio",
                                 "audio is %zu characters that are no base64: expected a WAV file as base64, without "
                                 "line breaks and without \"data:\" before it",
                                 json_string_length(v));
    free(bytes);
    return ok;
}

static bool take(struct bt_in *x, struct bt_speech_request *r) {
    struct bt_whisper_params p = BT_WHISPER_PARAMS_DEFAULT;
    struct bt_audio audio = {.rate = BT_WHISPER_RATE};
    float *samples = NULL;
    if (!bt_in_model(x))
        return false;
    if (!x->model->hears)
        return bt_in_fail(x, 400, "unsupported_model", "model",
                          "this model does not hear: only one of kind = speech (a file in whisper.cpp's format) "
                          "transcribes");
    bool ok = bt_in_cstring(x, "language", "the name of a language, as \"de\" or \"german\"", &p.language) &&
              bt_in_cstring(x, "prompt", "a string", &p.initial_prompt) &&
              bt_in_real(x, "temperature", 0, 1, &p.temperature) && bt_in_bool(x, "stream", &r->stream) &&
              take_format(x, r) && refuse_others(x) && take_audio(x, &samples, &audio.n);
    if (ok) {
        audio.samples = samples;
        r->audio_ms = (int64_t)(audio.n / (BT_WHISPER_RATE / 1000));
        bt_speech_ask_encode(&r->ask, &audio, &p, false);
        ok = !r->ask.failed || bt_in_no_memory(x);
    }
    free(samples);
    r->model = x->model;
    r->submit = (struct bt_submit){.what = BT_WHAT_TRANSCRIBE,
                                   .kind = BT_PROMPT_TEXT,
                                   .text = {(const char *)r->ask.data, r->ask.len},
                                   .max_tokens = -1};
    return ok;
}

bool bt_speech_parse(struct bt_speech_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                     struct bt_api_error *e) {
    struct bt_in x = {.models = models, .e = e};
    *e = (struct bt_api_error){0};
    *r = (struct bt_speech_request){.ask = BT_BUF_INIT};
    bool ok = bt_in_json(&x, body, len) && take(&x, r);
    json_decref(x.root);
    if (!ok)
        bt_speech_request_free(r);
    return ok;
}

void bt_speech_request_free(struct bt_speech_request *r) {
    bt_buf_free(&r->ask);
    *r = (struct bt_speech_request){.model = NULL};
}
