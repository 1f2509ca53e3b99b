/* Raw names, between enter and leave.
 *
 * with: every */
#include "baton/overlay/llama.h"

struct session {
    baton_guard guard;
    struct llama_context *ctx;
};
llama_token f(struct session *s, struct llama_sampler *sampler, struct llama_batch batch);

llama_token f(struct session *s, struct llama_sampler *sampler, struct llama_batch batch) {
    llama_token token = -1;
    if (baton_llama_enter(&s->guard, s->ctx, 1))
        return -1;
    if (llama_decode(s->ctx, batch) == 0)
        token = llama_sampler_sample(sampler, s->ctx, -1);
    else
        llama_memory_seq_rm(llama_get_memory(s->ctx), 0, 0, -1);
    baton_guard_mark(&s->guard, BATON_GUARD_IDLE);
    baton_llama_leave(&s->guard, s->ctx);
    return token;
}
