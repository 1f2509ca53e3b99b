/* The lock is around the decode alone: the logits may be those of somebody else by now.
 *
 * expect: calling function 'llama_get_logits_ith' requires holding context 's->ctx' exclusively */
#include "baton/overlay/llama.h"

struct session {
    baton_guard guard;
    struct llama_context *ctx;
};
float f(struct session *s, struct llama_batch batch);

float f(struct session *s, struct llama_batch batch) {
    if (baton_llama_enter(&s->guard, s->ctx, 1))
        return 0;
    int32_t rc = llama_decode(s->ctx, batch);
    baton_llama_leave(&s->guard, s->ctx);
    return rc == 0 ? llama_get_logits_ith(s->ctx, -1)[0] : 0; /* here */
}
