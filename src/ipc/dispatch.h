/* The deciding part of the front: what becomes of requests and owners. Frames, ends and the time come in; frames,
 * starts and kills go out through the ops; callers are told through their handlers. No socket, no process, no clock:
 * front.c is its shell, and sim/ runs it in virtual time.
 *
 * A request is at one place at a time:
 *   QUEUED    at the gate, without a slot
 *   PENDING   has a slot and waits for a context that may take it
 *   RUNNING   sent to a context; its slot and that context's load count it
 *   DOOMED    over; its handler is about to be told
 *
 * Crash. When an owner ends, its requests become PENDING again and go on where they were, in whatever context takes
 * them: prompt and tokens so far are sent once more. If the end blames those who were in the native code, they are
 * suspects of that context: while it has any it is in probation and takes nobody else, and they go there one at a time,
 * alone, with a bound on their tokens just past the place of the crash. Who gets past it is cleared. Who kills it alone
 * is quarantined: CRASHED, with the tokens that it had.
 *
 * Invariants, checked by bt_dispatch_check:
 *   D1  the gate's slots in use = requests PENDING, RUNNING or DOOMED with a slot
 *   D2  a context's load = requests RUNNING on it <= its sequences; none when its owner is not ready or closing
 *   D3  in probation a context runs one request at most, and that one is its suspect, on trial
 *   D4  nobody is PENDING while a context could take it
 *   D5  a token is delivered once, in order, whatever the attempt
 *
 * State: one thread's. Before a handler is called the books are in order: handlers may submit, cancel, abandon. */
#ifndef BT_DISPATCH_H
#define BT_DISPATCH_H

#include "base/list.h"
#include "ipc/front.h"
#include "ipc/outbox.h"
#include "ipc/supervise.h"

enum {
    BT_BUCKETS = 1024,
    BT_TRIAL_TOKENS = 4,      /* past the last token seen: a step or two may have been lost with the owner */
    BT_FRUITLESS_MAX = 8,     /* attempts in a row that an owner's end cut off before a new token */
    BT_FRUITLESS_SUSPECT = 2, /* so many under ends that blame somebody make a suspect of whoever was there */
    BT_UNPROVEN_MAX = 3,      /* ends of unknown kind on trial that make a quarantine */
};

enum bt_whereabouts { BT_QUEUED, BT_PENDING, BT_RUNNING, BT_DOOMED };

struct bt_request {
    struct bt_waiter waiter;
    struct bt_dispatch *dispatch;
    struct bt_handler handler; /* on_done == NULL: abandoned */
    struct bt_list bucket;     /* by id */
    struct bt_list link;       /* in the list of its whereabouts; none for QUEUED */
    enum bt_whereabouts at;
    uint64_t order; /* of its grant: PENDING is sorted by it */
    /* what was asked, to be asked again */
    enum bt_what what;
    struct bt_buf submit; /* the body */
    struct bt_buf again;  /* the body of a later attempt */
    struct bt_outgoing out;
    /* what is asked on top: kept until the next; an owner that ends takes those before it along */
    struct bt_buf more;
    struct bt_outgoing more_out;
    uint32_t mores;
    int32_t max_tokens;
    uint64_t inputs, asked; /* of vectors and scores; bytes of the body */
    uint64_t drawn;         /* bytes that its pictures may have */
    uint64_t may_hold;      /* bytes of text that its owner may have to hold back */
    int64_t run_ms, run_deadline_ns;
    int64_t idle_ms, idle_deadline_ns; /* the second while pieces lie unread */
    bool idle;                         /* that is why it is cancelled */
    baton_status cancelled;
    /* what has come of it */
    struct bt_buf tokens; /* bt_token */
    uint32_t n_tokens, held, n_given /* of the tokens, with the question */;
    uint32_t consumed, unacked; /* taken by the reader; not told the owner yet; delivered minus taken */
    uint64_t received;          /* bytes of a result that is no text */
    /* this attempt */
    uint32_t attempt; /* from 1; 0: never sent */
    int context;      /* RUNNING */
    bool seen;        /* the owner has said where it stands */
    enum bt_standing standing;
    uint32_t before; /* n_tokens when it began */
    uint64_t received_before;
    /* suspicion */
    int suspect_of; /* the context whose probation waits for it; -1: none */
    bool on_trial;
    uint32_t trial_end; /* this many tokens clear it */
    uint32_t fruitless, unproven;
    /* DOOMED */
    baton_status verdict;
    char why[BATON_ERROR_TEXT_MAX];
};

/* What owners of a model say of it, all the same. */
struct bt_sizes {
    uint32_t ctx, width; /* ctx 0: nobody has said anything yet */
    int vocabulary;
    enum bt_pooling pooling;
};

struct bt_dispatch_ops {
    int64_t (*now)(void *arg);
    void (*write)(void *arg, int context); /* its `out` has grown */
    baton_status (*start)(void *arg, int context, baton_error *err);
    void (*kill)(void *arg, int context); /* its end comes through bt_dispatch_ended */
};

struct bt_dispatch_params {
    int contexts, sequences, queue_max;
    bool restarts, resume;
    int64_t hang_ms, start_ms;
    uint64_t seed;
};

struct bt_dispatch_context {
    struct bt_supervisor life;
    struct bt_buf *out;    /* the shell's */
    struct bt_list outbox; /* what is still to go there */
    int calls;             /* sent there */
    int load, suspects;
    baton_error error; /* what its owner said it died of; of the last one */
    /* for snapshots */
    uint64_t sent;             /* requests, each attempt */
    int64_t busy_ns, since_ns; /* with a load: until the last time it was empty; since when */
};

struct bt_dispatch {
    struct bt_gate gate;
    struct bt_dispatch_params params;
    const struct bt_dispatch_ops *ops;
    void *arg;
    struct bt_dispatch_context contexts[BT_CONTEXTS_MAX];
    struct bt_list buckets[BT_BUCKETS];
    struct bt_list pending, running, doomed, calls;
    uint64_t grants;
    struct bt_sizes sizes;
    struct bt_front_counts counts;
    int64_t opened_ns;
    uint64_t wait_us[BATON_BUCKETS], hold_ms[BATON_BUCKETS]; /* as in baton_snapshot */
    bool closing, opening; /* opening: nothing is restarted, so that who opens hears of it */
    void (*on_ready)(void *arg, int context, const struct bt_frame_ready *ready); /* may be NULL */
    int64_t due_ns;                                                               /* when the next tick is due */
    struct bt_pulse pulse;                                                        /* scratch */
};

void bt_dispatch_init(struct bt_dispatch *d, const struct bt_dispatch_params *params, const struct bt_dispatch_ops *ops,
                      void *arg);

/* request.c. As bt_front_submit, but that s->id is not 0. */
baton_status bt_dispatch_submit(struct bt_dispatch *d, struct bt_submit *s, const struct bt_limits *limits,
                                const struct bt_handler *handler, struct bt_request **r, baton_error *err);
struct bt_request *bt_dispatch_find(struct bt_dispatch *d, uint64_t id);

void bt_dispatch_holders(const struct bt_dispatch *d, struct bt_buf *out); /* who has the slots */

/* snapshot.c. As bt_front_snapshot, but for the owners, which are all 0. */
baton_status bt_dispatch_snapshot(const struct bt_dispatch *d, unsigned (*asker)(const void *arg), baton_snapshot *s,
                                  baton_error *err);

/* What a context's owner said. Handlers are called. One that is condemned is not listened to. */
bool bt_dispatch_listens(const struct bt_dispatch *d, int context);
void bt_dispatch_frame(struct bt_dispatch *d, int context, const struct bt_frame *frame);
void bt_dispatch_garbage(struct bt_dispatch *d, int context); /* what is no frame */
void bt_dispatch_lost(struct bt_dispatch *d, int context);    /* no memory for what passes */
void bt_dispatch_parted(struct bt_dispatch *d, int context);  /* its socket has ended */
void bt_dispatch_ended(struct bt_dispatch *d, int context, const struct bt_owner_end *end); /* NULL: a thread */

/* Its `out` has been taken, or there is more for it: pieces of what waits go there. */
void bt_dispatch_send(struct bt_dispatch *d, int context);

/* call.c. As bt_front_call, but that call->id is not 0. */
baton_status bt_dispatch_call(struct bt_dispatch *d, int context, const struct bt_call *call,
                              const struct bt_call_handler *handler, baton_error *err);
void bt_dispatch_call_drop(struct bt_dispatch *d, uint64_t id);
bool bt_dispatch_calls(struct bt_dispatch *d, uint64_t id); /* whether such a call is under way */

/* Deadlines, starts, kills. Handlers are called. Returns when to tick next. What owners have said before is to be told
 * before: a tick that is late by more than BT_LATE_NS takes nobody's silence for a hang, since it was its own. */
#define BT_LATE_NS BT_NS_PER_S
int64_t bt_dispatch_tick(struct bt_dispatch *d);

/* No new requests; what waits is CLOSED; owners are asked to end, and what runs ends with them. */
void bt_dispatch_close(struct bt_dispatch *d);
bool bt_dispatch_closed(const struct bt_dispatch *d); /* every owner has ended for good */

int bt_dispatch_least_loaded(const struct bt_dispatch *d); /* of those whose owner is ready; -1: none */
bool bt_dispatch_probation(const struct bt_dispatch *d, int context);

/* D1 to D4. For tests: walks everything. */
const char *bt_dispatch_check(const struct bt_dispatch *d); /* NULL, or what is wrong */

/* Between dispatch.c and call.c. */
void bt_dispatch_place_calls(struct bt_dispatch *d);
baton_status bt_dispatch_call_data(struct bt_dispatch *d, int context, const struct bt_frame_data *data);
baton_status bt_dispatch_reply(struct bt_dispatch *d, int context, const struct bt_frame *frame);
void bt_dispatch_bereave_calls(struct bt_dispatch *d, int context, const char *how);
void bt_dispatch_end_calls(struct bt_dispatch *d, const char *how);

/* snapshot.c: every change of a context's load; who was granted a slot; who gives it back. */
void bt_dispatch_load(struct bt_dispatch *d, int context, int change);
void bt_dispatch_granted(struct bt_dispatch *d, const struct bt_waiter *w);
void bt_dispatch_released(struct bt_dispatch *d, int64_t held_ns);

/* Between dispatch.c and request.c. */
void bt_request_unsend(struct bt_request *r);      /* nothing more of it goes to its context */
void bt_request_delivered(struct bt_request *r);   /* a piece that its reader is to take */
void bt_request_acknowledge(struct bt_request *r); /* opens its window, if that is worth a frame by now */
void bt_dispatch_place(struct bt_dispatch *d);
void bt_request_pend(struct bt_request *r);
void bt_request_doom(struct bt_request *r, baton_status verdict, const char *why);
void bt_request_send(struct bt_request *r, int context);
void bt_request_cleared(struct bt_request *r); /* no suspect any more */
void bt_request_conclude(struct bt_request *r, const struct bt_outcome *verdict);
void bt_dispatch_settle(struct bt_dispatch *d); /* tells those who are DOOMED; places */

#endif
