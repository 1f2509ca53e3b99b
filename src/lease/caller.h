/* owner = caller: a model, a pool of contexts, and generation in the caller's own thread, under a lease that covers the
 * whole transaction from the first decode to the last logits read. */
#ifndef BT_CALLER_H
#define BT_CALLER_H

#include "lease/lease.h"
#include "native/native.h"
#include "owner/owner.h"

struct bt_caller;

/* Loads the model and makes `contexts` contexts of params' shape (one sequence each, unless they embed). Blocks. */
baton_status bt_caller_open(const struct bt_model_params *model, const struct bt_context_params *params, int contexts,
                            int queue_max, struct bt_caller **caller, baton_error *err);

/* Over the native library's own contexts, which the program made, as bt_native_adopt. taken: they are freed with it; on
 * failure they are the program's as before. Their model is never freed. */
baton_status bt_caller_adopt(void *const *natives, int n, bool taken, const char *chat_template, int queue_max,
                             struct bt_caller **caller, baton_error *err);

/* What the pools of callers show of a context: a pool with it is one of theirs. */
void *bt_caller_native(void *context);

/* Waits for the leases that are out (drain), or has them stop at their next native step (cancel), and frees contexts
 * and model. A stream or a lease that this thread holds cannot be waited for: what it needs lives on until it is closed
 * or released. */
void bt_caller_close(struct bt_caller **caller, enum bt_close how);

/* Keeps a caller that may be closed meanwhile a thing that can be asked, and is closed; until as many unrefs. */
void bt_caller_ref(struct bt_caller *c);
void bt_caller_unref(struct bt_caller *c);

struct bt_caller_info {
    int ctx;         /* cells of a context */
    bool exact;      /* asked for, and confirmed by a self-test of each context */
    uint64_t memory; /* bytes of all caches */
};
void bt_caller_info(const struct bt_caller *c, struct bt_caller_info *info);

void bt_caller_counts(const struct bt_caller *c, struct bt_counts *counts);

const struct bt_model *bt_caller_model(const struct bt_caller *c);
struct bt_pool *bt_caller_pool(const struct bt_caller *c);

/* The tokens of a chat in this model's template; *tokens is malloc'd. Needs no lease. Any thread. */
baton_status bt_caller_chat(const struct bt_caller *c, const struct bt_chat_message *messages, size_t n,
                            bt_token **tokens, size_t *n_tokens, baton_error *err);

/* An answer, pulled. The lease is held from open to close; native code runs inside next, on whatever thread calls it,
 * and in between the context is idle. A stream belongs to one thread at a time, which may be another one each time; it
 * ends with the thread that pulled last, unless it was parked.
 *
 * The run's prompt, sampling and stops are copied; on_token is not called; run_ms counts from here. Errors and blocking
 * as for bt_lease_acquire; _TOO_LONG, _INVALID from the request itself, before it waits for a context. */
struct bt_caller_stream;
baton_status bt_caller_stream_open(struct bt_caller *c, const struct bt_ask *ask, const struct bt_run *run,
                                   struct bt_caller_stream **stream, baton_error *err);
uint64_t bt_caller_stream_id(const struct bt_caller_stream *s); /* for bt_pool_cancel */

/* One token. BATON_OK: a delta, valid until the next call on the stream; _END: complete; else how it was cut:
 * _CANCELLED, _RUN_TIMEOUT, _FAILED, _STALE (its thread ended). The outcome is the same at every later pull. Used by
 * two threads at once: _BUSY, and from a callback of its own native call: _REENTRANT; both leave it unharmed. */
baton_status bt_caller_stream_next(struct bt_caller_stream *s, struct bt_delta *delta, baton_error *err);

/* The conversation so far into *out, as bt_saved_get takes it: native code runs here. Between two pulls, or after the
 * last. As next for its errors; _AGAIN: nothing was pulled yet. */
baton_status bt_caller_stream_save(struct bt_caller_stream *s, struct bt_buf *out, baton_error *err);

/* Between two pulls: the thread may end, the stream goes on wherever it is pulled next. */
baton_status bt_caller_stream_park(struct bt_caller_stream *s, baton_error *err);

/* Gives the context back and says how it ended: BATON_OK complete, _CANCELLED when closed before its end, else as next
 * said. `result` (may be NULL) is what there is of the answer, the caller's to free. While another thread is inside
 * next, that is cancelled and waited for: the slot is free when the native call has returned. From inside its own
 * native call: _CANCELLED and no result; the rest is done when next returns. *stream is NULL after; twice is harmless.
 */
baton_status bt_caller_stream_close(struct bt_caller_stream **stream, struct bt_run_result *result, baton_error *err);

/* Such a stream, pulled to its end, with on_token between the pulls: false ends it there, which is BATON_OK and
 * partial. What bt_caller_stream_open and _close return; `result` is the caller's to free. Any thread. */
baton_status bt_caller_generate(struct bt_caller *c, const struct bt_ask *ask, const struct bt_run *run,
                                struct bt_run_result *result, baton_error *err);

#endif
