/* Results, and one audio over several states. Calls no native library: only the functions of a state. The parts of a
 * run are on the caller's stack; each is its thread's until that is joined. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "native/whisper.h"

void bt_whisper_result_free(struct bt_whisper_result *r) {
    for (size_t i = 0; i < r->n_segments; i++)
        free((void *)r->segments[i].tokens);
    free(r->segments);
    *r = (struct bt_whisper_result){.language = -1};
}

struct whole {
    const struct bt_whisper_params *params;
    struct part *parts;
    int n;
    int percent; /* the caller's thread */
    _Atomic bool stop;
};

struct part {
    struct whole *whole;
    struct bt_whisper_state *state;
    struct bt_audio audio;
    struct bt_whisper_params params;
    int64_t start_ms;
    pthread_t thread;
    bool started;
    struct bt_whisper_result result;
    baton_status status;
    baton_error err;
    _Atomic int percent;
};

static bool part_cancelled(void *arg) {
    const struct part *p = arg;
    const struct bt_whisper_params *mine = p->whole->params;
    if (!atomic_load(&p->whole->stop) && mine->cancelled && mine->cancelled(mine->arg))
        atomic_store(&p->whole->stop, true);
    return atomic_load(&p->whole->stop);
}

static void part_progress(void *arg, int percent) {
    struct part *p = arg;
    struct whole *w = p->whole;
    int sum = 0;
    atomic_store(&p->percent, percent);
    if (p != w->parts || !w->params->on_progress)
        return;
    for (int i = 0; i < w->n; i++)
        sum += atomic_load(&w->parts[i].percent);
    int mean = BT_MIN(sum / w->n, 99);
    if (mean <= w->percent)
        return;
    w->percent = mean;
    w->params->on_progress(w->params->arg, mean);
}

static void *run_part(void *arg) {
    struct part *p = arg;
    p->status = p->state->ops->full(p->state, &p->audio, &p->params, &p->result, &p->err);
    if (p->status)
        atomic_store(&p->whole->stop, true); /* there will be no result: the others may stop */
    return NULL;
}

static void cut(struct whole *w, struct bt_whisper_state *const *states, const struct bt_audio *audio) {
    const size_t per_ms = BT_WHISPER_RATE / 1000;
    size_t first = (size_t)w->params->offset_ms * per_ms, n = audio->n - first;
    if (w->params->duration_ms > 0)
        n = BT_MIN(n, (size_t)w->params->duration_ms * per_ms);
    size_t each = n / (size_t)w->n / per_ms * per_ms; /* whole ms, so that times add up */
    for (int i = 0; i < w->n; i++) {
        struct part *p = &w->parts[i];
        size_t at = first + (size_t)i * each;
        p->whole = w;
        p->state = states[i];
        p->audio = (struct bt_audio){audio->samples + at, i < w->n - 1 ? each : first + n - at, audio->rate};
        p->start_ms = (int64_t)(at / per_ms);
        p->params = *w->params;
        p->params.offset_ms = p->params.duration_ms = 0;
        p->params.on_segment = NULL;
        p->params.on_progress = part_progress;
        p->params.cancelled = part_cancelled;
        p->params.arg = p;
    }
}

static baton_status check(const struct bt_audio *audio, const struct bt_whisper_params *p, int n, baton_error *err) {
    const size_t per_ms = BT_WHISPER_RATE / 1000;
    if (n < 1 || p->offset_ms < 0 || p->duration_ms < 0)
        return bt_fail(err, BATON_INVALID,
                       "%d states, an offset of %d ms, a duration of %d ms: none may be less than 0, "
                       "and one state is needed",
                       n, p->offset_ms, p->duration_ms);
    if (audio->rate != BT_WHISPER_RATE)
        return bt_fail(err, BATON_INVALID, "audio of %d samples a second: whisper hears %d, mono; resample it first",
                       audio->rate, BT_WHISPER_RATE);
    int64_t left = (int64_t)(audio->n / per_ms) - p->offset_ms;
    if (p->duration_ms > 0)
        left = BT_MIN(left, p->duration_ms);
    if (left / n < BT_WHISPER_MIN_MS)
        return bt_fail(err, BATON_INVALID, "%lld ms of audio in %d parts: each must have %d ms", (long long)left, n,
                       BT_WHISPER_MIN_MS);
    return BATON_OK;
}

/* One language for all: a part alone might be mistaken for another. */
static baton_status settle_language(struct whole *w, baton_error *err) {
    struct part *first = &w->parts[0];
    const struct bt_whisper *model = first->state->model;
    const char *asked = w->params->language;
    struct bt_whisper_info info;
    int id;
    model->ops->info(model, &info);
    if (!info.multilingual || (asked && asked[0] && strcmp(asked, "auto") != 0))
        return BATON_OK;
    baton_status status = first->state->ops->detect(first->state, &first->audio, 0, w->params->threads, &id, NULL, err);
    for (int i = 0; i < w->n && !status; i++)
        w->parts[i].params.language = model->ops->lang_str(model, id);
    return status;
}

static void run_all(struct whole *w) {
    for (int i = 1; i < w->n; i++)
        w->parts[i].started = bt_thread_start(&w->parts[i].thread, run_part, &w->parts[i]) == 0;
    run_part(&w->parts[0]);
    for (int i = 1; i < w->n; i++) {
        if (w->parts[i].started)
            pthread_join(w->parts[i].thread, NULL);
        else
            run_part(&w->parts[i]);
    }
}

/* The cause of the end, not the ends that it caused. */
static baton_status worst(const struct whole *w, baton_error *err) {
    const struct part *found = NULL;
    for (int i = 0; i < w->n; i++)
        if (w->parts[i].status && (!found || found->status == BATON_CANCELLED))
            found = &w->parts[i];
    return found ? bt_fail(err, found->status, "%s", found->err.text) : BATON_OK;
}

static void shift(struct bt_whisper_segment *s, int64_t ms) {
    struct bt_whisper_token *tokens = (struct bt_whisper_token *)s->tokens; /* its block is ours, and nobody else's */
    s->t0_ms += ms;
    s->t1_ms += ms;
    for (size_t i = 0; i < s->n_tokens; i++)
        if (tokens[i].t0_ms >= 0) {
            tokens[i].t0_ms += ms;
            tokens[i].t1_ms += ms;
        }
}

/* Moves the segments of all parts into one list, their times into the whole; libwhisper's rule: none begins before the
 * one before it ends. */
static baton_status join(const struct whole *w, struct bt_whisper_result *result, baton_error *err) {
    size_t n = 0;
    for (int i = 0; i < w->n; i++) {
        n += w->parts[i].result.n_segments;
        result->more |= w->parts[i].result.more;
    }
    result->segments = calloc(n + 1, sizeof *result->segments);
    if (!result->segments)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu segments", n);
    for (int i = 0; i < w->n; i++) {
        struct part *p = &w->parts[i];
        for (size_t k = 0; k < p->result.n_segments; k++) {
            struct bt_whisper_segment *s = &result->segments[result->n_segments++];
            *s = p->result.segments[k];
            int64_t floor = s > result->segments ? s[-1].t1_ms : 0;
            shift(s, p->start_ms);
            s->t0_ms = BT_MAX(s->t0_ms, floor);
            s->t1_ms = BT_MAX(s->t1_ms, s->t0_ms);
        }
        p->result.n_segments = 0; /* they are the result's now */
    }
    result->language = w->parts[0].result.language;
    memcpy(result->lang_str, w->parts[0].result.lang_str, sizeof result->lang_str);
    return BATON_OK;
}

static void drop_after(struct bt_whisper_result *r, size_t n) {
    while (r->n_segments > n) {
        free((void *)r->segments[--r->n_segments].tokens);
        r->more = true;
    }
}

static void tell(const struct bt_whisper_params *p, struct bt_whisper_result *r) {
    if (p->max_segments > 0)
        drop_after(r, (size_t)p->max_segments);
    for (size_t i = 0; p->on_segment && i < r->n_segments; i++)
        if (!p->on_segment(p->arg, &r->segments[i], i)) {
            drop_after(r, i + 1);
            r->more = true;
        }
    if (p->on_progress && !r->more)
        p->on_progress(p->arg, 100);
}

baton_status bt_whisper_parallel(struct bt_whisper_state *const *states, int n, const struct bt_audio *audio,
                                 const struct bt_whisper_params *params, struct bt_whisper_result *result,
                                 baton_error *err) {
    struct whole w = {.params = params, .n = n, .percent = -1};
    *result = (struct bt_whisper_result){.language = -1};
    baton_status status = check(audio, params, n, err);
    if (status)
        return status;
    w.parts = calloc((size_t)n, sizeof *w.parts);
    if (!w.parts)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d parts", n);
    cut(&w, states, audio);
    status = settle_language(&w, err);
    if (!status) {
        run_all(&w);
        status = worst(&w, err);
    }
    if (!status)
        status = join(&w, result, err);
    for (int i = 0; i < n; i++)
        bt_whisper_result_free(&w.parts[i].result);
    free(w.parts);
    if (!status)
        tell(params, result);
    return status;
}
