/* Somebody's code from inside an answer, and what it may ask of the same model.
 *
 * Invariant: a callback is on the list of its model while it runs, so that a request of its thread is known for one
 * that must not wait: the slot that it would wait for is given back only after the callback. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "baton/guard.h"

void bt_callback_enter(baton_llama *llama, struct bt_callback *c) {
    c->tid = baton_guard_self();
    pthread_mutex_lock(&llama->lock);
    bt_list_append(&llama->callbacks, &c->link);
    pthread_mutex_unlock(&llama->lock);
}

void bt_callback_leave(baton_llama *llama, struct bt_callback *c) {
    pthread_mutex_lock(&llama->lock);
    bt_list_remove(&c->link);
    pthread_mutex_unlock(&llama->lock);
}

static bool in_callback(baton_llama *llama) {
    bool found = false;
    pthread_mutex_lock(&llama->lock);
    for (struct bt_list *l = llama->callbacks.next; l != &llama->callbacks && !found; l = l->next)
        found = BT_CONTAINER(l, struct bt_callback, link)->tid == baton_guard_self();
    pthread_mutex_unlock(&llama->lock);
    return found;
}

baton_status bt_llama_request(baton_llama *llama, const baton_request *theirs, baton_request *mine, baton_error *err) {
    baton_status status = bt_take_request(theirs, &llama->policy, mine, err);
    if (!status && mine->when_full == BATON_WAIT && in_callback(llama))
        mine->when_full = BATON_REFUSE;
    return status;
}

baton_status bt_llama_verdict(baton_llama *llama, baton_status status, baton_error *err) {
    if (status != BATON_BUSY || !in_callback(llama))
        return bt_told(status, err);
    return bt_misuse(
        err, BATON_REENTRANT,
        "a callback of model '%s' asks the same model, whose contexts are all in use: its own answer waits "
        "for the callback. Ask after it has returned, or open more contexts",
        llama->info.name);
}

baton_status bt_llama_acquire(baton_llama *llama, const baton_request *theirs, baton_request *mine,
                              struct bt_lease *lease, baton_error *err) {
    baton_status status = bt_llama_request(llama, theirs, mine, err);
    if (status)
        return status;
    struct bt_ask ask = {mine->when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE, mine->queue_ms, mine->id, mine->flow,
                         mine->priority};
    status = bt_lease_acquire(bt_caller_pool(llama->caller), &ask, lease, err);
    return bt_llama_verdict(llama, status, err);
}

static void deliver(baton_llama *llama, baton_stream *stream, bool (*on_delta)(void *arg, const baton_delta *delta),
                    void *arg) {
    struct bt_callback c;
    baton_delta delta;
    while (baton_stream_next(stream, -1, &delta) == BATON_OK) {
        bt_callback_enter(llama, &c);
        bool more = on_delta(arg, &delta);
        bt_callback_leave(llama, &c);
        if (!more)
            return;
    }
}

baton_status baton_llama_generate_cb(baton_llama *llama, const baton_llama_ask *ask,
                                     bool (*on_delta)(void *arg, const baton_delta *delta), void *arg,
                                     baton_outcome *outcome, baton_error *err) {
    baton_outcome mine = {0};
    baton_stream *stream;
    baton_error local;
    BT_IN_CALL(llama);
    err = err ? err : &local;
    baton_status status = llama && on_delta ? baton_llama_stream(llama, ask, &stream, err)
                                            : bt_missing(err, __func__, "a model and an on_delta");
    if (status) {
        mine.status = status;
        snprintf(mine.text, sizeof mine.text, "%.*s", (int)sizeof mine.text - 1, err->text);
    } else {
        deliver(llama, stream, on_delta, arg);
        status = baton_stream_close(&stream, &mine);
        if (status)
            bt_fail(err, status, "%s", mine.text);
    }
    if (outcome)
        *outcome = mine;
    return status;
}
