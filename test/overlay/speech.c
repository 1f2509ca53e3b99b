/* whisper.h by hand under leases of the public API, on libwhisper: the segments are those of baton's own run, nothing
 * of one holder is left to the next unless it is meant to be, and what was done by hand shows in no run of baton's. */
#include "../speech_bodies.h"

#include <whisper.h>

static bool none_of(void *arg) {
    (void)arg;
    return false;
}

/* As baton's own run asks it. */
static struct whisper_full_params params_by_hand(void) {
    struct whisper_full_params p = whisper_full_default_params(WHISPER_SAMPLING_GREEDY);
    p.n_threads = 1;
    p.no_context = true;
    p.print_progress = p.print_realtime = p.print_special = p.print_timestamps = false;
    p.language = "en";
    p.temperature_inc = 0;
    p.greedy.best_of = 5;
    p.abort_callback = none_of;
    return p;
}

static void by_hand(baton_whisper *w, const baton_lease *lease, int sound) BATON_REQUIRES(lease)
    BATON_EXCLUDES(lease->pool) {
    void *context;
    const baton_whisper_result *lone = &sounds[sound].lone;
    if (baton_lease_begin(lease, BATON_OP_TRANSCRIBE, &context, NULL)) {
        fail_msg("no begin");
        return;
    }
    struct whisper_state *s = baton_whisper_state(lease);
    assert_ptr_equal(s, context);
    assert_int_equal(whisper_full_with_state(baton_whisper_context(w), s, params_by_hand(), sounds[sound].samples,
                                             (int)sounds[sound].n),
                     0);
    assert_int_equal(whisper_full_n_segments_from_state(s), lone->n_segments);
    for (size_t i = 0; i < lone->n_segments; i++)
        assert_string_equal(whisper_full_get_segment_text_from_state(s, (int)i), lone->segments[i].text);
    baton_lease_end(lease);
}

static int segments_left(const baton_lease *lease) BATON_REQUIRES(lease) BATON_EXCLUDES(lease->pool) {
    void *context;
    if (baton_lease_begin(lease, BATON_OP_USER, &context, NULL))
        return -1;
    int n = whisper_full_n_segments_from_state(context);
    baton_lease_end(lease);
    return n;
}

static int left_after(baton_whisper *w, baton_release_how how, bool by_baton) {
    baton_lease lease;
    if (by_baton)
        still_hears(w);
    if (baton_whisper_acquire(w, NULL, &lease, NULL))
        return -1;
    if (!by_baton) {
        by_hand(w, &lease, 1);
        if (baton_lease_release(&lease, how, NULL) || baton_whisper_acquire(w, NULL, &lease, NULL))
            return -1;
    }
    int n = segments_left(&lease);
    return baton_lease_release(&lease, BATON_RESET, NULL) ? -1 : n;
}

static void what_is_done_by_hand_is_right_and_leaves_as_much_as_it_is_meant_to(void **state) {
    (void)state;
    baton_whisper *w = speech_open(NULL);
    assert_int_equal(left_after(w, BATON_KEEP, false), sounds[1].lone.n_segments);
    assert_int_equal(left_after(w, BATON_RESET, false), 0);
    assert_int_equal(left_after(w, BATON_RESET, true), 0); /* nor what somebody said to baton */
    still_hears(w);
    baton_whisper_close(&w);
}

static int set_up(void **state) {
    static char path[4096];
    (void)state;
    snprintf(path, sizeof path, "%s/whisper.bin", getenv("BATON_WHISPER_MODELS"));
    on.path = path;
    on.seconds = 6;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_done_by_hand_is_right_and_leaves_as_much_as_it_is_meant_to),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, free_sounds);
}
