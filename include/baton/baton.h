/* baton: many callers, few native contexts, every answer right.
 *
 * A native inference context (llama_context, whisper_context, sd_ctx_t) has one owner at a time. This header holds
 * the words that every part of baton shares: the version, the status codes and the caller-owned error.
 *
 * Threads: everything here may be called from any thread, never blocks, and keeps no state.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_BATON_H
#define BATON_BATON_H

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

#ifdef __cplusplus
}
#endif
#endif
