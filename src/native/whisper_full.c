/* A transcription: parameters checked, libwhisper run, segments copied out. All of it in the thread that has the state;
 * what a run needs to know about itself is on its stack. */
#include <stdlib.h>
#include <string.h>

#include "native/whisper_internal.h"

enum { MS_PER_TICK = 10 /* of libwhisper's times */ };

struct run {
    struct bt_native_whisper_state *s;
    const struct bt_whisper_params *params;
    size_t told;       /* segments */
    struct bt_cut cut; /* by the last of them */
    int percent;       /* told last */
    bool cancelled, enough, no_memory;
};

static struct whisper_context *context_of(const struct run *r) {
    return bt_native_whisper_of(r->s->base.model)->ctx;
}

/* ---- segments */

static size_t text_room(const struct run *r, int segment, int n_tokens) {
    size_t room = 0;
    for (int i = 0; i < n_tokens; i++)
        room += strlen(whisper_full_get_token_text_from_state(context_of(r), r->s->state, segment, i)) + 1;
    return room;
}

static void copy_token(const struct run *r, int segment, int index, struct bt_whisper_token *out, char **at) {
    const whisper_token_data t = whisper_full_get_token_data_from_state(r->s->state, segment, index);
    const bool timed = r->params->token_timestamps;
    *out = (struct bt_whisper_token){
        .id = t.id,
        .p = t.p,
        .t0_ms = timed ? t.t0 * MS_PER_TICK : -1,
        .t1_ms = timed ? t.t1 * MS_PER_TICK : -1,
        .text =
            bt_whisper_put_text(at, whisper_full_get_token_text_from_state(context_of(r), r->s->state, segment, index)),
    };
}

/* One block holds what a segment points to: its tokens, then all texts. */
static bool copy_segment(const struct run *r, int index, struct bt_cut *cut, struct bt_whisper_segment *out) {
    struct whisper_state *state = r->s->state;
    struct bt_buf text = BT_BUF_INIT;
    int n = whisper_full_n_tokens_from_state(state, index);
    bt_whisper_whole(cut, whisper_full_get_segment_text_from_state(state, index), &text);
    struct bt_whisper_token *tokens =
        text.failed ? NULL : malloc(sizeof *tokens * (size_t)n + text_room(r, index, n) + text.len);
    if (!tokens) {
        bt_buf_free(&text);
        return false;
    }
    char *at = (char *)(tokens + n);
    int64_t t0 = whisper_full_get_segment_t0_from_state(state, index);
    int64_t t1 = whisper_full_get_segment_t1_from_state(state, index);
    *out = (struct bt_whisper_segment){
        .t0_ms = BT_MIN(t0, t1) * MS_PER_TICK, /* it is a guess when a segment begins without a timestamp: 780 to 340 */
        .t1_ms = t1 * MS_PER_TICK,
        .text = bt_whisper_put_text(&at, (const char *)text.data),
        .no_speech = whisper_full_get_segment_no_speech_prob_from_state(state, index),
        .tokens = tokens,
        .n_tokens = (size_t)n,
    };
    for (int i = 0; i < n; i++)
        copy_token(r, index, i, &tokens[i], &at);
    bt_buf_free(&text);
    return true;
}

static bool copy_segments(const struct run *r, struct bt_whisper_result *result) {
    size_t n = (size_t)whisper_full_n_segments_from_state(r->s->state);
    struct bt_cut cut = {.n = 0};
    if (r->enough || r->cancelled)
        n = BT_MIN(n, r->told);
    result->segments = calloc(n + 1, sizeof *result->segments);
    while (result->segments && result->n_segments < n) {
        if (!copy_segment(r, (int)result->n_segments, &cut, &result->segments[result->n_segments]))
            return false;
        result->n_segments++;
    }
    return result->segments != NULL;
}

/* ---- what libwhisper calls */

static bool should_stop(void *arg) {
    struct run *r = arg;
    if (!r->cancelled && r->params->cancelled && r->params->cancelled(r->params->arg))
        r->cancelled = true;
    return r->cancelled || r->enough || r->no_memory;
}

static bool on_window(struct whisper_context *ctx, struct whisper_state *state, void *arg) {
    (void)ctx, (void)state;
    return !should_stop(arg);
}

static void tell_segment(struct run *r, int index) {
    struct bt_whisper_segment segment;
    if (r->params->on_segment) {
        if (!copy_segment(r, index, &r->cut, &segment)) {
            r->no_memory = true;
            return;
        }
        r->enough |= !r->params->on_segment(r->params->arg, &segment, (size_t)index);
        free((void *)segment.tokens);
    }
    r->told++;
    r->enough |= r->params->max_segments > 0 && r->told == (size_t)r->params->max_segments;
}

static void on_segments(struct whisper_context *ctx, struct whisper_state *state, int n_new, void *arg) {
    (void)ctx, (void)n_new;
    struct run *r = arg;
    while (r->told < (size_t)whisper_full_n_segments_from_state(state) && !should_stop(r))
        tell_segment(r, (int)r->told);
}

/* libwhisper reckons with windows that reach beyond the end: 303 % has been seen. 100 is said when all is well. */
static void tell_percent(struct run *r, int percent) {
    if (!r->params->on_progress || percent <= r->percent)
        return;
    r->percent = percent;
    r->params->on_progress(r->params->arg, percent);
}

static void on_progress(struct whisper_context *ctx, struct whisper_state *state, int percent, void *arg) {
    (void)ctx, (void)state;
    tell_percent(arg, BT_MIN(percent, 99));
}

/* ---- parameters */

/* -1: to be detected. */
static baton_status choose_language(const struct bt_whisper_info *info, const struct bt_whisper_params *p,
                                    int *language, baton_error *err) {
    bool automatic = !p->language || p->language[0] == '\0' || strcmp(p->language, "auto") == 0;
    if (!info->multilingual && p->translate)
        return bt_fail(err, BATON_UNSUPPORTED, "%s knows English alone: it cannot translate", info->name);
    if (automatic) {
        *language = info->multilingual ? -1 : 0;
        return BATON_OK;
    }
    *language = whisper_lang_id(p->language);
    if (*language >= 0 && *language < info->languages)
        return BATON_OK;
    if (*language >= 0)
        return bt_fail(err, BATON_UNSUPPORTED, "%s does not know the language '%s'", info->name, p->language);
    return bt_fail(err, BATON_INVALID, "there is no language '%.40s': give \"de\", \"german\", or \"auto\"",
                   p->language);
}

/* *language: its id; -1: to be detected. */
static baton_status check(const struct bt_whisper *base, const struct bt_audio *audio,
                          const struct bt_whisper_params *params, int *language, baton_error *err) {
    baton_status status = bt_whisper_check_run(audio, params, err);
    return status ? status : choose_language(&bt_native_whisper_of(base)->info, params, language, err);
}

baton_status bt_whisper_model_check(const struct bt_whisper *base, const struct bt_audio *audio,
                                    const struct bt_whisper_params *params, baton_error *err) {
    int language;
    return check(base, audio, params, &language, err);
}

static struct whisper_full_params native_params(struct run *r, const struct bt_audio *audio, int language,
                                                int threads) {
    const struct bt_whisper_params *p = r->params;
    struct whisper_full_params f =
        whisper_full_default_params(p->beams > 1 ? WHISPER_SAMPLING_BEAM_SEARCH : WHISPER_SAMPLING_GREEDY);
    int64_t ms = (int64_t)(audio->n / (BT_WHISPER_RATE / 1000));
    f.n_threads = threads;
    f.no_context = true;
    f.print_progress = f.print_realtime = f.print_special = f.print_timestamps = false;
    f.language = whisper_lang_str(language);
    f.translate = p->translate;
    f.no_timestamps = p->no_timestamps;
    f.token_timestamps = p->token_timestamps;
    f.single_segment = p->single_segment;
    f.split_on_word = p->split_on_word;
    f.offset_ms = p->offset_ms;
    /* what reaches beyond the end would be heard as silence */
    f.duration_ms = p->duration_ms < ms - p->offset_ms ? p->duration_ms : 0;
    f.max_tokens = p->max_tokens;
    f.max_len = p->max_chars;
    f.temperature = p->temperature;
    f.temperature_inc = p->temperature_step;
    f.greedy.best_of = p->best_of;
    f.beam_search.beam_size = p->beams;
    f.initial_prompt = p->initial_prompt;
    f.new_segment_callback = on_segments;
    f.progress_callback = on_progress;
    f.encoder_begin_callback = on_window;
    f.abort_callback = should_stop;
    f.new_segment_callback_user_data = f.progress_callback_user_data = r;
    f.encoder_begin_callback_user_data = f.abort_callback_user_data = r;
    return f;
}

/* ---- the run */

static baton_status hear(struct run *r, const struct bt_audio *audio, int language, int threads, baton_error *err) {
    enum { STATE_IS_FREED = -7 }; /* the one failure in which libwhisper frees the state that it was given */
    struct whisper_full_params f = native_params(r, audio, language, threads);
    struct bt_buf causes = BT_BUF_INIT;
    bt_llama_listen(&causes);
    int rc = whisper_full_with_state(context_of(r), r->s->state, f, audio->samples, (int)audio->n);
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    r->s->decoded = true;
    r->s->mel_frames = 0;
    r->s->encoded = false;
    r->s->tainted = rc != 0;
    if (rc == STATE_IS_FREED)
        r->s->state = NULL;
    if (r->no_memory || rc == STATE_IS_FREED)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for the transcription");
    else if (r->cancelled)
        status = bt_fail(err, BATON_CANCELLED, "the transcription was cancelled after %zu segments", r->told);
    else if (rc != 0 && !r->enough)
        status = bt_fail(err, BATON_FAILED, "libwhisper failed (%d): %s", rc, cause);
    bt_buf_free(&causes);
    return status;
}

static baton_status detect_if_asked(struct run *r, const struct bt_audio *audio, int threads, int *language,
                                    baton_error *err) {
    if (*language >= 0)
        return BATON_OK;
    baton_status status = bt_whisper_state_mel(r->s, audio, threads, err);
    if (!status)
        status = bt_whisper_state_language(r->s, 0, threads, language, NULL, err);
    return status;
}

baton_status bt_whisper_state_full(struct bt_whisper_state *base, const struct bt_audio *audio,
                                   const struct bt_whisper_params *params, struct bt_whisper_result *result,
                                   baton_error *err) {
    struct run r = {.s = bt_native_whisper_state_of(base), .params = params, .percent = -1};
    int language = -1, threads = bt_native_threads(params->threads);
    *result = (struct bt_whisper_result){.language = -1};
    baton_status status = check(base->model, audio, params, &language, err);
    if (!status)
        status = bt_whisper_state_refresh(r.s, err);
    if (!status && should_stop(&r))
        status = bt_fail(err, BATON_CANCELLED, "the transcription was cancelled before it began");
    if (!status)
        status = detect_if_asked(&r, audio, threads, &language, err);
    if (status)
        return status;
    result->language = language;
    strncpy(result->lang_str, whisper_lang_str(language), sizeof result->lang_str - 1);
    status = hear(&r, audio, language, threads, err);
    result->more = r.enough;
    if ((status == BATON_OK || status == BATON_CANCELLED) && !copy_segments(&r, result))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for the segments");
    if (status == BATON_OK && !r.enough)
        tell_percent(&r, 100);
    return status;
}
