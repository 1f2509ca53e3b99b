/* What snapshots tell of a dispatch, and the meters that they read: touched once or twice per request, never per token.
 * State: the dispatch's. */
#include "ipc/dispatch.h"

#include <stdlib.h>
#include <string.h>

enum { LISTED = 64 }; /* of those who wait */

/* A context is held while its load is not 0. */
void bt_dispatch_load(struct bt_dispatch *d, int context, int change) {
    struct bt_dispatch_context *c = &d->contexts[context];
    int64_t now = d->ops->now(d->arg);
    if (c->load == 0)
        c->since_ns = now;
    c->load += change;
    if (c->load == 0)
        c->busy_ns += now - c->since_ns;
}

void bt_dispatch_granted(struct bt_dispatch *d, const struct bt_waiter *w) {
    d->wait_us[bt_bucket((uint64_t)BT_MAX(w->granted_ns - w->asked_ns, 0) / 1000)]++;
}

void bt_dispatch_released(struct bt_dispatch *d, int64_t held_ns) {
    d->hold_ms[bt_bucket((uint64_t)(BT_MAX(held_ns, 0) / BT_NS_PER_MS))]++;
}

static int64_t ms(int64_t from_ns, int64_t to_ns) {
    return BT_MAX(to_ns - from_ns, 0) / BT_NS_PER_MS;
}

static unsigned asker_of(const struct bt_request *r, unsigned (*asker)(const void *arg)) {
    return r->handler.arg ? asker(r->handler.arg) : 0;
}

static baton_running running(const struct bt_request *r, unsigned tid, int64_t now) {
    static const baton_op ops[] = {BATON_OP_GENERATE, BATON_OP_EMBED, BATON_OP_SCORE, BATON_OP_TRANSCRIBE,
                                   BATON_OP_DRAW};
    bool there = r->at == BT_RUNNING;
    return (baton_running){.id = r->waiter.id,
                           .flow = r->waiter.flow,
                           .context = there ? r->context : -1,
                           .op = ops[r->what],
                           .inside = there && r->seen && r->standing == BT_STANDING_STEPPING,
                           .tid = tid,
                           .for_ms = ms(r->waiter.granted_ns, now),
                           .tokens = r->n_tokens};
}

/* Those in a context, then those that wait for one. The oldest of each context is its holder. */
static void fill_running(const struct bt_dispatch *d, unsigned (*asker)(const void *arg), int64_t now,
                         baton_snapshot *s) {
    const struct bt_list *heads[] = {&d->running, &d->pending};
    uint64_t oldest[BT_CONTEXTS_MAX];
    for (size_t i = 0; i < BT_COUNT(heads); i++)
        for (const struct bt_list *l = heads[i]->next; l != heads[i]; l = l->next) {
            const struct bt_request *r = BT_CONTAINER(l, const struct bt_request, link);
            baton_running *run = &s->run[s->running++];
            *run = running(r, asker_of(r, asker), now);
            if (run->context < 0)
                continue;
            baton_context_use *u = &s->context[run->context];
            u->inside |= run->inside;
            if (u->request && r->order > oldest[run->context])
                continue;
            oldest[run->context] = r->order;
            u->request = run->id;
            u->tid = run->tid;
            u->op = run->op;
            u->for_ms = run->for_ms;
        }
}

static void fill_queue(const struct bt_dispatch *d, unsigned (*asker)(const void *arg), int64_t now,
                       baton_snapshot *s) {
    s->queued = d->gate.queued;
    for (const struct bt_waiter *w = NULL; s->listed < LISTED && (w = bt_gate_each(&d->gate, w)); s->listed++)
        s->waiting[s->listed] =
            (baton_waiting){.id = w->id,
                            .flow = w->flow,
                            .priority = w->priority,
                            .position = s->listed,
                            .tid = asker_of(BT_CONTAINER(w, const struct bt_request, waiter), asker),
                            .for_ms = ms(w->asked_ns, now)};
}

static void fill_context(const struct bt_dispatch *d, int context, int64_t now, baton_context_use *u) {
    const struct bt_dispatch_context *c = &d->contexts[context];
    int64_t held_ns = c->load > 0 ? BT_MAX(now - c->since_ns, 0) : 0, open_ns = now - d->opened_ns;
    u->held = c->load > 0;
    u->lost = c->life.life == BT_LIFE_GONE;
    u->held_ms = held_ns / BT_NS_PER_MS;
    u->grants = c->sent;
    double share = open_ns > 0 ? (double)(c->busy_ns + held_ns) / (double)open_ns : 0;
    u->utilisation = BT_MIN(share, 1);
}

baton_status bt_dispatch_snapshot(const struct bt_dispatch *d, unsigned (*asker)(const void *arg), baton_snapshot *s,
                                  baton_error *err) {
    const struct bt_gate *g = &d->gate;
    int64_t now = d->ops->now(d->arg);
    *s = (baton_snapshot){.open_ms = ms(d->opened_ns, now)};
    s->context = calloc((size_t)d->params.contexts, sizeof *s->context);
    s->waiting = calloc(LISTED, sizeof *s->waiting);
    s->run = calloc((size_t)g->slots, sizeof *s->run);
    s->owner = calloc((size_t)d->params.contexts, sizeof *s->owner);
    if (!s->context || !s->waiting || !s->run || !s->owner) {
        free(s->context);
        free(s->waiting);
        free(s->run);
        free(s->owner);
        *s = (baton_snapshot){0};
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a snapshot of %d slots", g->slots);
    }
    s->contexts = d->params.contexts;
    for (int i = 0; i < s->contexts; i++)
        fill_context(d, i, now, &s->context[i]);
    fill_running(d, asker, now, s);
    fill_queue(d, asker, now, s);
    s->granted = g->granted_total;
    s->contended = g->contended_total;
    s->refused = g->refused_total;
    s->timed_out = g->expired_total;
    s->cancelled = g->cancelled_total;
    memcpy(s->wait_us, d->wait_us, sizeof s->wait_us);
    memcpy(s->hold_ms, d->hold_ms, sizeof s->hold_ms);
    return BATON_OK;
}
