/* An owner that hears: what a request is, and the hooks of its native call. State: the loop's thread's (single.h). */
#include "owner/hear.h"

#include <stdlib.h>
#include <string.h>

#include "owner/single.h"
#include "wire/speech.h"

struct hear {
    struct bt_whisper *model;
    struct bt_whisper_state *state;
    int threads;
    struct bt_single *loop; /* of the call that is running */
    struct bt_buf record;
};

static bool should_stop(void *arg) {
    struct hear *h = arg;
    return bt_single_stop(h->loop);
}

static bool on_segment(void *arg, const struct bt_whisper_segment *segment, size_t index) {
    struct hear *h = arg;
    (void)index;
    bt_speech_put_segment(&h->record, segment);
    bt_single_data(h->loop, &h->record);
    return true;
}

static void on_progress(void *arg, int percent) {
    struct hear *h = arg;
    bt_speech_put_percent(&h->record, percent);
    bt_single_data(h->loop, &h->record);
}

static baton_status transcribe(struct hear *h, const struct bt_audio *audio, struct bt_whisper_params *p,
                               baton_error *err) {
    struct bt_whisper_result result;
    p->on_segment = on_segment;
    p->on_progress = on_progress;
    p->cancelled = should_stop;
    p->arg = h;
    baton_status status = h->state->ops->full(h->state, audio, p, &result, err);
    if (result.language >= 0)
        bt_speech_put_language(&h->record, result.language, result.lang_str, NULL, 0);
    if (result.more)
        bt_speech_put_more(&h->record);
    bt_single_data(h->loop, &h->record);
    bt_whisper_result_free(&result);
    return status;
}

static baton_status detect(struct hear *h, const struct bt_audio *audio, const struct bt_whisper_params *p,
                           baton_error *err) {
    struct bt_whisper_info info;
    int language;
    h->model->ops->info(h->model, &info);
    float *probabilities = calloc((size_t)info.languages + 1, sizeof *probabilities);
    if (!probabilities)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the probabilities of languages");
    baton_status status =
        h->state->ops->detect(h->state, audio, p->offset_ms, p->threads, &language, probabilities, err);
    if (!status) {
        bt_speech_put_language(&h->record, language, h->model->ops->lang_str(h->model, language), probabilities,
                               (size_t)info.languages);
        bt_single_data(h->loop, &h->record);
    }
    free(probabilities);
    return status;
}

static baton_status hear_ask(void *arg, struct bt_single *loop, struct bt_text bytes, baton_error *err) {
    struct hear *h = arg;
    struct bt_speech_ask ask;
    h->loop = loop;
    if (bt_speech_ask_decode(bytes, &ask))
        return bt_fail(err, BATON_PROTOCOL, "what is asked is malformed");
    float *samples = malloc(ask.samples.len + 1); /* in the frame they may lie at any address */
    if (!samples)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu samples", ask.samples.len / sizeof *samples);
    memcpy(samples, ask.samples.data, ask.samples.len);
    const struct bt_audio audio = {samples, ask.samples.len / sizeof *samples, ask.rate};
    ask.params.threads = ask.params.threads ? ask.params.threads : h->threads;
    baton_status status = ask.detect ? detect(h, &audio, &ask.params, err) : transcribe(h, &audio, &ask.params, err);
    free(samples);
    return status;
}

static void describe(void *arg, struct bt_buf *result) {
    const struct hear *h = arg;
    bt_speech_model_encode(result, h->model);
}

static struct bt_frame_ready ready(const struct hear *h) {
    struct bt_whisper_info i;
    const char *version = bt_whisper_version();
    h->model->ops->info(h->model, &i);
    struct bt_frame_ready r = {.sequences = 1,
                               .ctx = (uint32_t)i.text_ctx,
                               .exact = true,
                               .memory = i.state_bytes,
                               .versions = {version ? version : "", version ? strlen(version) : 0}};
    memcpy(r.info.name, i.name, sizeof r.info.name - 1);
    r.info.vocab_size = i.vocab_size;
    r.info.bytes = i.bytes;
    return r;
}

void bt_hear_run(const struct bt_hear_params *params) {
    baton_error err = {BATON_OK, ""};
    struct hear h = {.model = params->model, .threads = params->threads};
    const struct bt_single_kind kind = {BT_WHAT_TRANSCRIBE, "this owner hears: it does nothing else", hear_ask,
                                        describe, &h};
    struct bt_single *loop = bt_single_new(params->fd, &kind);
    if (!loop)
        return; /* the front sees the socket close and says so */
    if (h.model->ops->state(h.model, &h.state, &err)) {
        bt_single_fatal(loop, &err);
    } else {
        const struct bt_frame_ready r = ready(&h);
        bt_single_serve(loop, &r);
        h.state->ops->free(h.state);
    }
    bt_single_free(loop);
    bt_buf_free(&h.record);
}
