/* Settings as a file again. State: none. */
#include "config/config.h"

#include <string.h>

static void section(struct bt_buf *out, const char *kind, const char *name) {
    bt_buf_addf(out, "%s[%s%s%s]\n", out->len ? "\n" : "", kind, name ? " " : "", name ? name : "");
}

static void values(struct bt_buf *out, enum bt_config_group which, const void *from) {
    struct bt_option_group g = bt_config_group(which, NULL);
    char key[64];
    for (size_t i = 0; i < g.n; i++) {
        bt_option_key(&g.options[i], key, sizeof key);
        if (!key[0])
            continue;
        size_t len = out->len;
        bt_buf_addf(out, "%s = ", key);
        bool there = bt_option_write(&g.options[i], from, out);
        if (!there && strcmp(key, "file") == 0) {
            bt_buf_adds(out, "builtin");
        } else if (!there) {
            out->len = len;
            bt_buf_addf(out, "; %s is not set", key);
        }
        bt_buf_adds(out, "\n");
    }
}

void bt_config_write(const struct bt_config *c, struct bt_buf *out) {
    section(out, "serve", NULL);
    values(out, BT_GROUP_ADDRESS, &c->serve);
    values(out, BT_GROUP_LIMITS, &c->serve);
    section(out, "work", NULL);
    values(out, BT_GROUP_WORK, &c->work);
    for (int i = 0; i < c->n_models; i++) {
        section(out, "model", c->models[i].name ? c->models[i].name : "default");
        values(out, BT_GROUP_MODEL, &c->models[i]);
        values(out, BT_GROUP_POLICY, &c->models[i]);
        values(out, BT_GROUP_OWNER, &c->models[i]);
        values(out, BT_GROUP_KIND, &c->models[i]);
        values(out, BT_GROUP_PARTS, &c->models[i]);
        values(out, BT_GROUP_POOLING, &c->models[i]);
    }
    for (int i = 0; i < c->n_roles; i++) {
        section(out, "role", c->roles[i].name);
        bt_buf_adds(out, "models = ");
        for (int t = 0; t < c->roles[i].n; t++)
            bt_buf_addf(out, "%s%s", t ? ", " : "", c->roles[i].targets[t]);
        bt_buf_adds(out, "\n");
    }
}
