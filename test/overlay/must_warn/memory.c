/* Using a context's memory handle is using the context.
 *
 * expect: calling function 'llama_memory_seq_rm' requires holding (context|mutex) 'ctx' exclusively */
#include "baton/overlay/llama.h"

bool f(struct llama_context *ctx);

bool f(struct llama_context *ctx) {
    return llama_memory_seq_rm(llama_get_memory(ctx), 0, 0, -1); /* here */
}
