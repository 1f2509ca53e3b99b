/* Speech with the owner in a thread or a process of its own: what is asked goes to it as a frame, what it hears comes
 * back as records. What the model is was asked once, at open. State: the request's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/owned.h"
#include "api/whisper_int.h"

static baton_status ask_model(baton_whisper *w, baton_error *err) {
    baton_status status = bt_owned_metadata(w->io, &w->known_bytes, err);
    if (status)
        return status;
    const struct bt_text bytes = {(const char *)w->known_bytes.data, w->known_bytes.len};
    status = bt_speech_model_decode(bytes, &w->known);
    return status ? bt_fail(err, status, "what the owner says of its model is malformed") : BATON_OK;
}

baton_status bt_owned_open(baton_whisper *w, const char *path, const baton_whisper_params *p, baton_error *err) {
    struct bt_front_params front = bt_owned_front(&w->policy, w->threads, p->retry);
    front.model = (struct bt_model_params){.path = path, .gpu_layers = p->gpu ? p->gpu_device + 1 : 0};
    front.hears = true;
    if (!path)
        return bt_fail(err, BATON_INVALID, "no model file: give the path of a whisper.cpp model");
    baton_status status = bt_io_open(&front, &w->io, err);
    return status ? status : ask_model(w, err);
}

int bt_owned_language(const baton_whisper *w, const char *name) {
    for (int i = 0; i < 2 * w->known.info.languages; i++)
        if (strcmp(name, w->known.languages[i]) == 0)
            return i / 2;
    return -1;
}

/* What the owner would refuse, before it is asked. */
baton_status bt_owned_check(const baton_whisper *w, const struct bt_audio *audio, const struct bt_whisper_params *p,
                            baton_error *err) {
    baton_status status = bt_whisper_check_run(audio, p, err);
    bool automatic = !p->language || p->language[0] == '\0' || strcmp(p->language, "auto") == 0;
    if (!status && p->translate && !w->info.multilingual)
        status = bt_fail(err, BATON_UNSUPPORTED, "%s knows English alone: it cannot translate", w->info.name);
    if (!status && !automatic && bt_owned_language(w, p->language) < 0)
        status = bt_fail(err, BATON_INVALID, "%s knows no language '%.40s': give \"de\", \"german\", or \"auto\"",
                         w->info.name, p->language);
    return status;
}

baton_status bt_owned_start(struct bt_hearing *h, bool detect, baton_error *err) {
    struct bt_buf bytes = BT_BUF_INIT;
    bt_speech_ask_encode(&bytes, &h->audio, &h->params, detect);
    bt_hear_ref(h->whisper);
    baton_status status = bt_owned_submit(h->whisper->io, BT_WHAT_TRANSCRIBE, &bytes, &h->request, &h->stream, err);
    if (status)
        bt_hear_unref(h->whisper);
    return status;
}

/* What has come of a request so far. */
struct heard {
    struct bt_hearing *h;
    struct bt_whisper_result *result;
    size_t room;
    bool enough; /* on_segment has said so */
    float *probabilities;
    size_t languages;
};

static baton_status take_segment(struct heard *x, const unsigned char *content, size_t len) {
    struct bt_whisper_result *r = x->result;
    if (r->n_segments == x->room) {
        size_t room = x->room ? 2 * x->room : 16;
        struct bt_whisper_segment *more = realloc(r->segments, room * sizeof *more);
        if (!more)
            return BATON_NO_MEMORY;
        r->segments = more;
        x->room = room;
    }
    struct bt_whisper_segment *s = &r->segments[r->n_segments];
    baton_status status = bt_speech_get_segment(content, len, s);
    if (status)
        return status;
    r->n_segments++;
    if (x->h->on_segment)
        x->enough = !x->h->on_segment(x->h->arg, (const baton_whisper_segment *)s, r->n_segments - 1);
    return BATON_OK;
}

static baton_status take_record(struct heard *x, enum bt_speech_kind kind, const unsigned char *content, size_t len) {
    baton_status status = BATON_OK;
    int percent;
    switch (kind) {
    case BT_SPEECH_SEGMENT:
        return take_segment(x, content, len);
    case BT_SPEECH_PERCENT:
        status = bt_speech_get_percent(content, len, &percent);
        if (!status && x->h->on_progress)
            x->h->on_progress(x->h->arg, percent);
        return status;
    case BT_SPEECH_LANGUAGE:
        return bt_speech_get_language(content, len, &x->result->language, x->result->lang_str, x->probabilities,
                                      x->languages);
    default:
        x->result->more = true;
        return BATON_OK;
    }
}

/* Its owner goes on until it hears of the cancel, and what comes until then is taken. */
static baton_status next_data(const struct heard *x, size_t want, struct bt_buf *bytes) {
    struct bt_hearing *h = x->h;
    baton_status status;
    do {
        if (!atomic_load(&h->why) && bt_hearing_stop(h) && atomic_load(&h->unread))
            bt_io_cancel(h->whisper->io, h->request.id);
        int64_t deadline_ns = atomic_load(&h->why) ? BT_NEVER_NS : bt_hearing_idle_deadline(h);
        status = bt_io_stream_data(h->stream, want, deadline_ns, bytes);
    } while (status == BATON_AGAIN);
    return status;
}

/* BATON_END: there is no more. */
static baton_status next_record(struct heard *x, struct bt_buf *bytes) {
    enum bt_speech_kind kind;
    size_t len;
    bytes->len = 0;
    baton_status status = next_data(x, BT_SPEECH_HEAD, bytes);
    if (!status)
        status = bt_speech_head(bytes->data, &kind, &len);
    if (status)
        return status;
    bytes->len = 0;
    if (len > 0)
        status = next_data(x, len, bytes);
    return status ? status : take_record(x, kind, bytes->data, len);
}

baton_status bt_owned_finish(struct bt_hearing *h, float *probabilities, struct bt_whisper_result *result,
                             baton_whisper_outcome *outcome, baton_error *err) {
    struct bt_buf bytes = BT_BUF_INIT;
    baton_whisper *w = h->whisper;
    baton_outcome last = {.status = BATON_OK};
    *result = (struct bt_whisper_result){.language = -1};
    struct heard x = {
        .h = h, .result = result, .probabilities = probabilities, .languages = (size_t)w->known.info.languages};
    baton_status status;
    do
        status = next_record(&x, &bytes);
    while (!status && !x.enough);
    bt_buf_free(&bytes);
    bt_io_stream_close(h->stream, &last);
    baton_status lost = status == BATON_END ? BATON_OK : status;
    status = lost ? lost : x.enough && last.status == BATON_CANCELLED ? BATON_OK : last.status;
    *outcome = (baton_whisper_outcome){.status = status,
                                       .more = !status && (result->more || x.enough),
                                       .language = result->language,
                                       .segments = result->n_segments,
                                       .queue_ns = last.queue_ns,
                                       .run_ns = last.run_ns};
    memcpy(outcome->language_name, result->lang_str, sizeof outcome->language_name);
    if (status == BATON_CANCELLED && atomic_load(&h->unread))
        bt_hearing_unread(h, result->n_segments, err);
    else if (status)
        bt_fail(err, status, "%s", lost ? baton_status_text(lost) : last.text);
    if (status)
        snprintf(outcome->text, sizeof outcome->text, "%.*s", (int)sizeof outcome->text - 1, err->text);
    bt_hear_unref(w);
    return status;
}

void bt_owned_counts(const baton_whisper *w, baton_counts *counts) {
    struct bt_counts c;
    size_t size = counts->size;
    bt_io_counts(w->io, &c);
    bt_give_counts(&c, counts);
    counts->size = size;
}

baton_status bt_owned_unsupported(const baton_whisper *w, const char *cure, baton_error *err) {
    return bt_fail(err, BATON_UNSUPPORTED, "the states of %s belong to owners of their own: %s", w->info.name, cure);
}
