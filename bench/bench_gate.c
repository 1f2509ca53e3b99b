/* The guard's and the lease's cost beside pthread's, in one process and one run.
 *
 * glibc's mutexes leave out the atomic instructions while a process has one thread, so a second one is kept alive: a
 * guard is of no use in a process without one. Each figure is the least of several runs: noise only adds. */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "baton/guard.h"
#include "lease/lease.h"

enum { ROUNDS = 500000, RUNS = 9, THREADS = 8, HOLD_NS = 20000, CONTENDED_MS = 1000 };

static void *idle_thread(void *release) {
    pthread_mutex_lock(release);
    pthread_mutex_unlock(release);
    return NULL;
}

/* What is measured; the arguments are file scope so that each loop body is only the pair of calls. */
static baton_guard guard = BATON_GUARD_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct bt_pool *pool;
static int failures;

static void guard_pair(void) {
    failures += baton_guard_enter(&guard, 1) != 0;
    baton_guard_leave(&guard);
}
static void mutex_pair(void) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
}
static void trylock_pair(void) {
    failures += pthread_mutex_trylock(&mutex) != 0;
    pthread_mutex_unlock(&mutex);
}
static void lease_pair(void) {
    struct bt_lease lease;
    failures += bt_lease_acquire(pool, NULL, &lease, NULL) != BATON_OK;
    bt_lease_release(&lease, BT_KEEP, NULL);
}
static struct bt_lease held;
static void call_pair(void) {
    void *context;
    failures += bt_lease_begin(&held, BT_OP_DECODE, &context, NULL) != BATON_OK;
    bt_lease_end(&held);
}
static void nothing(void) {
    __asm__ volatile("" ::: "memory");
}

/* Inlined into each caller, so that the pair is, too. */
static inline __attribute__((always_inline)) double pair_ns(void (*pair)(void)) {
    double least = 1e9;
    for (int run = 0; run < RUNS; run++) {
        int64_t start = bt_now_ns();
        for (int i = 0; i < ROUNDS; i++) {
            pair();
            __asm__ volatile("" ::: "memory");
        }
        double ns = (double)(bt_now_ns() - start) / ROUNDS;
        least = BT_MIN(least, ns);
    }
    return least;
}

static void uncontended(void) {
    double loop = pair_ns(nothing), g = pair_ns(guard_pair) - loop, t = pair_ns(trylock_pair) - loop;
    double m = pair_ns(mutex_pair) - loop, l = pair_ns(lease_pair) - loop;
    failures += bt_lease_acquire(pool, NULL, &held, NULL) != BATON_OK;
    double c = pair_ns(call_pair) - loop;
    failures += bt_lease_release(&held, BT_KEEP, NULL) != BATON_OK;
    printf("one thread in, another one alive, ns for the pair    of trylock    of lock\n");
    printf("  pthread_mutex_trylock + unlock       %6.1f         %5.2f        %5.2f\n", t, 1.0, t / m);
    printf("  pthread_mutex_lock + unlock          %6.1f         %5.2f        %5.2f\n", m, m / t, 1.0);
    printf("  guard: enter + leave                 %6.1f         %5.2f        %5.2f\n", g, g / t, g / m);
    printf("  lease: acquire + release             %6.1f         %5.2f        %5.2f\n", l, l / t, l / m);
    printf("  lease: begin + end of a native call  %6.1f         %5.2f        %5.2f\n", c, c / t, c / m);
}

enum contender { BY_LEASE, BY_MUTEX, BY_COND };
static const char *const contender_names[] = {"lease (FIFO hand-over)", "pthread_mutex", "mutex + cond flag"};

static struct {
    enum contender by;
    pthread_barrier_t start;
    pthread_cond_t cond;
    bool taken;
    _Atomic bool stop;
} match = {.cond = PTHREAD_COND_INITIALIZER};

struct tally {
    int64_t ops, wait_ns, wait_ns_max;
};

static void enter(struct bt_lease *lease) {
    static const struct bt_ask ask = {.when_full = BT_WAIT, .queue_ms = -1, .priority = 1};
    switch (match.by) {
    case BY_LEASE:
        if (bt_lease_acquire(pool, &ask, lease, NULL) != BATON_OK)
            failures++;
        break;
    case BY_MUTEX:
        pthread_mutex_lock(&mutex);
        break;
    case BY_COND:
        pthread_mutex_lock(&mutex);
        while (match.taken)
            pthread_cond_wait(&match.cond, &mutex);
        match.taken = true;
        pthread_mutex_unlock(&mutex);
        break;
    }
}

static void leave(struct bt_lease *lease) {
    switch (match.by) {
    case BY_LEASE:
        bt_lease_release(lease, BT_KEEP, NULL);
        break;
    case BY_MUTEX:
        pthread_mutex_unlock(&mutex);
        break;
    case BY_COND:
        pthread_mutex_lock(&mutex);
        match.taken = false;
        pthread_mutex_unlock(&mutex);
        pthread_cond_signal(&match.cond);
        break;
    }
}

static void *contender(void *arg) {
    struct tally *tally = arg;
    pthread_barrier_wait(&match.start);
    while (!match.stop) {
        struct bt_lease lease;
        int64_t asked = bt_now_ns();
        enter(&lease);
        int64_t entered = bt_now_ns(), waited = entered - asked;
        while (bt_now_ns() - entered < HOLD_NS)
            continue;
        leave(&lease);
        tally->ops++;
        tally->wait_ns += waited;
        tally->wait_ns_max = BT_MAX(tally->wait_ns_max, waited);
    }
    return NULL;
}

static void contended(enum contender by) {
    pthread_t threads[THREADS];
    struct tally tallies[THREADS] = {0}, all = {0};
    int64_t least = INT64_MAX, most = 0;
    match.by = by;
    match.stop = false;
    pthread_barrier_init(&match.start, NULL, THREADS + 1);
    int64_t start = bt_now_ns();
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, contender, &tallies[i]) != 0)
            abort();
    pthread_barrier_wait(&match.start);
    nanosleep(&(struct timespec){.tv_sec = CONTENDED_MS / 1000}, NULL);
    match.stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(bt_now_ns() - start) / 1e9;
    for (int i = 0; i < THREADS; i++) {
        all.ops += tallies[i].ops;
        all.wait_ns += tallies[i].wait_ns;
        all.wait_ns_max = BT_MAX(all.wait_ns_max, tallies[i].wait_ns_max);
        least = BT_MIN(least, tallies[i].ops);
        most = BT_MAX(most, tallies[i].ops);
    }
    double mean = (double)all.wait_ns / (double)BT_MAX(all.ops, 1);
    printf("  %-24s %8.0f    %8.1f    %8.1f    %7.1f    %8.2f\n", contender_names[by], (double)all.ops / seconds,
           mean / 1e3, (double)all.wait_ns_max / 1e3, (double)all.wait_ns_max / mean, (double)least / (double)most);
    pthread_barrier_destroy(&match.start);
}

void bt_bench_gate(void) {
    static int context;
    void *contexts[] = {&context};
    pthread_mutex_t alive = PTHREAD_MUTEX_INITIALIZER;
    pthread_t second;
    const struct bt_pool_params params = {.name = "bench", .contexts = contexts, .n_contexts = 1, .queue_max = THREADS};
    baton_error err;
    pthread_mutex_lock(&alive);
    if (pthread_create(&second, NULL, idle_thread, &alive) != 0 || bt_pool_open(&params, &pool, &err) != BATON_OK)
        abort();
    uncontended();
    pthread_mutex_unlock(&alive);
    pthread_join(second, NULL);
    printf(
        "\n%d threads, each %d us in:   entries/s     wait us: mean    longest    longest/mean   least/most entries\n",
        THREADS, HOLD_NS / 1000);
    for (enum contender by = BY_LEASE; by <= BY_COND; by++)
        contended(by);
    bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL);
    if (failures)
        printf("  %d entries FAILED: the figures above mean nothing\n", failures);
}
