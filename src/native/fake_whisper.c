/* The fake recogniser: no weights and no ear, for tests of everything around one. What it "hears" in a window is a pure
 * function of the samples, the parameters and the windows before, computed in the state's own memory: two in one state
 * make each other wrong, and it finds overlapping calls itself. Some of its words end inside a character, and the next
 * token completes that, be it of the next segment. Its knobs come with the path, "fake:window_us=100".
 *
 * State: the process-wide counters and the hook. */
#include "native/fake_whisper.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "native/device.h"

/* One X-macro over the knobs: name, default, what it does. */
#define BT_FAKE_WHISPER_KNOBS(X)                                                                                       \
    X(window_us, 0, "time of a window")                                                                                \
    X(segments, 1, "of a window")                                                                                      \
    X(device, 0, "1: on one of which nothing is promised for two at once")                                             \
    X(english, 0, "1: no other language")                                                                              \
    X(fail_at, 0, "that run of the model fails after its first window")                                                \
    X(hang_at, 0, "that run never ends, unless cancelled")                                                             \
    X(crash_at, 0, "that run aborts the process after its first window")                                               \
    X(load_fail, 0, "1: the model cannot be loaded")                                                                   \
    X(state_fail, 0, "so many states can be made, and no more; 0: all")

enum {
    LANGUAGES = 4,
    TEXT_CTX = 32,
    MELS = 80,
    PIECE_MAX = 8,
    TOKENS_MAX = 5,   /* of a window */
    SPLIT_EVERY = 10, /* words: one begins a character, and the next completes it */
    SAMPLES_OF_FRAME = 160,
    SAMPLES_OF_MS = BT_WHISPER_RATE / 1000,
};
static const char *const names[LANGUAGES][2] = {
    {"en", "english"}, {"de", "german"}, {"fr", "french"}, {"es", "spanish"}};

struct fake_model {
    struct bt_whisper base;
#define FIELD(name, preset, text) int64_t name;
    BT_FAKE_WHISPER_KNOBS(FIELD)
#undef FIELD
    char pieces[BT_FAKE_WHISPER_END][PIECE_MAX];
    _Atomic int64_t runs;
    _Atomic int states, made;
};

/* Plain fields on purpose: ThreadSanitizer sees whoever is in without a lease. */
struct fake_state {
    struct bt_whisper_state base;
    _Atomic int inside;
    uint64_t heard; /* of the run so far */
    int32_t word;   /* the last one of it */
    uint64_t mel;   /* of the spectrogram */
    int frames;     /* 0: none */
    bool encoded;   /* from here on: */
    int tokens;     /* decoded since */
    uint64_t history[TEXT_CTX + 1];
};

static struct { _Atomic int64_t overlaps, models, states, running, most, runs, windows, freed_early; } counters;

static void (*_Atomic hook_now)(void *arg, const struct bt_whisper_state *s, int window);
static void *_Atomic hook_arg;

void bt_fake_whisper_set_hook(void (*hook)(void *arg, const struct bt_whisper_state *s, int window), void *arg) {
    atomic_store(&hook_now, NULL);
    atomic_store(&hook_arg, arg);
    atomic_store(&hook_now, hook);
}

void bt_fake_whisper_stats(struct bt_fake_whisper_stats *stats) {
    *stats = (struct bt_fake_whisper_stats){.overlaps = (uint64_t)counters.overlaps,
                                            .models = counters.models,
                                            .states = counters.states,
                                            .running = counters.running,
                                            .most = counters.most,
                                            .runs = (uint64_t)counters.runs,
                                            .windows = (uint64_t)counters.windows,
                                            .models_freed_early = (uint64_t)counters.freed_early};
}

void bt_fake_whisper_stats_reset(void) {
    counters.overlaps = counters.runs = counters.windows = counters.freed_early = 0;
    atomic_store(&counters.most, atomic_load(&counters.running));
}

static struct fake_model *model_of(const struct bt_whisper *base) {
    return (struct fake_model *)BT_CONTAINER(base, const struct fake_model, base);
}
static struct fake_state *state_of(const struct bt_whisper_state *base) {
    return (struct fake_state *)BT_CONTAINER(base, const struct fake_state, base);
}

static struct fake_state *enter(struct bt_whisper_state *base) {
    struct fake_state *s = state_of(base);
    bt_device_enter(base->model->device);
    if (atomic_fetch_add(&s->inside, 1) != 0)
        counters.overlaps++;
    int64_t now = atomic_fetch_add(&counters.running, 1) + 1, most = atomic_load(&counters.most);
    while (most < now && !atomic_compare_exchange_weak(&counters.most, &most, now))
        ;
    return s;
}
static void leave(struct fake_state *s) {
    counters.running--;
    atomic_fetch_sub(&s->inside, 1);
    bt_device_leave(s->base.model->device);
}

static uint64_t mix(uint64_t a, uint64_t b) {
    return bt_mix64(a ^ bt_mix64(b + 1));
}
static uint64_t hash_floats(const float *data, size_t n) {
    return bt_sum64(data, n * sizeof *data);
}

/* ---- a run */

struct run {
    struct fake_state *s;
    struct fake_model *m;
    const struct bt_whisper_params *p;
    struct bt_whisper_result *result;
    int percent;
    struct bt_cut cut;
    bool cancelled;
};

static bool stopped(struct run *r) {
    if (!r->cancelled && r->p->cancelled && r->p->cancelled(r->p->arg))
        r->cancelled = true;
    return r->cancelled;
}

static void tell_percent(struct run *r, int percent) {
    if (!r->p->on_progress || percent <= r->percent)
        return;
    r->percent = percent;
    r->p->on_progress(r->p->arg, percent);
}

static void spend(int64_t us) {
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    while (us && nanosleep(&t, &t) != 0)
        ;
}

static bool begins_a_character(int32_t id) {
    return id % SPLIT_EVERY == 0;
}

/* After the first half of a character comes its second one, and there alone. */
static int32_t next_word(int32_t last, uint64_t draw) {
    int32_t id = (int32_t)(draw % BT_FAKE_WHISPER_END);
    return begins_a_character(last) ? last + 1 : id % SPLIT_EVERY == 1 ? id + 1 : id;
}

/* One block holds what a segment points to: its tokens, their texts, then its own. */
static bool copy_segment(struct run *r, int64_t t0_ms, int64_t t1_ms, int n, struct bt_whisper_segment *out) {
    struct bt_buf whole = BT_BUF_INIT;
    char bytes[TOKENS_MAX * PIECE_MAX];
    int32_t ids[TOKENS_MAX];
    for (int i = 0, len = 0; i < n; i++) {
        r->s->word = ids[i] = next_word(r->s->word, mix(r->s->heard, (uint64_t)i));
        len += snprintf(bytes + len, PIECE_MAX, "%s", r->m->pieces[ids[i]]);
    }
    bt_whisper_whole(&r->cut, bytes, &whole);
    struct bt_whisper_token *tokens = malloc((size_t)n * (sizeof *tokens + (size_t)PIECE_MAX) + whole.len);
    if (!tokens || whole.failed) {
        free(tokens);
        bt_buf_free(&whole);
        return false;
    }
    char *at = (char *)(tokens + n);
    for (int i = 0; i < n; i++) {
        bool timed = r->p->token_timestamps;
        tokens[i] = (struct bt_whisper_token){.id = ids[i],
                                              .p = (float)((mix(r->s->heard, (uint64_t)i) >> 40) + 1) / (1 << 25),
                                              .t0_ms = timed ? t0_ms + (t1_ms - t0_ms) * i / n : -1,
                                              .t1_ms = timed ? t0_ms + (t1_ms - t0_ms) * (i + 1) / n : -1,
                                              .text = bt_whisper_put_text(&at, r->m->pieces[ids[i]])};
    }
    *out = (struct bt_whisper_segment){.t0_ms = t0_ms,
                                       .t1_ms = t1_ms,
                                       .text = bt_whisper_put_text(&at, (const char *)whole.data),
                                       .no_speech = 0.25f,
                                       .tokens = tokens,
                                       .n_tokens = (size_t)n};
    bt_buf_free(&whole);
    return true;
}

/* False: on_segment or max_segments says that it is enough. */
static bool add_segment(struct run *r, const struct bt_whisper_segment *segment) {
    struct bt_whisper_result *result = r->result;
    size_t index = result->n_segments++;
    result->segments[index] = *segment;
    bool more = !r->p->on_segment || r->p->on_segment(r->p->arg, segment, index);
    return more && (r->p->max_segments == 0 || result->n_segments < (size_t)r->p->max_segments);
}

static baton_status hear_segment(struct run *r, int64_t t0_ms, int64_t t1_ms, baton_error *err) {
    struct bt_whisper_segment segment;
    int count = 2 + (int)(r->s->heard % (TOKENS_MAX - 1));
    for (int i = 0; i < count; i++)
        if (stopped(r))
            return bt_fail(err, BATON_CANCELLED, "cancelled");
    if (!copy_segment(r, t0_ms, t1_ms, count, &segment))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a segment");
    r->result->more = !add_segment(r, &segment);
    return BATON_OK;
}

/* What the model makes of n samples after what it has heard so far. */
static baton_status hear_window(struct run *r, const float *samples, size_t n, int64_t t0_ms, baton_error *err) {
    int64_t ms = (int64_t)(n / SAMPLES_OF_MS), segments = r->m->segments;
    baton_status status = BATON_OK;
    counters.windows++;
    spend(r->m->window_us);
    r->s->heard = mix(r->s->heard, hash_floats(samples, n));
    for (int64_t i = 0; i < segments && !status && !r->result->more; i++) {
        status = hear_segment(r, t0_ms + ms * i / segments, t0_ms + ms * (i + 1) / segments, err);
        r->s->heard = mix(r->s->heard, (uint64_t)i);
    }
    return status;
}

static baton_status hear_all(struct run *r, const struct bt_audio *audio, int64_t number, baton_error *err) {
    const size_t window = (size_t)BT_FAKE_WHISPER_WINDOW_MS * SAMPLES_OF_MS;
    size_t at = (size_t)r->p->offset_ms * SAMPLES_OF_MS, end = audio->n, first = at;
    if (r->p->duration_ms > 0)
        end = BT_MIN(end, at + (size_t)r->p->duration_ms * SAMPLES_OF_MS);
    r->result->segments = calloc(((end - at) / window + 2) * (size_t)r->m->segments, sizeof *r->result->segments);
    if (!r->result->segments)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for segments");
    for (int k = 0; at < end && !r->result->more; k++, at += window) {
        void (*hook)(void *arg, const struct bt_whisper_state *s, int window) = atomic_load(&hook_now);
        if (hook)
            hook(atomic_load(&hook_arg), &r->s->base, k);
        while (number == r->m->hang_at && !stopped(r))
            spend(100);
        if (stopped(r))
            return bt_fail(err, BATON_CANCELLED, "cancelled");
        if (number == r->m->crash_at && k == 1)
            abort();
        if (number == r->m->fail_at && k == 1)
            return bt_fail(err, BATON_FAILED, "the knob fail_at says that run %lld fails", (long long)number);
        baton_status status =
            hear_window(r, audio->samples + at, BT_MIN(window, end - at), (int64_t)(at / SAMPLES_OF_MS), err);
        if (status)
            return status;
        tell_percent(r, (int)BT_MIN((at - first) * 100 / (end - first), 99));
    }
    if (!r->result->more)
        tell_percent(r, 100);
    return BATON_OK;
}

static int language_of(const struct fake_model *m, const char *name) {
    for (int i = 0; i < (m->english ? 1 : LANGUAGES); i++)
        if (strcmp(name, names[i][0]) == 0 || strcmp(name, names[i][1]) == 0)
            return i;
    return -1;
}

static bool automatic(const struct bt_whisper_params *p) {
    return !p->language || p->language[0] == '\0' || strcmp(p->language, "auto") == 0;
}

static baton_status model_check(const struct bt_whisper *base, const struct bt_audio *audio,
                                const struct bt_whisper_params *params, baton_error *err) {
    const struct fake_model *m = model_of(base);
    baton_status status = bt_whisper_check_run(audio, params, err);
    if (!status && m->english && params->translate)
        status = bt_fail(err, BATON_UNSUPPORTED, "fake knows English alone: it cannot translate");
    if (!status && !automatic(params) && language_of(m, params->language) < 0)
        status = bt_fail(err, BATON_INVALID, "there is no language '%.40s': give \"de\", \"german\", or \"auto\"",
                         params->language);
    return status;
}

static int loudest_language(const struct fake_model *m, const float *samples, size_t n) {
    return m->english ? 0 : (int)(mix(hash_floats(samples, n), 0) % LANGUAGES);
}

/* All that an answer depends on besides the audio. */
static uint64_t hash_params(const struct bt_whisper_params *p, int language) {
    uint64_t h = mix((uint64_t)language, (uint64_t)p->translate << 1 | (uint64_t)p->no_timestamps);
    h = mix(h, (uint64_t)p->beams << 32 | (uint64_t)p->best_of);
    h = mix(h, (uint64_t)(p->temperature * 1000));
    return p->initial_prompt ? mix(h, bt_sum64(p->initial_prompt, strlen(p->initial_prompt))) : h;
}

static baton_status state_full(struct bt_whisper_state *base, const struct bt_audio *audio,
                               const struct bt_whisper_params *params, struct bt_whisper_result *result,
                               baton_error *err) {
    struct fake_model *m = model_of(base->model);
    *result = (struct bt_whisper_result){.language = -1};
    baton_status status = model_check(base->model, audio, params, err);
    if (status)
        return status;
    struct run r = {.s = enter(base), .m = m, .p = params, .result = result, .percent = -1};
    int64_t number = atomic_fetch_add(&m->runs, 1) + 1;
    counters.runs++;
    r.s->frames = 0;
    r.s->encoded = false;
    if (stopped(&r)) {
        status = bt_fail(err, BATON_CANCELLED, "cancelled before it began");
    } else {
        int language =
            automatic(params) ? loudest_language(m, audio->samples, audio->n) : language_of(m, params->language);
        result->language = language;
        snprintf(result->lang_str, sizeof result->lang_str, "%s", names[language][0]);
        r.s->heard = hash_params(params, language);
        r.s->word = -1;
        status = hear_all(&r, audio, number, err);
    }
    leave(r.s);
    if (status && status != BATON_CANCELLED)
        bt_whisper_result_free(result);
    return status;
}

/* ---- the steps */

static baton_status state_detect(struct bt_whisper_state *base, const struct bt_audio *audio, int offset_ms,
                                 int threads, int *language, float *probabilities, baton_error *err) {
    struct fake_model *m = model_of(base->model);
    *language = -1;
    if (m->english)
        return bt_fail(err, BATON_UNSUPPORTED, "fake knows English alone: it cannot tell languages apart");
    baton_status status = bt_whisper_check_audio(audio, err);
    if (!status)
        status = bt_whisper_check_threads(threads, err);
    if (!status)
        status = bt_whisper_check_offset(audio, offset_ms, err);
    if (status)
        return status;
    struct fake_state *s = enter(base);
    size_t at = (size_t)offset_ms * SAMPLES_OF_MS;
    *language = loudest_language(m, audio->samples + at, audio->n - at);
    for (int i = 0; probabilities && i < LANGUAGES; i++)
        probabilities[i] = i == *language ? 0.7f : 0.1f;
    leave(s);
    return BATON_OK;
}

static void new_mel(struct fake_state *s, uint64_t hash, int frames) {
    s->mel = hash;
    s->frames = frames;
    s->encoded = false;
}

static baton_status state_mel(struct bt_whisper_state *base, const struct bt_audio *audio, int threads, int *frames,
                              baton_error *err) {
    *frames = 0;
    baton_status status = bt_whisper_check_audio(audio, err);
    if (!status)
        status = bt_whisper_check_threads(threads, err);
    if (status)
        return status;
    struct fake_state *s = enter(base);
    new_mel(s, hash_floats(audio->samples, audio->n), (int)(audio->n / SAMPLES_OF_FRAME));
    *frames = s->frames;
    leave(s);
    return BATON_OK;
}

static void model_info(const struct bt_whisper *base, struct bt_whisper_info *info);

static baton_status state_set_mel(struct bt_whisper_state *base, const float *data, int frames, int mels,
                                  baton_error *err) {
    struct bt_whisper_info info;
    model_info(base->model, &info);
    baton_status status = bt_whisper_check_mel(&info, data, frames, mels, err);
    if (status)
        return status;
    struct fake_state *s = enter(base);
    new_mel(s, hash_floats(data, (size_t)frames * (size_t)mels), frames);
    leave(s);
    return BATON_OK;
}

static baton_status state_encode(struct bt_whisper_state *base, int first_frame, int threads, baton_error *err) {
    baton_status status = bt_whisper_check_threads(threads, err);
    if (status)
        return status;
    struct fake_state *s = enter(base);
    if (s->frames == 0)
        status = bt_fail(err, BATON_MISUSE, "there is no spectrogram to encode: make one, or set one, first");
    else if (first_frame < 0 || first_frame >= s->frames)
        status =
            bt_fail(err, BATON_INVALID, "frame %d: the spectrogram has frames 0 to %d", first_frame, s->frames - 1);
    if (!status) {
        s->encoded = true;
        s->tokens = 0;
        s->history[0] = mix(s->mel, (uint64_t)first_frame);
    }
    leave(s);
    return status;
}

static baton_status state_decode(struct bt_whisper_state *base, const int32_t *tokens, int n, int past, int threads,
                                 float *logits, baton_error *err) {
    struct bt_whisper_info info;
    model_info(base->model, &info);
    baton_status status = bt_whisper_check_threads(threads, err);
    struct fake_state *s = enter(base);
    if (!status && !s->encoded)
        status = bt_fail(err, BATON_MISUSE, "nothing is encoded yet: decoding would read what is not there");
    if (!status)
        status = bt_whisper_check_rows(&info, tokens, n, past, s->tokens, err);
    if (!status) {
        for (int i = 0; i < n; i++)
            s->history[past + i + 1] = mix(s->history[past + i], (uint64_t)tokens[i]);
        s->tokens = past + n;
        for (int i = 0; i < BT_FAKE_WHISPER_VOCAB; i++)
            logits[i] = (float)(mix(s->history[s->tokens], (uint64_t)i) >> 40) / (1 << 20);
    }
    leave(s);
    return status;
}

static void *state_native(struct bt_whisper_state *base) {
    return base;
}

static void state_reset(struct bt_whisper_state *base) {
    struct fake_state *s = enter(base);
    s->heard = s->mel = 0;
    s->frames = s->tokens = 0;
    s->encoded = false;
    leave(s);
}

static void state_free(struct bt_whisper_state *base) {
    struct fake_state *s = state_of(base);
    if (atomic_fetch_add(&s->inside, 1) != 0) /* and never leaves: any later use is an overlap */
        counters.overlaps++;
    model_of(base->model)->states--;
    counters.states--;
    free(s);
}

static const struct bt_whisper_state_ops state_ops = {
    .free = state_free,
    .full = state_full,
    .detect = state_detect,
    .mel = state_mel,
    .set_mel = state_set_mel,
    .encode = state_encode,
    .decode = state_decode,
    .native = state_native,
    .reset = state_reset,
};

/* ---- the model */

static void model_free(struct bt_whisper *base) {
    struct fake_model *m = model_of(base);
    if (m->states)
        counters.freed_early++;
    counters.models--;
    free(m);
}

static void model_info(const struct bt_whisper *base, struct bt_whisper_info *info) {
    const struct fake_model *m = model_of(base);
    *info = (struct bt_whisper_info){.name = "fake",
                                     .type = "fake",
                                     .multilingual = !m->english,
                                     .timestamps = true,
                                     .languages = m->english ? 1 : LANGUAGES,
                                     .vocab_size = BT_FAKE_WHISPER_VOCAB,
                                     .audio_ctx = 50,
                                     .text_ctx = TEXT_CTX,
                                     .mels = MELS,
                                     .bytes = 1,
                                     .state_bytes = sizeof(struct fake_state),
                                     .end = BT_FAKE_WHISPER_END,
                                     .start = BT_FAKE_WHISPER_END + 1,
                                     .first_language = BT_FAKE_WHISPER_END + 2,
                                     .translate = BT_FAKE_WHISPER_END + 10,
                                     .transcribe = BT_FAKE_WHISPER_END + 11,
                                     .no_timestamps = BT_FAKE_WHISPER_END + 12,
                                     .first_timestamp = BT_FAKE_WHISPER_END + 13};
}

static int model_language(const struct bt_whisper *base, const char *name) {
    return language_of(model_of(base), name);
}

static const char *model_lang_str(const struct bt_whisper *base, int id) {
    return id >= 0 && id < (model_of(base)->english ? 1 : LANGUAGES) ? names[id][0] : NULL;
}

static const char *model_lang_name(const struct bt_whisper *base, int id) {
    return model_lang_str(base, id) ? names[id][1] : NULL;
}

static const char *model_token_text(const struct bt_whisper *base, int32_t token) {
    if (token < 0 || token >= BT_FAKE_WHISPER_VOCAB)
        return NULL;
    return token < BT_FAKE_WHISPER_END ? model_of(base)->pieces[token] : "[_special_]";
}

static baton_status model_state(struct bt_whisper *base, struct bt_whisper_state **out, baton_error *err) {
    struct fake_model *m = model_of(base);
    struct bt_whisper_info info;
    *out = NULL;
    if (atomic_fetch_add(&m->states, 1) >= BT_WHISPER_STATES_MAX) {
        m->states--;
        model_info(base, &info);
        return bt_whisper_fail_too_many(&info, err);
    }
    struct fake_state *s =
        m->state_fail && atomic_fetch_add(&m->made, 1) >= m->state_fail ? NULL : calloc(1, sizeof *s);
    if (!s) {
        m->states--;
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a state of fake");
    }
    s->base = (struct bt_whisper_state){&state_ops, base};
    counters.states++;
    *out = &s->base;
    return BATON_OK;
}

static void *model_native(const struct bt_whisper *base) {
    return (void *)base;
}

static const struct bt_whisper_ops model_ops = {
    .free = model_free,
    .info = model_info,
    .language = model_language,
    .lang_str = model_lang_str,
    .lang_name = model_lang_name,
    .token_text = model_token_text,
    .check = model_check,
    .state = model_state,
    .native = model_native,
};

static baton_status set_knobs(struct fake_model *m, const char *text, baton_error *err) {
    const struct {
        const char *name;
        int64_t *value;
    } knobs[] = {
#define KNOB(name, preset, text) {#name, &m->name},
        BT_FAKE_WHISPER_KNOBS(KNOB)
#undef KNOB
    };
    while (*text) {
        size_t len = strcspn(text, "=,"), i = 0;
        char *end = NULL;
        while (i < BT_COUNT(knobs) && (strlen(knobs[i].name) != len || memcmp(knobs[i].name, text, len) != 0))
            i++;
        long long value = text[len] == '=' ? strtoll(text + len + 1, &end, 10) : -1;
        if (i == BT_COUNT(knobs) || value < 0 || !end || (*end && *end != ','))
            return bt_fail(err, BATON_INVALID, "'%s' is no knob of the fake, or has no whole number", text);
        *knobs[i].value = value;
        text = end + (*end == ',');
    }
    return BATON_OK;
}

baton_status bt_whisper_open_fake(const struct bt_whisper_model_params *params, struct bt_whisper **out,
                                  baton_error *err) {
    *out = NULL;
    struct fake_model *m = calloc(1, sizeof *m);
    if (!m)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a fake model");
    m->base.ops = &model_ops;
#define PRESET(name, preset, text) m->name = (preset);
    BT_FAKE_WHISPER_KNOBS(PRESET)
#undef PRESET
    for (int i = 0; i < BT_FAKE_WHISPER_END; i++)
        snprintf(m->pieces[i], PIECE_MAX, " w%u%s", (unsigned)i % BT_FAKE_WHISPER_END,
                 begins_a_character(i) ? "\xe2\x82" : "");
    for (int i = 1; i < BT_FAKE_WHISPER_END; i += SPLIT_EVERY)
        memcpy(m->pieces[i], "\xac", sizeof "\xac");
    baton_status status = set_knobs(m, params->path + strlen("fake:"), err);
    if (!status && m->device && !(m->base.device = bt_device_of("fake-ear")))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a device");
    if (!status && m->load_fail)
        status = bt_fail(err, BATON_BAD_MODEL, "%s: the knob load_fail says that it cannot be loaded", params->path);
    if (status) {
        free(m);
        return status;
    }
    counters.models++;
    *out = &m->base;
    return BATON_OK;
}
