/* Pools and leases to programs: validates, then forwards to lease/, whose memory the public types are. No state. */
#include "api/whisper_int.h"

#include <stddef.h>

_Static_assert(sizeof(baton_lease) == sizeof(struct bt_lease), "one lease under two names");
_Static_assert(offsetof(baton_lease, pool) == offsetof(struct bt_lease, pool), "one lease under two names");
_Static_assert(offsetof(baton_lease, slot) == offsetof(struct bt_lease, slot), "one lease under two names");
_Static_assert(offsetof(baton_lease, generation) == offsetof(struct bt_lease, generation), "one lease, two names");
_Static_assert(offsetof(baton_lease, id) == offsetof(struct bt_lease, id), "one lease under two names");
_Static_assert(sizeof(((baton_lease *)0)->slot) == sizeof(((struct bt_lease *)0)->slot), "one lease, two names");
_Static_assert((int)BATON_RESET == (int)BT_RESET && (int)BATON_KEEP == (int)BT_KEEP, "the same numbers");
_Static_assert((int)BATON_DRAIN == (int)BT_CLOSE_DRAIN && (int)BATON_CANCEL == (int)BT_CLOSE_CANCEL, "same numbers");
_Static_assert((int)BATON_REFUSE == (int)BT_REFUSE && (int)BATON_WAIT == (int)BT_WAIT, "the same numbers");

static struct bt_lease *in(const baton_lease *lease) {
    return (struct bt_lease *)lease;
}

static struct bt_pool *pool_in(const baton_pool *pool) {
    return (struct bt_pool *)pool;
}

/* A text is made where the program or its misuse handler wants one: a refusal in a loop is to stay cheap without. */
#define TEXT_PLACE(err)                                                                                                \
    baton_error local_text;                                                                                            \
    if (BT_UNLIKELY(!(err)) && bt_misuse_handled())                                                                    \
    (err) = &local_text

const char *baton_op_text(baton_op op) {
    return bt_op_text((enum bt_op)op);
}

baton_status baton_pool_open(baton_pool **pool, const baton_pool_params *params, baton_error *err) {
    baton_pool_params p = BATON_POOL_PARAMS;
    if (!pool)
        return bt_misuse(err, BATON_MISUSE, "baton_pool_open needs a place for the pool");
    *pool = NULL;
    if (!params || !BT_TAKE(p, params))
        return bt_misuse(err, BATON_MISUSE, "parameters without their size: make them with BATON_POOL_PARAMS");
    if (!p.contexts)
        return bt_misuse(err, BATON_MISUSE, "a pool without contexts: params.contexts is NULL");
    if (p.when_full != BATON_REFUSE && p.when_full != BATON_WAIT)
        return bt_fail(err, BATON_INVALID, "when_full is %d: BATON_REFUSE or BATON_WAIT", (int)p.when_full);
    for (int i = 0; i < BT_MIN(p.n, BT_GATE_SLOTS_MAX); i++)
        if (!p.contexts[i])
            return bt_misuse(err, BATON_MISUSE, "context %d of the pool's %d is NULL", i, p.n);
    const struct bt_pool_params inner = {.name = p.name,
                                         .contexts = p.contexts,
                                         .n_contexts = p.n,
                                         .queue_max = p.queue,
                                         .destroy = p.destroy,
                                         .reset = p.reset,
                                         .when_full = (enum bt_when_full)p.when_full,
                                         .queue_ms = p.queue_ms};
    struct bt_pool *opened;
    baton_status status = bt_pool_open(&inner, &opened, err);
    if (!status)
        *pool = (baton_pool *)opened;
    return status;
}

/* What a request is to a pool. */
static baton_status take_ask(const struct bt_pool *pool, const baton_request *request, struct bt_ask *ask,
                             baton_error *err) {
    baton_policy policy = BATON_POLICY;
    baton_request mine;
    enum bt_when_full when_full;
    if (BT_UNLIKELY(!pool))
        return bt_misuse(err, BATON_MISUSE, "there is no pool (NULL): it was not opened, or is closed");
    bt_pool_presets(pool, &when_full, &policy.queue_ms);
    policy.when_full = (baton_when_full)when_full;
    baton_status status = bt_take_request(request, &policy, &mine, err);
    if (BT_UNLIKELY(status))
        return status;
    *ask = (struct bt_ask){.when_full = mine.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE,
                           .queue_ms = mine.queue_ms,
                           .id = mine.id,
                           .flow = mine.flow,
                           .priority = mine.priority};
    return BATON_OK;
}

/* Not followed by Clang's analysis from here on: a lease under another name is another lease to it. */
BATON_NO_ANALYSIS baton_status baton_lease_acquire(baton_pool *pool, const baton_request *request, baton_lease *lease,
                                                   baton_error *err) {
    struct bt_ask ask;
    TEXT_PLACE(err);
    if (BT_UNLIKELY(!lease))
        return bt_misuse(err, BATON_MISUSE, "acquiring needs a place for the lease");
    *lease = (baton_lease)BATON_LEASE;
    baton_status status = take_ask(pool_in(pool), request, &ask, err);
    return status ? status : bt_told(bt_lease_acquire(pool_in(pool), &ask, in(lease), err), err);
}

BATON_NO_ANALYSIS baton_status baton_lease_ask(baton_pool *pool, const baton_request *request, baton_lease *lease,
                                               baton_ticket **ticket, baton_error *err) {
    struct bt_ask ask;
    TEXT_PLACE(err);
    if (!lease || !ticket)
        return bt_misuse(err, BATON_MISUSE, "baton_lease_ask needs a place for the lease and one for the ticket");
    *lease = (baton_lease)BATON_LEASE;
    *ticket = NULL;
    baton_status status = take_ask(pool_in(pool), request, &ask, err);
    return status ? status
                  : bt_told(bt_lease_ask(pool_in(pool), &ask, in(lease), (struct bt_ticket **)ticket, err), err);
}

BATON_NO_ANALYSIS baton_status baton_lease_poll(baton_ticket **ticket, baton_lease *lease, baton_error *err) {
    TEXT_PLACE(err);
    if (!ticket || !*ticket || !lease)
        return bt_misuse(err, BATON_MISUSE,
                         "baton_lease_poll needs a ticket that baton_lease_ask gave, and a place for the lease");
    return bt_told(bt_lease_poll((struct bt_ticket **)ticket, in(lease), err), err);
}

int baton_ticket_fd(const baton_ticket *ticket) {
    BT_NEED_OR(ticket, "a ticket", -1);
    return bt_ticket_fd((const struct bt_ticket *)ticket);
}

uint64_t baton_ticket_id(const baton_ticket *ticket) {
    BT_NEED_OR(ticket, "a ticket", 0);
    return bt_ticket_id((const struct bt_ticket *)ticket);
}

void baton_ticket_drop(baton_ticket **ticket) {
    bt_ticket_drop((struct bt_ticket **)ticket);
}

/* The device that a context of baton's own takes its turn on; of other pools there is none. */
static struct bt_device *device_of(const struct bt_pool *pool, void *context) {
    bt_native_of *native = bt_pool_native(pool);
    if (native == bt_caller_native)
        return ((const struct bt_context *)context)->device;
    return native == bt_hear_native ? bt_hear_device(context) : NULL;
}

BATON_NO_ANALYSIS baton_status baton_lease_begin(const baton_lease *lease, baton_op op, void **context,
                                                 baton_error *err) {
    TEXT_PLACE(err);
    baton_status status = bt_lease_begin(in(lease), (enum bt_op)op, context, err);
    if (BT_UNLIKELY(status))
        return bt_told(status, err);
    bt_native_of *native = bt_pool_native(in(lease)->pool);
    if (!native) /* no context of baton's own */
        return BATON_OK;
    struct bt_device *device = device_of(in(lease)->pool, *context);
    *context = native(*context);
    if (*context) {
        bt_device_enter(device);
        return BATON_OK;
    }
    bt_lease_end(in(lease));
    return bt_fail(err, BATON_UNSUPPORTED, "this model is not the native library's: there is no context to be shown");
}

BATON_NO_ANALYSIS void baton_lease_end(const baton_lease *lease) {
    void *ours = lease && lease->pool && bt_pool_native(in(lease)->pool) ? bt_lease_context(in(lease)) : NULL;
    if (ours)
        bt_device_leave(device_of(in(lease)->pool, ours));
    if (BT_UNLIKELY(!bt_lease_end(in(lease))))
        bt_misuse(NULL, BATON_MISUSE, "baton_lease_end without a baton_lease_begin on this thread (request %llu)",
                  lease ? (unsigned long long)lease->id : 0ULL);
}

BATON_NO_ANALYSIS baton_status baton_lease_release(baton_lease *lease, baton_release_how how, baton_error *err) {
    TEXT_PLACE(err);
    if (BT_UNLIKELY(how != BATON_RESET && how != BATON_KEEP))
        return bt_misuse(err, BATON_MISUSE, "released how? %d is neither BATON_RESET nor BATON_KEEP", (int)how);
    return bt_told(bt_lease_release(in(lease), (enum bt_release)how, err), err);
}

BATON_NO_ANALYSIS baton_status baton_lease_give(baton_lease *lease, baton_lease *parcel, baton_error *err) {
    TEXT_PLACE(err);
    return bt_told(bt_lease_give(in(lease), in(parcel), err), err);
}

BATON_NO_ANALYSIS baton_status baton_lease_take(baton_lease *parcel, baton_lease *lease, baton_error *err) {
    TEXT_PLACE(err);
    return bt_told(bt_lease_take(in(parcel), in(lease), err), err);
}

bool baton_pool_cancel(baton_pool *pool, uint64_t id) {
    return bt_pool_cancel(pool_in(pool), id);
}

bool baton_lease_cancelled(const baton_lease *lease) {
    return bt_lease_cancelled(in(lease));
}

baton_status baton_pool_close(baton_pool **pool, baton_close_how how, baton_error *err) {
    TEXT_PLACE(err);
    if (!pool || (how != BATON_DRAIN && how != BATON_CANCEL))
        return bt_misuse(err, BATON_MISUSE,
                         "baton_pool_close needs the address of the pool's pointer, and BATON_DRAIN or BATON_CANCEL");
    return bt_told(bt_pool_close((struct bt_pool **)pool, (enum bt_close)how, err), err);
}

int baton_pool_holders(const baton_pool *pool, baton_holder *out, int max) {
    enum { AT_ONCE = BT_GATE_SLOTS_MAX };
    struct bt_holding held[AT_ONCE];
    int n = pool ? bt_pool_holders(pool_in(pool), held, BT_MIN(max, AT_ONCE)) : 0;
    for (int i = 0; i < n; i++)
        out[i] = (baton_holder){held[i].held, held[i].inside, held[i].tid, (baton_op)held[i].op, held[i].for_ms};
    return BT_MAX(n, 0);
}
