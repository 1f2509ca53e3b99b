/* llama.h by hand: leases on a model's contexts, and contexts that the program made. State: the pool's. */
#include <stdlib.h>

#include "api/api.h"

/* Not followed by Clang's analysis: a lease under another name is another lease to it. */
BATON_NO_ANALYSIS baton_status baton_llama_acquire(baton_llama *llama, const baton_request *request, baton_lease *lease,
                                                   baton_error *err) {
    baton_request mine;
    baton_error local;
    if (!llama || !lease)
        return bt_misuse(err, BATON_MISUSE, "baton_llama_acquire needs a model and a place for the lease");
    BT_IN_CALL(llama);
    *lease = (baton_lease)BATON_LEASE;
    err = err ? err : &local;
    if (llama->io)
        return bt_fail(
            err, BATON_UNSUPPORTED,
            "the contexts of %s belong to threads of baton's (BATON_OWNER_THREAD): baton_llama_run runs your "
            "function there; to hold one, open the model with BATON_OWNER_CALLER",
            llama->info.name);
    return bt_llama_acquire(llama, request, &mine, (struct bt_lease *)lease, err);
}

BATON_NO_ANALYSIS struct llama_context *baton_llama_context(const baton_lease *lease) {
    struct bt_lease *inner = (struct bt_lease *)lease;
    void *context = lease ? bt_lease_context(inner) : NULL;
    if (BT_LIKELY(context && bt_pool_native(inner->pool) == bt_caller_native))
        return bt_caller_native(context);
    bt_misuse(NULL, BATON_MISUSE,
              "baton_llama_context outside of begin and end on this thread, or of a lease that is "
              "not on a model's context");
    return NULL;
}

static baton_status adopt(baton_llama *l, struct llama_context *const *contexts, int n,
                          const baton_llama_adopt_params *p, baton_error *err) {
    struct bt_caller_info info;
    baton_status status =
        bt_caller_adopt((void *const *)contexts, n, p->taken, p->chat_template, l->policy.queue, &l->caller, err);
    if (status)
        return status;
    l->model = bt_model_keep(bt_caller_model(l->caller));
    bt_caller_info(l->caller, &info);
    l->info.ctx = info.ctx;
    l->info.context_bytes = info.memory;
    bt_llama_fill_info(l);
    return BATON_OK;
}

baton_status baton_llama_adopt(baton_llama **llama, struct llama_context *const *contexts, int n,
                               const baton_llama_adopt_params *params, baton_error *err) {
    baton_llama_adopt_params p = BATON_LLAMA_ADOPT_PARAMS;
    baton_policy policy = BATON_POLICY;
    if (!llama)
        return bt_misuse(err, BATON_MISUSE, "baton_llama_adopt needs a place for the model");
    *llama = NULL;
    if (!BT_TAKE(p, params) || !BT_TAKE(policy, p.policy))
        return bt_misuse(err, BATON_MISUSE,
                         "parameters without their size: make them with BATON_LLAMA_ADOPT_PARAMS and BATON_POLICY");
    policy.contexts = n;
    baton_status status = bt_check_policy(&policy, false, err);
    if (status)
        return status;
    if (policy.owner != BATON_OWNER_CALLER)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "adopted contexts are used on the caller's thread: an owner thread makes its own, with "
                       "baton_llama_open");
    for (int i = 0; i < n; i++)
        if (!contexts || !contexts[i])
            return bt_misuse(err, BATON_MISUSE, "context %d of the %d to be adopted is NULL", i, n);
    baton_llama *l = bt_llama_new(&policy, BATON_POOLING_OFF, err);
    if (!l)
        return BATON_NO_MEMORY;
    status = adopt(l, contexts, n, &p, err);
    if (status)
        bt_llama_unref(l);
    else
        *llama = l;
    return status;
}
