/* Speech recognition: files, audio and parameters that are refused, each with its reason. */
#include <unistd.h>

#include "speech_util.h"

static void refused(const char *path, baton_status status, const char *part_of_text) {
    struct bt_whisper_model_params params = {.path = path};
    struct bt_whisper *w = (struct bt_whisper *)1;
    baton_error err;
    baton_status got = bt_whisper_open(&params, &w, &err);
    if (got != status || !strstr(err.text, part_of_text))
        fail_msg("%s: %s, %s", path, baton_status_name(got), err.text);
    assert_null(w);
}

/* The first `keep` bytes of the good model, or all but the last -keep; with `at`, four bytes there are `value`. */
static void write_copy(const char *path, long keep, long at, int32_t value) {
    FILE *in = fopen(model_path("whisper.bin"), "rb"), *out = fopen(path, "wb");
    char buf[4096];
    assert_non_null(in);
    assert_non_null(out);
    if (keep < 0) {
        assert_int_equal(fseek(in, 0, SEEK_END), 0);
        keep += ftell(in);
        rewind(in);
    }
    for (size_t n; keep > 0 && (n = fread(buf, 1, BT_MIN(sizeof buf, (size_t)keep), in)) > 0; keep -= (long)n)
        assert_int_equal(fwrite(buf, 1, n, out), n);
    if (at >= 0) {
        assert_int_equal(fseek(out, at, SEEK_SET), 0);
        assert_int_equal(fwrite(&value, sizeof value, 1, out), 1);
    }
    fclose(in);
    fclose(out);
}

#ifndef __SANITIZE_ADDRESS__
static long place_of(const char *text) {
    static char all[1 << 24];
    FILE *in = fopen(model_path("whisper.bin"), "rb");
    assert_non_null(in);
    size_t n = fread(all, 1, sizeof all, in);
    fclose(in);
    const char *at = memmem(all, n, text, strlen(text));
    assert_non_null(at);
    return at - all;
}
#endif

static void files_that_are_no_sound_model(void **state) {
    (void)state;
    enum { SHAPE = 4, FILTERS = SHAPE + 11 * 4, WORDS = FILTERS + 8 + 80 * 201 * 4, ALL = 1 << 30 };
    char path[] = "/tmp/baton-whisper-XXXXXX", gguf[4096];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    refused(NULL, BATON_INVALID, "no model file");
    refused("/nowhere/ggml-base.bin", BATON_NOT_FOUND, "/nowhere/ggml-base.bin");
    refused("/tmp", BATON_BAD_MODEL, "not a file");
    snprintf(gguf, sizeof gguf, "%s/baton-tiny-q8_0.gguf", getenv("BATON_MODEL_DIR"));
    refused(gguf, BATON_BAD_MODEL, "not a whisper model");
    refused(model_path("no-space.bin"), BATON_BAD_MODEL, "no \" \" in its vocabulary");
    static const struct {
        long keep, at;
        int32_t value;
        baton_status status;
        const char *text;
    } cases[] = {
        {0, -1, 0, BATON_BAD_MODEL, "not a whisper model"},
        {FILTERS - 4, -1, 0, BATON_BAD_MODEL, "cut off"},
        {WORDS - 4, -1, 0, BATON_BAD_MODEL, "cut off"},
        {WORDS + 5000, -1, 0, BATON_BAD_MODEL, "cut off"},
        {2000000, -1, 0, BATON_BAD_MODEL, "cut off"},
        {-100, -1, 0, BATON_BAD_MODEL, "cut off"}, /* in the last tensor: libwhisper would load it */
        {ALL, SHAPE, 51867, BATON_UNSUPPORTED, "51867 tokens"},
        {ALL, SHAPE + 4, 0, BATON_BAD_MODEL, "audio context"},
        {ALL, SHAPE + 12, 7, BATON_BAD_MODEL, "heads"},
        {ALL, SHAPE + 36, 81, BATON_BAD_MODEL, "mel filters"},
        {ALL, WORDS, 60000, BATON_BAD_MODEL, "number of words"},
        {ALL, SHAPE + 32, 2, BATON_BAD_MODEL, "50 tensors of 74"},
        {ALL, SHAPE + 40, 999, BATON_BAD_MODEL, "file type"}, /* ggml would abort */
        {ALL, SHAPE + 40, 4, BATON_BAD_MODEL, "file type"},
    };
    for (size_t i = 0; i < BT_COUNT(cases); i++) {
        write_copy(path, cases[i].keep, cases[i].at, cases[i].value);
        refused(path, cases[i].status, cases[i].text);
    }
#ifndef __SANITIZE_ADDRESS__ /* libwhisper leaks what it refuses */
    write_copy(path, ALL, place_of("encoder.positional_embedding"), 0x21212121);
    refused(path, BATON_BAD_MODEL, "unknown tensor '!!!!der"); /* its own words: its log is ours */
#endif
    unlink(path);
}

static struct bt_whisper *w;
static struct bt_whisper_state *s;
static struct bt_audio good;

static void not_heard(const struct bt_audio *a, const struct bt_whisper_params *p, baton_status status,
                      const char *part_of_text) {
    struct bt_whisper_result r;
    baton_error err;
    baton_status got = s->ops->full(s, a, p, &r, &err);
    if (got != status || !strstr(err.text, part_of_text))
        fail_msg("%s, %s", baton_status_name(got), got ? err.text : "");
    assert_int_equal(r.n_segments, 0);
    bt_whisper_result_free(&r);
}

static void audio_that_cannot_be_heard(void **state) {
    (void)state;
    struct bt_whisper_params p = english();
    struct bt_audio a = good;
    int frames;
    a.rate = 44100;
    not_heard(&a, &p, BATON_INVALID, "44100");
    a = good;
    a.n = 1599;
    not_heard(&a, &p, BATON_INVALID, "too short");
    a.n = 0;
    a.samples = NULL;
    not_heard(&a, &p, BATON_INVALID, "too short");
    a = good;
    a.n = (size_t)INT32_MAX + 1;
    not_heard(&a, &p, BATON_INVALID, "cut the audio");
    a = good;
    float was = a.samples[1000];
    ((float *)a.samples)[1000] = NAN;
    not_heard(&a, &p, BATON_INVALID, "sample 1000");
    assert_int_equal(s->ops->mel(s, &a, 1, &frames, NULL), BATON_INVALID);
    ((float *)a.samples)[1000] = was;
    a.n = 1600;
    struct bt_whisper_result r = must_hear(s, &a, &p);
    bt_whisper_result_free(&r);
}

static void parameters_that_make_no_sense(void **state) {
    (void)state;
    char prompt[BT_WHISPER_PROMPT_MAX + 2];
    struct bt_whisper_params p;
    memset(prompt, 'a', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = '\0';
#define REFUSED(field, value, status, text)                                                                            \
    p = english();                                                                                                     \
    p.field = value;                                                                                                   \
    not_heard(&good, &p, status, text)
    REFUSED(vad, true, BATON_UNSUPPORTED, "vad");
    REFUSED(language, "xx", BATON_INVALID, "'xx'");
    REFUSED(language, "yue", BATON_UNSUPPORTED, "'yue'");
    REFUSED(threads, -1, BATON_INVALID, "-1 threads");
    REFUSED(threads, 100000, BATON_INVALID, "100000 threads");
    REFUSED(temperature, 1.5f, BATON_INVALID, "temperature");
    REFUSED(temperature, NAN, BATON_INVALID, "temperature");
    REFUSED(temperature_step, 1e-6f, BATON_INVALID, "step");
    REFUSED(best_of, 9, BATON_INVALID, "best_of");
    REFUSED(beams, 9, BATON_INVALID, "beams");
    REFUSED(offset_ms, -1, BATON_INVALID, "offset");
    REFUSED(offset_ms, 950, BATON_INVALID, "950 ms");
    REFUSED(duration_ms, 50, BATON_INVALID, "50 ms");
    REFUSED(max_chars, 5, BATON_INVALID, "token_timestamps");
    REFUSED(initial_prompt, prompt, BATON_TOO_LONG, "4097 bytes");
    prompt[BT_WHISPER_PROMPT_MAX] = '\0';
    REFUSED(initial_prompt, prompt, BATON_INVALID, "4096 bytes of the initial prompt");
#undef REFUSED
    for (size_t i = BT_WHISPER_WORD_MAX; i < BT_WHISPER_PROMPT_MAX; i += BT_WHISPER_WORD_MAX + 1)
        prompt[i] = ' ';
    p = english();
    p.initial_prompt = prompt;
    struct bt_whisper_result r = must_hear(s, &good, &p);
    bt_whisper_result_free(&r);
}

static int open_all(void **state) {
    (void)state;
    w = open_whisper("whisper.bin");
    s = open_state(w);
    good = make_audio(440, 1);
    return 0;
}
static int close_all(void **state) {
    (void)state;
    free_audio(&good);
    s->ops->free(s);
    w->ops->free(w);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_no_sound_model),
        cmocka_unit_test(audio_that_cannot_be_heard),
        cmocka_unit_test(parameters_that_make_no_sense),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
