/* What an owner works on, and the thread that prepares it.
 *
 * Who may touch a job: while it is prepared, the prepare thread has everything but the groups "loop only"; before and
 * after, the loop has all. Jobs travel between the two as pointers through a pipe, which orders memory. */
#ifndef BT_OWNER_REQUEST_H
#define BT_OWNER_REQUEST_H

#include "base/list.h"
#include "native/native.h"
#include "owner/saved.h"
#include "owner/text.h"
#include "wire/assemble.h"

/* The first member of each of the three below. */
struct bt_job {
    enum bt_job_kind { BT_JOB_REQUEST, BT_JOB_MORE, BT_JOB_CALL } kind;
    struct bt_body *body; /* `ask` borrows from it */
    baton_error error;    /* written by the prepare thread; status BATON_OK: prepared */
};

/* Texts as tokens. */
struct bt_inputs {
    struct bt_input *list;
    size_t n;
};
void bt_inputs_free(struct bt_inputs *in);

struct bt_owner_request {
    struct bt_job job;
    struct bt_submit ask;

    /* written by the prepare thread, of GENERATE */
    bt_token *tokens; /* the prompt, then the answer; room for the whole context */
    int32_t n_prompt, n_tokens;
    struct bt_chunks *chunks; /* of a prompt with images; NULL: it is text alone */
    int32_t n_before;         /* tokens of the answer that were there before this request */
    struct bt_sampler *sampler;
    struct bt_textout text;
    char *stop_bytes;
    bool stopped;               /* the resumed text already ended in a stop string */
    const unsigned char *cache; /* a state of the first `cached` tokens, in the body; NULL: none */
    size_t cache_size;
    int32_t cached;
    /* of EMBED and SCORE */
    struct bt_inputs inputs;

    /* loop only */
    struct bt_list
        link; /* among the new; the prepared that wait for a sequence; or whose inputs are computed in turn */
    enum bt_standing standing;
    baton_status cancelled; /* BATON_OK: not cancelled */
    bool preparing;
    int seq;     /* -1: none yet */
    int32_t fed; /* how many of tokens are in the cache */
    int32_t reused;
    uint64_t arrived;
    uint32_t sent, acked; /* tokens, for the window */
    uint32_t retries;     /* native failures in a row */
    size_t asked;         /* inputs, those of MORE frames with them */
    size_t computed;      /* inputs */
    uint64_t offset;      /* bytes of results that were sent */
    bool more;            /* a MORE is being prepared */
};

static inline int32_t bt_owner_answered(const struct bt_owner_request *r) {
    return r->n_tokens - r->n_prompt;
}

/* More inputs for a request. */
struct bt_owner_more {
    struct bt_job job;
    struct bt_more ask;
    size_t first;            /* the number of its first input in the request */
    struct bt_inputs inputs; /* written by the prepare thread */
};

/* A question, and its answer on its way out. */
struct bt_owner_call {
    struct bt_job job;
    struct bt_call ask;
    struct bt_buf result; /* written by the prepare thread, for what the model alone can tell */
    /* loop only */
    struct bt_list link; /* among those that wait, or whose result is being sent */
    size_t sent;
    uint64_t before; /* RESET: it waits for requests that arrived before */
};

struct bt_prepare;

/* Starts the thread. `capacity`: cells per sequence. `chunk`: rows of a decode. `pooling`: what the context is for. */
baton_status bt_prepare_start(const struct bt_model *m, int capacity, int chunk, enum bt_pooling pooling,
                              struct bt_prepare **p, baton_error *err);
void bt_prepare_give(struct bt_prepare *p, struct bt_job *job);
/* The next finished one, NULL if none yet. */
struct bt_job *bt_prepare_take(struct bt_prepare *p);
int bt_prepare_fd(const struct bt_prepare *p); /* readable when take has one */
/* Ends the thread; what it still had is freed. */
void bt_prepare_stop(struct bt_prepare *p);

/* Each takes the body. */
struct bt_owner_request *bt_owner_request_new(struct bt_body *body, baton_error *err);
void bt_owner_request_free(struct bt_owner_request *r);
struct bt_owner_more *bt_owner_more_new(struct bt_body *body, baton_error *err);
struct bt_owner_call *bt_owner_call_new(struct bt_body *body, baton_error *err);
void bt_job_free(struct bt_job *job); /* any of the three */

/* The work itself, on the model alone; pure but for what it makes. */
baton_status bt_prepare_prompt(const struct bt_model *m, int capacity, int chunk, struct bt_owner_request *r,
                               baton_error *err);
/* `number`: of the first, in error texts. */
baton_status bt_prepare_inputs(const struct bt_model *m, int capacity, bool score, struct bt_text query,
                               const struct bt_frame_input *from, size_t n, size_t number, struct bt_inputs *out,
                               baton_error *err);
baton_status bt_answer_call(const struct bt_model *m, const struct bt_call *call, struct bt_buf *result,
                            baton_error *err);

#endif
