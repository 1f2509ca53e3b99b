/* The guard's answer is not looked at.
 *
 * expect: calling function 'llama_decode' requires holding context 's->ctx' exclusively
 * expect: releasing (context|guard) 's->(ctx|guard)' that was not held */
#include "baton/overlay/llama.h"

struct session {
    baton_guard guard;
    struct llama_context *ctx;
};
int32_t f(struct session *s, struct llama_batch batch);

int32_t f(struct session *s, struct llama_batch batch) {
    baton_llama_enter(&s->guard, s->ctx, 1);
    int32_t rc = llama_decode(s->ctx, batch); /* here */
    baton_llama_leave(&s->guard, s->ctx);     /* here */
    return rc;
}
