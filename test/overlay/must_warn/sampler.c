/* A sampler that reads a context which is not held.
 *
 * expect: calling function 'llama_sampler_sample' requires holding context 'ctx' exclusively */
#include "baton/overlay/llama.h"

llama_token f(struct llama_sampler *sampler, struct llama_context *ctx);

llama_token f(struct llama_sampler *sampler, struct llama_context *ctx) {
    return llama_sampler_sample(sampler, ctx, -1); /* here */
}
