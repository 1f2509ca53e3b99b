/* Enters for one context, decodes in another one.
 *
 * expect: calling function 'llama_decode' requires holding context 'b->ctx' exclusively */
#include "baton/overlay/llama.h"

struct session {
    baton_guard guard;
    struct llama_context *ctx;
};
int32_t f(struct session *a, struct session *b, struct llama_batch batch);

int32_t f(struct session *a, struct session *b, struct llama_batch batch) {
    if (baton_llama_enter(&a->guard, a->ctx, 1))
        return -1;
    int32_t rc = llama_decode(b->ctx, batch); /* here */
    baton_llama_leave(&a->guard, a->ctx);
    return rc;
}
