/* The same in C++.
 *
 * expect: calling function 'llama_decode' requires holding context 'ctx' exclusively */
#include "baton/overlay/llama.h"

int32_t f(llama_context *ctx, llama_batch batch);

int32_t f(llama_context *ctx, llama_batch batch) {
    return llama_decode(ctx, batch); /* here */
}
