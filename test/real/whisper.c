/* Speech recognition on the real libwhisper and a random-weight model: transcription, segments, streaming, cancel,
 * languages, single steps, and what is refused. */
#include "speech_util.h"

static struct bt_whisper *w;
static struct bt_audio sweep, other;                /* 10 s, 33 s: two windows */
static struct bt_whisper_result of_sweep, of_other; /* lone runs in English */

static void the_model_says_what_it_is(void **state) {
    (void)state;
    struct bt_whisper_info i;
    w->ops->info(w, &i);
    assert_string_equal(i.name, "whisper.bin");
    assert_true(i.multilingual && i.timestamps);
    assert_int_equal(i.languages, 99);
    assert_int_equal(i.vocab_size, 51865);
    assert_int_equal(i.audio_ctx, 1500);
    assert_int_equal(i.mels, 80);
    assert_true(i.bytes > 1000000 && i.state_bytes > 1000000);
    assert_int_equal(w->ops->language(w, "german"), w->ops->language(w, "de"));
    assert_string_equal(w->ops->lang_str(w, 2), "de");
    assert_int_equal(w->ops->language(w, "yue"), -1); /* libwhisper knows it, this model does not */
    assert_null(w->ops->lang_str(w, 99));
    assert_string_equal(w->ops->token_text(w, 32), " ");
    assert_null(w->ops->token_text(w, 51865));
    assert_non_null(bt_whisper_version());
}

static void a_transcription_is_the_same_each_time_and_in_order(void **state) {
    (void)state;
    struct bt_whisper_params p = english();
    struct bt_whisper_result a = lone_run(w, &other, &p);
    struct bt_whisper_info info;
    w->ops->info(w, &info);
    assert_true(a.n_segments >= 6 && of_sweep.n_segments >= 3);
    assert_true(same_result(&a, &of_other));
    assert_false(begins(&of_sweep, &a)); /* it does listen */
    assert_string_equal(a.lang_str, "en");
    int64_t at = 0;
    for (size_t i = 0; i < a.n_segments; i++) {
        const struct bt_whisper_segment *s = &a.segments[i];
        struct bt_buf text = BT_BUF_INIT;
        assert_true(s->t0_ms >= at && s->t1_ms >= s->t0_ms);
        at = s->t1_ms;
        for (size_t k = 0; k < s->n_tokens; k++) {
            assert_true(s->tokens[k].p > 0 && s->tokens[k].p <= 1);
            if (s->tokens[k].id < info.end)
                bt_buf_adds(&text, s->tokens[k].text);
        }
        bt_buf_add(&text, "", 1);
        assert_string_equal(s->text, (char *)text.data);
        bt_buf_free(&text);
    }
    assert_true(at > 30000); /* beyond the first window */
    bt_whisper_result_free(&a);
}

/* Collects what the callbacks say. */
struct told {
    struct bt_whisper_result copy;
    size_t stop_after; /* segments; 0: never */
    bool stop_by_cancel;
    int percents[64], n_percents;
    struct bt_whisper_result *expected;
    bool as_expected;
};

static bool hear_segment(void *arg, const struct bt_whisper_segment *s, size_t index) {
    struct told *t = arg;
    t->as_expected &= index == t->copy.n_segments && index < t->expected->n_segments &&
                      same_segment(s, &t->expected->segments[index]);
    t->copy.n_segments++;
    return t->stop_by_cancel || t->copy.n_segments != t->stop_after;
}
static void hear_percent(void *arg, int percent) {
    struct told *t = arg;
    if (t->n_percents < (int)BT_COUNT(t->percents))
        t->percents[t->n_percents++] = percent;
}
static bool hear_cancel(void *arg) {
    struct told *t = arg;
    return t->stop_by_cancel && t->copy.n_segments >= t->stop_after;
}

static struct bt_whisper_params listened(struct told *t, struct bt_whisper_result *expected) {
    struct bt_whisper_params p = english();
    *t = (struct told){.expected = expected, .as_expected = true};
    p.on_segment = hear_segment;
    p.on_progress = hear_percent;
    p.cancelled = hear_cancel;
    p.arg = t;
    return p;
}

static void streamed_segments_are_the_final_ones_and_progress_ends_at_100(void **state) {
    (void)state;
    struct told t;
    struct bt_whisper_params p = listened(&t, &of_other);
    struct bt_whisper_result r = lone_run(w, &other, &p);
    assert_true(t.as_expected);
    assert_int_equal(t.copy.n_segments, of_other.n_segments);
    assert_true(same_result(&r, &of_other));
    assert_true(t.n_percents >= 3);
    for (int i = 0; i < t.n_percents; i++)
        assert_true(t.percents[i] <= 100 && (i == 0 || t.percents[i] > t.percents[i - 1]));
    assert_int_equal(t.percents[0], 0);
    assert_int_equal(t.percents[t.n_percents - 1], 100);
    bt_whisper_result_free(&r);
}

static void probe_P21_a_cancelled_transcription_stops_and_leaves_a_good_state(void **state) {
    (void)state;
    struct bt_whisper_params plain = english();
    struct bt_whisper_result r;
    struct bt_whisper_state *s = open_state(w);
    struct told t;
    baton_error err;
    for (size_t after = 0; after <= 2; after++) {
        struct bt_whisper_params p = listened(&t, &of_other);
        t.stop_after = after;
        t.stop_by_cancel = true;
        assert_int_equal(s->ops->full(s, &other, &p, &r, &err), BATON_CANCELLED);
        assert_non_null(strstr(err.text, "cancelled"));
        assert_int_equal(r.n_segments, after);
        assert_true(begins(&r, &of_other));
        assert_true(t.n_percents == 0 || t.percents[t.n_percents - 1] < 100);
        bt_whisper_result_free(&r);
        r = must_hear(s, &sweep, &plain);
        assert_true(same_result(&r, &of_sweep));
        bt_whisper_result_free(&r);
    }
    s->ops->free(s);
}

/* Inside the decoding of a window nobody is told anything: only the abort hook can stop it. */
struct countdown {
    int left, asked;
};
static bool count_down(void *arg) {
    struct countdown *c = arg;
    c->asked++;
    return --c->left < 0;
}

static void probe_P21_a_cancel_is_noticed_within_a_token(void **state) {
    (void)state;
    struct bt_whisper_state *s = open_state(w);
    struct bt_whisper_params p = english(), plain = english();
    struct bt_whisper_result r;
    struct countdown all = {.left = 1000000}, some;
    p.cancelled = count_down;
    p.arg = &all;
    r = must_hear(s, &sweep, &p);
    bt_whisper_result_free(&r);
    size_t tokens = 0;
    for (size_t i = 0; i < of_sweep.n_segments; i++)
        tokens += of_sweep.segments[i].n_tokens;
    assert_true(all.asked > (int)tokens);
    some = (struct countdown){.left = all.asked / 2};
    p.arg = &some;
    assert_int_equal(s->ops->full(s, &sweep, &p, &r, NULL), BATON_CANCELLED);
    assert_int_equal(some.asked, all.asked / 2 + 1); /* not once more */
    bt_whisper_result_free(&r);
    r = must_hear(s, &sweep, &plain);
    assert_true(same_result(&r, &of_sweep));
    bt_whisper_result_free(&r);
    s->ops->free(s);
}

static void enough_segments_are_enough(void **state) {
    (void)state;
    struct bt_whisper_result r;
    struct told t;
    struct bt_whisper_params p = listened(&t, &of_other);
    p.max_segments = 3;
    r = lone_run(w, &other, &p);
    assert_true(r.more && r.n_segments == 3 && begins(&r, &of_other) && t.copy.n_segments == 3);
    bt_whisper_result_free(&r);
    p = listened(&t, &of_other);
    t.stop_after = 2;
    r = lone_run(w, &other, &p);
    assert_true(r.more && r.n_segments == 2 && begins(&r, &of_other) && t.copy.n_segments == 2);
    assert_true(t.percents[t.n_percents - 1] < 100);
    bt_whisper_result_free(&r);
}

static void the_past_of_a_state_leaves_no_trace(void **state) {
    (void)state;
    struct bt_whisper_params p = english();
    struct bt_whisper_state *s = open_state(w);
    struct bt_whisper_result r = must_hear(s, &other, &p);
    bt_whisper_result_free(&r);
    r = must_hear(s, &sweep, &p);
    assert_true(same_result(&r, &of_sweep));
    bt_whisper_result_free(&r);
    s->ops->free(s);
}

static void draws_depend_on_the_request_alone(void **state) {
    (void)state;
    struct bt_whisper_params hot = english(), falling = english();
    hot.temperature = 0.8f;
    hot.best_of = 1;
    falling.temperature_step = 0.5f; /* a greedy window that failed is drawn */
    falling.best_of = 1;
    struct bt_whisper_params beams = english();
    beams.beams = 2;
    const struct bt_whisper_params *all[] = {&hot, &falling, &beams};
    for (size_t i = 0; i < BT_COUNT(all); i++) {
        struct bt_whisper_result expected = lone_run(w, &sweep, all[i]), r;
        struct bt_whisper_state *s = open_state(w);
        for (int k = 0; k < 2; k++) {
            r = must_hear(s, &sweep, all[i]);
            assert_true(same_result(&r, &expected));
            bt_whisper_result_free(&r);
        }
        bt_whisper_result_free(&expected);
        s->ops->free(s);
    }
    struct bt_whisper_result drawn = lone_run(w, &sweep, &falling);
    assert_false(same_result(&of_sweep, &drawn)); /* or the second round above has shown nothing */
    bt_whisper_result_free(&drawn);
}

static void timestamps_are_what_was_asked_for(void **state) {
    (void)state;
    struct bt_whisper_info info;
    w->ops->info(w, &info);
    struct bt_whisper_params p = english();
    p.no_timestamps = true;
    p.max_tokens = 20; /* nothing ends a window of this model sooner */
    struct bt_whisper_result r = lone_run(w, &sweep, &p);
    assert_true(r.n_segments >= 1);
    for (size_t i = 0; i < r.n_segments; i++)
        for (size_t k = 0; k < r.segments[i].n_tokens; k++) {
            assert_true(r.segments[i].tokens[k].id < info.first_timestamp);
            assert_int_equal(r.segments[i].tokens[k].t0_ms, -1);
        }
    bt_whisper_result_free(&r);
    p = english();
    p.token_timestamps = true;
    p.max_chars = 10;
    r = lone_run(w, &sweep, &p);
    assert_true(r.n_segments > of_sweep.n_segments);
    for (size_t i = 0; i < r.n_segments; i++)
        for (size_t k = 0; k < r.segments[i].n_tokens; k++)
            assert_true(r.segments[i].tokens[k].t0_ms >= 0 &&
                        r.segments[i].tokens[k].t1_ms >= r.segments[i].tokens[k].t0_ms);
    bt_whisper_result_free(&r);
}

static void parameters_reach_libwhisper(void **state) {
    (void)state;
    struct bt_whisper_params p;
    struct bt_whisper_result b;
    for (int i = 0; i < 5; i++) {
        p = english();
        if (i == 0)
            p.language = "de";
        if (i == 1)
            p.translate = true;
        if (i == 2)
            p.initial_prompt = "kitani teri";
        if (i == 3)
            p.offset_ms = 4000;
        if (i == 4)
            p.single_segment = true;
        b = lone_run(w, &sweep, &p);
        assert_false(same_result(&of_sweep, &b));
        assert_true(i != 4 || b.n_segments == 1);
        assert_true(i != 3 || b.segments[0].t0_ms >= 4000);
        bt_whisper_result_free(&b);
    }
    p = english();
    p.duration_ms = 1000000; /* beyond the end is not heard as silence */
    b = lone_run(w, &sweep, &p);
    assert_true(same_result(&of_sweep, &b));
    bt_whisper_result_free(&b);
    p = english();
    p.beams = 3;
    b = lone_run(w, &sweep, &p);
    assert_true(b.n_segments > 0);
    bt_whisper_result_free(&b);
}

static void the_language_is_told(void **state) {
    (void)state;
    struct bt_whisper_state *s = open_state(w);
    struct bt_whisper_params p = english();
    float probabilities[99];
    double sum = 0;
    int language, loudest = 0;
    baton_error err;
    assert_int_equal(s->ops->detect(s, &sweep, 0, 1, &language, probabilities, &err), BATON_OK);
    for (int i = 0; i < 99; i++) {
        assert_true(probabilities[i] >= 0 && probabilities[i] <= 1);
        sum += (double)probabilities[i];
        if (probabilities[i] > probabilities[loudest])
            loudest = i;
    }
    assert_true(fabs(sum - 1) < 1e-4);
    assert_int_equal(language, loudest);
    p.language = "auto";
    struct bt_whisper_result r = must_hear(s, &sweep, &p), expected = lone_run(w, &sweep, &p);
    assert_int_equal(r.language, language);
    assert_string_equal(r.lang_str, w->ops->lang_str(w, language));
    assert_true(same_result(&r, &expected));
    assert_int_equal(s->ops->detect(s, &sweep, 9950, 1, &language, NULL, &err), BATON_INVALID);
    bt_whisper_result_free(&r);
    bt_whisper_result_free(&expected);
    s->ops->free(s);
}

static void a_model_of_english_alone(void **state) {
    (void)state;
    struct bt_whisper *en = open_whisper("english.bin");
    struct bt_whisper_state *s = open_state(en);
    struct bt_whisper_params p = english();
    struct bt_whisper_result r;
    int language;
    baton_error err;
    assert_int_equal(s->ops->detect(s, &sweep, 0, 1, &language, NULL, &err), BATON_UNSUPPORTED);
    p.language = NULL;
    r = must_hear(s, &sweep, &p);
    assert_string_equal(r.lang_str, "en");
    bt_whisper_result_free(&r);
    p.language = "de";
    assert_int_equal(s->ops->full(s, &sweep, &p, &r, &err), BATON_UNSUPPORTED);
    p.language = "en";
    p.translate = true;
    assert_int_equal(s->ops->full(s, &sweep, &p, &r, &err), BATON_UNSUPPORTED);
    s->ops->free(s);
    en->ops->free(en);
}

static void the_steps_one_by_one(void **state) {
    (void)state;
    struct bt_whisper_state *a = open_state(w), *b = open_state(w);
    struct bt_whisper_info info;
    w->ops->info(w, &info);
    float *x = malloc(sizeof(float) * (size_t)info.vocab_size), *y = malloc(sizeof(float) * (size_t)info.vocab_size);
    const int32_t prompt[] = {info.start, info.first_language, info.transcribe}, too_big = info.vocab_size;
    int frames;
    baton_error err;
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(a->ops->encode(a, 0, 1, &err), BATON_MISUSE);
    assert_int_equal(a->ops->decode(a, prompt, 3, 0, 1, x, &err), BATON_MISUSE);
    assert_int_equal(a->ops->mel(a, &sweep, 1, &frames, &err), BATON_OK);
    assert_true(frames >= 990 && frames <= 1010);
    assert_int_equal(a->ops->encode(a, frames, 1, &err), BATON_INVALID);
    assert_int_equal(a->ops->encode(a, 0, 1, &err), BATON_OK);
    assert_int_equal(a->ops->decode(a, prompt, 3, 1, 1, x, &err), BATON_INVALID); /* somebody else's past */
    assert_int_equal(a->ops->decode(a, &too_big, 1, 0, 1, x, &err), BATON_INVALID);
    assert_int_equal(a->ops->decode(a, prompt, 3, 0, 1, x, &err), BATON_OK);
    struct bt_whisper_params p = english(); /* another's work in between */
    struct bt_whisper_result r = must_hear(b, &sweep, &p);
    bt_whisper_result_free(&r);
    assert_int_equal(b->ops->encode(b, 0, 1, &err), BATON_MISUSE);
    assert_int_equal(b->ops->mel(b, &sweep, 1, &frames, &err), BATON_OK);
    assert_int_equal(b->ops->encode(b, 0, 1, &err), BATON_OK);
    assert_int_equal(b->ops->decode(b, prompt, 3, 0, 1, y, &err), BATON_OK);
    assert_memory_equal(x, y, sizeof(float) * (size_t)info.vocab_size);
    assert_int_equal(b->ops->decode(b, &info.first_timestamp, 1, 3, 1, y, &err), BATON_OK);
    assert_memory_not_equal(x, y, sizeof(float) * (size_t)info.vocab_size);
    float *silence = calloc(80 * 300, sizeof *silence);
    assert_non_null(silence);
    assert_int_equal(a->ops->set_mel(a, silence, 300, 128, &err), BATON_INVALID);
    assert_int_equal(a->ops->set_mel(a, silence, 300, 80, &err), BATON_OK);
    assert_int_equal(a->ops->decode(a, prompt, 3, 0, 1, y, &err), BATON_MISUSE); /* of the audio before */
    assert_int_equal(a->ops->encode(a, 0, 1, &err), BATON_OK);
    assert_int_equal(a->ops->decode(a, prompt, 3, 0, 1, y, &err), BATON_OK);
    assert_memory_not_equal(x, y, sizeof(float) * (size_t)info.vocab_size);
    free(silence);
    free(x);
    free(y);
    a->ops->free(a);
    b->ops->free(b);
}

static int open_all(void **state) {
    (void)state;
    w = open_whisper("whisper.bin");
    sweep = make_audio(440, 10);
    other = make_audio(360, 33);
    struct bt_whisper_params p = english();
    of_sweep = lone_run(w, &sweep, &p);
    of_other = lone_run(w, &other, &p);
    return 0;
}
static int close_all(void **state) {
    (void)state;
    bt_whisper_result_free(&of_sweep);
    bt_whisper_result_free(&of_other);
    bt_whisper_result_free(&of_other); /* twice is harmless */
    free_audio(&sweep);
    free_audio(&other);
    w->ops->free(w);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_says_what_it_is),
        cmocka_unit_test(a_transcription_is_the_same_each_time_and_in_order),
        cmocka_unit_test(streamed_segments_are_the_final_ones_and_progress_ends_at_100),
        cmocka_unit_test(probe_P21_a_cancelled_transcription_stops_and_leaves_a_good_state),
        cmocka_unit_test(probe_P21_a_cancel_is_noticed_within_a_token),
        cmocka_unit_test(enough_segments_are_enough),
        cmocka_unit_test(the_past_of_a_state_leaves_no_trace),
        cmocka_unit_test(draws_depend_on_the_request_alone),
        cmocka_unit_test(timestamps_are_what_was_asked_for),
        cmocka_unit_test(parameters_reach_libwhisper),
        cmocka_unit_test(the_language_is_told),
        cmocka_unit_test(a_model_of_english_alone),
        cmocka_unit_test(the_steps_one_by_one),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
