/* The name that asks for a held context, without one.
 *
 * expect: calling function 'baton_held_llama_decode' requires holding context 'ctx' exclusively
 * flags: -DBATON_OVERLAY_STRICT */
#include "baton/overlay/llama.h"

int32_t f(struct llama_context *ctx, struct llama_batch batch);

int32_t f(struct llama_context *ctx, struct llama_batch batch) {
    return baton_held_llama_decode(ctx, batch); /* here */
}
