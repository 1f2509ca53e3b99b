/* Pools from open to close, and the ends of threads.
 *
 * The memory of a closed pool is never freed but kept for the next one: a stale lease may look at its slot's generation
 * at any later time. A pool is live from open until its last reference is dropped; the references of those who wait or
 * look on keep it from being used again under them. The registry (live and spare pools) has a lock of its own, never
 * taken together with a pool's. */
#include "lease/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "native/native.h"

/* So many are kept untouched, the oldest goes first: who asks a pool just closed is told CLOSED, and does not find
 * itself in another one. */
enum { SPARE_MIN = 16 };

static bt_lock registry_lock;
static struct {
    struct bt_list live, spare;
    int spares;
} registry BATON_GUARDED_BY(registry_lock) = {.live = {&registry.live, &registry.live},
                                              .spare = {&registry.spare, &registry.spare}};

static struct bt_pool *pool_of(struct bt_list *link) {
    return BT_CONTAINER(link, struct bt_pool, link);
}

void bt_pool_ref(struct bt_pool *pool) {
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
}

/* A pool whose references have dropped to none is on its way out of the registry: it is not to be revived. */
static bool ref_if_live(struct bt_pool *pool) {
    int refs = atomic_load(&pool->refs);
    while (refs > 0)
        if (atomic_compare_exchange_weak(&pool->refs, &refs, refs + 1))
            return true;
    return false;
}

void bt_pool_unref(struct bt_pool *pool) {
    if (atomic_fetch_sub(&pool->refs, 1) > 1)
        return;
    bt_lock_acquire(&registry_lock);
    bt_list_remove(&pool->link);
    bt_list_append(&registry.spare, &pool->link);
    registry.spares++;
    bt_lock_release(&registry_lock);
}

/* The live pool after `last` (NULL: the first), referenced; drops the reference to `last`. */
static struct bt_pool *next_live(struct bt_pool *last) {
    struct bt_pool *next = NULL;
    bt_lock_acquire(&registry_lock);
    for (struct bt_list *l = last ? last->link.next : registry.live.next; l != &registry.live && !next; l = l->next)
        if (ref_if_live(pool_of(l)))
            next = pool_of(l);
    bt_lock_release(&registry_lock);
    if (last)
        bt_pool_unref(last);
    return next;
}

/* The spare pool that has waited longest and is large enough, else a new one. */
static struct bt_pool *pool_memory(int n) {
    struct bt_pool *pool = NULL;
    bt_lock_acquire(&registry_lock);
    for (struct bt_list *l = registry.spare.next; l != &registry.spare && !pool; l = l->next)
        if (registry.spares > SPARE_MIN && pool_of(l)->capacity >= n)
            pool = pool_of(l);
    if (pool) {
        bt_list_remove(&pool->link);
        registry.spares--;
    }
    bt_lock_release(&registry_lock);
    if (pool)
        return pool;
    pool = calloc(1, sizeof *pool + (size_t)n * sizeof pool->slots[0]);
    if (!pool)
        return NULL;
    pool->capacity = n;
    bt_list_init(&pool->link);
    for (int i = 0; i < n; i++)
        atomic_init(&pool->slots[i].generation, 1); /* a zeroed lease is stale */
    return pool;
}

baton_status bt_pool_open(const struct bt_pool_params *params, struct bt_pool **out, baton_error *err) {
    if (!out || !params || !params->contexts)
        return bt_fail(err, BATON_MISUSE, "a pool needs params, its contexts, and a place for the pool");
    *out = NULL;
    if (params->n_contexts < 1 || params->n_contexts > BT_GATE_SLOTS_MAX || params->queue_max < 0)
        return bt_fail(err, BATON_INVALID, "a pool has 1 to %d contexts and a queue of at least 0; not %d and %d",
                       BT_GATE_SLOTS_MAX, params->n_contexts, params->queue_max);
    struct bt_pool *pool = pool_memory(params->n_contexts);
    if (!pool)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a pool of %d contexts", params->n_contexts);
    bt_lock_acquire(&pool->lock);
    pool->n = params->n_contexts;
    snprintf(pool->name, sizeof pool->name, "%s", params->name ? params->name : "the context");
    pool->destroy = params->destroy;
    pool->reset = params->reset;
    pool->gone = params->gone;
    pool->gone_arg = params->gone_arg;
    pool->native = params->native;
    pool->when_full = params->when_full;
    pool->queue_ms = params->queue_ms;
    bt_gate_init(&pool->gate, pool->n, params->queue_max);
    pool->lost = 0;
    pool->closing = false;
    pool->finisher = 0;
    for (int i = 0; i < pool->n; i++) {
        pool->slots[i].context = params->contexts[i];
        atomic_store(&pool->slots[i].id, 0);
        pool->slots[i].lost = false;
    }
    bt_meter_reset(pool);
    atomic_store(&pool->stop, false);
    atomic_store(&pool->dead, 0);
    atomic_store(&pool->refs, 1);
    atomic_store(&pool->free, BT_POOL_LOCKED);
    bt_pool_unlock(pool);
    bt_lock_acquire(&registry_lock);
    bt_list_append(&registry.live, &pool->link);
    bt_lock_release(&registry_lock);
    *out = pool;
    return BATON_OK;
}

void bt_pool_lock(struct bt_pool *pool) {
    bt_lock_acquire(&pool->lock);
    uint64_t word = atomic_load_explicit(&pool->free, memory_order_relaxed);
    if (word & BT_POOL_LOCKED)
        return;
    word = atomic_fetch_or_explicit(&pool->free, BT_POOL_LOCKED, memory_order_acquire);
    bt_gate_settle(&pool->gate, word);
}

void bt_pool_unlock(struct bt_pool *pool) {
    const struct bt_gate *g = &pool->gate;
    if (g->queued == 0 && !g->closed && g->slots <= BT_POOL_FAST_MAX)
        atomic_store_explicit(&pool->free, bt_gate_free(g), memory_order_release);
    bt_lock_release(&pool->lock);
}

_Atomic uint32_t *bt_pool_verdict_locked(struct bt_pool *pool, struct bt_waiter *w, baton_status status) {
    struct bt_wait *wait = BT_CONTAINER(w, struct bt_wait, waiter);
    bt_meter_left_locked(pool, wait, status);
    if (status == BATON_OK)
        bt_pool_hold(pool, w->slot, w->id, baton_guard_make(wait->tid, wait->fd < 0 ? BT_OP_IDLE : BT_OP_GIVEN),
                     &wait->lease);
    else
        wait->in_the_way = bt_pool_in_the_way(pool);
    if (wait->fd >= 0) {
        /* under the lock: once it can read its verdict, a ticket's descriptor may be closed and belong to somebody else
         */
        const struct itimerspec at_once = {.it_value = {.tv_nsec = 1}};
        timerfd_settime(wait->fd, 0, &at_once, NULL);
        atomic_store_explicit(&wait->verdict, (uint32_t)status, memory_order_release);
        return NULL;
    }
    atomic_store_explicit(&wait->verdict, (uint32_t)status, memory_order_release);
    return &wait->verdict;
}

static void wake_one(_Atomic uint32_t *word) {
    if (word)
        bt_futex_wake(word, 1);
}

void bt_pool_expire(struct bt_pool *pool) {
    int64_t now = bt_now_ns();
    for (struct bt_waiter *w;;) {
        bt_pool_lock(pool);
        w = bt_gate_expire(&pool->gate, now);
        _Atomic uint32_t *word = w ? bt_pool_verdict_locked(pool, w, BATON_QUEUE_TIMEOUT) : NULL;
        bt_pool_unlock(pool);
        if (!w)
            return;
        wake_one(word);
    }
}

/* Nobody is in any context that could still come back, and nobody will be: destroys them and lets the closers go. */
static void finish(struct bt_pool *pool) BATON_EXCLUDES(pool->lock) {
    for (int i = 0; i < pool->n; i++)
        if (pool->slots[i].lost)
            bt_log(BATON_LOG_WARN, "%s: context %d is not freed: its thread ended inside a native call", pool->name, i);
        else if (pool->destroy)
            pool->destroy(pool->slots[i].context);
    for (int i = 0; i < pool->n; i++)
        if (pool->slots[i].lost) {
            atomic_fetch_add(&pool->slots[i].generation, 1);
            bt_slot_publish(&pool->slots[i], 0);
        }
    if (pool->gone)
        pool->gone(pool->gone_arg);
    atomic_store(&pool->dead, 1);
    bt_futex_wake(&pool->dead, INT_MAX);
    bt_pool_unref(pool);
}

/* True for the one thread that is to call finish. */
static bool may_finish_locked(struct bt_pool *pool) BATON_REQUIRES(pool->lock) {
    if (!pool->closing || pool->finisher || pool->gate.used > pool->lost)
        return false;
    pool->finisher = baton_guard_self();
    return true;
}

/* True if the slot was given back without the gate. */
static bool give_fast(struct bt_pool *pool, struct bt_slot *slot) {
    uint64_t word = atomic_load_explicit(&pool->free, memory_order_relaxed);
    if (word & BT_POOL_LOCKED) /* the guard keeps its word, so that the refused are told who it is */
        return false;
    uint64_t bit = UINT64_C(1) << (slot - pool->slots);
    bt_slot_publish(slot, 0); /* before: after, it may be somebody else's */
    while (!(word & BT_POOL_LOCKED))
        if (atomic_compare_exchange_weak_explicit(&pool->free, &word, word | bit, memory_order_release,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* The slot's word becomes the next holder's, or 0: to Clang's analysis a store like any other. Returns whom to wake. */
static BATON_NO_ANALYSIS _Atomic uint32_t *pass_on_locked(struct bt_pool *pool, struct bt_slot *slot)
    BATON_REQUIRES(pool->lock) BATON_RELEASE(slot->guard) {
    struct bt_waiter holder = {.state = BT_WAITER_GRANTED, .slot = (int)(slot - pool->slots)};
    struct bt_waiter *next = bt_gate_give(&pool->gate, &holder, pool->gate.queued ? bt_now_ns() : 0);
    if (next)
        return bt_pool_verdict_locked(pool, next, BATON_OK);
    bt_slot_publish(slot, 0);
    return NULL;
}

static void give_by_gate(struct bt_pool *pool, struct bt_slot *slot) BATON_EXCLUDES(pool->lock)
    BATON_RELEASE(slot->guard) {
    bt_pool_lock(pool);
    _Atomic uint32_t *word = pass_on_locked(pool, slot);
    bool last = BT_UNLIKELY(pool->closing) && may_finish_locked(pool);
    bt_pool_unlock(pool);
    wake_one(word);
    if (last)
        finish(pool);
}

/* By whoever has the slot. Until when it was used is in the guard's word: the clock is not read once more for it. */
static void meter_use(struct bt_slot *slot) {
    struct bt_slot_meter *m = &slot->meter;
    int32_t ms =
        (int32_t)((uint32_t)baton_guard_read(&slot->guard) - atomic_load_explicit(&m->since_ms, memory_order_relaxed));
    uint64_t held_ms = (uint64_t)BT_MAX(ms, 0); /* two cores may read the clock a moment apart */
    bt_meter_add(&m->held_ms, held_ms);
    bt_meter_add(&m->hold_ms[bt_bucket(held_ms)], 1);
}

/* Not analysed: give_fast may have given the word away, or not. */
BATON_NO_ANALYSIS void bt_pool_give_slot(struct bt_pool *pool, struct bt_slot *slot) {
    uint64_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
    atomic_store_explicit(&slot->generation, generation + 1, memory_order_release);
    atomic_store_explicit(&slot->id, 0, memory_order_relaxed);
    meter_use(slot);
    if (BT_UNLIKELY(!give_fast(pool, slot)))
        give_by_gate(pool, slot);
}

/* One waiter at a time, so that the lock is not held over all of them. */
static void empty_queue(struct bt_pool *pool) BATON_EXCLUDES(pool->lock) {
    for (struct bt_waiter *w;;) {
        bt_pool_lock(pool);
        w = bt_gate_close(&pool->gate);
        _Atomic uint32_t *word = w ? bt_pool_verdict_locked(pool, w, BATON_CLOSED) : NULL;
        bt_pool_unlock(pool);
        if (!w)
            return;
        wake_one(word);
    }
}

static bool held_by_locked(const struct bt_pool *pool, unsigned tid) BATON_REQUIRES(pool->lock) {
    for (int i = 0; i < pool->n; i++)
        if (!pool->slots[i].lost && baton_guard_tid(baton_guard_read(&pool->slots[i].guard)) == tid)
            return true;
    return false;
}

baton_status bt_pool_close(struct bt_pool **handle, enum bt_close how, baton_error *err) {
    if (!handle)
        return bt_fail(err, BATON_MISUSE, "closing needs the address of the pool's pointer");
    struct bt_pool *pool = *handle;
    *handle = NULL;
    if (!pool || !ref_if_live(pool))
        return BATON_OK;
    empty_queue(pool);
    bt_pool_lock(pool);
    pool->closing = true;
    if (how == BT_CLOSE_CANCEL) /* not slot by slot: one that was just granted is about to clear its flag */
        atomic_store_explicit(&pool->stop, true, memory_order_release);
    bool last = may_finish_locked(pool);
    bool mine = held_by_locked(pool, baton_guard_self()) || pool->finisher == baton_guard_self();
    bt_pool_unlock(pool);
    if (last)
        finish(pool);
    while (!mine && !atomic_load(&pool->dead))
        bt_futex_wait(&pool->dead, 0, BT_NEVER_NS);
    bt_pool_unref(pool);
    return BATON_OK;
}

bt_native_of *bt_pool_native(const struct bt_pool *pool) {
    return pool->native;
}

void bt_pool_presets(const struct bt_pool *pool, enum bt_when_full *when_full, int64_t *queue_ms) {
    *when_full = pool->when_full;
    *queue_ms = pool->queue_ms;
}

int bt_pool_queued(struct bt_pool *pool) {
    bt_pool_lock(pool);
    int queued = pool->gate.queued;
    bt_pool_unlock(pool);
    return queued;
}

int bt_pool_holders(const struct bt_pool *pool, struct bt_holding *out, int max) {
    int n = BT_MIN(max, pool->n);
    for (int i = 0; i < n; i++) {
        baton_guard_word word = baton_guard_read(&pool->slots[i].guard);
        out[i] = (struct bt_holding){.held = word != 0,
                                     .inside = word && bt_op_inside(baton_guard_op(word)),
                                     .tid = baton_guard_tid(word),
                                     .op = (enum bt_op)baton_guard_op(word),
                                     .for_ms = word ? baton_guard_ms(word) : 0};
    }
    return n;
}

/* The ends of threads. A thread that ever held a lease has a value under the key; its destructor looks through the live
 * pools for words with its id. The id is still the thread's own then, so it cannot be a later thread's. */
static pthread_key_t end_key;
static bool end_key_made;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
static _Thread_local bool watched;

/* A context was lost: who sleeps for it while holding the others would do so for ever. */
static void wake_the_stuck(struct bt_pool *pool) BATON_EXCLUDES(pool->lock) {
    for (struct bt_waiter *w;;) {
        _Atomic uint32_t *word = NULL;
        bt_pool_lock(pool);
        for (w = NULL; !word && (w = bt_gate_each(&pool->gate, w));) {
            const struct bt_wait *wait = BT_CONTAINER(w, struct bt_wait, waiter);
            if (wait->fd >= 0 || !bt_lease_stuck_locked(pool, wait->tid, w->deadline_ns))
                continue;
            bt_gate_withdraw(&pool->gate, w);
            word = bt_pool_verdict_locked(pool, w, BATON_WOULD_DEADLOCK);
        }
        bt_pool_unlock(pool);
        if (!word)
            return;
        wake_one(word);
    }
}

static void lose_slot(struct bt_pool *pool, struct bt_slot *slot, baton_guard_word word) BATON_EXCLUDES(pool->lock) {
    bt_log(BATON_LOG_ERROR,
           "%s: thread %u ended inside a native call (%s); its context is lost. Return from the native call before the "
           "thread ends",
           pool->name, baton_guard_tid(word), bt_op_text((enum bt_op)baton_guard_op(word)));
    bt_pool_lock(pool);
    slot->lost = true;
    bool all = ++pool->lost == pool->n;
    bool last = may_finish_locked(pool);
    bt_pool_unlock(pool);
    if (all) /* nobody would ever be served again */
        empty_queue(pool);
    else
        wake_the_stuck(pool);
    if (last)
        finish(pool);
}

static void end_in_pool(struct bt_pool *pool, unsigned tid) BATON_EXCLUDES(pool->lock) {
    for (int i = 0; i < pool->n; i++) {
        struct bt_slot *slot = &pool->slots[i];
        baton_guard_word word = baton_guard_read(&slot->guard);
        if (baton_guard_tid(word) != tid || baton_guard_op(word) == BT_OP_GIVEN || slot->lost)
            continue;
        if (bt_op_inside(baton_guard_op(word))) {
            lose_slot(pool, slot, word);
        } else if (baton_guard_take(&slot->guard, word, BT_OP_RESET) == 0) {
            bt_log(BATON_LOG_WARN,
                   "%s: thread %u ended while it held a lease (request %llu); released. Release it before the thread "
                   "ends, or hand it on with give and take",
                   pool->name, tid, (unsigned long long)atomic_load(&slot->id));
            if (pool->reset)
                pool->reset(slot->context);
            bt_pool_give_slot(pool, slot);
        }
    }
}

static void thread_ends(void *unused) {
    (void)unused;
    watched = false; /* a later destructor may still acquire, and must be noticed again */
    unsigned tid = baton_guard_self();
    bt_device_thread_ends(tid); /* before: it may reset a context of that device */
    for (struct bt_pool *pool = NULL; (pool = next_live(pool));)
        end_in_pool(pool, tid);
}

static void make_end_key(void) {
    end_key_made = pthread_key_create(&end_key, thread_ends) == 0;
}

static bool watch_thread_slow(void) {
    pthread_once(&end_once, make_end_key);
    watched = end_key_made && pthread_setspecific(end_key, &end_key) == 0;
    return watched;
}

bool bt_pool_watch_thread(void) {
    return BT_LIKELY(watched) || watch_thread_slow();
}
