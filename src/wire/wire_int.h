/* The pieces that frames are made of, shared by the files of the codec: little-endian integers, texts, lists. Readers
 * never go past the end and never believe a length: what is wrong with the bytes is remembered in `bad`. */
#ifndef BT_WIRE_INT_H
#define BT_WIRE_INT_H

#include <math.h>
#include <string.h>

#include "wire/frame.h"

static inline uint64_t bt_load(const unsigned char *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static inline void put(struct bt_buf *b, uint64_t x, int bytes) {
    if (!bt_buf_reserve(b, 8))
        return;
    for (int i = 0; i < bytes; i++)
        b->data[b->len++] = (unsigned char)(x >> (8 * i));
}
static inline void put_u8(struct bt_buf *b, unsigned x) {
    put(b, x, 1);
}
static inline void put_u32(struct bt_buf *b, uint32_t x) {
    put(b, x, 4);
}
static inline void put_u64(struct bt_buf *b, uint64_t x) {
    put(b, x, 8);
}
static inline void put_float(struct bt_buf *b, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_u32(b, bits);
}
/* With a NUL after it, so that the reader can use it in place as a C string. */
static inline void put_text(struct bt_buf *b, const char *data, size_t len) {
    put_u32(b, (uint32_t)len);
    bt_buf_add(b, data, len);
    put_u8(b, 0);
}
static inline void put_string(struct bt_buf *b, const char *s) {
    put_text(b, s ? s : "", s ? strlen(s) : 0);
}
static inline void put_tokens(struct bt_buf *b, const bt_token *tokens, size_t n) {
    put_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_u32(b, (uint32_t)tokens[i]);
}

/* Room for the length comes first and is filled in by end: frames nest in one growing buffer without a copy. */
static inline size_t begin(struct bt_buf *b, enum bt_frame_type type) {
    size_t at = b->len;
    put_u32(b, 0);
    put_u8(b, (unsigned)type);
    return at;
}
static inline void end(struct bt_buf *b, size_t at) {
    if (b->failed)
        return;
    uint64_t size = b->len - at - 4;
    for (int i = 0; i < 4; i++)
        b->data[at + (size_t)i] = (unsigned char)(size >> (8 * i));
}

/* Records follow each other in a stream of bytes: kind, length of the content, content. */
enum { RECORD_HEAD = 5 };
static inline size_t begin_record(struct bt_buf *b, unsigned kind) {
    put_u8(b, kind);
    put_u32(b, 0);
    return b->len;
}
static inline void end_record(struct bt_buf *b, size_t at) {
    size_t len = b->len - at;
    b->failed |= len > INT32_MAX;
    for (size_t i = 0; i < 4 && !b->failed; i++)
        b->data[at - 4 + i] = (unsigned char)(len >> (8 * i));
}

struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static inline struct reader reader_of(const struct bt_frame *f) {
    return (struct reader){f->payload, f->len, false};
}
static inline struct reader reader_of_bytes(const unsigned char *bytes, size_t len) {
    return (struct reader){bytes, len, false};
}
static inline uint64_t get(struct reader *r, int bytes) {
    if (r->left < (size_t)bytes) {
        r->bad = true;
        r->left = 0;
        return 0;
    }
    uint64_t x = bt_load(r->at, bytes);
    r->at += bytes;
    r->left -= (size_t)bytes;
    return x;
}
static inline uint32_t get_u32(struct reader *r) {
    return (uint32_t)get(r, 4);
}
static inline int32_t get_i32(struct reader *r) {
    return (int32_t)get_u32(r);
}
static inline uint64_t get_u64(struct reader *r) {
    return get(r, 8);
}
static inline bool get_bool(struct reader *r) {
    uint64_t x = get(r, 1);
    r->bad |= x > 1;
    return x == 1;
}
/* An enum or status below `limit`. */
static inline unsigned get_small(struct reader *r, unsigned limit) {
    unsigned x = (unsigned)get(r, 1);
    r->bad |= x >= limit;
    return x < limit ? x : 0;
}
static inline baton_status get_status(struct reader *r) {
    baton_status s = (baton_status)get(r, 1);
    if (strcmp(baton_status_name(s), "UNKNOWN") == 0)
        r->bad = true;
    return s;
}
static inline float get_float(struct reader *r) {
    uint32_t bits = get_u32(r);
    float x;
    memcpy(&x, &bits, sizeof x);
    r->bad |= !isfinite(x);
    return x;
}
/* As a float, but minus infinity forbids a token. */
static inline float get_bias_value(struct reader *r) {
    uint32_t bits = get_u32(r);
    float x;
    memcpy(&x, &bits, sizeof x);
    r->bad |= isnan(x);
    return x;
}
static inline struct bt_text get_text(struct reader *r) {
    struct bt_text t = {"", 0};
    uint32_t len = get_u32(r);
    if (r->left < (size_t)len + 1 || r->at[len] != 0) {
        r->bad = true;
        r->left = 0;
        return t;
    }
    t = (struct bt_text){(const char *)r->at, len};
    r->at += (size_t)len + 1;
    r->left -= (size_t)len + 1;
    return t;
}
/* Everything that is left, as it is: its own length is the frame's. No NUL follows. */
static inline struct bt_text get_rest(struct reader *r) {
    struct bt_text t = {(const char *)r->at, r->left};
    r->at += r->left;
    r->left = 0;
    return t;
}
/* A C string: a text without a NUL inside. */
static inline const char *get_string(struct reader *r) {
    struct bt_text t = get_text(r);
    r->bad |= strlen(t.data) != t.len;
    return t.data;
}
/* The same with its length. */
static inline struct bt_text get_ctext(struct reader *r) {
    const char *s = get_string(r);
    return (struct bt_text){s, strlen(s)};
}
/* NULL where it is empty. */
static inline const char *get_optional(struct reader *r) {
    const char *s = get_string(r);
    return s[0] ? s : NULL;
}
static inline void get_name(struct reader *r, char *out, size_t size) {
    const char *s = get_string(r);
    size_t len = BT_MIN(strlen(s), size - 1);
    memcpy(out, s, len);
    out[len] = '\0';
}
/* How many elements follow: never more than the bytes left could hold. */
static inline size_t get_count(struct reader *r, size_t element_bytes) {
    uint32_t n = get_u32(r);
    if (n > r->left / element_bytes) {
        r->bad = true;
        return 0;
    }
    return n;
}
static inline baton_status finish(const struct reader *r) {
    return r->bad || r->left != 0 ? BATON_PROTOCOL : BATON_OK;
}

#endif
