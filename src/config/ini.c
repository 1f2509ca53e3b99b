/* Lines to sections. State: the struct that is filled. */
#include "config/ini.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *at, *end;
    int line;
    bool owed; /* inih was given a line with something on it and has not called back */
    char found[64];
    struct bt_ini *ini;
    struct bt_ini_section *section; /* NULL: none yet, or one that was a fault */
    bool orphaned;                  /* told that keys stand before the first section, or in one that was a fault */
    bool no_memory;
    struct bt_ini_faults *faults;
};

void bt_ini_fault(struct bt_ini_faults *f, int line, const char *format, ...) {
    char text[1024];
    va_list args;
    if (f->n++ >= BT_INI_FAULTS_MAX) {
        if (f->n == BT_INI_FAULTS_MAX + 1)
            bt_buf_addf(f->out, "%s: there are more faults, which are not told\n", f->path);
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    bt_buf_addf(f->out, line > 0 ? "%s:%d: " : "%s: ", f->path, line);
    text[strlen(text) - bt_utf8_unfinished(text, strlen(text))] = '\0';
    bt_utf8_clean(f->out, text, strlen(text));
    bt_buf_adds(f->out, "\n");
}

const struct bt_ini_entry *bt_ini_find(const struct bt_ini_section *s, const char *key) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->entries[i].key, key) == 0)
            return &s->entries[i];
    return NULL;
}

/* Room for one more of `size` bytes, doubled at powers of two. */
static bool grow(void **array, int n, size_t size) {
    if (n > 0 && (n & (n - 1)) != 0)
        return true;
    void *more = realloc(*array, (n > 0 ? (size_t)n * 2 : 1) * size);
    if (more)
        *array = more;
    return more != NULL;
}

static bool same_section(const struct bt_ini_section *s, const char *kind, const char *name) {
    return strcmp(s->kind, kind) == 0 && (name ? s->name && strcmp(s->name, name) == 0 : !s->name);
}

static void add_section(struct reader *r, char *kind, char *name) {
    struct bt_ini *ini = r->ini;
    for (int i = 0; i < ini->n; i++)
        if (same_section(&ini->sections[i], kind, name)) {
            bt_ini_fault(r->faults, r->line, "[%.80s%s%.80s] comes twice: it is in line %d already", kind,
                         name ? " " : "", name ? name : "", ini->sections[i].line);
            return;
        }
    if (!grow((void **)&ini->sections, ini->n, sizeof *ini->sections)) {
        r->no_memory = true;
        return;
    }
    struct bt_ini_section *s = &ini->sections[ini->n];
    *s = (struct bt_ini_section){.kind = strdup(kind), .name = name ? strdup(name) : NULL, .line = r->line};
    ini->n++;
    r->no_memory |= !s->kind || (name && !s->name);
    r->section = s;
}

/* "[kind name] ; comment"; `line` is cut up. */
static void take_section(struct reader *r, char *line) {
    char *close = strchr(line, ']'), *name;
    r->section = NULL;
    r->orphaned = true; /* its keys are not told one by one where it is a fault itself */
    const char *rest = close ? close + 1 + strspn(close + 1, " \t") : "";
    if (!close || (*rest && *rest != ';' && *rest != '#')) {
        bt_ini_fault(r->faults, r->line, "found \"%.60s\": expected [SECTION] alone on its line", line);
        return;
    }
    while (close > line + 1 && strchr(" \t", close[-1]))
        close--;
    *close = '\0';
    char *kind = line + 1 + strspn(line + 1, " \t");
    name = kind + strcspn(kind, " \t");
    if (*name) {
        *name++ = '\0';
        name += strspn(name, " \t");
    }
    add_section(r, kind, *name ? name : NULL);
    r->orphaned = !r->section;
}

static int on_entry(void *user, const char *section, const char *key, const char *value) {
    struct reader *r = user;
    struct bt_ini_section *s = r->section;
    struct bt_ini_entry e = {.line = r->line};
    (void)section;
    if (!key) /* an inih that was built to tell of sections */
        return 1;
    r->owed = false;
    if (!s) {
        if (!r->orphaned)
            bt_ini_fault(r->faults, r->line, "\"%.60s\" stands before the first [SECTION]", key);
        r->orphaned = true;
        return 1;
    }
    for (size_t i = 0; key[i] && i < sizeof e.key - 1; i++)
        e.key[i] = (char)(key[i] == '-' ? '_' : key[i]);
    const struct bt_ini_entry *twin = bt_ini_find(s, e.key);
    if (twin) {
        bt_ini_fault(r->faults, r->line, "%.60s comes twice in [%.80s%s%.80s]: it is in line %d already", e.key,
                     s->kind, s->name ? " " : "", s->name ? s->name : "", twin->line);
        return 1;
    }
    if (!grow((void **)&s->entries, s->n, sizeof *s->entries) || !(e.value = strdup(value ? value : ""))) {
        r->no_memory = true;
        return 1;
    }
    s->entries[s->n++] = e;
    return 1;
}

static void settle_debt(struct reader *r) {
    if (r->owed)
        bt_ini_fault(r->faults, r->line, "found \"%.60s\": expected KEY = VALUE, [SECTION] or a comment", r->found);
    r->owed = false;
}

/* What inih gets for a line: the line, or "" when there is nothing in it for inih. `size` includes the NUL. */
static void give(struct reader *r, char *to, size_t size, const char *line, size_t len) {
    char section[BT_INI_LINE_MAX];
    to[0] = '\0';
    if (memchr(line, '\0', len)) {
        bt_ini_fault(r->faults, r->line, "a byte of value 0: this is no text");
    } else if (len == 0 || line[0] == ';' || line[0] == '#') {
        return;
    } else if (len >= BT_MIN(size, sizeof section)) {
        bt_ini_fault(r->faults, r->line, "a line of %zu bytes: at most %zu are possible", len,
                     BT_MIN(size, sizeof section) - 1);
    } else if (line[0] == '[') {
        memcpy(section, line, len);
        section[len] = '\0';
        take_section(r, section);
    } else {
        memcpy(to, line, len);
        to[len] = '\0';
        snprintf(r->found, sizeof r->found, "%s", to);
        r->owed = true;
    }
}

/* inih's fgets: each call is one line of the file, and what it calls back belongs to that line. */
static char *next_line(char *to, int size, void *stream) {
    struct reader *r = stream;
    settle_debt(r);
    if (r->at >= r->end || r->no_memory || size < 8)
        return NULL;
    const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at)), *line = r->at;
    const char *end = newline ? newline : r->end;
    r->at = newline ? newline + 1 : r->end;
    r->line++;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    while (end > line && strchr(" \t\r", end[-1]) && end[-1] != '\0')
        end--;
    give(r, to, (size_t)size - 1, line, (size_t)(end - line));
    size_t n = strlen(to);
    to[n] = '\n';
    to[n + 1] = '\0';
    return to;
}

baton_status bt_ini_parse(const char *text, size_t len, struct bt_ini *ini, struct bt_ini_faults *faults) {
    struct reader r = {.at = text, .end = text + len, .ini = ini, .faults = faults};
    *ini = (struct bt_ini){0};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        r.at += 3;
#ifdef BATON_INIH_HAS_VARIABLES /* Debian's inih can be told; elsewhere its build has decided how long a line may be   \
                                 */
    ini_use_stack = false;
    ini_max_line = ini_initial_alloc = BT_INI_LINE_MAX;
#endif
    if (ini_parse_stream(next_line, &r, on_entry, &r) == -2)
        r.no_memory = true;
    return r.no_memory ? BATON_NO_MEMORY : BATON_OK;
}

void bt_ini_free(struct bt_ini *ini) {
    for (int i = 0; i < ini->n; i++) {
        struct bt_ini_section *s = &ini->sections[i];
        for (int k = 0; k < s->n; k++)
            free(s->entries[k].value);
        free(s->entries);
        free(s->kind);
        free(s->name);
    }
    free(ini->sections);
    *ini = (struct bt_ini){0};
}
