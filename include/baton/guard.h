/* baton/guard.h: one owner at a time, for any context of your own. One header, no library, no other header of baton.
 *
 * A native inference context (llama_context, whisper_context, sd_ctx_t, or anything else that is not thread-safe) may
 * be used by many threads in turn but never by two at once. Put a guard beside it, enter before each use and leave
 * after: whoever comes while somebody is in is told so, at once, and is told who that is.
 *
 *     struct my_context { baton_guard guard; struct llama_context *llama; };      // zeroed memory is a free guard
 *
 *     baton_guard_word who = baton_guard_enter(&c->guard, MY_DECODE);
 *     if (who) {
 *         baton_guard_explain(who, "my context", my_op_text(baton_guard_op(who)), text, sizeof text);
 *         return fail(text);    // my context is in use: thread 4711 'worker-b' has been in decode for 212 ms. ...
 *     }
 *     rc = llama_decode(c->llama, batch);
 *     read_logits(c->llama);                        // what is read from the context belongs inside, too
 *     baton_guard_leave(&c->guard);
 *
 * A guard is one 64-bit word: thread id (22 bits) | operation (10 bits) | milliseconds since boot (32 bits). All three
 * are published by the one compare-and-swap that enters; one that fails returns all three as they were at one instant,
 * for nothing. Leaving is one store with release order, so what the last one did in the context is seen by the next.
 *
 * Operation 0 means idle: the thread holds the context but is not inside a native call. Who enters with an operation,
 * or marks one, is inside. The other 1023 numbers are yours.
 *
 * A guard excludes; it does not queue, wait or wake. There is no ownership by thread beyond what it records: a context
 * may be used on thread A, then on B, then on C.
 *
 * What a word can misname. The exclusion itself is exact; the name in the message is for people, and:
 *   - the kernel reuses thread ids. If a thread ends while it is in, a later thread may get its id and be named
 * instead. (Where the name is looked up in time it reads "exited".)
 *   - a word copied by fork() names a thread of the parent. The child's own id is right: the cached one is dropped in
 *     the child by pthread_atfork. It is not after a bare clone(2) or _Fork(), which run no such handlers.
 *   - a guard in memory shared between processes or between pid namespaces excludes, but the name is looked up in the
 *     reader's own process.
 *   - the time is that of the coarse clock, 1 to 10 ms steps (4 ms as a rule), and wraps after 49.7 days: what has been
 *     held for 50 days reads as 7 hours.
 *
 * Needs the __atomic builtins (GCC 4.7, Clang 3.1, or later) on a target where 64-bit ones are lock-free, C11 or C++11,
 * and POSIX; -pthread with a C library that keeps pthread_atfork in a library of its own (glibc before 2.34). It knows
 * Linux by itself. Elsewhere define, before the include,
 *     BATON_GUARD_THREAD_ID()   the calling thread's id: 1 .. 4194303, the same in every file of the program, right
 *                               after fork(), and cheap
 *     BATON_GUARD_CLOCK_MS()    milliseconds of a clock that does not go back, as uint32_t
 * Both may be defined on Linux, too.
 *
 * Under Clang's -Wthread-safety a guard is checked at compile time, too: entered, tested bare (`if (who)`), left on
 * every path (baton/annotate.h has the words to say so of functions of your own, and what the analysis cannot see).
 *
 * State: the word, which belongs to whoever is in; per thread and source file, the cached id.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_GUARD_H
#define BATON_GUARD_H

#if !defined(__GNUC__)
#error "baton/guard.h needs the __atomic builtins of GCC or Clang; this compiler defines neither __GNUC__ nor them"
#elif !defined(__GCC_ATOMIC_LLONG_LOCK_FREE) || __GCC_ATOMIC_LLONG_LOCK_FREE != 2
#error                                                                                                                 \
    "baton/guard.h needs lock-free 64-bit atomics: compile for a target that has them (on i386, -march=i586 or later)"
#elif !defined(__linux__) && (!defined(BATON_GUARD_THREAD_ID) || !defined(BATON_GUARD_CLOCK_MS))
#error "baton/guard.h knows Linux by itself: define BATON_GUARD_THREAD_ID() and BATON_GUARD_CLOCK_MS(), see its top"
#endif

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifndef BATON_GUARD_THREAD_ID
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifndef BATON_GUARD_CLOCK_MS
#include <time.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The words of baton/annotate.h that are needed here: this header stands alone. */
#if defined(__clang__) && !defined(BATON_NO_ANNOTATIONS)
#define BATON_GUARD_THREAD_SAFETY_(x) __attribute__((x))
#else
#define BATON_GUARD_THREAD_SAFETY_(x)
#endif

/* What a guard was at one instant. 0: nobody is in. Read it with baton_guard_tid, _op, _ms and _explain. */
typedef uint64_t baton_guard_word;

/* Beside each context. Zeroed memory is a free guard; nothing to destroy. It must not move while somebody is in. */
typedef struct BATON_GUARD_THREAD_SAFETY_(capability("guard")) baton_guard {
    uint64_t word __attribute__((aligned(8))); /* by itself only 4 on some 32-bit targets: not atomic across lines */
} baton_guard;

#define BATON_GUARD_INIT                                                                                               \
    { 0 }
#define BATON_GUARD_IDLE 0u      /* the operation of one that is not inside a native call */
#define BATON_GUARD_OP_MAX 1023u /* the highest operation */
#define BATON_GUARD_TID_MAX 4194303u
#define BATON_GUARD_TEXT_MAX 256 /* enough for baton_guard_explain unless `what` or `op` is long */

/* What a function returns instead of a holder's word when there is no holder. */
#define BATON_GUARD_NOBODY ((baton_guard_word)1)

#ifndef BATON_GUARD_THREAD_ID
/* The feature macros are the program's, not this header's: under a strict -std=c11 the C library hides these two. */
#if !defined(__cplusplus) && !defined(_GNU_SOURCE) && !defined(_DEFAULT_SOURCE)
long syscall(long number, ...);
#endif

#ifdef __cplusplus
static thread_local unsigned baton_guard_tid_cache_;
#else
static _Thread_local unsigned baton_guard_tid_cache_;
#endif
static int baton_guard_fork_state_; /* 0: no handler, 1: somebody is at it, 2: in place */

/* In the child after fork: its only thread is the one that called. */
static __attribute__((unused)) void baton_guard_forked_(void) {
    baton_guard_tid_cache_ = 0;
}

/* Caches only when the handler is in place, so that there is no moment at which a fork would keep the parent's id. */
static __attribute__((noinline, unused)) unsigned baton_guard_ask_tid_(void) {
    unsigned tid = (unsigned)syscall(SYS_gettid) & BATON_GUARD_TID_MAX;
    int state = __atomic_load_n(&baton_guard_fork_state_, __ATOMIC_ACQUIRE);
    int none = 0;
    if (state == 0 &&
        __atomic_compare_exchange_n(&baton_guard_fork_state_, &none, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        state = pthread_atfork(NULL, NULL, baton_guard_forked_) == 0 ? 2 : 0;
        __atomic_store_n(&baton_guard_fork_state_, state, __ATOMIC_RELEASE);
    }
    if (state == 2)
        baton_guard_tid_cache_ = tid;
    return tid;
}

static inline unsigned baton_guard_thread_id_(void) {
    unsigned tid = baton_guard_tid_cache_;
    return __builtin_expect(tid != 0, 1) ? tid : baton_guard_ask_tid_();
}
#define BATON_GUARD_THREAD_ID() baton_guard_thread_id_()
#endif

#ifndef BATON_GUARD_CLOCK_MS
#if !defined(__cplusplus) && !defined(_GNU_SOURCE) && !defined(_DEFAULT_SOURCE) &&                                     \
    (!defined(_POSIX_C_SOURCE) || _POSIX_C_SOURCE < 199309L)
int clock_gettime(int clock, struct timespec *now);
#endif

static inline uint32_t baton_guard_clock_ms_(void) {
    struct timespec now;
    clock_gettime(6 /* CLOCK_MONOTONIC_COARSE: the fine clock costs more than all the rest */, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)now.tv_nsec / 1000000u;
}
#define BATON_GUARD_CLOCK_MS() baton_guard_clock_ms_()
#endif

/* The calling thread's id as guards record it: on Linux that of gettid(2), asked for once per thread and cached.
 * Returns: 1 .. BATON_GUARD_TID_MAX. Threads: any. Blocks: never. Since: 0.1.0. */
static inline unsigned baton_guard_self(void) {
    return (unsigned)BATON_GUARD_THREAD_ID();
}

/* The thread in a word, 0 for 0 and for BATON_GUARD_NOBODY.
 * Threads: any. Blocks: never. Since: 0.1.0. */
static inline unsigned baton_guard_tid(baton_guard_word word) {
    return (unsigned)(word >> 42);
}

/* The operation in a word, BATON_GUARD_IDLE when it is not inside a native call.
 * Threads: any. Blocks: never. Since: 0.1.0. */
static inline unsigned baton_guard_op(baton_guard_word word) {
    return (unsigned)(word >> 32) & BATON_GUARD_OP_MAX;
}

/* How long ago, in milliseconds, the word was published: since then its thread has been in that operation.
 * Returns: 0 .. 2^32 - 1, to within the coarse clock's step. Threads: any. Blocks: never. Since: 0.1.0. */
static inline uint32_t baton_guard_ms(baton_guard_word word) {
    uint32_t ms = (uint32_t)BATON_GUARD_CLOCK_MS() - (uint32_t)word;
    return ms < 0xffff0000u ? ms : 0; /* that old means: published a moment after the clock was read here */
}

/* The word that says "thread tid, in operation op, from now on". For those who build on guards, as baton's leases do.
 * tid: 1 .. BATON_GUARD_TID_MAX. op: 0 .. BATON_GUARD_OP_MAX.
 * Threads: any. Blocks: never. Since: 0.1.0. */
static inline baton_guard_word baton_guard_make(unsigned tid, unsigned op) {
    return (uint64_t)tid << 42 | (uint64_t)(op & BATON_GUARD_OP_MAX) << 32 | (uint32_t)BATON_GUARD_CLOCK_MS();
}

/* Enters: from here to baton_guard_leave nobody else gets in.
 * g: borrowed. op: what the thread is about to do; BATON_GUARD_IDLE to hold the context without being inside it yet.
 * Returns: 0, entered; else the word of the one that is in (perhaps this thread itself: a callback that calls back),
 * and nothing was changed. Threads: any. Blocks: never. Since: 0.1.0. */
static inline baton_guard_word baton_guard_enter(baton_guard *g, unsigned op)
    BATON_GUARD_THREAD_SAFETY_(try_acquire_capability(0, g)) {
    uint64_t found = 0;
    uint64_t mine = baton_guard_make(baton_guard_self(), op);
    if (__builtin_expect(__atomic_compare_exchange_n(&g->word, &found, mine, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED), 1))
        return 0;
    return found;
}

/* Says what the holder is doing from now on: an operation before each native call, BATON_GUARD_IDLE after it.
 * g: borrowed. op: 0 .. BATON_GUARD_OP_MAX.
 * Returns: 0, marked; else this thread is not in: the holder's word, or BATON_GUARD_NOBODY, and nothing was changed.
 * Threads: the one that is in. Blocks: never. Since: 0.1.0. */
static inline baton_guard_word baton_guard_mark(baton_guard *g, unsigned op)
    BATON_GUARD_THREAD_SAFETY_(requires_capability(g)) {
    uint64_t found = __atomic_load_n(&g->word, __ATOMIC_RELAXED);
    unsigned self = baton_guard_self();
    if (__builtin_expect(baton_guard_tid(found) != self, 0))
        return found ? found : BATON_GUARD_NOBODY;
    __atomic_store_n(&g->word, baton_guard_make(self, op), __ATOMIC_RELEASE);
    return 0;
}

/* Leaves: the next one may enter, and sees everything that was done before.
 * g: borrowed.
 * Returns: 0, left; else this thread was not in: the holder's word, or BATON_GUARD_NOBODY (left twice, or never
 * entered), and nothing was changed; baton_guard_explain_leave makes a sentence of it.
 * Threads: the one that is in; another one calls baton_guard_take first. Blocks: never. Since: 0.1.0. */
static inline baton_guard_word baton_guard_leave(baton_guard *g) BATON_GUARD_THREAD_SAFETY_(release_capability(g))
    BATON_GUARD_THREAD_SAFETY_(no_thread_safety_analysis) {
    uint64_t found = __atomic_load_n(&g->word, __ATOMIC_RELAXED);
    if (__builtin_expect(baton_guard_tid(found) != baton_guard_self(), 0))
        return found ? found : BATON_GUARD_NOBODY;
    __atomic_store_n(&g->word, 0, __ATOMIC_RELEASE);
    return 0;
}

/* Takes over from a holder that hands the context on: between the two threads that must be agreed, the guard only
 * makes sure that nothing has changed since `seen` was read.
 * g: borrowed. seen: what baton_guard_read returned; 0 for a free guard. op: as in baton_guard_enter.
 * Returns: 0, this thread is in; else the word found instead, or BATON_GUARD_NOBODY, and nothing was changed.
 * Threads: any. Blocks: never. Since: 0.1.0. */
static inline baton_guard_word baton_guard_take(baton_guard *g, baton_guard_word seen, unsigned op)
    BATON_GUARD_THREAD_SAFETY_(try_acquire_capability(0, g)) {
    uint64_t found = seen;
    uint64_t mine = baton_guard_make(baton_guard_self(), op);
    if (__atomic_compare_exchange_n(&g->word, &found, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return 0;
    return found ? found : BATON_GUARD_NOBODY;
}

/* Who is in, now.
 * g: borrowed. Returns: the holder's word, 0 if nobody. Threads: any. Blocks: never. Since: 0.1.0. */
static inline baton_guard_word baton_guard_read(const baton_guard *g) {
    return __atomic_load_n(&g->word, __ATOMIC_ACQUIRE);
}

/* snprintf whose cutting is meant: what is seen to be too small for a text is not to be warned of in a user's build. */
static __attribute__((noinline, unused, format(printf, 3, 4))) int baton_guard_print_(char *text, size_t size,
                                                                                      const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, size, format, args);
    va_end(args);
    return n;
}

/* The name of a thread of this process, or "exited"; "" where names cannot be looked up. */
static __attribute__((noinline, unused)) void baton_guard_name_(unsigned tid, char *name, size_t size) {
    name[0] = '\0';
#ifdef __linux__
    char path[48];
    snprintf(path, sizeof path, "/proc/self/task/%u/comm", tid);
    FILE *f = fopen(path, "re");
    if (!f) {
        f = fopen("/proc/self/comm", "re"); /* is it the thread that is missing, or all of /proc? */
        snprintf(name, size, "%s", f ? "exited" : "");
    } else if (!fgets(name, (int)size, f)) {
        snprintf(name, size, "exited");
    }
    if (f)
        fclose(f);
    for (char *c = name; *c; c++) /* a thread may have any bytes for a name */
        if (*c == '\n' || *c == '\r')
            *c = '\0';
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
#else
    (void)tid;
    (void)size;
#endif
}

/* One line of text for the one that was refused: who is in the way, in which operation, for how long, and the cure.
 * word: what baton_guard_enter, _take or _read returned. what: borrowed, names the context, "llama context 'chat'";
 * NULL: "the context". op: borrowed, names the operation in the word, "decode"; NULL: its number. text: out, always
 * terminated; size: at least 1, cut beyond that.
 * Returns: the length the whole text has, as snprintf does. Threads: any. Blocks: for a look into /proc (microseconds).
 * Since: 0.1.0. */
static __attribute__((unused)) int baton_guard_explain(baton_guard_word word, const char *what, const char *op,
                                                       char *text, size_t size) {
    char name[32], number[32];
    unsigned tid = baton_guard_tid(word);
    unsigned long ms = baton_guard_ms(word);
    if (!what)
        what = "the context";
    if (tid == 0)
        return baton_guard_print_(text, size, "%s is free", what);
    if (!op) {
        snprintf(number, sizeof number, "operation %u", baton_guard_op(word));
        op = number;
    }
    if (tid == baton_guard_self() && baton_guard_op(word) == BATON_GUARD_IDLE)
        return baton_guard_print_(
            text, size,
            "%s is in use: this very thread (%u) has held it, idle, for %lu ms. Go on with what it holds, "
            "or give that back first",
            what, tid, ms);
    if (tid == baton_guard_self())
        return baton_guard_print_(
            text, size,
            "%s is in use: this very thread (%u) has been inside it, in %s, for %lu ms. A callback must not "
            "call back into its own context: do it after the outer call, or use another context",
            what, tid, op, ms);
    baton_guard_name_(tid, name, sizeof name);
    const char *quote = name[0] ? "'" : "";
    if (baton_guard_op(word) == BATON_GUARD_IDLE)
        return baton_guard_print_(
            text, size,
            "%s is in use: thread %u %s%s%s has held it for %lu ms, idle now. Try again when it is given "
            "back, wait in a queue, or use a context per thread",
            what, tid, quote, name, quote, ms);
    return baton_guard_print_(
        text, size,
        "%s is in use: thread %u %s%s%s has been in %s for %lu ms. Try again when it is through, wait in a "
        "queue, or use a context per thread",
        what, tid, quote, name, quote, op, ms);
}

/* The same for a leave, a mark or a take that was refused, which is a mistake of the caller's.
 * Parameters, returns, threads and blocking as baton_guard_explain. Since: 0.1.0. */
static __attribute__((unused)) int baton_guard_explain_leave(baton_guard_word word, const char *what, char *text,
                                                             size_t size) {
    char name[32];
    unsigned tid = baton_guard_tid(word);
    if (!what)
        what = "the context";
    if (tid == 0)
        return baton_guard_print_(
            text, size,
            "thread %u leaves %s, but nobody is in it: it was left twice, or entering was refused and that "
            "went unnoticed. Leave exactly once, and only after an enter that returned 0",
            baton_guard_self(), what);
    baton_guard_name_(tid, name, sizeof name);
    const char *quote = name[0] ? "'" : "";
    return baton_guard_print_(
        text, size,
        "thread %u leaves %s, but thread %u %s%s%s is in it. Leave on the thread that entered, or take the "
        "context over first (baton_guard_take)",
        baton_guard_self(), what, tid, quote, name, quote);
}

#ifdef __cplusplus
}
#endif
#endif
