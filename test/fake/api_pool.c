/* Pools and leases as a program sees them: public headers only, contexts that are no library's. */
#include "harness.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "baton/baton.h"
#include "overlap.h"

enum { CONTEXTS = 2 };
static struct overlap contexts[CONTEXTS];
static _Atomic int resets, destroyed;

static void reset(void *context) {
    overlap_enter(context);
    resets++;
    overlap_leave(context);
}
static void destroy(void *context) {
    overlap_enter(context); /* and never leaves: any later use is an overlap */
    destroyed++;
}

static baton_pool *open_pool(int n, baton_when_full when_full, int64_t queue_ms) {
    void *pointers[CONTEXTS] = {&contexts[0], &contexts[1]};
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_pool *pool;
    baton_error err;
    memset(contexts, 0, sizeof contexts);
    resets = destroyed = 0;
    params.name = "engine 'one'";
    params.contexts = pointers;
    params.n = n;
    params.when_full = when_full;
    params.queue_ms = queue_ms;
    params.destroy = destroy;
    params.reset = reset;
    if (baton_pool_open(&pool, &params, &err))
        fail_msg("%s", err.text);
    return pool;
}

static void close_pool(baton_pool *pool, int n) {
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
    assert_null(pool);
    assert_int_equal(destroyed, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(contexts[i].overlaps, 0);
}

/* The last misuse that the handler heard of. */
static struct {
    int calls;
    baton_status status;
    char text[BATON_ERROR_TEXT_MAX];
} heard;
static void hear(void *arg, baton_status status, const char *text) {
    assert_ptr_equal(arg, &heard);
    heard.calls++;
    heard.status = status;
    snprintf(heard.text, sizeof heard.text, "%s", text);
}
static int listen_to_misuse(void **state) {
    (void)state;
    memset(&heard, 0, sizeof heard);
    baton_misuse_set(hear, &heard);
    return 0;
}
static int stop_listening(void **state) {
    (void)state;
    baton_misuse_set(NULL, NULL);
    return 0;
}
static void assert_heard(int calls, baton_status status) {
    assert_int_equal(heard.calls, calls);
    assert_int_equal(heard.status, status);
    assert_true(heard.text[0]);
}

struct worker {
    baton_pool *pool;
    pthread_t thread;
    uint64_t seed;
    int rounds, wrong, failed;
};

static void *works(void *arg) {
    struct worker *w = arg;
    for (int i = 0; i < w->rounds; i++) {
        baton_lease lease;
        uint64_t token = w->seed + (uint64_t)i;
        void *c;
        if (baton_lease_acquire(w->pool, NULL, &lease, NULL)) {
            w->failed++;
            continue;
        }
        if (baton_lease_begin(&lease, BATON_OP_DECODE, &c, NULL) == BATON_OK) {
            overlap_decode(c, token);
            w->wrong += overlap_logits(c) != overlap_expected(token);
            baton_lease_end(&lease);
        } else {
            w->failed++;
        }
        w->failed += baton_lease_release(&lease, i % 2 ? BATON_KEEP : BATON_RESET, NULL) != BATON_OK;
    }
    return NULL;
}

static void probe_P02_by_the_pools_preset_all_wait_and_never_overlap(void **state) {
    (void)state;
    enum { N = 6, ROUNDS = 200 };
    baton_pool *pool = open_pool(CONTEXTS, BATON_WAIT, -1);
    struct worker workers[N];
    for (int i = 0; i < N; i++) {
        workers[i] = (struct worker){.pool = pool, .seed = (uint64_t)i << 32, .rounds = ROUNDS};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, works, &workers[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
        assert_int_equal(workers[i].wrong, 0);
    }
    assert_int_equal(resets, N * ROUNDS / 2);
    close_pool(pool, CONTEXTS);
}

/* A thread that acquires, stays inside until told, and releases. */
struct visitor {
    baton_pool *pool;
    baton_request request;
    pthread_t thread;
    _Atomic bool inside, go;
    baton_status acquired, released;
    bool cancelled;
    baton_error err;
};

static void *visit(void *arg) {
    struct visitor *v = arg;
    baton_lease lease;
    void *c;
    pthread_setname_np(pthread_self(), "worker-b");
    v->acquired = baton_lease_acquire(v->pool, &v->request, &lease, &v->err);
    if (v->acquired)
        return NULL;
    if (baton_lease_begin(&lease, BATON_OP_TRANSCRIBE, &c, NULL) == BATON_OK) {
        overlap_enter(c);
        v->inside = true;
        overlap_wait_until(v->go);
        v->cancelled = baton_lease_cancelled(&lease);
        overlap_leave(c);
        baton_lease_end(&lease);
    }
    v->released = baton_lease_release(&lease, BATON_KEEP, NULL);
    return NULL;
}

static void start(struct visitor *v, baton_pool *pool, uint64_t id) {
    *v = (struct visitor){.pool = pool, .request = BATON_REQUEST};
    v->request.id = id;
    assert_int_equal(pthread_create(&v->thread, NULL, visit, v), 0);
}
static void finish(struct visitor *v) {
    v->go = true;
    pthread_join(v->thread, NULL);
}

static void probe_P01_the_refused_are_told_who_in_what_and_the_cure(void **state) {
    (void)state;
    baton_pool *pool = open_pool(1, BATON_REFUSE, -1);
    struct visitor v;
    baton_lease lease = {(void *)1, 1, 1, 1};
    baton_holder holder;
    baton_error err;
    start(&v, pool, 0);
    overlap_wait_until(v.inside);
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, &err), BATON_BUSY);
    assert_null(lease.pool);
    assert_non_null(strstr(err.text, "engine 'one' is in use"));
    assert_non_null(strstr(err.text, "'worker-b' has been in transcribe for "));
    assert_non_null(strstr(err.text, " ms. Try again"));
    assert_int_equal(baton_pool_holders(pool, &holder, 1), 1);
    assert_true(holder.held && holder.inside);
    assert_int_equal(holder.op, BATON_OP_TRANSCRIBE);
    assert_int_equal(heard.calls, 0); /* an outcome, no bug */
    finish(&v);
    assert_int_equal(v.released, BATON_OK);
    assert_int_equal(baton_pool_holders(pool, &holder, 1), 1);
    assert_false(holder.held);
    close_pool(pool, 1);
}

static void probe_P03_what_is_stale_is_refused_and_the_handler_told(void **state) {
    (void)state;
    baton_pool *pool = open_pool(1, BATON_REFUSE, -1);
    baton_lease lease, copy, parcel, again = BATON_LEASE;
    baton_error err;
    void *c;
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    copy = lease;
    assert_int_equal(baton_lease_give(&lease, &parcel, NULL), BATON_OK);
    assert_int_equal(baton_lease_begin(&copy, BATON_OP_DECODE, &c, &err), BATON_STALE);
    assert_null(c);
    assert_heard(1, BATON_STALE);
    assert_string_equal(heard.text, err.text);
    assert_int_equal(baton_lease_begin(&parcel, BATON_OP_DECODE, &c, NULL), BATON_MISUSE);
    assert_heard(2, BATON_MISUSE);
    assert_non_null(
        strstr(heard.text, "not taken")); /* the program asked for no text: the handler has it all the same */
    copy = parcel;
    assert_int_equal(baton_lease_take(&parcel, &lease, NULL), BATON_OK);
    assert_int_equal(baton_lease_take(&copy, &again, NULL), BATON_STALE);
    assert_heard(3, BATON_STALE);
    copy = lease;
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    assert_null(lease.pool);
    assert_int_equal(resets, 1);
    assert_int_equal(baton_lease_release(&copy, BATON_RESET, NULL), BATON_STALE);
    assert_int_equal(resets, 1);
    assert_heard(4, BATON_STALE);
    close_pool(pool, 1);
    assert_int_equal(baton_lease_begin(&copy, BATON_OP_DECODE, &c, NULL), BATON_STALE);
    assert_heard(5, BATON_STALE);
}

static void probe_P04_who_would_wait_for_itself_is_told_and_so_is_the_handler(void **state) {
    (void)state;
    baton_pool *pool = open_pool(1, BATON_WAIT, 5000);
    baton_lease lease, second;
    void *c;
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_lease_acquire(pool, NULL, &second, NULL), BATON_WOULD_DEADLOCK);
    assert_heard(1, BATON_WOULD_DEADLOCK);
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &c, NULL), BATON_OK);
    assert_ptr_equal(c, &contexts[0]);
    assert_int_equal(baton_lease_acquire(pool, NULL, &second, NULL), BATON_REENTRANT);
    assert_heard(2, BATON_REENTRANT);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_REENTRANT);
    assert_heard(3, BATON_REENTRANT);
    baton_lease_end(&lease);
    assert_int_equal(heard.calls, 3);
    baton_lease_end(&lease);
    assert_heard(4, BATON_MISUSE);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    close_pool(pool, 1);
}

static void probe_P09_a_ticket_is_polled_by_an_event_loop(void **state) {
    (void)state;
    baton_pool *pool = open_pool(1, BATON_WAIT, -1);
    struct visitor v;
    baton_lease lease;
    baton_ticket *ticket, *dropped;
    baton_request request = BATON_REQUEST;
    request.id = 77;
    start(&v, pool, 0);
    overlap_wait_until(v.inside);
    assert_int_equal(baton_lease_ask(pool, &request, &lease, &ticket, NULL), BATON_AGAIN);
    assert_int_equal(baton_ticket_id(ticket), 77);
    assert_int_equal(baton_lease_ask(pool, NULL, &lease, &dropped, NULL), BATON_AGAIN);
    assert_true(baton_ticket_id(dropped) != 0 && baton_ticket_id(dropped) != 77);
    baton_ticket_drop(&dropped);
    assert_null(dropped);
    struct pollfd p = {baton_ticket_fd(ticket), POLLIN, 0};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(baton_lease_poll(&ticket, &lease, NULL), BATON_AGAIN);
    assert_non_null(ticket);
    finish(&v);
    assert_int_equal(poll(&p, 1, -1), 1);
    assert_int_equal(baton_lease_poll(&ticket, &lease, NULL), BATON_OK);
    assert_null(ticket);
    assert_int_equal(lease.id, 77);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    request.queue_ms = 1;
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    baton_lease none;
    assert_int_equal(baton_lease_ask(pool, &request, &none, &ticket, NULL), BATON_AGAIN);
    p.fd = baton_ticket_fd(ticket);
    assert_int_equal(poll(&p, 1, -1), 1);
    assert_int_equal(baton_lease_poll(&ticket, &none, NULL), BATON_QUEUE_TIMEOUT);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    close_pool(pool, 1);
}

static void probe_P20_a_cancel_by_id_hits_nobody_else(void **state) {
    (void)state;
    baton_pool *pool = open_pool(CONTEXTS, BATON_WAIT, -1);
    struct visitor a, b;
    baton_lease none;
    baton_ticket *ticket;
    start(&a, pool, 11);
    start(&b, pool, 12);
    overlap_wait_until(a.inside);
    overlap_wait_until(b.inside);
    baton_request request = BATON_REQUEST;
    request.id = 13;
    assert_int_equal(baton_lease_ask(pool, &request, &none, &ticket, NULL), BATON_AGAIN);
    assert_true(baton_pool_cancel(pool, 12));
    assert_true(baton_pool_cancel(pool, 13));
    assert_false(baton_pool_cancel(pool, 14));
    assert_int_equal(baton_lease_poll(&ticket, &none, NULL), BATON_CANCELLED);
    finish(&a);
    finish(&b);
    assert_false(a.cancelled);
    assert_true(b.cancelled);
    close_pool(pool, CONTEXTS);
}

static void probe_P22_a_close_that_cancels_tells_holders_and_waiters(void **state) {
    (void)state;
    baton_pool *pool = open_pool(1, BATON_WAIT, -1);
    struct visitor v;
    baton_lease lease, none;
    baton_ticket *ticket;
    void *c;
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_lease_ask(pool, NULL, &none, &ticket, NULL), BATON_AGAIN);
    start(&v, pool, 0);
    assert_false(baton_lease_cancelled(&lease));
    assert_int_equal(baton_pool_close(&pool, BATON_CANCEL, NULL), BATON_OK); /* this thread holds: it is not waited */
    assert_null(pool);
    assert_int_equal(baton_pool_close(&pool, BATON_CANCEL, NULL), BATON_OK);
    pthread_join(v.thread, NULL);
    assert_int_equal(v.acquired, BATON_CLOSED);
    assert_int_equal(baton_lease_poll(&ticket, &none, NULL), BATON_CLOSED);
    assert_true(baton_lease_cancelled(&lease));
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &c, NULL), BATON_OK); /* and may finish what it is at */
    baton_lease_end(&lease);
    assert_int_equal(destroyed, 0);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    assert_int_equal(destroyed, 1);
}

static void what_makes_no_sense_is_said_by_name(void **state) {
    (void)state;
    void *pointers[2] = {&contexts[0], NULL};
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_request request = BATON_REQUEST;
    baton_pool *pool;
    baton_lease lease;
    baton_error err;
    void *c;
    assert_int_equal(baton_pool_open(&pool, NULL, &err), BATON_MISUSE);
    assert_int_equal(baton_pool_open(&pool, &params, &err), BATON_MISUSE);
    params.contexts = pointers;
    params.n = 2;
    assert_int_equal(baton_pool_open(&pool, &params, &err), BATON_MISUSE);
    assert_non_null(strstr(err.text, "context 1"));
    params.n = 0;
    assert_int_equal(baton_pool_open(&pool, &params, &err), BATON_INVALID);
    params.n = 1;
    params.when_full = (baton_when_full)5;
    assert_int_equal(baton_pool_open(&pool, &params, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "5"));
    params.when_full = BATON_REFUSE;
    params.size = 0;
    assert_int_equal(baton_pool_open(&pool, &params, &err), BATON_MISUSE);
    /* a program of an older header, whose struct ended earlier */
    params.size = offsetof(baton_pool_params, destroy);
    params.destroy = (void (*)(void *))(uintptr_t)1;
    params.reset = (void (*)(void *))(uintptr_t)1;
    assert_int_equal(baton_pool_open(&pool, &params, &err), BATON_OK);
    request.id = UINT64_C(1) << 63;
    assert_int_equal(baton_lease_acquire(pool, &request, &lease, &err), BATON_MISUSE);
    request.id = 0;
    request.priority = 3;
    assert_int_equal(baton_lease_acquire(pool, &request, &lease, &err), BATON_MISUSE);
    assert_int_equal(baton_lease_acquire(NULL, NULL, &lease, &err), BATON_MISUSE);
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, &err), BATON_OK);
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_IDLE, &c, &err), BATON_MISUSE);
    assert_int_equal(baton_lease_release(&lease, (baton_release_how)2, &err), BATON_MISUSE);
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, &err), BATON_OK);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, &err), BATON_OK);
    assert_string_equal(baton_op_text(BATON_OP_GIVEN), "hand-over, not taken yet");
    assert_string_equal(baton_op_text((baton_op)999), "an unknown operation");
}

int main(int argc, char **argv) {
#define HEARD(test) cmocka_unit_test_setup_teardown(test, listen_to_misuse, stop_listening)
    const struct CMUnitTest tests[] = {
        HEARD(probe_P01_the_refused_are_told_who_in_what_and_the_cure),
        HEARD(probe_P02_by_the_pools_preset_all_wait_and_never_overlap),
        HEARD(probe_P03_what_is_stale_is_refused_and_the_handler_told),
        HEARD(probe_P04_who_would_wait_for_itself_is_told_and_so_is_the_handler),
        HEARD(probe_P09_a_ticket_is_polled_by_an_event_loop),
        HEARD(probe_P20_a_cancel_by_id_hits_nobody_else),
        HEARD(probe_P22_a_close_that_cancels_tells_holders_and_waiters),
        HEARD(what_makes_no_sense_is_said_by_name),
    };
    return bt_test_run(tests, argc, argv);
}
