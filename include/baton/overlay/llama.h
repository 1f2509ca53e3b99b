/* baton/overlay/llama.h: llama.h, with a compiler that minds who holds the context. For programs that call llama.cpp
 * themselves. Include it instead of llama.h, or before it.
 *
 * Which functions need the context held is taken from baton's table of llama.h (llama_calls.def, made by
 * tools/make_overlay.py from src/native/calls.def): decode, encode, the getters of logits and embeddings (they change
 * hidden state), samplers that read a context, state save and restore, adapters, the memory handle's functions. What
 * only reads what is fixed at creation (llama_n_ctx, llama_get_model, tokenisation) stays as it is, and so do creating
 * and freeing.
 *
 * 1. As it is: Clang with -Wthread-safety -Wthread-safety-beta warns of each such call where the context is not held:
 *
 *        calling function 'llama_decode' requires holding context 'ctx' exclusively
 *
 *    GCC says nothing. Held is what baton_llama_enter got (a guard beside the context, baton/guard.h), or what came out
 *    of a function that says BATON_RETURNS_HELD (a lease's accessor), or what the caller says is held (BATON_REQUIRES
 *    on your own functions, baton/annotate.h):
 *
 *        baton_guard_word who = baton_llama_enter(&s->guard, s->ctx, MY_DECODE);
 *        if (who)
 *            return refuse(who);
 *        rc = llama_decode(s->ctx, batch);
 *        token = llama_sampler_sample(s->sampler, s->ctx, -1);
 *        baton_llama_leave(&s->guard, s->ctx);
 *
 * 2. With BATON_OVERLAY_STRICT defined, such a call is an error in every compiler (GCC, Clang), whether held or not,
 *    and so is taking the function's address. The same functions are there under names that say what they ask for,
 *    baton_held_llama_decode and so on, with the same parameters and, for Clang, the same demand. They are the
 *    library's own symbols under another name: nothing is between. So no native call goes in by mistake or with a
 *    file that was copied in, and those that are meant can be searched for. (GCC cannot check that the context is
 *    held there. Clang does, and the guard does at run time.) The held names are there without it, too.
 *
 * For the version of llama.h named in llama_calls.def. With another one, whose declarations may differ, make your own
 * and put somewhere/ in front of the include path:
 *
 *     tools/make_overlay.py --header /usr/include/llama.h --version X.Y.Z --output \
 *         somewhere/baton/overlay/llama_calls.def
 *
 * What it does not see (baton/annotate.h): calls through function pointers or from files that do not include this
 * header; another name for the context (`c = s->ctx`: enter with the name that the calls use); logits that are read
 * after the leave. `mem = llama_get_memory(ctx)` is such another name: write llama_memory_seq_rm(llama_get_memory(ctx),
 * ...), or define BATON_OVERLAY_NO_MEMORY and leave these functions out. Included after llama.h everything works, but
 * Clang calls a context a mutex. C++: the same, for plain functions and methods; a smart pointer is another name
 * (ctx.get()): enter with a plain pointer variable, and call with it. llama-cpp.h and llama.cpp's common/ may be
 * included after this header. Not for compilers without GCC's asm labels (MSVC).
 *
 * State: none.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_OVERLAY_LLAMA_H
#define BATON_OVERLAY_LLAMA_H

#include "baton/annotate.h"
#include "baton/guard.h"

/* Before llama.h, so that messages call it a context. */
struct BATON_CAPABILITY("context") llama_context;
struct BATON_CAPABILITY("context") llama_memory_i;

#include <llama.h>

#if !defined(__GNUC__)
#error "baton/overlay/llama.h needs asm labels as GCC and Clang have them"
#endif

#if defined(__has_attribute)
#if __has_attribute(unavailable)
#define BATON_LLAMA_BARRED_(text) __attribute__((unavailable(text)))
#endif
#endif
#ifndef BATON_LLAMA_BARRED_ /* GCC before 12; says it for calls that are not optimised away, not for taken addresses   \
                             */
#define BATON_LLAMA_BARRED_(text) __attribute__((error(text)))
#endif

#define BATON_LLAMA_TEXT_(x) #x
#define BATON_LLAMA_SYMBOL_(prefix, name) __asm__(BATON_LLAMA_TEXT_(prefix) #name)

#ifdef BATON_OVERLAY_STRICT
#define BATON_LLAMA_RAW_(returns, name, parameters, needs)                                                             \
    LLAMA_API returns name parameters BATON_LLAMA_BARRED_(                                                             \
        "native call outside a lease; under one it is baton_held_" #name);
#elif defined(__clang__)
#define BATON_LLAMA_RAW_(returns, name, parameters, needs) LLAMA_API returns name parameters needs;
#else
#define BATON_LLAMA_RAW_(returns, name, parameters, needs)
#endif
/* In two declarations, as Clang does not know the parameters' names behind an asm label. */
#define BATON_LLAMA_HELD_(returns, name, parameters, needs)                                                            \
    LLAMA_API returns baton_held_##name parameters BATON_LLAMA_SYMBOL_(__USER_LABEL_PREFIX__, name);                   \
    LLAMA_API returns baton_held_##name parameters needs;
/* Deprecated functions get no second name. */
#define BATON_LLAMA_OLD_CALL_(returns, name, parameters, needs) BATON_LLAMA_RAW_(returns, name, parameters, needs)
#define BATON_LLAMA_CALL_(returns, name, parameters, needs)                                                            \
    BATON_LLAMA_RAW_(returns, name, parameters, needs)                                                                 \
    BATON_LLAMA_HELD_(returns, name, parameters, needs)
#ifdef BATON_OVERLAY_NO_MEMORY
#define BATON_LLAMA_MEMORY_CALL_(returns, name, parameters, needs)
#else
#define BATON_LLAMA_MEMORY_CALL_(returns, name, parameters, needs) BATON_LLAMA_CALL_(returns, name, parameters, needs)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wredundant-decls" /* saying more of a function that llama.h declares is the point */
#include "baton/overlay/llama_calls.def"
#pragma GCC diagnostic pop

#ifdef __clang__
LLAMA_API llama_memory_t llama_get_memory(const struct llama_context *ctx) BATON_RETURNS_HELD(ctx);
#endif

/* Enters the guard that stands beside a context: from here to baton_llama_leave both are held.
 * guard, ctx: borrowed. op: as in baton_guard_enter.
 * Returns: as baton_guard_enter; 0 is held. Threads: any. Blocks: never. Since: 0.2.0. */
static inline baton_guard_word baton_llama_enter(baton_guard *guard, struct llama_context *ctx, unsigned op)
    BATON_TRY_ACQUIRE(0, guard, ctx) {
    (void)ctx;
    return baton_guard_enter(guard, op);
}

/* Leaves them.
 * guard, ctx: those that were entered.
 * Returns: as baton_guard_leave. Threads: the one that is in. Blocks: never. Since: 0.2.0. */
static inline baton_guard_word baton_llama_leave(baton_guard *guard, struct llama_context *ctx)
    BATON_RELEASE(guard, ctx) BATON_NO_ANALYSIS {
    (void)ctx;
    return baton_guard_leave(guard);
}

/* Tells Clang that the context counts as held from here to the end of the function, where it cannot see why: a callback
 * of a native call, start-up with one thread. Nothing is checked; every use is a place to look at.
 * Threads: any. Blocks: never. Since: 0.2.0. */
static inline void baton_llama_assume_held(const struct llama_context *ctx) BATON_ASSERT_HELD(ctx) {
    (void)ctx;
}

#ifdef __cplusplus
}
#endif

#undef BATON_LLAMA_RAW_
#undef BATON_LLAMA_HELD_
#undef BATON_LLAMA_CALL_
#undef BATON_LLAMA_OLD_CALL_
#undef BATON_LLAMA_MEMORY_CALL_
#endif
