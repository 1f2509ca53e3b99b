/* Devices that contexts share. Upstream promises that two contexts may compute at once on the CPU, on CUDA and on Metal
 * alone; of every other backend the contexts of a process take turns, native call by native call.
 *
 * Invariant: at most one thread is between enter and leave of a device, and the ones that wait come in the order of
 * their asking. A thread that is in may enter again: a callback, or code by hand, that uses another context of the same
 * device is no second thread. The lock guards these few words and is not held while the thread is in.
 *
 * State: the devices met so far, for the life of the process. A gated context owns the one that it stands before. */
#include "native/device.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baton/guard.h"

struct bt_device {
    struct bt_device *next;
    char name[64];
    pthread_mutex_t lock;
    pthread_cond_t turn;
    /* under lock */
    uint64_t asked, serving; /* numbers drawn; the one that is in, or may come */
    unsigned holder;         /* thread id; 0: nobody */
    int depth;               /* how often it has entered */
    int64_t since_ns;
};

static pthread_mutex_t devices_lock = PTHREAD_MUTEX_INITIALIZER;
static struct bt_device *devices; /* under devices_lock; its elements stay */

bool bt_backend_is_promised(const char *backend) {
    static const char *const promised[] = {"CPU", "CUDA", "Metal", "MTL"};
    for (size_t i = 0; i < BT_COUNT(promised); i++)
        if (strcmp(backend, promised[i]) == 0)
            return true;
    return false;
}

static struct bt_device *find_locked(const char *name) {
    struct bt_device *d = devices;
    while (d && strcmp(d->name, name) != 0)
        d = d->next;
    return d;
}

bool bt_device_named_is_mine(const char *name) {
    pthread_mutex_lock(&devices_lock);
    struct bt_device *d = find_locked(name);
    pthread_mutex_unlock(&devices_lock);
    return bt_device_is_mine(d);
}

struct bt_device *bt_device_of(const char *name) {
    pthread_mutex_lock(&devices_lock);
    struct bt_device *d = find_locked(name);
    bool is_new = !d && (d = calloc(1, sizeof *d));
    if (is_new) {
        snprintf(d->name, sizeof d->name, "%s", name);
        pthread_mutex_init(&d->lock, NULL);
        pthread_cond_init(&d->turn, NULL);
        d->next = devices;
        devices = d;
    }
    pthread_mutex_unlock(&devices_lock);
    if (is_new)
        bt_log(BATON_LOG_INFO,
               "device %s: nothing is promised of two contexts that compute on it at once, so all of this process take "
               "turns",
               name);
    return d;
}

void bt_device_enter(struct bt_device *d) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    if (d->holder == baton_guard_self()) {
        d->depth++;
    } else {
        for (uint64_t mine = d->asked++; d->serving != mine;)
            pthread_cond_wait(&d->turn, &d->lock);
        d->holder = baton_guard_self();
        d->depth = 1;
        d->since_ns = bt_now_coarse_ns();
    }
    pthread_mutex_unlock(&d->lock);
}

static void next_turn_locked(struct bt_device *d) {
    d->holder = 0;
    d->depth = 0;
    d->serving++;
    pthread_cond_broadcast(&d->turn);
}

void bt_device_leave(struct bt_device *d) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    if (d->holder == baton_guard_self() && --d->depth == 0)
        next_turn_locked(d);
    pthread_mutex_unlock(&d->lock);
}

bool bt_device_is_mine(struct bt_device *d) {
    return d && bt_device_use(d).tid == baton_guard_self();
}

struct bt_device_use bt_device_use(struct bt_device *d) {
    struct bt_device_use use = {.name = ""};
    if (!d)
        return use;
    pthread_mutex_lock(&d->lock);
    use = (struct bt_device_use){.name = d->name, .tid = d->holder, .waiting = (int)(d->asked - d->serving)};
    if (d->holder) {
        use.waiting--;
        use.for_ms = BT_MAX(bt_now_coarse_ns() - d->since_ns, 0) / BT_NS_PER_MS;
    }
    pthread_mutex_unlock(&d->lock);
    return use;
}

struct bt_device_use bt_device_named(const char *name) {
    pthread_mutex_lock(&devices_lock);
    struct bt_device *d = find_locked(name);
    pthread_mutex_unlock(&devices_lock);
    return bt_device_use(d);
}

void bt_device_thread_ends(unsigned tid) {
    pthread_mutex_lock(&devices_lock);
    struct bt_device *first = devices;
    pthread_mutex_unlock(&devices_lock);
    for (struct bt_device *d = first; d; d = d->next) {
        pthread_mutex_lock(&d->lock);
        bool held = d->holder == tid;
        if (held)
            next_turn_locked(d);
        pthread_mutex_unlock(&d->lock);
        if (held)
            bt_log(BATON_LOG_ERROR,
                   "device %s: thread %u ended inside a native call on it; the others go on. Return from the native "
                   "call before the thread ends",
                   d->name, tid);
    }
}

/* A context that takes its turn on its device before each call. */
struct gated {
    struct bt_context base;
    struct bt_context *inner;
};

static struct bt_context *enter(const struct bt_context *base) {
    const struct gated *g = BT_CONTAINER(base, const struct gated, base);
    bt_device_enter(base->device);
    return g->inner;
}
static void leave(const struct bt_context *base) {
    bt_device_leave(base->device);
}

static void gated_free(struct bt_context *base) {
    struct bt_context *inner = enter(base);
    inner->ops->free(inner);
    leave(base);
    free(BT_CONTAINER(base, struct gated, base));
}

/* The inner context's op between enter and leave, with what it returns. */
#define GATED(type, name, parameters, ...)                                                                             \
    static type gated_##name parameters {                                                                              \
        struct bt_context *inner = enter(base);                                                                        \
        type result = inner->ops->name(__VA_ARGS__);                                                                   \
        leave(base);                                                                                                   \
        return result;                                                                                                 \
    }
#define GATED_VOID(name, parameters, ...)                                                                              \
    static void gated_##name parameters {                                                                              \
        struct bt_context *inner = enter(base);                                                                        \
        inner->ops->name(__VA_ARGS__);                                                                                 \
        leave(base);                                                                                                   \
    }
GATED(int, capacity, (const struct bt_context *base), inner)
GATED(uint64_t, memory, (const struct bt_context *base), inner)
GATED(enum bt_decode, decode, (struct bt_context * base, const struct bt_row *rows, int n), inner, rows, n)
GATED(const float *, logits, (struct bt_context * base, int row), inner, row)
GATED(bt_token, sample, (struct bt_context * base, struct bt_sampler *s, int row, uint64_t index), inner, s, row, index)
GATED(bool, seq_rm, (struct bt_context * base, int seq, int32_t from, int32_t to), inner, seq, from, to)
GATED_VOID(seq_cp, (struct bt_context * base, int from, int to), inner, from, to)
GATED(int32_t, pos_max, (struct bt_context * base, int seq), inner, seq)
GATED(void *, native, (struct bt_context * base), inner)
GATED_VOID(set_abort, (struct bt_context * base, bool (*abort)(void *arg), void *arg), inner, abort, arg)
GATED(size_t, state_size, (struct bt_context * base, int seq), inner, seq)
GATED(size_t, state_get, (struct bt_context * base, int seq, unsigned char *to, size_t size), inner, seq, to, size)
GATED(baton_status, state_set,
      (struct bt_context * base, int seq, const unsigned char *from, size_t size, baton_error *err), inner, seq, from,
      size, err)
GATED(baton_status, set_adapters,
      (struct bt_context * base, struct bt_adapter *const *adapters, const float *scales, size_t n, baton_error *err),
      inner, adapters, scales, n, err)
GATED(int, embed_width, (const struct bt_context *base), inner)
GATED(baton_status, embed,
      (struct bt_context * base, const struct bt_input *inputs, size_t n, bool normalise, float *out, baton_error *err),
      inner, inputs, n, normalise, out, err)
GATED(enum bt_decode, image, (struct bt_context * base, const struct bt_chunks *chunks, size_t i, int seq, int32_t pos),
      inner, chunks, i, seq, pos)

static const struct bt_context_ops gated_ops = {
    .free = gated_free,
    .capacity = gated_capacity,
    .memory = gated_memory,
    .decode = gated_decode,
    .logits = gated_logits,
    .sample = gated_sample,
    .seq_rm = gated_seq_rm,
    .seq_cp = gated_seq_cp,
    .pos_max = gated_pos_max,
    .native = gated_native,
    .set_abort = gated_set_abort,
    .state_size = gated_state_size,
    .state_get = gated_state_get,
    .state_set = gated_state_set,
    .set_adapters = gated_set_adapters,
    .embed_width = gated_embed_width,
    .embed = gated_embed,
    .image = gated_image,
};

baton_status bt_device_gate(struct bt_device *d, struct bt_context **c, baton_error *err) {
    if (!d)
        return BATON_OK;
    struct gated *g = calloc(1, sizeof *g);
    if (!g)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a context");
    g->base.ops = &gated_ops;
    g->base.device = d;
    g->inner = *c;
    *c = &g->base;
    return BATON_OK;
}

struct bt_context *bt_device_inner(struct bt_context *c) {
    return c->ops == &gated_ops ? BT_CONTAINER(c, struct gated, base)->inner : c;
}
