/* The parts of the fake native: knobs and counters (fake.c), vocabulary (fake_vocab.c), images (fake_vision.c),
 * context (fake_context.c). */
#ifndef BT_FAKE_INTERNAL_H
#define BT_FAKE_INTERNAL_H

#include <stdatomic.h>

#include "native/fake.h"

/* One X-macro over the knobs: name, default, smallest, what it does. */
#define BT_FAKE_KNOBS(X)                                                                                               \
    X(step_us, 0, 0, "time of a decode")                                                                               \
    X(token_us, 0, 0, "time of a row, on top")                                                                         \
    X(vocab, BT_FAKE_VOCAB_MIN, BT_FAKE_VOCAB_MIN, "tokens in the vocabulary")                                         \
    X(ctx_train, 1024, 1, "training length")                                                                           \
    X(len, 0, 0, "tokens of every answer; 0: 8 to 47, by the prompt")                                                  \
    X(template, 1, 0, "0: the model has no chat template")                                                             \
    X(recurrent, 0, 0, "1: a prefix cannot be trimmed")                                                                \
    X(abort_on_overlap, 0, 0, "1: overlapping calls end the process")                                                  \
    X(fail_at, 0, 0, "that decode of the model fails half way")                                                        \
    X(full_at, 0, 0, "that decode finds no room")                                                                      \
    X(crash_at, 0, 0, "that decode aborts the process")                                                                \
    X(segv_at, 0, 0, "that decode gets a SIGSEGV")                                                                     \
    X(exit_at, 0, 0, "that decode calls _exit(3)")                                                                     \
    X(hang_at, 0, 0, "that decode never ends, unless aborted")                                                         \
    X(load_fail, 0, 0, "1: the model cannot be loaded")                                                                \
    X(load_us, 0, 0, "time of a load")                                                                                 \
    X(context_fail, 0, 0, "1: no context can be made")                                                                 \
    X(scores, 0, 0, "outputs of its rank head")                                                                        \
    X(print, 0, 0, "1: every decode prints a line on fd 1 and one on fd 2")                                            \
    X(attempt, 0, 0, "enum bt_fake_attempt: what it tries when it is opened")                                          \
    X(prints, 0, 0, "bytes that the load and every decode print on fd 1, in words that a task's parent would believe") \
    X(shown, 0, 0, "1: it has a native context to show, for code by hand that does not look into it")                  \
    X(lives, 0, 0, "the knob die works in that many owners of the context only, one after the other; 0: in all")       \
    X(image_tokens, 4, 1, "places of an image")                                                                        \
    X(image_whole, 0, 0, "1: they must go through in one decode")                                                      \
    X(image_die, 0, 0, "1: the knob die counts images, not decodes")

/* The knob die=KIND@N: what happens at the N-th decode (of this process; @N left out: the first), or, with the knob
 * poison=TEXT, at the N-th that carries a row of a sequence with that text in it. */
enum bt_fake_death {
    BT_FAKE_LIVES,
    BT_FAKE_SEGV,
    BT_FAKE_ABORT,
    BT_FAKE_ASSERT, /* last words, then abort */
    BT_FAKE_EXIT0,
    BT_FAKE_EXIT1,
    BT_FAKE_HANG,    /* for ever, whatever the abort hook says */
    BT_FAKE_GARBAGE, /* bytes on the owner's socket that are no frame; lives on */
    BT_FAKE_PARTIAL, /* the beginning of a frame, then the end */
    BT_FAKE_FLOOD,   /* 8 MiB of lines on fd 1 and 2; lives on */
};

struct bt_fake_model {
    struct bt_model base;
    /* fixed at the opening */
    char description[128];
    enum bt_fake_death death;
    int64_t death_at;
    char poison[64];          /* "": none */
    bool immortal;            /* an earlier owner died for it: see lives */
    _Atomic int64_t poisoned; /* decodes with the poison in them */
#define BT_FAKE_FIELD(name, preset, least, text) int64_t name;
    BT_FAKE_KNOBS(BT_FAKE_FIELD)
#undef BT_FAKE_FIELD
    bool sees;                   /* it was opened with a projector */
    _Atomic int64_t decodes;     /* by all its contexts */
    _Atomic int64_t images;      /* by all its contexts */
    struct bt_fake_place *place; /* the device that the knob device=NAME says; NULL: none */
    pthread_mutex_t adapters_lock;
    int adapters; /* alive; under the lock */
};

/* A device: a second call on it is a fault, unless its backend is one of those that allow it. */
struct bt_fake_place {
    char name[32];
    bool alone;
    _Atomic int64_t inside;
};
/* NULL: there is no room for more. */
struct bt_fake_place *bt_fake_place(const char *name, size_t len);

enum { BT_FAKE_WIDTH = 16 }; /* of an embedding */

struct bt_fake_adapter {
    struct bt_adapter base;
    uint64_t salt;
};

struct bt_fake_counters {
    _Atomic int64_t overlaps, decodes, rows, rows_max, models, contexts, samplers, prompts, decoding, decoding_max;
};
extern struct bt_fake_counters bt_fake_counters;
static inline int64_t bt_fake_count(_Atomic int64_t *counter, int64_t by) {
    return atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}
static inline void bt_fake_raise(_Atomic int64_t *max, int64_t value) {
    int64_t seen = atomic_load_explicit(max, memory_order_relaxed);
    while (seen < value &&
           !atomic_compare_exchange_weak_explicit(max, &seen, value, memory_order_relaxed, memory_order_relaxed))
        ;
}
void bt_fake_tell(const struct bt_fake_event *event);
void bt_fake_print(int64_t bytes);

/* A place in a sequence: all that the next token depends on. */
struct bt_fake_cell {
    uint64_t hash;    /* of every token up to here, with its position */
    uint64_t prompt;  /* the hash at the end of the prompt */
    int32_t answered; /* tokens since then */
    bt_token last;
};
struct bt_fake_cell bt_fake_next_cell(const struct bt_fake_cell *before, int32_t pos, bt_token token);
void bt_fake_logits(const struct bt_fake_model *m, const struct bt_fake_cell *cell, float *logits);

/* fake_die.c. The knobs die and poison; false: the name is neither. */
bool bt_fake_set_death(struct bt_fake_model *m, const char *name, size_t len, const char *value, baton_status *status,
                       baton_error *err);
/* Before decode `number` is computed; `carried`: the texts of its sequences, a NUL between them (only with a poison).
 * Returns if there is no reason to die now, or only to misbehave. */
void bt_fake_maybe_die(struct bt_fake_model *m, int64_t number, const struct bt_buf *carried);

/* fake_attempt.c */
void bt_fake_attempt(enum bt_fake_attempt what, char *text, size_t size);

/* fake_details.c */
void bt_fake_details(const struct bt_model *m, struct bt_model_details *details);
bool bt_fake_metadata(const struct bt_model *m, int i, struct bt_buf *key, struct bt_buf *value);
baton_status bt_fake_detokenize(const struct bt_model *m, const bt_token *tokens, size_t n, bool special,
                                struct bt_buf *out, baton_error *err);
baton_status bt_fake_pair(const struct bt_model *m, const char *query, const char *document, bt_token **tokens,
                          size_t *n, baton_error *err);
baton_status bt_fake_adapter_open(struct bt_model *m, const char *path, struct bt_adapter **a, baton_error *err);
void bt_fake_adapter_free(struct bt_model *m, struct bt_adapter *a);

/* fake_vision.c */
baton_status bt_fake_chunks(const struct bt_model *m, const char *text, size_t len, const char *mark,
                            const struct bt_image *images, size_t n, struct bt_chunks **chunks, baton_error *err);
uint64_t bt_fake_picture(const struct bt_chunks *chunks, size_t i); /* what the image in chunk i is to the fake */

const char *bt_fake_special(bt_token token); /* its name; NULL: it is text */
size_t bt_fake_piece(bt_token token, char piece[16]);
baton_status bt_fake_tokenize(const struct bt_model *m, const char *text, size_t len, bool add_special,
                              bool parse_special, bt_token **tokens, size_t *n, baton_error *err);
baton_status bt_fake_chat(const struct bt_model *m, const struct bt_chat_message *messages, size_t n,
                          struct bt_buf *out, baton_error *err);

baton_status bt_fake_context_open(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                                  baton_error *err);
baton_status bt_fake_sampler_open(const struct bt_model *m, const struct bt_sampling *sampling, const bt_token *history,
                                  size_t n, struct bt_sampler **s, baton_error *err);
bt_token bt_fake_sampler_pick(const struct bt_sampler *s, const float *logits, int32_t n, uint64_t index);

#endif
