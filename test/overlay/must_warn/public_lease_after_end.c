/* The logits are read after the end of the native call: the accessor says that it is outside.
 *
 * expect: calling function 'baton_llama_context' requires holding \w+ 'lease.pool' exclusively
 * expect: calling function 'llama_get_logits' requires holding context 'lease.pool' exclusively */
#include "baton/overlay/llama.h"

#include "baton/llama.h"

int f(baton_llama *llama, struct llama_batch batch, float *out);

int f(baton_llama *llama, struct llama_batch batch, float *out) {
    baton_lease lease;
    void *context;
    int rc = -1;
    if (baton_llama_acquire(llama, NULL, &lease, NULL))
        return -1;
    if (!baton_lease_begin(&lease, BATON_OP_DECODE, &context, NULL)) {
        rc = llama_decode(baton_llama_context(&lease), batch);
        baton_lease_end(&lease);
    }
    *out = llama_get_logits(baton_llama_context(&lease))[0]; /* here */
    baton_lease_release(&lease, BATON_RESET, NULL);
    return rc;
}
