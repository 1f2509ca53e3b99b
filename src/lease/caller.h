/* owner = caller: a model, a pool of contexts, and generation in the caller's own thread, under a lease that covers the
 * whole transaction from the first decode to the last logits read. */
#ifndef BT_CALLER_H
#define BT_CALLER_H

#include "lease/lease.h"
#include "native/native.h"
#include "owner/owner.h"

struct bt_caller;

/* Loads the model and makes `contexts` contexts of params' shape (one sequence each). Blocks. */
baton_status bt_caller_open(const struct bt_model_params *model, const struct bt_context_params *params, int contexts,
                            int queue_max, struct bt_caller **caller, baton_error *err);

/* Waits for the leases that are out, frees contexts and model. From inside a generation (on_token) it cannot wait: then
 * that generation goes on to its end, and frees them. */
void bt_caller_close(struct bt_caller **caller);

const struct bt_model *bt_caller_model(const struct bt_caller *c);
struct bt_pool *bt_caller_pool(const struct bt_caller *c);

/* The tokens of a chat in this model's template; *tokens is malloc'd. Needs no lease. Any thread. */
baton_status bt_caller_chat(const struct bt_caller *c, const struct bt_chat_message *messages, size_t n,
                            bt_token **tokens, size_t *n_tokens, baton_error *err);

/* Acquires, generates, releases. What bt_lease_acquire and bt_run_alone return; `result` is the caller's to free. Any
 * thread. Blocks: under BT_WAIT until there is a context, then until the answer is complete. A request that
 * bt_pool_cancel names stops before its next native call. */
baton_status bt_caller_generate(struct bt_caller *c, const struct bt_ask *ask, const struct bt_run *run,
                                struct bt_run_result *result, baton_error *err);

#endif
