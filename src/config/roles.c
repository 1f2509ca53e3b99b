/* Roles. State: none. */
#include "config/roles.h"

#include <string.h>

void bt_roles_split(char *list, struct bt_config_role *r, int line, struct bt_ini_faults *faults) {
    for (char *at = list; at;) {
        char *comma = strchr(at, ','), *end;
        if (comma)
            *comma++ = '\0';
        at += strspn(at, " \t");
        end = at + strlen(at);
        while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
            *--end = '\0';
        if (!*at) {
            bt_ini_fault(faults, line, "models of [role %s]: expected names with commas between them", r->name);
            return;
        }
        if (r->n == BT_CONFIG_TARGETS_MAX) {
            bt_ini_fault(faults, line, "[role %s] has more than %d models", r->name, BT_CONFIG_TARGETS_MAX);
            return;
        }
        r->targets[r->n++] = at;
        at = comma;
    }
}

static int role_of(const struct bt_config *c, const char *name) {
    for (int i = 0; i < c->n_roles; i++)
        if (strcmp(c->roles[i].name, name) == 0)
            return i;
    return -1;
}

static bool is_model(const struct bt_config *c, const char *name) {
    for (int i = 0; i < c->n_models; i++)
        if (strcmp(c->models[i].name, name) == 0)
            return true;
    return false;
}

struct walk {
    const struct bt_config *config;
    int to;
    bool entered[BT_CONFIG_ROLES_MAX];
    struct bt_buf way;
};

/* Leaves the way in w->way when there is one. A role is entered once, so this ends whatever the file says. */
static bool leads(struct walk *w, int from) {
    const struct bt_config_role *r = &w->config->roles[from];
    size_t len = w->way.len;
    for (int i = 0; i < r->n; i++) {
        int next = role_of(w->config, r->targets[i]);
        if (next < 0)
            continue;
        bt_buf_addf(&w->way, " -> %s", r->targets[i]);
        if (next == w->to)
            return true;
        if (!w->entered[next]) {
            w->entered[next] = true;
            if (leads(w, next))
                return true;
        }
        w->way.len = len;
    }
    return false;
}

static void names(const struct bt_config *c, struct bt_buf *out) {
    for (int i = 0; i < c->n_models; i++)
        bt_buf_addf(out, "%s%s", i ? ", " : "the models ", c->models[i].name);
    for (int i = 0; i < c->n_roles; i++)
        bt_buf_addf(out, "%s%s", i ? ", " : " and the roles ", c->roles[i].name);
    bt_buf_add(out, "", 1);
}

void bt_roles_check(const struct bt_config *c, int i, int line, struct bt_ini_faults *faults) {
    const struct bt_config_role *r = &c->roles[i];
    struct walk w = {.config = c, .to = i};
    struct bt_buf there = BT_BUF_INIT;
    names(c, &there);
    if (is_model(c, r->name))
        bt_ini_fault(faults, line, "[role %s] has the name of a model", r->name);
    for (int t = 0; t < r->n; t++)
        if (!is_model(c, r->targets[t]) && role_of(c, r->targets[t]) < 0)
            bt_ini_fault(faults, line, "[role %s] names \"%.80s\", which is not there: there are %s", r->name,
                         r->targets[t], there.failed ? "others" : (const char *)there.data);
    if (leads(&w, i)) {
        bt_buf_add(&w.way, "", 1);
        bt_ini_fault(faults, line, "[role %s] would lead to itself: %s%s", r->name, r->name,
                     w.way.failed ? "" : (const char *)w.way.data);
    }
    bt_buf_free(&w.way);
    bt_buf_free(&there);
}
