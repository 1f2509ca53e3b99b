/* What the public functions share: parameter structs of any version, requests against a policy, streams of two kinds.
 */
#ifndef BT_API_H
#define BT_API_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/io.h"
#include "base/list.h"
#include "baton/llama.h"
#include "lease/caller.h"
#include "owner/saved.h"

/* The first of an open: a handle without contexts, ended by bt_llama_unref; NULL when out of memory. */
baton_llama *bt_llama_new(const baton_policy *policy, baton_pooling pooling, baton_error *err);
/* The rest of an open: info from the model that is there. */
void bt_llama_fill_info(baton_llama *l);

/* Copies a size-first struct of a program's over the preset of this library's: fields that the program does not know
 * keep their preset, fields that this library does not know are left out. False: its size is no size. */
bool bt_take_params(void *mine, size_t mine_size, const void *theirs);
#define BT_TAKE(mine, theirs) bt_take_params(&(mine), sizeof(mine), theirs)

/* A misuse: the handler is told. Returns status. */
BATON_PRINTF(3, 4) baton_status bt_misuse(baton_error *err, baton_status status, const char *format, ...);

/* Nothing where something is needed, perhaps a handle that was closed. First of all in public functions. */
baton_status bt_missing(baton_error *err, const char *function, const char *what);
#define BT_NEED(given, what, err)                                                                                      \
    do {                                                                                                               \
        if (BT_UNLIKELY(!(given)))                                                                                     \
            return bt_missing(err, __func__, what);                                                                    \
    } while (0)
/* Of those that return no status. */
#define BT_NEED_OR(given, what, ...)                                                                                   \
    do {                                                                                                               \
        if (BT_UNLIKELY(!(given))) {                                                                                   \
            bt_missing(NULL, __func__, what);                                                                          \
            return __VA_ARGS__;                                                                                        \
        }                                                                                                              \
    } while (0)

/* Whether anybody listens to misuse. */
bool bt_misuse_handled(void);
baton_status bt_tell(baton_status status, const baton_error *err);
/* Tells the handler of a status of the family BUG that a lower layer came back with; err may be NULL. Returns it. */
static inline baton_status bt_told(baton_status status, baton_error *err) {
    return BT_LIKELY(status == BATON_OK) ? status : bt_tell(status, err);
}

/* Where a policy or a request makes no sense, the text says which number. */
baton_status bt_check_policy(const baton_policy *p, bool embeds, baton_error *err);
/* The request with what it leaves to the policy filled in. */
baton_status bt_take_request(const baton_request *theirs, const baton_policy *policy, baton_request *mine,
                             baton_error *err);

/* Takes inner. */
baton_status bt_stream_of_io(struct bt_io_stream *inner, baton_stream **stream, baton_error *err);
/* Under a lease of its own, within the limits. saved->n_tokens 0: nothing to go on from. */
baton_status bt_stream_of_caller(struct bt_caller *c, const struct bt_submit *ask, const struct bt_limits *limits,
                                 const struct bt_saved *saved, baton_stream **stream, baton_error *err);

struct baton_llama {
    /* set at open */
    baton_policy policy;
    baton_llama_info info;
    baton_pooling pooling;
    const struct bt_model *model; /* of owner = caller, kept; NULL: it is the owner's, who is asked (bt_llama_call) */
    struct bt_caller *caller;     /* one of the two, referenced: closed, it says so until the handle is freed */
    struct bt_io *io;
    /* any thread */
    _Atomic int refs; /* one of the open handle, one of each call under way */
    /* under lock */
    pthread_mutex_t lock;
    struct bt_list callbacks; /* of bt_callback */
};
/* Asks an owner about the model; the result is appended. */
baton_status bt_llama_call(const baton_llama *llama, enum bt_call_op op, uint32_t number, const void *bytes, size_t len,
                           struct bt_buf *result, baton_error *err);
void bt_handle_details(const baton_llama *llama, struct bt_model_details *details);

/* First of all in each public function that looks at the handle after it may have waited, computed or called back: in
 * the meantime another thread may close it, or the callback. */
#define BT_IN_CALL(llama) __attribute__((cleanup(bt_llama_leave), unused)) baton_llama *in_call_ = bt_llama_enter(llama)
static inline baton_llama *bt_llama_enter(const baton_llama *llama) {
    baton_llama *l = (baton_llama *)llama;
    if (BT_LIKELY(l))
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}
void bt_llama_unref(baton_llama *llama);
static inline void bt_llama_leave(baton_llama **llama) {
    if (BT_LIKELY(*llama))
        bt_llama_unref(*llama);
}

/* Somebody's code under way on a thread, from inside an answer of this model: on the stack of who called it. */
struct bt_callback {
    struct bt_list link;
    unsigned tid;
};
void bt_callback_enter(baton_llama *llama, struct bt_callback *c);
void bt_callback_leave(baton_llama *llama, struct bt_callback *c);

/* The request with its gaps filled. From inside a callback of this model it never waits: what it would wait for waits
 * for the callback. */
baton_status bt_llama_request(baton_llama *llama, const baton_request *theirs, baton_request *mine, baton_error *err);
/* What was refused from inside a callback is _REENTRANT. */
baton_status bt_llama_verdict(baton_llama *llama, baton_status status, baton_error *err);
/* A lease of owner = caller for the request; *mine is what was asked for. */
baton_status bt_llama_acquire(baton_llama *llama, const baton_request *theirs, baton_request *mine,
                              struct bt_lease *lease, baton_error *err) BATON_TRY_ACQUIRE(0, lease);

/* A snapshot of owners, with the model's name and the device that they take turns on; "": none. */
baton_status bt_owners_snapshot(struct bt_io *io, const char *name, const char *device, baton_snapshot *snapshot,
                                baton_error *err);

/* All but its size. */
static inline void bt_give_counts(const struct bt_counts *c, baton_counts *out) {
    *out = (baton_counts){0,          c->slots,     c->running,   c->queued,    c->accepted,
                          c->refused, c->completed, c->cancelled, c->timed_out, c->failed};
}

/* NUL-terminated; the buffer's bytes become the caller's, or are freed. len may be NULL. */
baton_status bt_give_text(struct bt_buf *b, char **text, size_t *len, baton_error *err);

/* There was no memory for a piece of the answer: however it ended, what was delivered of it is not whole. */
void bt_outcome_lost(baton_outcome *outcome);

baton_status bt_stream_save(baton_stream *stream, struct bt_buf *out, baton_error *err);

#endif
