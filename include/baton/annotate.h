/* baton/annotate.h: words that let Clang see, while it compiles, whether a lock or a lease is held. No library, no
 * code.
 *
 * Clang's thread safety analysis follows, within one function, what is acquired and released, and warns where something
 * is used that is not held there. baton's own headers are annotated, so
 *
 *     clang -Wthread-safety -Wthread-safety-beta -Werror=thread-safety ...
 *
 * says at compile time what the guard would say at run time: never acquired, result unchecked, used after the release,
 * released twice, forgotten on a path, used after a hand-over. With these words your own functions can say the same of
 * themselves. Everywhere else (GCC, or with BATON_NO_ANNOTATIONS defined) they are empty: they change no code.
 *
 *     struct BATON_CAPABILITY("session") session { baton_guard guard; ... };
 *     baton_status session_open(struct session *s) BATON_TRY_ACQUIRE(0, s);
 *     void session_feed(struct session *s, ...)    BATON_REQUIRES(s);
 *     void session_close(struct session *s)        BATON_RELEASE(s);
 *
 * They stand after the parameters, and take the parameters, members of what they point to (s->guard), or objects of
 * file scope; several at once, separated by commas.
 *
 * The rule they put on an interface: what tries returns 0 (or true) for held, and is tested bare. Understood are
 * `if (f(s))`, `if (!f(s))`, `f(s) == 0`, `ok = f(s); if (!ok)`, `while (f(s))`, with __builtin_expect, too. Not
 * understood, so that correct code is warned of: `(rc = f(s)) != 0`, `f(s) == AN_ENUM_CONSTANT`, `f(s) < 0`,
 * `switch (f(s))`.
 *
 * What it cannot do (Clang 14 to 19; docs/static-checking.md has each with an example):
 *   - one function at a time, by the text of the expression: `m = l` makes m another one than l, and v[0] and v[1] the
 *     same. What is returned by a pointer variable rather than by the annotated call is not followed.
 *   - nothing through function pointers: callbacks, tables of operations.
 *   - BATON_GUARDED_BY is for objects of file scope. On members of a struct Clang refuses it in C, or warns of correct
 *     code: reach such members through a function that BATON_REQUIRES the lock.
 *   - __attribute__((cleanup)) together with an acquire that can fail is warned of: use `goto out`.
 *   - the body of a function that is BATON_TRY_ACQUIRE is not looked at.
 *   - a pointer that was read under a lease (logits) and is used after it.
 *
 * State: none.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_ANNOTATE_H
#define BATON_ANNOTATE_H

#if defined(__clang__) && !defined(BATON_NO_ANNOTATIONS)
#define BATON_THREAD_SAFETY_(x) __attribute__((x))
#else
#define BATON_THREAD_SAFETY_(x)
#endif

/* On a struct, between the keyword and the tag: its objects are things that can be held. `kind` is what messages call
 * them: "lease 'l' is still held at the end of function". A native library's opaque struct may be declared so before
 * its header is included. */
#define BATON_CAPABILITY(kind) BATON_THREAD_SAFETY_(capability(kind))

/* C++ only, on a class whose constructor acquires and whose destructor releases. */
#define BATON_SCOPED_CAPABILITY BATON_THREAD_SAFETY_(scoped_lockable)

/* The function returns with it held, always. */
#define BATON_ACQUIRE(...) BATON_THREAD_SAFETY_(acquire_capability(__VA_ARGS__))

/* The function returns `success` (0, or true) with it held, and anything else without. */
#define BATON_TRY_ACQUIRE(success, ...) BATON_THREAD_SAFETY_(try_acquire_capability(success, __VA_ARGS__))

/* It must be held before, and is not after: release, leave, give. */
#define BATON_RELEASE(...) BATON_THREAD_SAFETY_(release_capability(__VA_ARGS__))

/* It must be held before, and still is after. */
#define BATON_REQUIRES(...) BATON_THREAD_SAFETY_(requires_capability(__VA_ARGS__))

/* As BATON_REQUIRES for functions that only read: beside other readers is fine. Whoever holds it alone may call them.
 */
#define BATON_REQUIRES_SHARED(...) BATON_THREAD_SAFETY_(requires_shared_capability(__VA_ARGS__))

/* It must not be held: the function acquires it itself, or waits for somebody who needs it. */
#define BATON_EXCLUDES(...) BATON_THREAD_SAFETY_(locks_excluded(__VA_ARGS__))

/* From the call on it counts as held: where the analysis cannot see that it is (a callback, another name for it). */
#define BATON_ASSERT_HELD(...) BATON_THREAD_SAFETY_(assert_capability(__VA_ARGS__))

/* What the function returns is held while that is: `struct ctx *of(struct lease *l) BATON_RETURNS_HELD(l)` lets
 * use(of(l)) through where l is held. */
#define BATON_RETURNS_HELD(x) BATON_THREAD_SAFETY_(lock_returned(x))

/* An object of file scope that may be touched only while x is held; for the second, what it points to. */
#define BATON_GUARDED_BY(x) BATON_THREAD_SAFETY_(guarded_by(x))
#define BATON_PT_GUARDED_BY(x) BATON_THREAD_SAFETY_(pt_guarded_by(x))

/* The function's body is not analysed; its callers are. For what implements a lock, with the reason beside it. */
#define BATON_NO_ANALYSIS BATON_THREAD_SAFETY_(no_thread_safety_analysis)

#endif
