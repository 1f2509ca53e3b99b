/* Leases: the right to use a context now, for threads. A pool is N contexts of one kind under one gate; a lease names
 * one of them, its generation, and nothing else can reach the native pointer.
 *
 * Invariant: at most one generation of a slot is good. acquire, take and give make a new one, release makes the old one
 * bad; every call on a lease compares before it acts, so a stale lease is an error and never a use, even after its pool
 * was closed: the memory of pools is kept and used again, and generations go on counting.
 *
 * Hand-off is allowed, overlap is not: what is checked is contention, not which thread comes. A slot's guard word
 * (baton/guard.h) says who holds it, in which operation, since when: a refused caller's text is made of it. Its thread
 * is the last one that acquired, took or began with the lease; when that thread ends, the lease ends with it, with a
 * warning. A lease that shall outlive its thread is handed on with give and take.
 *
 * fork: a child inherits memory, not threads. The pool's words then name threads of the parent, its lock may be taken
 * for ever, and tickets' descriptors are shared with the parent; so a child that forks without exec must not use, close
 * or wait for a pool, a lease or a ticket that it inherited. It may open pools of its own only if no other thread of
 * the parent was in this library at the fork, as the registry's lock is inherited, too; else exec first.
 *
 * For Clang's analysis a lease is one thing that can be held, and being inside its context another, which goes by the
 * name of the member `pool`: begin takes it, end gives it back, release and give must not have it (baton/annotate.h).
 *
 * Locking: while nobody queues a free context is taken and given back by one compare-and-swap on the pool's word of
 * free slots. Else one small lock per pool around the gate's state. Never held across a native call or a callback;
 * never two locks at once. begin and end take none. */
#ifndef BT_LEASE_H
#define BT_LEASE_H

#include "base/base.h"
#include "baton/annotate.h"
#include "gate/gate.h"

struct BATON_CAPABILITY("context") bt_pool;

/* The public operations under this folder's names. */
enum bt_op {
#define BT_OP_ENUM(name, number, text) BT_OP_##name = number,
    BATON_OP_MAP(BT_OP_ENUM)
#undef BT_OP_ENUM
        BT_OP_COUNT
};
const char *bt_op_text(enum bt_op op);

/* Caller-owned; copies are the same lease. */
struct BATON_CAPABILITY("lease") bt_lease {
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
    void (*gone)(void *arg);        /* may be NULL: called once the contexts are destroyed, for what they stand on */
    void *gone_arg;
    /* what the public layer asks for */
    void *(*native)(void *context); /* may be NULL: what a program is shown for it; NULL from it: nothing to show */
    enum bt_when_full when_full;    /* of a request that does not say */
    int64_t queue_ms;
};

struct bt_ask {
    enum bt_when_full when_full; /* BT_REFUSE is 0: misuse must be loud */
    int64_t queue_ms;            /* < 0: never times out */
    uint64_t id;                 /* names this request in bt_pool_cancel, below 2^63; 0: a fresh one, above it */
    uint64_t flow;
    int priority; /* 0 .. BT_PRIORITIES - 1; 0 is served first */
};

/* Fresh ids have this bit. */
#define BT_ID_FRESH (UINT64_C(1) << 63)

enum bt_release { BT_RESET, BT_KEEP };
enum bt_close { BT_CLOSE_DRAIN, BT_CLOSE_CANCEL };

baton_status bt_pool_open(const struct bt_pool_params *params, struct bt_pool **pool, baton_error *err);

/* BATON_OK: *lease holds. Any thread. Blocks under BT_WAIT until one of these:
 *   _BUSY            refuse: its text names thread, operation, since when, and the cure. Also when the holder is this
 *                    thread, between its native calls
 *   _REENTRANT       every context of the pool is this thread's and it is inside a native call of one: a callback
 *   _WOULD_DEADLOCK  wait: this thread holds every context; or all are held by threads that wait for another one here,
 *                    this one included, and none of them would give up before this one's deadline;
 *                    or came to be so because a thread ended inside a native call
 *   _QUEUE_FULL, _QUEUE_TIMEOUT, _CANCELLED, _CLOSED, _MISUSE, _NO_MEMORY
 * A free context is granted whatever else this thread holds. ask may be NULL: refuse. */
baton_status bt_lease_acquire(struct bt_pool *pool, const struct bt_ask *ask, struct bt_lease *lease, baton_error *err)
    BATON_TRY_ACQUIRE(0, lease);

/* The same for a request that has a lease already, in another pool, and needs this one, too: once `within` is cancelled
 * the wait is _CANCELLED, if whoever cancels looks for the request there first, and here after. */
baton_status bt_lease_acquire_within(struct bt_pool *pool, const struct bt_ask *ask, const struct bt_lease *within,
                                     struct bt_lease *lease, baton_error *err) BATON_TRY_ACQUIRE(0, lease);

/* The same without blocking, for event loops: BATON_AGAIN means queued, and *ticket is given. Its descriptor becomes
 * readable when there is a verdict, the timeout included, and stays so: poll it, never read it. A thread that holds
 * every context may queue, even from inside a callback: it is not waiting. Any thread may poll, which makes it the
 * holder. A ticket is polled until its verdict or dropped; one that is forgotten keeps its slot once it is granted. */
struct bt_ticket;
baton_status bt_lease_ask(struct bt_pool *pool, const struct bt_ask *ask, struct bt_lease *lease,
                          struct bt_ticket **ticket, baton_error *err) BATON_TRY_ACQUIRE(0, lease);
/* BATON_AGAIN: no verdict yet. Anything else is the verdict, as from bt_lease_acquire; *ticket is then NULL. */
baton_status bt_lease_poll(struct bt_ticket **ticket, struct bt_lease *lease, baton_error *err)
    BATON_TRY_ACQUIRE(0, lease);
int bt_ticket_fd(const struct bt_ticket *ticket);
uint64_t bt_ticket_id(const struct bt_ticket *ticket);
/* The caller has lost interest: leaves the queue, or gives the slot back if it was granted meanwhile. */
void bt_ticket_drop(struct bt_ticket **ticket);

/* Around every native call: marks what the holder is inside of, on whatever thread it runs. _STALE; _REENTRANT when
 * this thread is inside one already, _BUSY when another one is (copies of a lease, used at once); _MISUSE for a parcel
 * that was not taken. The context comes back from begin, so that it cannot be had otherwise. Blocks never. */
baton_status bt_lease_begin(const struct bt_lease *lease, enum bt_op op, void **context, baton_error *err)
    BATON_REQUIRES(lease) BATON_TRY_ACQUIRE(0, lease->pool);
/* False: there was no begin on this thread, and nothing was done. */
bool bt_lease_end(const struct bt_lease *lease) BATON_REQUIRES(lease) BATON_RELEASE(lease->pool);

/* What begin gave, once more; NULL unless this thread is between begin and end of this very lease. */
void *bt_lease_context(const struct bt_lease *lease);

/* Gives the slot to the next waiter and zeroes the lease. _STALE if it is none (any more); _REENTRANT from inside a
 * native call, _BUSY while another thread is inside. A parcel that nobody took may be released, too. */
baton_status bt_lease_release(struct bt_lease *lease, enum bt_release how, baton_error *err) BATON_RELEASE(lease)
    BATON_EXCLUDES(lease->pool);

/* Hands the right on: after give, `lease` is stale, and `parcel` can be taken by any one thread, once. In between no
 * thread holds it and none has to live on for it. Errors as for release. */
baton_status bt_lease_give(struct bt_lease *lease, struct bt_lease *parcel, baton_error *err) BATON_RELEASE(lease)
    BATON_EXCLUDES(lease->pool);
baton_status bt_lease_take(struct bt_lease *parcel, struct bt_lease *lease, baton_error *err)
    BATON_TRY_ACQUIRE(0, lease);

/* Of the request with that id: true if it was queued (it gets CANCELLED) or holds a lease (bt_lease_cancelled says so
 * from now on, after a hand-over, too). Touches nobody else; false if there is no such request. */
bool bt_pool_cancel(struct bt_pool *pool, uint64_t id);
bool bt_lease_cancelled(const struct bt_lease *lease); /* false for a stale one: it says nothing about the new holder */

/* Refuses new requests, gives waiters CLOSED, waits for the holders (drain), which are told to stop as by
 * bt_pool_cancel (cancel), and destroys the contexts after the last native return. *pool is NULL after; twice is
 * harmless. While this thread holds one of the pool's leases, from inside a native call above all, it cannot wait: the
 * rest is then done by whoever releases the last lease. A context whose thread ended inside a native call is left
 * alone, with a warning. After it has returned, no other copy of the pointer may be used. */
baton_status bt_pool_close(struct bt_pool **pool, enum bt_close how, baton_error *err);

/* Who holds what, for diagnostics: takes no lock. Returns the number of contexts written to out. */
struct bt_holding {
    bool held, inside;
    unsigned tid;
    enum bt_op op;
    int64_t for_ms; /* in this operation */
};
int bt_pool_holders(const struct bt_pool *pool, struct bt_holding *out, int max);

/* All that is known of a pool, without its lock (snapshot.c). s->size is the caller's business. */
baton_status bt_pool_snapshot(const struct bt_pool *pool, baton_snapshot *s, baton_error *err);

/* What the pool was opened with; does not change while it is open. */
typedef void *bt_native_of(void *context);
bt_native_of *bt_pool_native(const struct bt_pool *pool);
void bt_pool_presets(const struct bt_pool *pool, enum bt_when_full *when_full, int64_t *queue_ms);

/* How many wait now. */
int bt_pool_queued(struct bt_pool *pool);

#endif
