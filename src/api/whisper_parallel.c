/* One audio over all states of a model: one request that has all of them or none.
 *
 * It takes its turn first, then state after state, and keeps what it has: nobody else holds one while waiting for
 * another but programs that do so by hand (whisper_int.h). All its waits have one id, one queue timeout, and end with a
 * cancel of that id. State: on the stack of who asks. */
#include <string.h>

#include "api/whisper_int.h"
#include "baton/guard.h"

/* Under ids of ours a cancel must find this request alone: neither pool makes such ones (lease/pool.h). */
static uint64_t fresh_id(baton_whisper *w) {
    return BT_ID_FRESH | UINT64_C(1) << 61 | (atomic_fetch_add(&w->ids, 1) + 1);
}

/* A thread that holds a state of the model would wait for itself. */
static baton_status check_self(const struct bt_hearing *h, baton_error *err) {
    struct bt_holding held[BT_WHISPER_STATES_MAX];
    int n = bt_pool_holders(h->whisper->states, held, BT_WHISPER_STATES_MAX);
    bool mine = false, inside = false;
    for (int i = 0; i < n; i++)
        if (held[i].tid == baton_guard_self() && held[i].op != BT_OP_GIVEN) {
            mine = true;
            inside = inside || held[i].inside;
        }
    if (!mine)
        return BATON_OK;
    if (inside)
        return bt_misuse(err, BATON_REENTRANT,
                         "all states of %s are asked for from inside a native call of one: a callback. Ask after it "
                         "has returned",
                         h->whisper->info.name);
    if (h->request.when_full == BATON_REFUSE)
        return bt_fail(err, BATON_BUSY,
                       "all states of %s are asked for by a thread that holds a lease on one itself. Release it first",
                       h->whisper->info.name);
    return bt_misuse(err, BATON_WOULD_DEADLOCK,
                     "waiting would never end: all states of %s are asked for by a thread that holds a lease on one "
                     "itself. Release it first",
                     h->whisper->info.name);
}

/* What is left of the queue timeout. */
static void wait_left(struct bt_ask *ask, int64_t deadline_ns) {
    if (deadline_ns != BT_NEVER_NS)
        ask->queue_ms = BT_MAX(deadline_ns - bt_now_ns(), 0) / BT_NS_PER_MS;
}

/* Not analysed from here on: Clang cannot tell one element of an array from another. */
static BATON_NO_ANALYSIS void release_all(struct bt_lease *leases, int n) {
    baton_error ignored;
    for (int i = 0; i < n; i++)
        bt_lease_release(&leases[i], BT_RESET, &ignored);
}

/* The turn and all states, or nothing. */
static BATON_NO_ANALYSIS baton_status acquire_all(struct bt_hearing *h, struct bt_lease *leases, baton_error *err) {
    baton_whisper *w = h->whisper;
    struct bt_ask ask = bt_hearing_ask(h);
    int64_t deadline_ns = bt_deadline(h->asked_ns, ask.queue_ms);
    int n = 0;
    baton_status status = bt_lease_acquire(w->turns, &ask, &h->lease, err);
    if (status)
        return status;
    while (n < w->policy.contexts && !status) {
        wait_left(&ask, deadline_ns);
        status = bt_lease_acquire_within(w->states, &ask, &h->lease, &leases[n], err);
        if (!status)
            n++;
        if (!status && bt_lease_cancelled(&h->lease))
            status = bt_fail(err, BATON_CANCELLED, "request %llu was cancelled while it waited for all states of %s",
                             (unsigned long long)ask.id, w->info.name);
    }
    if (status) {
        release_all(leases, n);
        release_all(&h->lease, 1);
    }
    return status;
}

/* Inside the turn and every state, on this thread; the threads of the other parts are inside by its leave. */
static BATON_NO_ANALYSIS baton_status hear_in_all(struct bt_hearing *h, struct bt_lease *leases,
                                                  struct bt_whisper_result *made, baton_error *err) {
    struct bt_whisper_state *states[BT_WHISPER_STATES_MAX];
    int n = 0;
    void *turn;
    baton_status status = bt_lease_begin(&h->lease, BT_OP_TRANSCRIBE, &turn, err);
    if (status)
        return status;
    for (; n < h->n_parts && !status; n += !status) {
        struct bt_hearer *hearer;
        status = bt_lease_begin(&leases[n], BT_OP_TRANSCRIBE, (void **)&hearer, err);
        states[n] = status ? NULL : hearer->state;
    }
    if (!status)
        status = bt_whisper_parallel(states, n, &h->audio, &h->params, made, err);
    for (int i = 0; i < n; i++)
        bt_lease_end(&leases[i]);
    bt_lease_end(&h->lease);
    return status;
}

static baton_status check_parts(const struct bt_hearing *h, baton_error *err) {
    int64_t ms = (int64_t)(h->audio.n / (BT_WHISPER_RATE / 1000)) - h->params.offset_ms;
    if (h->params.duration_ms > 0)
        ms = BT_MIN(ms, h->params.duration_ms);
    if (ms / h->whisper->policy.contexts >= BT_WHISPER_MIN_MS)
        return BATON_OK;
    return bt_fail(err, BATON_INVALID, "%lld ms of audio in %d parts: each must have %d ms", (long long)ms,
                   h->whisper->policy.contexts, BT_WHISPER_MIN_MS);
}

static baton_status start(struct bt_hearing *h, struct bt_lease *leases, baton_error *err) {
    baton_whisper *w = h->whisper;
    baton_status status = check_parts(h, err);
    if (status)
        return status;
    if (h->request.id == 0)
        h->request.id = fresh_id(w);
    bt_hear_ref(w);
    status = check_self(h, err);
    if (!status)
        status = bt_told(acquire_all(h, leases, err), err);
    if (status) {
        atomic_fetch_add_explicit(&w->refused, 1, memory_order_relaxed);
        bt_hear_unref(w);
        return status;
    }
    h->parts = leases;
    h->n_parts = w->policy.contexts;
    bt_hearing_started(h);
    return BATON_OK;
}

baton_status baton_whisper_full_parallel(baton_whisper *whisper, const baton_whisper_ask *ask,
                                         baton_whisper_result *result, baton_error *err) {
    struct bt_hearing h;
    struct bt_lease leases[BT_WHISPER_STATES_MAX];
    struct bt_whisper_result made = {.language = -1};
    baton_error mine;
    if (!result)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_full_parallel needs a place for the result");
    memset(result, 0, sizeof *result);
    baton_status status = bt_hearing_take(&h, whisper, ask, true, &mine);
    if (!status && whisper->io)
        status = bt_owned_unsupported(whisper, "open the model with BATON_OWNER_CALLER to hear in all of them at once",
                                      &mine);
    if (!status)
        status = start(&h, leases, &mine);
    if (status) {
        bt_hearing_refused(&h, status, &result->outcome, &mine);
        return bt_fail(err, status, "%s", mine.text);
    }
    status = hear_in_all(&h, leases, &made, &mine);
    status = bt_hearing_end(&h, status, &made, &result->outcome, &mine);
    bt_hearing_give(&made, result);
    release_all(leases, h.n_parts);
    release_all(&h.lease, 1);
    bt_hear_unref(whisper);
    return status ? bt_fail(err, status, "%s", mine.text) : BATON_OK;
}
