/* Names of a registry: models, roles and where they lead, and what is told of them. All of it under the registry's
 * lock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/models.h"

struct bt_entry *bt_models_find(baton_models *r, const char *name) {
    for (struct bt_list *l = r->entries.next; l != &r->entries; l = l->next) {
        struct bt_entry *e = BT_CONTAINER(l, struct bt_entry, link);
        if (strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

struct bt_role *bt_models_find_role(baton_models *r, const char *name) {
    for (struct bt_list *l = r->roles.next; l != &r->roles; l = l->next) {
        struct bt_role *role = BT_CONTAINER(l, struct bt_role, link);
        if (strcmp(role->name, name) == 0)
            return role;
    }
    return NULL;
}

baton_status bt_models_unknown(baton_models *r, const char *name, baton_error *err) {
    struct bt_buf known = BT_BUF_INIT;
    const char *before = "the models ";
    for (struct bt_list *l = r->entries.next; l != &r->entries; l = l->next, before = ", ")
        bt_buf_addf(&known, "%s%s", before, BT_CONTAINER(l, struct bt_entry, link)->name);
    before = bt_list_empty(&r->entries) ? "the roles " : " and the roles ";
    for (struct bt_list *l = r->roles.next; l != &r->roles; l = l->next, before = ", ")
        bt_buf_addf(&known, "%s%s", before, BT_CONTAINER(l, struct bt_role, link)->name);
    bt_buf_add(&known, "", 1);
    baton_status status = bt_fail(err, BATON_NOT_FOUND, "no model is called '%s': there are %s", name,
                                  known.failed     ? "others"
                                  : known.len == 1 ? "none (baton_models_add)"
                                                   : (const char *)known.data);
    bt_buf_free(&known);
    return status;
}

baton_status bt_models_check_name(baton_models *r, const char *name, baton_error *err) {
    size_t len = strlen(name);
    if (len == 0 || len >= BATON_MODEL_NAME_MAX || !bt_utf8_valid(name, len))
        return bt_fail(err, BATON_INVALID, "a name of %zu bytes: 1 to %d of UTF-8 are possible", len,
                       BATON_MODEL_NAME_MAX - 1);
    if (bt_models_find_role(r, name))
        return bt_fail(err, BATON_INVALID, "'%s' is the name of a role", name);
    return BATON_OK;
}

/* The way from `from` to `to` through roles, as text; an empty one: there is none. Roles have no cycles yet, so this
 * ends. */
static bool leads_to(baton_models *r, const char *from, const char *to, struct bt_buf *way) {
    size_t len = way->len;
    bt_buf_addf(way, " -> %s", from);
    if (strcmp(from, to) == 0)
        return true;
    struct bt_role *role = bt_models_find_role(r, from);
    if (role && role->walked == r->walks)
        role = NULL;
    if (role)
        role->walked = r->walks;
    for (int i = 0; role && i < role->n; i++)
        if (leads_to(r, role->targets[i], to, way))
            return true;
    way->len = len;
    return false;
}

static baton_status check_targets(baton_models *r, const char *role, const char *const *targets, size_t n,
                                  baton_error *err) {
    if (n < 1 || n > BATON_ROLE_TARGETS_MAX)
        return bt_fail(err, BATON_INVALID, "role '%s' with %zu targets: 1 to %d are possible", role, n,
                       BATON_ROLE_TARGETS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct bt_buf way = BT_BUF_INIT;
        if (strcmp(targets[i], role) != 0 && !bt_models_find(r, targets[i]) && !bt_models_find_role(r, targets[i]))
            return bt_models_unknown(r, targets[i], err);
        r->walks++;
        bool cycle = leads_to(r, targets[i], role, &way);
        bt_buf_add(&way, "", 1);
        if (cycle)
            bt_fail(err, BATON_INVALID, "role '%s' would lead to itself: %s%s", role, role,
                    way.failed ? "" : (const char *)way.data);
        bt_buf_free(&way);
        if (cycle)
            return BATON_INVALID;
    }
    return BATON_OK;
}

static baton_status set_role(baton_models *r, const char *name, const char *const *targets, size_t n,
                             baton_error *err) {
    struct bt_role *role = bt_models_find_role(r, name);
    baton_status status = role ? BATON_OK : bt_models_check_name(r, name, err);
    if (!status && bt_models_find(r, name))
        status = bt_fail(err, BATON_INVALID, "'%s' is the name of a model", name);
    if (!status)
        status = check_targets(r, name, targets, n, err);
    if (status)
        return status;
    if (!role) {
        role = calloc(1, sizeof *role);
        if (!role)
            return bt_fail(err, BATON_NO_MEMORY, "no memory for role '%s'", name);
        snprintf(role->name, sizeof role->name, "%s", name);
        bt_list_append(&r->roles, &role->link);
    }
    role->n = (int)n;
    for (size_t i = 0; i < n; i++)
        snprintf(role->targets[i], sizeof role->targets[i], "%s", targets[i]);
    return BATON_OK;
}

baton_status baton_models_role(baton_models *models, const char *role, const char *const *targets, size_t n,
                               baton_error *err) {
    if (!models || !role || !targets)
        return bt_misuse(err, BATON_MISUSE, "baton_models_role needs a registry, a name and targets");
    pthread_mutex_lock(&models->lock);
    baton_status status = set_role(models, role, targets, n, err);
    pthread_mutex_unlock(&models->lock);
    return status;
}

struct way {
    char (*names)[BATON_MODEL_NAME_MAX];
    int n, max;
};

/* Depth first: a role's targets in its place. */
static void walk(baton_models *r, const char *name, struct way *w) {
    struct bt_role *role = bt_models_find_role(r, name);
    bool walked = role && role->walked == r->walks;
    if (role)
        role->walked = r->walks;
    for (int i = 0; role && !walked && i < role->n; i++)
        walk(r, role->targets[i], w);
    if (role || !bt_models_find(r, name))
        return;
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->names[i], name) == 0)
            return;
    if (w->n < w->max)
        snprintf(w->names[w->n++], BATON_MODEL_NAME_MAX, "%s", name);
}

int bt_models_resolve(baton_models *r, const char *name, char (**names)[BATON_MODEL_NAME_MAX]) {
    struct way w = {NULL, 0, 1};
    for (struct bt_list *l = r->entries.next; l != &r->entries; l = l->next)
        w.max++;
    w.names = calloc((size_t)w.max, sizeof *w.names);
    if (!w.names)
        return -1;
    r->walks++;
    walk(r, name, &w);
    *names = w.names;
    return w.n;
}

static baton_model_state state_of(const struct bt_entry *e) {
    return e->now        ? BATON_MODEL_READY
           : e->changer  ? BATON_MODEL_LOADING
           : e->draining ? BATON_MODEL_UNLOADING
                         : BATON_MODEL_ABSENT;
}

baton_status baton_models_info(baton_models *models, const char *name, baton_model_info *info, baton_error *err) {
    baton_model_info mine;
    if (!models || !name || !info || info->size < sizeof info->size || info->size > 1 << 16)
        return bt_misuse(err, BATON_MISUSE, "baton_models_info needs a name and an info whose size is set");
    pthread_mutex_lock(&models->lock);
    const struct bt_entry *e = bt_models_find(models, name);
    baton_status status = e ? BATON_OK : bt_models_unknown(models, name, err);
    if (e) {
        mine = (baton_model_info){.size = info->size,
                                  .state = state_of(e),
                                  .progress = (float)atomic_load(&e->progress) / 1000,
                                  .uses = e->now ? e->now->uses : 0,
                                  .draining = e->draining_uses,
                                  .waiting = e->waiting,
                                  .loads = e->loads,
                                  .failed = e->last,
                                  .weight_bytes = e->now ? e->now->weight_bytes : 0,
                                  .context_bytes = e->now ? e->now->context_bytes : 0};
        snprintf(mine.path, sizeof mine.path, "%s", e->recipe->path ? e->recipe->path : "");
    }
    pthread_mutex_unlock(&models->lock);
    if (!status)
        memcpy(info, &mine, BT_MIN(mine.size, sizeof mine));
    return status;
}

static const char *name_of(struct bt_list *l, bool role) {
    return role ? BT_CONTAINER(l, struct bt_role, link)->name : BT_CONTAINER(l, struct bt_entry, link)->name;
}

baton_status baton_models_names(baton_models *models, bool roles, const char *const **names, size_t *n,
                                baton_error *err) {
    if (!models || !names || !n)
        return bt_misuse(err, BATON_MISUSE, "baton_models_names needs a registry and places for the names");
    pthread_mutex_lock(&models->lock);
    struct bt_list *head = roles ? &models->roles : &models->entries;
    size_t count = 0;
    for (struct bt_list *l = head->next; l != head; l = l->next)
        count++;
    char **block = malloc(count * (sizeof(char *) + BATON_MODEL_NAME_MAX) + 1);
    char *text = block ? (char *)(block + count) : NULL;
    size_t i = 0;
    for (struct bt_list *l = head->next; block && l != head; l = l->next, text += BATON_MODEL_NAME_MAX) {
        snprintf(text, BATON_MODEL_NAME_MAX, "%s", name_of(l, roles));
        block[i++] = text;
    }
    pthread_mutex_unlock(&models->lock);
    *names = (const char *const *)block;
    *n = block ? count : 0;
    return block ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for %zu names", count);
}

/* As baton_request says, and without end where it leaves that to a policy. */
static baton_status wait_of(const baton_request *theirs, int64_t *wait_ms, baton_error *err) {
    baton_policy policy = BATON_POLICY;
    baton_request mine;
    policy.when_full = BATON_WAIT;
    baton_status status = bt_take_request(theirs, &policy, &mine, err);
    *wait_ms = mine.when_full == BATON_REFUSE ? 0 : mine.queue_ms;
    return status;
}

baton_status baton_models_generate(baton_models *models, const char *name, const baton_llama_ask *ask,
                                   baton_result *result, baton_error *err) {
    baton_llama_ask mine = BATON_LLAMA_ASK;
    baton_model_use use = {0};
    int64_t wait_ms = -1;
    baton_status status;
    if (!result)
        return bt_misuse(err, BATON_MISUSE, "baton_models_generate needs a place for the result");
    memset(result, 0, sizeof *result);
    if (!ask || !BT_TAKE(mine, ask))
        status = bt_misuse(err, BATON_MISUSE, "an ask without its size: make it with BATON_LLAMA_ASK");
    else
        status = wait_of(mine.request, &wait_ms, err);
    if (!status)
        status = baton_models_use(models, name, wait_ms, &use, err);
    if (!status) {
        status = baton_llama_generate(use.llama, ask, result, err);
        baton_models_put(&use);
        return status;
    }
    result->outcome.status = status;
    result->text = calloc(1, 1);
    return result->text ? status : bt_fail(err, BATON_NO_MEMORY, "no memory for an answer");
}

baton_status baton_models_estimate(baton_models *models, const char *name, uint64_t *weights, uint64_t *contexts,
                                   baton_error *err) {
    if (!models || !name || !weights || !contexts)
        return bt_misuse(err, BATON_MISUSE, "baton_models_estimate needs a name and places for both numbers");
    pthread_mutex_lock(&models->lock);
    const struct bt_entry *e = bt_models_find(models, name);
    baton_status status = e ? BATON_OK : bt_models_unknown(models, name, err);
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    char *path = NULL;
    if (e) {
        params = e->recipe->params;
        policy = e->recipe->policy;
        path = e->recipe->path ? strdup(e->recipe->path) : NULL;
        if (e->recipe->path && !path)
            status = bt_fail(err, BATON_NO_MEMORY, "no memory for a path");
    }
    pthread_mutex_unlock(&models->lock);
    params.policy = &policy;
    if (!status)
        status = bt_estimate(&params, path, weights, contexts, err);
    free(path);
    return status;
}
