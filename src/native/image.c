/* Image files as strangers send them: what can be said of them without decoding. Stateless.
 *
 * The decoder behind libmtmd trusts the sizes in a file and unfolds a PNG's data to its end, however long that is, and
 * what it cannot decode its helper gives to programs that it starts. So nothing gets there that does not look like one
 * of two kinds of file, of a bounded size, through and through. */
#include "native/image.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct reader {
    const unsigned char *bytes;
    size_t len, at;
};

static uint32_t big_endian(const unsigned char *b, int n) {
    uint32_t v = 0;
    for (int i = 0; i < n; i++)
        v = v << 8 | b[i];
    return v;
}

static const unsigned char *take(struct reader *r, size_t n) {
    if (r->len - r->at < n)
        return NULL;
    r->at += n;
    return r->bytes + r->at - n;
}

static baton_status damaged(size_t number, const char *kind, const char *what, baton_error *err) {
    return bt_fail(err, BATON_INVALID, "image %zu is a damaged %s: %s", number, kind, what);
}

static baton_status check_size(const struct bt_image_shape *s, size_t number, const char *kind, baton_error *err) {
    if (s->width == 0 || s->height == 0)
        return damaged(number, kind, "it has no pixels", err);
    if (s->width > BT_IMAGE_SIDE_MAX || s->height > BT_IMAGE_SIDE_MAX ||
        (uint64_t)s->width * s->height > BT_IMAGE_PIXELS_MAX)
        return bt_fail(err, BATON_INVALID,
                       "image %zu is a %s of %u x %u pixels: at most %d pixels, %d on a side, are taken. Models see "
                       "images at a fraction of that: make it smaller",
                       number, kind, s->width, s->height, BT_IMAGE_PIXELS_MAX, BT_IMAGE_SIDE_MAX);
    return BATON_OK;
}

/* A PNG's data, unfolded into nowhere. */
struct unfold {
    z_stream z;
    uint64_t out, most;
    bool done, bad;
};

static void unfold(struct unfold *u, const unsigned char *data, size_t len) {
    unsigned char nowhere[32768];
    u->z.next_in = (unsigned char *)data;
    u->z.avail_in = (uInt)len;
    while (!u->done && !u->bad && u->out <= u->most) {
        u->z.next_out = nowhere;
        u->z.avail_out = sizeof nowhere;
        int rc = inflate(&u->z, Z_NO_FLUSH);
        u->out += sizeof nowhere - u->z.avail_out;
        u->done = rc == Z_STREAM_END;
        if (rc == Z_BUF_ERROR || (rc == Z_OK && u->z.avail_in == 0 && u->z.avail_out > 0))
            return; /* it goes on in the next chunk */
        u->bad = rc != Z_OK && rc != Z_STREAM_END;
    }
}

enum { HEADER = 13 }; /* bytes of IHDR */

/* What the data of such a header may unfold to: rows of filter byte and pixels; interlaced ones have up to twice as
 * many, shorter ones. */
static uint64_t unfolded(const unsigned char h[HEADER], const struct bt_image_shape *s) {
    static const uint64_t channels[] = {1, 0, 3, 1, 2, 0, 4};
    uint64_t depth = h[8], kind = h[9];
    if (kind >= BT_COUNT(channels) || channels[kind] == 0 || depth == 0 || depth > 16)
        return 0;
    return 2 * (uint64_t)s->height * ((s->width * channels[kind] * depth + 7) / 8 + 8);
}

static baton_status png_data(struct reader *r, struct unfold *u, size_t number, baton_error *err) {
    for (;;) {
        const unsigned char *head = take(r, 8);
        const unsigned char *body = head ? take(r, big_endian(head, 4)) : NULL;
        if (!body || !take(r, 4))
            return damaged(number, "PNG", "it is cut off", err);
        if (memcmp(head + 4, "IEND", 4) == 0)
            break;
        if (memcmp(head + 4, "IDAT", 4) == 0)
            unfold(u, body, big_endian(head, 4));
        if (u->bad)
            return damaged(number, "PNG", "its data cannot be unfolded", err);
        if (u->out > u->most)
            return damaged(number, "PNG", "its data is more than its size needs", err);
    }
    return u->done ? BATON_OK : damaged(number, "PNG", "its data is cut off", err);
}

static baton_status look_at_png(struct reader r, size_t number, struct bt_image_shape *s, baton_error *err) {
    take(&r, 8);
    const unsigned char *head = take(&r, 8), *body = head ? take(&r, HEADER + 4) : NULL;
    if (!body || big_endian(head, 4) != HEADER || memcmp(head + 4, "IHDR", 4) != 0)
        return damaged(number, "PNG", "it does not begin with its header", err);
    *s = (struct bt_image_shape){big_endian(body, 4), big_endian(body + 4, 4), false};
    baton_status status = check_size(s, number, "PNG", err);
    if (status)
        return status;
    struct unfold u = {.most = unfolded(body, s)};
    if (u.most == 0)
        return damaged(number, "PNG", "there is no such kind of pixel", err);
    if (inflateInit(&u.z) != Z_OK)
        return bt_fail(err, BATON_NO_MEMORY, "no memory to look into image %zu", number);
    status = png_data(&r, &u, number, err);
    inflateEnd(&u.z);
    return status;
}

/* Segments up to the one that says how large it is. */
static baton_status look_at_jpeg(struct reader r, size_t number, struct bt_image_shape *s, baton_error *err) {
    take(&r, 2);
    for (;;) {
        const unsigned char *b = take(&r, 1);
        if (!b || *b != 0xff)
            return damaged(number, "JPEG", b ? "something stands where a marker must" : "it is cut off", err);
        while ((b = take(&r, 1)) && *b == 0xff)
            ;
        const unsigned char *size = b ? take(&r, 2) : NULL;
        const unsigned char *body = size && big_endian(size, 2) >= 2 ? take(&r, big_endian(size, 2) - 2) : NULL;
        if (!body)
            return damaged(number, "JPEG", "it is cut off before its size is told", err);
        if (*b == 0xd9 || *b == 0xda)
            return damaged(number, "JPEG", "it has no frame header", err);
        if (*b < 0xc0 || *b > 0xcf || *b == 0xc4 || *b == 0xc8 || *b == 0xcc)
            continue;
        if (*b > 0xc2)
            return bt_fail(err, BATON_INVALID,
                           "image %zu is a JPEG of a rare kind (SOF%d): baseline and progressive ones are read", number,
                           *b - 0xc0);
        if (big_endian(size, 2) < 8)
            return damaged(number, "JPEG", "its frame header is too short", err);
        *s = (struct bt_image_shape){big_endian(body + 3, 2), big_endian(body + 1, 2), true};
        return check_size(s, number, "JPEG", err);
    }
}

baton_status bt_image_look(const struct bt_image *image, size_t number, struct bt_image_shape *shape,
                           baton_error *err) {
    static const unsigned char png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, jpeg[] = {0xff, 0xd8, 0xff};
    struct reader r = {image->bytes, image->len, 0};
    if (!image->bytes || image->len == 0)
        return bt_fail(err, BATON_INVALID, "image %zu is empty: give the bytes of a PNG or JPEG file", number);
    if (image->len > BT_IMAGE_BYTES_MAX)
        return bt_fail(err, BATON_INVALID, "image %zu has %zu bytes: at most %d are taken, make it smaller", number,
                       image->len, BT_IMAGE_BYTES_MAX);
    if (image->len >= sizeof png && memcmp(image->bytes, png, sizeof png) == 0)
        return look_at_png(r, number, shape, err);
    if (image->len >= sizeof jpeg && memcmp(image->bytes, jpeg, sizeof jpeg) == 0)
        return look_at_jpeg(r, number, shape, err);
    return bt_fail(err, BATON_INVALID,
                   "image %zu (%zu bytes) does not begin as a PNG or JPEG file does: give one of these", number,
                   image->len);
}

baton_status bt_image_texts(const char *text, size_t len, const char *mark, size_t n, bool sees, struct bt_text *texts,
                            baton_error *err) {
    size_t found = 0, mark_len = strlen(mark);
    if (!sees)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "this model was opened without a projector and reads text alone: give the path of its mmproj "
                       "file at open");
    if (n > BT_IMAGES_MAX)
        return bt_fail(err, BATON_INVALID, "%zu images: at most %d are possible in a request", n, BT_IMAGES_MAX);
    for (;;) {
        const char *next = memmem(text, len, mark, mark_len);
        size_t part = next ? (size_t)(next - text) : len;
        if (found <= n)
            texts[found] = (struct bt_text){text, part};
        if (!next)
            break;
        found++;
        text += part + mark_len;
        len -= part + mark_len;
    }
    if (found == n)
        return BATON_OK;
    return bt_fail(err, BATON_UNSUPPORTED,
                   "the model's chat template writes %zu images where the chat has %zu: give another chat template",
                   found, n);
}
