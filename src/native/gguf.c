/* What a GGUF file says of its size and shape, read without libllama: to know what a model will take before anything is
 * loaded, and by programs that leave a stranger's file to a sandbox. So nothing here believes a number: lengths are
 * compared with what is left of the file, and what is not needed is stepped over. State: none. */
#include "native/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum type { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, TYPES };
static const unsigned char sizes[TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

enum { KEY_MAX = 128, LAYERS_MAX = 4096 };

struct reader {
    int fd;
    uint64_t size, at; /* of the file; where the next byte is */
    unsigned char block[1 << 16];
    uint64_t from; /* of the block in the file */
    size_t held;
    bool bad; /* the file ended, or contradicts itself */
};

static void step(struct reader *r, uint64_t n) {
    r->bad |= n > r->size - r->at;
    r->at += r->bad ? 0 : n;
}

static void take(struct reader *r, void *to, size_t n) {
    unsigned char *out = to;
    memset(to, 0, n);
    r->bad |= n > r->size - r->at;
    while (n > 0 && !r->bad) {
        if (r->at < r->from || r->at >= r->from + r->held) {
            ssize_t got = pread(r->fd, r->block, sizeof r->block, (off_t)r->at);
            if (got < 0 && errno == EINTR)
                continue;
            r->from = r->at;
            r->held = got > 0 ? (size_t)got : 0;
            if ((r->bad = got <= 0))
                return;
        }
        size_t offset = (size_t)(r->at - r->from), some = BT_MIN(n, r->held - offset);
        memcpy(out, r->block + offset, some);
        out += some;
        n -= some;
        r->at += some;
    }
}

/* GGUF is little-endian, and so is every machine that this runs on. */
static uint32_t take_u32(struct reader *r) {
    uint32_t n;
    take(r, &n, sizeof n);
    return n;
}
static uint64_t take_u64(struct reader *r) {
    uint64_t n;
    take(r, &n, sizeof n);
    return n;
}

/* A number that is no count of anything is 0. */
static uint64_t take_number(struct reader *r, enum type type) {
    unsigned char bytes[8] = {0};
    uint64_t n;
    take(r, bytes, sizes[type]);
    memcpy(&n, bytes, sizeof n);
    bool counts = type == U8 || type == U16 || type == U32 || type == U64 || type == I32 || type == I64;
    bool negative = (type == I32 && n > INT32_MAX) || (type == I64 && n > INT64_MAX);
    return counts && !negative ? n : 0;
}

static void skip_value(struct reader *r, enum type type, int depth) {
    if (type >= TYPES || depth > 4) {
        r->bad = true;
    } else if (type == STRING) {
        step(r, take_u64(r));
    } else if (type == ARRAY) {
        enum type of = (enum type)take_u32(r);
        uint64_t n = take_u64(r);
        if (of < TYPES && sizes[of] && n <= r->size)
            step(r, n * sizes[of]);
        else
            for (uint64_t i = 0; i < n && !r->bad; i++)
                skip_value(r, of, depth + 1);
    } else {
        step(r, sizes[type]);
    }
}

/* The numbers of a key that is one, or a list of them by layer: their sum over so many layers. */
struct number {
    uint64_t first, sum, n; /* n 0: it is not there */
};
static struct number take_numbers(struct reader *r, enum type type) {
    struct number out = {0, 0, 1};
    if (type != ARRAY) {
        if (type >= TYPES || !sizes[type])
            r->bad = true;
        else
            out.first = out.sum = take_number(r, type);
        return out;
    }
    enum type of = (enum type)take_u32(r);
    out.n = take_u64(r);
    r->bad |= of >= TYPES || !sizes[of] || out.n > LAYERS_MAX;
    for (uint64_t i = 0; i < out.n && !r->bad; i++) {
        uint64_t one = take_number(r, of);
        out.first = i ? out.first : one;
        out.sum += BT_MIN(one, (uint64_t)1 << 32);
    }
    return out;
}

struct shape {
    struct number layers, width, heads, heads_kv, key, value, ctx, alignment;
};

static struct number *wanted(struct shape *s, const char *key) {
    const struct {
        const char *suffix;
        struct number *at;
    } keys[] = {{"block_count", &s->layers},         {"embedding_length", &s->width},
                {"attention.head_count", &s->heads}, {"attention.head_count_kv", &s->heads_kv},
                {"attention.key_length", &s->key},   {"attention.value_length", &s->value},
                {"context_length", &s->ctx}};
    if (strcmp(key, "general.alignment") == 0)
        return &s->alignment;
    const char *dot = strchr(key, '.');
    for (size_t i = 0; dot && i < BT_COUNT(keys); i++)
        if (strcmp(dot + 1, keys[i].suffix) == 0)
            return keys[i].at;
    return NULL;
}

static void take_pairs(struct reader *r, uint64_t n, struct shape *s) {
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        char key[KEY_MAX] = "";
        uint64_t len = take_u64(r);
        if (len < sizeof key)
            take(r, key, (size_t)len);
        else
            step(r, len);
        enum type type = (enum type)take_u32(r);
        struct number *at = wanted(s, key);
        if (at)
            *at = take_numbers(r, type);
        else
            skip_value(r, type, 0);
    }
}

static void skip_tensors(struct reader *r, uint64_t n) {
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        step(r, take_u64(r));
        uint32_t dims = take_u32(r);
        step(r, (uint64_t)dims * sizeof(uint64_t));
        step(r, sizeof(uint32_t) + sizeof(uint64_t)); /* its type, and where it begins */
    }
}

static uint64_t product(uint64_t a, uint64_t b) {
    uint64_t out;
    return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

/* Keys and values of one token, 16 bits each. */
static uint64_t bytes_per_token(const struct shape *s) {
    uint64_t heads = s->heads.first, of_a_head = heads ? s->width.first / heads : 0;
    uint64_t both = (s->key.n ? s->key.first : of_a_head) + (s->value.n ? s->value.first : of_a_head);
    uint64_t per_layer = s->heads_kv.n ? s->heads_kv.first : heads;
    uint64_t rows = s->heads_kv.n > 1 ? s->heads_kv.sum : product(per_layer, s->layers.first);
    return product(product(rows, both), sizeof(uint16_t));
}

baton_status bt_gguf_read(int fd, const char *path, struct bt_gguf *g, baton_error *err) {
    struct shape s = {0};
    struct stat st;
    char magic[4];
    memset(g, 0, sizeof *g);
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return bt_fail(err, BATON_NO_MEMORY, "no memory to read %s", path);
    r->fd = fd;
    r->bad = fstat(fd, &st) != 0;
    r->size = r->bad ? 0 : (uint64_t)st.st_size;
    take(r, magic, sizeof magic);
    uint32_t version = take_u32(r);
    r->bad |= memcmp(magic, "GGUF", sizeof magic) != 0 || version < 2;
    uint64_t tensors = take_u64(r), pairs = take_u64(r);
    take_pairs(r, pairs, &s);
    skip_tensors(r, tensors);
    uint64_t alignment = s.alignment.first ? s.alignment.first : 32;
    uint64_t rest = r->size - r->at, gap = (alignment - r->at % alignment) % alignment;
    *g = (struct bt_gguf){rest > gap ? rest - gap : 0, bytes_per_token(&s), s.ctx.first};
    bool bad = r->bad;
    free(r);
    return bad ? bt_fail(err, BATON_BAD_MODEL, "%s is no whole GGUF file of version 2 or later", path) : BATON_OK;
}

baton_status bt_model_estimate(const char *path, const struct bt_context_params *context, int contexts,
                               uint64_t *weight_bytes, uint64_t *context_bytes, baton_error *err) {
    enum { FILES_MAX = 512 };
    int fds[FILES_MAX];
    struct bt_gguf first = {0}, g;
    size_t n = 0;
    *weight_bytes = *context_bytes = 0;
    baton_status status = bt_model_files_open(path, fds, FILES_MAX, &n, err);
    for (size_t i = 0; i < n; i++) {
        if (!status)
            status = bt_gguf_read(fds[i], path ? path : "the built-in model", &g, err);
        if (!status && i == 0)
            first = g;
        *weight_bytes += status ? 0 : g.weight_bytes;
        close(fds[i]);
    }
    if (status)
        return status;
    uint64_t ctx = context->ctx > 0 ? (uint64_t)context->ctx : BT_MIN(first.ctx_train, (uint64_t)BT_CTX_PRESET);
    ctx = (ctx + 255) / 256 * 256;
    *context_bytes = product(product(first.bytes_per_token, ctx), (uint64_t)context->sequences * (uint64_t)contexts);
    return BATON_OK;
}
