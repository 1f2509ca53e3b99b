/* Decodes under a lease of baton's, inside begin and end, with the accessor on the spot. */
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
        *out = llama_get_logits(baton_llama_context(&lease))[0];
        baton_lease_end(&lease);
    }
    baton_lease_release(&lease, BATON_RESET, NULL);
    return rc;
}
