/* baton for libllama: models, requests, answers, streams; and llama.h by hand under a lease.
 *
 * A baton_llama is a model with its contexts, shared as its policy says. Everything on it may be called from any thread
 * at once; what cannot run at once is queued or refused. What runs where:
 *   owner = caller  generate and stream_next run native code on the calling thread, under a lease that covers the whole
 *                   answer. Contexts can be used by hand (baton_llama_run).
 *   owner = thread  each context has a thread of baton's that batches `sequences` requests; callers wait for text.
 *                   Contexts cannot be touched from outside; baton_llama_run runs your function there.
 *   owner = process as owner = thread, in a process per context that has no rights but to compute (SECURITY.md); an
 *                   answer under way when it ends goes on in the next one. Contexts cannot be touched at all:
 *                   baton_llama_run is BATON_UNSUPPORTED. What is said of an owner thread below holds for it otherwise.
 * Tokens, text and metadata need no context: with owner = caller those functions never wait; otherwise the owner is
 * asked, beside what it computes.
 *
 * Exact (the default without GPU layers): an answer depends on the prompt, the parameters and the seed alone, to the
 * token, whatever the policy and the company; baton_llama_info says whether a self-test at open confirms it.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_LLAMA_H
#define BATON_LLAMA_H

#include "baton/baton.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_llama baton_llama;

/* A LoRA adapter: a GGUF file, made for the model that it is opened with. */
typedef struct baton_llama_lora {
    const char *path;
    float scale; /* 1: as it was trained */
} baton_llama_lora;

/* What becomes of the vectors of a text's tokens. */
typedef enum baton_pooling {
    BATON_POOLING_OFF,  /* the handle generates */
    BATON_POOLING_NONE, /* a vector per token; not by baton_llama_embed: BATON_UNSUPPORTED at open */
    BATON_POOLING_MEAN,
    BATON_POOLING_CLS,  /* the first token's */
    BATON_POOLING_LAST, /* the last token's */
    BATON_POOLING_RANK  /* scores of a query with a document: baton_llama_rerank */
} baton_pooling;

/* How a model is opened. */
typedef struct baton_llama_params {
    size_t size;
    const char *chat_template; /* NULL: the model's own. Else a name that libllama knows ("chatml"), or Jinja text it
                                  recognises (llama.h: llama_chat_apply_template) */
    int ctx;        /* tokens per sequence, rounded up to 256; 0: what the model was trained with, at most 4096 */
    int threads;    /* of native calls; 0: cores - 1, at least 1: spinning on all of them collapses on a busy machine */
    int gpu_layers; /* < 0: all that fit */
    int exact;      /* 1: split cache, no flash attention. 0: what is fastest. < 0: 1 without GPU layers, else 0 */
    /* Called on the opening thread as the model loads, 0 to 1; false stops it: BATON_CANCELLED. May be NULL. Not
     * called with owner = process, where the model loads elsewhere. */
    bool (*progress)(void *arg, float done);
    void *progress_arg;
    const baton_policy *policy;    /* NULL: BATON_POLICY */
    const baton_llama_lora *loras; /* part of the handle: every context has them from the first answer on */
    size_t n_loras;
    baton_pooling pooling; /* other than OFF: the handle embeds or ranks, and does not generate. `sequences` texts then
                              go through a context together, unless it is exact */
    const char *mmproj; /* path of the model's projector, a GGUF file, which makes vectors of images: asks may then have
                           images. Each context has one, and its memory. An owner process is handed the open file, and
                           loads it in its sandbox, for which the kernel must have Landlock (else
                           BATON_UNSUPPORTED). NULL: text alone */
} baton_llama_params;
#define BATON_LLAMA_PARAMS                                                                                             \
    { sizeof(baton_llama_params), NULL, 0, 0, 0, -1, NULL, NULL, NULL, NULL, 0, BATON_POOLING_OFF, NULL }

/* Opens a model and makes its contexts.
 *   llama   out; ended by baton_llama_close
 *   path    a GGUF file; NULL: the built-in tiny model
 *   params  NULL: BATON_LLAMA_PARAMS
 * Returns: BATON_OK. BATON_NOT_FOUND, _BAD_MODEL (not a model, truncated, or one that libllama does not know),
 * _INVALID (a combination that cannot be; its text says which), _UNSUPPORTED, _CANCELLED, _NO_MEMORY; with owner =
 * process also _NOT_FOUND (the program baton-owner) and _CRASHED (by this file): *llama is NULL.
 * Threads: any. Blocks: while the model loads. Since: 0.1.0. */
BATON_API baton_status baton_llama_open(baton_llama **llama, const char *path, const baton_llama_params *params,
                                        baton_error *err) BATON_MUST_USE;

/* What opening a model would take, in bytes, before it is spent: read off the file's header, which libllama is not
 * asked for. Compute buffers come on top (some tens of MB for a small model).
 *   path, params  as for baton_llama_open; adapters are not counted
 *   weights       out
 *   contexts      out: the caches of all contexts of the policy, 16-bit keys and values, at most (sliding windows and
 *                 recurrent states take less); 0 where the file does not say its shape
 * Returns: BATON_OK, _NOT_FOUND, _BAD_MODEL, _INVALID, _IO, _MISUSE, _NO_MEMORY. Threads: any. Blocks: while the header
 * is read. Since: 0.1.0. */
BATON_API baton_status baton_llama_estimate(const char *path, const baton_llama_params *params, uint64_t *weights,
                                            uint64_t *contexts, baton_error *err) BATON_MUST_USE;

/* Closes: refuses new requests, gives those that wait BATON_CLOSED, cancels those that run, and frees everything after
 * the last native call has returned.
 *   llama  taken; *llama is NULL after. NULL inside is harmless
 * Its streams stay valid objects whose next is BATON_END, to be closed by their holders.
 * Threads: any, callbacks and the function of baton_llama_run too; no other call may begin on it afterwards. Blocks:
 * for native calls under way, but for those of this thread, and for leases that others hold: what this thread is inside
 * of, or holds a lease or a stream of, is freed when it comes out. Since: 0.1.0. */
BATON_API void baton_llama_close(baton_llama **llama);

/* What a model is. */
typedef struct baton_llama_info {
    size_t size;
    char name[128], description[128];
    int vocab_size, ctx_train;
    int ctx; /* tokens per sequence, as allocated */
    int contexts, sequences;
    uint64_t weight_bytes, context_bytes; /* context_bytes: the caches of all contexts, reckoned from the shape */
    bool exact;                           /* the self-test at open confirmed it */
    bool has_chat_template;
    bool recurrent; /* prompts are never reused in part */
    bool vision;    /* asks may have images */
    /* Not "": its contexts compute on a device of which upstream does not promise that two contexts may use it at once
     * (anything but CPU, CUDA and Metal: "Vulkan"). All contexts of this process that use it take turns there, native
     * call by native call, in order of arrival: docs/choosing.md */
    char device[64];
} baton_llama_info;

/* Fills *info, whose size the caller has set.
 * Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_llama_get_info(const baton_llama *llama, baton_llama_info *info);

/*
 * Tokens and text: on the vocabulary alone, which is safe beside anything (llama.h: "The API is thread-safe"). Unless
 * the owner is the caller's thread, the owner is asked, on a thread that does nothing else but prepare prompts: a long
 * one before may take a moment, contexts that compute do not matter. Then also _CLOSED, _CRASHED (an owner ended, again
 * and again), and _REENTRANT from inside baton_llama_run on this model.
 */

/* The tokens of a text.
 *   text, len      UTF-8, not NUL-terminated necessarily
 *   special        true: the model's own beginning is added, and "<|im_end|>" in the text becomes that token
 *   tokens, n      out; freed with baton_free
 * Returns: BATON_OK, _NO_MEMORY, _TOO_LONG (over 2 GiB). Threads: any. Blocks: as above. Since: 0.1.0. */
BATON_API baton_status baton_llama_tokenize(const baton_llama *llama, const char *text, size_t len, bool special,
                                            int32_t **tokens, size_t *n, baton_error *err) BATON_MUST_USE;

/* The text of tokens, as an answer would show it: control tokens have none, bytes that are no characters are U+FFFD.
 *   text, len  out; NUL-terminated; freed with baton_free
 * Returns: BATON_OK, _INVALID (a token that is not in the vocabulary; its text says which), _NO_MEMORY. Threads: any.
 * Blocks: as above. Since: 0.1.0. */
BATON_API baton_status baton_llama_detokenize(const baton_llama *llama, const int32_t *tokens, size_t n, char **text,
                                              size_t *len, baton_error *err) BATON_MUST_USE;

/* The bytes of one token as they are: perhaps a part of a character, none for a control token.
 *   bytes, len  out; NUL-terminated; freed with baton_free
 * Returns: BATON_OK, _INVALID (not in the vocabulary), _NO_MEMORY. Threads: any. Blocks: as above. Since: 0.1.0. */
BATON_API baton_status baton_llama_piece(const baton_llama *llama, int32_t token, char **bytes, size_t *len,
                                         baton_error *err) BATON_MUST_USE;

/* What a model says of itself. A token that its vocabulary lacks is -1. */
typedef struct baton_llama_details {
    size_t size;
    uint64_t params;
    int layers, width, heads, heads_kv;
    int embedding_width; /* floats in a vector */
    int scores;          /* outputs of its rank head; 0: it has none */
    bool generates;      /* it continues a text; else it only embeds or ranks */
    int32_t bos, eos, eot, sep, newline, pad;
    bool add_bos, add_eos; /* baton_llama_tokenize with `special` puts them there */
} baton_llama_details;

/* Fills *details, whose size the caller has set. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_llama_get_details(const baton_llama *llama, baton_llama_details *details);

/* Whether a token ends an answer. Returns: false for one that is not in the vocabulary. Threads: any. Blocks: never.
 * Since: 0.1.0. */
BATON_API bool baton_llama_is_end(const baton_llama *llama, int32_t token);

/* The i-th key and value of the model's metadata, from 0 until BATON_END.
 *   key, value  out; text; values that are lists are ""; freed with baton_free, each
 * Returns: BATON_OK, _END, _NO_MEMORY. Threads: any. Blocks: as above. Since: 0.1.0. */
BATON_API baton_status baton_llama_metadata(const baton_llama *llama, int i, char **key, char **value,
                                            baton_error *err) BATON_MUST_USE;

/* The value of one key of the metadata, "general.architecture".
 *   value  out; freed with baton_free
 * Returns: BATON_OK, _NOT_FOUND, _NO_MEMORY. Threads: any. Blocks: as above. Since: 0.1.0. */
BATON_API baton_status baton_llama_metadata_get(const baton_llama *llama, const char *key, char **value,
                                                baton_error *err) BATON_MUST_USE;

/* Frees what baton has given: tokens, texts. NULL is harmless. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_free(void *memory);

/*
 * Asking
 */

typedef struct baton_message {
    const char *role, *content; /* "system", "user", "assistant" */
} baton_message;

/* An image of a chat. It is decoded and brought to the model's size before there is a context, on the calling thread or
 * on the owner's second one; its vectors are computed under the lease, or by the owner, in a native call of their own.
 */
typedef struct baton_image {
    const void *bytes; /* of a PNG or JPEG file: at most 32 MiB, and 2^25 pixels */
    size_t size;
    size_t message; /* which of the messages it stands in */
    size_t offset;  /* in front of that byte of its content: 0: before it; its length: behind it */
} baton_image;

typedef struct baton_logit_bias {
    int32_t token;
    float bias; /* added to its logit; -INFINITY forbids it */
} baton_logit_bias;

/* How tokens are drawn, in libllama's order: bias, penalties, top_k, top_p, min_p, temperature, and a draw that depends
 * on the seed and the position alone. */
typedef struct baton_sampling {
    size_t size;
    float temperature;                         /* <= 0: always the likeliest token */
    float top_p;                               /* 1: off */
    int top_k;                                 /* <= 0: off */
    float min_p;                               /* 0: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    float repeat_penalty;                      /* 1: off */
    int penalty_last_n;                        /* tokens that penalties look back; < 0: all */
    uint64_t seed;
    const baton_logit_bias *bias;
    size_t n_bias;
} baton_sampling;
#define BATON_SAMPLING                                                                                                 \
    { sizeof(baton_sampling), 0, 1, 0, 0, 0, 0, 1, 64, 0, NULL, 0 }

/* What is asked. Exactly one of prompt, messages and tokens; with a state, none of them goes on with the answer. */
typedef struct baton_llama_ask {
    size_t size;
    const baton_request *request;  /* NULL: BATON_REQUEST */
    const char *prompt;            /* continued as it stands */
    const baton_message *messages; /* a chat, put into the model's template */
    size_t n_messages;
    const int32_t *tokens;
    size_t n_tokens;
    int max_tokens;           /* < 0: until the context is full */
    const char *const *stops; /* the answer ends before the first of these; at most 16 */
    size_t n_stops;
    const baton_sampling *sampling; /* NULL: BATON_SAMPLING, always the likeliest token */
    const char *grammar;            /* GBNF whose start is the rule "root": the answer is of it. NULL: any text. What is
                                       wrong with it is BATON_INVALID, with the line, before anything is run or, with an
                                       owner thread, as the outcome */
    /* A conversation that baton_llama_save_state has saved: prompt or tokens (a prompt without the model's own
     * beginning; not messages) come after it. With neither, the answer under way goes on as if it had never stopped:
     * give the sampling, stops and grammar that it had. Needs the same model and adapters */
    const void *state;
    size_t state_size;
    const baton_image *images; /* of the messages, in their order there; at most 64; for models with a projector */
    size_t n_images;
} baton_llama_ask;
#define BATON_LLAMA_ASK                                                                                                \
    { sizeof(baton_llama_ask), NULL, NULL, NULL, 0, NULL, 0, -1, NULL, 0, NULL, NULL, NULL, 0, NULL, 0 }

/* An answer, whole. Belongs to the request that asked: nobody else's call can change it. */
typedef struct baton_result {
    char *text; /* NUL-terminated; after generate never NULL, but with BATON_NO_MEMORY. With another status than
                   BATON_OK it is what there was, and cut */
    size_t len;
    baton_outcome outcome;
} baton_result;

/* Asks and waits for the whole answer.
 *   ask     borrowed for the call
 *   result  out; its text is freed with baton_result_free, whatever was returned
 * Returns: BATON_OK: complete. Refused, nothing was run: _BUSY (its text names the holder and the cure), _REENTRANT,
 * _WOULD_DEADLOCK, _QUEUE_FULL, _QUEUE_TIMEOUT, _CLOSED, _INVALID (of an image, its text says which one and what was
 * expected), _TOO_LONG (both numbers in the text), _UNSUPPORTED.
 * Cut: _RUN_TIMEOUT, _CANCELLED, _CLOSED, _FAILED. _NO_MEMORY.
 * Threads: any. Blocks: until the answer is complete or one of these. Since: 0.1.0. */
BATON_API baton_status baton_llama_generate(baton_llama *llama, const baton_llama_ask *ask, baton_result *result,
                                            baton_error *err) BATON_MUST_USE;

/* Frees an answer's text and clears it. Twice is harmless. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_result_free(baton_result *result);

/* Asks for the answer piece by piece.
 *   ask     borrowed for the call
 *   stream  out; ended by baton_stream_close
 * Returns: BATON_OK: *stream is there. With an owner thread it may still be queued: a later refusal is its outcome.
 * With the owner on the caller's thread it holds a lease from now to its close; waiting for that happens here. Refusals
 * as for generate: *stream is NULL. Unless the owner is the caller's thread, the request's id is the stream's until
 * that is closed: another request that names it is _INVALID. Threads: any. Blocks: under BATON_WAIT with owner =
 * caller, until there is a context. Since: 0.1.0. */
BATON_API baton_status baton_llama_stream(baton_llama *llama, const baton_llama_ask *ask, baton_stream **stream,
                                          baton_error *err) BATON_MUST_USE;

/* Asks, and calls `on_delta` with each piece on this thread as it comes.
 *   on_delta  false stops the answer. It may ask other models; asking this one gets BATON_REENTRANT when it would have
 *             to wait, whatever the policy: the answer that it would wait for waits for this callback. It may close the
 *             model: the answer then ends
 *   outcome   out, may be NULL: exactly one. BATON_CANCELLED when on_delta stopped it (what was delivered is cut), or
 *             BATON_OK when that was its last piece
 * Returns: the outcome's status, or a refusal as for generate: then nothing was delivered. Threads: any. Blocks: until
 * the answer is complete or cut. Since: 0.1.0. */
BATON_API baton_status baton_llama_generate_cb(baton_llama *llama, const baton_llama_ask *ask,
                                               bool (*on_delta)(void *arg, const baton_delta *delta), void *arg,
                                               baton_outcome *outcome, baton_error *err) BATON_MUST_USE;

/* Ends the request of that id, queued or running, with BATON_CANCELLED, within one native step; touches no other.
 * Returns: true if there was one. An answer that is complete at that moment stays complete. Threads: any, callbacks
 * too. Blocks: never on native code; with owners of their own for the moment that the I/O thread takes. Since: 0.1.0.
 */
BATON_API bool baton_llama_cancel(baton_llama *llama, uint64_t id);

/* Empties the caches of the model's contexts, those that are in use after they are given back. With another owner than
 * the caller's thread, of each sequence; what runs meanwhile is waited for whole, also an answer that nobody reads.
 *   request  NULL: BATON_REQUEST. BATON_REFUSE: what is idle is emptied, and BATON_BUSY names who holds the rest.
 *            BATON_WAIT: all of them are waited for, within queue_ms for each context; of two threads that reset at
 *            once one may get BATON_WOULD_DEADLOCK
 * Returns: BATON_OK: all are empty, or were since the call. Refusals as for generate. Threads: any. Blocks: under
 * BATON_WAIT. Since: 0.1.0. */
BATON_API baton_status baton_llama_reset(baton_llama *llama, const baton_request *request,
                                         baton_error *err) BATON_MUST_USE;

/*
 * Conversations that outlive their context
 */

/* The conversation of a stream so far, prompt and answer, as bytes that an ask goes on from (baton_llama_ask's state):
 * here, in another handle of this model, or in another process, under whatever policy. An owner that is ahead of the
 * reader saves what was read. Where a context of another shape goes on (sequences, exact), or where the owner has used
 * the cache for others meanwhile, the tokens are computed anew: with exact the answer is the same.
 *   stream       between two reads, or read to its end; goes on unharmed
 *   state, size  out; freed with baton_free. They are checked when they come back: damage and other models are
 *                BATON_INVALID
 * Returns: BATON_OK. _AGAIN: nothing was read from the stream yet, or its owner has just ended and another one takes it
 * up. _BUSY: another thread is in a call on it. _STALE: its lease is gone; or it has ended, and 64 others after it, or
 * its owner. _CLOSED. _TOO_LONG (over 2 GiB). _NO_MEMORY. Threads: any, one at a time. Blocks: for a copy; unless the
 * owner is the caller's thread, for a native step. Since: 0.1.0. */
BATON_API baton_status baton_llama_save_state(baton_stream *stream, void **state, size_t *size,
                                              baton_error *err) BATON_MUST_USE;

/* The same into a file, which is replaced whole or not at all.
 * Returns: as baton_llama_save_state; _IO. Threads: any, one at a time. Blocks: for the disk. Since: 0.1.0. */
BATON_API baton_status baton_llama_save_state_file(baton_stream *stream, const char *path,
                                                   baton_error *err) BATON_MUST_USE;

/* Reads such a file, and checks that it is one and whole.
 *   state, size  out; freed with baton_free
 * Returns: BATON_OK, _NOT_FOUND, _IO, _INVALID (no saved state, or damaged), _NO_MEMORY. Threads: any. Blocks: for the
 * disk. Since: 0.1.0. */
BATON_API baton_status baton_llama_load_state(const char *path, void **state, size_t *size,
                                              baton_error *err) BATON_MUST_USE;

/*
 * Vectors and scores: of a handle that was opened with a pooling
 */

/* Vectors of texts, in their order. */
typedef struct baton_embeddings {
    float *values; /* n x dim, one text after the other */
    size_t n;
    int dim;
    baton_pooling pooling;
    bool normalised;
    uint32_t *tokens; /* n: how many each text had */
} baton_embeddings;

/* The vector of one text.
 *   request    NULL: BATON_REQUEST
 *   text       NUL-terminated
 *   normalise  true: of length 1
 *   out        freed with baton_embeddings_free, whatever was returned
 * Returns: BATON_OK. Refusals as for generate. _TOO_LONG (both numbers in the text; a text is never cut in silence),
 * _INVALID (no tokens), _UNSUPPORTED (the handle generates: open one with a pooling), _CANCELLED, _RUN_TIMEOUT.
 * Threads: any. Blocks: under BATON_WAIT until there is a context; while it is computed. Since: 0.1.0. */
BATON_API baton_status baton_llama_embed(baton_llama *llama, const baton_request *request, const char *text,
                                         bool normalise, baton_embeddings *out, baton_error *err) BATON_MUST_USE;

/* The vectors of n texts in one request; an error names the text by its number, and there are then none.
 * Parameters and returns as for embed. Threads: any. Blocks: as embed. Since: 0.1.0. */
BATON_API baton_status baton_llama_embed_batch(baton_llama *llama, const baton_request *request,
                                               const char *const *texts, size_t n, bool normalise,
                                               baton_embeddings *out, baton_error *err) BATON_MUST_USE;

/* Frees vectors and clears the struct. Twice is harmless. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_embeddings_free(baton_embeddings *embeddings);

/* The same, one vector at a time: for more texts than vectors fit into memory. The slot is held from the first to the
 * last. An owner process that ends in between ends this with BATON_CRASHED: the texts before are not kept.
 *   next       gives the next text, valid until it is called again; NULL: there are no more
 *   on_vector  takes its vector, valid for the call; false stops: BATON_CANCELLED
 *              Both run on this thread and may use other models; using this one gets BATON_REENTRANT
 * Returns: as embed. Threads: any. Blocks: as embed. Since: 0.1.0. */
BATON_API baton_status baton_llama_embed_each(baton_llama *llama, const baton_request *request,
                                              const char *(*next)(void *arg),
                                              bool (*on_vector)(void *arg, const float *values, int dim), void *arg,
                                              bool normalise, baton_error *err) BATON_MUST_USE;

/* How well each of n documents answers a query: larger is better, the scale is the model's own.
 *   scores  out: n of the caller's floats
 * Returns: as embed; _UNSUPPORTED: the handle was not opened with BATON_POOLING_RANK, which a model without a rank head
 * refuses at open. Threads: any. Blocks: as embed. Since: 0.1.0. */
BATON_API baton_status baton_llama_rerank(baton_llama *llama, const baton_request *request, const char *query,
                                          const char *const *documents, size_t n, float *scores,
                                          baton_error *err) BATON_MUST_USE;

/*
 * llama.h by hand
 */

/* As the overlay of llama.h declares it (baton/overlay/llama.h), so that either may come first. */
struct BATON_CAPABILITY("context") llama_context;

/* Acquires one of the model's contexts, for calls of llama.h of your own.
 *   request  NULL: BATON_REQUEST, and what it leaves open as the model's policy says; its run_ms is not looked at
 *   lease    out; released with baton_lease_release. BATON_RESET empties the cache and takes the abort callback off;
 *            leave everything else that you set (adapters, threads, attention) as you found it. With BATON_KEEP the
 *            next one who acquires finds the cache as it is; generate and stream begin with an empty one in any case
 * Returns: as baton_lease_acquire; BATON_UNSUPPORTED with an owner thread: baton_llama_run is the way there.
 * Threads: any. Blocks: under BATON_WAIT until there is a context. Since: 0.1.0. */
BATON_API baton_status baton_llama_acquire(baton_llama *llama, const baton_request *request, baton_lease *lease,
                                           baton_error *err) BATON_MUST_USE BATON_TRY_ACQUIRE(0, lease);

/* The native context, between baton_lease_begin and _end of this lease, on the thread that began: read results there,
 * too. (begin's own `context` is the same pointer.) Clang counts what it returns as held where it is used on the spot:
 * llama_decode(baton_llama_context(&lease), batch).
 * Returns: NULL anywhere else, and the misuse handler is told. Threads: the one that is inside. Blocks: never.
 * Since: 0.1.0. */
BATON_API struct llama_context *baton_llama_context(const baton_lease *lease) BATON_REQUIRES(lease, lease->pool)
    BATON_RETURNS_HELD(lease->pool);

/* How contexts are adopted. */
typedef struct baton_llama_adopt_params {
    size_t size;
    bool taken;                 /* true: close frees the contexts (llama_free). false: they are the program's again */
    const char *chat_template;  /* as in baton_llama_params */
    const baton_policy *policy; /* NULL: BATON_POLICY. Owner: the caller; `contexts` is n, whatever it says */
} baton_llama_adopt_params;
#define BATON_LLAMA_ADOPT_PARAMS                                                                                       \
    { sizeof(baton_llama_adopt_params), false, NULL, NULL }

/* A baton_llama over contexts that the program made, for programs that move over step by step: what they still do by
 * hand they do under a lease (baton_llama_acquire), the rest through baton; no call on the contexts is made beside that
 * until close. Made by the same libllama that baton is linked to; its log stays as the program has set it.
 *   llama     out; ended by baton_llama_close
 *   contexts  n (1 .. 64) of one model, each with one sequence (n_seq_max = 1); the array is borrowed for the call, and
 *             the contexts taken or borrowed until close, as params say. Their model is the program's, and must live
 *             until after close. Their caches stay as they are until the first reset or answer
 *   params    NULL: BATON_LLAMA_ADOPT_PARAMS
 * Its info says exact = false: how the contexts were made is not known to baton.
 * Returns: BATON_OK. _INVALID (two models, the same context twice, several sequences), _UNSUPPORTED (an owner thread; a
 * model that does not generate), _MISUSE, _NO_MEMORY: *llama is NULL, the contexts are the program's as before.
 * Threads: any; nobody is in the contexts. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_llama_adopt(baton_llama **llama, struct llama_context *const *contexts, int n,
                                         const baton_llama_adopt_params *params, baton_error *err) BATON_MUST_USE;

/* Runs your function where the native code runs, with the context, and nobody else in it: on the owner's thread between
 * its native calls, or on this thread under a lease. Leave the sequences alone that you did not make: with an owner
 * thread they are answers under way.
 *   run  called once with a struct llama_context; must not call baton on this model (BATON_REENTRANT)
 * Returns: as generate's refusals; BATON_UNSUPPORTED when the model is not libllama's, and with owner = process.
 * Threads: any. Blocks: until run has returned. Since: 0.1.0. */
BATON_API baton_status baton_llama_run(baton_llama *llama, const baton_request *request,
                                       void (*run)(void *arg, struct llama_context *context), void *arg,
                                       baton_error *err) BATON_MUST_USE;

/* Fills *counts, whose size the caller has set.
 * Threads: any. Blocks: as baton_llama_cancel. Since: 0.1.0. */
BATON_API void baton_llama_get_counts(const baton_llama *llama, baton_counts *counts);

/* A snapshot of the model's contexts, as baton_pool_snapshot. With an owner thread or processes it is all of one
 * instant, and tells each request under way and how each owner is.
 * Returns: also BATON_CLOSED while the model is being closed, and BATON_REENTRANT on the thread that would have to
 * answer, in a log handler. Threads: any. Blocks: never on native code; with owners of their own for the moment that
 * the I/O thread takes to answer. It looks up threads' names in /proc. Since: 0.1.0. */
BATON_API baton_status baton_llama_snapshot(const baton_llama *llama, baton_snapshot *snapshot,
                                            baton_error *err) BATON_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
