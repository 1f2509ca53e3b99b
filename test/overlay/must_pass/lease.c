/* A lease whose accessor is the only way to the context: nothing to enter.
 *
 * with: every */
#include "baton/overlay/llama.h"

struct BATON_CAPABILITY("lease") lease;
int lease_get(struct lease *lease) BATON_TRY_ACQUIRE(0, lease);
void lease_put(struct lease *lease) BATON_RELEASE(lease);
struct llama_context *lease_context(const struct lease *lease) BATON_REQUIRES(lease) BATON_RETURNS_HELD(lease);
int32_t f(struct lease *lease, struct llama_batch batch);

int32_t f(struct lease *lease, struct llama_batch batch) {
    if (lease_get(lease))
        return -1;
    int32_t rc = llama_decode(lease_context(lease), batch);
    lease_put(lease);
    return rc;
}
