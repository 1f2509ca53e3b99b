/* Included after llama.h it works, too; Clang then calls the context a mutex.
 *
 * expect: calling function 'llama_decode' requires holding mutex 'ctx' exclusively */
#include <llama.h>

#include "baton/overlay/llama.h"

int32_t f(struct llama_context *ctx, struct llama_batch batch);

int32_t f(struct llama_context *ctx, struct llama_batch batch) {
    return llama_decode(ctx, batch); /* here */
}
