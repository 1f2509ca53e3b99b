/* The gate's rules. The state belongs to the shell that owns the struct; nothing here remembers anything of its own.
 *
 * Every ask ends in one verdict, and the counters say which:
 *   asks = granted_total + refused_total + expired_total + cancelled_total + queued
 *
 * Who is next is decided in next_waiter alone, and every change of the queue goes through enqueue and dequeue. */
#include "gate/gate.h"

#include <string.h>

static struct bt_waiter *waiter_of(const struct bt_list *link) {
    return BT_CONTAINER(link, struct bt_waiter, link);
}

void bt_gate_init(struct bt_gate *g, int slots, int queue_max) {
    memset(g, 0, sizeof *g);
    g->slots = slots;
    g->queue_max = queue_max;
    for (int i = 0; i < BT_PRIORITIES; i++)
        bt_list_init(&g->bands[i]);
}

static int lowest_free(const struct bt_gate *g) {
    for (int word = 0; word * 64 < g->slots; word++)
        if (~g->busy[word]) {
            int slot = word * 64 + __builtin_ctzll(~g->busy[word]);
            return slot < g->slots ? slot : -1;
        }
    return -1;
}

static void enqueue(struct bt_gate *g, struct bt_waiter *w) {
    w->state = BT_WAITER_QUEUED;
    bt_list_append(&g->bands[w->priority], &w->link);
    g->queued++;
}

static void dequeue(struct bt_gate *g, struct bt_waiter *w) {
    w->state = BT_WAITER_IDLE;
    bt_list_remove(&w->link);
    g->queued--;
}

static void grant(struct bt_gate *g, struct bt_waiter *w, int slot, int64_t now_ns) {
    w->state = BT_WAITER_GRANTED;
    w->slot = slot;
    w->granted_ns = now_ns;
    g->busy[slot / 64] |= UINT64_C(1) << (slot % 64);
    g->used++;
    g->granted_total++;
}

/* The first of the first band from `band` on that has any. */
static struct bt_waiter *first_from(const struct bt_gate *g, int band) {
    for (; band < BT_PRIORITIES; band++)
        if (!bt_list_empty(&g->bands[band]))
            return waiter_of(g->bands[band].next);
    return NULL;
}

static struct bt_waiter *next_waiter(const struct bt_gate *g) {
    return first_from(g, 0);
}

struct bt_waiter *bt_gate_each(const struct bt_gate *g, const struct bt_waiter *w) {
    if (!w)
        return next_waiter(g);
    if (w->link.next != &g->bands[w->priority])
        return waiter_of(w->link.next);
    return first_from(g, w->priority + 1);
}

static baton_status refuse(struct bt_gate *g, baton_status status) {
    g->refused_total++;
    return status;
}

baton_status bt_gate_ask(struct bt_gate *g, struct bt_waiter *w, enum bt_when_full when_full, int64_t now_ns) {
    w->state = BT_WAITER_IDLE;
    w->slot = -1;
    w->asked_ns = now_ns;
    w->granted_ns = 0;
    bt_list_init(&w->link);
    if (w->priority < 0 || w->priority >= BT_PRIORITIES)
        return refuse(g, BATON_MISUSE);
    if (g->closed)
        return refuse(g, BATON_CLOSED);
    int slot = lowest_free(g);
    if (slot >= 0) {
        grant(g, w, slot, now_ns);
        return BATON_OK;
    }
    g->contended_total++;
    if (when_full == BT_REFUSE)
        return refuse(g, BATON_BUSY);
    if (w->deadline_ns <= now_ns) {
        g->expired_total++;
        return BATON_QUEUE_TIMEOUT;
    }
    if (g->queued >= g->queue_max)
        return refuse(g, BATON_QUEUE_FULL);
    enqueue(g, w);
    return BATON_AGAIN;
}

struct bt_waiter *bt_gate_give(struct bt_gate *g, struct bt_waiter *holder, int64_t now_ns) {
    if (holder->state != BT_WAITER_GRANTED)
        return NULL;
    int slot = holder->slot;
    holder->state = BT_WAITER_IDLE;
    holder->slot = -1;
    g->busy[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    g->used--;
    /* a closed gate may still have waiters while its shell takes them out one by one: their verdict is CLOSED */
    struct bt_waiter *next = g->closed ? NULL : next_waiter(g);
    if (next) {
        dequeue(g, next);
        grant(g, next, slot, now_ns);
    }
    return next;
}

bool bt_gate_withdraw(struct bt_gate *g, struct bt_waiter *w) {
    if (w->state != BT_WAITER_QUEUED)
        return false;
    dequeue(g, w);
    g->cancelled_total++;
    return true;
}

struct bt_waiter *bt_gate_expire(struct bt_gate *g, int64_t now_ns) {
    for (struct bt_waiter *w = NULL; (w = bt_gate_each(g, w));)
        if (w->deadline_ns <= now_ns) {
            dequeue(g, w);
            g->expired_total++;
            return w;
        }
    return NULL;
}

int64_t bt_gate_next_deadline(const struct bt_gate *g) {
    int64_t earliest = BT_NEVER_NS;
    for (const struct bt_waiter *w = NULL; (w = bt_gate_each(g, w));)
        earliest = BT_MIN(earliest, w->deadline_ns);
    return earliest;
}

struct bt_waiter *bt_gate_close(struct bt_gate *g) {
    g->closed = true;
    struct bt_waiter *w = next_waiter(g);
    if (w) {
        dequeue(g, w);
        g->refused_total++;
    }
    return w;
}

struct bt_waiter *bt_gate_find(struct bt_gate *g, uint64_t id) {
    for (struct bt_waiter *w = NULL; id != 0 && (w = bt_gate_each(g, w));)
        if (w->id == id)
            return w;
    return NULL;
}

int bt_gate_position(const struct bt_gate *g, const struct bt_waiter *w) {
    int ahead = 0;
    for (const struct bt_waiter *other = NULL; (other = bt_gate_each(g, other)); ahead++)
        if (other == w)
            return ahead;
    return -1;
}

uint64_t bt_gate_free(const struct bt_gate *g) {
    return ~g->busy[0] & ((UINT64_C(1) << g->slots) - 1);
}

void bt_gate_settle(struct bt_gate *g, uint64_t free_slots) {
    g->busy[0] = ~free_slots & ((UINT64_C(1) << g->slots) - 1);
    g->used = __builtin_popcountll(g->busy[0]);
}

static int count_busy(const struct bt_gate *g) {
    int n = 0;
    for (int word = 0; word < BT_GATE_SLOTS_MAX / 64; word++) {
        int slots = BT_MIN(BT_MAX(g->slots - word * 64, 0), 64);
        uint64_t possible = slots == 64 ? ~UINT64_C(0) : (UINT64_C(1) << slots) - 1;
        if (g->busy[word] & ~possible)
            return -1;
        n += __builtin_popcountll(g->busy[word]);
    }
    return n;
}

bool bt_gate_check(const struct bt_gate *g) {
    int queued = 0;
    for (int i = 0; i < BT_PRIORITIES; i++) {
        int64_t asked = INT64_MIN;
        for (const struct bt_list *l = g->bands[i].next; l != &g->bands[i]; l = l->next) {
            const struct bt_waiter *w = waiter_of(l);
            if (l->next->prev != l || l->prev->next != l)
                return false;
            if (w->state != BT_WAITER_QUEUED || w->priority != i || w->slot != -1 || w->asked_ns < asked)
                return false;
            asked = w->asked_ns;
            if (++queued > g->queued)
                return false;
        }
    }
    bool g1 = g->used >= 0 && g->used <= g->slots && count_busy(g) == g->used;
    bool g2 = g->queued == 0 || g->used == g->slots || g->closed;
    bool g3 = g->queued <= g->queue_max;
    return g1 && g2 && g3 && queued == g->queued;
}
