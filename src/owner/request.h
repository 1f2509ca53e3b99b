/* A request inside an owner, and the thread that prepares it.
 *
 * Who may touch it: while `preparing`, the prepare thread has everything but the group "loop only"; before and after,
 * the loop has all. The request travels between the two as a pointer through a pipe, which orders memory. */
#ifndef BT_OWNER_REQUEST_H
#define BT_OWNER_REQUEST_H

#include "base/list.h"
#include "native/native.h"
#include "owner/text.h"
#include "wire/assemble.h"

struct bt_owner_request {
    /* fixed when the frame comes in */
    struct bt_body *body; /* of SUBMIT; `ask` borrows from it */
    struct bt_submit ask;

    /* written by the prepare thread */
    baton_error error; /* status BATON_OK: prepared */
    bt_token *tokens;  /* the prompt, then the answer; room for the whole context */
    int32_t n_prompt, n_tokens;
    struct bt_sampler *sampler;
    struct bt_textout text;
    bool stopped; /* the resumed text already ended in a stop string */

    /* loop only */
    struct bt_list link; /* among the new, or the prepared that wait for a sequence */
    enum bt_standing standing;
    baton_status cancelled; /* BATON_OK: not cancelled */
    bool preparing;
    int seq;     /* -1: none yet */
    int32_t fed; /* how many of tokens are in the cache */
    int32_t reused;
    uint64_t arrived;
    uint32_t sent, acked; /* tokens, for the window */
    uint32_t retries;     /* native failures in a row */
};

static inline int32_t bt_owner_answered(const struct bt_owner_request *r) {
    return r->n_tokens - r->n_prompt;
}

struct bt_prepare;

/* Starts the thread. `capacity`: cells per sequence. */
baton_status bt_prepare_start(const struct bt_model *m, int capacity, struct bt_prepare **p, baton_error *err);
void bt_prepare_give(struct bt_prepare *p, struct bt_owner_request *r);
/* The next finished one, NULL if none yet. */
struct bt_owner_request *bt_prepare_take(struct bt_prepare *p);
int bt_prepare_fd(const struct bt_prepare *p); /* readable when take has one */
/* Ends the thread; what it still had comes out of bt_prepare_take before. */
void bt_prepare_stop(struct bt_prepare *p);

/* Takes the body. */
struct bt_owner_request *bt_owner_request_new(struct bt_body *body, baton_error *err);
void bt_owner_request_free(struct bt_owner_request *r);

#endif
