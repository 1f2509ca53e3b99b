/* What an owner needs of an inference library, as two tables of functions: a model (immutable, shared freely) and a
 * context (one owner at a time). native/llama.c and native/fake.c implement them; nobody else calls a native library.
 * No native type appears here.
 *
 * Threads: functions on a model may be called from any thread at once. Functions on a context need the context's
 * lease or its owner loop: one thread at a time, and the getter that reads results counts as use. */
#ifndef BT_NATIVE_H
#define BT_NATIVE_H

#include "base/base.h"

typedef int32_t bt_token;

struct bt_model;
struct bt_context;
struct bt_sampler;
struct bt_adapter;
struct bt_device;

/* An image file of a request, and where in its chat it stands. Same as baton_image. */
struct bt_image {
    const void *bytes; /* of a PNG or JPEG file; borrowed */
    size_t len;
    size_t message, offset; /* in front of that byte of that message's content */
};

enum { BT_IMAGES_MAX = 64 }; /* in a request */

struct bt_lora {
    const char *path; /* borrowed */
    float scale;
};

struct bt_model_params {
    const char *path;          /* borrowed; NULL: the built-in model. "fake:KEY=VALUE,..." is the fake native */
    const char *chat_template; /* borrowed; NULL: the model's own */
    int gpu_layers;            /* < 0: all that fit */
    bool facts_only;           /* metadata and vocabulary, no weights: for info, metadata and tokens alone */
    bool (*progress)(void *arg, float done); /* may be NULL; false stops the load */
    void *progress_arg;
    const struct bt_lora *loras; /* borrowed; every context that bt_context_open makes has them */
    size_t n_loras;
    const char *mmproj; /* borrowed; the projector that makes vectors of images; NULL: the model reads text alone */
    int threads;        /* of the projector; 0: as bt_context_params */
    /* Descriptors to load from instead of the path, which is then only shown: the file, or the pieces of a split one in
     * their order. Borrowed for the opening, which moves their offsets. */
    const int *files;
    size_t n_files;        /* 0: open path */
    const int *lora_files; /* the same for each adapter; NULL: open their paths */
    const int
        *mmproj_file; /* the same for the projector, which is opened anew as /proc/self/fd/N; NULL: open its path */
    int starts; /* how many owners of the context, each with this model, came before: the fake's knob lives counts it */
};

struct bt_model_info {
    char name[128];        /* for /v1/models: general.name, else the file's base name */
    char description[128]; /* architecture, size, quantisation */
    int vocab_size, ctx_train;
    uint64_t bytes; /* of the weights */
    bool recurrent; /* recurrent, hybrid or SWA: a prefix cannot be trimmed, prefill again */
    bool has_chat_template;
    bool vision; /* it was opened with a projector */
};

struct bt_chat_message {
    const char *role, *content; /* borrowed, NUL-terminated */
};

/* What a model says of itself beyond what every request needs. A token that the vocabulary lacks is -1. */
struct bt_model_details {
    uint64_t params;
    int layers, width, heads, heads_kv;
    int embedding_width; /* floats in a vector of BT_POOL_MEAN, _CLS, _LAST, _NONE */
    int scores;          /* outputs of its rank head; 0: it has none */
    bool generates;      /* it continues a text; else it only embeds or ranks */
    bt_token bos, eos, eot, sep, newline, pad;
    bool add_bos, add_eos; /* tokenize puts them there */
};

/* What becomes of the vectors of an input's tokens. OFF: the context generates and embeds nothing. AUTO is an owner's:
 * OFF if the model generates, else what it was made for. */
enum bt_pooling { BT_POOL_OFF, BT_POOL_NONE, BT_POOL_MEAN, BT_POOL_CLS, BT_POOL_LAST, BT_POOL_RANK, BT_POOL_AUTO };

/* Models are trained with lengths whose cache would not fit into most machines several times over. */
enum { BT_CTX_PRESET = 4096 };

struct bt_context_params {
    int sequences;           /* >= 1 */
    int ctx;                 /* cells per sequence; 0: what the model was trained with, at most BT_CTX_PRESET */
    int threads;             /* 0: cores - 1, at least 1 */
    int chunk;               /* the most tokens one decode may carry; 0: 512 */
    bool exact;              /* split KV cache, flash attention off: bit-identical logits in any company */
    enum bt_pooling pooling; /* other than OFF: a context for embed alone */
};

/* A row of a decode: one token at one position of one sequence. */
struct bt_row {
    bt_token token;
    int32_t pos;
    int32_t seq;
    bool want_logits;
};

/* Sampling as the OpenAI API and libllama name it. */
struct bt_sampling {
    float temperature;       /* <= 0: greedy */
    float top_p;             /* 1: off */
    int top_k;               /* <= 0: off */
    float min_p;             /* 0: off */
    float presence_penalty;  /* 0: off */
    float frequency_penalty; /* 0: off */
    float repeat_penalty;    /* 1: off */
    int penalty_last_n;      /* how many tokens back penalties look; < 0: the whole context */
    uint64_t seed;
    const struct bt_logit_bias {
        bt_token token;
        float bias;
    } * bias; /* borrowed for the call that takes this struct */
    size_t n_bias;
    const char *grammar; /* GBNF whose start is the rule "root"; borrowed for the call; NULL or "": none */
};
/* What sample returns when the grammar admits nothing more: is_end says yes to it. */
enum { BT_TOKEN_END = -2 };
/* A place of the context that an image takes, in a list of tokens. Never sampled, never in a vocabulary. */
enum { BT_TOKEN_IMAGE = -3 };
#define BT_SAMPLING_DEFAULT                                                                                            \
    { .temperature = 0, .top_p = 1, .repeat_penalty = 1, .penalty_last_n = 64 }

/* How many rows of one decode may want logits: room for them is kept in the size of the vocabulary. */
#define BT_LOGITS_MAX(sequences) ((sequences) > 16 ? (sequences) : 16)

/* One text to embed. */
struct bt_input {
    const bt_token *tokens; /* borrowed */
    size_t n;
};

/* A prompt with images, cut into what one native call takes. It is a request's own, immutable, and freed before its
 * model by its own free; any thread may read it. */
struct bt_chunk {
    const bt_token *tokens; /* NULL: an image */
    int32_t n;              /* places in the context */
    bool whole;             /* they see each other: no more of them than one decode may carry */
};
struct bt_chunks {
    void (*free)(struct bt_chunks *chunks);
    struct bt_chunk *list;
    size_t n;
};
static inline void bt_chunks_free(struct bt_chunks *chunks) {
    if (chunks)
        chunks->free(chunks);
}

/* What a decode left behind (llama.h, llama_decode). */
enum bt_decode {
    BT_DECODE_OK,
    BT_DECODE_FULL,    /* no room in the KV cache; nothing was changed */
    BT_DECODE_ABORTED, /* the abort hook said so; part of the rows may be in: read pos_max of every sequence */
    BT_DECODE_INVALID, /* the rows make no sense, or more than BT_LOGITS_MAX want logits; nothing was changed */
    BT_DECODE_FAILED,  /* part of the rows may be in: read pos_max of every sequence */
};

struct bt_model_ops {
    void (*free)(struct bt_model *m); /* after the last context of it */
    void (*info)(const struct bt_model *m, struct bt_model_info *info);
    /* Tokens of text, into *tokens (malloc, given). parse_special: "<|im_end|>" in the text becomes that token. */
    baton_status (*tokenize)(const struct bt_model *m, const char *text, size_t len, bool add_special,
                             bool parse_special, bt_token **tokens, size_t *n, baton_error *err);
    /* Appends the bytes of one token; control tokens have none. May be part of a UTF-8 character. */
    void (*piece)(const struct bt_model *m, bt_token token, struct bt_buf *out);
    bool (*is_end)(const struct bt_model *m, bt_token token); /* end of generation */
    /* The chat as the one text that the model was trained on, with the opening of the assistant's turn and without the
     * beginning-of-text that tokenize adds. */
    baton_status (*chat)(const struct bt_model *m, const struct bt_chat_message *messages, size_t n, struct bt_buf *out,
                         baton_error *err);
    baton_status (*context)(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                            baton_error *err);
    /* A sampler belongs to one request. Its draw at index i depends on the seed and i alone. `history`: the prompt,
     * for penalties (borrowed for the call); a grammar begins with the answer, it is fed by accept alone. */
    baton_status (*sampler)(const struct bt_model *m, const struct bt_sampling *sampling, const bt_token *history,
                            size_t n, struct bt_sampler **s, baton_error *err);
    void (*details)(const struct bt_model *m, struct bt_model_details *details);
    /* The i-th key and value of the file, as text, appended; values that are lists are left empty. False: no i-th. */
    bool (*metadata)(const struct bt_model *m, int i, struct bt_buf *key, struct bt_buf *value);
    /* The text of a list of tokens, appended: what tokenize was given, as far as the vocabulary can say it. `special`:
     * control tokens are written out. _INVALID names a token that there is not. */
    baton_status (*detokenize)(const struct bt_model *m, const bt_token *tokens, size_t n, bool special,
                               struct bt_buf *out, baton_error *err);
    /* A query and a document as the one input that BT_POOL_RANK scores; *tokens is malloc'd. */
    baton_status (*pair)(const struct bt_model *m, const char *query, const char *document, bt_token **tokens,
                         size_t *n, baton_error *err);
    /* A LoRA adapter for this model: to be freed before it, and after the last context that was set to use it. Any
     * thread: the model's register of adapters is locked here. */
    baton_status (*adapter)(struct bt_model *m, const char *path, struct bt_adapter **a, baton_error *err);
    void (*adapter_free)(struct bt_model *m, struct bt_adapter *a);
    /* A text with images in the places of `mark`, as chunks; the images are decoded and brought to size here.
     * _INVALID names the image by its number and says what was expected of it. */
    baton_status (*chunks)(const struct bt_model *m, const char *text, size_t len, const char *mark,
                           const struct bt_image *images, size_t n, struct bt_chunks **chunks, baton_error *err);
};

struct bt_context_ops {
    void (*free)(struct bt_context *c);
    int (*capacity)(const struct bt_context *c);    /* cells per sequence as really allocated */
    uint64_t (*memory)(const struct bt_context *c); /* bytes of its KV cache, reckoned from the model's shape */
    enum bt_decode (*decode)(struct bt_context *c, const struct bt_row *rows, int n);
    /* Logits of rows[row] of the last decode, NULL if it did not want them; valid until the next decode. */
    const float *(*logits)(struct bt_context *c, int row);
    /* The next token from that row's logits. `index`: how many tokens the request has generated so far.
     * -1: the row has no logits, or none of them is a number. */
    bt_token (*sample)(struct bt_context *c, struct bt_sampler *s, int row, uint64_t index);
    bool (*seq_rm)(struct bt_context *c, int seq, int32_t from, int32_t to); /* [from, to); to < 0: to the end */
    void (*seq_cp)(struct bt_context *c, int from, int to);                  /* whole sequences only */
    int32_t (*pos_max)(struct bt_context *c, int seq);                       /* -1: empty */
    void *(*native)(struct bt_context *c); /* the library's own context, for code that may touch it; NULL: none */
    /* Called between graph nodes on the CPU while a decode runs; true aborts the whole decode, neighbours too. */
    void (*set_abort)(struct bt_context *c, bool (*abort)(void *arg), void *arg);

    /* One sequence's cache as bytes that this or another context of the same model, as many sequences and the same
     * adapters goes on from, token for token. Logits are not in it: keep the last token out of the cache, or decode it
     * again. state_get returns the bytes written, 0 when `size` is less than state_size said. state_set: _INVALID for
     * bytes that are damaged or of another model or adapters, _UNSUPPORTED for those of a context of another shape,
     * _TOO_LONG for a sequence that this context has no room for; the sequence is then as it was, after any other
     * failure it is empty. */
    size_t (*state_size)(struct bt_context *c, int seq);
    size_t (*state_get)(struct bt_context *c, int seq, unsigned char *to, size_t size);
    baton_status (*state_set)(struct bt_context *c, int seq, const unsigned char *from, size_t size, baton_error *err);
    /* These adapters and no others from now on. Empties all sequences if that is a change: no text goes on with what
     * other weights made of its beginning. */
    baton_status (*set_adapters)(struct bt_context *c, struct bt_adapter *const *adapters, const float *scales,
                                 size_t n, baton_error *err);
    /* Computes the vectors of chunks->list[i], an image, and puts them into the sequence from `pos` on. The abort hook
     * is asked on the way. Leaves no logits to be read. */
    enum bt_decode (*image)(struct bt_context *c, const struct bt_chunks *chunks, size_t i, int seq, int32_t pos);
    /* Floats per vector: bt_model_details' embedding_width, or scores. */
    int (*embed_width)(const struct bt_context *c);
    /* A vector per input (BT_POOL_NONE: per token), in order, into `out`; `normalise`: of length 1 (not scores). Inputs
     * go through the context together, as many as it has sequences, or one by one when it is exact. _TOO_LONG names the
     * input, _CANCELLED: the abort hook said so. */
    baton_status (*embed)(struct bt_context *c, const struct bt_input *inputs, size_t n, bool normalise, float *out,
                          baton_error *err);
};

struct bt_sampler_ops {
    void (*accept)(struct bt_sampler *s, bt_token token);
    void (*free)(struct bt_sampler *s);
};

/* Every implementation's objects begin with these; an adapter is told apart by its model. */
struct bt_model {
    const struct bt_model_ops *ops;
    struct bt_device *device; /* its contexts take turns on it; NULL: they need not */
    /* set by bt_model_open */
    struct bt_adapter **adapters;
    float *scales;
    size_t n_adapters;
    /* any thread */
    _Atomic int keepers; /* beside the one who opened it */
};
struct bt_context {
    const struct bt_context_ops *ops;
    struct bt_device *device; /* the ops take their turn on it by themselves; NULL: they need not */
};
struct bt_sampler {
    const struct bt_sampler_ops *ops;
};
struct bt_adapter {
    const struct bt_model *model;
};

/* Opens a model: the fake when the path says so, else libllama. Blocks while it loads. BATON_BAD_MODEL, _NOT_FOUND,
 * _CANCELLED (progress said stop), _NO_MEMORY; *m is then NULL. Ended by bt_model_close, or by its ops' free when no
 * adapters were asked for. */
baton_status bt_model_open(const struct bt_model_params *params, struct bt_model **m, baton_error *err);
void bt_model_close(struct bt_model *m); /* after the last context of it; NULL is harmless */
/* One close more is needed: for who looks at the vocabulary beside the one who has the contexts. Returns m. */
const struct bt_model *bt_model_keep(const struct bt_model *m);
/* A context with the model's adapters set. */
baton_status bt_context_open(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                             baton_error *err);

baton_status bt_llama_open(const struct bt_model_params *params, struct bt_model **m, baton_error *err);
baton_status bt_llama_adapter_open_file(struct bt_model *m, const char *path, int file, struct bt_adapter **a,
                                        baton_error *err);
void bt_llama_catch_abort(void (*say)(const char *text)); /* NULL: libggml's own way */
baton_status bt_fake_open(const struct bt_model_params *params, struct bt_model **m, baton_error *err);

/* Opens what bt_model_open would read, for somebody who may open nothing: the file or the pieces of a split one, or
 * nothing for a fake model. *n descriptors, read-only and close-on-exec, in fds[]. _NOT_FOUND, _IO, _BAD_MODEL (no GGUF
 * file, or a piece that is not the first), _TOO_LONG (more pieces than max). */
baton_status bt_model_files_open(const char *path, int *fds, size_t max, size_t *n, baton_error *err);
/* The same for a projector. */
baton_status bt_mmproj_file_open(const char *path, int *fd, baton_error *err);
baton_status bt_llama_adopt(void *const *natives, int n, const char *chat_template, struct bt_model **model,
                            struct bt_context **contexts, baton_error *err); /* as bt_native_adopt, on no device */

/* One thread at a time, in order of arrival, of all that use contexts of that device. The ops of a context do it by
 * themselves; who uses the native context by hand stands between the two. A thread that is in may enter again. NULL: no
 * need. Blocks in enter, for native calls of others. */
void bt_device_enter(struct bt_device *d);
void bt_device_leave(struct bt_device *d);
bool bt_device_is_mine(struct bt_device *d); /* this thread is in */
/* The same of the device of that name; none of it: false. */
bool bt_device_named_is_mine(const char *name);
/* That thread is at its end: if it is in, it is no longer. */
void bt_device_thread_ends(unsigned tid);
struct bt_device_use {
    const char *name; /* "": there is none */
    unsigned tid;     /* who is in; 0: nobody */
    int64_t for_ms;
    int waiting;
};
struct bt_device_use bt_device_use(struct bt_device *d);
struct bt_device_use bt_device_named(const char *name);

/* libllama's contexts that a program made (`natives`, n of them, of one model, one sequence each), as they are: neither
 * they nor their model are freed with `*model` and contexts[], which need them to live that long. Not BATON_OK: nothing
 * was done to them. */
baton_status bt_native_adopt(void *const *natives, int n, const char *chat_template, struct bt_model **model,
                             struct bt_context **contexts, baton_error *err);
void bt_native_own(struct bt_context *c); /* of an adopted one: the library's context is freed with it after all */
int bt_native_rows(const struct bt_context *c); /* of an adopted one: tokens that one decode takes */

/* What a model and its contexts will take, from the file's header alone, which is read here and not by libllama:
 * weights, and the caches of all contexts as 16-bit keys and values (0: the file does not say its shape; sliding
 * windows and recurrent states take less). Both are 0 for a fake model. _NOT_FOUND, _IO, _BAD_MODEL, _TOO_LONG,
 * _NO_MEMORY. */
baton_status bt_model_estimate(const char *path, const struct bt_context_params *context, int contexts,
                               uint64_t *weight_bytes, uint64_t *context_bytes, baton_error *err);

/* Where the built-in model lies: $BATON_MODEL_DIR, beside the program, or where it was installed; NULL if nowhere. */
const char *bt_builtin_model_path(void);
/* The same, or _NOT_FOUND, which says where it was looked for. */
baton_status bt_builtin_model(const char **path, baton_error *err);

/* Loads what the native library loads at run time, once per process: what needs files is done after it. */
baton_status bt_native_start(baton_error *err);
/* "llama.cpp 0.7.0, ggml 0.27.0, CPU AVX2 …": for --version and diagnostics. */
void bt_native_versions(struct bt_buf *out);
/* "libggml-cpu-haswell: CPU : SSE3 = 1 | …": the variant that runs, and what it was built for. */
void bt_native_cpu(struct bt_buf *out);
/* From now on a failed assertion of the native library is written to that descriptor, as one line, before it aborts the
 * process. For owner processes: ggml's abort callback, of which there is one, is theirs. < 0: no more. */
void bt_native_last_words(int fd);
/* Writes such a line; async-signal-safe. */
void bt_native_say_last(const char *text);

/* The threads of native calls that a context gets: 0 asks for the preset. */
int bt_native_threads(int asked);

#endif
