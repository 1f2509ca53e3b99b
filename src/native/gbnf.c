/* The syntax of GBNF, as a scanner with a small stack of open groups. Pure; owns no state. */
#include "native/gbnf.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct name {
    const char *at;
    size_t len;
    int line;
};

struct names {
    struct name *list;
    size_t n, cap;
};

/* What a group would be if its repetitions were written out. */
struct group {
    uint64_t size, last; /* of all items, of the last one; last 0: there is none to repeat */
};

struct scan {
    const char *at;
    int line;
    struct names defined, used;
    struct group groups[BT_GBNF_DEPTH_MAX];
    int depth; /* groups[depth] is the innermost open one */
    baton_error *err;
};

static baton_status wrong(const struct scan *s, const char *what) {
    return bt_fail(s->err, BATON_INVALID, "the grammar's line %d: %s, at '%.*s'", s->line, what,
                   (int)BT_MIN(strcspn(s->at, "\r\n"), (size_t)24), s->at);
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '-';
}

static void space(struct scan *s, bool newlines) {
    for (;; s->at++) {
        if (*s->at == '#')
            s->at += strcspn(s->at, "\r\n");
        bool newline = *s->at == '\n' || *s->at == '\r';
        if (*s->at != ' ' && *s->at != '\t' && !(newline && newlines))
            return;
        s->line += *s->at == '\n';
    }
}

static baton_status note(struct scan *s, struct names *names, size_t len) {
    if (names->n == names->cap) {
        size_t cap = names->cap ? 2 * names->cap : 32;
        struct name *list = realloc(names->list, cap * sizeof *list);
        if (!list)
            return bt_fail(s->err, BATON_NO_MEMORY, "no memory for a grammar of more than %zu names", names->n);
        names->list = list;
        names->cap = cap;
    }
    names->list[names->n++] = (struct name){s->at, len, s->line};
    s->at += len;
    return BATON_OK;
}

static size_t word(const struct scan *s) {
    size_t len = 0;
    while (is_word(s->at[len]))
        len++;
    return len;
}

static baton_status item(struct scan *s, uint64_t size) {
    struct group *g = &s->groups[s->depth];
    g->last = size;
    g->size += size;
    return g->size > BT_GBNF_SIZE_MAX ? wrong(s, "with its repetitions written out the rule is too large") : BATON_OK;
}

/* Up to the closing quote or bracket. */
static baton_status literal(struct scan *s, char end) {
    uint64_t size = 0;
    for (s->at++; *s->at != end; s->at++, size++) {
        if (*s->at == '\0')
            return wrong(s, end == '"' ? "a text has no closing quote" : "a set of characters has no closing bracket");
        s->line += *s->at == '\n';
        if (*s->at != '\\')
            continue;
        s->at++;
        size_t hex = *s->at == 'x' ? 2 : *s->at == 'u' ? 4 : *s->at == 'U' ? 8 : 0;
        if (*s->at == '\0' || !strchr("xuUtrn\\\"[]", *s->at))
            return wrong(s, "an escape that there is not");
        if (hex && strspn(s->at + 1, "0123456789abcdefABCDEF") < hex)
            return wrong(s, "an escape with too few hexadecimal digits");
        s->at += hex;
    }
    s->at++;
    return item(s, size + 1);
}

static uint64_t number(struct scan *s) {
    uint64_t n = 0;
    for (; isdigit((unsigned char)*s->at); s->at++)
        n = BT_MIN(n * 10 + (uint64_t)(*s->at - '0'), (uint64_t)BT_GBNF_SIZE_MAX + 1);
    return n;
}

/* *, +, ?, {n}, {n,}, {n,m} behind an item. */
static baton_status repetition(struct scan *s) {
    struct group *g = &s->groups[s->depth];
    uint64_t most = 2;
    if (g->last == 0)
        return wrong(s, "a repetition of nothing");
    if (*s->at++ == '{') {
        space(s, s->depth > 0);
        if (!isdigit((unsigned char)*s->at))
            return wrong(s, "a repetition without a number");
        uint64_t least = most = number(s);
        space(s, s->depth > 0);
        if (*s->at == ',') {
            s->at++;
            space(s, s->depth > 0);
            most = isdigit((unsigned char)*s->at) ? number(s) : least + 1;
            space(s, s->depth > 0);
        }
        if (*s->at != '}')
            return wrong(s, "a repetition has no closing brace");
        if (most < least)
            return wrong(s, "a repetition from more to less");
        s->at++;
    }
    uint64_t last = g->last;
    g->size -= last;
    return item(s, last * BT_MAX(most, (uint64_t)1));
}

static baton_status group(struct scan *s) {
    if (*s->at == '(') {
        if (s->depth + 1 == BT_GBNF_DEPTH_MAX)
            return wrong(s, "brackets are nested too deeply");
        s->at++;
        s->groups[++s->depth] = (struct group){0};
        space(s, true);
        return BATON_OK;
    }
    if (s->depth == 0)
        return wrong(s, "a closing bracket that none has opened");
    uint64_t size = s->groups[s->depth--].size;
    s->at++;
    return item(s, size + 1);
}

/* The right side of a rule, up to the end of its line. */
static baton_status alternatives(struct scan *s) {
    s->depth = 0;
    s->groups[0] = (struct group){0};
    baton_status status = BATON_OK;
    while (!status) {
        char c = *s->at;
        if (c == '"' || c == '[') {
            status = literal(s, c == '"' ? '"' : ']');
        } else if (is_word(c)) {
            status = note(s, &s->used, word(s));
            status = status ? status : item(s, 1);
        } else if (c == '(' || c == ')') {
            status = group(s);
        } else if (c == '.') {
            s->at++;
            status = item(s, 1);
        } else if (c == '|') {
            s->at++;
            s->groups[s->depth].last = 0;
            space(s, true);
        } else if (c == '*' || c == '+' || c == '?' || c == '{') {
            status = repetition(s);
        } else if (s->depth > 0) {
            return wrong(s, "a bracket that none closes");
        } else if (c == '\0' || c == '\n' || c == '\r') {
            return BATON_OK;
        } else if (c == '<' || c == '!') {
            return wrong(s, "tokens by name are not supported: an answer is text");
        } else {
            return wrong(s, "a character that has no meaning here");
        }
        space(s, s->depth > 0);
    }
    return status;
}

static baton_status rules(struct scan *s) {
    for (space(s, true); *s->at; space(s, true)) {
        size_t len = word(s);
        if (len == 0)
            return wrong(s, "a rule's name is expected (of letters, digits and '-')");
        baton_status status = note(s, &s->defined, len);
        space(s, false);
        if (!status && strncmp(s->at, "::=", 3) != 0)
            return wrong(s, "'::=' is expected behind a rule's name");
        if (status)
            return status;
        s->at += 3;
        space(s, true);
        status = alternatives(s);
        if (status)
            return status;
    }
    return BATON_OK;
}

static int by_text(const void *a, const void *b) {
    const struct name *x = a, *y = b;
    int order = memcmp(x->at, y->at, BT_MIN(x->len, y->len));
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static bool has(const struct names *names, const struct name *name) {
    return names->n && bsearch(name, names->list, names->n, sizeof *name, by_text);
}

static baton_status names_fit(struct scan *s) {
    const struct name root = {"root", 4, 0};
    if (s->defined.n)
        qsort(s->defined.list, s->defined.n, sizeof *s->defined.list, by_text);
    if (!has(&s->defined, &root))
        return bt_fail(s->err, BATON_INVALID, "the grammar has no rule 'root': answers begin with it");
    for (size_t i = 0; i < s->used.n; i++) {
        const struct name *used = &s->used.list[i];
        if (!has(&s->defined, used))
            return bt_fail(s->err, BATON_INVALID, "the grammar's line %d: there is no rule '%.*s'", used->line,
                           (int)BT_MIN(used->len, (size_t)64), used->at);
    }
    return BATON_OK;
}

baton_status bt_gbnf_check(const char *text, baton_error *err) {
    size_t len = strlen(text);
    if (len > BT_GBNF_BYTES_MAX)
        return bt_fail(err, BATON_INVALID, "a grammar of %zu bytes: %d are possible", len, BT_GBNF_BYTES_MAX);
    if (!bt_utf8_valid(text, len))
        return bt_fail(err, BATON_INVALID, "the grammar is not valid UTF-8");
    struct scan s = {.at = text, .line = 1, .err = err};
    baton_status status = rules(&s);
    if (!status)
        status = names_fit(&s);
    free(s.defined.list);
    free(s.used.list);
    return status;
}
