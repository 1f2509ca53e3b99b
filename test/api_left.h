/* Those who stop reading, who go away, who ask for too much; over any model, by the public API alone. */
#ifndef BT_API_LEFT_H
#define BT_API_LEFT_H

#include <sched.h>

#include "api_probes.h"
#include "overlap.h"
#include "resources.h"

static inline uint32_t owners_ended(const baton_llama *m) {
    baton_snapshot shot = {.size = sizeof shot};
    uint32_t restarts = 0;
    assert_int_equal(baton_llama_snapshot(m, &shot, NULL), BATON_OK);
    for (int i = 0; shot.owner && i < shot.contexts; i++)
        restarts += shot.owner[i].restarts;
    baton_snapshot_free(&shot);
    return restarts;
}

/* Nobody reads: it pauses, and is cancelled when its time is up; its neighbour in the same context never notices. Who
 * reads in time is let be, however slow. */
static inline void probe_P13(const char *model) {
    for (int process = 0; process <= 1; process++) {
        baton_policy policy = BATON_POLICY;
        policy.when_full = BATON_WAIT;
        policy.sequences = 2;
        policy.owner = process ? BATON_OWNER_PROCESS : BATON_OWNER_THREAD;
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        struct teller alone, beside;
        baton_outcome o;
        baton_delta d;
        size_t len = 0;
        endless_init(&e, m, model);
        e.ask.max_tokens = 200;
        tell_start(&alone, m, &e.ask);
        pthread_join(alone.thread, NULL);
        assert_int_equal(alone.status, BATON_OK);
        struct endless unread = e;
        unread.ask.max_tokens = -1;
        unread.sampling.bias = unread.bias;
        unread.ask.sampling = &unread.sampling;
        unread.ask.request = &unread.request;
        unread.request.idle_ms = 100;
        baton_stream *s = endless_stream(&unread, m);
        tell_start(&beside, m, &e.ask);
        pthread_join(beside.thread, NULL);
        assert_int_equal(beside.status, BATON_OK);
        assert_string_equal(beside.text, alone.text);
        overlap_wait_until(counts_of(m).running == 0);
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            len += d.len;
        assert_true(len > 0); /* what there was can still be read */
        assert_int_equal(baton_stream_close(&s, &o), BATON_CANCELLED);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        assert_true(o.answer_tokens < 2 * 256); /* what may lie unread, and what was taken at first */
        assert_non_null(strstr(o.text, "nobody read its stream for 100 ms (idle_ms)"));
        unread.ask.max_tokens = 200;
        unread.request.idle_ms = 60000;
        s = endless_stream(&unread, m);
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            ;
        assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
        assert_int_equal(owners_ended(m), 0);
        baton_llama_close(&m);
    }
}

/* Begun, cancelled at once, begun again: a thousand times. */
static inline void probe_P15(const char *model) {
    static const int policies[] = {0, 2, 5};
    for (int p = 0; p < 3; p++) {
        int before = threads_alive();
        pid_t child;
        baton_policy policy = api_policy(policies[p]);
        policy.queue_ms = 20000; /* a slot that is lost fails this test instead of hanging it */
        baton_llama *m = api_open(model, &policy, 512);
        struct endless e;
        endless_init(&e, m, model);
        for (int i = 0; i < 1000; i++) {
            baton_stream *s;
            e.request.id = (uint64_t)i + 1;
            assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
            if (i % 2)
                baton_llama_cancel(m, e.request.id);
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
        }
        overlap_wait_until(counts_of(m).running + counts_of(m).queued == 0);
        assert_int_equal(counts_of(m).cancelled, 1000);
        still_answers(m);
        baton_llama_close(&m);
        no_more_threads_than(before);
        assert_int_equal(children(&child, 1), 0);
    }
}

/* Whoever asked goes away: in the queue, in the prefill of a long prompt, in decode. What it held is free, its owner
 * lives on, and the next one gets what it gets alone. */
static inline void probe_P22(const char *model) {
    static char prompt[6001];
    for (size_t i = 0; i + 3 < sizeof prompt; i += 3)
        memcpy(prompt + i, "so ", 4);
    for (int process = 0; process <= 1; process++) {
        baton_policy policy = BATON_POLICY;
        policy.when_full = BATON_WAIT;
        policy.owner = process ? BATON_OWNER_PROCESS : BATON_OWNER_THREAD;
        baton_llama *m = api_open(model, &policy, 8192);
        struct endless e, other;
        struct teller alone, next;
        baton_stream *s, *leaves;
        baton_delta d;
        endless_init(&e, m, model);
        endless_init(&other, m, model);
        other.ask.max_tokens = 24;
        tell_start(&alone, m, &other.ask);
        pthread_join(alone.thread, NULL);
        s = endless_stream(&e, m);
        assert_int_equal(baton_llama_stream(m, &e.ask, &leaves, NULL), BATON_OK);
        assert_int_equal(counts_of(m).queued, 1);
        assert_int_equal(baton_stream_close(&leaves, NULL), BATON_CANCELLED);
        overlap_wait_until(counts_of(m).queued == 0);
        assert_int_equal(counts_of(m).running, 1);
        assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK); /* undisturbed */
        for (int prefill = 0; prefill <= 1; prefill++) {
            tell_start(&next, m, &other.ask);
            overlap_wait_until(counts_of(m).queued == 1);
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
            pthread_join(next.thread, NULL);
            assert_int_equal(next.status, BATON_OK);
            assert_string_equal(next.text, alone.text);
            e.ask.prompt = prompt;
            assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
        }
        assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
        overlap_wait_until(counts_of(m).running == 0);
        assert_int_equal(counts_of(m).cancelled, 4);
        assert_int_equal(owners_ended(m), 0);
        baton_llama_close(&m);
    }
}

static inline void probe_P61(const char *model) {
    static char prompt[4001];
    memset(prompt, 'x', sizeof prompt - 1);
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 256);
        struct endless e;
        struct teller t;
        baton_result r;
        char n[32];
        int32_t *tokens;
        size_t n_tokens;
        endless_init(&e, m, model);
        assert_int_equal(baton_llama_tokenize(m, prompt, strlen(prompt), true, &tokens, &n_tokens, NULL), BATON_OK);
        baton_free(tokens);
        snprintf(n, sizeof n, "%zu", n_tokens);
        struct endless too_long = e;
        too_long.ask.prompt = prompt;
        tell_start(&t, m, &too_long.ask);
        pthread_join(t.thread, NULL);
        assert_int_equal(t.status, BATON_TOO_LONG);
        if (!strstr(t.error, n) || !strstr(t.error, "256"))
            fail_msg("%s tokens for 256: %s", n, t.error);
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, NULL), BATON_OK); /* until the context is full */
        assert_int_equal(r.outcome.finish, BATON_FINISH_LENGTH);
        assert_int_equal(r.outcome.prompt_tokens + r.outcome.answer_tokens, 256);
        baton_result_free(&r);
        still_answers(m);
        baton_llama_close(&m);
    }
}

#define LEFT_PROBES(X)                                                                                                 \
    X(P13, a_reader_that_stops_reading_is_cancelled)                                                                   \
    X(P15, a_thousand_that_are_cancelled_at_once)                                                                      \
    X(P22, who_asked_goes_away)                                                                                        \
    X(P61, too_long_and_full)

#endif
