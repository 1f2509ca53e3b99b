/* All of llama.h at once: threads that ask, read, give up, cancel, look on, reset, save, go on and use contexts by
 * hand, in an order drawn from a seed. What is complete is what it is alone; what is not has one of the outcomes it may
 * have; in the end nothing is held. */
#ifndef BT_API_STORM_H
#define BT_API_STORM_H

#include <sched.h>

#include "api_probes.h"

enum { STORM_PROMPTS = 3, STORM_THREADS = 5, STORM_IDS = 12, STORM_TOKENS = 24 };

struct storm {
    baton_llama *m;
    baton_policy policy;
    char alone[STORM_PROMPTS][2048];
    pthread_mutex_t lock;
    baton_lease parcel; /* under the lock; pool NULL: none */
    int rounds;
};

struct storm_thread {
    struct storm *x;
    pthread_t thread;
    uint64_t draw;
    baton_request request;
    baton_sampling sampling;
    int prompt;
};

static inline unsigned storm_draw(struct storm_thread *t, unsigned n) {
    t->draw = t->draw * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(t->draw >> 33) % n;
}

static inline void storm_ask(struct storm_thread *t, baton_llama_ask *ask) {
    static const char *const prompts[STORM_PROMPTS] = {"Once upon a time", "A lease is", "Who waits at the gate?"};
    *ask = (baton_llama_ask)BATON_LLAMA_ASK;
    t->request = (baton_request)BATON_REQUEST;
    t->request.when_full = storm_draw(t, 3) ? BATON_WAIT : BATON_REFUSE;
    t->request.queue_ms = storm_draw(t, 4) ? -1 : (int64_t)storm_draw(t, 3);
    t->request.run_ms = storm_draw(t, 8) ? -1 : (int64_t)storm_draw(t, 3);
    t->request.priority = (int)storm_draw(t, 3);
    t->request.flow = storm_draw(t, 2);
    t->request.id = storm_draw(t, 2) ? 1 + storm_draw(t, STORM_IDS) : 0;
    t->prompt = (int)storm_draw(t, STORM_PROMPTS);
    t->sampling = (baton_sampling)BATON_SAMPLING;
    t->sampling.temperature = 0.8f;
    t->sampling.seed = 3;
    ask->prompt = prompts[t->prompt];
    ask->sampling = &t->sampling;
    ask->request = &t->request;
    ask->max_tokens = STORM_TOKENS;
}

/* The length but for a character that is cut at the end. */
static inline size_t storm_whole(const char *text) {
    size_t n = strlen(text);
    while (n >= 3 && strncmp(text + n - 3, "\xef\xbf\xbd", 3) == 0)
        n -= 3;
    return n;
}

static inline void storm_outcome(const struct storm_thread *t, baton_status status, const char *text, bool whole) {
    switch (status) {
    case BATON_OK:
        if (whole && strcmp(text, t->x->alone[t->prompt]) != 0)
            fail_msg("'%s' instead of '%s'", text, t->x->alone[t->prompt]);
        break;
    case BATON_BUSY:
    case BATON_QUEUE_FULL:
    case BATON_QUEUE_TIMEOUT:
    case BATON_RUN_TIMEOUT:
    case BATON_CANCELLED:
        break;
    case BATON_INVALID: /* another request of that id is alive */
        assert_true(t->request.id != 0);
        break;
    default:
        fail_msg("%s: '%s'", baton_status_name(status), text);
    }
    size_t n = storm_whole(text);
    if (strncmp(text, t->x->alone[t->prompt], n) != 0)
        fail_msg("'%s' is no beginning of '%s'", text, t->x->alone[t->prompt]);
}

static inline void storm_generate(struct storm_thread *t) {
    baton_llama_ask ask;
    baton_result r;
    baton_error err;
    storm_ask(t, &ask);
    baton_status status = baton_llama_generate(t->x->m, &ask, &r, storm_draw(t, 2) ? &err : NULL);
    storm_outcome(t, status, r.text, true);
    assert_int_equal(r.outcome.status, status);
    baton_result_free(&r);
}

/* Reads `pieces` (< 0: all), saves in the middle or not. *text has room for all. */
static inline baton_status storm_read(struct storm_thread *t, baton_stream *s, int pieces, char *text, void **state,
                                      size_t *size) {
    size_t len = strlen(text);
    baton_delta d;
    for (int i = 0; i != pieces; i++) {
        baton_status status = baton_stream_next(s, storm_draw(t, 2) ? -1 : 1, &d);
        if (status == BATON_END)
            break;
        if (status == BATON_OK) {
            memcpy(text + len, d.text, d.len);
            text[len += d.len] = '\0';
        } else {
            assert_int_equal(status, BATON_AGAIN);
        }
        if (state && !*state && i >= 1 && baton_llama_save_state(s, state, size, NULL) == BATON_OK)
            break;
    }
    return BATON_OK;
}

static inline void storm_stream(struct storm_thread *t) {
    baton_llama_ask ask;
    baton_stream *s;
    baton_outcome o;
    char text[2048] = "";
    storm_ask(t, &ask);
    int pieces = storm_draw(t, 2) ? -1 : (int)storm_draw(t, 5);
    baton_status status = baton_llama_stream(t->x->m, &ask, &s, NULL);
    if (status) {
        assert_null(s);
        storm_outcome(t, status, "", false);
        return;
    }
    assert_true(t->request.id == 0 || baton_stream_id(s) == t->request.id);
    if (storm_draw(t, 2))
        (void)baton_stream_fd(s);
    storm_read(t, s, pieces, text, NULL, NULL);
    status = baton_stream_close(&s, &o);
    assert_int_equal(o.status, status);
    storm_outcome(t, status, text, pieces < 0);
}

/* Saved in the middle, gone on from somewhere else in the same handle. */
static inline void storm_save(struct storm_thread *t) {
    baton_llama_ask ask;
    baton_stream *s;
    char text[2048] = "";
    void *state = NULL;
    size_t size;
    storm_ask(t, &ask);
    t->request.run_ms = -1;
    if (baton_llama_stream(t->x->m, &ask, &s, NULL))
        return;
    storm_read(t, s, -1, text, &state, &size);
    (void)baton_stream_close(&s, NULL);
    if (!state)
        return;
    ask.prompt = NULL;
    ask.state = state;
    ask.state_size = size;
    t->request.id = 0;
    t->request.when_full = BATON_WAIT;
    t->request.queue_ms = -1;
    baton_status status = baton_llama_stream(t->x->m, &ask, &s, NULL);
    assert_true(status == BATON_OK || status == BATON_QUEUE_FULL);
    if (!status) {
        size_t had = storm_whole(text); /* what was cut in the middle of a character goes on with all of it */
        text[had] = '\0';
        storm_read(t, s, -1, text, NULL, NULL);
        baton_outcome o;
        assert_int_equal(baton_stream_close(&s, &o), BATON_OK);
        /* its max_tokens counts anew: what is alone is a beginning of it, but for a character that is cut there */
        const char *alone = t->x->alone[t->prompt];
        size_t n = storm_whole(alone);
        n = n < strlen(text) ? n : strlen(text);
        if (strncmp(text, alone, n) != 0)
            fail_msg("after %zu bytes '%s' instead of '%s'", had, text, alone);
    }
    baton_free(state);
}

static inline bool storm_on_delta(void *arg, const baton_delta *d) {
    struct storm_thread *t = arg;
    struct storm_thread inner = {.x = t->x, .draw = t->draw + d->len};
    baton_llama_ask ask;
    baton_result r;
    if (storm_draw(t, 6))
        return storm_draw(t, 12) != 0;
    storm_ask(&inner, &ask);
    inner.request.id = 0;
    baton_status status = baton_llama_generate(t->x->m, &ask, &r, NULL);
    if (status != BATON_REENTRANT)
        storm_outcome(&inner, status, r.text, true);
    baton_result_free(&r);
    return true;
}

static inline void storm_callback(struct storm_thread *t) {
    baton_llama_ask ask;
    baton_outcome o;
    storm_ask(t, &ask);
    baton_status status = baton_llama_generate_cb(t->x->m, &ask, storm_on_delta, t, &o, NULL);
    assert_int_equal(o.status, status);
    storm_outcome(t, status, "", false);
}

static inline void storm_look(struct storm_thread *t) {
    baton_snapshot s = {.size = sizeof s};
    char *json;
    baton_llama_info info = {.size = sizeof info};
    assert_int_equal(baton_llama_snapshot(t->x->m, &s, NULL), BATON_OK);
    assert_int_equal(s.contexts, t->x->policy.contexts);
    assert_true(s.listed >= 0 && s.listed <= 64 && s.running >= 0);
    assert_int_equal(baton_snapshot_json(&s, &json, NULL), BATON_OK);
    assert_true(json[0] == '{' && json[strlen(json) - 1] == '}');
    baton_free(json);
    baton_snapshot_free(&s);
    baton_llama_get_info(t->x->m, &info);
    assert_true(info.exact);
    baton_counts c = counts_of(t->x->m);
    assert_true(c.running <= c.slots && c.queued <= t->x->policy.queue);
}

static inline void storm_words(struct storm_thread *t) {
    int32_t *tokens;
    size_t n, len;
    char *text;
    assert_int_equal(baton_llama_tokenize(t->x->m, "a lease", 7, false, &tokens, &n, NULL), BATON_OK);
    assert_int_equal(baton_llama_detokenize(t->x->m, tokens, n, &text, &len, NULL), BATON_OK);
    assert_string_equal(text, "a lease");
    baton_free(tokens);
    baton_free(text);
}

static inline void storm_reset(struct storm_thread *t) {
    baton_request request = BATON_REQUEST;
    request.when_full = storm_draw(t, 2) ? BATON_WAIT : BATON_REFUSE;
    request.queue_ms = storm_draw(t, 5);
    baton_status status = baton_llama_reset(t->x->m, &request, NULL);
    assert_true(status == BATON_OK || status == BATON_BUSY || status == BATON_QUEUE_TIMEOUT ||
                status == BATON_QUEUE_FULL || status == BATON_WOULD_DEADLOCK);
}

/* What was given last, if anything, is taken by whoever comes, and given back. */
static inline void storm_take(struct storm *x) {
    baton_lease taken;
    pthread_mutex_lock(&x->lock);
    baton_lease parcel = x->parcel;
    x->parcel = (baton_lease)BATON_LEASE;
    pthread_mutex_unlock(&x->lock);
    if (!parcel.pool)
        return;
    assert_int_equal(baton_lease_take(&parcel, &taken, NULL), BATON_OK);
    assert_int_equal(baton_lease_release(&taken, BATON_RESET, NULL), BATON_OK);
}

/* A lease by hand, released or given on; nobody waits for another one while a parcel lies there. */
static inline void storm_by_hand(struct storm_thread *t) {
    baton_lease lease, parcel;
    baton_request request = BATON_REQUEST;
    request.when_full = storm_draw(t, 2) ? BATON_WAIT : BATON_REFUSE;
    request.queue_ms = 2;
    if (t->x->policy.owner != BATON_OWNER_CALLER) {
        assert_int_equal(baton_llama_acquire(t->x->m, &request, &lease, NULL), BATON_UNSUPPORTED);
        return;
    }
    if (baton_llama_acquire(t->x->m, &request, &lease, NULL))
        return;
    baton_lease copy = lease;
    assert_null(baton_llama_context(&lease)); /* before begin */
    if (storm_draw(t, 2)) {
        assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
        assert_int_equal(baton_lease_release(&copy, BATON_RESET, NULL), BATON_STALE);
        return;
    }
    assert_int_equal(baton_lease_give(&lease, &parcel, NULL), BATON_OK);
    assert_int_equal(baton_lease_release(&copy, BATON_RESET, NULL), BATON_STALE);
    storm_take(t->x);
    pthread_mutex_lock(&t->x->lock);
    bool kept = !t->x->parcel.pool;
    if (kept)
        t->x->parcel = parcel;
    pthread_mutex_unlock(&t->x->lock);
    if (!kept)
        assert_int_equal(baton_lease_release(&parcel, BATON_KEEP, NULL), BATON_OK);
    sched_yield();
    storm_take(t->x);
}

static inline void *storm_thread(void *arg) {
    struct storm_thread *t = arg;
    for (int i = 0; i < t->x->rounds; i++)
        switch (storm_draw(t, 12)) {
        case 0:
        case 1:
        case 2:
            storm_generate(t);
            break;
        case 3:
        case 4:
            storm_stream(t);
            break;
        case 5:
            storm_save(t);
            break;
        case 6:
            storm_callback(t);
            break;
        case 7:
            storm_look(t);
            break;
        case 8:
            storm_words(t);
            break;
        case 9:
            storm_reset(t);
            break;
        case 10:
            storm_by_hand(t);
            break;
        default:
            baton_llama_cancel(t->x->m, 1 + storm_draw(t, STORM_IDS));
        }
    return NULL;
}

/* What each prompt's answer is when nobody else asks. */
static inline void storm_alone(struct storm *x) {
    struct storm_thread t = {.x = x};
    for (int i = 0; i < STORM_PROMPTS; i++) {
        baton_llama_ask ask;
        baton_result r;
        do
            storm_ask(&t, &ask);
        while (t.prompt != i);
        ask.request = NULL;
        assert_int_equal(baton_llama_generate(x->m, &ask, &r, NULL), BATON_OK);
        snprintf(x->alone[i], sizeof x->alone[i], "%s", r.text);
        baton_result_free(&r);
    }
}

/* `meanwhile`: what happens beside it, on this thread, until it says that it is enough; may be NULL. */
static inline void storm_under(const char *model, int number, int rounds, uint64_t seed, bool (*meanwhile)(void)) {
    static struct storm x;
    static struct storm_thread threads[STORM_THREADS];
    x = (struct storm){.policy = api_policy(number), .lock = PTHREAD_MUTEX_INITIALIZER, .rounds = rounds};
    x.policy.queue = 3;
    x.m = api_open(model, &x.policy, 256);
    storm_alone(&x);
    for (int i = 0; i < STORM_THREADS; i++) {
        threads[i] = (struct storm_thread){.x = &x, .draw = seed * 64 + (uint64_t)(number * STORM_THREADS + i)};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, storm_thread, &threads[i]), 0);
    }
    while (meanwhile && meanwhile())
        ;
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    assert_null(x.parcel.pool);
    still_answers(x.m);
    baton_llama_close(&x.m);
}

static inline void storm(const char *model, int rounds, uint64_t seed) {
    for (int p = 0; p < API_POLICIES; p++)
        storm_under(model, p, rounds, seed, NULL);
}

#endif
