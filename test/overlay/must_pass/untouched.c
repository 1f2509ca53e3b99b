/* What needs no lease needs none under the strict overlay either.
 *
 * with: every
 * flags: -DBATON_OVERLAY_STRICT */
#include "baton/overlay/llama.h"

struct llama_context *f(struct llama_model *model, int *n);

struct llama_context *f(struct llama_model *model, int *n) {
    struct llama_context *ctx = llama_init_from_model(model, llama_context_default_params());
    if (ctx)
        *n = (int)llama_n_ctx(ctx) + llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(ctx)));
    return ctx;
}
