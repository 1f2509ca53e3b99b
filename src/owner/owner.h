/* The loop that owns one context: frames in, batched native calls, frames out. It runs on whatever thread calls
 * bt_owner_run, and that thread alone touches the context; a second thread of its own prepares prompts (template,
 * tokens, sampler), on the model only. No lock is taken in either.
 *
 * The loop cannot tell whether its peer is a thread or a process: all it has is a socket. */
#ifndef BT_OWNER_H
#define BT_OWNER_H

#include "native/native.h"
#include "wire/frame.h"

/* Somebody's code that wants to run between two native calls, on the owner's thread: travels as a pointer through a
 * pipe, hence only within a process. */
struct bt_visit {
    void (*run)(void *arg, void *native); /* the native context; NULL when the implementation has none */
    void *arg;
    void (*done)(struct bt_visit *visit, bool ran); /* the last to touch the visit. ran false: the owner has ended */
};

struct bt_owner_params {
    struct bt_model *model; /* borrowed; outlives the run */
    struct bt_context_params context;
    int fd;     /* borrowed: a stream socket, non-blocking */
    int visits; /* borrowed: a non-blocking pipe of struct bt_visit pointers; -1: nobody visits */
};

/* Opens the context, says READY (or FATAL), serves until CLOSE or the peer is gone, frees the context. */
void bt_owner_run(const struct bt_owner_params *params);

/* Three decodes of the same tokens, cut differently: true if the logits agree to the bit. */
bool bt_exact_selftest(struct bt_context *c, const struct bt_model *m, int sequences);

/* _INVALID names the first token that the model does not have. */
baton_status bt_check_tokens(const struct bt_model *m, const bt_token *tokens, size_t n, baton_error *err);

/* What BT_POOL_AUTO is for this model, if it generates and if it does not; any other is itself. */
enum bt_pooling bt_pooling_for(const struct bt_model *m, enum bt_pooling asked, bool generates);

/* A chat in the model's template, as tokens; *tokens is malloc'd. */
baton_status bt_chat_tokens(const struct bt_model *m, const struct bt_chat_message *messages, size_t n_messages,
                            bt_token **tokens, size_t *n, baton_error *err);

/* A chat with images, which stand in it in their order, in the model's template: as chunks, and as the list of tokens
 * that they are, with BT_TOKEN_IMAGE for each place of an image. *tokens is malloc'd. _INVALID: an image that is none,
 * too large, or nowhere in the chat; its text says which. */
baton_status bt_chat_chunks(const struct bt_model *m, const struct bt_chat_message *messages, size_t n_messages,
                            const struct bt_image *images, size_t n_images, struct bt_chunks **chunks,
                            bt_token **tokens, size_t *n, baton_error *err);

/* A sampler looks back at text alone: this without its images, malloc'd. */
baton_status bt_text_tokens(const bt_token *tokens, size_t n, bt_token **text, size_t *n_text, baton_error *err);

/* Which chunk begins at a position. */
size_t bt_chunk_at(const struct bt_chunks *chunks, int32_t pos);

/* What chunks promise, held against a context whose decodes carry `chunk` rows: _TOO_LONG, _INVALID. */
baton_status bt_check_chunks(const struct bt_chunks *chunks, int chunk, baton_error *err);

/* Generation in the caller's thread, one request alone on sequence `seq`: what owner = caller runs under its lease,
 * and what every batched answer is compared with. */
struct bt_run {
    const bt_token *prompt;
    size_t n_prompt;
    struct bt_chunks
        *chunks;        /* the prompt again, when there are images in it; taken by the opening, also when it fails */
    int32_t max_tokens; /* < 0: until the context is full */
    int32_t chunk;      /* prefill rows per decode; 0: 512 */
    const struct bt_sampling *sampling;
    const struct bt_text *stops; /* may be NULL */
    size_t n_stops;
    /* May be NULL; false stops. Token -1: text of earlier tokens that was held back until the answer's end. The texts
     * together are the result's. */
    bool (*on_token)(void *arg, bt_token token, const char *text, size_t len);
    bool (*cancelled)(void *arg); /* may be NULL; asked before each native call, and inside between graph nodes */
    void *arg;
    int64_t run_ms; /* from the opening; 0: no limit; < 0: it has passed */
    /* A conversation that goes on. All borrowed for the opening, which copies. */
    const bt_token *resume; /* of the answer, made earlier: not in the result, and not counted by max_tokens */
    size_t n_resume;
    const unsigned char *cache; /* a state of the first `cached` of prompt and resume; NULL: none */
    size_t cache_size;
    int32_t cached;
};
struct bt_run_result {
    struct bt_buf text;
    bt_token *tokens; /* malloc */
    size_t n_tokens;
    bool full;             /* ended because the context or max_tokens was */
    enum bt_finish finish; /* NONE: it was cut */
    bool partial;          /* it was cut: the text is good as far as it goes, and must not be told as finished */
    size_t n_prompt;
    uint64_t prefill_ns, decode_ns; /* up to the first token, and after */
};
baton_status bt_run_alone(struct bt_context *c, const struct bt_model *m, int seq, const struct bt_run *run,
                          struct bt_run_result *result, baton_error *err);
void bt_run_result_free(struct bt_run_result *r);

/* The same, pulled token by token. Opening copies what it needs of the run, but for `cancelled` and its argument
 * (on_token is not called), and touches no context. Between two pulls the context must not be used for that sequence.
 */
struct bt_generator;
struct bt_delta {
    bt_token token;   /* -1: none, text that was held back */
    const char *text; /* valid until the next pull; whole UTF-8 characters; may be empty */
    size_t len;
};
baton_status bt_generator_open(const struct bt_model *m, int capacity, int seq, const struct bt_run *run,
                               struct bt_generator **g, baton_error *err);
void bt_generator_start_clock(struct bt_generator *g); /* run_ms counts from here instead */
/* One native step. BATON_OK: a delta; _END: the answer is complete; else how it was cut (the delta may still hold text
 * that was held back), the same at every later pull. */
baton_status bt_generator_next(struct bt_generator *g, struct bt_context *c, struct bt_delta *delta, baton_error *err);
/* The conversation so far, as bt_saved_get takes it, into *out, which it empties first. The generator
 * goes on unharmed. _AGAIN: not begun; _UNSUPPORTED: there are images in it. */
baton_status bt_generator_save(struct bt_generator *g, struct bt_context *c, struct bt_buf *out, baton_error *err);
/* Ends it here: what there is is partial. Nothing happens if it has ended. */
void bt_generator_stop(struct bt_generator *g, baton_status why, const char *text);
/* BATON_OK: complete; _AGAIN: not ended; else how it was cut. */
baton_status bt_generator_outcome(const struct bt_generator *g, baton_error *err);
void bt_generator_take(struct bt_generator *g, struct bt_run_result *result); /* once; the caller frees it */
void bt_generator_free(struct bt_generator *g);

#endif
