/* What a model will take, before it is loaded. Stateless. */
#include "api/models.h"

baton_status bt_estimate(const baton_llama_params *params, const char *path, uint64_t *weights, uint64_t *contexts,
                         baton_error *err) {
    const struct bt_context_params context = {.sequences = params->policy->sequences, .ctx = params->ctx};
    return bt_model_estimate(path, &context, params->policy->contexts, weights, contexts, err);
}

baton_status baton_llama_estimate(const char *path, const baton_llama_params *params, uint64_t *weights,
                                  uint64_t *contexts, baton_error *err) {
    baton_llama_params p = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    if (!weights || !contexts)
        return bt_misuse(err, BATON_MISUSE, "baton_llama_estimate needs places for both numbers");
    *weights = *contexts = 0;
    if (!BT_TAKE(p, params) || !BT_TAKE(policy, p.policy))
        return bt_misuse(err, BATON_MISUSE,
                         "parameters without their size: make them with BATON_LLAMA_PARAMS and BATON_POLICY");
    baton_status status = bt_check_policy(&policy, p.pooling != BATON_POOLING_OFF, err);
    if (!status && p.ctx < 0)
        status = bt_fail(err, BATON_INVALID, "ctx is %d: it cannot be negative", p.ctx);
    p.policy = &policy;
    return status ? status : bt_estimate(&p, path, weights, contexts, err);
}
