/* Image files made on the spot: PNGs of random pixels, and a JPEG of eight by eight grey ones. */
#ifndef BT_PICTURES_H
#define BT_PICTURES_H

#include <string.h>
#include <zlib.h>

#include "harness.h"

struct picture {
    unsigned char bytes[1 << 15];
    size_t size;
};

static inline void put_be32(unsigned char *to, size_t v) {
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(v >> (24 - 8 * i));
}

static inline void png_chunk(struct picture *p, const char *type, const void *body, size_t len) {
    unsigned char *to = p->bytes + p->size;
    assert_true(p->size + len + 12 <= sizeof p->bytes);
    put_be32(to, len);
    memcpy(to + 4, type, 4);
    if (len)
        memcpy(to + 8, body, len);
    put_be32(to + 8 + len, crc32(crc32(0, NULL, 0), to + 4, (uInt)(len + 4)));
    p->size += len + 12;
}

static inline void png_header(struct picture *p, unsigned width, unsigned height) {
    unsigned char header[13] = {[8] = 8, [9] = 2};
    memcpy(p->bytes, "\x89PNG\r\n\x1a\n", 8);
    p->size = 8;
    put_be32(header, width);
    put_be32(header + 4, height);
    png_chunk(p, "IHDR", header, sizeof header);
}

/* `pixels` bytes of data from a seed, whatever the header says. */
static inline void png_data(struct picture *p, unsigned width, size_t pixels, uint64_t seed) {
    static _Thread_local unsigned char raw[1 << 22], packed[1 << 15];
    uLongf len = sizeof packed;
    assert_true(pixels <= sizeof raw);
    memset(raw, 0, pixels);
    for (size_t i = 0; i < pixels && seed; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        raw[i] = i % (3 * width + 1) ? (unsigned char)(seed >> 56) : 0;
    }
    assert_int_equal(compress2(packed, &len, raw, pixels, 9), Z_OK);
    png_chunk(p, "IDAT", packed, len);
}

static inline void make_png(struct picture *p, unsigned width, unsigned height, uint64_t seed) {
    png_header(p, width, height);
    png_data(p, width, (size_t)height * (3 * width + 1), seed);
    png_chunk(p, "IEND", NULL, 0);
}

/* Baseline, one component, one block: a difference of seven bits, and the end of the block. */
static inline void make_jpeg(struct picture *p, unsigned grey) {
    static const unsigned char tables[] = {0xff, 0xc4, 0, 20, 0x00, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
                                           0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const unsigned char frame[] = {0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0};
    static const unsigned char scan[] = {0xff, 0xda, 0, 8, 1, 1, 0x00, 0, 63, 0};
    unsigned char *to = p->bytes;
    to = (unsigned char *)mempcpy(to, "\xff\xd8\xff\xdb\0\x43\0", 7);
    memset(to, 8, 64);
    to = (unsigned char *)mempcpy(to + 64, frame, sizeof frame);
    to = (unsigned char *)mempcpy(to, tables, 22);
    to = (unsigned char *)mempcpy(to, tables + 22, 22);
    to = (unsigned char *)mempcpy(to, scan, sizeof scan);
    *to++ = (unsigned char)((grey & 127) & 0x7f); /* code 0, seven bits */
    *to++ = 0x7f;                                 /* code 0, and ones to the end of the byte */
    p->size = (size_t)(to - p->bytes);
    memcpy(p->bytes + p->size, "\xff\xd9", 2);
    p->size += 2;
}

#endif
