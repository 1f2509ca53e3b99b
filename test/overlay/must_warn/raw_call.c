/* A decode that nobody entered for.
 *
 * expect: calling function 'llama_decode' requires holding context 'ctx' exclusively */
#include "baton/overlay/llama.h"

int32_t f(struct llama_context *ctx, struct llama_batch batch);

int32_t f(struct llama_context *ctx, struct llama_batch batch) {
    return llama_decode(ctx, batch); /* here */
}
