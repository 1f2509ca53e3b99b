/* baton's process-global runtime: one model, one context, no handles. For programs that want no more than that, and for
 * ports of such an interface.
 *
 * Three things are kept apart, and each has its own reset:
 *   the model       baton_runtime_load_model .. baton_runtime_free_model
 *   the context     what the model has read of an answer under way; emptied by baton_runtime_reset_context
 *   the transcript  the results of past requests; emptied by baton_runtime_clear_transcript
 * The sampling configuration belongs to none of them: it stays until it is configured again.
 *
 * Every request has an id, and its result is had by that id, whole, in one call. There is no "last result": another
 * thread's request between yours and your question changes nothing.
 *
 * Calls of several threads are admitted one after the other, in order of arrival; or refused, if so initialised. They
 * are never interleaved: an answer that is stepped (baton_runtime_start, _next_token) holds the context from its start
 * to its end, though no thread is inside it in between. A thread that has begun one and asks for another before it is
 * over gets BATON_WOULD_DEADLOCK.
 *
 * Before baton_runtime_init every function returns BATON_MISUSE; without a model those that need one return
 * BATON_NOT_FOUND, "no model is loaded". A request that fails leaves the model as it was.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_RUNTIME_H
#define BATON_RUNTIME_H

#include "baton/llama.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_runtime_params {
    size_t size;
    baton_when_full when_full; /* what happens to a call while another is under way */
    int queue;                 /* how many may wait */
    int64_t queue_ms;          /* for how long; < 0: without end */
    int64_t run_ms;            /* how long an answer may take; < 0: without end */
    int keep;                  /* results in the transcript, 1 to 65536; the oldest is dropped for one more */
    int hash;                  /* 0: the model file is not hashed for the diagnostics */
} baton_runtime_params;
#define BATON_RUNTIME_PARAMS                                                                                           \
    { sizeof(baton_runtime_params), BATON_WAIT, 64, -1, -1, 64, 1 }

/* Makes the runtime, without a model.
 *   params  NULL: BATON_RUNTIME_PARAMS
 * Returns: BATON_OK. _MISUSE: it is there already, or params without their size. _INVALID, _NO_MEMORY. Threads: any.
 * Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_init(const baton_runtime_params *params, baton_error *err) BATON_MUST_USE;

/* Ends the runtime: the answer that is stepped is cancelled, those that run finish, model, transcript and configuration
 * are freed. baton_runtime_init may follow.
 * Returns: BATON_OK, _MISUSE: there is none. _REENTRANT: this thread is inside another call of the runtime, which it
 * would wait for (from a progress function or a log handler); nothing is ended then. Threads: any. Blocks: until the
 * calls under way have returned. Since: 0.1.0. */
BATON_API baton_status baton_runtime_end(baton_error *err);

/* Loads a model, in the place of one that may be there. It is made whole first and takes its place last: whatever fails
 * on the way, what was there stays as it was, a model or none. Answers under way finish on the old one, whose memory is
 * freed then.
 *   path    a GGUF file; NULL: the built-in model
 *   params  NULL: BATON_LLAMA_PARAMS. Its policy must be NULL: the runtime's is set at init
 * Returns: BATON_OK, or as baton_llama_open; _INVALID: a policy; _BUSY, _QUEUE_TIMEOUT: another load or free is under
 * way; _REENTRANT: this thread's own is (from its progress function). Threads: any. Blocks: while the file is hashed
 * and loaded, and as the policy says. Since: 0.1.0. */
BATON_API baton_status baton_runtime_load_model(const char *path, const baton_llama_params *params,
                                                baton_error *err) BATON_MUST_USE;

/* How later requests draw their tokens; those under way go on as they began. Copied, with its bias.
 * Returns: BATON_OK. _INVALID: a value that makes no sense; its text names the field and what is possible: temperature
 * 0 to 100, top_p over 0 to 1, top_k 0 or more, min_p 0 to 1, presence_penalty and frequency_penalty -2 to 2,
 * repeat_penalty over 0 to 10, penalty_last_n -1 or more, n_bias at most 1024, no bias that is not a number. Nothing is
 * changed then. _MISUSE, _NO_MEMORY. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_configure_sampling(const baton_sampling *sampling,
                                                        baton_error *err) BATON_MUST_USE;

/* Asks and waits until the answer is complete; baton_runtime_result has it.
 *   prompt, len  UTF-8, at least one byte, none of them 0
 *   max_tokens   < 0: until the context is full
 *   id           in: the request's, below 2^63, or 0 for a fresh one; out: it. May be NULL only where the result is of
 *                no interest
 * Returns: BATON_OK. Refused, without a result: _NOT_FOUND ("no model is loaded"), _INVALID (an empty prompt, one that
 * is not UTF-8: its text says where; an id that is in use or in the transcript), _TOO_LONG, _BUSY, _QUEUE_FULL,
 * _QUEUE_TIMEOUT, _WOULD_DEADLOCK, _MISUSE; _CANCELLED while it waited. Cut, with a result of what there is:
 * _CANCELLED, _RUN_TIMEOUT, _FAILED (the native call). _NO_MEMORY. The model stays loaded whatever is returned.
 * Threads: any. Blocks: as the policy says, and until the answer is complete. Since: 0.1.0. */
BATON_API baton_status baton_runtime_generate(const char *prompt, size_t len, int max_tokens, uint64_t *id,
                                              baton_error *err) BATON_MUST_USE;

/* Begins an answer that is stepped with baton_runtime_next_token; it holds the context until its end, which comes with
 * its last token, baton_runtime_cancel, baton_runtime_reset_context or baton_runtime_free_model. It ends, too, with the
 * thread that stepped it last.
 *   as for baton_runtime_generate; id is not NULL
 * Returns: as its refusals. Threads: any. Blocks: as the policy says. Since: 0.1.0. */
BATON_API baton_status baton_runtime_start(const char *prompt, size_t len, int max_tokens, uint64_t *id,
                                           baton_error *err) BATON_MUST_USE;

/* The next piece of the answer with that id: what the next token that shows as text brings, whole characters.
 *   text, len  out: NUL-terminated, freed with baton_free; NULL when nothing is returned
 * Returns: BATON_OK: *text is a piece. BATON_END: the answer is complete and in the transcript. _BUSY: another thread
 * is in this call with this id. _CANCELLED, _RUN_TIMEOUT, _FAILED: it was cut; what there is is in the transcript.
 * After its end, while it is in the transcript, the same again.
 * _NOT_FOUND: no such answer is under way (its text says if no model is loaded). _MISUSE, _NO_MEMORY. Threads: any, one
 * at a time. Blocks: for the native call. Since: 0.1.0. */
BATON_API baton_status baton_runtime_next_token(uint64_t id, char **text, size_t *len, baton_error *err) BATON_MUST_USE;

/* Ends the request with that id, queued, running or stepped, with BATON_CANCELLED; touches no other.
 * Returns: BATON_OK; _NOT_FOUND: no such request is under way; _MISUSE. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_cancel(uint64_t id, baton_error *err);

/* The result of a request: a copy, the caller's, of text, length and outcome together. Stays in the transcript.
 *   result  out; freed with baton_result_free
 * Returns: BATON_OK, whatever the outcome in it. _AGAIN: the request is under way. _NOT_FOUND: there was no such
 * request, or it is no longer in the transcript. _MISUSE, _NO_MEMORY. result->text is NULL then. Threads: any. Blocks:
 * never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_result(uint64_t id, baton_result *result, baton_error *err) BATON_MUST_USE;

/* The ids of the results in the transcript, oldest first.
 *   ids, n  out; freed with baton_free
 * Returns: BATON_OK, _MISUSE, _NO_MEMORY. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_transcript(uint64_t **ids, size_t *n, baton_error *err) BATON_MUST_USE;

/* What runs here, as one JSON object. No prompt and no answer is in it. Fields are added, never renamed, within a
 * version:
 *   schema "baton.runtime", version 1, baton
 *   state: "no model", "idle" or "running"; under_way, transcript (counts)
 *   libraries: their versions and devices; cpu: the CPU backend's variant and the features it was built for
 *   model: null, or name, description, device (that its context shares, taking turns; ""), ctx, threads, exact
 *          (confirmed by a self-test at load), weight_bytes, context_bytes, and artifact: path, bytes, sha256 (null:
 *          not a file, not hashed, or changed while it was loaded)
 *   sampling: as configured; policy: as initialised
 *
 *   json, len  out; NUL-terminated, freed with baton_free
 * Returns: BATON_OK, _MISUSE, _NO_MEMORY. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_diagnostics(char **json, size_t *len, baton_error *err) BATON_MUST_USE;

/* Empties the context: ends the answer that is stepped (its result: cancelled, cut) and waits its turn behind those
 * that run. Model, sampling and transcript stay. Twice is as once. Returns: BATON_OK; _NOT_FOUND: no model is loaded;
 * _BUSY, _QUEUE_FULL, _QUEUE_TIMEOUT by the policy; _MISUSE. Threads: any. Blocks: as the policy says. Since: 0.1.0. */
BATON_API baton_status baton_runtime_reset_context(baton_error *err);

/* Drops all results. Answers under way, context, model and sampling stay.
 * Returns: BATON_OK, _MISUSE. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_runtime_clear_transcript(baton_error *err);

/* Frees the model with its context: ends the answer that is stepped, lets those finish that run or wait in the queue,
 * and refuses those that come. Sampling and transcript stay.
 * Returns: BATON_OK: its memory is free. _NOT_FOUND: no model is loaded. _BUSY, _QUEUE_TIMEOUT: a load is under way.
 * _REENTRANT: this thread's own is (from its progress function). _MISUSE. Threads: any. Blocks: until those have
 * finished. Since: 0.1.0. */
BATON_API baton_status baton_runtime_free_model(baton_error *err);

#ifdef __cplusplus
}
#endif
#endif
