/* Leases: the right to use a context now, for threads. A pool is N contexts of one kind under one gate; a lease names
 * one of them, its generation, and nothing else can reach the native pointer.
 *
 * Invariant: at most one lease per slot has the slot's generation. acquire and take make the generation new, release
 * and give make it old; every call on a lease compares before it acts, so a stale lease is an error and never a use.
 *
 * Hand-off is allowed, overlap is not: what is checked is contention, not which thread comes. The slot's guard word
 * (baton/guard.h) says who holds it, in which operation, since when: it is what a refused caller's text is made of.
 *
 * Locking: one small lock per pool around the gate's state. Never held across a native call or a callback; never two
 * locks at once. */
#ifndef BT_LEASE_H
#define BT_LEASE_H

#include "base/base.h"
#include "gate/gate.h"

struct bt_pool;

/* Operations, as texts name them. */
#define BT_OP_MAP(X)                                                                                                   \
    X(IDLE, "idle")                                                                                                    \
    X(GENERATE, "generate")                                                                                            \
    X(STREAM, "stream")                                                                                                \
    X(PREFILL, "prefill")                                                                                              \
    X(DECODE, "decode")                                                                                                \
    X(LOGITS, "read logits")                                                                                           \
    X(SAMPLE, "sample")                                                                                                \
    X(MEMORY, "edit the KV cache")                                                                                     \
    X(STATE, "save or restore state")                                                                                  \
    X(EMBED, "embed")                                                                                                  \
    X(TRANSCRIBE, "transcribe")                                                                                        \
    X(DRAW, "generate image")                                                                                          \
    X(FREE, "free")                                                                                                    \
    X(USER, "user code")
enum bt_op {
#define BT_OP_ENUM(name, text) BT_OP_##name,
    BT_OP_MAP(BT_OP_ENUM)
#undef BT_OP_ENUM
        BT_OP_COUNT
};
const char *bt_op_text(enum bt_op op);

/* Caller-owned; copies are the same lease. */
struct bt_lease {
    struct bt_pool *pool;
    int slot;
    uint64_t generation;
    uint64_t id;
};

struct bt_pool_params {
    const char *name; /* borrowed for the call: what texts call the contexts, "llama context 'tiny'" */
    void *const
        *contexts; /* borrowed for the call; the pointers in it belong to the caller until bt_pool_close is done */
    int n_contexts;
    int queue_max;
    void (*destroy)(void *context); /* may be NULL: called for each context once nobody can be in it */
    void (*reset)(void *context);   /* may be NULL: what BT_RESET does */
};

struct bt_ask {
    enum bt_when_full when_full; /* BT_REFUSE is 0: misuse must be loud */
    int64_t queue_ms;            /* < 0: never times out */
    uint64_t id;                 /* names this request in bt_pool_cancel; 0: a fresh one */
    uint64_t flow;
    int priority;
};

enum bt_release { BT_RESET, BT_KEEP };
enum bt_close { BT_CLOSE_DRAIN, BT_CLOSE_CANCEL };

baton_status bt_pool_open(const struct bt_pool_params *params, struct bt_pool **pool, baton_error *err);

/* BATON_OK: *lease holds. _BUSY (refuse: its text names thread, operation, since when, and the cure), _REENTRANT (this
 * thread is inside a native call of that context), _WOULD_DEADLOCK (wait, and this thread holds every context),
 * _QUEUE_FULL, _QUEUE_TIMEOUT, _CANCELLED, _CLOSED, _MISUSE. Any thread. Blocks under BT_WAIT until one of these. */
baton_status bt_lease_acquire(struct bt_pool *pool, const struct bt_ask *ask, struct bt_lease *lease, baton_error *err);

/* Without blocking: BATON_AGAIN means queued; bt_pool_eventfd becomes readable when some queued request has its
 * verdict, and bt_lease_poll then tells. A queued ticket is withdrawn by bt_pool_cancel. */
struct bt_ticket;
baton_status bt_lease_ask(struct bt_pool *pool, const struct bt_ask *ask, struct bt_lease *lease,
                          struct bt_ticket **ticket, baton_error *err);
baton_status bt_lease_poll(struct bt_ticket **ticket, struct bt_lease *lease, baton_error *err);
int bt_ticket_fd(const struct bt_ticket *ticket);

/* Around every native call: marks what the holder is inside of. _STALE; _REENTRANT when already inside one. The
 * context comes back from begin, so that it cannot be had otherwise. */
baton_status bt_lease_begin(struct bt_lease *lease, enum bt_op op, void **context, baton_error *err);
void bt_lease_end(struct bt_lease *lease);

/* Gives the slot to the next waiter and zeroes the lease. _STALE if it is none (any more); _REENTRANT from inside a
 * native call. */
baton_status bt_lease_release(struct bt_lease *lease, enum bt_release how, baton_error *err);

/* Hands the right on: after give, `lease` is stale, and `parcel` can be taken by any one thread. */
baton_status bt_lease_give(struct bt_lease *lease, struct bt_lease *parcel, baton_error *err);
baton_status bt_lease_take(struct bt_lease *parcel, struct bt_lease *lease, baton_error *err);

/* Of the request with that id: true if it was queued (it gets CANCELLED) or holds a lease (bt_lease_cancelled says so
 * from now on). Touches nobody else; false if there is no such request. */
bool bt_pool_cancel(struct bt_pool *pool, uint64_t id);
bool bt_lease_cancelled(const struct bt_lease *lease);

/* Refuses new requests, gives waiters CLOSED, waits for (drain) or also cancels (cancel) the holders, destroys the
 * contexts after the last native return. Twice is harmless. From inside a native call of the pool: deferred to that
 * call's release. *pool is NULL after. */
baton_status bt_pool_close(struct bt_pool **pool, enum bt_close how, baton_error *err);

/* Who holds what, for diagnostics: takes no lock. Returns the number of contexts written to out. */
struct bt_holding {
    bool held, inside;
    unsigned tid;
    enum bt_op op;
    int64_t since_ms;
};
int bt_pool_holders(const struct bt_pool *pool, struct bt_holding *out, int max);

#endif
