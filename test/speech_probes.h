/* Bodies on baton/whisper.h: results that stay their request's, readers that stop reading, whole characters, ends in
 * the middle of everything; whoever owns the states, where that can be. */
#ifndef BT_SPEECH_PROBES_H
#define BT_SPEECH_PROBES_H

#include "speech_more.h"

#include <iconv.h>
#include <sched.h>

#include "base/base.h"

static const baton_owner owners[] = {BATON_OWNER_THREAD, BATON_OWNER_PROCESS, BATON_OWNER_CALLER};
enum { OWNERS = 2, OWNERS_AND_CALLER = 3 };

static inline baton_whisper *owned_open(const char *path, baton_owner owner, int contexts, baton_when_full when_full,
                                        bool retry) {
    baton_whisper_params params = BATON_WHISPER_PARAMS;
    baton_policy policy = states(contexts, when_full);
    baton_whisper *w;
    baton_error err;
    policy.owner = owner;
    params.policy = &policy;
    params.threads = 1;
    params.retry = retry;
    if (baton_whisper_open(&w, path, &params, &err))
        fail_msg("%s", err.text);
    return w;
}

static inline uint32_t owners_ended(const baton_whisper *w) {
    baton_snapshot shot = {.size = sizeof shot};
    uint32_t restarts = 0;
    assert_int_equal(baton_whisper_snapshot(w, &shot, NULL), BATON_OK);
    for (int i = 0; shot.owner && i < shot.contexts; i++)
        restarts += shot.owner[i].restarts;
    baton_snapshot_free(&shot);
    return restarts;
}

/* ---- P08 */

/* Several native calls and reading what they left, under one lease. */
static inline baton_status hear_by_hand(baton_whisper *w, int sound, const int32_t *tokens, int n, float *logits) {
    baton_request request = BATON_REQUEST;
    baton_lease lease;
    int frames;
    request.when_full = BATON_WAIT;
    baton_status status = baton_whisper_acquire(w, &request, &lease, NULL);
    if (status)
        return status;
    status =
        baton_whisper_pcm_to_mel(&lease, sounds[sound].samples, sounds[sound].n, BATON_WHISPER_RATE, 0, &frames, NULL);
    if (!status)
        status = baton_whisper_encode(&lease, 0, 0, NULL);
    sched_yield(); /* whoever waits for the state would come now */
    if (!status)
        status = baton_whisper_decode(&lease, tokens, n, 0, 0, logits, NULL);
    baton_status released = baton_lease_release(&lease, BATON_KEEP, NULL);
    return status ? status : released;
}

struct listener {
    baton_whisper *w;
    int sound, rounds, wrong;
    bool by_hand;
    const float *logits; /* expected */
    size_t n_logits;
    int32_t start;
    pthread_t thread;
};
static inline void *listen_again_and_again(void *arg) {
    struct listener *l = arg;
    baton_request request = BATON_REQUEST;
    baton_whisper_ask ask = ask_for(l->sound);
    request.when_full = BATON_WAIT;
    ask.request = &request;
    float *mine = malloc((l->n_logits + 1) * sizeof *mine);
    for (int i = 0; i < l->rounds; i++) {
        baton_whisper_result r;
        if (l->by_hand)
            l->wrong += hear_by_hand(l->w, l->sound, (int32_t[]){l->start, 1, 2}, 3, mine) ||
                        memcmp(mine, l->logits, l->n_logits * sizeof *mine) != 0;
        l->wrong += baton_whisper_full(l->w, &ask, &r, NULL) || !same_speech(&r, &sounds[l->sound].lone);
        baton_whisper_result_free(&r);
    }
    free(mine);
    return NULL;
}

/* One state, many who ask: what one reads, of a transcription or of logits, was never another one's. */
static inline void nobody_reads_anothers(baton_owner owner) {
    struct listener l[SOUNDS];
    baton_whisper *w = owned_open(on.path, owner, 1, BATON_WAIT, false);
    baton_whisper_info info = {.size = sizeof info};
    baton_whisper_get_info(w, &info);
    size_t size = (size_t)info.vocab_size;
    bool by_hand = owner == BATON_OWNER_CALLER;
    float *logits = malloc(SOUNDS * size * sizeof *logits);
    assert_non_null(logits);
    for (int i = 0; i < SOUNDS; i++) {
        l[i] = (struct listener){.w = w,
                                 .sound = i,
                                 .rounds = on.rounds / 40 + 3,
                                 .by_hand = by_hand,
                                 .logits = logits + (size_t)i * size,
                                 .n_logits = size,
                                 .start = info.start};
        if (by_hand)
            assert_int_equal(hear_by_hand(w, i, (int32_t[]){info.start, 1, 2}, 3, logits + (size_t)i * size), BATON_OK);
    }
    if (by_hand)
        assert_memory_not_equal(logits, logits + size, size * sizeof *logits);
    for (int i = 0; i < SOUNDS; i++)
        assert_int_equal(pthread_create(&l[i].thread, NULL, listen_again_and_again, &l[i]), 0);
    for (int i = 0; i < SOUNDS; i++) {
        pthread_join(l[i].thread, NULL);
        assert_int_equal(l[i].wrong, 0);
    }
    free(logits);
    baton_whisper_close(&w);
}

static inline void probe_P08_nobody_reads_what_another_one_heard(void **state) {
    (void)state;
    nobody_reads_anothers(BATON_OWNER_CALLER);
}

/* ---- P13 */

static inline size_t read_what_there_is(baton_whisper_stream *s, const baton_whisper_result *lone) {
    const baton_whisper_segment *g;
    size_t n = 0;
    while (baton_whisper_stream_next(s, -1, &g) == BATON_OK) {
        assert_true(n < lone->n_segments && same_segment(g, &lone->segments[n]));
        n++;
    }
    return n;
}

static inline baton_whisper_stream *idle_stream(baton_whisper *w, int sound, int64_t idle_ms) {
    baton_whisper_ask ask = ask_for(sound);
    baton_request request = BATON_REQUEST;
    baton_whisper_stream *s;
    baton_error err;
    request.idle_ms = idle_ms;
    ask.request = &request;
    if (baton_whisper_stream_open(w, &ask, &s, &err))
        fail_msg("%s", err.text);
    return s;
}

/* Nobody reads: it is cancelled while it hears, what there was can be read, and it says why. Who reads is let be, and
 * so is who hears beside it. */
static inline void probe_P13_a_reader_that_stops_reading_is_cancelled(void **state) {
    (void)state;
    const baton_whisper_result *lone = &sounds[LONG_SOUND].lone;
    for (int k = 0; k < OWNERS_AND_CALLER; k++) {
        baton_whisper *w = owned_open(on.slow_path, owners[k], 2, BATON_WAIT, false);
        baton_whisper_outcome o;
        baton_whisper_result beside;
        baton_whisper_stream *s = idle_stream(w, LONG_SOUND, 1);
        must_full(w, 1, &beside);
        assert_true(same_speech(&beside, &sounds[1].lone));
        baton_whisper_result_free(&beside);
        overlap_wait_until(speech_counts(w).running == 0); /* its state is free, and nobody has read a word */
        size_t n = read_what_there_is(s, lone);
        assert_true(n > 0 && n < lone->n_segments);
        assert_int_equal(baton_whisper_stream_close(&s, &o), BATON_CANCELLED);
        assert_int_equal(o.segments, n);
        assert_non_null(strstr(o.text, "nobody read its stream for 1 ms (idle_ms)"));
        s = idle_stream(w, 2, 60000);
        assert_int_equal(read_all(s, 2), sounds[2].lone.n_segments);
        assert_int_equal(baton_whisper_stream_close(&s, &o), BATON_OK);
        assert_int_equal(owners_ended(w), 0);
        baton_whisper_close(&w);
    }
}

/* ---- P16 */

static inline bool is_utf8(const char *text) {
    static const char replaced[] = "\xef\xbf\xbd";
    iconv_t to = iconv_open("UTF-32LE", "UTF-8");
    char room[4096], *in = (char *)text, *out = room;
    size_t left = strlen(text), space = sizeof room;
    assert_true(to != (iconv_t)-1 && left < sizeof room / 4);
    bool good = iconv(to, &in, &left, &out, &space) == 0 && left == 0;
    iconv_close(to);
    return good && !strstr(text, replaced);
}

/* What the tokens of a segment come to, cut or not, appended. */
static inline void add_token_texts(struct bt_buf *b, const baton_whisper_segment *g, int32_t end) {
    for (size_t i = 0; i < g->n_tokens; i++)
        if (g->tokens[i].id < end)
            bt_buf_adds(b, g->tokens[i].text);
}

static inline bool is_cut(const baton_whisper_segment *g, int32_t end) {
    struct bt_buf own = BT_BUF_INIT;
    add_token_texts(&own, g, end);
    bt_buf_add(&own, "", 1);
    bool cut = !is_utf8((const char *)own.data);
    bt_buf_free(&own);
    return cut;
}

static inline void whole_characters(const baton_whisper_result *r, int32_t end) {
    struct bt_buf tokens = BT_BUF_INIT, texts = BT_BUF_INIT;
    int cut = 0;
    for (size_t i = 0; i < r->n_segments; i++) {
        const char *text = r->segments[i].text;
        cut += is_cut(&r->segments[i], end);
        add_token_texts(&tokens, &r->segments[i], end);
        if (i == 0 && (tokens.data[0] & 0xc0) == 0x80) { /* it begins with half a character that nobody has begun */
            assert_true(strncmp(text, "\xef\xbf\xbd", 3) == 0);
            text += 3;
            bt_buf_drop(&tokens, 1);
        }
        if (!is_utf8(text))
            fail_msg("segment %zu is not whole: %s", i, text);
        bt_buf_adds(&texts, text);
    }
    assert_true(cut >= 2);
    assert_true(tokens.len - texts.len <= 3); /* the last one may be left unfinished */
    assert_memory_equal(tokens.data, texts.data, texts.len);
    bt_buf_free(&tokens);
    bt_buf_free(&texts);
}

static inline void probe_P16_characters_arrive_whole_in_segments(void **state) {
    (void)state;
    for (int k = 0; k < OWNERS_AND_CALLER; k++) {
        baton_whisper *w = owned_open(on.split_path, owners[k], 1, BATON_WAIT, false);
        baton_whisper_info info = {.size = sizeof info};
        baton_whisper_ask ask = ask_for(LONG_SOUND);
        baton_request request = BATON_REQUEST;
        baton_whisper_result r;
        baton_whisper_stream *s;
        const baton_whisper_segment *g;
        baton_whisper_get_info(w, &info);
        ask.n_samples = 33 * BATON_WHISPER_RATE; /* two windows */
        request.when_full = BATON_WAIT;
        ask.request = &request;
        ask.token_timestamps = true;
        for (ask.max_chars = 0; ask.max_chars <= 1; ask.max_chars++) { /* 1: libwhisper cuts between any two tokens */
            assert_int_equal(baton_whisper_full(w, &ask, &r, NULL), BATON_OK);
            whole_characters(&r, info.end);
            if (ask.max_chars == 0) {
                baton_whisper_result_free(&r);
                continue;
            }
            assert_int_equal(baton_whisper_stream_open(w, &ask, &s, NULL), BATON_OK);
            for (size_t i = 0; baton_whisper_stream_next(s, -1, &g) == BATON_OK; i++)
                assert_true(i < r.n_segments && same_segment(g, &r.segments[i]));
            assert_int_equal(baton_whisper_stream_close(&s, NULL), BATON_OK);
            baton_whisper_result_free(&r);
        }
        baton_whisper_close(&w);
    }
}

/* ---- P26 */

/* Closed while one is inside and the others wait, some of them just being granted what it gives back: each has one
 * outcome, and a complete one is right. */
static inline void closed_between_queue_and_slot(baton_owner owner, int rounds) {
    enum { N = 4 };
    static struct speaker s[N];
    uint64_t seed = bt_test_seed();
    for (int round = 0; round < rounds; round++) {
        baton_whisper *w = owned_open(on.path, owner, 1 + round % 2, BATON_WAIT, false);
        speaker_init(&s[0], w, 0, 0);
        s[0].hold = owner == BATON_OWNER_CALLER;
        speaker_start(&s[0]);
        if (s[0].hold)
            overlap_wait_until(s[0].inside);
        for (int i = 1; i < N; i++) {
            speaker_init(&s[i], w, i % SOUNDS, 0);
            s[i].request.when_full = BATON_WAIT;
            speaker_start(&s[i]);
        }
        /* all have begun; a caller's are accepted with their state, an owner's with their place in the queue */
        overlap_wait_until(speech_counts(w).accepted + (s[0].hold ? (uint64_t)speech_counts(w).queued : 0) >= N);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        s[0].go = true;
        for (uint64_t spin = seed >> 50; spin > 0; spin--)
            baton_op_text(BATON_OP_IDLE);
        baton_whisper_close(&w);
        for (int i = 0; i < N; i++) {
            baton_status status = speaker_end(&s[i]);
            if (status != BATON_OK && status != BATON_CLOSED && status != BATON_CANCELLED)
                fail_msg("a close ended it as %s", baton_status_name(status));
        }
    }
}

static inline void probe_P26_closed_between_queue_and_slot(void **state) {
    (void)state;
    closed_between_queue_and_slot(BATON_OWNER_CALLER, on.rounds);
}

/* ---- P61 */

/* Before anything is waited for, with both numbers, while somebody else is heard. */
static inline void prompt_is_refused(baton_whisper *w, const char *prompt, baton_status status, const char *size,
                                     const char *most) {
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_error err;
    ask.initial_prompt = prompt;
    baton_whisper_stream *holder = stream_of(w, 1, 0), *s;
    assert_int_equal(baton_whisper_full(w, &ask, &r, &err), status);
    assert_non_null(strstr(err.text, size));
    assert_non_null(strstr(err.text, most));
    assert_int_equal(r.outcome.status, status);
    assert_int_equal(baton_whisper_stream_open(w, &ask, &s, &err), status);
    assert_int_equal(read_all(holder, 1), sounds[1].lone.n_segments);
    assert_int_equal(baton_whisper_stream_close(&holder, NULL), BATON_OK);
}

/* A word, or a run of spaces, is bounded by itself: libwhisper would search for its tokens with the square of its
 * length, deaf to a cancel. */
static inline void probe_P61_too_long_a_prompt_is_refused_up_front(void **state) {
    enum { MOST = 4096, WORD = 1024 };
    static char words[MOST + 2], word[WORD + 8], spaces[WORD + 8], two_words[2 * WORD + 2];
    (void)state;
    for (size_t i = 0; i <= MOST; i++)
        words[i] = "so "[i % 3];
    memset(word, 'a', sizeof word - 1);
    memcpy(word, "so it\n", 6);
    memset(spaces, ' ', sizeof spaces - 1);
    memcpy(spaces, "so it?", 6);
    memset(two_words, 'a', 2 * WORD + 1);
    two_words[WORD] = ' ';
    for (int k = 0; k < OWNERS_AND_CALLER; k++) {
        baton_whisper *w = owned_open(on.slow_path, owners[k], 1, BATON_REFUSE, false);
        baton_whisper_ask ask = ask_for(0);
        baton_whisper_result r;
        prompt_is_refused(w, words, BATON_TOO_LONG, "4097", "4096");
        prompt_is_refused(w, word, BATON_INVALID, "1025", "1024");
        prompt_is_refused(w, spaces, BATON_INVALID, "1025", "1024");
        ask.initial_prompt = two_words;
        assert_int_equal(baton_whisper_full(w, &ask, &r, NULL), BATON_OK);
        baton_whisper_result_free(&r);
        baton_whisper_close(&w);
    }
}

#define SPEECH_PROBES                                                                                                  \
    cmocka_unit_test(probe_P08_nobody_reads_what_another_one_heard),                                                   \
        cmocka_unit_test(probe_P26_closed_between_queue_and_slot)

#endif
