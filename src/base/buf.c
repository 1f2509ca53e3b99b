/* Growable bytes, JSON text, UTF-8. A buffer belongs to one thread at a time. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bt_buf_free(struct bt_buf *b) {
    free(b->data);
    *b = (struct bt_buf)BT_BUF_INIT;
}

bool bt_buf_reserve(struct bt_buf *b, size_t extra) {
    if (b->failed)
        return false;
    if (extra <= b->cap - b->len)
        return true;
    size_t cap = BT_MAX(b->cap * 2, (size_t)256);
    if (extra > SIZE_MAX / 2 - b->len) {
        b->failed = true;
        return false;
    }
    while (cap - b->len < extra)
        cap *= 2;
    unsigned char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void bt_buf_add(struct bt_buf *b, const void *data, size_t len) {
    if (len == 0 || !bt_buf_reserve(b, len))
        return;
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void bt_buf_adds(struct bt_buf *b, const char *text) {
    bt_buf_add(b, text, strlen(text));
}

void bt_buf_addf(struct bt_buf *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0 && bt_buf_reserve(b, (size_t)n + 1)) {
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void bt_buf_drop(struct bt_buf *b, size_t len) {
    len = BT_MIN(len, b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

void bt_buf_base64(struct bt_buf *b, const unsigned char *bytes, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        unsigned n = (unsigned)bytes[i] << 16 | (i + 1 < len ? (unsigned)bytes[i + 1] << 8 : 0) |
                     (i + 2 < len ? bytes[i + 2] : 0);
        char quad[4] = {digits[n >> 18], digits[n >> 12 & 63], i + 1 < len ? digits[n >> 6 & 63] : '=',
                        i + 2 < len ? digits[n & 63] : '='};
        bt_buf_add(b, quad, sizeof quad);
    }
}

/* Length of the character that starts at s: 1 to 4; 0 for bytes that begin none; -1 when it goes on past the end.
 * Overlong forms and surrogates are refused (Unicode 15, table 3-7). */
static int utf8_char(const unsigned char *s, size_t len) {
    unsigned char lo = 0x80, hi = 0xbf;
    int n;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        lo = 0xa0;
    if (s[0] == 0xed)
        hi = 0x9f;
    if (s[0] == 0xf0)
        lo = 0x90;
    if (s[0] == 0xf4)
        hi = 0x8f;
    for (int i = 1; i < n; i++) {
        if ((size_t)i >= len)
            return -1;
        if (s[i] < lo || s[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
    }
    return n;
}

size_t bt_utf8_unfinished(const char *s, size_t len) {
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        const unsigned char *p = (const unsigned char *)s + len - back;
        if ((*p & 0xc0) != 0x80)
            return utf8_char(p, back) < 0 ? back : 0;
    }
    return 0;
}

bool bt_utf8_valid(const char *s, size_t len) {
    for (size_t i = 0; i < len;) {
        int n = utf8_char((const unsigned char *)s + i, len - i);
        if (n <= 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

void bt_utf8_mend(char *s) {
    size_t len = strlen(s), kept = 0;
    for (size_t i = 0; i < len;) {
        int n = utf8_char((const unsigned char *)s + i, len - i);
        for (int k = 0; k < n; k++)
            s[kept++] = s[i + (size_t)k];
        i += n > 0 ? (size_t)n : 1;
    }
    s[kept] = '\0';
}

void bt_line_clean(char *s) {
    bt_utf8_mend(s);
    for (unsigned char *c = (unsigned char *)s; *c; c++) {
        if (*c < ' ' || *c == 0x7f)
            *c = ' ';
        if (c[0] == 0xc2 && c[1] < 0xa0) /* U+0080 to U+009F */
            c[0] = c[1] = ' ';
    }
}

void bt_utf8_clean(struct bt_buf *b, const char *s, size_t len) {
    size_t good = 0;
    for (size_t i = 0; i < len;) {
        int n = utf8_char((const unsigned char *)s + i, len - i);
        if (n > 0) {
            i += (size_t)n;
            continue;
        }
        bt_buf_add(b, s + good, i - good);
        bt_buf_adds(b, "\xef\xbf\xbd");
        good = ++i;
    }
    bt_buf_add(b, s + good, len - good);
}

static size_t json_escape_one(char *out, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    char letter = c == '"' || c == '\\' ? (char)c : c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : 0;
    out[0] = '\\';
    if (letter) {
        out[1] = letter;
        return 2;
    }
    out[1] = 'u';
    out[2] = out[3] = '0';
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

void bt_json_escape(struct bt_buf *b, const char *s, size_t len) {
    size_t plain = 0;
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)s[i];
        int n = utf8_char((const unsigned char *)s + i, len - i);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += (size_t)n;
            continue;
        }
        bt_buf_add(b, s + plain, i - plain);
        char out[6];
        if (n > 0)
            bt_buf_add(b, out, json_escape_one(out, c));
        else
            bt_buf_adds(b, "\\ufffd");
        plain = ++i;
    }
    bt_buf_add(b, s + plain, len - plain);
}

void bt_json_string(struct bt_buf *b, const char *s, size_t len) {
    bt_buf_adds(b, "\"");
    bt_json_escape(b, s, len);
    bt_buf_adds(b, "\"");
}
