/* A transcription from ask to outcome, on the thread that has its lease. State: the request's, on the stack of who asks
 * or in a stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/whisper_int.h"

_Static_assert(sizeof(baton_whisper_token) == sizeof(struct bt_whisper_token), "one token under two names");
_Static_assert(offsetof(baton_whisper_token, text) == offsetof(struct bt_whisper_token, text), "one token, two names");
_Static_assert(offsetof(baton_whisper_token, t0_ms) == offsetof(struct bt_whisper_token, t0_ms),
               "one token, two names");
_Static_assert(offsetof(baton_whisper_token, p) == offsetof(struct bt_whisper_token, p), "one token under two names");
_Static_assert(sizeof(baton_whisper_segment) == sizeof(struct bt_whisper_segment), "one segment under two names");
_Static_assert(offsetof(baton_whisper_segment, text) == offsetof(struct bt_whisper_segment, text), "one, two names");
_Static_assert(offsetof(baton_whisper_segment, no_speech) == offsetof(struct bt_whisper_segment, no_speech), "same");
_Static_assert(offsetof(baton_whisper_segment, tokens) == offsetof(struct bt_whisper_segment, tokens), "same");
_Static_assert(offsetof(baton_whisper_segment, n_tokens) == offsetof(struct bt_whisper_segment, n_tokens), "same");

static bool on_segment(void *arg, const struct bt_whisper_segment *segment, size_t index) {
    struct bt_hearing *h = arg;
    h->segments = index + 1;
    return !h->on_segment || h->on_segment(h->arg, (const baton_whisper_segment *)segment, index);
}

static void on_progress(void *arg, int percent) {
    struct bt_hearing *h = arg;
    if (h->on_progress)
        h->on_progress(h->arg, percent);
}

static bool cancelled(const struct bt_hearing *h) {
    bool found = atomic_load(&h->closing) || bt_lease_cancelled(&h->lease);
    for (int i = 0; i < h->n_parts && !found; i++)
        found = bt_lease_cancelled(&h->parts[i]);
    return found;
}

int64_t bt_hearing_idle_deadline(const struct bt_hearing *h) {
    int64_t since = atomic_load(&h->unread_ns);
    return since ? bt_deadline(since, h->request.idle_ms) : BT_NEVER_NS;
}

bool bt_hearing_stop(void *hearing) {
    struct bt_hearing *h = hearing;
    int none = BATON_OK;
    if (atomic_load(&h->why))
        return true;
    int64_t now = bt_now_ns();
    bool gone = cancelled(h), unread = atomic_load(&h->hoarded) || now >= bt_hearing_idle_deadline(h);
    baton_status why = gone || unread ? BATON_CANCELLED : now >= h->deadline_ns ? BATON_RUN_TIMEOUT : BATON_OK;
    if (why && atomic_compare_exchange_strong(&h->why, &none, why)) /* the first reason is the one that is told */
        atomic_store(&h->unread, unread && !gone);
    return why != BATON_OK;
}

baton_status bt_hearing_unread(const struct bt_hearing *h, size_t segments, baton_error *err) {
    if (atomic_load(&h->hoarded))
        return bt_fail(
            err, BATON_CANCELLED,
            "request %llu was cancelled after %zu segments: so many lie unread that they are larger than the "
            "audio. Read its stream, or close it",
            (unsigned long long)h->request.id, segments);
    return bt_fail(
        err, BATON_CANCELLED,
        "request %llu was cancelled after %zu segments: nobody read its stream for %lld ms (idle_ms), though "
        "there was something to read. Read it sooner, or close it",
        (unsigned long long)h->request.id, segments, (long long)h->request.idle_ms);
}

static struct bt_whisper_params params_of(const baton_whisper_ask *a, int threads) {
    return (struct bt_whisper_params){.language = a->language,
                                      .translate = a->translate,
                                      .no_timestamps = a->no_timestamps,
                                      .token_timestamps = a->token_timestamps,
                                      .single_segment = a->single_segment,
                                      .split_on_word = a->split_on_word,
                                      .threads = a->threads ? a->threads : threads,
                                      .offset_ms = a->offset_ms,
                                      .duration_ms = a->duration_ms,
                                      .max_segments = a->max_segments,
                                      .max_tokens = a->max_tokens,
                                      .max_chars = a->max_chars,
                                      .temperature = a->temperature,
                                      .temperature_step = a->temperature_step,
                                      .best_of = a->best_of,
                                      .beams = a->beams,
                                      .initial_prompt = a->initial_prompt,
                                      .on_segment = on_segment,
                                      .on_progress = on_progress,
                                      .cancelled = bt_hearing_stop};
}

baton_status bt_hearing_take(struct bt_hearing *h, baton_whisper *w, const baton_whisper_ask *theirs, bool whole,
                             baton_error *err) {
    baton_whisper_ask ask = BATON_WHISPER_ASK;
    memset(h, 0, sizeof *h);
    h->asked_ns = bt_now_ns();
    if (!w || !theirs || !BT_TAKE(ask, theirs))
        return bt_misuse(err, BATON_MISUSE,
                         "a transcription needs a model, and an ask with its size: make it with BATON_WHISPER_ASK");
    h->whisper = w;
    baton_status status = bt_take_request(ask.request, &w->policy, &h->request, err);
    if (status)
        return status;
    h->audio = (struct bt_audio){ask.samples, ask.n_samples, ask.rate};
    h->params = params_of(&ask, w->threads);
    h->params.arg = h;
    h->on_segment = ask.on_segment;
    h->on_progress = ask.on_progress;
    h->arg = ask.arg;
    h->deadline_ns = BT_NEVER_NS;
    if (!whole)
        return BATON_OK;
    return w->io ? bt_owned_check(w, &h->audio, &h->params, err)
                 : w->model->ops->check(w->model, &h->audio, &h->params, err);
}

struct bt_ask bt_hearing_ask(const struct bt_hearing *h) {
    return (struct bt_ask){.when_full = h->request.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE,
                           .queue_ms = h->request.queue_ms,
                           .id = h->request.id,
                           .flow = h->request.flow,
                           .priority = h->request.priority};
}

void bt_hearing_started(struct bt_hearing *h) {
    h->started_ns = bt_now_ns();
    if (h->request.run_ms >= 0)
        h->deadline_ns = bt_deadline(h->started_ns, h->request.run_ms);
    atomic_fetch_add_explicit(&h->whisper->accepted, 1, memory_order_relaxed);
}

/* Not analysed: it may or may not acquire. */
BATON_NO_ANALYSIS baton_status bt_hearing_start(struct bt_hearing *h, baton_error *err) {
    struct bt_ask ask = bt_hearing_ask(h);
    bt_hear_ref(h->whisper);
    baton_status status = bt_lease_acquire(h->whisper->states, &ask, &h->lease, err);
    if (status) {
        atomic_fetch_add_explicit(&h->whisper->refused, 1, memory_order_relaxed);
        bt_hear_unref(h->whisper);
        return bt_told(status, err);
    }
    h->request.id = h->lease.id;
    bt_hearing_started(h);
    return BATON_OK;
}

static void count(baton_whisper *w, baton_status status) {
    _Atomic uint64_t *counter = status == BATON_OK            ? &w->completed
                                : status == BATON_CANCELLED   ? &w->cancelled
                                : status == BATON_RUN_TIMEOUT ? &w->timed_out
                                                              : &w->failed;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void tell(baton_whisper_outcome *o, baton_status status, const baton_error *err) {
    o->status = status;
    if (status)
        snprintf(o->text, sizeof o->text, "%.*s", (int)sizeof o->text - 1, err ? err->text : baton_status_text(status));
    bt_utf8_mend(o->text);
}

baton_status bt_hearing_refused(const struct bt_hearing *h, baton_status status, baton_whisper_outcome *outcome,
                                const baton_error *err) {
    *outcome = (baton_whisper_outcome){.language = -1, .queue_ns = bt_now_ns() - h->asked_ns};
    tell(outcome, status, err);
    return status;
}

baton_status bt_hearing_end(struct bt_hearing *h, baton_status status, const struct bt_whisper_result *result,
                            baton_whisper_outcome *outcome, baton_error *err) {
    baton_status why = (baton_status)atomic_load(&h->why);
    *outcome = (baton_whisper_outcome){
        .language = -1, .queue_ns = h->started_ns - h->asked_ns, .run_ns = bt_now_ns() - h->started_ns};
    if (status == BATON_CANCELLED && why == BATON_RUN_TIMEOUT)
        status = bt_fail(err, why, "the run timeout of %lld ms passed after %zu segments", (long long)h->request.run_ms,
                         result->n_segments);
    else if (status == BATON_CANCELLED && atomic_load(&h->unread))
        bt_hearing_unread(h, result->n_segments, err);
    else if (status == BATON_CANCELLED)
        bt_fail(err, status, "request %llu was cancelled after %zu segments", (unsigned long long)h->request.id,
                result->n_segments);
    tell(outcome, status, err);
    outcome->more = result->more;
    outcome->language = result->language;
    outcome->segments = result->n_segments;
    memcpy(outcome->language_name, result->lang_str, sizeof outcome->language_name);
    count(h->whisper, status);
    return status;
}

/* By itself because Clang's analysis does not look into functions that may or may not acquire. */
static baton_status begin(struct bt_hearing *h, enum bt_op op, struct bt_hearer **hearer, baton_error *err)
    BATON_REQUIRES(h->lease) BATON_TRY_ACQUIRE(0, h->lease.pool) {
    return bt_lease_begin(&h->lease, op, (void **)hearer, err);
}

static void holds_lease(const struct bt_hearing *h) BATON_ASSERT_HELD(h->lease) {
    (void)h;
}

baton_status bt_hearing_run(struct bt_hearing *h, enum bt_op op, struct bt_whisper_result *result,
                            baton_whisper_outcome *outcome, baton_error *err) {
    struct bt_hearer *hearer;
    baton_error mine = {BATON_OK, ""}, ignored;
    baton_whisper *w = h->whisper;
    *result = (struct bt_whisper_result){.language = -1};
    holds_lease(h);
    baton_status status = begin(h, op, &hearer, &mine);
    if (!status) {
        status = hearer->state->ops->full(hearer->state, &h->audio, &h->params, result, &mine);
        bt_lease_end(&h->lease);
    }
    status = bt_hearing_end(h, status, result, outcome, &mine);
    bt_lease_release(&h->lease, BT_RESET, &ignored);
    bt_hear_unref(w);
    return status ? bt_fail(err, status, "%s", mine.text) : BATON_OK;
}

void bt_hearing_give(struct bt_whisper_result *from, baton_whisper_result *to) {
    to->segments = (baton_whisper_segment *)from->segments;
    to->n_segments = from->n_segments;
    from->segments = NULL;
    from->n_segments = 0;
}

void baton_whisper_result_free(baton_whisper_result *result) {
    if (!result)
        return;
    struct bt_whisper_result inner = {.segments = (struct bt_whisper_segment *)result->segments,
                                      .n_segments = result->n_segments};
    bt_whisper_result_free(&inner);
    memset(result, 0, sizeof *result);
    result->outcome.language = -1;
}

/* Not analysed: the lease is held between two functions of this folder. */
BATON_NO_ANALYSIS baton_status baton_whisper_full(baton_whisper *whisper, const baton_whisper_ask *ask,
                                                  baton_whisper_result *result, baton_error *err) {
    struct bt_hearing h;
    struct bt_whisper_result made;
    baton_error local;
    err = err ? err : &local;
    if (!result)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_full needs a place for the result");
    memset(result, 0, sizeof *result);
    baton_status status = bt_hearing_take(&h, whisper, ask, true, err);
    if (!status)
        status = whisper->io ? bt_owned_start(&h, false, err) : bt_hearing_start(&h, err);
    if (status)
        return bt_hearing_refused(&h, status, &result->outcome, err);
    status = h.stream ? bt_owned_finish(&h, NULL, &made, &result->outcome, err)
                      : bt_hearing_run(&h, BT_OP_TRANSCRIBE, &made, &result->outcome, err);
    bt_hearing_give(&made, result);
    return status;
}

/* Not analysed: the lease is held between two functions of this folder. */
static BATON_NO_ANALYSIS baton_status detect_here(struct bt_hearing *h, int *language, float *probabilities,
                                                  baton_error *err) {
    struct bt_hearer *hearer;
    baton_whisper *w = h->whisper;
    baton_error mine, ignored;
    baton_status status = bt_hearing_start(h, err);
    if (status)
        return status;
    status = begin(h, BT_OP_DETECT, &hearer, &mine);
    if (!status) {
        status = hearer->state->ops->detect(hearer->state, &h->audio, h->params.offset_ms, h->params.threads, language,
                                            probabilities, &mine);
        bt_lease_end(&h->lease);
    }
    count(w, status);
    bt_lease_release(&h->lease, BT_RESET, &ignored);
    bt_hear_unref(w);
    return status ? bt_fail(err, status, "%s", mine.text) : BATON_OK;
}

static baton_status detect_there(struct bt_hearing *h, int *language, float *probabilities, baton_error *err) {
    struct bt_whisper_result made;
    baton_whisper_outcome ignored;
    baton_status status = bt_owned_start(h, true, err);
    if (status)
        return status;
    status = bt_owned_finish(h, probabilities, &made, &ignored, err);
    *language = made.language;
    bt_whisper_result_free(&made);
    return status;
}

baton_status baton_whisper_detect(baton_whisper *whisper, const baton_whisper_ask *ask, int *language,
                                  float *probabilities, baton_error *err) {
    struct bt_hearing h;
    baton_error local;
    err = err ? err : &local;
    if (!language)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_detect needs a place for the language");
    *language = -1;
    baton_status status = bt_hearing_take(&h, whisper, ask, false, err);
    if (!status)
        status = bt_whisper_check_audio(&h.audio, err);
    if (!status)
        status = bt_whisper_check_offset(&h.audio, h.params.offset_ms, err);
    if (status)
        return status;
    return whisper->io ? detect_there(&h, language, probabilities, err) : detect_here(&h, language, probabilities, err);
}
