/* lease/: acquire, use, hand on, release, on a context that tells when two are in it. */
#include "harness.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "baton/guard.h"
#include "lease/lease.h"
#include "overlap.h"

enum { CONTEXTS_MAX = 3 };

static struct overlap contexts[CONTEXTS_MAX];
static _Atomic int resets, destroyed;

static void count_reset(void *context) {
    overlap_enter(context);
    resets++;
    overlap_leave(context);
}
static void count_destroy(void *context) {
    overlap_enter(context); /* and never leaves: any later use is an overlap */
    destroyed++;
}

static struct bt_pool *open_pool(int n, int queue_max) {
    void *pointers[CONTEXTS_MAX];
    struct bt_pool *pool = NULL;
    memset(contexts, 0, sizeof contexts);
    resets = destroyed = 0;
    for (int i = 0; i < n; i++)
        pointers[i] = &contexts[i];
    const struct bt_pool_params params = {.name = "llama context 'tiny'",
                                          .contexts = pointers,
                                          .n_contexts = n,
                                          .queue_max = queue_max,
                                          .destroy = count_destroy,
                                          .reset = count_reset};
    assert_int_equal(bt_pool_open(&params, &pool, NULL), BATON_OK);
    return pool;
}

static void close_pool(struct bt_pool *pool, int n) {
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_null(pool);
    assert_int_equal(destroyed, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(contexts[i].overlaps, 0);
}

static const struct bt_ask refuse = {.when_full = BT_REFUSE, .priority = 1};
static const struct bt_ask wait_long = {.when_full = BT_WAIT, .queue_ms = -1, .priority = 1};
/* For waits that must not come to be, or must end: only a broken lease makes use of its time. */
static const struct bt_ask wait_some = {.when_full = BT_WAIT, .queue_ms = 3000, .priority = 1};

/* The transaction, as every user of a lease is to write it: what is read from the context is read under the lease. */
static uint64_t transaction(struct bt_lease *lease, uint64_t token) {
    struct overlap *c;
    uint64_t logits;
    assert_int_equal(bt_lease_begin(lease, BT_OP_DECODE, (void **)&c, NULL), BATON_OK);
    overlap_decode(c, token);
    bt_lease_end(lease);
    sched_yield();
    assert_int_equal(bt_lease_begin(lease, BT_OP_LOGITS, (void **)&c, NULL), BATON_OK);
    logits = overlap_logits(c);
    bt_lease_end(lease);
    return logits;
}

/* A thread that acquires, stays inside a decode until told, and releases. */
struct visitor {
    struct bt_pool *pool;
    struct bt_ask ask;
    enum bt_op op;
    pthread_t thread;
    _Atomic bool inside, go;
    baton_status acquired, released;
    baton_error err;
    unsigned tid;
    uint64_t order;
    bool exit_holding, exit_inside;
};
static _Atomic uint64_t arrivals;

static void *visit(void *arg) {
    struct visitor *v = arg;
    struct bt_lease lease;
    struct overlap *c;
    v->tid = baton_guard_self();
    pthread_setname_np(pthread_self(), "worker-b");
    v->acquired = bt_lease_acquire(v->pool, &v->ask, &lease, &v->err);
    if (v->acquired != BATON_OK)
        return NULL;
    v->order = ++arrivals;
    if (bt_lease_begin(&lease, v->op, (void **)&c, &v->err) == BATON_OK) {
        overlap_enter(c);
        v->inside = true;
        overlap_wait_until(v->go);
        overlap_leave(c);
        if (v->exit_inside)
            return NULL;
        bt_lease_end(&lease);
    }
    if (v->exit_holding)
        return NULL;
    v->released = bt_lease_release(&lease, BT_KEEP, &v->err);
    return NULL;
}

static void start(struct visitor *v, struct bt_pool *pool, const struct bt_ask *ask) {
    *v = (struct visitor){.pool = pool, .ask = *ask, .op = BT_OP_DECODE};
    assert_int_equal(pthread_create(&v->thread, NULL, visit, v), 0);
}

static void start_inside(struct visitor *v, struct bt_pool *pool) {
    start(v, pool, &wait_long);
    overlap_wait_until(v->inside);
}

static void finish(struct visitor *v) {
    v->go = true;
    pthread_join(v->thread, NULL);
}

static void probe_P01_refuse_names_thread_operation_time_and_cure(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    for (enum bt_op op = BT_OP_GENERATE; op < BT_OP_RESET; op++) {
        struct visitor v = {.pool = pool, .ask = refuse, .op = op};
        struct bt_lease lease;
        baton_error err;
        char thread[64], in[64];
        assert_int_equal(pthread_create(&v.thread, NULL, visit, &v), 0);
        overlap_wait_until(v.inside);
        assert_int_equal(bt_lease_acquire(pool, &refuse, &lease, &err), BATON_BUSY);
        assert_null(lease.pool);
        snprintf(thread, sizeof thread, "thread %u 'worker-b'", v.tid);
        snprintf(in, sizeof in, "has been in %s for ", bt_op_text(op));
        assert_non_null(strstr(err.text, "llama context 'tiny' is in use"));
        assert_non_null(strstr(err.text, thread));
        assert_non_null(strstr(err.text, in));
        assert_non_null(strstr(err.text, " ms. Try again"));
        finish(&v);
        assert_int_equal(v.released, BATON_OK); /* the first is undisturbed */
    }
    close_pool(pool, 1);
}

struct worker {
    struct bt_pool *pool;
    pthread_t thread;
    uint64_t seed;
    int rounds, wrong, failed;
};

static void *works(void *arg) {
    struct worker *w = arg;
    for (int i = 0; i < w->rounds; i++) {
        struct bt_lease lease;
        uint64_t token = w->seed + (uint64_t)i;
        if (bt_lease_acquire(w->pool, &wait_long, &lease, NULL) != BATON_OK) {
            w->failed++;
            continue;
        }
        w->wrong += transaction(&lease, token) != overlap_expected(token);
        w->failed += bt_lease_release(&lease, i % 2 ? BT_KEEP : BT_RESET, NULL) != BATON_OK;
    }
    return NULL;
}

static void work_together(struct bt_pool *pool, int n, int rounds) {
    struct worker workers[8];
    for (int i = 0; i < n; i++) {
        workers[i] = (struct worker){.pool = pool, .seed = (uint64_t)i << 32, .rounds = rounds};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, works, &workers[i]), 0);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
        assert_int_equal(workers[i].wrong, 0);
    }
}

static void probe_P02_under_wait_all_complete_and_never_overlap(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 8);
    work_together(pool, 6, 300);
    assert_int_equal(contexts[0].overlaps, 0);
    assert_int_equal(contexts[0].state, 6 * 300);
    assert_int_equal(resets, 6 * 150);
    close_pool(pool, 1);
}

static void probe_P02_waiters_are_served_in_order(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 8);
    struct visitor first, v[6];
    arrivals = 0;
    start_inside(&first, pool);
    for (int i = 0; i < 6; i++) {
        start(&v[i], pool, &wait_long);
        overlap_wait_until(bt_pool_queued(pool) == i + 1);
    }
    for (int i = 0; i < 6; i++)
        v[i].go = true;
    finish(&first);
    for (int i = 0; i < 6; i++) {
        finish(&v[i]);
        assert_int_equal(v[i].acquired, BATON_OK);
        assert_int_equal(v[i].order, i + 2);
    }
    close_pool(pool, 1);
}

static void *uses(void *lease) {
    return transaction(lease, 5) == overlap_expected(5) ? lease : NULL;
}
static void *releases(void *lease) {
    return bt_lease_release(lease, BT_KEEP, NULL) == BATON_OK ? lease : NULL;
}
struct hand {
    struct bt_lease parcel, lease;
    baton_status taken;
};
static void *takes(void *arg) {
    struct hand *h = arg;
    h->taken = bt_lease_take(&h->parcel, &h->lease, NULL);
    if (h->taken != BATON_OK || transaction(&h->lease, 9) != overlap_expected(9))
        return NULL;
    return bt_lease_release(&h->lease, BT_KEEP, NULL) == BATON_OK ? arg : NULL;
}

static void *on_a_thread(void *(*body)(void *), void *arg) {
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    pthread_join(thread, &result);
    return result;
}

static struct bt_lease must_acquire(struct bt_pool *pool) {
    struct bt_lease lease;
    assert_int_equal(bt_lease_acquire(pool, &refuse, &lease, NULL), BATON_OK);
    return lease;
}

static void *gives(void *arg) {
    struct bt_lease lease = must_acquire(((struct visitor *)arg)->pool), *parcel = malloc(sizeof *parcel);
    assert_int_equal(bt_lease_give(&lease, parcel, NULL), BATON_OK);
    return parcel;
}

static void probe_P03_a_lease_goes_from_thread_to_thread(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease lease = must_acquire(pool), copy;
    assert_null(on_a_thread(takes, &(struct hand){0})); /* an empty parcel */
    /* made here, used by giving to two others in turn */
    for (int i = 0; i < 2; i++) {
        struct hand h;
        copy = lease;
        assert_int_equal(bt_lease_give(&lease, &h.parcel, NULL), BATON_OK);
        assert_non_null(on_a_thread(takes, &h));
        assert_int_equal(bt_lease_release(&copy, BT_KEEP, NULL), BATON_STALE);
        lease = must_acquire(pool);
    }
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
    /* a parcel outlives the thread that made it, and may be released untaken */
    struct visitor v = {.pool = pool};
    struct bt_lease *parcel = on_a_thread(gives, &v);
    assert_int_equal(bt_lease_acquire(pool, &refuse, &lease, NULL), BATON_BUSY);
    assert_non_null(on_a_thread(releases, parcel));
    free(parcel);
    lease = must_acquire(pool);
    assert_int_equal(bt_lease_release(&lease, BT_RESET, NULL), BATON_OK);
    close_pool(pool, 1);
}

static void probe_P03_what_was_handed_on_or_released_is_stale(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease lease = must_acquire(pool), old = lease, parcel, again;
    void *c;
    baton_error err;
    assert_int_equal(bt_lease_give(&lease, &parcel, NULL), BATON_OK);
    struct bt_lease second = parcel;
    assert_int_equal(bt_lease_begin(&parcel, BT_OP_DECODE, &c, &err), BATON_MISUSE); /* take it first */
    assert_int_equal(bt_lease_take(&parcel, &again, NULL), BATON_OK);
    assert_int_equal(bt_lease_take(&second, &lease, &err), BATON_STALE); /* one taker */
    assert_int_equal(bt_lease_begin(&old, BT_OP_DECODE, &c, &err), BATON_STALE);
    assert_null(c);
    assert_non_null(strstr(err.text, "released or handed on"));
    assert_int_equal(bt_lease_give(&old, &parcel, NULL), BATON_STALE);
    assert_int_equal(bt_lease_take(&again, &lease, &err), BATON_MISUSE); /* was never given */
    assert_false(bt_lease_cancelled(&old));
    assert_int_equal(transaction(&again, 3), overlap_expected(3));
    old = again;
    assert_int_equal(bt_lease_release(&again, BT_KEEP, NULL), BATON_OK);
    assert_int_equal(bt_lease_release(&again, BT_KEEP, NULL), BATON_STALE);
    lease = must_acquire(pool);
    assert_int_equal(bt_lease_begin(&old, BT_OP_DECODE, &c, NULL), BATON_STALE); /* same slot, same thread */
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
    close_pool(pool, 1);
    assert_int_equal(bt_lease_begin(&old, BT_OP_DECODE, &c, NULL), BATON_STALE); /* its pool is gone */
}

static void *uses_and_gives_back(void *lease) {
    struct hand h;
    if (!uses(lease) || bt_lease_give(lease, &h.parcel, NULL) != BATON_OK)
        return NULL;
    *(struct bt_lease *)lease = h.parcel;
    return lease;
}

static void probe_P03_made_on_one_thread_used_on_another_freed_on_a_third(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease lease = must_acquire(pool);
    assert_non_null(on_a_thread(uses_and_gives_back, &lease));
    assert_non_null(on_a_thread(releases, &lease));
    assert_int_equal(contexts[0].overlaps, 0);
    close_pool(pool, 1);
}

static void probe_P04_a_callback_into_its_own_context_is_reentrant(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease lease = must_acquire(pool), inner, copy;
    struct overlap *c;
    void *again;
    baton_error err;
    assert_int_equal(bt_lease_begin(&lease, BT_OP_GENERATE, (void **)&c, NULL), BATON_OK);
    overlap_enter(c);
    /* this is the callback */
    assert_int_equal(bt_lease_acquire(pool, &refuse, &inner, &err), BATON_REENTRANT);
    assert_non_null(strstr(err.text, "this very thread"));
    assert_non_null(strstr(err.text, "in generate"));
    assert_int_equal(bt_lease_acquire(pool, &wait_some, &inner, &err), BATON_REENTRANT);
    assert_int_equal(bt_lease_begin(&lease, BT_OP_DECODE, &again, &err), BATON_REENTRANT);
    copy = lease;
    assert_int_equal(bt_lease_release(&copy, BT_KEEP, &err), BATON_REENTRANT);
    assert_int_equal(bt_lease_give(&lease, &inner, &err), BATON_REENTRANT);
    struct bt_ticket *ticket; /* to queue is not to wait */
    assert_int_equal(bt_lease_ask(pool, &refuse, &inner, &ticket, NULL), BATON_REENTRANT);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &inner, &ticket, NULL), BATON_AGAIN);
    bt_ticket_drop(&ticket);
    overlap_leave(c);
    /* the outer call goes on unharmed */
    bt_lease_end(&lease);
    assert_int_equal(transaction(&lease, 4), overlap_expected(4));
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
    close_pool(pool, 1);
}

static void probe_P04_a_callback_into_another_context_is_allowed(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(2, 4);
    struct bt_lease outer = must_acquire(pool), inner;
    struct overlap *c;
    assert_int_equal(bt_lease_begin(&outer, BT_OP_GENERATE, (void **)&c, NULL), BATON_OK);
    overlap_enter(c);
    assert_int_equal(bt_lease_acquire(pool, &refuse, &inner, NULL), BATON_OK);
    assert_int_equal(transaction(&inner, 8), overlap_expected(8));
    assert_int_equal(bt_lease_release(&inner, BT_KEEP, NULL), BATON_OK);
    overlap_leave(c);
    bt_lease_end(&outer);
    assert_int_equal(bt_lease_release(&outer, BT_KEEP, NULL), BATON_OK);
    close_pool(pool, 2);
}

static void probe_P04_an_idle_holder_that_asks_again(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease lease = must_acquire(pool), second;
    baton_error err;
    assert_int_equal(bt_lease_acquire(pool, &refuse, &second, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "this very thread"));
    assert_int_equal(bt_lease_acquire(pool, &wait_some, &second, &err), BATON_WOULD_DEADLOCK);
    assert_non_null(strstr(err.text, "waiting would never end"));
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
    close_pool(pool, 1);
}

/* Holds one context and waits for another one. */
static void *holds_and_waits(void *arg) {
    struct visitor *v = arg;
    struct bt_lease first = must_acquire(v->pool), second;
    v->inside = true;
    overlap_wait_until(v->go);
    v->acquired = bt_lease_acquire(v->pool, &wait_long, &second, &v->err);
    if (v->acquired == BATON_OK)
        bt_lease_release(&second, BT_KEEP, NULL);
    v->released = bt_lease_release(&first, BT_KEEP, NULL);
    return NULL;
}

static void probe_P04_a_ring_of_holders_that_wait_for_each_other_is_found(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(2, 4);
    struct visitor v = {.pool = pool};
    struct bt_lease first = must_acquire(pool), second;
    baton_error err;
    assert_int_equal(pthread_create(&v.thread, NULL, holds_and_waits, &v), 0);
    overlap_wait_until(v.inside);
    v.go = true;
    overlap_wait_until(bt_pool_queued(pool) == 1);
    assert_int_equal(bt_lease_acquire(pool, &wait_some, &second, &err), BATON_WOULD_DEADLOCK);
    assert_non_null(strstr(err.text, "waits here for another"));
    assert_int_equal(bt_lease_release(&first, BT_KEEP, NULL), BATON_OK); /* the cure frees the other one */
    pthread_join(v.thread, NULL);
    assert_int_equal(v.acquired, BATON_OK);
    assert_int_equal(v.released, BATON_OK);
    close_pool(pool, 2);
}

static void the_slot_is_free(struct bt_pool *pool) {
    struct bt_lease lease;
    assert_int_equal(bt_lease_acquire(pool, &refuse, &lease, NULL), BATON_OK);
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
}

static void probe_P05_cancel_and_timeout_while_queued_leave_nothing_behind(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct visitor holder, v;
    struct bt_lease lease;
    baton_error err;
    start_inside(&holder, pool);
    struct bt_ask ask = {.when_full = BT_WAIT, .queue_ms = 5, .priority = 1};
    assert_int_equal(bt_lease_acquire(pool, &ask, &lease, &err), BATON_QUEUE_TIMEOUT);
    assert_non_null(strstr(err.text, "not granted within 5 ms"));
    assert_non_null(strstr(err.text, "'worker-b' has been in decode"));
    assert_int_equal(bt_pool_queued(pool), 0);
    ask = (struct bt_ask){.when_full = BT_WAIT, .queue_ms = -1, .priority = 1, .id = 77};
    start(&v, pool, &ask);
    overlap_wait_until(bt_pool_queued(pool) == 1);
    assert_false(bt_pool_cancel(pool, 78)); /* nobody of that name: touches nobody */
    assert_int_equal(bt_pool_queued(pool), 1);
    assert_true(bt_pool_cancel(pool, 77));
    finish(&v);
    assert_int_equal(v.acquired, BATON_CANCELLED);
    assert_non_null(strstr(v.err.text, "request 77 was cancelled"));
    assert_int_equal(bt_pool_queued(pool), 0);
    finish(&holder);
    assert_int_equal(holder.released, BATON_OK);
    the_slot_is_free(pool);
    close_pool(pool, 1);
}

/* What is logged between the two goes to a file instead of stderr. */
static int log_file = -1, true_stderr = -1;
static void begin_log(void) {
    log_file = memfd_create("log", MFD_CLOEXEC);
    true_stderr = dup(STDERR_FILENO);
    assert_true(log_file >= 0 && true_stderr >= 0 && dup2(log_file, STDERR_FILENO) == STDERR_FILENO);
}
static void assert_log(const char *part) {
    char text[2048] = "";
    assert_int_equal(dup2(true_stderr, STDERR_FILENO), STDERR_FILENO);
    assert_true(pread(log_file, text, sizeof text - 1, 0) >= 0);
    close(true_stderr);
    close(log_file);
    assert_non_null(strstr(text, part));
}

static void probe_P05_a_thread_that_ends_while_holding_is_noticed(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct visitor v, waiter;
    begin_log();
    start_inside(&v, pool);
    v.exit_holding = true;
    start(&waiter, pool, &wait_some);
    overlap_wait_until(bt_pool_queued(pool) == 1);
    waiter.go = true;
    finish(&v); /* never released */
    pthread_join(waiter.thread, NULL);
    assert_int_equal(waiter.acquired, BATON_OK);
    assert_int_equal(resets, 1); /* nobody knows what it left in there */
    assert_log("ended while it held a lease");
    the_slot_is_free(pool);
    close_pool(pool, 1);
}

static void probe_P05_a_thread_that_ends_inside_loses_its_context_only(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(2, 4);
    struct visitor v;
    struct bt_lease lease;
    int kept_from = destroyed;
    begin_log();
    start_inside(&v, pool);
    v.exit_inside = true;
    finish(&v);
    assert_log("ended inside a native call (decode)");
    begin_log();
    lease = must_acquire(pool);
    assert_int_equal(lease.slot, 1);
    assert_int_equal(bt_lease_acquire(pool, &wait_some, &(struct bt_lease){0}, NULL), BATON_WOULD_DEADLOCK);
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_int_equal(destroyed - kept_from, 1);
    /* when it was the only one, nobody waits for ever */
    pool = open_pool(1, 4);
    struct visitor waiter;
    start_inside(&v, pool);
    v.exit_inside = true;
    start(&waiter, pool, &wait_some);
    overlap_wait_until(bt_pool_queued(pool) == 1);
    finish(&v);
    finish(&waiter);
    assert_int_equal(waiter.acquired, BATON_CLOSED);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_int_equal(destroyed, 0);
    assert_log("context 0 is not freed");
}

static void probe_P06_contexts_of_a_pool_run_at_once_and_one_never_does(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(3, 8);
    struct visitor v[3];
    struct bt_holding holding[4];
    for (int i = 0; i < 3; i++)
        start_inside(&v[i], pool); /* returns once it is inside: with the third, three are in at once */
    assert_int_equal(contexts[0].inside + contexts[1].inside + contexts[2].inside, 3);
    assert_int_equal(bt_pool_holders(pool, holding, 4), 3);
    for (int i = 0; i < 3; i++) {
        assert_true(holding[i].held && holding[i].inside);
        assert_int_equal(holding[i].tid, v[i].tid);
        assert_int_equal(holding[i].op, BT_OP_DECODE);
    }
    for (int i = 0; i < 3; i++)
        finish(&v[i]);
    work_together(pool, 8, 200);
    assert_int_equal(contexts[0].state + contexts[1].state + contexts[2].state, 8 * 200);
    close_pool(pool, 3);
}

static void probe_P08_nobody_reads_the_result_of_another(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 8);
    work_together(pool, 4, 500); /* asserts that each read what it decoded */
    close_pool(pool, 1);
}

static bool readable(const struct bt_ticket *t, int timeout_ms) {
    struct pollfd p = {.fd = bt_ticket_fd(t), .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void probe_P09_two_coroutines_on_one_thread_never_interleave_and_never_freeze(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease a = must_acquire(pool), b;
    struct bt_ticket *ticket;
    /* the second coroutine of the same thread: refused, or told that it would freeze, or given a ticket */
    assert_int_equal(bt_lease_ask(pool, &refuse, &b, &ticket, NULL), BATON_BUSY);
    assert_int_equal(bt_lease_acquire(pool, &wait_some, &b, NULL), BATON_WOULD_DEADLOCK);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &b, &ticket, NULL), BATON_AGAIN);
    assert_false(readable(ticket, 0));
    assert_int_equal(bt_lease_poll(&ticket, &b, NULL), BATON_AGAIN);
    assert_int_equal(transaction(&a, 1), overlap_expected(1)); /* the first goes on, step by step */
    assert_int_equal(bt_lease_poll(&ticket, &b, NULL), BATON_AGAIN);
    assert_int_equal(transaction(&a, 2), overlap_expected(2));
    assert_int_equal(bt_lease_release(&a, BT_KEEP, NULL), BATON_OK);
    assert_true(readable(ticket, 5000));
    assert_int_equal(bt_lease_acquire(pool, &refuse, &a, NULL), BATON_BUSY); /* it is the ticket's now */
    assert_int_equal(bt_lease_poll(&ticket, &b, NULL), BATON_OK);
    assert_null(ticket);
    assert_int_equal(transaction(&b, 3), overlap_expected(3));
    assert_int_equal(bt_lease_release(&b, BT_KEEP, NULL), BATON_OK);
    close_pool(pool, 1);
}

static void probe_P09_a_ticket_tells_of_timeout_cancel_close_and_may_be_dropped(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease holder = must_acquire(pool), lease;
    struct bt_ticket *soon, *cancelled, *dropped, *late;
    struct bt_ask ask = {.when_full = BT_WAIT, .queue_ms = 3, .priority = 1};
    assert_int_equal(bt_lease_ask(pool, &ask, &lease, &soon, NULL), BATON_AGAIN);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &lease, &cancelled, NULL), BATON_AGAIN);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &lease, &dropped, NULL), BATON_AGAIN);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &lease, &late, NULL), BATON_AGAIN);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &lease, &(struct bt_ticket *){0}, NULL), BATON_QUEUE_FULL);
    assert_true(readable(soon, 5000)); /* the timer, with nobody else awake */
    assert_int_equal(bt_lease_poll(&soon, &lease, NULL), BATON_QUEUE_TIMEOUT);
    assert_true(bt_pool_cancel(pool, bt_ticket_id(cancelled)));
    assert_true(readable(cancelled, 5000));
    assert_int_equal(bt_lease_poll(&cancelled, &lease, NULL), BATON_CANCELLED);
    bt_ticket_drop(&dropped);
    assert_int_equal(bt_pool_queued(pool), 1);
    assert_int_equal(bt_lease_release(&holder, BT_KEEP, NULL), BATON_OK);
    bt_ticket_drop(&late); /* granted meanwhile: the slot goes back */
    holder = must_acquire(pool);
    assert_int_equal(bt_lease_ask(pool, &wait_long, &lease, &late, NULL), BATON_AGAIN);
    struct bt_pool *copy = pool;
    assert_int_equal(bt_pool_close(&copy, BT_CLOSE_DRAIN, NULL), BATON_OK); /* deferred: this thread holds */
    assert_true(readable(late, 5000));
    assert_int_equal(bt_lease_poll(&late, &lease, NULL), BATON_CLOSED);
    assert_int_equal(destroyed, 0);
    assert_int_equal(bt_lease_release(&holder, BT_KEEP, NULL), BATON_OK);
    assert_int_equal(destroyed, 1);
}

static void probe_P30_the_waiter_beyond_the_bound_is_refused_at_once(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 2);
    struct visitor holder, v[2];
    struct bt_lease lease;
    baton_error err;
    start_inside(&holder, pool);
    for (int i = 0; i < 2; i++) {
        start(&v[i], pool, &wait_long);
        overlap_wait_until(bt_pool_queued(pool) == i + 1);
    }
    assert_int_equal(bt_lease_acquire(pool, &wait_some, &lease, &err), BATON_QUEUE_FULL);
    assert_non_null(strstr(err.text, "2 wait already"));
    for (int i = 0; i < 2; i++)
        v[i].go = true;
    finish(&holder);
    for (int i = 0; i < 2; i++) {
        finish(&v[i]);
        assert_int_equal(v[i].acquired, BATON_OK);
    }
    close_pool(pool, 1);
}

static void misuse_is_said_and_harmless(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 0);
    struct bt_lease lease = {0};
    baton_error err;
    void *c;
    struct bt_ask odd = {.when_full = BT_WAIT, .priority = BT_PRIORITIES};
    assert_int_equal(bt_lease_acquire(NULL, NULL, &lease, &err), BATON_MISUSE);
    assert_int_equal(bt_lease_acquire(pool, NULL, NULL, &err), BATON_MISUSE);
    assert_int_equal(bt_lease_acquire(pool, &odd, &lease, &err), BATON_MISUSE);
    assert_int_equal(bt_lease_begin(&lease, BT_OP_DECODE, &c, &err), BATON_STALE);
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, &err), BATON_STALE);
    lease = must_acquire(pool);
    assert_int_equal(bt_lease_begin(&lease, BT_OP_IDLE, &c, &err), BATON_MISUSE);
    assert_int_equal(bt_lease_begin(&lease, BT_OP_DECODE, NULL, &err), BATON_MISUSE);
    assert_int_equal(bt_lease_release(&lease, BT_KEEP, NULL), BATON_OK);
    struct bt_pool *none = NULL;
    assert_int_equal(bt_pool_close(&none, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_int_equal(bt_pool_close(NULL, BT_CLOSE_DRAIN, &err), BATON_MISUSE);
    assert_int_equal(bt_pool_open(&(struct bt_pool_params){.contexts = &c, .n_contexts = 0}, &none, &err),
                     BATON_INVALID);
    close_pool(pool, 1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_refuse_names_thread_operation_time_and_cure),
        cmocka_unit_test(probe_P02_under_wait_all_complete_and_never_overlap),
        cmocka_unit_test(probe_P02_waiters_are_served_in_order),
        cmocka_unit_test(probe_P03_a_lease_goes_from_thread_to_thread),
        cmocka_unit_test(probe_P03_what_was_handed_on_or_released_is_stale),
        cmocka_unit_test(probe_P03_made_on_one_thread_used_on_another_freed_on_a_third),
        cmocka_unit_test(probe_P04_a_callback_into_its_own_context_is_reentrant),
        cmocka_unit_test(probe_P04_a_callback_into_another_context_is_allowed),
        cmocka_unit_test(probe_P04_an_idle_holder_that_asks_again),
        cmocka_unit_test(probe_P04_a_ring_of_holders_that_wait_for_each_other_is_found),
        cmocka_unit_test(probe_P05_cancel_and_timeout_while_queued_leave_nothing_behind),
        cmocka_unit_test(probe_P05_a_thread_that_ends_while_holding_is_noticed),
        cmocka_unit_test(probe_P05_a_thread_that_ends_inside_loses_its_context_only),
        cmocka_unit_test(probe_P06_contexts_of_a_pool_run_at_once_and_one_never_does),
        cmocka_unit_test(probe_P08_nobody_reads_the_result_of_another),
        cmocka_unit_test(probe_P09_two_coroutines_on_one_thread_never_interleave_and_never_freeze),
        cmocka_unit_test(probe_P09_a_ticket_tells_of_timeout_cancel_close_and_may_be_dropped),
        cmocka_unit_test(probe_P30_the_waiter_beyond_the_bound_is_refused_at_once),
        cmocka_unit_test(misuse_is_said_and_harmless),
    };
    return bt_test_run(tests, argc, argv);
}
