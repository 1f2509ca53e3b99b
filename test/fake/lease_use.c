/* lease/: acquire, use together, hand on, release. */
#include "lease_util.h"

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

/* Up to 63 slots have a bit each in the word of free slots; more go through the gate alone. The rules are the same. */
static void pools_of_any_size_grant_the_lowest_free_slot(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 62, 63, 64, 65, 200, BT_GATE_SLOTS_MAX};
    static void *pointers[BT_GATE_SLOTS_MAX];
    static struct bt_lease leases[BT_GATE_SLOTS_MAX];
    for (size_t s = 0; s < BT_COUNT(sizes); s++) {
        int n = sizes[s];
        const struct bt_pool_params params = {.contexts = pointers, .n_contexts = n, .queue_max = 4};
        struct bt_pool *pool;
        struct bt_lease none;
        struct bt_ticket *ticket;
        assert_int_equal(bt_pool_open(&params, &pool, NULL), BATON_OK);
        for (int round = 0; round < 2; round++) { /* the second after the gate has had the slots, and a queue */
            for (int i = 0; i < n; i++) {
                leases[i] = must_acquire(pool);
                assert_int_equal(leases[i].slot, i);
                assert_true(i == 0 || leases[i].id != leases[i - 1].id);
            }
            assert_int_equal(bt_lease_acquire(pool, &refuse, &none, NULL), BATON_BUSY);
            assert_int_equal(bt_lease_ask(pool, &wait_long, &none, &ticket, NULL), BATON_AGAIN);
            assert_true(bt_pool_cancel(pool, leases[n / 2].id));
            assert_true(bt_lease_cancelled(&leases[n / 2]));
            assert_int_equal(bt_lease_release(&leases[n - 1], BT_KEEP, NULL), BATON_OK);
            assert_int_equal(bt_lease_poll(&ticket, &leases[n - 1], NULL), BATON_OK);
            assert_int_equal(leases[n - 1].slot, n - 1);
            for (int i = n - 1; i >= 0; i--)
                assert_int_equal(bt_lease_release(&leases[i], BT_KEEP, NULL), BATON_OK);
        }
        assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    }
}

static void probe_P08_nobody_reads_the_result_of_another(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 8);
    work_together(pool, 4, 500); /* asserts that each read what it decoded */
    close_pool(pool, 1);
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_refuse_names_thread_operation_time_and_cure),
        cmocka_unit_test(probe_P02_under_wait_all_complete_and_never_overlap),
        cmocka_unit_test(probe_P02_waiters_are_served_in_order),
        cmocka_unit_test(probe_P03_a_lease_goes_from_thread_to_thread),
        cmocka_unit_test(probe_P03_what_was_handed_on_or_released_is_stale),
        cmocka_unit_test(probe_P03_made_on_one_thread_used_on_another_freed_on_a_third),
        cmocka_unit_test(probe_P06_contexts_of_a_pool_run_at_once_and_one_never_does),
        cmocka_unit_test(pools_of_any_size_grant_the_lowest_free_slot),
        cmocka_unit_test(probe_P08_nobody_reads_the_result_of_another),
        cmocka_unit_test(probe_P30_the_waiter_beyond_the_bound_is_refused_at_once),
    };
    return bt_test_run(tests, argc, argv);
}
