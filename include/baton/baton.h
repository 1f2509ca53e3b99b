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
 *   3. Where does the owner live?     on the caller's thread, on a thread of baton's, (later) in a process
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
 * signals. After fork only the child's exec is safe.
 *
 * Ownership. A parameter is borrowed for the call unless its comment says taken. What comes out through a double
 * pointer belongs to the caller and is ended by the function named with it, which sets the pointer to NULL. Parameter
 * structs begin with their size and are made with their initialiser macro, so that a program built against an older
 * header keeps working with a newer library.
 *
 * Errors are returned, with a line of text in a baton_error of the caller's (may be NULL). Nothing is thread-local.
 *
 * Process-wide effects: libggml's backends are loaded once and stay; libllama's log goes to baton's (baton_log_set).
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_BATON_H
#define BATON_BATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    BATON_OWNER_PROCESS /* in a child process per model: not in this version, BATON_UNSUPPORTED */
} baton_owner;

/* How a model's contexts are shared. Part of the parameters of every binding's open, which refuses what cannot be:
 * sequences > 1 needs an owner thread. */
typedef struct baton_policy {
    size_t size;
    int contexts;              /* 1 .. 64 */
    int sequences;             /* in each context, 1 .. 256 */
    baton_when_full when_full; /* for requests that do not say */
    int queue;                 /* how many may wait; the next gets BATON_QUEUE_FULL */
    int64_t queue_ms;          /* how long one may wait, for requests that do not say; < 0: without end */
    int64_t run_ms;            /* how long one may run, for requests that do not say; < 0: without end */
    baton_owner owner;
} baton_policy;
#define BATON_POLICY                                                                                                   \
    { sizeof(baton_policy), 1, 1, BATON_REFUSE, 64, -1, -1, BATON_OWNER_CALLER }

/* As the policy says. For when_full of a request. */
#define BATON_AS_POLICY (-1)
/* As the policy says. For queue_ms and run_ms of a request. */
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
} baton_request;
#define BATON_REQUEST                                                                                                  \
    { sizeof(baton_request), 0, 0, 1, BATON_AS_POLICY, BATON_MS_AS_POLICY, BATON_MS_AS_POLICY }

/*
 * Streams
 */

/* An answer on its way. Made by a binding (baton_llama_stream). Bounded: who does not read makes his own answer pause,
 * nobody else's. One thread at a time, any thread. */
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
 * baton_stream_close tells the outcome. BATON_BUSY: another thread is in a call on this stream.
 * Threads: any, one at a time. Blocks: until a piece, the end, or the timeout. Since: 0.1.0. */
BATON_API baton_status baton_stream_next(baton_stream *stream, int64_t timeout_ms, baton_delta *delta) BATON_MUST_USE;

/* A descriptor that is readable while baton_stream_next would not block: for event loops. Poll it, never read it.
 * Returns: -1 when the owner is on the caller's thread (next always works), or out of descriptors. Threads: any.
 * Blocks: never. Since: 0.1.0. */
BATON_API int baton_stream_fd(baton_stream *stream);

/* The id of its request, for a cancel from elsewhere. Returns: never 0. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API uint64_t baton_stream_id(const baton_stream *stream);

/* Ends a stream, at any time, read to its end or not; what still runs is cancelled, and its slot is free once the
 * native call under way has returned. One that was never read frees its slot at once. stream   taken; *stream is NULL
 * after. NULL inside is harmless outcome  out, may be NULL: exactly one Returns: the outcome's status. Threads: any,
 * not beside another call on the stream. Blocks: never with an owner thread; with the owner on the caller's thread
 * nothing is running then. Since: 0.1.0. */
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
