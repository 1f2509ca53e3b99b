/* What the refused are told: who is in the way, in what, since when, and the cure. Stateless. */
#include <stdarg.h>

#include "lease/pool.h"

const char *bt_op_text(enum bt_op op) {
    static const char *const texts[] = {
#define OP_TEXT(name, number, text) text,
        BATON_OP_MAP(OP_TEXT)
#undef OP_TEXT
    };
    return (unsigned)op < BT_OP_COUNT ? texts[op] : "an unknown operation";
}

void bt_pool_line(const struct bt_pool *pool, uint64_t id, const char *format, ...) {
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    bt_log(BATON_LOG_DEBUG, "%s: request %llu %s", pool->name, (unsigned long long)id, what);
}

/* Of the holders the one that has been at it longest; one that is lost will not give way, so it is not named. */
baton_guard_word bt_pool_in_the_way(const struct bt_pool *pool) {
    baton_guard_word longest = 0;
    for (int i = 0; i < pool->n; i++) {
        baton_guard_word word = baton_guard_read(&pool->slots[i].guard);
        if (word && !pool->slots[i].lost && (!longest || baton_guard_ms(word) > baton_guard_ms(longest)))
            longest = word;
    }
    return longest;
}

static void explain(const struct bt_pool *pool, baton_guard_word word, char *text, size_t size) {
    char what[160];
    if (pool->n == 1)
        snprintf(what, sizeof what, "%s", pool->name);
    else
        snprintf(what, sizeof what, "%s (all %d contexts; the one longest in use:)", pool->name, pool->n);
    if (baton_guard_tid(word) == baton_guard_self() && baton_guard_op(word) == BT_OP_GIVEN)
        snprintf(
            text, size,
            "%s is in use: it was granted to this very thread's ticket, or given away by it, %lu ms ago, and is not "
            "taken yet. Poll the ticket, take or release the parcel first",
            what, (unsigned long)baton_guard_ms(word));
    else if (baton_guard_tid(word))
        baton_guard_explain(word, what, bt_op_text((enum bt_op)baton_guard_op(word)), text, size);
    else
        snprintf(text, size, "%s is in use", what);
}

baton_status bt_pool_fail(const struct bt_pool *pool, baton_status status, const struct bt_ask *ask,
                          baton_guard_word in_the_way, baton_error *err) {
    char who[400];
    if (!err)
        return status;
    explain(pool, in_the_way, who, sizeof who);
    switch (status) {
    case BATON_BUSY:
    case BATON_REENTRANT:
        return bt_fail(err, status, "%s", who);
    case BATON_WOULD_DEADLOCK:
        if (pool->n == 1)
            return bt_fail(err, status, "waiting would never end: %s", who);
        return bt_fail(
            err, status,
            "waiting would never end: each of the %d contexts of %s is held by this thread, or by one that "
            "waits here for another one, or was lost with a thread that ended inside it. Hold one context at a "
            "time, or open more",
            pool->n, pool->name);
    case BATON_QUEUE_FULL:
        return bt_fail(err, status, "%d wait already, which is all the queue takes: %s", pool->gate.queue_max, who);
    case BATON_QUEUE_TIMEOUT:
        return bt_fail(err, status, "not granted within %lld ms: %s", (long long)ask->queue_ms, who);
    case BATON_CANCELLED:
        return bt_fail(err, status, "request %llu was cancelled while it waited for %s", (unsigned long long)ask->id,
                       pool->name);
    case BATON_CLOSED:
        return bt_fail(err, status, "%s is closed: open it again, or do not ask any more", pool->name);
    default:
        return bt_fail(err, status, "%s: %s", pool->name, baton_status_text(status));
    }
}

baton_status bt_lease_fail_stale(const struct bt_lease *lease, baton_error *err) {
    return bt_fail(
        err, BATON_STALE,
        "this lease (request %llu) was released or handed on, or its thread ended. Acquire again, or use the "
        "one that take returned",
        lease ? (unsigned long long)lease->id : 0ULL);
}

baton_status bt_lease_fail_inside(const struct bt_lease *lease, const char *what, baton_guard_word word,
                                  baton_error *err) {
    char who[400];
    explain(lease->pool, word, who, sizeof who);
    baton_status status = baton_guard_tid(word) == baton_guard_self() ? BATON_REENTRANT : BATON_BUSY;
    return bt_fail(err, status, "cannot %s: %s", what, who);
}
