/* A stream of owner = caller: a generator, and the lease that it runs under.
 *
 * `inside` says who may touch the rest: the thread whose id it is, entered by compare-and-swap from NOBODY, so that
 * only one is in. Whoever enters to close never leaves. The inside thread itself may close, from a callback: it adds
 * LEAVE, and the pull that is under way frees the stream when it is through. Everybody else who closes waits for
 * NOBODY. */
#include <stdlib.h>
#include <string.h>

#include "lease/caller_int.h"
#include "lease/pool.h"

enum { NOBODY = 0, LEAVE = 1 << 30 }; /* thread ids are far below (proc(5), pid_max) */

struct bt_caller_stream {
    /* set at open */
    struct bt_caller *caller; /* referenced */
    struct bt_pool *pool;     /* as long as the lease is good */
    uint64_t id;
    bool (*cancelled)(void *arg); /* the request's own */
    void *arg;
    /* anybody */
    _Atomic uint32_t inside; /* futex word */
    _Atomic bool closing;    /* somebody waits to close it */
    /* who is inside */
    struct bt_generator *generator;
    struct bt_lease lease;
    bool parked;
};

static bool cancelled(void *arg) {
    const struct bt_caller_stream *s = arg;
    return atomic_load(&s->closing) || bt_lease_cancelled(&s->lease) || (s->cancelled && s->cancelled(s->arg));
}

static void stream_free(struct bt_caller_stream *s) {
    struct bt_caller *c = s->caller;
    bt_generator_free(s->generator); /* before the model that it samples with */
    free(s);
    bt_caller_unref(c);
}

baton_status bt_caller_stream_open(struct bt_caller *c, const struct bt_ask *ask, const struct bt_run *run,
                                   struct bt_caller_stream **out, baton_error *err) {
    *out = NULL;
    struct bt_caller_stream *s = calloc(1, sizeof *s);
    if (!s) {
        bt_chunks_free(run->chunks);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a stream");
    }
    s->caller = c;
    s->pool = c->pool;
    s->cancelled = run->cancelled;
    s->arg = run->arg;
    atomic_fetch_add(&c->refs, 1);
    struct bt_run mine = *run;
    mine.chunk = bt_caller_chunk(c, run);
    mine.cancelled = cancelled;
    mine.arg = s;
    baton_status status = bt_generator_open(c->model, c->capacity, 0, &mine, &s->generator, err);
    if (!status)
        status = bt_lease_acquire(s->pool, ask, &s->lease, err);
    atomic_fetch_add_explicit(status ? &c->refused : &c->accepted, 1, memory_order_relaxed);
    if (status) {
        stream_free(s);
        return status;
    }
    s->id = s->lease.id;
    bt_generator_start_clock(s->generator);
    *out = s;
    return BATON_OK;
}

uint64_t bt_caller_stream_id(const struct bt_caller_stream *s) {
    return s->id;
}

/* Who is in the way of a call on the stream. */
static baton_status refused(const struct bt_caller_stream *s, const char *what, uint32_t inside, baton_error *err) {
    if ((inside & ~(uint32_t)LEAVE) == baton_guard_self())
        return bt_fail(err, BATON_REENTRANT, "%s from inside the native call of the same stream (request %llu)", what,
                       (unsigned long long)s->id);
    char name[32];
    bt_thread_name(inside & ~(uint32_t)LEAVE, name, sizeof name);
    return bt_fail(err, BATON_BUSY,
                   "%s while thread %u (%s) is inside the same stream (request %llu): one thread at a time may use it",
                   what, inside, name, (unsigned long long)s->id);
}

/* NOBODY: this thread is inside now; else who is. */
static uint32_t enter(struct bt_caller_stream *s) {
    uint32_t was = NOBODY;
    atomic_compare_exchange_strong(&s->inside, &was, baton_guard_self());
    return was;
}

/* Clang's analysis follows one function at a time; the lease is held from open to close. */
static void holds_lease(const struct bt_caller_stream *s) BATON_ASSERT_HELD(s->lease) {
    (void)s;
}

/* By whoever is inside for good: nobody else knows the stream any more. */
static baton_status finish(struct bt_caller_stream *s, struct bt_run_result *result, baton_error *err) {
    baton_error ignored;
    holds_lease(s);
    bt_generator_stop(s->generator, BATON_CANCELLED, "the stream was closed before its end");
    bt_lease_release(&s->lease, BT_RESET, &ignored); /* stale: its thread ended, and the slot is somebody else's */
    baton_status outcome = bt_generator_outcome(s->generator, err);
    if (result)
        bt_generator_take(s->generator, result);
    bt_caller_count(s->caller, outcome);
    stream_free(s);
    return outcome;
}

/* False: it was closed from inside, and is no more. */
static bool leave(struct bt_caller_stream *s) {
    uint32_t self = baton_guard_self();
    if (atomic_compare_exchange_strong(&s->inside, &self, NOBODY)) {
        bt_futex_wake(&s->inside, INT_MAX);
        return true;
    }
    finish(s, NULL, NULL);
    return false;
}

/* By itself because Clang's analysis does not look into functions that may or may not acquire. */
static baton_status begin(struct bt_caller_stream *s, enum bt_op op, void **context, baton_error *err)
    BATON_TRY_ACQUIRE(0, s->lease.pool) {
    if (s->parked) {
        struct bt_lease taken;
        baton_status status = bt_lease_take(&s->lease, &taken, err);
        if (status)
            return status;
        s->lease = taken;
        s->parked = false;
    }
    return bt_lease_begin(&s->lease, op, context, err);
}

static baton_status pull(struct bt_caller_stream *s, struct bt_delta *delta, baton_error *err) {
    void *context;
    baton_status status = bt_generator_outcome(s->generator, err);
    if (status != BATON_AGAIN) /* it has ended: no native code is needed to say so */
        return bt_generator_next(s->generator, NULL, delta, err);
    holds_lease(s);
    status = begin(s, BT_OP_STREAM, &context, err);
    if (status) {
        if (status != BATON_STALE)
            return status;
        bt_generator_stop(s->generator, status,
                          "the thread that pulled this stream last has ended, and its lease with it: park the stream "
                          "before the thread ends");
        return bt_generator_next(s->generator, NULL, delta, err);
    }
    status = bt_generator_next(s->generator, context, delta, err);
    bt_lease_end(&s->lease);
    return status;
}

baton_status bt_caller_stream_next(struct bt_caller_stream *s, struct bt_delta *delta, baton_error *err) {
    *delta = (struct bt_delta){.token = -1, .text = ""};
    uint32_t inside = enter(s);
    if (inside != NOBODY)
        return refused(s, "next", inside, err);
    baton_status status = pull(s, delta, err);
    if (leave(s))
        return status;
    *delta = (struct bt_delta){.token = -1, .text = ""};
    return bt_fail(err, BATON_CANCELLED, "the stream was closed from inside its native call");
}

baton_status bt_caller_stream_save(struct bt_caller_stream *s, struct bt_buf *out, baton_error *err) {
    void *context;
    uint32_t inside = enter(s);
    if (inside != NOBODY)
        return refused(s, "save", inside, err);
    holds_lease(s);
    baton_status status = begin(s, BT_OP_STATE, &context, err);
    if (!status) {
        status = bt_generator_save(s->generator, context, out, err);
        bt_lease_end(&s->lease);
    }
    leave(s);
    return status;
}

baton_status bt_caller_stream_park(struct bt_caller_stream *s, baton_error *err) {
    struct bt_lease parcel;
    uint32_t inside = enter(s);
    if (inside != NOBODY)
        return refused(s, "park", inside, err);
    baton_status status = BATON_OK;
    if (!s->parked) {
        holds_lease(s);
        status = bt_lease_give(&s->lease, &parcel, err);
        if (!status)
            s->lease = parcel;
        s->parked = status == BATON_OK;
    }
    leave(s);
    return status;
}

baton_status bt_caller_stream_close(struct bt_caller_stream **stream, struct bt_run_result *result, baton_error *err) {
    struct bt_caller_stream *s = *stream;
    *stream = NULL;
    if (result)
        memset(result, 0, sizeof *result);
    if (!s)
        return BATON_OK;
    for (uint32_t inside; (inside = enter(s)) != NOBODY;) {
        if ((inside & ~(uint32_t)LEAVE) == baton_guard_self()) {
            atomic_fetch_or(&s->inside, LEAVE);
            return bt_fail(err, BATON_CANCELLED, "the stream was closed from inside its native call");
        }
        atomic_store(&s->closing, true);
        bt_futex_wait(&s->inside, inside, BT_NEVER_NS);
    }
    return finish(s, result, err);
}

baton_status bt_caller_generate(struct bt_caller *c, const struct bt_ask *ask, const struct bt_run *run,
                                struct bt_run_result *result, baton_error *err) {
    struct bt_caller_stream *s;
    struct bt_delta d;
    memset(result, 0, sizeof *result);
    baton_status status = bt_caller_stream_open(c, ask, run, &s, err);
    if (status)
        return status;
    while (bt_caller_stream_next(s, &d, NULL) == BATON_OK)
        if (run->on_token && !run->on_token(run->arg, d.token, d.text, d.len))
            bt_generator_stop(s->generator, BATON_END, "stopped by on_token");
    return bt_caller_stream_close(&s, result, err);
}
