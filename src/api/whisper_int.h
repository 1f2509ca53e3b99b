/* What the files of the binding for libwhisper share.
 *
 * A baton_whisper is immutable after open. What changes is in its pools: `states`, and `turns`, whose one context means
 * "I collect all states". Invariant: whoever waits for a state while holding another one has the turn, or is a program
 * that acquired by hand. So two requests for all states never wait for each other; a program that holds by hand what
 * one of them waits for, and waits for more itself, is found by the pool (lease/lease.h, _WOULD_DEADLOCK).
 *
 * With owners of their own there are no pools here but a bt_io (whisper_owned.c), and what the owner said of its model.
 *
 * It is referenced by the open handle, by each call under way (a callback may close it, and so may another thread while
 * this one still waits), by each state, and by streams while they hear; the last one frees it. */
#ifndef BT_WHISPER_API_H
#define BT_WHISPER_API_H

#include <stdatomic.h>

#include "api/api.h"
#include "baton/whisper.h"
#include "native/whisper.h"
#include "wire/speech.h"

/* A context of the pool `states`. */
struct bt_hearer {
    baton_whisper *whisper;
    struct bt_whisper_state *state;
};

struct baton_whisper {
    /* set at open */
    baton_policy policy;
    baton_whisper_info info;
    int threads;
    struct bt_whisper *model; /* owner = caller; else NULL, and io */
    struct bt_pool *states, *turns;
    struct bt_io *io;
    struct bt_speech_model known;
    struct bt_buf known_bytes; /* what `known` borrows from */
    char name[128], turn_name[160];
    struct bt_hearer hearers[BT_WHISPER_STATES_MAX];
    /* any thread */
    _Atomic int refs;
    _Atomic uint64_t ids; /* of requests that came without one and need it in two pools */
    _Atomic uint64_t accepted, refused, completed, cancelled, timed_out, failed;
};

void bt_hear_ref(baton_whisper *w);
void bt_hear_unref(baton_whisper *w);
void *bt_hear_native(void *context); /* what the pool `states` shows of a context */
struct bt_device *bt_hear_device(const void *context);

/* A request from its ask to its outcome. Belongs to the thread that asks, then to the one that runs it. */
struct bt_hearing {
    baton_whisper *whisper; /* referenced from start to end */
    baton_request request;
    struct bt_audio audio;
    struct bt_whisper_params params; /* its callbacks are bt_hearing's own */
    bool (*on_segment)(void *arg, const baton_whisper_segment *segment, size_t index);
    void (*on_progress)(void *arg, int percent);
    void *arg;
    int64_t asked_ns, started_ns, deadline_ns;
    struct bt_io_stream *stream;  /* with an owner of its own; the rest says nothing then */
    struct bt_lease lease;        /* of the state; in a parallel run: of the turn */
    const struct bt_lease *parts; /* in a parallel run: of all states */
    int n_parts;
    size_t segments;
    /* any thread of the run, who reads a stream and who closes it */
    _Atomic bool closing;
    _Atomic int why;           /* a baton_status: what it was stopped for */
    _Atomic int64_t unread_ns; /* since when a segment waits for the stream's reader; 0: none does */
    _Atomic bool hoarded;      /* more lies unread than is kept */
    _Atomic bool unread;       /* `why` is one of these two */
};

/* Checks and copies the ask, and fills its gaps. `whole`: what is a transcription's is looked at. */
baton_status bt_hearing_take(struct bt_hearing *h, baton_whisper *w, const baton_whisper_ask *ask, bool whole,
                             baton_error *err);
struct bt_ask bt_hearing_ask(const struct bt_hearing *h);
/* A lease on a state, or none; then the request has started, or is refused and counted so. */
baton_status bt_hearing_start(struct bt_hearing *h, baton_error *err) BATON_TRY_ACQUIRE(0, h->lease);
/* The clock of the run starts. */
void bt_hearing_started(struct bt_hearing *h);
/* Runs it in the state under h->lease, and releases that. Fills the outcome. */
baton_status bt_hearing_run(struct bt_hearing *h, enum bt_op op, struct bt_whisper_result *result,
                            baton_whisper_outcome *outcome, baton_error *err);
/* The status of a native call as the request's: why it was stopped, counted, and in *outcome. */
baton_status bt_hearing_end(struct bt_hearing *h, baton_status status, const struct bt_whisper_result *result,
                            baton_whisper_outcome *outcome, baton_error *err);
/* The outcome of what was refused. */
baton_status bt_hearing_refused(const struct bt_hearing *h, baton_status status, baton_whisper_outcome *outcome,
                                const baton_error *err);
/* The hook of a native call: true once it is to stop. Any thread of the run. */
bool bt_hearing_stop(void *hearing);
/* When its reader will have left it unread for too long, as it is now. */
int64_t bt_hearing_idle_deadline(const struct bt_hearing *h);
/* What is said of a stream that was cancelled because of its reader. */
baton_status bt_hearing_unread(const struct bt_hearing *h, size_t segments, baton_error *err);

/* The same with an owner of its own (whisper_owned.c). */
baton_status bt_owned_open(baton_whisper *w, const char *path, const baton_whisper_params *p, baton_error *err);
baton_status bt_owned_check(const baton_whisper *w, const struct bt_audio *audio, const struct bt_whisper_params *p,
                            baton_error *err);
int bt_owned_language(const baton_whisper *w, const char *name);
baton_status bt_owned_start(struct bt_hearing *h, bool detect, baton_error *err);
/* Reads it to its end; callbacks run here. probabilities: of the languages, if that was asked; else NULL. */
baton_status bt_owned_finish(struct bt_hearing *h, float *probabilities, struct bt_whisper_result *result,
                             baton_whisper_outcome *outcome, baton_error *err);
void bt_owned_counts(const baton_whisper *w, baton_counts *counts);
baton_status bt_owned_unsupported(const baton_whisper *w, const char *cure, baton_error *err);

/* The memory of one becomes the other's. */
void bt_hearing_give(struct bt_whisper_result *from, baton_whisper_result *to);

#endif
