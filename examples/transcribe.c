/* Speech to text: a WAV file in, segments with their times out, as they are heard.
 *
 *     transcribe MODEL FILE.wav [LANGUAGE]
 *
 * The file is mono, 16,000 samples a second, 16 bits (whisper hears nothing else, and nothing here resamples); of
 * others it says what they have. LANGUAGE is "de" or "german"; without it the language is detected. */
#include <baton/whisper.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PCM = 1, EXTENSIBLE = 0xfffe, HEADER = 12, CHUNK = 8, FORMAT = 16 };

static unsigned little_endian(const unsigned char *b, int n) {
    unsigned value = 0;
    while (n-- > 0)
        value = value << 8 | b[n];
    return value;
}

static int complain(const char *path, const char *what) {
    fprintf(stderr, "%s %s. Make it one: ffmpeg -i FILE -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav\n", path, what);
    return 1;
}

/* What the chunk "fmt " says. 0: it can be heard. */
static int check_format(const char *path, const unsigned char *f) {
    char what[128];
    unsigned kind = little_endian(f, 2), channels = little_endian(f + 2, 2), rate = little_endian(f + 4, 4);
    unsigned bits = little_endian(f + 14, 2);
    if (kind != PCM && kind != EXTENSIBLE)
        snprintf(what, sizeof what, "is not PCM (its format is %u)", kind);
    else if (channels != 1)
        snprintf(what, sizeof what, "has %u channels, not one", channels);
    else if (rate != BATON_WHISPER_RATE)
        snprintf(what, sizeof what, "has %u samples a second, not %d", rate, BATON_WHISPER_RATE);
    else if (bits != 16)
        snprintf(what, sizeof what, "has samples of %u bits, not 16", bits);
    else
        return 0;
    return complain(path, what);
}

/* The samples of the chunk "data", -1 to 1. 0: *samples is the caller's. */
static int read_samples(const char *path, FILE *in, size_t bytes, float **samples, size_t *n) {
    unsigned char pair[2];
    *samples = malloc(bytes / 2 * sizeof **samples + 1);
    for (*n = 0; *samples && *n < bytes / 2 && fread(pair, 1, 2, in) == 2; ++*n)
        (*samples)[*n] = (float)(int16_t)little_endian(pair, 2) / 32768;
    if (*samples && *n > 0)
        return 0;
    fprintf(stderr, "%s: %s\n", path, *samples ? "there are no samples in it" : "no memory for its samples");
    return 1;
}

static int read_wav(const char *path, float **samples, size_t *n) {
    unsigned char head[HEADER], chunk[CHUNK], format[FORMAT];
    int formatted = 0, failed = 1;
    FILE *in = fopen(path, "rb");
    if (!in) {
        perror(path);
        return 1;
    }
    if (fread(head, 1, HEADER, in) != HEADER || memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0) {
        fclose(in);
        return complain(path, "is no WAV file");
    }
    while (fread(chunk, 1, CHUNK, in) == CHUNK) {
        unsigned size = little_endian(chunk + 4, 4);
        if (memcmp(chunk, "data", 4) == 0) {
            failed = formatted ? read_samples(path, in, size, samples, n) : complain(path, "does not say its format");
            fclose(in);
            return failed;
        }
        if (memcmp(chunk, "fmt ", 4) == 0 && size >= FORMAT) {
            if (fread(format, 1, FORMAT, in) != FORMAT)
                break;
            formatted = 1;
            size -= FORMAT;
            if (check_format(path, format)) {
                fclose(in);
                return 1;
            }
        }
        if (fseek(in, (long)size + size % 2, SEEK_CUR)) /* chunks begin at even places */
            break;
    }
    fclose(in);
    return complain(path, "is cut off: it has no samples");
}

static void print_time(int64_t ms) {
    printf("%02" PRId64 ":%02" PRId64 ".%03" PRId64, ms / 60000, ms / 1000 % 60, ms % 1000);
}

static bool print_segment(void *arg, const baton_whisper_segment *segment, size_t index) {
    (void)arg;
    (void)index;
    putchar('[');
    print_time(segment->t0_ms);
    printf(" --> ");
    print_time(segment->t1_ms);
    printf("] %s\n", segment->text);
    fflush(stdout);
    return true;
}

int main(int argc, char **argv) {
    baton_whisper *whisper;
    baton_whisper_ask ask = BATON_WHISPER_ASK;
    baton_whisper_result result;
    baton_error error;
    float *samples = NULL;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s MODEL FILE.wav [LANGUAGE]\n", argv[0]);
        return 2;
    }
    if (read_wav(argv[2], &samples, &ask.n_samples))
        return 1;
    if (baton_whisper_open(&whisper, argv[1], NULL, &error)) {
        fprintf(stderr, "%s\n", error.text);
        free(samples);
        return 1;
    }
    ask.samples = samples;
    ask.language = argc > 3 ? argv[3] : NULL;
    ask.on_segment = print_segment;
    baton_status status = baton_whisper_full(whisper, &ask, &result, &error);
    if (status)
        fprintf(stderr, "%s\n", error.text);
    else
        fprintf(stderr, "language %s, %zu segments in %.1f s\n", result.outcome.language_name, result.n_segments,
                (double)result.outcome.run_ns / 1e9);
    baton_whisper_result_free(&result);
    baton_whisper_close(&whisper);
    free(samples);
    return status != BATON_OK;
}
