/* What the public functions share: parameter structs of any version, requests against a policy, streams of two kinds.
 */
#ifndef BT_API_H
#define BT_API_H

#include "api/io.h"
#include "baton/llama.h"
#include "lease/caller.h"

/* A baton_llama is immutable after open; what changes is in its pool (owner = caller) or behind its I/O thread (owner =
 * thread). */
struct baton_llama {
    baton_policy policy;
    baton_llama_info info;
    /* one of the two */
    struct bt_caller *caller;
    struct bt_io *io;
};

/* The rest of an open: info from the model that is there. */
void bt_llama_fill_info(baton_llama *l);

/* Copies a size-first struct of a program's over the preset of this library's: fields that the program does not know
 * keep their preset, fields that this library does not know are left out. False: its size is no size. */
bool bt_take_params(void *mine, size_t mine_size, const void *theirs);
#define BT_TAKE(mine, theirs) bt_take_params(&(mine), sizeof(mine), theirs)

/* A misuse: the handler is told. Returns status. */
BATON_PRINTF(3, 4) baton_status bt_misuse(baton_error *err, baton_status status, const char *format, ...);

/* Whether anybody listens to misuse. */
bool bt_misuse_handled(void);
baton_status bt_tell(baton_status status, const baton_error *err);
/* Tells the handler of a status of the family BUG that a lower layer came back with; err may be NULL. Returns it. */
static inline baton_status bt_told(baton_status status, baton_error *err) {
    return BT_LIKELY(status == BATON_OK) ? status : bt_tell(status, err);
}

/* Where a policy or a request makes no sense, the text says which number. */
baton_status bt_check_policy(const baton_policy *p, baton_error *err);
/* The request with what it leaves to the policy filled in. */
baton_status bt_take_request(const baton_request *theirs, const baton_policy *policy, baton_request *mine,
                             baton_error *err);

/* Takes inner. */
baton_status bt_stream_of_io(struct bt_io_stream *inner, baton_stream **stream, baton_error *err);
/* Under a lease of its own, within the limits. */
baton_status bt_stream_of_caller(struct bt_caller *c, const struct bt_submit *ask, const struct bt_limits *limits,
                                 baton_stream **stream, baton_error *err);

#endif
