/* Questions to owners: who waits for which reply. A call needs no slot. One about the model may be answered by any
 * owner and is asked again when one has ended under it; one about a conversation or a cache goes to the owner that has
 * it.
 *
 * Invariant: a call is sent to one context, whose `calls` counts it, or waits for one to be ready; its handler is told
 * once.
 * State: the dispatch's. */
#include <stdlib.h>
#include <string.h>

#include "ipc/believe.h"

enum { CALL_ATTEMPTS = 3, CALLS_AT_ONCE = 256 /* to one owner; the others wait here */ };

struct call {
    struct bt_list link;
    struct bt_outgoing out;
    struct bt_buf body;
    struct bt_call_handler handler; /* on_reply == NULL: nobody waits any more */
    uint64_t id;
    enum bt_call_op op;
    uint64_t received, most; /* bytes of the result */
    int context;             /* that it was sent to; -1: it waits */
    int only;                /* the context that knows; -1: any */
    int attempts;
};

/* From its context, if it was sent to one. */
static void take_back(struct bt_dispatch *d, struct call *c) {
    bt_outbox_remove(&c->out);
    if (c->context >= 0)
        d->contexts[c->context].calls--;
    c->context = -1;
}

static void call_free(struct bt_dispatch *d, struct call *c) {
    take_back(d, c);
    bt_list_remove(&c->link);
    bt_buf_free(&c->body);
    free(c);
}

static void conclude(struct bt_dispatch *d, struct call *c, baton_status status, const char *text) {
    struct bt_call_handler handler = c->handler;
    call_free(d, c);
    if (handler.on_reply)
        handler.on_reply(handler.arg, status, text);
}

static struct call *find(struct bt_dispatch *d, uint64_t id) {
    for (struct bt_list *l = d->calls.next; l != &d->calls; l = l->next) {
        struct call *c = BT_CONTAINER(l, struct call, link);
        if (c->id == id)
            return c;
    }
    return NULL;
}

static void ask(struct bt_dispatch *d, struct call *c, int context) {
    c->context = context;
    c->attempts++;
    d->contexts[context].calls++;
    bt_outbox_add(&d->contexts[context].outbox, &c->out, BT_FRAME_CALL, c->id, 0, &c->body);
    bt_dispatch_send(d, context);
}

void bt_dispatch_place_calls(struct bt_dispatch *d) {
    int any = bt_list_empty(&d->calls) ? -1 : bt_dispatch_least_loaded(d);
    for (struct bt_list *l = d->calls.next; l != &d->calls && !d->closing; l = l->next) {
        struct call *c = BT_CONTAINER(l, struct call, link);
        int context = c->only >= 0 ? c->only : any;
        if (c->context < 0 && context >= 0 && d->contexts[context].calls < CALLS_AT_ONCE)
            ask(d, c, context);
    }
}

baton_status bt_dispatch_call(struct bt_dispatch *d, int context, const struct bt_call *call,
                              const struct bt_call_handler *handler, baton_error *err) {
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a call");
    bt_list_init(&c->link);
    bt_list_init(&c->out.link);
    c->id = call->id;
    c->context = -1;
    c->only = context;
    c->op = call->op;
    c->most = bt_call_result_max(call->op, call->bytes.len);
    c->handler = *handler;
    bt_call_encode(&c->body, call);
    baton_status status = BATON_OK;
    if (c->body.failed)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a call");
    else if (c->body.len > BT_BODY_MAX)
        status = bt_fail(err, BATON_TOO_LONG, "the call takes %zu bytes and %d are possible", c->body.len, BT_BODY_MAX);
    else if (d->closing || bt_dispatch_closed(d))
        status = bt_fail(err, BATON_CLOSED, "no owner is left");
    else if (context >= 0 && d->contexts[context].life.life != BT_LIFE_READY)
        status = bt_fail(err, BATON_STALE, "the owner of context %d has ended, and what it had with it", context);
    if (status) {
        call_free(d, c);
        return status;
    }
    bt_list_append(&d->calls, &c->link);
    bt_dispatch_place_calls(d);
    return BATON_OK;
}

void bt_dispatch_call_drop(struct bt_dispatch *d, uint64_t id) {
    struct call *c = find(d, id);
    if (!c)
        return;
    c->handler = (struct bt_call_handler){0};
    if (c->context < 0 || (bt_outgoing_waits(&c->out) && c->out.offset == 0)) {
        call_free(d, c);
    } else if (bt_outgoing_waits(&c->out)) { /* the rest does not come */
        bt_put_cancel(d->contexts[c->context].out, id, BATON_CANCELLED);
        d->ops->write(d->arg, c->context);
        call_free(d, c);
    }
}

bool bt_dispatch_calls(struct bt_dispatch *d, uint64_t id) {
    return find(d, id) != NULL;
}

/* What is new of a result, whose beginning may have come before, from an owner that ended. One that answers before it
 * has the question answers to nobody: readers may end on the spot what nobody has heard of. */
static baton_status deliver(struct call *c, uint64_t offset, struct bt_text bytes) {
    if (offset > c->received || offset > c->most || bytes.len > c->most - offset)
        return BATON_PROTOCOL;
    size_t known = (size_t)BT_MIN(c->received - offset, (uint64_t)bytes.len);
    c->received += bytes.len - known;
    if (bytes.len > known && c->handler.on_data)
        c->handler.on_data(c->handler.arg, bytes.data + known, bytes.len - known);
    return BATON_OK;
}

baton_status bt_dispatch_call_data(struct bt_dispatch *d, int context, const struct bt_frame_data *data) {
    struct call *c = find(d, data->id);
    if (!c || c->context != context)
        return BATON_OK;
    return bt_outgoing_waits(&c->out) ? BATON_PROTOCOL : deliver(c, data->offset, data->bytes);
}

baton_status bt_dispatch_reply(struct bt_dispatch *d, int context, const struct bt_frame *frame) {
    struct bt_frame_reply reply;
    baton_status status = bt_get_reply(frame, &reply);
    struct call *c = status ? NULL : find(d, reply.id);
    if (!c || c->context != context)
        return status;
    if (bt_outgoing_waits(&c->out))
        return BATON_PROTOCOL;
    if (reply.status == BATON_OK)
        status = deliver(c, reply.offset, reply.bytes);
    else if (!bt_believe_refusal(c->op, reply.status))
        status = BATON_PROTOCOL;
    if (status)
        return status;
    conclude(d, c, reply.status, reply.status ? reply.bytes.data : "");
    bt_dispatch_place_calls(d);
    return BATON_OK;
}

/* Those that may be asked elsewhere wait for that; NULL, or the first that may not. */
static struct call *take_back_until_lost(struct bt_dispatch *d, int context) {
    for (struct bt_list *l = d->calls.next; l != &d->calls; l = l->next) {
        struct call *c = BT_CONTAINER(l, struct call, link);
        if (c->context != context && c->only != context)
            continue;
        take_back(d, c);
        if (d->closing || c->only >= 0 || c->attempts >= CALL_ATTEMPTS)
            return c;
    }
    return NULL;
}

/* The calls that the owner had. Handlers may change the list, so each look at it begins anew. */
void bt_dispatch_bereave_calls(struct bt_dispatch *d, int context, const char *how) {
    struct call *c;
    while ((c = take_back_until_lost(d, context)))
        conclude(d, c, d->closing ? BATON_CLOSED : BATON_CRASHED, how);
}

void bt_dispatch_end_calls(struct bt_dispatch *d, const char *how) {
    while (!bt_list_empty(&d->calls))
        conclude(d, BT_CONTAINER(d->calls.next, struct call, link), BATON_CLOSED, how);
}
