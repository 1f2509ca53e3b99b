/* Strict: the raw name is an error in every compiler.
 *
 * expect: unavailable: native call outside a lease; under one it is baton_held_llama_decode
 * with: every
 * flags: -DBATON_OVERLAY_STRICT */
#include "baton/overlay/llama.h"

int32_t f(struct llama_context *ctx, struct llama_batch batch);

int32_t f(struct llama_context *ctx, struct llama_batch batch) {
    return llama_decode(ctx, batch); /* here */
}
