/* The front's side of the owners of one model: admission, placement, timeouts and cancel of requests, over sockets, and
 * the lives of the owners. What is decided is decided in dispatch.h; this is its shell.
 * It belongs to one thread (the server's event loop, or `baton ask`) and knows no event library: the shell watches one
 * descriptor for reading, calls bt_front_pump when it is ready, and bt_front_tick when a deadline comes or after it has
 * told the front something.
 *
 * One request, one outcome: on_done is called exactly once for each request that bt_front_submit accepted, unless it
 * was abandoned, and after it nothing more. A slot is free again when the owner has said DONE, that is after the last
 * native call for the request, or has ended, whatever became of the request's client meanwhile. An owner process that
 * ends is started again, and its requests go on in the next one. */
#ifndef BT_FRONT_H
#define BT_FRONT_H

#include "gate/gate.h"
#include "ipc/spawn.h"
#include "owner/owner.h"
#include "wire/frame.h"

struct bt_front;
struct bt_request;

enum {
    BT_CONTEXTS_MAX = 64,
    BT_WINDOW = 256, /* tokens on their way without the reader having taken them */
    BT_HANG_MS = 30000,
    BT_DRAW_HANG_MS = 600000, /* libstable-diffusion says nothing within a step, nor while it decodes an image */
    BT_HANG_MIN_MS = 3000,
    BT_START_MS = 600000,
};

struct bt_front_params {
    struct bt_model_params model;
    struct bt_context_params context;
    int contexts; /* 1 .. BT_CONTEXTS_MAX, each with context.sequences sequences */
    enum bt_when_full when_full;
    int queue_max;
    int64_t queue_ms, run_ms; /* < 0: never */
    enum bt_owner_kind owner; /* a thread of this process, or a process each */
    bool hears;               /* see struct bt_spawn_params; requests are BT_WHAT_TRANSCRIBE then (wire/speech.h) */
    bool draws;               /* likewise, and BT_WHAT_DRAW (wire/drawing.h): the model is what `sd` says */
    struct bt_sd_params sd;   /* borrowed for the opening */
    /* of processes: for the first two see struct bt_spawn_params */
    bool no_sandbox, core;
    bool no_resume;  /* requests of an owner that ended are CRASHED */
    int64_t hang_ms; /* so long without a word, and an owner hangs; 0: BT_HANG_MS, or BT_DRAW_HANG_MS; < 0: none does */
    int64_t start_ms; /* so long to be ready; 0: BT_START_MS; < 0: any time */
};

/* What one request says where the front's parameters speak for all. */
struct bt_limits {
    enum bt_when_full when_full;
    int priority;
    int64_t queue_ms, run_ms; /* < 0: never */
    int64_t idle_ms;          /* so long with pieces that the reader has not taken, and it is cancelled; < 0: never */
};

struct bt_outcome {
    baton_status status;   /* BATON_OK: completed */
    enum bt_finish finish; /* NONE when the text is cut */
    uint32_t prompt_tokens, reused_tokens, answer_tokens;
    int context;              /* that it ran on last, where it may be saved; -1: none */
    uint32_t attempts;        /* how many owners, or trials, it took; 0: none was asked */
    int64_t queue_ns, run_ns; /* waited; ran */
    const char *error;        /* one line; "" when completed. Borrowed for the call */
};

struct bt_handler {
    /* A piece of the answer: whole characters, len may be 0 (a token that released no text). `text` is borrowed for
     * the call. The reader says bt_request_consumed when the piece has left its hands. */
    void (*on_text)(void *arg, const char *text, size_t len);
    void (*on_done)(void *arg, const struct bt_outcome *outcome);
    void *arg;
    /* A piece of a result that is no text, in order: BT_WHAT_EMBED, _SCORE. May be NULL */
    void (*on_data)(void *arg, const char *bytes, size_t len);
    /* Of work under way: one message, whole (BT_WHAT_DRAW). May be NULL */
    void (*on_news)(void *arg, const char *bytes, size_t len);
};

struct bt_front_info {
    struct bt_frame_ready ready; /* of the first context, exact if all are; its texts live as long as the front */
    int contexts;
    const char *sandbox; /* of the first context's owner: see bt_spawn_sandbox; "" for a thread */
};

/* Loads the model and starts an owner per context; blocks until all are ready or one has failed. */
baton_status bt_front_open(const struct bt_front_params *params, struct bt_front **front, baton_error *err);

/* Cancels what runs, waits for the last native call, frees. on_done is called (BATON_CLOSED) for what was alive. Never
 * from inside a handler. */
void bt_front_close(struct bt_front **front);

const struct bt_front_info *bt_front_info(const struct bt_front *f);

/* Asks for an answer, within `limits` (NULL: the front's). BATON_OK: accepted, running or queued; *r lives until
 * on_done, or bt_request_abandon. s->id, if 0, is set to a fresh id. Refused, with nothing kept and no callback:
 * BATON_BUSY, _QUEUE_FULL, _CLOSED, _NO_MEMORY, _TOO_LONG (over BT_BODY_MAX bytes). Callbacks come from
 * bt_front_pump, _tick, _close and bt_request_cancel, never from here. */
baton_status bt_front_submit(struct bt_front *f, struct bt_submit *s, const struct bt_limits *limits,
                             const struct bt_handler *handler, struct bt_request **r, baton_error *err);

/* Ends a request with `reason` (BATON_CANCELLED, BATON_RUN_TIMEOUT). on_done comes, perhaps with BATON_OK if the
 * answer was complete first; at once if it was still queued. */
void bt_request_cancel(struct bt_request *r, baton_status reason);

/* As cancel, and its handler is never called again: its client has gone. r is dead for the caller. */
void bt_request_abandon(struct bt_request *r);

/* The reader has let go of `tokens` more on_text calls: opens the window. */
void bt_request_consumed(struct bt_request *r, uint32_t tokens);

uint64_t bt_request_id(const struct bt_request *r);
int bt_request_context(const struct bt_request *r); /* that it runs on; -1: none */
/* All that is known, but its size, its name and the threads' names; freed with baton_snapshot_free. asker: the thread
 * that a request's handler arg stands for. _NO_MEMORY. */
baton_status bt_front_snapshot(const struct bt_front *f, unsigned (*asker)(const void *arg), baton_snapshot *s,
                               baton_error *err);
/* Who has the slots, appended as a text. */
void bt_front_holders(const struct bt_front *f, struct bt_buf *out);
int bt_request_position(const struct bt_request *r); /* in the queue: 0 is next; -1: running */

/* More inputs for a request that was asked with `open`, one piece at a time: the next after the results of these have
 * begun to come. _AGAIN: the ones before have not left yet; _NO_MEMORY. */
baton_status bt_request_more(struct bt_request *r, const struct bt_more *more, baton_error *err);

/* Asks an owner something that needs no slot (wire/frame.h, enum bt_call_op). `context`: which; -1: any, and another
 * one if that ends. call->id is set. BATON_OK: on_data, perhaps several times, and on_reply once will come, from
 * bt_front_pump, _tick, _close. _CLOSED; _STALE: that context has another owner by now or none; _TOO_LONG, _NO_MEMORY.
 */
struct bt_call_handler {
    void (*on_data)(void *arg, const char *bytes, size_t len); /* may be NULL */
    void (*on_reply)(void *arg, baton_status status, const char *text);
    void *arg;
};
baton_status bt_front_call(struct bt_front *f, int context, struct bt_call *call, const struct bt_call_handler *handler,
                           baton_error *err);

/* Its handler is never called again. Harmless when it is over. */
void bt_front_call_drop(struct bt_front *f, uint64_t id);

/* Has `run` called with the native context of the least loaded owner, on that owner's thread, between its native calls;
 * `done` after it, there too. BATON_UNSUPPORTED where owners are not in this process. */
baton_status bt_front_visit(struct bt_front *f, struct bt_visit *visit, baton_error *err);

/* True on a thread that is one of this front's owners. Any thread. */
bool bt_front_is_owner(const struct bt_front *f);

/* The request of that id, NULL if there is none alive. */
struct bt_request *bt_front_find(struct bt_front *f, uint64_t id);

/* Readable when there is something to pump: an epoll descriptor, the same as long as the front lives, whatever comes
 * and goes behind it. */
int bt_front_fd(const struct bt_front *f);

/* Reads and writes all that is ready, without blocking, and calls handlers. BATON_OK; else why a context's owner has
 * ended for good: its requests have had their on_done, or are on other contexts. bt_front_tick comes next. */
baton_status bt_front_pump(struct bt_front *f);

/* Expires deadlines, starts and kills owners; returns the next time to do so (BT_NEVER_NS for none). */
int64_t bt_front_tick(struct bt_front *f);

/* Running and queued now, and since the start. */
struct bt_front_counts {
    union {
        struct bt_counts requests;
        struct {
            BT_COUNTS_FIELDS;
        };
    };
    int dead_contexts;
    uint64_t quarantined, restarts;
};
void bt_front_counts(const struct bt_front *f, struct bt_front_counts *counts);

/* How a context's owner is, as far as is known; texts live until the front is pumped or ticked. */
struct bt_front_health {
    const char *state; /* ready, silent, probation; starting, restarting, ending, hung, given up, closed */
    bool ready;        /* it has answered lately, and takes requests */
    bool gone;         /* for good */
    int running;       /* requests on it */
    uint32_t restarts;
    int64_t since_ns, heard_ns; /* in this state; the last word of it */
    int64_t retry_ns;           /* when it may be ready: a guess for Retry-After; 0 if it is */
    const char *last_end;       /* how the last one ended; "" */
    const char *sandbox;        /* what holds it back, and what does not; "" for a thread */
};
void bt_front_health(const struct bt_front *f, int context, struct bt_front_health *h);

/* True if some context is ready. */
bool bt_front_ready(const struct bt_front *f);

/* Waits, pumps and ticks, until something happens or `wake` (a descriptor of the caller's) is readable. */
void bt_front_wait(struct bt_front *f, int wake);

/* For programs without an event loop: waits up to timeout_ms (< 0: until something happened), pumps and ticks. */
baton_status bt_front_run_once(struct bt_front *f, int timeout_ms);

#endif
