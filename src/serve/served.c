/* Which model answers. State: the set. */
#include "serve/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bt_served_init(struct bt_served *m, struct bt_front *front, const char *name, const char *model_path) {
    const struct bt_frame_ready *r = &bt_front_info(front)->ready;
    const char *slash = model_path ? strrchr(model_path, '/') : NULL;
    size_t n = 0;
    m->front = front;
    m->openai.vocab_size = r->info.vocab_size;
    m->openai.vision = r->info.vision;
    snprintf(m->file_name, sizeof m->file_name, "%s", slash ? slash + 1 : model_path ? model_path : "");
    if (name) {
        m->names[0] = name;
        return;
    }
    if (r->info.name[0])
        m->names[n++] = r->info.name;
    if (m->file_name[0])
        m->names[n++] = m->file_name;
    m->names[n++] = "baton";
}

struct bt_served *bt_served_find(const struct bt_served_set *set, const char *name) {
    for (int i = 0; i < set->n; i++)
        for (size_t k = 0; k < BT_COUNT(set->models[i].names) && set->models[i].names[k]; k++)
            if (strcmp(set->models[i].names[k], name) == 0)
                return &set->models[i];
    return NULL;
}

const struct bt_served_role *bt_served_find_role(const struct bt_served_set *set, const char *name) {
    for (int i = 0; name && i < set->n_roles; i++)
        if (strcmp(set->roles[i].name, name) == 0)
            return &set->roles[i];
    return NULL;
}

struct walk {
    const struct bt_served_set *set;
    const struct bt_serve_role *roles;
    int n;
    bool entered[BT_SERVED_MAX];
    struct bt_served_role *to;
};

/* Depth first: a role's models in its place, each model once. A role is entered once, so a cycle ends. */
static void walk(struct walk *w, const char *name) {
    struct bt_served *m = bt_served_find(w->set, name);
    for (int i = 0; m && i < w->to->n; i++)
        if (w->to->models[i] == m)
            return;
    if (m) {
        w->to->models[w->to->n++] = m;
        return;
    }
    for (int i = 0; i < w->n; i++)
        if (!w->entered[i] && strcmp(w->roles[i].name, name) == 0) {
            w->entered[i] = true;
            for (int t = 0; t < w->roles[i].n; t++)
                walk(w, w->roles[i].targets[t]);
        }
}

baton_status bt_served_resolve(struct bt_served_set *set, const struct bt_serve_role *roles, int n, baton_error *err) {
    if (n > BT_SERVED_MAX)
        return bt_fail(err, BATON_INVALID, "%d roles: at most %d are possible", n, BT_SERVED_MAX);
    set->roles = calloc((size_t)n + 1, sizeof *set->roles);
    if (!set->roles)
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for %d roles", n);
    for (int i = 0; i < n; i++) {
        struct walk w = {.set = set, .roles = roles, .n = n, .to = &set->roles[set->n_roles]};
        w.to->name = roles[i].name;
        walk(&w, roles[i].name);
        if (w.to->n > 0)
            set->n_roles++;
        else
            bt_log(BATON_LOG_WARN, "role %s leads to no model that is served", roles[i].name);
    }
    return BATON_OK;
}

void bt_served_free(struct bt_served_set *set) {
    free(set->roles);
    set->roles = NULL;
    set->n_roles = 0;
}

bool bt_served_gone(const struct bt_served *m) {
    struct bt_front_counts n;
    bt_front_counts(m->front, &n);
    return n.dead_contexts == bt_front_info(m->front)->contexts;
}

static void say_what_there_is(const struct bt_served_set *set, const char *name, char *why, size_t size) {
    struct bt_buf b = BT_BUF_INIT;
    bt_buf_addf(&b, "there is no model \"%.63s\" here: ", name);
    if (set->n == 1 && set->n_roles == 0)
        bt_buf_addf(&b, "use \"%s\", or leave the field out", set->models[0].names[0]);
    for (int i = 0; i < set->n && set->n + set->n_roles > 1; i++)
        bt_buf_addf(&b, "%s%s", i ? ", " : "there are the models ", set->models[i].names[0]);
    for (int i = 0; i < set->n_roles; i++)
        bt_buf_addf(&b, "%s%s", i ? ", " : " and the roles ", set->roles[i].name);
    bt_buf_add(&b, "", 1);
    snprintf(why, size, "%s", b.failed ? "there is no model of this name here" : (const char *)b.data);
    bt_buf_free(&b);
}

const struct bt_openai_model *bt_served_choose(void *arg, const char *name, char *why, size_t size) {
    const struct bt_served_set *set = arg;
    const struct bt_served_role *role;
    const struct bt_served *m = name ? bt_served_find(set, name) : &set->models[0];
    if (!m && (role = bt_served_find_role(set, name)) != NULL)
        for (int i = 0; i < role->n; i++) {
            m = role->models[i];
            if (!bt_served_gone(m))
                break; /* else the last one says why it cannot */
        }
    if (!m)
        say_what_there_is(set, name, why, size);
    return m ? &m->openai : NULL;
}
