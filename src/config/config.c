/* From sections to settings: what the keys mean, and every fault in them. State: the bt_config that is made. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/ini.h"
#include "config/roles.h"

struct bt_config_text {
    struct bt_config_text *next;
    char data[];
};

struct binding {
    struct bt_config *config;
    struct bt_ini ini;
    struct bt_ini_faults faults;
    const struct bt_ini_section *defaults;
    bool no_memory;
};

/* Which groups of options a section has. */
static const struct kind {
    const char *name;
    bool named;
    enum bt_config_group groups[6];
    int n;
} KINDS[] = {
    {"model",
     true,
     {BT_GROUP_MODEL, BT_GROUP_POLICY, BT_GROUP_OWNER, BT_GROUP_KIND, BT_GROUP_PARTS, BT_GROUP_POOLING},
     6},
    {"defaults",
     false,
     {BT_GROUP_MODEL, BT_GROUP_POLICY, BT_GROUP_OWNER, BT_GROUP_KIND, BT_GROUP_PARTS, BT_GROUP_POOLING},
     6},
    {"serve", false, {BT_GROUP_ADDRESS, BT_GROUP_LIMITS}, 2},
    {"work", false, {BT_GROUP_WORK}, 1},
    {"role", true, {0}, 0},
};

static const char *keep(struct binding *b, const char *text, size_t len) {
    struct bt_config_text *t = malloc(sizeof *t + len + 1);
    if (!t) {
        b->no_memory = true;
        return NULL;
    }
    memcpy(t->data, text, len);
    t->data[len] = '\0';
    t->next = b->config->texts;
    b->config->texts = t;
    return t->data;
}

static const char *keep_all(struct binding *b, const char *text) {
    return text ? keep(b, text, strlen(text)) : NULL;
}

static const struct kind *kind_of(const char *name) {
    for (size_t i = 0; i < BT_COUNT(KINDS); i++)
        if (strcmp(KINDS[i].name, name) == 0)
            return &KINDS[i];
    return NULL;
}

static const struct bt_option *option_of(const struct kind *k, const char *key) {
    char mine[BT_INI_KEY_MAX];
    for (int g = 0; g < k->n; g++) {
        struct bt_option_group group = bt_config_group(k->groups[g], NULL);
        for (size_t i = 0; i < group.n; i++) {
            bt_option_key(&group.options[i], mine, sizeof mine);
            if (mine[0] && strcmp(mine, key) == 0)
                return &group.options[i];
        }
    }
    return NULL;
}

static void unknown_key(struct binding *b, const struct bt_ini_section *s, const struct kind *k,
                        const struct bt_ini_entry *e) {
    struct bt_buf known = BT_BUF_INIT;
    char mine[BT_INI_KEY_MAX];
    for (int g = 0; g < k->n; g++) {
        struct bt_option_group group = bt_config_group(k->groups[g], NULL);
        for (size_t i = 0; i < group.n; i++) {
            bt_option_key(&group.options[i], mine, sizeof mine);
            if (mine[0])
                bt_buf_addf(&known, "%s%s", known.len ? ", " : "", mine);
        }
    }
    bt_buf_add(&known, "", 1);
    bt_ini_fault(&b->faults, e->line, "there is no key \"%.60s\" in [%s%s%.80s]: expected one of %s", e->key, s->kind,
                 s->name ? " " : "", s->name ? s->name : "", known.failed ? "others" : (const char *)known.data);
    bt_buf_free(&known);
}

/* The section's values into `into`. `quiet`: it has been through here, and its faults are told. */
static void take_values(struct binding *b, const struct bt_ini_section *s, void *into, bool quiet) {
    const struct kind *k = kind_of(s->kind);
    char what[100];
    for (int i = 0; i < s->n; i++) {
        const struct bt_ini_entry *e = &s->entries[i];
        const struct bt_option *o = option_of(k, e->key);
        baton_error err = {.text = ""};
        if (!o) {
            if (!quiet)
                unknown_key(b, s, k, e);
            continue;
        }
        const char *value = o->kind == BT_OPTION_TEXT ? keep_all(b, e->value) : e->value;
        snprintf(what, sizeof what, "%s", e->key);
        /* a flag without a value means yes on a command line alone */
        if (value && bt_option_set(o, into, what, value[0] ? value : " ", &err) != BATON_OK && !quiet)
            bt_ini_fault(&b->faults, e->line, "%s", err.text);
        if (o->kind == BT_OPTION_TEXT && value && !value[0]) {
            *(const char **)((char *)into + o->at) = NULL;
            if (!quiet)
                bt_ini_fault(&b->faults, e->line, "%s has no value: leave the line out where it is not wanted", e->key);
        }
    }
}

/* A file name as it is from here: those in the file are said from the file's own folder. */
static const char *resolve(struct binding *b, const char *name) {
    const char *slash = strrchr(b->faults.path, '/');
    struct bt_buf whole = BT_BUF_INIT;
    if (name[0] == '/' || !slash)
        return name;
    bt_buf_add(&whole, b->faults.path, (size_t)(slash + 1 - b->faults.path));
    bt_buf_add(&whole, name, strlen(name));
    const char *kept = whole.failed ? NULL : keep(b, (const char *)whole.data, whole.len);
    b->no_memory |= !kept;
    bt_buf_free(&whole);
    return kept ? kept : name;
}

static void check_file(struct binding *b, int line, const char *key, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        bt_ini_fault(&b->faults, line, "%s is \"%s\", which cannot be read: %s", key, path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        bt_ini_fault(&b->faults, line, "%s is \"%s\", which is a directory: expected a file", key, path);
}

static int line_of(const struct binding *b, const struct bt_ini_section *s, const char *key) {
    const struct bt_ini_entry *e = bt_ini_find(s, key);
    if (!e && b->defaults)
        e = bt_ini_find(b->defaults, key);
    return e ? e->line : s->line;
}

static void check_loras(struct binding *b, const struct bt_ini_section *s, struct bt_model_settings *m) {
    struct bt_buf list = BT_BUF_INIT;
    for (int i = 0; i < m->n_loras; i++) {
        const char *path = resolve(b, m->loras[i].path);
        check_file(b, line_of(b, s, "lora"), "lora", path);
        bt_buf_addf(&list, "%s%s:%g", i ? "," : "", path, (double)m->loras[i].scale);
    }
    if (list.failed)
        b->no_memory = true;
    else if (list.len)
        m->lora = keep(b, (const char *)list.data, list.len);
    bt_buf_free(&list);
}

static void check_parts(struct binding *b, const struct bt_ini_section *s, struct bt_model_settings *m) {
    struct bt_option_group g = bt_config_group(BT_GROUP_PARTS, m);
    char key[BT_INI_KEY_MAX];
    for (size_t i = 0; i < g.n; i++) {
        const char **path = (const char **)((char *)m + g.options[i].at);
        bt_option_key(&g.options[i], key, sizeof key);
        if (*path) {
            *path = resolve(b, *path);
            check_file(b, line_of(b, s, key), key, *path);
        }
    }
}

/* The settings stay incomplete: a command line's options may come over them. */
static void check_model(struct binding *b, const struct bt_ini_section *s, struct bt_model_settings *m) {
    struct bt_model_settings *whole = malloc(sizeof *whole);
    baton_error err = {.text = ""};
    if (!whole) {
        b->no_memory = true;
        return;
    }
    check_parts(b, s, m);
    if (!m->file) {
        if (!bt_ini_find(s, "file") && !m->parts[BT_SD_DIFFUSION_MODEL])
            bt_ini_fault(&b->faults, s->line, "[model %s] has no file: expected file = FILE, or file = builtin",
                         s->name);
    } else if (strcmp(m->file, "builtin") != 0 && strncmp(m->file, "fake:", 5) != 0) {
        m->file = resolve(b, m->file);
        check_file(b, line_of(b, s, "file"), "file", m->file);
    }
    *whole = *m;
    if (bt_model_settings_complete(whole, &err) != BATON_OK)
        bt_ini_fault(&b->faults, s->line, "[model %s]: %s", s->name, err.text);
    else if (strncmp(m->file ? m->file : "", "fake:", 5) != 0)
        check_loras(b, s, whole);
    m->lora = whole->lora;
    free(whole);
}

static bool good_name(struct binding *b, const struct bt_ini_section *s) {
    size_t len = strlen(s->name);
    bool ok = len < BT_CONFIG_NAME_MAX && bt_utf8_valid(s->name, len) && !strpbrk(s->name, ",[");
    for (const char *c = s->name; *c; c++)
        ok = ok && (unsigned char)*c >= ' ' && *c != 127;
    if (!ok)
        bt_ini_fault(&b->faults, s->line, "the name of [%s %.80s]: expected 1 to %d bytes of UTF-8 without commas",
                     s->kind, s->name, BT_CONFIG_NAME_MAX - 1);
    return ok;
}

static void take_model(struct binding *b, const struct bt_ini_section *s) {
    struct bt_config *c = b->config;
    if (c->n_models == BT_CONFIG_MODELS_MAX) {
        bt_ini_fault(&b->faults, s->line, "[model %.80s] is one too many: at most %d are possible", s->name,
                     BT_CONFIG_MODELS_MAX);
        return;
    }
    struct bt_model_settings *m = &c->models[c->n_models++];
    *m = (struct bt_model_settings)BT_MODEL_SETTINGS;
    m->name = keep_all(b, s->name);
    if (b->defaults)
        take_values(b, b->defaults, m, true);
    take_values(b, s, m, false);
    check_model(b, s, m);
}

static void take_defaults(struct binding *b, const struct bt_ini_section *s) {
    struct bt_model_settings *scratch = malloc(sizeof *scratch);
    const struct bt_ini_entry *file = bt_ini_find(s, "file");
    if (!scratch) {
        b->no_memory = true;
        return;
    }
    *scratch = (struct bt_model_settings)BT_MODEL_SETTINGS;
    take_values(b, s, scratch, false);
    if (file)
        bt_ini_fault(&b->faults, file->line, "file in [defaults]: each [model NAME] says its own");
    free(scratch);
}

static void take_serve(struct binding *b, const struct bt_ini_section *s) {
    struct bt_serve_settings *o = &b->config->serve;
    take_values(b, s, o, false);
    const struct {
        const char *key, **file;
    } files[] = {{"api_key_file", &o->key_file}, {"tls_cert", &o->tls_cert}, {"tls_key", &o->tls_key}};
    for (size_t i = 0; i < BT_COUNT(files); i++)
        if (*files[i].file) {
            *files[i].file = resolve(b, *files[i].file);
            check_file(b, line_of(b, s, files[i].key), files[i].key, *files[i].file);
        }
}

static void take_role(struct binding *b, const struct bt_ini_section *s) {
    struct bt_config *c = b->config;
    if (c->n_roles == BT_CONFIG_ROLES_MAX) {
        bt_ini_fault(&b->faults, s->line, "[role %.80s] is one too many: at most %d are possible", s->name,
                     BT_CONFIG_ROLES_MAX);
        return;
    }
    struct bt_config_role *r = &c->roles[c->n_roles++];
    r->name = keep_all(b, s->name);
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->entries[i].key, "models") != 0)
            bt_ini_fault(&b->faults, s->entries[i].line, "there is no key \"%.60s\" in [role %.80s]: expected models",
                         s->entries[i].key, s->name);
    const struct bt_ini_entry *e = bt_ini_find(s, "models");
    const char *list = e ? keep_all(b, e->value) : NULL;
    if (!e)
        bt_ini_fault(&b->faults, s->line, "[role %.80s] has no models: expected models = NAME, NAME, ...", s->name);
    else if (list)
        bt_roles_split((char *)list, r, e->line, &b->faults);
}

static void take_section(struct binding *b, const struct bt_ini_section *s) {
    const struct kind *k = kind_of(s->kind);
    if (!k || k->named != (s->name != NULL)) {
        bt_ini_fault(&b->faults, s->line,
                     "there is no section [%.60s%s%.60s]: expected [serve], [work], [defaults], [model NAME] or [role "
                     "NAME]",
                     s->kind, s->name ? " " : "", s->name ? s->name : "");
        return;
    }
    if (k->named && !good_name(b, s))
        return;
    if (strcmp(s->kind, "model") == 0)
        take_model(b, s);
    else if (strcmp(s->kind, "defaults") == 0)
        take_defaults(b, s);
    else if (strcmp(s->kind, "serve") == 0)
        take_serve(b, s);
    else if (strcmp(s->kind, "work") == 0)
        take_values(b, s, &b->config->work, false);
    else
        take_role(b, s);
}

static int role_line(const struct binding *b, const char *name) {
    for (int i = 0; i < b->ini.n; i++)
        if (strcmp(b->ini.sections[i].kind, "role") == 0 && b->ini.sections[i].name &&
            strcmp(b->ini.sections[i].name, name) == 0)
            return line_of(b, &b->ini.sections[i], "models");
    return 0;
}

static void take_sections(struct binding *b) {
    struct bt_config *c = b->config;
    for (int i = 0; i < b->ini.n; i++)
        if (strcmp(b->ini.sections[i].kind, "defaults") == 0 && !b->ini.sections[i].name)
            b->defaults = &b->ini.sections[i];
    for (int i = 0; i < b->ini.n; i++)
        take_section(b, &b->ini.sections[i]);
    if (c->n_models == 0)
        bt_ini_fault(&b->faults, 0, "there is no model: expected at least one [model NAME]");
    for (int i = 0; i < c->n_roles && !b->no_memory; i++)
        bt_roles_check(c, i, role_line(b, c->roles[i].name), &b->faults);
}

baton_status bt_config_parse(const char *path, const char *text, size_t len, struct bt_config **config,
                             struct bt_buf *faults, baton_error *err) {
    struct binding b = {.config = bt_config_new(), .faults = {.path = path, .out = faults}};
    size_t before = faults->len;
    *config = NULL;
    if (!b.config)
        return bt_fail(err, BATON_NO_MEMORY, "%s: out of memory for its settings", path);
    b.config->n_models = 0;
    b.no_memory = bt_ini_parse(text, len, &b.ini, &b.faults) != BATON_OK;
    if (!b.no_memory)
        take_sections(&b);
    bt_ini_free(&b.ini);
    if (!b.no_memory && !faults->failed && b.faults.n == 0) {
        *config = b.config;
        return BATON_OK;
    }
    bt_config_free(&b.config);
    if (b.no_memory || faults->failed) {
        faults->len = before; /* what could not be kept looks like what is not there */
        return bt_fail(err, BATON_NO_MEMORY, "%s: out of memory for its settings", path);
    }
    return bt_fail(err, BATON_INVALID, "%s has %d fault%s", path, b.faults.n, b.faults.n == 1 ? "" : "s");
}

baton_status bt_config_read(const char *path, struct bt_config **config, struct bt_buf *faults, baton_error *err) {
    struct bt_buf text = BT_BUF_INIT;
    *config = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return bt_fail(err, errno == ENOENT ? BATON_NOT_FOUND : BATON_IO, "%s cannot be read: %s", path,
                       strerror(errno));
    ssize_t n = 1;
    while (n > 0 && text.len <= BT_CONFIG_FILE_MAX && bt_buf_reserve(&text, 1 << 16)) {
        n = read(fd, text.data + text.len, 1 << 16);
        text.len += n > 0 ? (size_t)n : 0;
    }
    baton_status st;
    if (n < 0)
        st = bt_fail(err, BATON_IO, "%s cannot be read: %s", path, strerror(errno));
    else if (text.failed)
        st = bt_fail(err, BATON_NO_MEMORY, "%s: out of memory for its text", path);
    else if (text.len > BT_CONFIG_FILE_MAX)
        st = bt_fail(err, BATON_INVALID, "%s is longer than %d bytes: is it a configuration file?", path,
                     BT_CONFIG_FILE_MAX);
    else
        st = bt_config_parse(path, (const char *)text.data, text.len, config, faults, err);
    close(fd);
    bt_buf_free(&text);
    return st;
}

struct bt_config *bt_config_new(void) {
    struct bt_config *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->models[0] = (struct bt_model_settings)BT_MODEL_SETTINGS;
    c->n_models = 1;
    c->serve = (struct bt_serve_settings)BT_SERVE_SETTINGS;
    c->work = (struct bt_work_settings)BT_WORK_SETTINGS;
    return c;
}

void bt_config_free(struct bt_config **config) {
    struct bt_config *c = *config;
    *config = NULL;
    while (c && c->texts) {
        struct bt_config_text *t = c->texts;
        c->texts = t->next;
        free(t);
    }
    free(c);
}
