/* The gate: who gets a slot next. A pure state machine: no thread, no clock, no I/O, no allocation; time is an
 * argument. Its two shells are lease/ (threads wait on futexes) and serve/ (an event loop waits on sockets).
 *
 * Invariants, checked by bt_gate_check:
 *   G1  a slot is free or has exactly one holder; slots in use + free = capacity
 *   G2  nobody is queued while a slot is free, unless the gate is closed
 *   G3  queued waiters <= queue_max
 *   G4  within a priority band and a flow, waiters are granted in the order in which they asked
 *   G5  a waiter has exactly one verdict: granted, or one of the statuses; never both, never two
 *
 * State: owned by whoever owns the shell; never touched by two threads at once. */
#ifndef BT_GATE_H
#define BT_GATE_H

#include "base/base.h"
#include "base/list.h"

enum { BT_GATE_SLOTS_MAX = 1024, BT_PRIORITIES = 3 }; /* 0 is served first; 1 is the default */

enum bt_when_full { BT_REFUSE, BT_WAIT };

enum bt_waiter_state { BT_WAITER_IDLE, BT_WAITER_QUEUED, BT_WAITER_GRANTED };

/* A request at the gate: memory of the caller's, which stays put while queued. Once granted it is in no list: a holder
 * may be copied, and the copy given back. */
struct bt_waiter {
    /* set by the caller before bt_gate_ask */
    uint64_t id;         /* names the request in cancel and in texts; 0 = nameless */
    uint64_t flow;       /* whose it is */
    int priority;        /* 0 .. BT_PRIORITIES - 1 */
    int64_t deadline_ns; /* of the wait, BT_NEVER_NS for none */
    /* set by the gate */
    enum bt_waiter_state state;
    int slot; /* while granted */
    int64_t asked_ns, granted_ns;
    struct bt_list link;
};

struct bt_gate {
    int slots, queue_max;
    int used, queued;
    bool closed;
    uint64_t busy[BT_GATE_SLOTS_MAX / 64]; /* bit per slot in use */
    struct bt_list bands[BT_PRIORITIES];
    /* counters for diagnostics, never decreasing. Every ask ends in one of granted, refused, expired and cancelled;
     * contended counts the asks that found no slot free, whatever came of them */
    uint64_t granted_total, contended_total, refused_total, expired_total, cancelled_total;
};

/* What a shell counts of its requests: now, and since it began. */
#define BT_COUNTS_FIELDS                                                                                               \
    int slots, running, queued;                                                                                        \
    uint64_t accepted, refused, completed, cancelled, timed_out, failed
struct bt_counts {
    BT_COUNTS_FIELDS;
};

/* 1 <= slots <= BT_GATE_SLOTS_MAX, queue_max >= 0. */
void bt_gate_init(struct bt_gate *g, int slots, int queue_max);

/* BATON_OK: granted, w->slot is the lowest free one. BATON_AGAIN: queued; the verdict comes from bt_gate_give,
 * bt_gate_expire, bt_gate_withdraw or bt_gate_close. BATON_BUSY, BATON_QUEUE_FULL, BATON_CLOSED: refused.
 * A deadline that has passed is BATON_QUEUE_TIMEOUT unless a slot is free. BATON_MISUSE: there is no such priority.
 * Of the asks that find no slot free, now_ns must not go back. */
baton_status bt_gate_ask(struct bt_gate *g, struct bt_waiter *w, enum bt_when_full when_full, int64_t now_ns);

/* The holder is through: its slot goes straight to the next waiter, which is returned as granted; NULL if none.
 * Nothing happens when `holder` holds no slot. */
struct bt_waiter *bt_gate_give(struct bt_gate *g, struct bt_waiter *holder, int64_t now_ns);

/* Takes a queued waiter out (cancel, or its client has gone). False if it is not queued: then it is granted already
 * or was never here, and nothing changes. */
bool bt_gate_withdraw(struct bt_gate *g, struct bt_waiter *w);

/* Takes out one waiter whose deadline has passed (BATON_QUEUE_TIMEOUT is its verdict); NULL when none has. */
struct bt_waiter *bt_gate_expire(struct bt_gate *g, int64_t now_ns);

/* The earliest deadline of the queue, BT_NEVER_NS if none. */
int64_t bt_gate_next_deadline(const struct bt_gate *g);

/* Refuses from now on, and takes out one waiter per call (BATON_CLOSED is its verdict) until NULL.
 * Holders keep their slots until they give them back. */
struct bt_waiter *bt_gate_close(struct bt_gate *g);

/* The waiter of that id if it is queued, else NULL. */
struct bt_waiter *bt_gate_find(struct bt_gate *g, uint64_t id);

/* Walks the queue in the order of service: the first waiter for NULL, NULL after the last. */
struct bt_waiter *bt_gate_each(const struct bt_gate *g, const struct bt_waiter *w);

/* Place in the queue: 0 is next; -1 if not queued. */
int bt_gate_position(const struct bt_gate *g, const struct bt_waiter *w);

/* For a shell that, while nobody queues and the gate is open, grants and takes back slots by itself just as bt_gate_ask
 * and bt_gate_give would: the free slots as bits, and how the gate learns what has become of them. Only of gates of at
 * most 63 slots. What was granted so is not in the counters. */
uint64_t bt_gate_free(const struct bt_gate *g);
void bt_gate_settle(struct bt_gate *g, uint64_t free_slots);

/* True if G1 to G4's structure holds. For tests and debug builds: walks everything. */
bool bt_gate_check(const struct bt_gate *g);

#endif
