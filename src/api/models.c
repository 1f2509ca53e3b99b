/* Models by name: what is loaded, who uses it, and how one is loaded, swapped and freed beside the uses.
 *
 * One lock and one condition for a registry, never held while a model is opened, closed or asked. Invariant: a
 * bt_loaded is freed by exactly one thread, the one that found it retired and without uses when it took the last use
 * away or retired it; a use begins only under the lock on one that is not retired. So nothing runs on freed weights.
 * Only the thread whose id is in entry->changer replaces entry->now or entry->recipe. */
#include "api/models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A use that is out. */
struct held {
    struct bt_list link;
    baton_models *registry;
    struct bt_loaded *loaded;
    unsigned tid; /* of the thread that took it */
};

static unsigned self(void) {
    return (unsigned)syscall(SYS_gettid);
}

static void recipe_free(struct bt_recipe *r) {
    if (!r)
        return;
    free(r->path);
    free(r->chat_template);
    free(r->mmproj);
    for (size_t i = 0; r->loras && i < r->params.n_loras; i++)
        free((char *)r->loras[i].path);
    free(r->loras);
    free(r);
}

/* Adapters, whose paths belong to the program. */
static baton_status copy_loras(struct bt_recipe *r, baton_error *err) {
    const baton_llama_lora *theirs = r->params.loras;
    size_t n = theirs ? r->params.n_loras : 0;
    bool failed = false;
    r->params.loras = NULL;
    r->params.n_loras = n;
    if (n == 0)
        return BATON_OK;
    r->loras = calloc(n, sizeof *r->loras);
    for (size_t i = 0; r->loras && i < n; i++) {
        char *path = theirs[i].path ? strdup(theirs[i].path) : NULL;
        r->loras[i] = (baton_llama_lora){path, theirs[i].scale};
        failed |= theirs[i].path && !path;
    }
    r->params.loras = r->loras;
    return r->loras && !failed ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for %zu adapters", n);
}

/* A text of the program's; NULL stays NULL. */
static baton_status copy_text(const char *theirs, char **mine, baton_error *err) {
    *mine = theirs ? strdup(theirs) : NULL;
    return *mine || !theirs ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for a model's parameters");
}

static baton_status recipe_new(const char *path, const baton_llama_params *params, struct bt_recipe **out,
                               baton_error *err) {
    struct bt_recipe *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model's parameters");
    r->params = (baton_llama_params)BATON_LLAMA_PARAMS;
    r->policy = (baton_policy)BATON_POLICY;
    baton_status status = BATON_OK;
    if (!BT_TAKE(r->params, params) || !BT_TAKE(r->policy, r->params.policy))
        status = bt_misuse(err, BATON_MISUSE,
                           "parameters without their size: make them with BATON_LLAMA_PARAMS and BATON_POLICY");
    else
        status = bt_check_policy(&r->policy, r->params.pooling != BATON_POOLING_OFF, err);
    if (!status)
        status = copy_loras(r, err);
    if (!status)
        status = copy_text(path, &r->path, err);
    if (!status)
        status = copy_text(r->params.chat_template, &r->chat_template, err);
    if (!status)
        status = copy_text(r->params.mmproj, &r->mmproj, err);
    if (status) {
        recipe_free(r);
        return status;
    }
    r->params.policy = &r->policy;
    r->params.chat_template = r->chat_template;
    r->params.mmproj = r->mmproj;
    *out = r;
    return BATON_OK;
}

static void entry_unref(struct bt_entry *e) {
    if (--e->refs > 0)
        return;
    recipe_free(e->recipe);
    free(e);
}

baton_status baton_models_open(baton_models **models, baton_error *err) {
    if (!models)
        return bt_misuse(err, BATON_MISUSE, "baton_models_open needs a place for the registry");
    baton_models *r = calloc(1, sizeof *r);
    pthread_condattr_t monotonic;
    *models = r;
    if (!r)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a registry");
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    bt_list_init(&r->entries);
    bt_list_init(&r->roles);
    bt_list_init(&r->held);
    r->refs = 1;
    return BATON_OK;
}

/* Lets go of the lock and of a reference; the last one frees the registry, which has no loaded models then. */
static void leave(baton_models *r) {
    bool last = --r->refs == 0;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    while (!bt_list_empty(&r->entries)) {
        struct bt_entry *e = BT_CONTAINER(r->entries.next, struct bt_entry, link);
        bt_list_remove(&e->link);
        entry_unref(e);
    }
    while (!bt_list_empty(&r->roles)) {
        struct bt_role *role = BT_CONTAINER(r->roles.next, struct bt_role, link);
        bt_list_remove(&role->link);
        free(role);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static baton_status enter(baton_models *r, baton_error *err) {
    pthread_mutex_lock(&r->lock);
    if (r->closing) {
        pthread_mutex_unlock(&r->lock);
        return bt_fail(err, BATON_CLOSED, "the registry of models is being closed");
    }
    r->refs++;
    return BATON_OK;
}

/* Under the lock. False: the time is up. */
static bool wait_until(baton_models *r, int64_t deadline_ns) {
    if (deadline_ns == BT_NEVER_NS)
        return pthread_cond_wait(&r->changed, &r->lock) == 0;
    struct timespec t = {deadline_ns / BT_NS_PER_S, deadline_ns % BT_NS_PER_S};
    return pthread_cond_timedwait(&r->changed, &r->lock, &t) != ETIMEDOUT;
}

/* Under the lock, which is let go of while the model is closed: frees what is retired and unused. */
static void free_if_over(baton_models *r, struct bt_loaded *l) {
    if (!l->retired || l->uses > 0)
        return;
    struct bt_entry *e = l->entry;
    pthread_mutex_unlock(&r->lock);
    baton_llama_close(&l->llama);
    free(l);
    pthread_mutex_lock(&r->lock);
    e->draining--;
    entry_unref(e);
    pthread_cond_broadcast(&r->changed);
}

static void retire(baton_models *r, struct bt_entry *e) {
    struct bt_loaded *l = e->now;
    if (!l)
        return;
    e->now = NULL;
    e->draining++;
    e->draining_uses += l->uses;
    l->retired = true;
    free_if_over(r, l);
}

struct load_under_way {
    struct bt_entry *entry;
    const struct bt_recipe *recipe;
};

static bool on_progress(void *arg, float done) {
    const struct load_under_way *f = arg;
    const baton_llama_params *p = &f->recipe->params;
    atomic_store_explicit(&f->entry->progress, (int)(done * 1000), memory_order_relaxed);
    return !p->progress || p->progress(p->progress_arg, done);
}

/* Under the lock, which is let go of meanwhile; this thread is the entry's changer. *out has no uses and is nobody's
 * yet. */
static baton_status load(baton_models *r, struct bt_entry *e, const struct bt_recipe *recipe, struct bt_loaded **out,
                         baton_error *err) {
    baton_error local;
    baton_llama_info info = {.size = sizeof info};
    struct load_under_way under_way = {e, recipe};
    baton_llama_params params = recipe->params;
    struct bt_loaded *l = calloc(1, sizeof *l);
    err = err ? err : &local;
    params.progress = on_progress;
    params.progress_arg = &under_way;
    atomic_store_explicit(&e->progress, 0, memory_order_relaxed);
    e->attempt = ++r->attempts;
    pthread_mutex_unlock(&r->lock);
    baton_status status = l ? baton_llama_open(&l->llama, recipe->path, &params, err)
                            : bt_fail(err, BATON_NO_MEMORY, "no memory for model '%s'", e->name);
    if (!status)
        baton_llama_get_info(l->llama, &info);
    pthread_mutex_lock(&r->lock);
    atomic_store_explicit(&e->progress, status ? 0 : 1000, memory_order_relaxed);
    e->last = status;
    if (status) {
        free(l);
        if (recipe == e->recipe) { /* of a swap nobody waits for */
            e->failed_attempt = e->attempt;
            e->failed = *err;
            e->failed.status = status;
        }
        return status;
    }
    e->loads++;
    e->refs++;
    l->entry = e;
    l->weight_bytes = info.weight_bytes;
    l->context_bytes = info.context_bytes;
    *out = l;
    return BATON_OK;
}

static void change_begins(struct bt_entry *e) {
    e->changer = self();
    e->refs++;
}

/* The entry may be gone afterwards. */
static void change_ends(baton_models *r, struct bt_entry *e) {
    e->changer = 0;
    entry_unref(e);
    pthread_cond_broadcast(&r->changed);
}

static baton_status in_the_way(const struct bt_entry *e, baton_status status, baton_error *err) {
    if (e->changer)
        return bt_fail(err, status, "model '%s' is being loaded or unloaded (%d %%)%s", e->name,
                       atomic_load_explicit(&e->progress, memory_order_relaxed) / 10,
                       status == BATON_BUSY ? ": wait for it (wait_ms), or ask another model" : ", for too long");
    return bt_fail(err, status, "model '%s' is being unloaded, and %d uses of it are not put yet%s", e->name,
                   e->draining_uses, status == BATON_BUSY ? ": wait for them (wait_ms), or ask another model" : "");
}

/* Under the lock. BATON_OK: *out has a use more. */
static baton_status use_model(baton_models *r, const char *name, int64_t wait_ms, int64_t deadline_ns,
                              struct bt_loaded **out, baton_error *err) {
    uint64_t waited_for = 0;
    for (bool in_time = true;;) {
        struct bt_entry *e = bt_models_find(r, name);
        if (r->closing)
            return bt_fail(err, BATON_CLOSED, "the registry of models is being closed");
        if (!e)
            return bt_models_unknown(r, name, err);
        if (waited_for && e->failed_attempt == waited_for)
            return bt_fail(err, e->failed.status, "%s", e->failed.text);
        if (e->now) {
            *out = e->now;
            e->now->uses++;
            return BATON_OK;
        }
        if (e->changer == self())
            return bt_misuse(err, BATON_REENTRANT,
                             "model '%s' is being loaded by this very thread: its progress "
                             "function cannot use it",
                             name);
        if (!e->changer && e->draining == 0) {
            change_begins(e);
            baton_status status = load(r, e, e->recipe, &e->now, err);
            if (!status) {
                *out = e->now;
                e->now->uses++;
            }
            change_ends(r, e);
            return status;
        }
        if (wait_ms == 0 || !in_time)
            return in_the_way(e, wait_ms == 0 ? BATON_BUSY : BATON_QUEUE_TIMEOUT, err);
        waited_for = e->changer ? e->attempt : 0;
        e->waiting++;
        e->refs++;
        in_time = wait_until(r, deadline_ns);
        e->waiting--;
        entry_unref(e);
    }
}

/* What another model of the same role may make good. */
static bool try_the_next(baton_status status) {
    return status == BATON_NOT_FOUND || status == BATON_BAD_MODEL || status == BATON_NO_MEMORY || status == BATON_IO ||
           status == BATON_UNSUPPORTED || status == BATON_INVALID || status == BATON_FAILED;
}

static baton_status use_first(baton_models *r, const char *name, int64_t wait_ms, struct held *h, baton_model_use *use,
                              baton_error *err) {
    char(*names)[BATON_MODEL_NAME_MAX];
    int64_t deadline_ns = bt_deadline(bt_now_ns(), wait_ms);
    int n = bt_models_resolve(r, name, &names);
    if (n < 0)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the models of '%s'", name);
    baton_status status = n == 0 ? bt_models_unknown(r, name, err) : BATON_NOT_FOUND;
    for (int i = 0; i < n && (i == 0 || try_the_next(status)); i++)
        status = use_model(r, names[i], wait_ms, deadline_ns, &h->loaded, err);
    free(names);
    if (status)
        return status;
    h->registry = r;
    h->tid = self();
    r->refs++;
    bt_list_append(&r->held, &h->link);
    use->llama = h->loaded->llama;
    use->held = h;
    snprintf(use->name, sizeof use->name, "%s", h->loaded->entry->name);
    return BATON_OK;
}

baton_status baton_models_use(baton_models *models, const char *name, int64_t wait_ms, baton_model_use *use,
                              baton_error *err) {
    if (use)
        memset(use, 0, sizeof *use); /* before anything can fail: it is put in any case */
    if (!models || !name || !use)
        return bt_misuse(err, BATON_MISUSE, "baton_models_use needs a registry, a name and a place for the use");
    struct held *h = calloc(1, sizeof *h);
    if (!h)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a use of '%s'", name);
    bt_list_init(&h->link);
    baton_status status = enter(models, err);
    if (!status) {
        status = use_first(models, name, wait_ms, h, use, err);
        leave(models);
    }
    if (status)
        free(h);
    return status;
}

void baton_models_put(baton_model_use *use) {
    if (!use || !use->held)
        return;
    struct held *h = use->held;
    baton_models *r = h->registry;
    struct bt_loaded *l = h->loaded;
    memset(use, 0, sizeof *use);
    pthread_mutex_lock(&r->lock);
    bt_list_remove(&h->link);
    l->uses--;
    l->entry->draining_uses -= l->retired;
    free_if_over(r, l);
    leave(r);
    free(h);
}

baton_status baton_models_load(baton_models *models, const char *name, int64_t wait_ms, baton_error *err) {
    baton_model_use use;
    baton_status status = baton_models_use(models, name, wait_ms, &use, err);
    baton_models_put(&use);
    return status;
}

baton_status baton_models_add(baton_models *models, const char *name, const char *path,
                              const baton_llama_params *params, bool now, baton_error *err) {
    if (!models || !name)
        return bt_misuse(err, BATON_MISUSE, "baton_models_add needs a registry and a name");
    struct bt_entry *e = calloc(1, sizeof *e);
    if (!e)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for model '%s'", name);
    baton_status status = recipe_new(path, params, &e->recipe, err);
    e->refs = 1;
    if (!status)
        status = enter(models, err);
    if (status) {
        entry_unref(e);
        return status;
    }
    status = bt_models_check_name(models, name, err);
    if (!status && bt_models_find(models, name))
        status = bt_fail(err, BATON_INVALID,
                         "there is a model '%s' already: baton_models_swap puts another in its place", name);
    if (status) {
        entry_unref(e);
        leave(models);
        return status;
    }
    snprintf(e->name, sizeof e->name, "%s", name);
    bt_list_append(&models->entries, &e->link);
    if (now) {
        change_begins(e);
        status = load(models, e, e->recipe, &e->now, err);
        change_ends(models, e); /* the list's reference is left */
        if (status) {
            bt_list_remove(&e->link);
            entry_unref(e);
        }
    }
    leave(models);
    return status;
}

/* Under the lock: may this thread change the entry now, and then wait that long for its uses? */
static baton_status may_change(baton_models *r, struct bt_entry *e, const char *name, int64_t wait_ms,
                               baton_error *err) {
    if (!e)
        return bt_models_unknown(r, name, err);
    if (e->changer)
        return e->changer == self()
                   ? bt_misuse(err, BATON_REENTRANT, "model '%s' is being loaded by this very thread", name)
                   : in_the_way(e, BATON_BUSY, err);
    for (struct bt_list *l = r->held.next; wait_ms < 0 && l != &r->held; l = l->next) {
        const struct held *h = BT_CONTAINER(l, struct held, link);
        if (h->tid == self() && h->loaded->entry == e)
            return bt_misuse(err, BATON_WOULD_DEADLOCK,
                             "this thread holds a use of model '%s': put it first, or give a limit (wait_ms)", name);
    }
    return BATON_OK;
}

static baton_status wait_for_drain(baton_models *r, struct bt_entry *e, int64_t wait_ms, baton_error *err) {
    int64_t deadline_ns = bt_deadline(bt_now_ns(), wait_ms);
    while (e->draining > 0)
        if (wait_ms == 0 || !wait_until(r, deadline_ns))
            break;
    return e->draining == 0 ? BATON_OK
                            : bt_fail(err, BATON_AGAIN, "%d uses of model '%s' are not put yet: the last put frees it",
                                      e->draining_uses, e->name);
}

static baton_status unload(baton_models *models, const char *name, int64_t wait_ms, bool removed, baton_error *err) {
    if (!models || !name)
        return bt_misuse(err, BATON_MISUSE, "unloading needs a registry and a name");
    baton_status status = enter(models, err);
    if (status)
        return status;
    struct bt_entry *e = bt_models_find(models, name);
    status = may_change(models, e, name, wait_ms, err);
    if (!status) {
        e->refs++;
        if (removed) {
            bt_list_remove(&e->link);
            entry_unref(e);
        }
        pthread_cond_broadcast(&models->changed);
        retire(models, e);
        status = wait_for_drain(models, e, wait_ms, err);
        entry_unref(e);
    }
    leave(models);
    return status;
}

baton_status baton_models_unload(baton_models *models, const char *name, int64_t wait_ms, baton_error *err) {
    return unload(models, name, wait_ms, false, err);
}

baton_status baton_models_remove(baton_models *models, const char *name, int64_t wait_ms, baton_error *err) {
    return unload(models, name, wait_ms, true, err);
}

baton_status baton_models_swap(baton_models *models, const char *name, const char *path,
                               const baton_llama_params *params, int64_t wait_ms, baton_error *err) {
    struct bt_recipe *recipe;
    struct bt_loaded *fresh;
    if (!models || !name)
        return bt_misuse(err, BATON_MISUSE, "baton_models_swap needs a registry and a name");
    baton_status status = recipe_new(path, params, &recipe, err);
    if (status)
        return status;
    status = enter(models, err);
    if (status) {
        recipe_free(recipe);
        return status;
    }
    struct bt_entry *e = bt_models_find(models, name);
    status = may_change(models, e, name, wait_ms, err);
    if (!status) {
        change_begins(e);
        e->refs++;
        status = load(models, e, recipe, &fresh, err);
        if (!status) {
            struct bt_recipe *old = e->recipe;
            struct bt_loaded *before = e->now;
            e->recipe = recipe;
            recipe = old;
            e->now = fresh;
            if (before) {
                e->draining++;
                e->draining_uses += before->uses;
                before->retired = true;
                free_if_over(models, before);
            }
        }
        change_ends(models, e);
        if (!status)
            status = wait_for_drain(models, e, wait_ms, err);
        entry_unref(e);
    }
    leave(models);
    recipe_free(recipe);
    return status;
}

/* Uses that other threads hold, and their calls; this thread's own cannot end before it goes on. */
static bool others_are_in(const baton_models *r) {
    int mine = 0;
    for (const struct bt_list *l = r->held.next; l != &r->held; l = l->next)
        mine += BT_CONTAINER(l, const struct held, link)->tid == self();
    return r->refs > 1 + mine;
}

void baton_models_close(baton_models **models) {
    if (!models || !*models)
        return;
    baton_models *r = *models;
    *models = NULL;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->changed);
    while (others_are_in(r))
        pthread_cond_wait(&r->changed, &r->lock);
    for (struct bt_list *l = r->entries.next; l != &r->entries; l = l->next)
        retire(r, BT_CONTAINER(l, struct bt_entry, link));
    leave(r);
}
