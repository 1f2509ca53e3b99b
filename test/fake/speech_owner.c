/* Speech with owners of their own on the fake: the bodies, and calls that hang or crash. */
#include "speech_owner.h"
#include "speech_fake.h"

#include <sys/socket.h>

#include "owner/hear.h"
#include "wire/speech.h"

static void refused_by_name(baton_whisper *w) {
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_error err;
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "a transcription for request 3"));
    assert_non_null(strstr(err.text, "when_full = wait"));
    assert_int_equal(r.outcome.status, BATON_BUSY);
}

static bool is_inside(baton_whisper *w) {
    baton_snapshot shot = {.size = sizeof shot};
    assert_int_equal(baton_whisper_snapshot(w, &shot, NULL), BATON_OK);
    bool inside = shot.running == 1 && shot.run[0].inside;
    baton_snapshot_free(&shot);
    return inside;
}

static void probe_P21_a_call_that_hangs_at_its_owner_is_ended(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++) {
        baton_whisper *w = owned_open("fake:hang_at=1", owners[k], 1, BATON_REFUSE, false);
        const baton_whisper_segment *g;
        baton_whisper_stream *s = stream_of(w, 0, 3);
        refused_by_name(w);
        assert_int_equal(baton_whisper_stream_next(s, 2, &g), BATON_AGAIN);
        overlap_wait_until(is_inside(w));
        assert_true(baton_whisper_cancel(w, 3));
        assert_int_equal(baton_whisper_stream_next(s, -1, &g), BATON_END);
        assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_CANCELLED);
        assert_false(baton_whisper_cancel(w, 3));
        still_hears(w);
        baton_whisper_close(&w);
        w = owned_open("fake:hang_at=1", owners[k], 1, BATON_REFUSE, false); /* P23: a run timeout is told apart */
        baton_whisper_ask ask = ask_for(0);
        baton_request request = BATON_REQUEST;
        baton_whisper_result r;
        request.run_ms = 30;
        ask.request = &request;
        baton_status status = baton_whisper_full(w, &ask, &r, NULL);
        assert_int_equal(status, BATON_RUN_TIMEOUT);
        while (status == BATON_RUN_TIMEOUT) { /* one that was told before it began has not hung yet */
            baton_whisper_result_free(&r);
            status = baton_whisper_full(w, &ask, &r, NULL);
        }
        assert_int_equal(status, BATON_OK);
        assert_true(same_speech(&r, &sounds[0].lone));
        baton_whisper_result_free(&r);
        s = stream_of(w, 0, 0); /* P10: dropped */
        (void)!baton_whisper_stream_close(&s, NULL);
        still_hears(w);
        baton_whisper_close(&w);
        w = owned_open("fake:hang_at=1", owners[k], 1, BATON_WAIT, false); /* P25: closed while busy and waited for */
        static struct speaker first, second;
        speaker_init(&first, w, 0, 1);
        speaker_start(&first);
        overlap_wait_until(speech_counts(w).running == 1);
        speaker_queue(&second, w, 1, 2, false, 1);
        baton_whisper_close(&w);
        status = speaker_end(&first);
        assert_true(status == BATON_CLOSED || status == BATON_CANCELLED);
        assert_int_equal(speaker_end(&second), BATON_CLOSED);
    }
}

static void *hear_there(void *arg) {
    bt_hear_run(arg);
    return NULL;
}

/* Up to the PULSE that says that it is in the native call. */
static void until_it_hears(int fd) {
    struct bt_buf in = BT_BUF_INIT;
    struct bt_frame f;
    struct bt_pulse pulse = {.n = 0};
    while (pulse.n == 0) {
        assert_true(bt_buf_reserve(&in, 4096));
        ssize_t n = recv(fd, in.data + in.len, 4096, 0);
        assert_true(n > 0);
        in.len += (size_t)n;
        for (; pulse.n == 0 && bt_frame_peek(in.data, in.len, &f) == BATON_OK; bt_buf_drop(&in, f.size))
            if (f.type == BT_FRAME_PULSE)
                assert_int_equal(bt_get_pulse(&f, &pulse), BATON_OK);
    }
    bt_buf_free(&in);
}

/* The front is gone while a native call runs that would never end, and that has nothing to say: the end of the socket
 * is heard all the same. */
static void probe_P22_a_hearing_owner_hears_that_its_front_is_gone(void **state) {
    (void)state;
    const struct bt_whisper_model_params params = {.path = "fake:hang_at=1"};
    struct bt_whisper_params p = BT_WHISPER_PARAMS_DEFAULT;
    const struct bt_audio audio = {sounds[0].samples, sounds[0].n, BT_WHISPER_RATE};
    struct bt_hear_params owner = {.threads = 1};
    struct bt_buf ask = BT_BUF_INIT, out = BT_BUF_INIT;
    pthread_t thread;
    int pair[2];
    assert_int_equal(bt_whisper_open(&params, &owner.model, NULL), BATON_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    owner.fd = pair[1];
    assert_int_equal(pthread_create(&thread, NULL, hear_there, &owner), 0);
    bt_speech_ask_encode(&ask, &audio, &p, false);
    struct bt_submit s = {.id = 7,
                          .attempt = 1,
                          .what = BT_WHAT_TRANSCRIBE,
                          .kind = BT_PROMPT_TEXT,
                          .text = {(const char *)ask.data, ask.len},
                          .max_tokens = -1};
    bt_put_hello(&out);
    bt_put_submit(&out, &s);
    for (size_t at = 0; at < out.len;) {
        ssize_t n = send(pair[0], out.data + at, out.len - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
    until_it_hears(pair[0]);
    assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
    pthread_join(thread, NULL);
    owner.model->ops->free(owner.model);
    close(pair[0]);
    close(pair[1]);
    bt_buf_free(&ask);
    bt_buf_free(&out);
}

/* One that kills its owner alone is not asked for ever, and costs nobody else his. */
static void probe_P42_a_transcription_that_kills_its_owner(void **state) {
    (void)state;
    for (int retry = 0; retry <= 1; retry++) {
        baton_whisper *w = owned_open("fake:crash_at=1", BATON_OWNER_PROCESS, 1, BATON_WAIT, retry);
        baton_whisper_ask ask = ask_for(1);
        baton_whisper_result r;
        baton_error err;
        assert_int_equal(baton_whisper_full(w, &ask, &r, &err), BATON_CRASHED);
        assert_true(r.n_segments <= 1 && begins(&r, &sounds[1].lone));
        assert_true(strlen(err.text) > 0);
        baton_whisper_result_free(&r);
        assert_int_equal(speech_counts(w).running, 0);
        baton_whisper_close(&w);
    }
}

static void an_owner_that_cannot_be_is_said_at_open(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS; k++) {
        static const struct {
            const char *path;
            int contexts;
            baton_status status;
            const char *text;
        } cases[] = {{"fake:load_fail=1", 1, BATON_BAD_MODEL, "load_fail"},
                     {"/nowhere/ggml-base.bin", 1, BATON_NOT_FOUND, "/nowhere/ggml-base.bin"},
                     {"fake:", 9, BATON_UNSUPPORTED, "8 states at most"},
                     {NULL, 1, BATON_INVALID, "no model file"}};
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            baton_whisper_params params = BATON_WHISPER_PARAMS;
            baton_policy policy = states(cases[i].contexts, BATON_WAIT);
            baton_whisper *w;
            baton_error err;
            policy.owner = owners[k];
            params.policy = &policy;
            baton_status status = baton_whisper_open(&w, cases[i].path, &params, &err);
            if (i == 1 && !bt_whisper_version() && status == BATON_UNSUPPORTED)
                status = BATON_NOT_FOUND; /* this build cannot look */
            if (status != cases[i].status || !strstr(err.text, cases[i].text))
                fail_msg("%s: %s, %s", cases[i].path, baton_status_name(status), err.text);
            assert_null(w);
        }
    }
}

static int set_up(void **state) {
    (void)state;
    baton_log_set(BATON_LOG_ERROR, ignore_line, NULL);
    on.path = "fake:";
    on.slow_path = "fake:window_us=20000";
    on.split_path = "fake:";
    on.seconds = 4.3;
    on.long_seconds = 60;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        SPEECH_OWNERS,
        SPEECH_OWNER_PROBES,
        cmocka_unit_test(probe_P21_a_call_that_hangs_at_its_owner_is_ended),
        cmocka_unit_test(probe_P22_a_hearing_owner_hears_that_its_front_is_gone),
        cmocka_unit_test(probe_P42_a_transcription_that_kills_its_owner),
        cmocka_unit_test(an_owner_that_cannot_be_is_said_at_open),
    };
    bt_test_filter(argc, argv);
    int failed = cmocka_run_group_tests(tests, set_up, free_sounds);
    return failed ? failed : something_is_left();
}
