/* The scanner: iterative, so that no text can exhaust the stack. State: none. */
#include "task/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool bad(struct bt_json *j, const char *why) {
    j->why = why;
    return false;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void space(struct bt_json *j) {
    while (j->at < j->end && is_space(*j->at))
        j->at++;
}

static bool take(struct bt_json *j, char c) {
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

void bt_json_start(struct bt_json *j, struct bt_text text) {
    *j = (struct bt_json){.at = text.data, .end = text.data + text.len};
}

static int hex(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool escape(struct bt_json *j) {
    if (j->at == j->end)
        return bad(j, "the text ends in a string");
    char c = *j->at++;
    if (c != 'u')
        return (c != '\0' && strchr("\"\\/bfnrt", c)) || bad(j, "there is no such escape in a string");
    for (int i = 0; i < 4; i++, j->at++)
        if (j->at == j->end || hex(*j->at) < 0)
            return bad(j, "\\u needs four hexadecimal digits");
    return true;
}

static bool string(struct bt_json *j) {
    j->at++;
    while (j->at < j->end) {
        unsigned char c = (unsigned char)*j->at++;
        if (c == '"')
            return true;
        if (c < 0x20)
            return bad(j, "a control character stands in a string");
        if (c == '\\' && !escape(j))
            return false;
    }
    return bad(j, "the text ends in a string");
}

static bool digits(struct bt_json *j) {
    const char *from = j->at;
    while (j->at < j->end && is_digit(*j->at))
        j->at++;
    return j->at > from || bad(j, "a number lacks digits");
}

static bool number(struct bt_json *j) {
    (void)take(j, '-');
    if (!take(j, '0') && !digits(j))
        return false;
    if (take(j, '.') && !digits(j))
        return false;
    if (take(j, 'e') || take(j, 'E')) {
        if (!take(j, '+'))
            (void)take(j, '-');
        return digits(j);
    }
    return true;
}

static bool scalar(struct bt_json *j) {
    static const char *const words[] = {"true", "false", "null"};
    if (j->at == j->end)
        return bad(j, "the text ends where a value is expected");
    if (*j->at == '"')
        return string(j);
    if (*j->at == '-' || is_digit(*j->at))
        return number(j);
    for (size_t i = 0; i < BT_COUNT(words); i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(j->end - j->at) >= n && memcmp(j->at, words[i], n) == 0) {
            j->at += n;
            return true;
        }
    }
    return bad(j, "a value is expected");
}

static bool key_and_colon(struct bt_json *j) {
    space(j);
    if (j->at == j->end || *j->at != '"')
        return bad(j, "a key is expected");
    if (!string(j))
        return false;
    space(j);
    return take(j, ':') || bad(j, "a colon is expected");
}

/* What is open is a bit per level: 1 an object, 0 an array. */
struct nest {
    uint64_t bits[BT_JSON_DEPTH_MAX / 64];
    int depth;
};

static bool in_object(const struct nest *n) {
    return n->bits[(n->depth - 1) / 64] >> ((n->depth - 1) % 64) & 1;
}

/* A bracket opens; *empty if it closes at once. */
static bool enter(struct bt_json *j, struct nest *n, bool *empty) {
    bool object = *j->at++ == '{';
    if (n->depth == BT_JSON_DEPTH_MAX)
        return bad(j, "arrays and objects are nested too deep");
    uint64_t bit = UINT64_C(1) << (n->depth % 64);
    uint64_t *word = &n->bits[n->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    n->depth++;
    space(j);
    *empty = take(j, object ? '}' : ']');
    if (*empty)
        n->depth--;
    return *empty || !object || key_and_colon(j);
}

/* After a value inside of something: closes what ends here. True: *more says whether another value follows. */
static bool leave(struct bt_json *j, struct nest *n, bool *more) {
    *more = false;
    while (n->depth > 0) {
        bool object = in_object(n);
        space(j);
        if (take(j, ',')) {
            *more = true;
            return !object || key_and_colon(j);
        }
        if (!take(j, object ? '}' : ']'))
            return bad(j, object ? "a comma or } is expected" : "a comma or ] is expected");
        n->depth--;
    }
    return true;
}

bool bt_json_value(struct bt_json *j, struct bt_text *value) {
    struct nest n = {.depth = 0};
    space(j);
    const char *from = j->at;
    bool more = true;
    while (more) {
        space(j);
        bool empty = true;
        if (j->at < j->end && (*j->at == '{' || *j->at == '[')) {
            if (!enter(j, &n, &empty))
                return false;
        } else if (!scalar(j)) {
            return false;
        }
        if (empty && !leave(j, &n, &more))
            return false;
    }
    *value = (struct bt_text){from, (size_t)(j->at - from)};
    return true;
}

bool bt_json_open(struct bt_json *j) {
    space(j);
    return take(j, '{') || bad(j, "an object is expected");
}

static enum bt_json_step wrong(struct bt_json *j, const char *why) {
    j->why = why;
    return BT_JSON_BAD;
}

enum bt_json_step bt_json_member(struct bt_json *j, struct bt_text *key, struct bt_text *value) {
    space(j);
    if (take(j, '}'))
        return BT_JSON_END;
    if (key->data && !take(j, ','))
        return wrong(j, "a comma or } is expected");
    space(j);
    const char *from = j->at;
    if (j->at == j->end || *j->at != '"')
        return wrong(j, "a key is expected");
    if (!string(j))
        return BT_JSON_BAD;
    *key = (struct bt_text){from, (size_t)(j->at - from)};
    space(j);
    if (!take(j, ':'))
        return wrong(j, "a colon is expected");
    return bt_json_value(j, value) ? BT_JSON_MEMBER : BT_JSON_BAD;
}

bool bt_json_over(struct bt_json *j) {
    space(j);
    return j->at == j->end;
}

struct bt_text bt_json_find(struct bt_text object, const char *name) {
    struct bt_json j;
    struct bt_text key = {0}, value, found = {0};
    bt_json_start(&j, object);
    if (object.len == 0 || !bt_json_open(&j))
        return found;
    while (bt_json_member(&j, &key, &value) == BT_JSON_MEMBER)
        if (bt_json_says(key, name))
            found = value;
    return found;
}

static unsigned unit(const char *s) {
    unsigned u = 0;
    for (int i = 0; i < 4; i++)
        u = u << 4 | (unsigned)hex(s[i]);
    return u;
}

static void add_utf8(struct bt_buf *out, unsigned c) {
    unsigned char b[4];
    size_t n;
    if (c < 0x80)
        b[0] = (unsigned char)c, n = 1;
    else if (c < 0x800)
        b[0] = (unsigned char)(0xc0 | c >> 6), n = 2;
    else if (c < 0x10000)
        b[0] = (unsigned char)(0xe0 | c >> 12), n = 3;
    else
        b[0] = (unsigned char)(0xf0 | c >> 18), n = 4;
    for (size_t i = 1; i < n; i++)
        b[i] = (unsigned char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
    bt_buf_add(out, b, n);
}

/* Behind "\u"; returns how many bytes it took. */
static size_t decode_unit(const char *s, const char *end, struct bt_buf *out) {
    unsigned u = unit(s);
    if (u >= 0xd800 && u < 0xdc00 && end - s >= 10 && s[4] == '\\' && s[5] == 'u') {
        unsigned low = unit(s + 6);
        if (low >= 0xdc00 && low < 0xe000) {
            add_utf8(out, 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00));
            return 10;
        }
    }
    add_utf8(out, u >= 0xd800 && u < 0xe000 ? 0xfffd : u);
    return 4;
}

void bt_json_decode(struct bt_text string_value, struct bt_buf *out) {
    static const char letters[] = "bfnrt", means[] = "\b\f\n\r\t";
    const char *s = string_value.data + 1, *end = string_value.data + string_value.len - 1;
    while (s < end) {
        const char *run = memchr(s, '\\', (size_t)(end - s));
        bt_buf_add(out, s, (size_t)((run ? run : end) - s));
        if (!run)
            return;
        s = run + 2;
        const char *letter = strchr(letters, run[1]);
        if (run[1] == 'u')
            s += decode_unit(s, end, out);
        else
            bt_buf_add(out, letter ? &means[letter - letters] : &run[1], 1);
    }
}

bool bt_json_says(struct bt_text value, const char *text) {
    size_t n = strlen(text);
    if (!bt_json_is_string(value))
        return false;
    if (!memchr(value.data, '\\', value.len))
        return value.len == n + 2 && memcmp(value.data + 1, text, n) == 0;
    struct bt_buf b = BT_BUF_INIT;
    bt_json_decode(value, &b);
    bool same = !b.failed && b.len == n && (n == 0 || memcmp(b.data, text, n) == 0);
    bt_buf_free(&b);
    return same;
}

bool bt_json_int(struct bt_text value, int64_t *out) {
    char text[24], *end;
    if (value.len == 0 || value.len >= sizeof text || (!is_digit(value.data[0]) && value.data[0] != '-'))
        return false;
    memcpy(text, value.data, value.len);
    text[value.len] = '\0';
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (*end || errno)
        return false;
    *out = n;
    return true;
}
