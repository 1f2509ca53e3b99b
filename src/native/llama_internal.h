/* The parts of the libllama implementation: backends and log (llama_backend.c), model and vocabulary (llama_model.c),
 * its files (llama_files.c), its facts (llama_details.c), its adapters (llama_adapter.c), chat template (llama_chat.c),
 * context (llama_context.c), its states (llama_state.c), embeddings (llama_embed.c), images (llama_vision.c), sampler
 * (llama_sampler.c, llama_grammar.c). */
#ifndef BT_LLAMA_INTERNAL_H
#define BT_LLAMA_INTERNAL_H

#include <llama.h>
#include <stdio.h>

#include "native/native.h"

struct bt_llama_model {
    /* immutable once open: any thread may use it */
    struct bt_model base;
    struct llama_model *model;
    const struct llama_vocab *vocab;
    int vocab_size;
    char *path;
    char *chat_template;    /* NULL: the model's own */
    uint64_t fingerprint;   /* of the file: states of another model are refused */
    int scores;             /* outputs of its rank head; 0: it has none */
    bool learned_positions; /* they end where training did, and the process with them */
    bool borrowed;          /* the program's: not freed here */
    char *mmproj;           /* path of its projector; NULL: none */
    int mmproj_file;        /* borrowed from whoever opened the model, for its life; < 0: the path is opened */
    bool on_gpu;            /* where the projector runs */
    struct bt_llama_eye *eye;
    /* libllama keeps the adapters of a model in a set that it does not guard */
    pthread_mutex_t adapters_lock;
};

/* A llama_context: one thread at a time. */
struct bt_llama_context {
    struct bt_context base;
    /* fixed at creation */
    const struct bt_llama_model *model;
    struct llama_context *ctx;
    llama_memory_t memory; /* NULL: it only embeds */
    int sequences, rows_max, vocab_size;
    enum bt_pooling pooling;
    bool exact, borrowed;     /* borrowed: the program frees it */
    struct bt_llama_eye *eye; /* NULL: it reads text alone */
    /* the one owner */
    struct llama_batch batch;
    uint64_t adapters; /* which, with their scales; 0: none */
};

static inline struct bt_llama_context *bt_llama_context_of(const struct bt_context *c) {
    return (struct bt_llama_context *)BT_CONTAINER(c, const struct bt_llama_context, base);
}

static inline struct bt_llama_model *bt_llama_model_of(const struct bt_model *m) {
    return (struct bt_llama_model *)BT_CONTAINER(m, const struct bt_llama_model, base);
}

/* Loads the backends, once per process. */
baton_status bt_llama_start(baton_error *err);

/* The one logger of ggml, libllama and libwhisper: process-wide in all three, each setting it overwrites the others'.
 */
void bt_native_log(enum ggml_log_level level, const char *text, void *arg);

/* What the native library says at error level on this thread between the two calls goes to `causes`, a line each. */
void bt_llama_listen(struct bt_buf *causes);
const char *bt_llama_heard(struct bt_buf *causes); /* one line for an error text; lives as long as causes */

baton_status bt_llama_chat(const struct bt_model *m, const struct bt_chat_message *messages, size_t n,
                           struct bt_buf *out, baton_error *err);
baton_status bt_llama_check_template(const char *chat_template, baton_error *err);

/* Over a context that is there already; rows as it was made for. */
baton_status bt_llama_context_wrap(const struct bt_llama_model *m, struct llama_context *native, struct bt_context **c,
                                   baton_error *err);
baton_status bt_llama_context_open(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                                   baton_error *err);
baton_status bt_llama_sampler_open(const struct bt_model *m, const struct bt_sampling *sampling,
                                   const bt_token *history, size_t n, struct bt_sampler **s, baton_error *err);
bt_token bt_llama_sampler_pick(struct bt_sampler *s, const float *logits, int32_t n, uint64_t index);

baton_status bt_llama_grammar_open(const struct bt_llama_model *m, const char *text, struct llama_sampler **grammar,
                                   baton_error *err);
bool bt_llama_grammar_admits(struct llama_sampler *grammar, bt_token token);
/* Keeps the candidates that it admits, in their order; returns how many. */
size_t bt_llama_grammar_filter(struct llama_sampler *grammar, llama_token_data *candidates, size_t n);

/* llama_details.c */
void bt_llama_details(const struct bt_model *m, struct bt_model_details *details);
bool bt_llama_metadata(const struct bt_model *m, int i, struct bt_buf *key, struct bt_buf *value);
baton_status bt_llama_detokenize(const struct bt_model *m, const bt_token *tokens, size_t n, bool special,
                                 struct bt_buf *out, baton_error *err);
/* A number made of the file's size and of blocks all over it; 0: it cannot be read. */
uint64_t bt_llama_fingerprint(int fd);
uint64_t bt_llama_fingerprint_of(const char *path);

/* llama_files.c */
/* Says what libllama would only say in its log. */
baton_status bt_llama_check_file(const char *path, int fd, baton_error *err);
/* The same for a path. */
baton_status bt_llama_check_path(const char *path, baton_error *err);
/* The file from its beginning, as a FILE of its own; NULL: no memory. */
FILE *bt_llama_reopen(int file);
/* Once more from the beginning of the descriptors; NULL: it failed, and the log says why. */
struct llama_model *bt_llama_load_files(const int *files, size_t n, struct llama_model_params params);

/* llama_adapter.c */
baton_status bt_llama_adapter_open(struct bt_model *m, const char *path, struct bt_adapter **a, baton_error *err);
void bt_llama_adapter_free(struct bt_model *m, struct bt_adapter *a);
baton_status bt_llama_set_adapters(struct bt_context *c, struct bt_adapter *const *adapters, const float *scales,
                                   size_t n, baton_error *err);

/* llama_state.c */
size_t bt_llama_state_size(struct bt_context *c, int seq);
size_t bt_llama_state_get(struct bt_context *c, int seq, unsigned char *to, size_t size);
baton_status bt_llama_state_set(struct bt_context *c, int seq, const unsigned char *from, size_t size,
                                baton_error *err);

/* llama_vision.c, or llama_vision_none.c. An eye is libmtmd's context: a context's own, and its owner's alone. */
struct bt_llama_eye;
bool bt_llama_has_vision(void); /* this build can */
baton_status bt_llama_vision_open(struct bt_llama_model *m, const struct bt_model_params *params, baton_error *err);
void bt_llama_vision_close(struct bt_llama_model *m);
/* For a context that is being made: NULL when the model has no projector. Any thread. */
baton_status bt_llama_eye_get(const struct bt_llama_model *m, int threads, struct bt_llama_eye **eye, baton_error *err);
void bt_llama_eye_give(const struct bt_llama_model *m, struct bt_llama_eye *eye); /* NULL is harmless */
void bt_llama_eye_abort(struct bt_llama_eye *eye, bool (*abort_hook)(void *arg), void *arg);
baton_status bt_llama_chunks(const struct bt_model *m, const char *text, size_t len, const char *mark,
                             const struct bt_image *images, size_t n, struct bt_chunks **chunks, baton_error *err);
enum bt_decode bt_llama_image(struct bt_context *c, const struct bt_chunks *chunks, size_t i, int seq, int32_t pos);

/* llama_embed.c */
bool bt_llama_embeds_only(const struct bt_llama_model *m);
void bt_llama_look_into(struct bt_llama_model *m, const int *files, size_t n); /* fills what only the files know */
baton_status bt_llama_embed_check(const struct bt_llama_model *m, enum bt_pooling pooling, baton_error *err);
void bt_llama_embed_params(const struct bt_llama_model *m, const struct bt_context_params *params,
                           struct llama_context_params *p);
int bt_llama_embed_width(const struct bt_context *c);
baton_status bt_llama_embed(struct bt_context *c, const struct bt_input *inputs, size_t n, bool normalise, float *out,
                            baton_error *err);
baton_status bt_llama_pair(const struct bt_model *m, const char *query, const char *document, bt_token **tokens,
                           size_t *n, baton_error *err);

#endif
