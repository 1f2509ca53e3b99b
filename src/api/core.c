/* The parts of the public API that no binding owns: version, parameter structs, policies, log and misuse.
 * State: the misuse handler, set at start. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "owner/plan.h"

const char *baton_version(void) {
    return BATON_VERSION;
}

void baton_free(void *memory) {
    free(memory);
}

bool bt_take_params(void *mine, size_t mine_size, const void *theirs) {
    size_t size;
    if (!theirs)
        return true;
    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > 1 << 16)
        return false;
    memcpy(mine, theirs, BT_MIN(size, mine_size));
    memcpy(mine, &mine_size, sizeof mine_size);
    return true;
}

typedef void misuse_handler(void *arg, baton_status status, const char *text);
static misuse_handler *_Atomic handler_now;
static void *_Atomic handler_arg;

void baton_misuse_set(misuse_handler *handler, void *arg) {
    atomic_store(&handler_now, NULL);
    atomic_store(&handler_arg, arg);
    atomic_store(&handler_now, handler);
}

baton_status bt_misuse(baton_error *err, baton_status status, const char *format, ...) {
    baton_error local;
    va_list args;
    err = err ? err : &local;
    err->status = status;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    bt_utf8_mend(err->text);
    misuse_handler *handler = atomic_load(&handler_now);
    if (handler && baton_status_family_of(status) == BATON_FAMILY_BUG)
        handler(atomic_load(&handler_arg), status, err->text);
    return status;
}

baton_status bt_missing(baton_error *err, const char *function, const char *what) {
    return bt_misuse(err, BATON_MISUSE, "%s needs %s: NULL was given, which is what a close leaves behind", function,
                     what);
}

bool bt_misuse_handled(void) {
    return atomic_load_explicit(&handler_now, memory_order_relaxed) != NULL;
}

baton_status bt_tell(baton_status status, const baton_error *err) {
    misuse_handler *handler = atomic_load(&handler_now);
    if (handler && baton_status_family_of(status) == BATON_FAMILY_BUG)
        handler(atomic_load(&handler_arg), status, err ? err->text : baton_status_text(status));
    return status;
}

void baton_log_set(baton_log_level level, void (*handler)(void *arg, baton_log_level level, const char *line),
                   void *arg) {
    bt_log_set_handler(handler, arg);
    bt_log_set_level(level);
}

baton_status bt_check_policy(const baton_policy *p, bool embeds, baton_error *err) {
    if (p->contexts < 1 || p->contexts > BT_CONTEXTS_MAX)
        return bt_fail(err, BATON_INVALID, "contexts is %d: 1 to %d are possible", p->contexts, BT_CONTEXTS_MAX);
    if (p->sequences < 1 || p->sequences > BT_SEQUENCES_MAX)
        return bt_fail(err, BATON_INVALID, "sequences is %d: 1 to %d are possible", p->sequences, BT_SEQUENCES_MAX);
    if (p->contexts * p->sequences > BT_GATE_SLOTS_MAX)
        return bt_fail(err, BATON_INVALID, "%d contexts x %d sequences: at most %d slots are possible", p->contexts,
                       p->sequences, BT_GATE_SLOTS_MAX);
    if (p->when_full != BATON_REFUSE && p->when_full != BATON_WAIT)
        return bt_fail(err, BATON_INVALID, "when_full is %d: BATON_REFUSE or BATON_WAIT", (int)p->when_full);
    if (p->queue < 0)
        return bt_fail(err, BATON_INVALID, "queue is %d: it is bounded, and 0 at least", p->queue);
    if (p->owner != BATON_OWNER_CALLER && p->owner != BATON_OWNER_THREAD && p->owner != BATON_OWNER_PROCESS)
        return bt_fail(err, BATON_INVALID, "owner is %d, which is none", (int)p->owner);
    if (p->owner == BATON_OWNER_CALLER && p->sequences > 1 && !embeds)
        return bt_fail(err, BATON_INVALID,
                       "%d sequences need a thread that batches them: set owner to "
                       "BATON_OWNER_THREAD or _PROCESS, or sequences to 1 and contexts to more",
                       p->sequences);
    return BATON_OK;
}

baton_status bt_take_request(const baton_request *theirs, const baton_policy *policy, baton_request *mine,
                             baton_error *err) {
    *mine = (baton_request)BATON_REQUEST;
    if (!BT_TAKE(*mine, theirs))
        return bt_misuse(err, BATON_MISUSE, "a baton_request without its size: make it with BATON_REQUEST");
    if (BT_UNLIKELY(mine->id & BT_ID_FRESH))
        return bt_misuse(err, BATON_MISUSE, "request id %llu: a program's ids are below 2^63, the others are baton's",
                         (unsigned long long)mine->id);
    if (mine->when_full == BATON_AS_POLICY)
        mine->when_full = (int)policy->when_full;
    if (mine->queue_ms == BATON_MS_AS_POLICY)
        mine->queue_ms = policy->queue_ms;
    if (mine->run_ms == BATON_MS_AS_POLICY)
        mine->run_ms = policy->run_ms;
    if (mine->idle_ms == BATON_MS_AS_POLICY)
        mine->idle_ms = policy->idle_ms;
    if (mine->when_full != BATON_REFUSE && mine->when_full != BATON_WAIT)
        return bt_misuse(err, BATON_MISUSE, "when_full of a request is %d: BATON_REFUSE, BATON_WAIT or BATON_AS_POLICY",
                         mine->when_full);
    if (mine->priority < 0 || mine->priority >= BT_PRIORITIES)
        return bt_misuse(err, BATON_MISUSE, "priority of a request is %d: 0 to %d", mine->priority, BT_PRIORITIES - 1);
    return BATON_OK;
}
