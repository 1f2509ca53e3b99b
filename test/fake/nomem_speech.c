/* Each allocation of a use of baton/whisper.h fails once, from the opening to the close, with the owner on the caller's
 * thread and on one of its own: every call says NO_MEMORY or does without, what is told as complete is whole, nothing
 * leaks (under AddressSanitizer) and nothing hangs. */
#include "nomem.h"
#include "speech_more.h"

#include "native/fake_whisper.h"

static int completed;

static void check(baton_status status, const baton_whisper_result *r, int sound) {
    if (status == BATON_OK)
        assert_true(same_speech(r, &sounds[sound].lone));
    else
        assert_true(begins(r, &sounds[sound].lone));
    completed += status == BATON_OK;
}

static void full(baton_whisper *w) {
    baton_whisper_ask ask = ask_for(1);
    baton_whisper_result r;
    baton_error err;
    check(baton_whisper_full(w, &ask, &r, &err), &r, 1);
    baton_whisper_result_free(&r);
}

static void parallel(baton_whisper *w) {
    baton_whisper_ask ask = ask_for(2);
    baton_whisper_result r;
    baton_status status = baton_whisper_full_parallel(w, &ask, &r, NULL);
    assert_true(status == BATON_OK || r.n_segments == 0);
    baton_whisper_result_free(&r);
}

static void detect(baton_whisper *w) {
    baton_whisper_ask ask = ask_for(1);
    int language;
    float p[4];
    if (baton_whisper_detect(w, &ask, &language, p, NULL) == BATON_OK)
        assert_true(language >= 0 && p[language] > 0.5f);
}

static void stream(baton_whisper *w) {
    baton_whisper_ask ask = ask_for(3);
    baton_whisper_stream *s;
    const baton_whisper_segment *g;
    size_t n = 0;
    if (baton_whisper_stream_open(w, &ask, &s, NULL)) {
        assert_null(s);
        return;
    }
    while (baton_whisper_stream_next(s, -1, &g) == BATON_OK) {
        if (n < sounds[3].lone.n_segments)
            assert_true(same_segment(g, &sounds[3].lone.segments[n]));
        n++;
    }
    if (baton_whisper_stream_close(&s, NULL) == BATON_OK)
        assert_int_equal(n, sounds[3].lone.n_segments);
}

static void steps(baton_whisper *w) {
    baton_lease lease;
    int frames;
    if (baton_whisper_acquire(w, NULL, &lease, NULL))
        return;
    if (!baton_whisper_pcm_to_mel(&lease, sounds[0].samples, sounds[0].n, BATON_WHISPER_RATE, 0, &frames, NULL))
        (void)!baton_whisper_encode(&lease, 0, 0, NULL);
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
}

/* False: nothing failed any more. */
static bool use_with_failure(long at, baton_owner owner) {
    baton_whisper_params params = BATON_WHISPER_PARAMS;
    baton_policy policy = states(2, BATON_WAIT);
    baton_whisper *w;
    baton_error err = {BATON_OK, ""};
    policy.owner = owner;
    params.policy = &policy;
    params.threads = 1;
    nomem_arm(at);
    baton_status status = baton_whisper_open(&w, "fake:", &params, &err);
    if (status) {
        assert_null(w);
        assert_true(strlen(err.text) > 0);
        return nomem_disarm();
    }
    full(w);
    stream(w);
    detect(w);
    if (owner == BATON_OWNER_CALLER) {
        parallel(w);
        steps(w);
    }
    bool failed = nomem_disarm();
    if (owner == BATON_OWNER_CALLER)
        still_hears(w); /* and whatever failed has left nothing behind */
    baton_whisper_close(&w);
    return failed;
}

static void every_allocation_may_fail(baton_owner owner) {
    struct bt_fake_whisper_stats s;
    long at = 1;
    completed = 0;
    for (bool failed = true; failed; at++) {
        alarm(20);
        failed = use_with_failure(at, owner);
    }
    alarm(0);
    print_message("%ld allocations, %d transcriptions complete all the same\n", at - 1, completed);
    assert_true(at > 10 && completed > 0);
    bt_fake_whisper_stats(&s);
    assert_int_equal(s.models + s.states, 0);
    assert_int_equal(s.overlaps, 0);
}

static void every_allocation_of_a_caller_may_fail(void **state) {
    (void)state;
    every_allocation_may_fail(BATON_OWNER_CALLER);
}
static void every_allocation_beside_an_owner_may_fail(void **state) {
    (void)state;
    every_allocation_may_fail(BATON_OWNER_THREAD);
}

static int set_up(void **state) {
    (void)state;
    baton_log_set(BATON_LOG_ERROR, ignore_line, NULL);
    on.path = "fake:";
    on.seconds = 2.3;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_a_caller_may_fail),
        cmocka_unit_test(every_allocation_beside_an_owner_may_fail),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, free_sounds);
}
