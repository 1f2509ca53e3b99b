/* The same in C++, strict.
 *
 * expect: unavailable: native call outside a lease
 * with: every
 * flags: -DBATON_OVERLAY_STRICT */
#include "baton/overlay/llama.h"

int32_t f(llama_context *ctx, llama_batch batch);

int32_t f(llama_context *ctx, llama_batch batch) {
    return llama_decode(ctx, batch); /* here */
}
