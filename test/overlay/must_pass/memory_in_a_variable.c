/* For programs that keep the memory handle in a variable.
 *
 * with: every
 * flags: -DBATON_OVERLAY_NO_MEMORY */
#include "baton/overlay/llama.h"

bool f(struct llama_context *ctx);

bool f(struct llama_context *ctx) {
    llama_memory_t memory = llama_get_memory(ctx);
    return llama_memory_seq_rm(memory, 0, 0, -1);
}
