/* The five tests that Elpis put off, over any model: a basic stream, an idle one, a long one, rapid requests, and
 * layers on a GPU. The first author's measure of "idle" was a minute and of "rapid" five in ten seconds: $BATON_IDLE_S
 * gives the seconds of idleness (ctest takes half a second), and $BATON_GPU_LAYERS the layers, without which that one
 * is skipped. A stop of the world, not a sleep, is what is tried: nobody touches the stream, and nothing may go on. */
#ifndef BT_API_ELPIS_H
#define BT_API_ELPIS_H

#include <sched.h>
#include <time.h>

#include "api_probes.h"
#include "resources.h"

static inline void be_idle(void) {
    const char *seconds = getenv("BATON_IDLE_S");
    long ms = seconds ? strtol(seconds, NULL, 10) * 1000 : 500;
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    assert_int_equal(nanosleep(&t, NULL), 0);
}

static inline void elpis_read(baton_stream *s, char *text, size_t size, size_t *len, int pieces) {
    baton_delta d;
    while (pieces-- != 0 && baton_stream_next(s, -1, &d) == BATON_OK) {
        assert_true(*len + d.len < size);
        memcpy(text + *len, d.text, d.len);
        *len += d.len;
    }
    text[*len] = '\0';
}

static inline void elpis_basic(const char *model) {
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        baton_llama *m = api_open(model, &policy, 512);
        struct endless e;
        baton_result r;
        baton_stream *s;
        char text[4096] = "";
        size_t len = 0;
        endless_init(&e, m, model);
        e.ask.max_tokens = 60;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, NULL), BATON_OK);
        assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
        elpis_read(s, text, sizeof text, &len, -1);
        assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
        assert_string_equal(text, r.text);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

/* Idle before the first answer, in the middle of one, and after the last piece; by another thread's leave, the stream
 * would be no other afterwards than one that was read at once. */
static inline void elpis_idle(const char *model) {
    static const int policies[] = {0, 3, 5};
    for (int p = 0; p < 3; p++) {
        baton_policy policy = api_policy(policies[p]);
        baton_llama *m = api_open(model, &policy, 1024);
        struct endless e;
        baton_result r;
        baton_stream *s;
        char text[16384] = "";
        size_t len = 0;
        be_idle();
        endless_init(&e, m, model);
        e.ask.max_tokens = 600;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, NULL), BATON_OK);
        assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
        elpis_read(s, text, sizeof text, &len, 3);
        be_idle();
        if (policy.owner == BATON_OWNER_CALLER) /* an owner thread may be through: three reads can take many tokens */
            assert_int_equal(counts_of(m).running, 1);
        elpis_read(s, text, sizeof text, &len, -1);
        be_idle();
        assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
        assert_string_equal(text, r.text);
        baton_result_free(&r);
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, NULL), BATON_OK);
        assert_string_equal(text, r.text);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

static inline void *elpis_one(void *arg) {
    struct teller *t = arg;
    struct endless e;
    endless_init(&e, t->m, t->text[0] ? "fake" : NULL);
    t->text[0] = '\0';
    e.ask.max_tokens = 40;
    baton_result r;
    t->status = baton_llama_generate(t->m, &e.ask, &r, NULL);
    snprintf(t->text, sizeof t->text, "%s", r.text ? r.text : "");
    baton_result_free(&r);
    return NULL;
}

/* Requests in quick succession, one after the other and all at once: each complete and right, and no thread more
 * afterwards than before. */
static inline void elpis_rapid(const char *model) {
    enum { N = 5, ROUNDS = 4 };
    static struct teller tellers[N];
    char first[sizeof tellers[0].text] = "";
    for (int p = 0; p < API_POLICIES; p++) {
        baton_policy policy = api_policy(p);
        int before = threads_alive();
        baton_llama *m = api_open(model, &policy, 512);
        for (int round = 0; round < ROUNDS; round++)
            for (int i = 0; i < N; i++) {
                memset(&tellers[i], 0, sizeof tellers[i]);
                tellers[i].m = m;
                tellers[i].text[0] = model ? 'f' : '\0';
                assert_int_equal(pthread_create(&tellers[i].thread, NULL, elpis_one, &tellers[i]), 0);
                if (round % 2 == 0 || i == N - 1)
                    for (int k = round % 2 == 0 ? i : 0; k <= i; k++) {
                        pthread_join(tellers[k].thread, NULL);
                        assert_int_equal(tellers[k].status, BATON_OK);
                        if (!first[0])
                            snprintf(first, sizeof first, "%s", tellers[k].text);
                        assert_string_equal(tellers[k].text, first);
                    }
            }
        baton_llama_close(&m);
        no_more_threads_than(before);
    }
}

/* Partial off-load, too: it answers, to its end. Which words is no promise of a GPU's. */
static inline void elpis_gpu(void) {
    const char *asked = getenv("BATON_GPU_LAYERS");
    if (!asked)
        skip();
    for (int layers = 1; layers >= -1; layers -= 2) {
        baton_llama_params params = BATON_LLAMA_PARAMS;
        baton_llama *m;
        baton_error err;
        struct endless e;
        baton_result r;
        params.gpu_layers = layers > 0 ? (int)strtol(asked, NULL, 10) : -1;
        params.ctx = 512;
        if (baton_llama_open(&m, NULL, &params, &err))
            fail_msg("%s", err.text);
        endless_init(&e, m, NULL);
        e.ask.max_tokens = 200;
        assert_int_equal(baton_llama_generate(m, &e.ask, &r, &err), BATON_OK);
        assert_int_equal(r.outcome.answer_tokens, 200);
        baton_result_free(&r);
        baton_llama_close(&m);
    }
}

#endif
