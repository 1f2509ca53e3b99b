/* lease/: what races with what. Cancel with completion, close with everything, and a crowd that does it all at once. */
#include "lease_util.h"

static int overlaps(void) {
    return contexts[0].overlaps + contexts[1].overlaps + contexts[2].overlaps;
}

/* A request and its cancel, which meet at a random moment of its life. */
struct racer {
    struct bt_pool *pool;
    struct bt_ask ask;
    pthread_barrier_t go;
    baton_status outcome;
    bool told, found; /* the lease said cancelled; cancel said found */
    uint64_t nap;
};

static void spin(uint64_t rounds) {
    for (uint64_t i = 0; i < rounds; i++)
        __asm__ volatile("" ::: "memory");
}

static void *asks(void *arg) {
    struct racer *r = arg;
    struct bt_lease lease;
    pthread_barrier_wait(&r->go);
    r->outcome = bt_lease_acquire(r->pool, &r->ask, &lease, NULL);
    if (r->outcome == BATON_OK) {
        void *c;
        if (bt_lease_begin(&lease, BT_OP_DECODE, &c, NULL) != BATON_OK)
            return NULL;
        overlap_decode(c, 1);
        bt_lease_end(&lease);
        r->told = bt_lease_cancelled(&lease);
        bt_lease_release(&lease, BT_KEEP, NULL);
    }
    return arg;
}

static void *cancels(void *arg) {
    struct racer *r = arg;
    pthread_barrier_wait(&r->go);
    spin(r->nap);
    r->found = bt_pool_cancel(r->pool, r->ask.id);
    return arg;
}

static void probe_P24_cancel_racing_completion_gives_one_outcome(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    struct bt_pool *pool = open_pool(1, 4);
    int cancelled = 0, told = 0, none = 0;
    for (uint64_t i = 0; i < 1500; i++) {
        struct bt_lease holder;
        struct racer r = {.pool = pool, .ask = wait_long, .nap = bt_mix64(seed + i) % 200000};
        pthread_t threads[2];
        void *fine[2];
        r.ask.id = i + 1;
        assert_int_equal(bt_lease_acquire(pool, NULL, &holder, NULL), BATON_OK);
        pthread_barrier_init(&r.go, NULL, 3);
        assert_int_equal(pthread_create(&threads[0], NULL, asks, &r), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, cancels, &r), 0);
        pthread_barrier_wait(&r.go);
        spin(bt_mix64(seed - i) % 20000);
        assert_int_equal(bt_lease_release(&holder, BT_KEEP, NULL), BATON_OK);
        for (int t = 0; t < 2; t++)
            pthread_join(threads[t], &fine[t]);
        pthread_barrier_destroy(&r.go);
        assert_true(fine[0] && fine[1]);
        if (r.outcome == BATON_CANCELLED) {
            assert_true(r.found && !r.told);
            cancelled++;
        } else {
            assert_int_equal(r.outcome, BATON_OK);
            assert_true(r.found || !r.told);
            told += r.told;
            none += !r.told;
        }
        assert_false(bt_pool_cancel(pool, r.ask.id)); /* it is over: nobody of that name */
    }
    printf("[   RACE   ] %d cancelled in the queue, %d told while holding, %d completed\n", cancelled, told, none);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
    assert_int_equal(overlaps(), 0);
}

static void probe_P24_cancel_names_one_request_and_touches_no_other(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1, 4);
    struct bt_lease holder;
    struct bt_ticket *a, *b;
    struct bt_lease none;
    struct bt_ask ask = wait_long;
    ask.id = 1;
    assert_int_equal(bt_lease_acquire(pool, &ask, &holder, NULL), BATON_OK);
    ask.id = 2;
    assert_int_equal(bt_lease_ask(pool, &ask, &none, &a, NULL), BATON_AGAIN);
    ask.id = 3;
    assert_int_equal(bt_lease_ask(pool, &ask, &none, &b, NULL), BATON_AGAIN);
    assert_true(bt_pool_cancel(pool, 2));
    assert_false(bt_lease_cancelled(&holder));
    assert_int_equal(bt_lease_poll(&b, &none, NULL), BATON_AGAIN);
    assert_int_equal(bt_lease_poll(&a, &none, NULL), BATON_CANCELLED);
    assert_true(bt_pool_cancel(pool, 1));
    assert_true(bt_lease_cancelled(&holder));
    struct bt_lease parcel, old = holder;
    assert_int_equal(bt_lease_give(&holder, &parcel, NULL), BATON_OK);
    assert_int_equal(bt_lease_take(&parcel, &holder, NULL), BATON_OK);
    assert_true(bt_lease_cancelled(&holder)); /* it is the same request */
    assert_false(bt_lease_cancelled(&old));
    assert_int_equal(bt_lease_release(&holder, BT_KEEP, NULL), BATON_OK);
    assert_int_equal(bt_lease_poll(&b, &holder, NULL), BATON_OK);
    assert_false(bt_lease_cancelled(&holder)); /* the slot's next request was not meant */
    assert_false(bt_pool_cancel(pool, 1));
    assert_false(bt_lease_cancelled(&holder));
    assert_int_equal(bt_lease_release(&holder, BT_KEEP, NULL), BATON_OK);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
}

/* A holder that stays inside until it is told to stop, by a flag or by the pool's cancel. */
struct holder {
    struct bt_pool *pool;
    pthread_t thread;
    _Atomic bool inside, stop;
    baton_status acquired, released;
    int destroyed_while_inside;
};

static void *holds(void *arg) {
    struct holder *h = arg;
    struct bt_lease lease;
    void *c;
    h->acquired = bt_lease_acquire(h->pool, &wait_long, &lease, NULL);
    if (h->acquired != BATON_OK || bt_lease_begin(&lease, BT_OP_DECODE, &c, NULL) != BATON_OK)
        return NULL;
    overlap_enter(c);
    h->inside = true;
    overlap_wait_until(h->stop || bt_lease_cancelled(&lease));
    h->destroyed_while_inside = destroyed;
    overlap_leave(c);
    bt_lease_end(&lease);
    h->released = bt_lease_release(&lease, BT_KEEP, NULL);
    return NULL;
}

static void start_holder(struct holder *h, struct bt_pool *pool) {
    *h = (struct holder){.pool = pool};
    assert_int_equal(pthread_create(&h->thread, NULL, holds, h), 0);
}

struct closer {
    struct bt_pool *pool;
    enum bt_close how;
    pthread_t thread;
    baton_status status;
    int destroyed;
};

static void *closes(void *arg) {
    struct closer *c = arg;
    c->status = bt_pool_close(&c->pool, c->how, NULL);
    c->destroyed = destroyed; /* close has returned: all must be gone */
    return NULL;
}

static void close_with_holder_and_waiter(enum bt_close how) {
    struct bt_pool *pool = open_pool(1, 4);
    struct holder h, waiter;
    struct closer closers[2];
    start_holder(&h, pool);
    overlap_wait_until(h.inside);
    start_holder(&waiter, pool);
    overlap_wait_until(bt_pool_queued(pool) == 1);
    for (int i = 0; i < 2; i++) { /* two at once: the second is harmless, and waits as well */
        closers[i] = (struct closer){.pool = pool, .how = how};
        assert_int_equal(pthread_create(&closers[i].thread, NULL, closes, &closers[i]), 0);
    }
    pthread_join(waiter.thread, NULL); /* at once, while the holder is still inside under drain */
    assert_int_equal(waiter.acquired, BATON_CLOSED);
    if (how == BT_CLOSE_DRAIN) {
        assert_int_equal(destroyed, 0);
        h.stop = true;
    }
    pthread_join(h.thread, NULL);
    assert_int_equal(h.released, BATON_OK);
    assert_int_equal(h.destroyed_while_inside, 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(closers[i].thread, NULL);
        assert_int_equal(closers[i].status, BATON_OK);
        assert_null(closers[i].pool);
        assert_int_equal(closers[i].destroyed, 1);
    }
    struct bt_lease lease; /* who has not heard of it yet is told */
    baton_error err;
    assert_int_equal(bt_lease_acquire(pool, &wait_long, &lease, &err), BATON_CLOSED);
    assert_non_null(strstr(err.text, "is closed: open it again"));
    assert_int_equal(overlaps(), 0);
}

static void probe_P25_close_drains_or_cancels_and_waiters_get_closed(void **state) {
    (void)state;
    close_with_holder_and_waiter(BT_CLOSE_DRAIN);
    close_with_holder_and_waiter(BT_CLOSE_CANCEL);
}

static void probe_P25_close_from_inside_is_deferred_to_the_release(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(2, 4);
    struct bt_lease lease;
    void *c;
    assert_int_equal(bt_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(bt_lease_begin(&lease, BT_OP_GENERATE, &c, NULL), BATON_OK);
    overlap_enter(c);
    struct bt_pool *copy = pool;
    assert_int_equal(bt_pool_close(&copy, BT_CLOSE_CANCEL, NULL), BATON_OK);
    assert_null(copy);
    assert_true(bt_lease_cancelled(&lease));
    assert_int_equal(destroyed, 0);
    overlap_leave(c);
    bt_lease_end(&lease);
    assert_int_equal(destroyed, 0);
    assert_int_equal(bt_lease_release(&lease, BT_RESET, NULL), BATON_OK);
    assert_int_equal(destroyed, 2);
    assert_int_equal(overlaps(), 0);
}

/* Everything at once, from a seed. */
struct member {
    struct bt_pool *pool;
    pthread_t thread;
    uint64_t seed, draws;
    int number, rounds;
    int64_t got, timeouts, cancelled, full, wrong, unexpected;
};

static uint64_t draw(struct member *m, uint64_t n) {
    return bt_mix64(m->seed ^ bt_mix64(++m->draws)) % n;
}

static void use(struct member *m, struct bt_lease *lease) {
    struct overlap *c;
    struct bt_lease parcel;
    uint64_t token = m->seed + m->draws;
    if (bt_lease_begin(lease, BT_OP_DECODE, (void **)&c, NULL) != BATON_OK) {
        m->unexpected++;
        return;
    }
    overlap_decode(c, token);
    bt_lease_end(lease);
    if (draw(m, 4) == 0) {
        struct bt_lease old = *lease;
        m->unexpected += bt_lease_give(lease, &parcel, NULL) != BATON_OK;
        m->unexpected += bt_lease_begin(&old, BT_OP_DECODE, (void **)&c, NULL) != BATON_STALE;
        m->unexpected += bt_lease_take(&parcel, lease, NULL) != BATON_OK;
    }
    m->unexpected += bt_lease_begin(lease, BT_OP_LOGITS, (void **)&c, NULL) != BATON_OK;
    m->wrong += overlap_logits(c) != overlap_expected(token);
    bt_lease_end(lease);
}

static baton_status by_ticket(struct member *m, const struct bt_ask *ask, struct bt_lease *lease) {
    struct bt_ticket *ticket;
    baton_status status = bt_lease_ask(m->pool, ask, lease, &ticket, NULL);
    if (status != BATON_AGAIN)
        return status;
    bool drop = draw(m, 5) == 0;
    while (!drop && (status = bt_lease_poll(&ticket, lease, NULL)) == BATON_AGAIN)
        sched_yield();
    bt_ticket_drop(&ticket);
    return drop ? BATON_CANCELLED : status;
}

static void *does_it_all(void *arg) {
    struct member *m = arg;
    for (int i = 0; i < m->rounds; i++) {
        struct bt_lease lease;
        struct bt_ask ask = {.when_full = draw(m, 8) ? BT_WAIT : BT_REFUSE,
                             .queue_ms = draw(m, 2) ? (int64_t)draw(m, 3) : -1,
                             .priority = (int)draw(m, BT_PRIORITIES),
                             .id = (uint64_t)m->number + 1};
        bt_pool_cancel(m->pool, draw(m, 12) + 1); /* somebody, nobody, anybody */
        baton_status status = draw(m, 3) ? bt_lease_acquire(m->pool, &ask, &lease, NULL) : by_ticket(m, &ask, &lease);
        m->timeouts += status == BATON_QUEUE_TIMEOUT;
        m->cancelled += status == BATON_CANCELLED;
        m->full += status == BATON_QUEUE_FULL || status == BATON_BUSY;
        if (status == BATON_CLOSED)
            return NULL;
        if (status != BATON_OK) {
            m->unexpected += status != BATON_QUEUE_TIMEOUT && status != BATON_CANCELLED && status != BATON_QUEUE_FULL &&
                             status != BATON_BUSY;
            continue;
        }
        m->got++;
        use(m, &lease);
        m->unexpected += bt_lease_release(&lease, BT_KEEP, NULL) != BATON_OK;
    }
    return NULL;
}

static void crowd(uint64_t seed, int n_contexts, int queue_max, int rounds, bool close_midway) {
    enum { MEMBERS = 8 };
    struct bt_pool *pool = open_pool(n_contexts, queue_max);
    struct member m[MEMBERS];
    int64_t got = 0;
    for (int i = 0; i < MEMBERS; i++) {
        m[i] = (struct member){.pool = pool, .seed = seed ^ (uint64_t)i << 40, .number = i, .rounds = rounds};
        assert_int_equal(pthread_create(&m[i].thread, NULL, does_it_all, &m[i]), 0);
    }
    if (close_midway) {
        struct bt_pool *copy = pool;
        overlap_wait_until(contexts[0].calls > 100);
        assert_int_equal(bt_pool_close(&copy, seed % 2 ? BT_CLOSE_DRAIN : BT_CLOSE_CANCEL, NULL), BATON_OK);
        assert_int_equal(destroyed, n_contexts);
    }
    for (int i = 0; i < MEMBERS; i++) {
        pthread_join(m[i].thread, NULL);
        assert_int_equal(m[i].wrong, 0);
        assert_int_equal(m[i].unexpected, 0);
        if (!close_midway)
            assert_int_equal(m[i].got + m[i].timeouts + m[i].cancelled + m[i].full, rounds);
        got += m[i].got;
    }
    uint64_t decoded = contexts[0].state + contexts[1].state + contexts[2].state;
    assert_int_equal(overlaps(), 0);
    assert_int_equal(decoded, got);
    if (close_midway)
        return;
    assert_int_equal(bt_pool_queued(pool), 0);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK); /* does not hang: no slot was lost */
}

static void any_crowd_keeps_the_rules(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    crowd(seed, 1, 4, 1500, false);
    crowd(seed + 1, 3, 8, 1500, false);
    crowd(seed + 2, 2, 0, 500, false);
}

static void probe_P25_close_in_the_middle_of_a_crowd(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    for (int i = 0; i < 40; i++) /* more often than there are spare pools: memory is used again */
        crowd(seed + (uint64_t)i, 1 + i % 3, 4, 1000000, true);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P24_cancel_racing_completion_gives_one_outcome),
        cmocka_unit_test(probe_P24_cancel_names_one_request_and_touches_no_other),
        cmocka_unit_test(probe_P25_close_drains_or_cancels_and_waiters_get_closed),
        cmocka_unit_test(probe_P25_close_from_inside_is_deferred_to_the_release),
        cmocka_unit_test(any_crowd_keeps_the_rules),
        cmocka_unit_test(probe_P25_close_in_the_middle_of_a_crowd),
    };
    return bt_test_run(tests, argc, argv);
}
