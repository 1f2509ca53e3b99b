/* The binding for libwhisper: a model and its states from open to close, and what is known of it without a state.
 * State: that of baton_whisper (whisper_int.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/whisper_int.h"
#include "lease/pool.h"

_Static_assert((int)BATON_WHISPER_CONTEXTS_MAX == (int)BT_WHISPER_STATES_MAX, "the same number");
_Static_assert((int)BATON_WHISPER_RATE == (int)BT_WHISPER_RATE, "the same number");
_Static_assert((int)BATON_WHISPER_AUDIO_MIN_MS == (int)BT_WHISPER_MIN_MS, "the same number");

void bt_hear_ref(baton_whisper *w) {
    atomic_fetch_add(&w->refs, 1);
}

void bt_hear_unref(baton_whisper *w) {
    if (atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    if (w->states)
        bt_pool_unref(w->states);
    if (w->turns)
        bt_pool_unref(w->turns);
    if (w->model)
        w->model->ops->free(w->model);
    if (w->io)
        bt_io_unref(w->io);
    bt_speech_model_free(&w->known);
    bt_buf_free(&w->known_bytes);
    free(w);
}

static void destroy(void *context) {
    struct bt_hearer *h = context;
    h->state->ops->free(h->state);
    bt_hear_unref(h->whisper);
}

static void reset(void *context) {
    struct bt_hearer *h = context;
    h->state->ops->reset(h->state);
}

void *bt_hear_native(void *context) {
    struct bt_hearer *h = context;
    return h->state->ops->native(h->state);
}

struct bt_device *bt_hear_device(const void *context) {
    const struct bt_hearer *h = context;
    return h->state->model->device;
}

/* The pools' memory stays theirs while the model is referenced: who comes late finds them closed, not reused. */
static baton_status open_pools(baton_whisper *w, baton_error *err) {
    void *contexts[BT_WHISPER_STATES_MAX], *turn = w;
    snprintf(w->name, sizeof w->name, "state of %.100s", w->info.name);
    snprintf(w->turn_name, sizeof w->turn_name, "the turn to take all states of %.60s", w->info.name);
    for (int i = 0; i < w->policy.contexts; i++)
        contexts[i] = &w->hearers[i];
    struct bt_pool_params p = {.name = w->turn_name,
                               .contexts = &turn,
                               .n_contexts = 1,
                               .queue_max = w->policy.queue,
                               .when_full = (enum bt_when_full)w->policy.when_full,
                               .queue_ms = w->policy.queue_ms};
    baton_status status = bt_pool_open(&p, &w->turns, err);
    if (status)
        return status;
    bt_pool_ref(w->turns);
    p.name = w->name;
    p.contexts = contexts;
    p.n_contexts = w->policy.contexts;
    p.destroy = destroy;
    p.reset = reset;
    p.native = bt_hear_native;
    status = bt_pool_open(&p, &w->states, err);
    if (!status) {
        bt_pool_ref(w->states);
        return BATON_OK;
    }
    return status;
}

/* The states belong to the pool when it is open. */
static baton_status open_states(baton_whisper *w, baton_error *err) {
    baton_status status = BATON_OK;
    int n = 0;
    for (; n < w->policy.contexts && !status; n += !status) {
        status = w->model->ops->state(w->model, &w->hearers[n].state, err);
        w->hearers[n].whisper = w;
        if (!status)
            bt_hear_ref(w);
    }
    if (!status)
        status = open_pools(w, err);
    for (int i = 0; i < n && status; i++)
        destroy(&w->hearers[i]);
    return status;
}

static void fill_info(baton_whisper *w) {
    struct bt_whisper_info i = w->known.info;
    if (w->model)
        w->model->ops->info(w->model, &i);
    w->info = (baton_whisper_info){.size = sizeof w->info,
                                   .multilingual = i.multilingual,
                                   .timestamps = i.timestamps,
                                   .languages = i.languages,
                                   .vocab_size = i.vocab_size,
                                   .audio_ctx = i.audio_ctx,
                                   .text_ctx = i.text_ctx,
                                   .audio_layers = i.audio_layers,
                                   .text_layers = i.text_layers,
                                   .width = i.width,
                                   .mels = i.mels,
                                   .contexts = w->policy.contexts,
                                   .weight_bytes = i.bytes,
                                   .context_bytes = i.state_bytes * (uint64_t)w->policy.contexts,
                                   .start = i.start,
                                   .end = i.end,
                                   .transcribe = i.transcribe,
                                   .translate = i.translate,
                                   .no_timestamps = i.no_timestamps,
                                   .first_timestamp = i.first_timestamp,
                                   .first_language = i.first_language};
    snprintf(w->info.name, sizeof w->info.name, "%s", i.name);
    snprintf(w->info.type, sizeof w->info.type, "%s", i.type);
}

static baton_status check_policy(const baton_policy *p, baton_error *err) {
    baton_policy as_thread = *p; /* what goes for those goes for processes */
    if (p->owner == BATON_OWNER_PROCESS)
        as_thread.owner = BATON_OWNER_THREAD;
    baton_status status = bt_check_policy(&as_thread, false, err);
    if (status)
        return status;
    if (p->contexts > BT_WHISPER_STATES_MAX)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "contexts is %d: a model is given %d states at most, as some releases of whisper.cpp crash "
                       "beyond that (whisper.cpp issue 2521). Let requests wait for a state, or use a second process",
                       p->contexts, BT_WHISPER_STATES_MAX);
    if (p->sequences > 1)
        return bt_fail(err, BATON_INVALID,
                       "sequences is %d: a whisper state hears one audio at a time. Set sequences to 1, and contexts "
                       "to more",
                       p->sequences);
    return BATON_OK;
}

static int threads_of(const baton_whisper_params *p, const baton_policy *policy) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (p->threads)
        return p->threads;
    return (int)BT_MIN(BT_MAX((cores - 1) / policy->contexts, 1), BT_WHISPER_THREADS_MAX);
}

baton_status baton_whisper_open(baton_whisper **whisper, const char *path, const baton_whisper_params *params,
                                baton_error *err) {
    baton_whisper_params p = BATON_WHISPER_PARAMS;
    baton_policy policy = BATON_POLICY;
    if (!whisper)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_open needs a place for the model");
    *whisper = NULL;
    if (!BT_TAKE(p, params) || !BT_TAKE(policy, p.policy))
        return bt_misuse(err, BATON_MISUSE,
                         "parameters without their size: make them with BATON_WHISPER_PARAMS and BATON_POLICY");
    baton_status status = check_policy(&policy, err);
    if (!status)
        status = bt_whisper_check_threads(p.threads, err);
    if (status)
        return status;
    baton_whisper *w = calloc(1, sizeof *w);
    if (!w)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    w->policy = policy;
    w->threads = threads_of(&p, &policy);
    atomic_store(&w->refs, 1);
    const struct bt_whisper_model_params model = {.path = path, .gpu = p.gpu, .gpu_device = p.gpu_device};
    bool mine = policy.owner == BATON_OWNER_CALLER;
    status = mine ? bt_whisper_open(&model, &w->model, err) : bt_owned_open(w, path, &p, err);
    if (!status)
        fill_info(w);
    if (!status && mine)
        status = open_states(w, err);
    if (!status)
        *whisper = w;
    else
        baton_whisper_close(&w);
    return status;
}

/* The states first: whoever has the turn and waits for a state, or hears in all of them, gives the turn back then. */
void baton_whisper_close(baton_whisper **whisper) {
    if (!whisper || !*whisper)
        return;
    baton_whisper *w = *whisper;
    struct bt_pool *states = w->states, *turns = w->turns;
    *whisper = NULL;
    bt_pool_close(&states, BT_CLOSE_CANCEL, NULL);
    bt_pool_close(&turns, BT_CLOSE_CANCEL, NULL);
    if (w->io)
        bt_io_close(w->io);
    bt_hear_unref(w);
}

void baton_whisper_get_info(const baton_whisper *whisper, baton_whisper_info *info) {
    BT_NEED_OR(whisper && info, "a model and a place for its info");
    size_t size = info->size;
    memcpy(info, &whisper->info, BT_MIN(size, sizeof *info));
    info->size = size;
}

int baton_whisper_language(const baton_whisper *whisper, const char *name) {
    BT_NEED_OR(whisper, "a model", -1);
    if (!name)
        return -1;
    return whisper->io ? bt_owned_language(whisper, name) : whisper->model->ops->language(whisper->model, name);
}

const char *baton_whisper_language_name(const baton_whisper *whisper, int id) {
    BT_NEED_OR(whisper, "a model", NULL);
    if (whisper->io)
        return id >= 0 && id < whisper->info.languages ? whisper->known.languages[2 * (size_t)id] : NULL;
    return whisper->model->ops->lang_str(whisper->model, id);
}

const char *baton_whisper_token_text(const baton_whisper *whisper, int32_t token) {
    BT_NEED_OR(whisper, "a model", NULL);
    if (whisper->io)
        return token >= 0 && token < whisper->info.vocab_size ? whisper->known.tokens[token] : NULL;
    return whisper->model->ops->token_text(whisper->model, token);
}

const char *baton_whisper_version(void) {
    return bt_whisper_version();
}

struct whisper_context *baton_whisper_context(const baton_whisper *whisper) {
    BT_NEED_OR(whisper, "a model", NULL);
    return whisper->io ? NULL : whisper->model->ops->native(whisper->model);
}

void baton_whisper_get_counts(const baton_whisper *whisper, baton_counts *counts) {
    struct bt_holding held[BT_WHISPER_STATES_MAX];
    BT_NEED_OR(whisper && counts, "a model and a place for the counts");
    size_t size = counts->size;
    baton_counts mine = {.size = size,
                         .accepted = whisper->accepted,
                         .refused = whisper->refused,
                         .completed = whisper->completed,
                         .cancelled = whisper->cancelled,
                         .timed_out = whisper->timed_out,
                         .failed = whisper->failed};
    if (whisper->io) {
        bt_owned_counts(whisper, &mine);
        memcpy(counts, &mine, BT_MIN(size, sizeof mine));
        return;
    }
    mine.slots = bt_pool_holders(whisper->states, held, BT_WHISPER_STATES_MAX);
    for (int i = 0; i < mine.slots; i++)
        mine.running += held[i].held;
    mine.queued = bt_pool_queued(whisper->states) + bt_pool_queued(whisper->turns);
    memcpy(counts, &mine, BT_MIN(size, sizeof mine));
}

baton_status baton_whisper_snapshot(const baton_whisper *whisper, baton_snapshot *snapshot, baton_error *err) {
    if (!whisper)
        return bt_misuse(err, BATON_MISUSE, "a snapshot needs a model");
    if (whisper->io)
        return bt_owners_snapshot(whisper->io, whisper->info.name, "", snapshot, err);
    return baton_pool_snapshot((const baton_pool *)whisper->states, snapshot, err);
}

/* The turn first: a request for all states that is between two of its waits is told by its turn, and one that waits by
 * the second. */
bool baton_whisper_cancel(baton_whisper *whisper, uint64_t id) {
    BT_NEED_OR(whisper, "a model", false);
    if (whisper->io)
        return bt_io_cancel(whisper->io, id);
    bool collects = bt_pool_cancel(whisper->turns, id);
    return bt_pool_cancel(whisper->states, id) || collects;
}
