/* Strict: so is its address, which would go around the check.
 *
 * expect: unavailable: native call outside a lease
 * with: every
 * flags: -DBATON_OVERLAY_STRICT */
#include "baton/overlay/llama.h"

int32_t (*f(void))(struct llama_context *, struct llama_batch);

int32_t (*f(void))(struct llama_context *, struct llama_batch) {
    return llama_decode; /* here */
}
