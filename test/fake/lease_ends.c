/* lease/: asking again while holding, and every way in which a request or a lease may end. */
#include "lease_util.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

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

static void probe_P05_who_waits_for_a_lost_context_while_holding_the_rest_is_told(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(2, 4);
    struct visitor inside, v = {.pool = pool};
    begin_log();
    start_inside(&inside, pool);
    assert_int_equal(pthread_create(&v.thread, NULL, holds_and_waits, &v), 0);
    overlap_wait_until(v.inside);
    v.go = true;
    overlap_wait_until(bt_pool_queued(pool) == 1); /* rightly: the other one would have come back */
    inside.exit_inside = true;
    finish(&inside);
    pthread_join(v.thread, NULL);
    assert_int_equal(v.acquired, BATON_WOULD_DEADLOCK);
    assert_non_null(strstr(v.err.text, "lost with a thread"));
    assert_int_equal(v.released, BATON_OK);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_log("ended inside a native call (decode)");
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
    baton_error err;
    assert_int_equal(bt_lease_acquire(pool, &refuse, &a, &err), BATON_BUSY); /* it is the ticket's now */
    assert_non_null(strstr(err.text, "Poll the ticket"));
    assert_null(strstr(err.text, "callback"));
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
        cmocka_unit_test(probe_P04_a_callback_into_its_own_context_is_reentrant),
        cmocka_unit_test(probe_P04_a_callback_into_another_context_is_allowed),
        cmocka_unit_test(probe_P04_an_idle_holder_that_asks_again),
        cmocka_unit_test(probe_P04_a_ring_of_holders_that_wait_for_each_other_is_found),
        cmocka_unit_test(probe_P05_cancel_and_timeout_while_queued_leave_nothing_behind),
        cmocka_unit_test(probe_P05_a_thread_that_ends_while_holding_is_noticed),
        cmocka_unit_test(probe_P05_a_thread_that_ends_inside_loses_its_context_only),
        cmocka_unit_test(probe_P05_who_waits_for_a_lost_context_while_holding_the_rest_is_told),
        cmocka_unit_test(probe_P09_two_coroutines_on_one_thread_never_interleave_and_never_freeze),
        cmocka_unit_test(probe_P09_a_ticket_tells_of_timeout_cancel_close_and_may_be_dropped),
        cmocka_unit_test(misuse_is_said_and_harmless),
    };
    return bt_test_run(tests, argc, argv);
}
