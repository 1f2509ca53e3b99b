/* baton's models by name: which models a program has, what they are for, and one gate for each.
 *
 * A registry keeps models under names. A request takes a counted reference (use), asks the baton_llama in it, and gives
 * the reference back (put). Each model has its own pool of contexts, so two models never wait for each other; calls of
 * one model wait or are refused as its policy says. A name that is not there is an error that lists those that are:
 * nobody is ever given another's model.
 *
 * Roles. "fast", "deep", "vision" are names for a purpose: an ordered list of models and other roles. A use by role
 * takes the first that can be had; one that was removed or cannot be loaded is passed over. One that is merely busy is
 * not: which model answers would depend on the company.
 *
 * Load, swap, unload and remove happen beside the uses, never under them: weights are freed by whoever puts the last
 * use of them. In short, for a model that
 *   is absent      a use loads it, on its own thread; others that come meanwhile wait, or get BATON_BUSY
 *   is unloading   a use waits until the memory is free and then loads it again, or gets BATON_BUSY
 *   is swapped     uses go on with the old one until the new one is ready, and never notice
 *   is removed     those that wait and those that come get BATON_NOT_FOUND
 * and whoever holds a use, queued in the model's own gate or running, finishes on what he was given.
 *
 * Memory: baton_models_estimate says what a model will take before it is loaded, from the file's header alone.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_MODELS_H
#define BATON_MODELS_H

#include "baton/llama.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_models baton_models;

/* Names of models and roles are 1 to 63 bytes; a role has 1 to 16 targets. */
#define BATON_MODEL_NAME_MAX 64
#define BATON_ROLE_TARGETS_MAX 16

/* A counted reference: while it is held, the baton_llama in it lives. Filled by baton_models_use, given back by
 * baton_models_put, which zeroes it; may move between threads; never copied. */
typedef struct baton_model_use {
    baton_llama *llama;              /* not to be closed */
    char name[BATON_MODEL_NAME_MAX]; /* of the model: where a role led to */
    void *held;                      /* baton's */
} baton_model_use;

/* Makes an empty registry.
 *   models  out; ended by baton_models_close
 * Returns: BATON_OK, _NO_MEMORY: *models is NULL. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_models_open(baton_models **models, baton_error *err) BATON_MUST_USE;

/* Ends a registry: those that wait get BATON_CLOSED, loads under way and uses that are out are waited for, and all is
 * freed. What this very thread took and has not put cannot be waited for: its put frees the rest.
 *   models  taken; *models is NULL after. NULL inside is harmless
 * Threads: any, not from a progress callback; no other call but put may begin on it afterwards. Blocks: until the other
 * threads' uses are put. Since: 0.1.0. */
BATON_API void baton_models_close(baton_models **models);

/* Enters a model.
 *   name    not that of a model or a role that is there
 *   path    a GGUF file; NULL: the built-in model. Copied
 *   params  copied with its policy, template, adapters and projector; its progress function is called by whatever
 *           thread loads the model, and must not call baton on this model. NULL: BATON_LLAMA_PARAMS
 *   load    true: it is loaded now, and not entered if that fails. False: its first use loads it
 * Returns: BATON_OK. _INVALID: the name is taken, empty or too long. _MISUSE, _NO_MEMORY, _CLOSED; with `load` whatever
 * baton_llama_open returns. Threads: any. Blocks: with `load`, while it loads. Since: 0.1.0. */
BATON_API baton_status baton_models_add(baton_models *models, const char *name, const char *path,
                                        const baton_llama_params *params, bool load, baton_error *err) BATON_MUST_USE;

/* Enters a role, or changes it.
 *   role        not the name of a model
 *   targets, n  names of models and roles that are there, first choice first; copied
 * Returns: BATON_OK. _NOT_FOUND: there is no such target; its text lists what there is. _INVALID: a role would lead to
 * itself (its text names the way), a name is taken or too long, too many targets. _NO_MEMORY. Nothing is changed then.
 * Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_models_role(baton_models *models, const char *role, const char *const *targets, size_t n,
                                         baton_error *err) BATON_MUST_USE;

/* Takes a reference to a model, which is loaded if it is not.
 *   name     of a model or a role
 *   wait_ms  how long to wait while another thread loads or unloads it; 0: not at all; < 0: without end. A load on this
 *            thread is not limited by it: the progress function can stop that
 *   use      out; given back with baton_models_put. Close its streams before
 * Returns: BATON_OK. _NOT_FOUND: no such name; its text lists those that there are. _BUSY (wait_ms is 0) and
 * _QUEUE_TIMEOUT: it is being loaded or unloaded. _REENTRANT: from the progress function of its own load. _CLOSED.
 * Else why it cannot be loaded, as from baton_llama_open, also to those that waited for that load; of a role, why its
 * last one cannot. use->llama is NULL then.
 * Threads: any. Blocks: while the model loads. Since: 0.1.0. */
BATON_API baton_status baton_models_use(baton_models *models, const char *name, int64_t wait_ms, baton_model_use *use,
                                        baton_error *err) BATON_MUST_USE;

/* Gives a reference back and zeroes it. The last one of a model that was unloaded or swapped frees it.
 *   use  twice is harmless
 * Threads: any, not from inside a native call of this model. Blocks: never, unless it frees a model. Since: 0.1.0. */
BATON_API void baton_models_put(baton_model_use *use);

/* Asks a model or a role and waits for the answer: use, baton_llama_generate, put. The request's when_full and queue_ms
 * (as the policy: without end) are also those of the use.
 *   ask     borrowed for the call
 *   result  out; freed with baton_result_free, whatever was returned
 * Returns: as baton_models_use and baton_llama_generate. Threads: any. Blocks: as those. Since: 0.1.0. */
BATON_API baton_status baton_models_generate(baton_models *models, const char *name, const baton_llama_ask *ask,
                                             baton_result *result, baton_error *err) BATON_MUST_USE;

/* Loads a model now, if it is not: for warming up. As use and put at once.
 * Returns: as baton_models_use. Threads: any. Blocks: while it loads. Since: 0.1.0. */
BATON_API baton_status baton_models_load(baton_models *models, const char *name, int64_t wait_ms, baton_error *err);

/* Frees a model's memory and keeps its name: the next use loads it again. Those that run and those that are queued in
 * its gate finish first; uses that come meanwhile wait or are refused.
 *   name     of a model, not of a role
 *   wait_ms  how long to wait for them; < 0: without end
 * Returns: BATON_OK: it is free, or was not loaded. _AGAIN: the time is up; it is freed by the last put. _BUSY: another
 * load, swap or unload of it is under way. _WOULD_DEADLOCK: wait_ms is < 0 and this thread took a use that is not
 * put; nothing is changed. _NOT_FOUND, _CLOSED. Threads: any. Blocks: as said. Since: 0.1.0. */
BATON_API baton_status baton_models_unload(baton_models *models, const char *name, int64_t wait_ms,
                                           baton_error *err) BATON_MUST_USE;

/* Puts another model under a name. It is loaded beside the old one, which answers meanwhile: memory for both is needed
 * (else unload first). If it cannot be loaded, nothing is changed.
 *   path, params  as for baton_models_add
 *   wait_ms       how long to wait for the uses of the old one; < 0: without end
 * Returns: BATON_OK: uses from now on get the new one, and the old one is freed. _AGAIN: the same, but the old one is
 * freed by its last put. Else nothing was changed: _BUSY, _WOULD_DEADLOCK, _NOT_FOUND, _CLOSED as for
 * baton_models_unload, or as from baton_llama_open. Threads: any. Blocks: while it loads, and as said. Since: 0.1.0. */
BATON_API baton_status baton_models_swap(baton_models *models, const char *name, const char *path,
                                         const baton_llama_params *params, int64_t wait_ms,
                                         baton_error *err) BATON_MUST_USE;

/* Takes a model out: as unload, and its name is gone at once.
 * Returns: as baton_models_unload. Threads: any. Blocks: as baton_models_unload. Since: 0.1.0. */
BATON_API baton_status baton_models_remove(baton_models *models, const char *name, int64_t wait_ms,
                                           baton_error *err) BATON_MUST_USE;

/* What loading a model takes, in bytes, before it is spent: baton_llama_estimate with what it was entered with.
 *   weights, contexts  out
 * Returns: BATON_OK, _NOT_FOUND (the name, or the file), _BAD_MODEL, _IO, _NO_MEMORY. Threads: any. Blocks: while the
 * header is read. Since: 0.1.0. */
BATON_API baton_status baton_models_estimate(baton_models *models, const char *name, uint64_t *weights,
                                             uint64_t *contexts, baton_error *err) BATON_MUST_USE;

/* Where a model is. */
typedef enum baton_model_state {
    BATON_MODEL_ABSENT,   /* entered; no memory of it */
    BATON_MODEL_LOADING,  /* for the first time, or again */
    BATON_MODEL_READY,    /* in use or not; a swap loads beside it while `progress` is below 1 */
    BATON_MODEL_UNLOADING /* its uses finish */
} baton_model_state;

typedef struct baton_model_info {
    size_t size;
    baton_model_state state;
    float progress;        /* of the load under way, 0 to 1 */
    int uses;              /* references that are out, on what is loaded now */
    int draining;          /* references that are out on what was unloaded or swapped */
    int waiting;           /* calls of use that wait for it */
    uint64_t loads;        /* times it was loaded */
    baton_status failed;   /* what the last load came to */
    uint64_t weight_bytes; /* of what is loaded now; 0: nothing is */
    uint64_t context_bytes;
    char path[1024]; /* empty: the built-in model */
} baton_model_info;

/* Fills *info, whose size the caller has set.
 * Returns: BATON_OK, _NOT_FOUND, _MISUSE (no size). Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_models_info(baton_models *models, const char *name, baton_model_info *info,
                                         baton_error *err) BATON_MUST_USE;

/* The names of the models, or of the roles, in the order in which they came.
 *   roles     true: of the roles
 *   names, n  out: an array and its strings in one block, freed with baton_free
 * Returns: BATON_OK, _NO_MEMORY. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_models_names(baton_models *models, bool roles, const char *const **names, size_t *n,
                                          baton_error *err) BATON_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
