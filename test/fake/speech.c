/* Speech recognition without libwhisper: what a build without it says, and one audio over several states that only
 * pretend to hear. */
#include "harness.h"

#include <stdatomic.h>
#include <string.h>

#include "native/whisper_none.c"
#include "overlap.h"

/* Says one segment per second of audio, its number as its text, and "hears" the others meanwhile. */
struct fake_state {
    struct bt_whisper_state base;
    _Atomic int *inside;
    int together; /* waits for so many to be inside */
    baton_status fails;
};

static baton_status fake_full(struct bt_whisper_state *base, const struct bt_audio *audio,
                              const struct bt_whisper_params *params, struct bt_whisper_result *result,
                              baton_error *err) {
    struct fake_state *s = BT_CONTAINER(base, struct fake_state, base);
    size_t n = audio->n / BT_WHISPER_RATE;
    *result = (struct bt_whisper_result){.language = 2, .lang_str = "de"};
    ++*s->inside;
    overlap_wait_until(*s->inside >= s->together);
    if (s->fails)
        return bt_fail(err, s->fails, "this one fails");
    if (params->cancelled && params->cancelled(params->arg))
        return bt_fail(err, BATON_CANCELLED, "cancelled");
    assert_string_equal(params->language, "de");
    result->segments = calloc(n + 1, sizeof *result->segments);
    for (; result->n_segments < n; result->n_segments++) {
        struct bt_whisper_token *t = calloc(1, sizeof *t);
        int64_t at = (int64_t)result->n_segments * 1000;
        *t = (struct bt_whisper_token){.id = (int32_t)audio->samples[0], .t0_ms = at, .t1_ms = at + 1, .text = "x"};
        result->segments[result->n_segments] =
            (struct bt_whisper_segment){.t0_ms = at, .t1_ms = at + 1200, .text = "x", .tokens = t, .n_tokens = 1};
        params->on_progress(params->arg, (int)((result->n_segments + 1) * 100 / n));
    }
    return BATON_OK;
}

static baton_status fake_detect(struct bt_whisper_state *s, const struct bt_audio *audio, int offset_ms, int threads,
                                int *language, float *probabilities, baton_error *err) {
    (void)s, (void)audio, (void)offset_ms, (void)threads, (void)probabilities, (void)err;
    *language = 2;
    return BATON_OK;
}
static void fake_info(const struct bt_whisper *w, struct bt_whisper_info *info) {
    (void)w;
    *info = (struct bt_whisper_info){.multilingual = true};
}
static const char *fake_lang_str(const struct bt_whisper *w, int id) {
    (void)w;
    return id == 2 ? "de" : NULL;
}

static const struct bt_whisper_ops model_ops = {.info = fake_info, .lang_str = fake_lang_str};
static const struct bt_whisper_state_ops state_ops = {.full = fake_full, .detect = fake_detect};
static struct bt_whisper model = {.ops = &model_ops};

enum { STATES = 4, SECONDS = 9 };
static float samples[SECONDS * BT_WHISPER_RATE];
static struct fake_state fakes[STATES];
static struct bt_whisper_state *states[STATES];
static _Atomic int inside;

static const struct bt_audio nine_seconds = {samples, BT_COUNT(samples), BT_WHISPER_RATE};

static int set_up(void **state) {
    (void)state;
    inside = 0;
    for (size_t i = 0; i < BT_COUNT(samples); i++)
        samples[i] = (float)(i / BT_WHISPER_RATE); /* the second it is in */
    for (int i = 0; i < STATES; i++) {
        fakes[i] = (struct fake_state){.base = {&state_ops, &model}, .inside = &inside, .together = STATES};
        states[i] = &fakes[i].base;
    }
    return 0;
}

static void hear_percent(void *arg, int percent) {
    int *last = arg;
    assert_true(percent > *last && percent <= 100);
    *last = percent;
}

static void parts_run_at_once_and_their_segments_are_joined_in_time(void **state) {
    (void)state;
    struct bt_whisper_params p = BT_WHISPER_PARAMS_DEFAULT;
    struct bt_whisper_result r;
    baton_error err;
    int percent = -1;
    p.on_progress = hear_percent;
    p.arg = &percent;
    p.offset_ms = 1000; /* 8 s in 4 parts */
    assert_int_equal(bt_whisper_parallel(states, STATES, &nine_seconds, &p, &r, &err), BATON_OK);
    assert_int_equal(inside, STATES);
    assert_int_equal(r.n_segments, 8);
    assert_int_equal(r.language, 2);
    assert_string_equal(r.lang_str, "de");
    assert_int_equal(percent, 100);
    for (int i = 0; i < 8; i++) {
        const struct bt_whisper_segment *s = &r.segments[i];
        assert_int_equal(s->tokens[0].id, 1 + i / 2 * 2); /* where its part begins */
        assert_int_equal(s->tokens[0].t0_ms, 1000 + i * 1000);
        assert_int_equal(s->t0_ms, i == 0 ? 1000 : 1000 + i * 1000 + 200); /* none before the end of the last */
        assert_int_equal(s->t1_ms, 1000 + i * 1000 + 1200);
    }
    bt_whisper_result_free(&r);
}

static void the_cause_of_a_failure_is_told_and_nothing_else_is_left(void **state) {
    (void)state;
    struct bt_whisper_params p = BT_WHISPER_PARAMS_DEFAULT;
    struct bt_whisper_result r;
    baton_error err;
    fakes[2].fails = BATON_FAILED;
    assert_int_equal(bt_whisper_parallel(states, STATES, &nine_seconds, &p, &r, &err), BATON_FAILED);
    assert_string_equal(err.text, "this one fails");
    assert_int_equal(r.n_segments, 0);
    assert_null(r.segments);
    struct bt_audio slow = nine_seconds;
    slow.rate = 8000;
    assert_int_equal(bt_whisper_parallel(states, STATES, &slow, &p, &r, &err), BATON_INVALID);
    assert_int_equal(bt_whisper_parallel(states, 0, &nine_seconds, &p, &r, &err), BATON_INVALID);
}

static void a_build_without_libwhisper_says_how_to_get_it(void **state) {
    (void)state;
    struct bt_whisper_model_params params = {.path = "ggml-base.bin"};
    struct bt_whisper *w = &model;
    baton_error err;
    assert_int_equal(bt_whisper_open_native(&params, &w, &err), BATON_UNSUPPORTED);
    assert_null(w);
    assert_non_null(strstr(err.text, "ggml-base.bin"));
    assert_non_null(strstr(err.text, "libwhisper-dev"));
    assert_null(bt_whisper_version());
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(parts_run_at_once_and_their_segments_are_joined_in_time, set_up),
        cmocka_unit_test_setup(the_cause_of_a_failure_is_told_and_nothing_else_is_left, set_up),
        cmocka_unit_test_setup(a_build_without_libwhisper_says_how_to_get_it, set_up),
    };
    return bt_test_run(tests, argc, argv);
}
