/* A callback that runs inside a native call says so. */
#include "baton/overlay/llama.h"

bool on_token(void *arg);

bool on_token(void *arg) {
    struct llama_context *ctx = arg;
    baton_llama_assume_held(ctx);
    return llama_get_logits_ith(ctx, -1) != NULL;
}
