/* Streams of owners of their own, by the public API alone, whoever leaves them and when: the same bodies on the fake
 * and on libllama, with the owner as a thread and as a process. */
#ifndef BT_API_OWNED_H
#define BT_API_OWNED_H

#include <sched.h>

#include "api_probes.h"
#include "owner_pids.h"

enum { OWNED_KINDS = 2 };
static inline baton_policy owned_policy(int kind, int sequences) {
    baton_policy p = BATON_POLICY;
    p.when_full = BATON_WAIT;
    p.sequences = sequences;
    p.owner = kind ? BATON_OWNER_PROCESS : BATON_OWNER_THREAD;
    p.queue_ms = 60000; /* a slot that is lost fails a test instead of hanging it */
    return p;
}

/* What is known of a request; false: it is neither running nor there. */
static inline bool owned_look(const baton_llama *m, uint64_t id, baton_running *run) {
    baton_snapshot s = {.size = sizeof s};
    bool found = false;
    assert_int_equal(baton_llama_snapshot(m, &s, NULL), BATON_OK);
    for (int i = 0; i < s.running && !found; i++)
        if (s.run[i].id == id) {
            *run = s.run[i];
            found = true;
        }
    baton_snapshot_free(&s);
    return found;
}

static inline uint32_t owned_restarts(const baton_llama *m) {
    baton_snapshot s = {.size = sizeof s};
    uint32_t n = 0;
    assert_int_equal(baton_llama_snapshot(m, &s, NULL), BATON_OK);
    for (int i = 0; i < s.contexts; i++)
        n += s.owner[i].restarts;
    baton_snapshot_free(&s);
    return n;
}

/* Every request has had one outcome, and no owner has ended for it. */
static inline void owned_close(baton_llama **m) {
    pid_t any;
    while (counts_of(*m).running + counts_of(*m).queued > 0)
        sched_yield();
    baton_counts c = counts_of(*m);
    assert_int_equal(c.accepted, c.completed + c.cancelled + c.timed_out + c.failed);
    assert_int_equal(c.failed, 0);
    assert_int_equal(owned_restarts(*m), 0);
    baton_llama_close(m);
    assert_int_equal(owners(&any), 0);
}

/* Nobody reads it: its owner goes on for a window and no further, its neighbour is as if alone, and when its time has
 * passed it says so, and keeps what it had. */
static inline void probe_P13(const char *model) {
    enum { WINDOW = 256 };
    for (int kind = 0; kind < OWNED_KINDS; kind++) {
        baton_policy policy = owned_policy(kind, 2);
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless slow, quick;
        baton_running run = {0};
        baton_result alone, beside;
        baton_stream *s;
        baton_delta d;
        baton_outcome o;
        size_t len = 0;
        endless_init(&slow, m, model);
        endless_init(&quick, m, model);
        quick.ask.max_tokens = 400;
        assert_int_equal(baton_llama_generate(m, &quick.ask, &alone, NULL), BATON_OK);
        slow.request.id = 5;
        assert_int_equal(baton_llama_stream(m, &slow.ask, &s, NULL), BATON_OK);
        uint32_t before, now = 0;
        do {
            before = now;
            assert_int_equal(baton_llama_generate(m, &quick.ask, &beside, NULL), BATON_OK);
            assert_string_equal(beside.text, alone.text);
            baton_result_free(&beside);
            assert_true(owned_look(m, 5, &run));
            now = run.tokens;
        } while (now < WINDOW || now != before);
        assert_in_range(now, WINDOW, 4 * WINDOW); /* tokens without text are no room in a window */
        assert_true(baton_llama_cancel(m, 5));
        while (owned_look(m, 5, &run))
            sched_yield();
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            len += d.len;
        assert_true(len > 0);
        assert_int_equal(baton_stream_close(&s, &o), BATON_CANCELLED);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        assert_int_equal(o.answer_tokens, now);
        slow.request.id = 6; /* and the time of one that nobody reads passes, too */
        slow.request.run_ms = 50;
        assert_int_equal(baton_llama_stream(m, &slow.ask, &s, NULL), BATON_OK);
        while (owned_look(m, 6, &run))
            sched_yield();
        assert_int_equal(baton_stream_close(&s, &o), BATON_RUN_TIMEOUT);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        assert_in_range(o.answer_tokens, 0, 4 * WINDOW);
        baton_result_free(&alone);
        owned_close(&m);
    }
}

/* Started, dropped, started again: before anything has come, after the first piece, or cancelled by its name. */
static inline void probe_P15(const char *model) {
    for (int kind = 0; kind < OWNED_KINDS; kind++) {
        baton_policy policy = owned_policy(kind, 2);
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        pid_t any;
        baton_delta d;
        endless_init(&e, m, model);
        for (uint64_t i = 1; i <= 1000; i++) {
            baton_stream *s;
            e.request.id = i;
            assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
            if (i % 4 == 0)
                assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
            if (i % 4 == 1)
                assert_true(baton_llama_cancel(m, i));
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
        }
        assert_int_equal(owners(&any), kind ? 1 : 0);
        still_answers(m);
        assert_int_equal(counts_of(m).accepted, 1001);
        owned_close(&m);
    }
}

/* Asks with a prompt of so many words, and has the answer cancelled when `when` says so. */
static inline void owned_cancel_at(baton_llama *m, const struct endless *e, const char *prompt, uint64_t id,
                                   bool (*when)(const baton_llama *m, uint64_t id)) {
    struct endless mine = *e;
    struct teller t;
    mine.sampling.bias = mine.bias;
    mine.ask.sampling = &mine.sampling;
    mine.ask.request = &mine.request;
    mine.ask.prompt = prompt;
    mine.request.id = id;
    tell_start(&t, m, &mine.ask);
    while (!when(m, id))
        sched_yield();
    assert_true(baton_llama_cancel(m, id));
    pthread_join(t.thread, NULL);
    assert_int_equal(t.status, BATON_CANCELLED);
}

static inline bool owned_waits(const baton_llama *m, uint64_t id) {
    (void)id;
    return counts_of(m).queued == 1;
}
static inline bool owned_prefills(const baton_llama *m, uint64_t id) {
    baton_running run;
    return owned_look(m, id, &run) && run.inside;
}
static inline bool owned_decodes(const baton_llama *m, uint64_t id) {
    baton_running run;
    return owned_look(m, id, &run) && run.tokens >= 3;
}

/* Queued, in the prefill of a long prompt, in decode: cancelled by its name, or left by who opened it. Each time the
 * one slot is there for the next. */
static inline void probe_P21(const char *model) {
    static char words[14001];
    memset(words, 0, sizeof words);
    for (size_t i = 0; i + 5 < sizeof words && (!model || i < 3500); i += 5)
        memcpy(words + i, "once ", 5);
    for (int kind = 0; kind < OWNED_KINDS; kind++) {
        baton_policy policy = owned_policy(kind, 1);
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        baton_delta d;
        endless_init(&e, m, model);
        for (uint64_t round = 0; round < 3; round++) {
            baton_stream *holder = endless_stream(&e, m);
            owned_cancel_at(m, &e, "Once", 100 + round, owned_waits);
            assert_int_equal(baton_stream_next(holder, -1, &d), BATON_OK); /* which notices nothing */
            assert_int_equal(baton_stream_close(&holder, NULL), BATON_CANCELLED);
            owned_cancel_at(m, &e, words, 200 + round, owned_prefills);
            still_answers(m);
            owned_cancel_at(m, &e, "Once", 300 + round, owned_decodes);
            still_answers(m);
        }
        owned_close(&m);
    }
}

/* As P21, but that nobody says a word: who reads is gone. */
static inline void probe_P22(const char *model) {
    static char words[3501];
    for (size_t i = 0; i + 5 < sizeof words; i += 5)
        memcpy(words + i, "once ", 5);
    for (int kind = 0; kind < OWNED_KINDS; kind++) {
        baton_policy policy = owned_policy(kind, 1);
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e;
        baton_stream *s, *behind;
        baton_running run = {0};
        endless_init(&e, m, model);
        for (uint64_t round = 1; round <= 3; round++) {
            s = endless_stream(&e, m);
            assert_int_equal(baton_llama_stream(m, &e.ask, &behind, NULL), BATON_OK);
            assert_int_equal(counts_of(m).queued, 1);
            assert_int_equal(baton_stream_close(&behind, NULL), BATON_CANCELLED);
            while (counts_of(m).queued > 0)
                sched_yield();
            assert_int_equal(counts_of(m).running, 1);
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED); /* in decode */
            still_answers(m);
            e.request.id = round;
            e.ask.prompt = words;
            assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
            while (!owned_look(m, round, &run) || !run.inside)
                sched_yield();
            assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED); /* in prefill */
            still_answers(m);
            e.request.id = 0;
            e.ask.prompt = "Once upon a time";
        }
        owned_close(&m);
    }
}

/* Of streams: which time passed, or who ended it, and that it is cut. */
static inline void probe_P23(const char *model) {
    for (int kind = 0; kind < OWNED_KINDS; kind++) {
        baton_policy policy = owned_policy(kind, 1);
        baton_llama *m = api_open(model, &policy, PROBE_CTX);
        struct endless e, waiting;
        baton_stream *s, *behind;
        baton_delta d;
        baton_outcome o;
        endless_init(&e, m, model);
        endless_init(&waiting, m, model);
        s = endless_stream(&e, m);
        waiting.request.queue_ms = 20;
        assert_int_equal(baton_llama_stream(m, &waiting.ask, &behind, NULL), BATON_OK);
        assert_int_equal(baton_stream_next(behind, -1, &d), BATON_END);
        assert_int_equal(baton_stream_close(&behind, &o), BATON_QUEUE_TIMEOUT);
        assert_int_equal(o.answer_tokens, 0);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        assert_int_equal(baton_stream_close(&s, &o), BATON_CANCELLED);
        e.request.run_ms = 100;
        s = endless_stream(&e, m);
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            ;
        assert_int_equal(baton_stream_close(&s, &o), BATON_RUN_TIMEOUT);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        assert_true(o.answer_tokens > 0);
        e.request.run_ms = -1;
        e.request.id = 9;
        s = endless_stream(&e, m);
        assert_true(baton_llama_cancel(m, 9));
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            ;
        assert_int_equal(baton_stream_close(&s, &o), BATON_CANCELLED);
        assert_int_equal(o.finish, BATON_FINISH_NONE);
        baton_counts c = counts_of(m);
        assert_int_equal(c.timed_out, 2);
        assert_int_equal(c.completed, 0);
        owned_close(&m);
    }
}

#define OWNED_PROBES(X)                                                                                                \
    X(P13, a_reader_that_stops_holds_nobody_up)                                                                        \
    X(P15, a_thousand_dropped_streams_leave_nothing_behind)                                                            \
    X(P21, a_cancel_finds_its_request_wherever_it_is)                                                                  \
    X(P22, who_leaves_gives_back_what_it_held)                                                                         \
    X(P23, streams_tell_which_end_they_came_to)

#endif
