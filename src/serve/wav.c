/* RIFF chunk by chunk: "fmt " says what the samples are, "data" has them, the rest is passed over. State: none. */
#include "serve/wav.h"

#include <stdlib.h>
#include <string.h>

enum {
    FORM = 12, /* "RIFF", its length, "WAVE" */
    CHUNK = 8, /* a name, a length */
    FORMAT = 16,
    FORMAT_EXTENSIBLE = 26, /* up to the tag that is meant */
    PCM = 1,
    EXTENSIBLE = 0xfffe,
    BITS = 16,
};
#define CURE "expected PCM of 16 bits, mono, %u samples a second (ffmpeg -i FILE -ac 1 -ar %u -c:a pcm_s16le OUT.wav)"

static uint32_t little_endian(const unsigned char *b, int n) {
    uint32_t value = 0;
    while (n-- > 0)
        value = value << 8 | b[n];
    return value;
}

static baton_status check_format(const unsigned char *f, size_t len, unsigned rate, baton_error *err) {
    if (len < FORMAT)
        return bt_fail(err, BATON_INVALID, "the WAV file's format has %zu bytes: expected %d or more", len, FORMAT);
    unsigned tag = little_endian(f, 2), channels = little_endian(f + 2, 2), found = little_endian(f + 4, 4),
             bits = little_endian(f + 14, 2);
    if (tag == EXTENSIBLE && len >= FORMAT_EXTENSIBLE)
        tag = little_endian(f + 24, 2);
    if (tag != PCM)
        return bt_fail(err, BATON_INVALID, "the WAV file's samples have format %u (1 is PCM): " CURE, tag, rate, rate);
    if (channels != 1)
        return bt_fail(err, BATON_INVALID, "the WAV file has %u channels: " CURE, channels, rate, rate);
    if (found != rate)
        return bt_fail(err, BATON_INVALID, "the WAV file has %u samples a second: " CURE, found, rate, rate);
    if (bits != BITS)
        return bt_fail(err, BATON_INVALID, "the WAV file has samples of %u bits: " CURE, bits, rate, rate);
    return BATON_OK;
}

static baton_status take_samples(const unsigned char *bytes, size_t len, float **samples, size_t *n, baton_error *err) {
    *n = len / 2;
    *samples = malloc((*n + 1) * sizeof **samples);
    if (!*samples)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu samples", *n);
    for (size_t i = 0; i < *n; i++)
        (*samples)[i] = (float)(int16_t)little_endian(bytes + 2 * i, 2) / 32768;
    return BATON_OK;
}

baton_status bt_wav_read(const unsigned char *bytes, size_t len, unsigned rate, float **samples, size_t *n,
                         baton_error *err) {
    bool formatted = false;
    *samples = NULL;
    *n = 0;
    if (len < FORM || memcmp(bytes, "RIFF", 4) != 0 || memcmp(bytes + 8, "WAVE", 4) != 0)
        return bt_fail(err, BATON_INVALID,
                       "%zu bytes that are no WAV file: they do not begin with RIFF and WAVE. " CURE, len, rate, rate);
    for (size_t at = FORM; len - at >= CHUNK;) {
        const unsigned char *chunk = bytes + at;
        size_t size = little_endian(chunk + 4, 4), left = len - at - CHUNK;
        if (memcmp(chunk, "data", 4) == 0) {
            if (!formatted)
                return bt_fail(err, BATON_INVALID, "the WAV file has samples before it says their format");
            if (size > left && size != UINT32_MAX) /* that is what a pipe's writer says, who cannot go back */
                return bt_fail(err, BATON_INVALID, "the WAV file is cut off: it says %zu bytes of samples and has %zu",
                               size, left);
            return take_samples(chunk + CHUNK, BT_MIN(size, left), samples, n, err);
        }
        if (size > left)
            break;
        if (memcmp(chunk, "fmt ", 4) == 0) {
            baton_status status = check_format(chunk + CHUNK, size, rate, err);
            if (status)
                return status;
            formatted = true;
        }
        at += CHUNK + BT_MIN(left, size + size % 2); /* chunks begin at even places */
    }
    return bt_fail(err, BATON_INVALID, "the WAV file is cut off: there are no samples in its %zu bytes", len);
}
