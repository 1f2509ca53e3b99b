/* baton: many callers, few native contexts, every answer right.
 *
 * A native inference context (llama_context, whisper_state, sd_ctx_t) has one owner at a time. Two at once give wrong
 * tokens in silence, or a crash, and a lock around each native call is no cure: what is read from the context
 * afterwards belongs to the same transaction. baton decides who may use a context now, for how long the others wait,
 * and on which thread the native code runs; and it says so by name when somebody is refused.
 *
 * The policy is three questions, the same for every binding, set when a model is opened (baton_policy):
 *   1. How many at once?              contexts x sequences in each
 *   2. What happens to the rest?      refuse, or wait: in a bounded queue, for a bounded time
 *   3. Where does the owner live?     on the caller's thread, on a thread of baton's, in a process
 * With an exact context, changing an answer to these never changes what a model answers.
 *
 * The nouns, in the order in which a request meets them:
 *   request   what somebody asks: id, flow, priority, times; its own results; exactly one outcome
 *   pool      contexts under one gate: admission, in order of arrival within a priority
 *   lease     the right to use one of them now; handed on, never used by two
 *   stream    pieces of an answer on their way out; bounded; one definite end
 * This header has no native types: pools and leases serve any library's contexts. baton/llama.h is the binding for
 * libllama on top of it; baton/guard.h, one atomic word without the rest of baton, is for those who want only the rule.
 *
 * Threads. Any function may be called from any thread unless it says otherwise. Contention is what is checked, not
 * thread identity: a lease or a stream may move from thread to thread, as long as two are not in it at once. Callbacks
 * run on the thread that the function they were given to names; a callback that calls back into its own context gets
 * BATON_REENTRANT, into another one it may. baton never forks, installs no signal handler, and its threads block all
 * signals. After fork only the child's exec is safe. With owner = process it starts processes (posix_spawn), which end
 * with this one; a program that ignores SIGCHLD or reaps whatever it finds may do so. A program that becomes a daemon
 * by fork opens models afterwards.
 *
 * Ownership. A parameter is borrowed for the call unless its comment says taken. What comes out through a double
 * pointer belongs to the caller and is ended by the function named with it, which sets the pointer to NULL. Parameter
 * structs begin with their size and are made with their initialiser macro, so that a program built against an older
 * header keeps working with a newer library.
 *
 * Errors are returned, with a line of text in a baton_error of the caller's (may be NULL). Nothing is thread-local.
 * NULL where something is needed, a handle that was closed among it, is BATON_MISUSE in every function; one without a
 * status returns 0, false, -1 or NULL, and the misuse handler is told. What frees takes NULL for nothing.
 *
 * Process-wide effects: libggml's backends are loaded once and stay; libllama's log goes to baton's (baton_log_set).
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_BATON_H
#define BATON_BATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/annotate.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BATON_VERSION_MAJOR 0
#define BATON_VERSION_MINOR 1
#define BATON_VERSION_PATCH 0
#define BATON_VERSION "0.1.0"

#if defined(__GNUC__)
#define BATON_API __attribute__((visibility("default")))
#define BATON_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define BATON_MUST_USE __attribute__((warn_unused_result))
#else
#define BATON_API
#define BATON_PRINTF(f, a)
#define BATON_MUST_USE
#endif

/* Status codes, in three families.
 *   OUTCOME  what a well-written program expects now and then: retry, shed or finish.
 *   BUG      the caller broke a rule: the program needs a fix, not a retry.
 *   WORLD    memory, files, the native library, the input.
 * The numbers are part of the ABI: a code is never renumbered or reused. */
#define BATON_STATUS_MAP(X)                                                                                            \
    X(OK, 0, OUTCOME, "ok")                                                                                            \
    X(END, 1, OUTCOME, "the stream has ended")                                                                         \
    X(AGAIN, 2, OUTCOME, "nothing yet: ask again later")                                                               \
    X(BUSY, 3, OUTCOME, "the context is in use")                                                                       \
    X(QUEUE_FULL, 4, OUTCOME, "the queue is full")                                                                     \
    X(QUEUE_TIMEOUT, 5, OUTCOME, "the queue timeout passed before a slot was free")                                    \
    X(RUN_TIMEOUT, 6, OUTCOME, "the run timeout passed")                                                               \
    X(CANCELLED, 7, OUTCOME, "cancelled")                                                                              \
    X(CLOSED, 8, OUTCOME, "closed")                                                                                    \
    X(CRASHED, 9, OUTCOME, "the owner crashed")                                                                        \
    X(HUNG, 10, OUTCOME, "the owner hangs")                                                                            \
    X(FAILED, 11, OUTCOME, "the native call failed")                                                                   \
    X(MISUSE, 32, BUG, "misuse of the API")                                                                            \
    X(STALE, 33, BUG, "the lease was released or handed on")                                                           \
    X(REENTRANT, 34, BUG, "called from inside a native call of the same context")                                      \
    X(WOULD_DEADLOCK, 35, BUG, "this thread already holds the context: waiting would never end")                       \
    X(NO_MEMORY, 64, WORLD, "out of memory")                                                                           \
    X(INVALID, 65, WORLD, "invalid value")                                                                             \
    X(TOO_LONG, 66, WORLD, "the prompt is longer than the context")                                                    \
    X(NOT_FOUND, 67, WORLD, "not found")                                                                               \
    X(BAD_MODEL, 68, WORLD, "the model cannot be loaded")                                                              \
    X(UNSUPPORTED, 69, WORLD, "not supported")                                                                         \
    X(IO, 70, WORLD, "input or output failed")                                                                         \
    X(PROTOCOL, 71, WORLD, "a malformed message")

typedef enum baton_status {
#define BATON_STATUS_ENUM(name, number, family, text) BATON_##name = number,
    BATON_STATUS_MAP(BATON_STATUS_ENUM)
#undef BATON_STATUS_ENUM
} baton_status;

typedef enum baton_status_family { BATON_FAMILY_OUTCOME, BATON_FAMILY_BUG, BATON_FAMILY_WORLD } baton_status_family;

#define BATON_ERROR_TEXT_MAX 512

/* What went wrong, in memory of the caller's: nothing is kept in thread-local or global state.
 * After BATON_OK its content is unspecified. */
typedef struct baton_error {
    baton_status status;
    char text[BATON_ERROR_TEXT_MAX]; /* one line of UTF-8: what happened, who is in the way, and the cure */
} baton_error;

/* The name of a status without its prefix, "BUSY" for BATON_BUSY.
 * Returns: a static string; "UNKNOWN" for a number that is no status. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_status_name(baton_status status);

/* One line that says what a status means.
 * Returns: a static string. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_status_text(baton_status status);

/* The family of a status: whether to retry, to fix the program, or to look at the world.
 * Returns: BATON_FAMILY_WORLD for a number that is no status. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status_family baton_status_family_of(baton_status status);

/* The version of the library that runs, "0.1.0"; BATON_VERSION is that of the header.
 * Returns: a static string. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_version(void);

/*
 * The policy
 */

/* What happens to a request when every slot is taken. */
typedef enum baton_when_full {
    BATON_REFUSE, /* it is told at once: BATON_BUSY, with the holder's name. The default: misuse is loud */
    BATON_WAIT    /* it queues, in order of arrival within its priority */
} baton_when_full;

/* On which thread native code runs. */
typedef enum baton_owner {
    BATON_OWNER_CALLER, /* on the caller's, under a lease: no thread is made, one sequence per context */
    BATON_OWNER_THREAD, /* on one of baton's per context, which batches up to `sequences` requests */
    BATON_OWNER_PROCESS /* in a process per context (the program baton-owner, found by $BATON_OWNER, beside the program
                           or this library, or where it was installed), which a crash or a hostile model file does not
                           get out of */
} baton_owner;

/* How a model's contexts are shared. Part of the parameters of every binding's open, which refuses what cannot be:
 * sequences > 1 needs an owner thread or process. */
typedef struct baton_policy {
    size_t size;
    int contexts;              /* 1 .. 64 */
    int sequences;             /* in each context, 1 .. 256 */
    baton_when_full when_full; /* for requests that do not say */
    int queue;                 /* how many may wait; the next gets BATON_QUEUE_FULL */
    int64_t queue_ms;          /* how long one may wait, for requests that do not say; < 0: without end */
    int64_t run_ms;            /* how long one may run, for requests that do not say; < 0: without end */
    baton_owner owner;
    int64_t idle_ms; /* how long a stream may lie unread, for requests that do not say; < 0: without end */
} baton_policy;
#define BATON_POLICY                                                                                                   \
    { sizeof(baton_policy), 1, 1, BATON_REFUSE, 64, -1, -1, BATON_OWNER_CALLER, -1 }

/* As the policy says. For when_full of a request. */
#define BATON_AS_POLICY (-1)
/* As the policy says. For queue_ms, run_ms and idle_ms of a request. */
#define BATON_MS_AS_POLICY INT64_MIN

/* What a request is to admission. */
typedef struct baton_request {
    size_t size;
    uint64_t id;      /* names it in cancel and in log lines, below 2^63; 0: a fresh one is given */
    uint64_t flow;    /* whose it is: prefixes are reused within a flow only, and queues will be shared between flows */
    int priority;     /* 0 is served first, 1 is the default, 2 last */
    int when_full;    /* baton_when_full, or BATON_AS_POLICY */
    int64_t queue_ms; /* < 0: without end; BATON_MS_AS_POLICY */
    int64_t run_ms;   /* < 0: without end; BATON_MS_AS_POLICY */
    int64_t idle_ms;  /* of a stream that runs: when nobody has taken a piece for so long, though one is there, it is
                         cancelled, and its outcome says why. < 0: without end; BATON_MS_AS_POLICY. With the owner on the
                         caller's thread a baton_stream does not run unread, and this is not looked at */
} baton_request;
#define BATON_REQUEST                                                                                                  \
    { sizeof(baton_request), 0, 0, 1, BATON_AS_POLICY, BATON_MS_AS_POLICY, BATON_MS_AS_POLICY, BATON_MS_AS_POLICY }

/*
 * Pools and leases: contexts of any library under one gate. The binding of a library opens its own (baton/llama.h);
 * open one yourself for what baton has no binding for.
 *
 * A lease is held from acquire to release, a whole transaction: what is read from a context afterwards is read under
 * the same lease. Inside of it each native call stands between begin and end, which say what the holder is in and
 * refuse whoever uses a copy of the lease at the same time. Clang follows all of this while it compiles
 * (baton/annotate.h), if statuses are tested bare: if (baton_lease_acquire(...)).
 */

/* Contexts under one gate. To Clang's analysis a pool is what begin takes and end gives back. */
struct BATON_CAPABILITY("context") baton_pool;
typedef struct baton_pool baton_pool;

/* The right to use one of a pool's contexts now, in memory of the caller's: there is nothing to free. Copies are the
 * same lease. One that was released or given away is stale: each call on it is BATON_STALE, never a use, even after its
 * pool was closed. It may move from thread to thread; yet it ends, with a warning, with the thread that acquired, took
 * or began with it last: one that shall outlive its thread is given and taken. Its fields are baton's. */
struct BATON_CAPABILITY("lease") baton_lease {
    baton_pool *pool; /* NULL: it holds nothing */
    int slot;
    uint64_t generation;
    uint64_t id; /* of its request: to be read, for baton_pool_cancel and log lines */
};
typedef struct baton_lease baton_lease;
#define BATON_LEASE                                                                                                    \
    { NULL, 0, 0, 0 }

typedef struct baton_pool_params {
    size_t size;
    const char *name;      /* what texts call the contexts: "sqlite connection 'cache'"; at most 95 bytes are kept */
    void *const *contexts; /* `n` pointers, none NULL; the array is borrowed, what they point to is the pool's until its
                              close has returned */
    int n;                 /* 1 .. 1024 */
    int queue;             /* how many may wait; the next gets BATON_QUEUE_FULL */
    baton_when_full when_full;      /* for requests that do not say */
    int64_t queue_ms;               /* how long one may wait, for requests that do not say; < 0: without end */
    void (*destroy)(void *context); /* may be NULL. Called for each context by close, once nobody can be in it; on the
                                       thread that closes, or on that of the last holder */
    void (*reset)(void *context);   /* may be NULL. What BATON_RESET does, on the thread that releases */
} baton_pool_params;
#define BATON_POOL_PARAMS                                                                                              \
    { sizeof(baton_pool_params), NULL, NULL, 0, 64, BATON_REFUSE, -1, NULL, NULL }

/* Opens a pool.
 *   pool    out; ended by baton_pool_close
 *   params  made with BATON_POOL_PARAMS; borrowed for the call
 * Returns: BATON_OK: the contexts are touched through leases only from here on. BATON_INVALID (its text says which
 * number), _MISUSE (no contexts, no size), _NO_MEMORY: *pool is NULL, the contexts are the caller's as before.
 * Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_pool_open(baton_pool **pool, const baton_pool_params *params,
                                       baton_error *err) BATON_MUST_USE;

/* Acquires a context.
 *   pool     not NULL
 *   request  NULL: BATON_REQUEST. Its run_ms is not looked at: what runs under a lease is the program's
 *   lease    out; held on BATON_OK, else it holds nothing
 * Returns: BATON_OK. _BUSY: refused; its text names the holder's thread, its operation, since when, and the cure.
 * _QUEUE_FULL, _QUEUE_TIMEOUT, _CANCELLED, _CLOSED. _REENTRANT: every context is this thread's, and it is inside a
 * native call of one: a callback. _WOULD_DEADLOCK: this thread holds every context, or all are held by threads that
 * wait here for another one, and none of them would give up before this one. _MISUSE, _NO_MEMORY. A free context is
 * granted whatever else this thread holds.
 * Threads: any. Blocks: under BATON_WAIT until one of these. Since: 0.1.0. */
BATON_API baton_status baton_lease_acquire(baton_pool *pool, const baton_request *request, baton_lease *lease,
                                           baton_error *err) BATON_MUST_USE BATON_TRY_ACQUIRE(0, lease);

/* A place in the queue of somebody who does not sleep in it. */
typedef struct baton_ticket baton_ticket;

/* Asks without waiting, for event loops.
 *   ticket  out, on BATON_AGAIN alone: ended by the verdict of baton_lease_poll, or by baton_ticket_drop. One that is
 *           forgotten keeps its context once it is granted
 * Returns: BATON_OK: held, as after acquire. BATON_AGAIN: queued. Else as acquire, but that a thread that holds every
 * context may queue, from inside a callback, too: it is not waiting.
 * Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_lease_ask(baton_pool *pool, const baton_request *request, baton_lease *lease,
                                       baton_ticket **ticket, baton_error *err) BATON_MUST_USE
    BATON_TRY_ACQUIRE(0, lease);

/* The verdict on a ticket.
 *   ticket  taken with the verdict: *ticket is NULL then
 *   lease   out; the thread that polls is its holder
 * Returns: BATON_AGAIN: none yet, the ticket stays. Else the verdict, as from acquire.
 * Threads: any, one at a time. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_lease_poll(baton_ticket **ticket, baton_lease *lease, baton_error *err) BATON_MUST_USE
    BATON_TRY_ACQUIRE(0, lease);

/* A descriptor that becomes readable with the verdict, the queue timeout included, and stays so: poll it, never read
 * it. It is closed with the ticket. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API int baton_ticket_fd(const baton_ticket *ticket);

/* The id of its request, for baton_pool_cancel. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API uint64_t baton_ticket_id(const baton_ticket *ticket);

/* Leaves the queue, or gives back the context if it was granted meanwhile.
 *   ticket  taken; *ticket is NULL after. NULL inside is harmless
 * Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_ticket_drop(baton_ticket **ticket);

/* What a holder can be inside of; others are told so by name. The numbers are part of the ABI. */
#define BATON_OP_MAP(X)                                                                                                \
    X(IDLE, 0, "idle")                                                                                                 \
    X(GENERATE, 1, "generate")                                                                                         \
    X(STREAM, 2, "stream")                                                                                             \
    X(PREFILL, 3, "prefill")                                                                                           \
    X(DECODE, 4, "decode")                                                                                             \
    X(LOGITS, 5, "read logits")                                                                                        \
    X(SAMPLE, 6, "sample")                                                                                             \
    X(MEMORY, 7, "edit the KV cache")                                                                                  \
    X(STATE, 8, "save or restore state")                                                                               \
    X(EMBED, 9, "embed")                                                                                               \
    X(TRANSCRIBE, 10, "transcribe")                                                                                    \
    X(DRAW, 11, "generate image")                                                                                      \
    X(FREE, 12, "free")                                                                                                \
    X(USER, 13, "user code")                                                                                           \
    X(RESET, 14, "reset")                                                                                              \
    X(GIVEN, 15, "hand-over, not taken yet")                                                                           \
    X(ENCODE, 16, "encode")                                                                                            \
    X(DETECT, 17, "detect language")                                                                                   \
    X(SCORE, 18, "score")

typedef enum baton_op {
#define BATON_OP_ENUM(name, number, text) BATON_OP_##name = number,
    BATON_OP_MAP(BATON_OP_ENUM)
#undef BATON_OP_ENUM
} baton_op;

/* "decode" for BATON_OP_DECODE.
 * Returns: a static string, for a number that is no operation, too. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_op_text(baton_op op);

/* Before a native call, or several that belong together: from here to end this thread is inside.
 *   op       what it is about to do: any but BATON_OP_IDLE and BATON_OP_GIVEN
 *   context  out: the native context, which is to be had here alone, and to be used until end alone
 * Returns: BATON_OK. _STALE. _REENTRANT: this thread is inside already. _BUSY: another one is, with a copy of the
 * lease. _MISUSE: no such operation, or a parcel that was not taken. Not BATON_OK: *context is NULL. Threads: any.
 * Blocks: never; a model's context that takes turns on its device (baton_llama_info): for the native calls of others on
 * it, so wait for no other model on that device before end. Since: 0.1.0. */
BATON_API baton_status baton_lease_begin(const baton_lease *lease, baton_op op, void **context,
                                         baton_error *err) BATON_MUST_USE BATON_REQUIRES(lease)
    BATON_TRY_ACQUIRE(0, lease->pool);

/* After it, on the same thread. Without a begin nothing is done, and the misuse handler is told.
 * Threads: the one that began. Blocks: never. Since: 0.1.0. */
BATON_API void baton_lease_end(const baton_lease *lease) BATON_REQUIRES(lease) BATON_RELEASE(lease->pool);

/* What the next holder finds. */
typedef enum baton_release_how {
    BATON_RESET, /* a context as new: the pool's reset is called. Once per session */
    BATON_KEEP   /* the context as it was left */
} baton_release_how;

/* Gives the context to the next in the queue, and clears the lease.
 * Returns: BATON_OK. _STALE: it was none any more. _REENTRANT: from inside a native call. _BUSY: another thread is
 * inside. The last two leave the lease held. A parcel that nobody took may be released, too.
 * Threads: any. Blocks: for the pool's reset. Since: 0.1.0. */
BATON_API baton_status baton_lease_release(baton_lease *lease, baton_release_how how, baton_error *err)
    BATON_RELEASE(lease) BATON_EXCLUDES(lease->pool);

/* Hands the context on: after it `lease` is stale, and `parcel` can be taken by any one thread, once. In between no
 * thread holds it, and none has to live on for it.
 *   parcel  out; must be taken or released
 * Returns: as release. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_lease_give(baton_lease *lease, baton_lease *parcel, baton_error *err) BATON_RELEASE(lease)
    BATON_EXCLUDES(lease->pool);

/* Takes what was given: this thread is the holder, and `parcel` is stale.
 * Returns: BATON_OK. _STALE: somebody took it already. _MISUSE: it was not given. Threads: any. Blocks: never.
 * Since: 0.1.0. */
BATON_API baton_status baton_lease_take(baton_lease *parcel, baton_lease *lease, baton_error *err) BATON_MUST_USE
    BATON_TRY_ACQUIRE(0, lease);

/* Of the request with that id: if it waits it gets BATON_CANCELLED; if it holds a lease, baton_lease_cancelled says so
 * from now on, after a hand-over, too. Touches nobody else.
 * Returns: true if there was one. Threads: any, callbacks too. Blocks: never. Since: 0.1.0. */
BATON_API bool baton_pool_cancel(baton_pool *pool, uint64_t id);

/* Whether the holder was told to stop: to be asked between native calls, or in the library's abort callback.
 * Returns: false for a stale lease: it says nothing of the new holder. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API bool baton_lease_cancelled(const baton_lease *lease);

typedef enum baton_close_how {
    BATON_DRAIN, /* waits for the holders */
    BATON_CANCEL /* tells them to stop first, as baton_pool_cancel does */
} baton_close_how;

/* Refuses new requests, gives those that wait BATON_CLOSED, waits for the holders, and destroys the contexts after the
 * last native call has returned.
 *   pool  taken; *pool is NULL after. NULL inside is harmless. No call may begin on another copy of it afterwards;
 *         leases are stale then, and safe
 * Returns: BATON_OK; _MISUSE without a place. A context whose thread ended inside a native call is left alone, with a
 * warning. Threads: any. Blocks: for the holders; while this thread holds one of the pool's leases it cannot: then the
 * contexts are destroyed by whoever releases the last one. Since: 0.1.0. */
BATON_API baton_status baton_pool_close(baton_pool **pool, baton_close_how how, baton_error *err);

/* What is going on in one context. */
typedef struct baton_holder {
    bool held, inside; /* inside: between begin and end */
    unsigned tid;      /* as gettid(2); 0: not held */
    baton_op op;
    int64_t for_ms; /* in this operation, to within a tick of the kernel's clock (4 ms or so) */
} baton_holder;

/* Who holds what: takes no lock. Each element is true of one instant, not all of them of the same one.
 *   out, max  as many elements are written at most
 * Returns: how many were. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API int baton_pool_holders(const baton_pool *pool, baton_holder *out, int max);

/*
 * Diagnostics
 */

#define BATON_BUCKETS 32

/* One context of a snapshot. */
typedef struct baton_context_use {
    bool held, inside,
        lost;        /* inside: a native call, or what stands between begin and end; lost: its thread ended there */
    unsigned tid;    /* of the holder; 0: none */
    char thread[16]; /* its name, "exited" when it is gone */
    baton_op op;
    int64_t for_ms, held_ms; /* in this operation; since it was acquired. To within a tick of the clock (4 ms or so) */
    uint64_t request;        /* the holder's id */
    uint64_t grants;         /* leases on it so far */
    double utilisation;      /* share of the time since the open that it was held, 0 .. 1 */
} baton_context_use;

/* One request under way with an owner of its own (BATON_OWNER_THREAD, BATON_OWNER_PROCESS). */
typedef struct baton_running {
    uint64_t id, flow;
    int context;     /* that it is in; -1: it has a place, and waits for an owner that is being started again */
    baton_op op;     /* BATON_OP_GENERATE, _EMBED, _SCORE, _TRANSCRIBE, _DRAW */
    bool inside;     /* in the native calls under way, as far as its owner has said */
    unsigned tid;    /* who asked; 0: nobody waits for it any more */
    char thread[16]; /* its name, "exited" when it is gone */
    int64_t for_ms;  /* since it was granted its place */
    uint32_t tokens; /* of its answer that have come */
} baton_running;

/* How the owner of a context is: a thread, or a process that is started again when it ends. */
typedef struct baton_owner_health {
    char state[16]; /* "ready", "silent" (no word for a while), "probation" (it tries out who may have ended the last
                       one), "starting", "restarting", "ending", "hung", "given up", "closed" */
    bool ready;     /* it has answered lately, and takes requests */
    bool gone;      /* for good */
    int running;    /* requests in it */
    uint32_t restarts;
    int64_t for_ms, heard_ms; /* since it is starting, up, or ending; since its last word */
    char last_end[256];       /* how the one before ended, with its last words; "" */
} baton_owner_health;

/* One who waits. */
typedef struct baton_waiting {
    uint64_t id, flow;
    int priority, position; /* position: 0 is next */
    unsigned tid;           /* who asked; 0: nobody waits for it any more */
    int64_t for_ms;
} baton_waiting;

/* All that is known of a pool. Element i of a histogram counts the values of i bits: 0, 1, 2 to 3, 4 to 7, ...; the
 * last one all that are larger. */
typedef struct baton_snapshot {
    size_t size;
    char name[96];
    int64_t open_ms;
    int contexts; /* elements of context */
    int queued;   /* how many wait */
    int listed;   /* elements of waiting: at most 64 of them are listed; while more wait, a position is a lower bound */
    baton_context_use *context;
    baton_waiting *waiting;
    uint64_t granted, contended;            /* leases; asks that found every context held, whatever came of them */
    uint64_t refused, timed_out, cancelled; /* of these: refused at once; while they waited, the other two */
    uint64_t wait_us[BATON_BUCKETS];        /* of the granted: how long they waited, in microseconds */
    uint64_t hold_ms[BATON_BUCKETS]; /* of the released: milliseconds from the grant to the end of the last native call,
                                        or to the reset */
    /* Of a model's contexts (baton_llama_snapshot) that take turns on a device with those of other models
     * (baton_llama_info): its name, "" where there is none; the thread that is in now, 0: none, and for how long; how
     * many wait for their turn */
    char device[64];
    unsigned device_tid;
    int64_t device_ms;
    int device_waiting;
    /* With owners of their own; else 0 and NULL. Several requests may be in a context: they are listed here, and
     * context[i] tells the oldest of them, with the thread that asked it; held_ms since the context was empty. `inside`
     * is what the owner said last. A place is granted and held, not a context: granted and the histograms are of
     * those, and grants of what was sent to that context, a second time after its owner's end, too. Waiting: the first
     * 64, with their true positions */
    int running; /* elements of run */
    baton_running *run;
    baton_owner_health *owner; /* as many as contexts */
} baton_snapshot;

/* Takes a snapshot, without any lock and without a word to those who acquire and release. What may be inconsistent:
 * each context and each waiter is of one instant, but not all of the same one, so that a request that is granted
 * meanwhile may be seen twice, or not at all; counters are each right by themselves.
 *   snapshot  its size set by the caller: baton_snapshot s = {.size = sizeof s}; freed with baton_snapshot_free
 * Returns: BATON_OK, _NO_MEMORY, _MISUSE (no pool, no size). Threads: any. Blocks: never; it looks up the holders'
 * names in /proc. Since: 0.1.0. */
BATON_API baton_status baton_pool_snapshot(const baton_pool *pool, baton_snapshot *snapshot,
                                           baton_error *err) BATON_MUST_USE;

/* Frees what a snapshot points to, and clears that. Twice is harmless. Threads: any, not beside another call on it.
 * Blocks: never. Since: 0.1.0. */
BATON_API void baton_snapshot_free(baton_snapshot *snapshot);

/* A snapshot as one line of JSON; its member "version" is 1, and changes when the meaning of another member does.
 * Histograms end with their last element that is not 0.
 *   text  out: NUL-terminated; freed with baton_free
 * Returns: BATON_OK, _NO_MEMORY. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API baton_status baton_snapshot_json(const baton_snapshot *snapshot, char **text,
                                           baton_error *err) BATON_MUST_USE;

/* How busy a model is. */
typedef struct baton_counts {
    size_t size;
    int slots, running, queued;
    uint64_t accepted, refused, completed, cancelled, timed_out, failed; /* since it was opened */
} baton_counts;

/*
 * Streams
 */

/* An answer on its way. Made by a binding (baton_llama_stream). Bounded: who does not read makes his own answer pause,
 * nobody else's, and keeps its slot until he does, or until the request's idle_ms. One thread at a time, any thread. */
typedef struct baton_stream baton_stream;

typedef struct baton_delta {
    const char *text; /* whole UTF-8 characters, NUL-terminated; valid until the next call on the stream */
    size_t len;       /* 0 for a token that released no text yet */
    uint32_t tokens;  /* of the answer, so far */
} baton_delta;

typedef enum baton_finish {
    BATON_FINISH_NONE,  /* it did not: the text, if any, is cut */
    BATON_FINISH_STOP,  /* the model ended it, or a stop string */
    BATON_FINISH_LENGTH /* max_tokens, or the context is full */
} baton_finish;

/* What became of a request. */
typedef struct baton_outcome {
    baton_status status; /* BATON_OK: complete. Else why not; the text so far was delivered and is cut */
    baton_finish finish;
    uint32_t prompt_tokens, reused_tokens; /* reused: of the prompt, found in the cache */
    uint32_t answer_tokens;
    int64_t queue_ns, run_ns; /* waited; ran */
    char text[256];           /* one line, when status is not BATON_OK */
    /* of run_ns: until the first token, and after it. With an owner thread the company's share is in both */
    int64_t prefill_ns, decode_ns;
    double prompt_per_s, answer_per_s; /* tokens per second of the two; 0: too few to say */
} baton_outcome;

/* The next piece.
 *   stream      not NULL
 *   timeout_ms  how long to wait for it; < 0: until it comes. With the owner on the caller's thread native code runs
 *               inside this call, one step at least whatever the timeout
 *   delta       out
 * Returns: BATON_OK: *delta is a piece. BATON_AGAIN: none within the timeout. BATON_END: there is no more;
 * baton_stream_close tells the outcome. BATON_BUSY: another thread is in a call on this stream. BATON_NO_MEMORY: a
 * piece is lost, and the stream with it: close it. Threads: any, one at a time. Blocks: until a piece, the end, or the
 * timeout. Since: 0.1.0. */
BATON_API baton_status baton_stream_next(baton_stream *stream, int64_t timeout_ms, baton_delta *delta) BATON_MUST_USE;

/* A descriptor that is readable while baton_stream_next would not block: for event loops. Poll it, never read it.
 * Returns: -1 when the owner is on the caller's thread (next always works), or out of descriptors. Threads: any.
 * Blocks: never. Since: 0.1.0. */
BATON_API int baton_stream_fd(baton_stream *stream);

/* The id of its request, for a cancel from elsewhere. Returns: never 0. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API uint64_t baton_stream_id(const baton_stream *stream);

/* Ends a stream, at any time, read to its end or not; what still runs is cancelled, and its slot is free once the
 * native call under way has returned. One that was never read frees its slot at once.
 *   stream   taken; *stream is NULL after. NULL inside is harmless
 *   outcome  out, may be NULL: exactly one
 * Returns: the outcome's status. Threads: any, not beside another call on the stream. Blocks: never with an owner
 * thread; with the owner on the caller's thread nothing is running then. Since: 0.1.0. */
BATON_API baton_status baton_stream_close(baton_stream **stream, baton_outcome *outcome);

/*
 * Log and misuse
 */

typedef enum baton_log_level { BATON_LOG_ERROR, BATON_LOG_WARN, BATON_LOG_INFO, BATON_LOG_DEBUG } baton_log_level;

/* Where log lines go: never a prompt, an answer or a key in them.
 *   level    lines above it are not made
 *   handler  called with one line, without its newline, on whatever thread; must not call baton. NULL: stderr
 *   arg      passed on
 * Threads: any; not beside itself. Blocks: never. Since: 0.1.0. */
BATON_API void baton_log_set(baton_log_level level, void (*handler)(void *arg, baton_log_level level, const char *line),
                             void *arg);

/* Called whenever a call is about to return a status of the family BUG, with its text: abort in it, and the debugger
 * stands where the rule was broken. NULL: nothing is called. Runs on the thread that misused; must not call baton.
 * Threads: any; not beside itself. Blocks: never. Since: 0.1.0. */
BATON_API void baton_misuse_set(void (*handler)(void *arg, baton_status status, const char *text), void *arg);

#ifdef __cplusplus
}
#endif
#endif
