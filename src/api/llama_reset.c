/* Emptying the caches of all contexts. owner = caller: leases on them, one after the other, kept until all are there.
 * Two resets may each hold what the other needs: the leases see that, and one of them is told instead of waiting.
 * Otherwise each owner is asked. Stateless. */
#include "api/api.h"

static baton_status empty(const struct bt_lease *lease, baton_error *err) BATON_REQUIRES(lease) {
    void *context;
    baton_status status = bt_lease_begin(lease, BT_OP_RESET, &context, err);
    if (status)
        return status;
    struct bt_context *c = context;
    c->ops->seq_rm(c, 0, 0, -1);
    bt_lease_end(lease);
    return BATON_OK;
}

/* Not analysed: Clang cannot tell one element of an array from another. */
static BATON_NO_ANALYSIS baton_status reset_all(baton_llama *l, const struct bt_ask *ask, baton_error *err) {
    struct bt_lease leases[BT_CONTEXTS_MAX];
    baton_error ignored;
    baton_status status = BATON_OK;
    int n = 0;
    while (n < l->policy.contexts && !status) {
        status = bt_lease_acquire(bt_caller_pool(l->caller), ask, &leases[n], err);
        if (!status)
            status = empty(&leases[n++], err);
    }
    for (int i = 0; i < n; i++)
        bt_lease_release(&leases[i], BT_RESET, &ignored);
    return status;
}

/* Every idle sequence of every context is emptied, whatever the others say. */
static baton_status reset_owners(baton_llama *l, const baton_request *r, baton_error *err) {
    baton_status status = BATON_OK;
    for (int i = 0; i < l->policy.contexts; i++) {
        struct bt_call call = {.op = BT_CALL_RESET, .number = r->when_full == BATON_WAIT, .bytes = {"", 0}};
        struct bt_buf none = BT_BUF_INIT;
        baton_error why;
        baton_status one =
            bt_io_call(l->io, i, &call, bt_deadline(bt_now_ns(), call.number ? r->queue_ms : -1), &none, &why);
        bt_buf_free(&none);
        if (one == BATON_STALE || one == BATON_CRASHED) /* one that has ended, or begins anew, has nothing */
            one = BATON_OK;
        if (one && !status)
            bt_io_who(l->io, &why);
        status = status ? status
                 : one  ? bt_fail(err, one, "context %d: %.*s", i, BATON_ERROR_TEXT_MAX - 32, why.text)
                        : BATON_OK;
    }
    return status;
}

baton_status baton_llama_reset(baton_llama *llama, const baton_request *request, baton_error *err) {
    baton_request mine;
    BT_IN_CALL(llama);
    BT_NEED(llama, "a model", err);
    baton_status status = bt_llama_request(llama, request, &mine, err);
    if (status)
        return status;
    if (llama->io)
        return bt_llama_verdict(llama, reset_owners(llama, &mine, err), err);
    struct bt_ask ask = {mine.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE, mine.queue_ms, 0, mine.flow,
                         mine.priority};
    return bt_llama_verdict(llama, reset_all(llama, &ask, err), err);
}
