/* Snapshots of pools and models, and the lines that name requests. */
#include "harness.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "baton/llama.h"
#include "overlap.h"

static baton_pool *open_pool(void *const *contexts, int n, int queue) {
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_pool *pool;
    params.name = "engine \"one\"";
    params.contexts = contexts;
    params.n = n;
    params.queue = queue;
    params.when_full = BATON_WAIT;
    assert_int_equal(baton_pool_open(&pool, &params, NULL), BATON_OK);
    return pool;
}

static baton_snapshot look(const baton_pool *pool) {
    baton_snapshot s = {.size = sizeof s};
    assert_int_equal(baton_pool_snapshot(pool, &s, NULL), BATON_OK);
    return s;
}

static uint64_t total(const uint64_t *histogram) {
    uint64_t sum = 0;
    for (int i = 0; i < BATON_BUCKETS; i++)
        sum += histogram[i];
    return sum;
}

static baton_ticket *queue_up(baton_pool *pool, uint64_t id, int priority) {
    baton_request request = BATON_REQUEST;
    baton_lease none;
    baton_ticket *ticket = NULL;
    request.id = id;
    request.priority = priority;
    request.flow = id * 10;
    assert_int_equal(baton_lease_ask(pool, &request, &none, &ticket, NULL), BATON_AGAIN);
    return ticket;
}

struct holder {
    baton_pool *pool;
    pthread_t thread;
    _Atomic unsigned tid;
    _Atomic bool go;
};

static void *hold(void *arg) {
    struct holder *h = arg;
    baton_request request = BATON_REQUEST;
    baton_lease lease;
    void *c;
    request.id = 5;
    pthread_setname_np(pthread_self(), "worker-b");
    if (baton_lease_acquire(h->pool, &request, &lease, NULL))
        return NULL;
    if (baton_lease_begin(&lease, BATON_OP_EMBED, &c, NULL) == BATON_OK) {
        h->tid = (unsigned)gettid();
        overlap_wait_until(h->go);
        baton_lease_end(&lease);
    }
    (void)!baton_lease_release(&lease, BATON_KEEP, NULL);
    return NULL;
}

static void assert_its_text(const baton_snapshot *s) {
    char *json;
    assert_int_equal(baton_snapshot_json(s, &json, NULL), BATON_OK);
    static const char head[] = "{\"version\":1,\"name\":\"engine \\\"one\\\"\",";
    assert_int_equal(strncmp(json, head, sizeof head - 1), 0);
    assert_non_null(strstr(json, "\"request\":\"5\",\"tid\":"));
    assert_non_null(strstr(json, "\"thread\":\"worker-b\",\"inside\":true,\"op\":\"embed\""));
    assert_non_null(strstr(json, "\"queued\":3,\"waiting\":[{\"position\":0,\"request\":\"10\",\"flow\":\"100\""));
    assert_non_null(strstr(json, "\"refused\":1,\"timed_out\":0,\"cancelled\":1,\"wait_us\":[2],\"hold_ms\":[]}"));
    baton_free(json);
}

static void who_holds_and_who_waits_in_the_order_of_service(void **state) {
    (void)state;
    int engines[2];
    void *pointers[2] = {&engines[0], &engines[1]};
    baton_pool *pool = open_pool(pointers, 2, 8);
    struct holder h = {.pool = pool};
    baton_request refuse = BATON_REQUEST;
    baton_lease lease, none;
    assert_int_equal(pthread_create(&h.thread, NULL, hold, &h), 0);
    overlap_wait_until(h.tid);
    baton_snapshot s = look(pool);
    assert_string_equal(s.name, "engine \"one\"");
    assert_int_equal(s.contexts, 2);
    assert_true(s.context[0].held && s.context[0].inside && !s.context[0].lost);
    assert_int_equal(s.context[0].tid, h.tid);
    assert_string_equal(s.context[0].thread, "worker-b");
    assert_int_equal(s.context[0].op, BATON_OP_EMBED);
    assert_int_equal(s.context[0].request, 5);
    assert_false(s.context[1].held);
    assert_int_equal(s.context[1].request, 0);
    assert_int_equal(s.queued + s.listed, 0);
    assert_int_equal(s.contended, 0);
    baton_snapshot_free(&s);
    baton_snapshot_free(&s);
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    refuse.when_full = BATON_REFUSE;
    assert_int_equal(baton_lease_acquire(pool, &refuse, &none, NULL), BATON_BUSY);
    baton_ticket *last = queue_up(pool, 12, 2), *second = queue_up(pool, 11, 1), *third = queue_up(pool, 13, 1),
                 *first = queue_up(pool, 10, 0);
    baton_ticket_drop(&third);
    s = look(pool);
    assert_int_equal(s.queued, 3);
    assert_int_equal(s.listed, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s.waiting[i].id, 10 + i);
        assert_int_equal(s.waiting[i].flow, 100 + 10 * i);
        assert_int_equal(s.waiting[i].priority, i);
        assert_int_equal(s.waiting[i].position, i);
        assert_int_equal(s.waiting[i].tid, gettid());
    }
    assert_int_equal(s.granted, 2);
    assert_int_equal(s.contended, 5);
    assert_int_equal(s.refused, 1);
    assert_int_equal(s.cancelled, 1);
    assert_its_text(&s);
    baton_snapshot_free(&s);
    assert_true(baton_pool_cancel(pool, 12));
    assert_int_equal(baton_lease_poll(&last, &none, NULL), BATON_CANCELLED);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    assert_int_equal(baton_lease_poll(&first, &lease, NULL), BATON_OK);
    s = look(pool);
    assert_int_equal(s.context[1].request, 10);
    assert_int_equal(s.context[1].grants, 2);
    assert_int_equal(s.queued, 1);
    assert_int_equal(s.waiting[0].id, 11);
    assert_int_equal(s.cancelled, 2);
    assert_int_equal(total(s.wait_us), 3);
    assert_int_equal(total(s.hold_ms), 1);
    baton_snapshot_free(&s);
    baton_ticket_drop(&second);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    h.go = true;
    pthread_join(h.thread, NULL);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
}

static void more_than_are_listed_are_counted(void **state) {
    (void)state;
    enum { MANY = 80, LISTED = 64 };
    int engine;
    void *pointer = &engine;
    baton_pool *pool = open_pool(&pointer, 1, MANY);
    baton_ticket *tickets[MANY];
    baton_lease lease;
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    for (int i = 0; i < MANY; i++)
        tickets[i] = queue_up(pool, (uint64_t)i + 1, 1);
    baton_snapshot s = look(pool);
    assert_int_equal(s.queued, MANY);
    assert_int_equal(s.listed, LISTED);
    assert_int_equal(s.waiting[LISTED - 1].id, LISTED);
    baton_snapshot_free(&s);
    for (int i = 0; i < MANY; i++)
        baton_ticket_drop(&tickets[i]);
    baton_ticket *again = queue_up(pool, 1000, 1); /* places are used again */
    s = look(pool);
    assert_int_equal(s.queued, 1);
    assert_int_equal(s.listed, 1);
    assert_int_equal(s.waiting[0].id, 1000);
    baton_snapshot_free(&s);
    baton_ticket_drop(&again);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
}

/* Threads whose requests carry their own number, so that a torn record shows: id and flow, and the holder's thread. */
enum { WORKERS = 6, CONTEXTS = 2, ROUNDS = 400 };
struct worker {
    baton_pool *pool;
    pthread_t thread;
    uint64_t number;
    _Atomic unsigned tid;
    int failed;
};
static _Atomic int working;

static void *works(void *arg) {
    struct worker *w = arg;
    baton_request request = BATON_REQUEST;
    w->tid = (unsigned)gettid();
    request.id = w->number;
    request.flow = w->number * 10;
    for (int i = 0; i < ROUNDS; i++) {
        baton_lease lease;
        if (baton_lease_acquire(w->pool, &request, &lease, NULL)) {
            w->failed++;
            continue;
        }
        sched_yield();
        w->failed += baton_lease_release(&lease, BATON_KEEP, NULL) != BATON_OK;
    }
    working--;
    return NULL;
}

static int torn(const baton_snapshot *s, const struct worker *workers) {
    int wrong = 0;
    for (int i = 0; i < s->contexts; i++) {
        const baton_context_use *u = &s->context[i];
        if (u->held) /* its id says whose it is, and so does its thread */
            wrong += u->request < 1 || u->request > WORKERS || workers[u->request - 1].tid != u->tid;
    }
    for (int i = 0; i < s->listed; i++) {
        const baton_waiting *w = &s->waiting[i];
        wrong += w->id < 1 || w->id > WORKERS || w->flow != w->id * 10 || workers[w->id - 1].tid != w->tid;
    }
    return wrong;
}

static void no_record_is_torn_while_contexts_change_hands(void **state) {
    (void)state;
    int engines[CONTEXTS], wrong = 0, looks = 0;
    void *pointers[CONTEXTS] = {&engines[0], &engines[1]};
    baton_pool *pool = open_pool(pointers, CONTEXTS, WORKERS);
    struct worker workers[WORKERS];
    working = WORKERS;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.pool = pool, .number = (uint64_t)i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, works, &workers[i]), 0);
    }
    for (; working; looks++) {
        baton_snapshot s = look(pool);
        wrong += torn(&s, workers);
        baton_snapshot_free(&s);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
    }
    assert_true(looks > 0);
    assert_int_equal(wrong, 0);
    baton_snapshot s = look(pool);
    assert_int_equal(s.granted, WORKERS * ROUNDS);
    assert_int_equal(total(s.wait_us), WORKERS * ROUNDS);
    assert_int_equal(total(s.hold_ms), WORKERS * ROUNDS);
    assert_int_equal(s.queued + s.listed, 0);
    assert_true(s.contended <= s.granted);
    baton_snapshot_free(&s);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
}

static char lines[8][200];
static int n_lines;
static void keep_line(void *arg, baton_log_level level, const char *line) {
    (void)arg;
    if (level == BATON_LOG_DEBUG && n_lines < 8)
        snprintf(lines[n_lines++], sizeof lines[0], "%s", line);
}

static void debug_lines_name_the_request(void **state) {
    (void)state;
    int engine;
    void *pointer = &engine;
    baton_pool *pool = open_pool(&pointer, 1, 4);
    baton_request request = BATON_REQUEST;
    baton_lease lease, none;
    request.id = 41;
    n_lines = 0;
    baton_log_set(BATON_LOG_DEBUG, keep_line, NULL);
    assert_int_equal(baton_lease_acquire(pool, &request, &lease, NULL), BATON_OK);
    baton_ticket *ticket = queue_up(pool, 42, 1);
    assert_true(baton_pool_cancel(pool, 42));
    assert_int_equal(baton_lease_poll(&ticket, &none, NULL), BATON_CANCELLED);
    request.id = 43;
    request.when_full = BATON_REFUSE;
    assert_int_equal(baton_lease_acquire(pool, &request, &none, NULL), BATON_BUSY);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    baton_log_set(BATON_LOG_INFO, NULL, NULL);
    assert_int_equal(n_lines, 4);
    assert_string_equal(lines[0], "engine \"one\": request 41 acquired context 0");
    assert_string_equal(lines[1], "engine \"one\": request 42 is cancelled");
    assert_string_equal(lines[2], "engine \"one\": request 43 was not granted a context: BUSY");
    assert_string_equal(lines[3], "engine \"one\": request 41 releases context 0");
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
}

static void of_a_model_and_to_a_shorter_struct(void **state) {
    (void)state;
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_snapshot s = {.size = sizeof s};
    baton_stream *stream;
    baton_delta d;
    baton_llama *m;
    baton_error err;
    params.policy = &policy;
    assert_int_equal(baton_llama_open(&m, "fake:len=100", &params, &err), BATON_OK);
    ask.prompt = "who";
    assert_int_equal(baton_llama_stream(m, &ask, &stream, &err), BATON_OK);
    assert_int_equal(baton_stream_next(stream, -1, &d), BATON_OK);
    assert_int_equal(baton_llama_snapshot(m, &s, &err), BATON_OK);
    assert_int_equal(s.contexts, 1);
    assert_true(s.context[0].held);
    assert_int_equal(s.context[0].request, baton_stream_id(stream));
    baton_snapshot_free(&s);
    (void)baton_stream_close(&stream, NULL);
    baton_llama_close(&m);
    s.size = 0;
    policy.owner = BATON_OWNER_THREAD;
    assert_int_equal(baton_llama_open(&m, "fake:len=100", &params, &err), BATON_OK);
    assert_int_equal(baton_llama_snapshot(m, &s, &err), BATON_MISUSE);
    s.size = offsetof(baton_snapshot, owner); /* a program that does not know the owners */
    memset((char *)&s + s.size, 0x5a, sizeof s - s.size);
    assert_int_equal(baton_llama_snapshot(m, &s, &err), BATON_OK);
    assert_int_equal(s.running, 0);
    assert_null(s.run);
    assert_int_equal(*(unsigned char *)&s.owner, 0x5a);
    baton_snapshot_free(&s);
    assert_int_equal(*(unsigned char *)&s.owner, 0x5a);
    baton_llama_close(&m);
}

static baton_snapshot look_at(const baton_llama *m) {
    baton_snapshot s = {.size = sizeof s};
    baton_error err;
    if (baton_llama_snapshot(m, &s, &err))
        fail_msg("%s", err.text);
    return s;
}

/* Looks until it is so, and leaves what was seen in `s`. */
#define look_until(m, s, condition)                                                                                    \
    for ((s) = look_at(m); !(condition); (s) = look_at(m)) {                                                           \
        baton_snapshot_free(&(s));                                                                                     \
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);                                                        \
    }

static baton_llama *open_owner(const char *model, baton_owner owner, int sequences, baton_pooling pooling) {
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    policy.owner = owner;
    policy.sequences = sequences;
    policy.queue = 4;
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    params.pooling = pooling;
    params.threads = 1;
    if (baton_llama_open(&m, model, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

/* Of one that nobody reads, and that is therefore never done: its answer is longer than the window. */
static baton_stream *ask_for(baton_llama *m, uint64_t id, int priority) {
    baton_request request = BATON_REQUEST;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_stream *stream;
    baton_error err;
    request.id = id;
    request.flow = id * 10;
    request.priority = priority;
    ask.request = &request;
    ask.prompt = "who";
    if (baton_llama_stream(m, &ask, &stream, &err))
        fail_msg("%s", err.text);
    return stream;
}

static void assert_two_run_and_two_wait(const baton_snapshot *s) {
    const baton_context_use *u = &s->context[0];
    assert_string_equal(s->name, "fake");
    assert_int_equal(s->contexts, 1);
    assert_true(u->held && !u->lost);
    assert_int_equal(u->request, 21);
    assert_int_equal(u->tid, gettid());
    assert_int_equal(u->op, BATON_OP_GENERATE);
    assert_int_equal(u->grants, 2);
    assert_true(u->utilisation >= 0 && u->utilisation <= 1 && u->held_ms >= 0);
    assert_int_equal(s->running, 2);
    for (int i = 0; i < 2; i++) {
        const baton_running *r = &s->run[i];
        char name[16] = "";
        assert_int_equal(r->id, 21 + i);
        assert_int_equal(r->flow, 210 + 10 * i);
        assert_int_equal(r->context, 0);
        assert_int_equal(r->op, BATON_OP_GENERATE);
        assert_int_equal(r->tid, gettid());
        assert_int_equal(pthread_getname_np(pthread_self(), name, sizeof name), 0);
        assert_string_equal(r->thread, name);
    }
    assert_int_equal(s->queued, 2);
    assert_int_equal(s->listed, 2);
    for (int i = 0; i < 2; i++) { /* the later one is the more urgent */
        const baton_waiting *w = &s->waiting[i];
        assert_int_equal(w->id, 24 - i);
        assert_int_equal(w->flow, 240 - 10 * i);
        assert_int_equal(w->priority, i);
        assert_int_equal(w->position, i);
        assert_int_equal(w->tid, gettid());
        assert_true(w->for_ms >= 0);
    }
    assert_int_equal(s->granted, 2);
    assert_int_equal(s->contended, 3);
    assert_int_equal(s->refused, 1);
    assert_int_equal(total(s->wait_us), 2);
    assert_int_equal(total(s->hold_ms), 0);
    assert_string_equal(s->owner[0].state, "ready");
    assert_true(s->owner[0].ready && !s->owner[0].gone);
    assert_int_equal(s->owner[0].running, 2);
    assert_int_equal(s->owner[0].restarts, 0);
    assert_string_equal(s->owner[0].last_end, "");
}

static void assert_owners_text(const baton_snapshot *s) {
    char *json;
    assert_int_equal(baton_snapshot_json(s, &json, NULL), BATON_OK);
    assert_non_null(
        strstr(json, "\"running\":[{\"request\":\"21\",\"flow\":\"210\",\"context\":0,\"op\":\"generate\","));
    assert_non_null(strstr(json, "},{\"request\":\"22\","));
    assert_non_null(strstr(json, "\"owners\":[{\"state\":\"ready\",\"ready\":true,\"gone\":false,\"running\":2,"));
    assert_non_null(strstr(json, "\"last_end\":\"\"}]}"));
    assert_non_null(strstr(json, "\"queued\":2,\"waiting\":[{\"position\":0,\"request\":\"24\",\"flow\":\"240\""));
    baton_free(json);
}

static void owners_tell_who_runs_and_who_waits(void **state) {
    static const baton_owner owners[] = {BATON_OWNER_THREAD, BATON_OWNER_PROCESS};
    (void)state;
    for (int k = 0; k < 2; k++) {
        baton_llama *m = open_owner("fake:len=600", owners[k], 2, BATON_POOLING_OFF);
        baton_snapshot s = look_at(m);
        assert_true(!s.context[0].held && s.context[0].request == 0 && s.context[0].tid == 0);
        assert_int_equal(s.running + s.queued + s.listed, 0);
        assert_true(s.owner[0].ready);
        baton_snapshot_free(&s);
        baton_stream *a = ask_for(m, 21, 1), *b = ask_for(m, 22, 1), *last = ask_for(m, 23, 1),
                     *next = ask_for(m, 24, 0);
        baton_request refuse = BATON_REQUEST;
        baton_llama_ask ask = BATON_LLAMA_ASK;
        baton_stream *none;
        refuse.when_full = BATON_REFUSE;
        ask.request = &refuse;
        ask.prompt = "who";
        assert_int_equal(baton_llama_stream(m, &ask, &none, NULL), BATON_BUSY);
        look_until(m, s, s.run[0].tokens > 0 && s.run[1].tokens > 0);
        assert_two_run_and_two_wait(&s);
        assert_owners_text(&s);
        baton_snapshot_free(&s);
        (void)baton_stream_close(&last, NULL);
        (void)baton_stream_close(&a, NULL);
        look_until(m, s, s.granted == 3 && s.cancelled == 1);
        assert_int_equal(s.queued, 0);
        assert_int_equal(s.running, 2);
        assert_int_equal(s.context[0].request, 22);
        assert_int_equal(s.context[0].grants, 3);
        assert_int_equal(s.run[1].id, 24);
        assert_int_equal(total(s.wait_us), 3);
        assert_int_equal(total(s.hold_ms), 1);
        baton_snapshot_free(&s);
        (void)baton_stream_close(&b, NULL);
        (void)baton_stream_close(&next, NULL);
        look_until(m, s, s.running == 0);
        assert_false(s.context[0].held);
        assert_int_equal(s.context[0].request, 0);
        assert_int_equal(s.owner[0].running, 0);
        assert_int_equal(total(s.hold_ms), 3);
        baton_snapshot_free(&s);
        baton_llama_close(&m);
    }
}

static void a_process_that_ended_is_told_with_its_last_words(void **state) {
    (void)state;
    baton_llama *m = open_owner("fake:len=600,lives=1,die=assert@40", BATON_OWNER_PROCESS, 1, BATON_POOLING_OFF);
    baton_stream *stream = ask_for(m, 31, 1);
    baton_snapshot s;
    look_until(m, s, s.owner[0].restarts == 1 && s.owner[0].ready && s.running == 1 && s.run[0].context == 0);
    assert_string_equal(s.owner[0].state, "ready");
    assert_non_null(strstr(s.owner[0].last_end, "FAKE_ASSERT"));
    assert_false(s.owner[0].gone || s.context[0].lost);
    assert_int_equal(s.run[0].id, 31);
    assert_true(s.context[0].grants >= 2); /* what was sent again */
    assert_int_equal(s.granted, 1);
    assert_int_equal(total(s.hold_ms), 0);
    baton_snapshot_free(&s);
    (void)baton_stream_close(&stream, NULL);
    baton_llama_close(&m);
}

struct asker {
    baton_llama *m;
    bool scores;
    baton_status status;
    _Atomic unsigned tid;
};

static void *asks(void *arg) {
    struct asker *a = arg;
    static const char *const documents[] = {"one"};
    baton_request request = BATON_REQUEST;
    baton_embeddings e;
    float score;
    request.id = 51;
    pthread_setname_np(pthread_self(), "asker");
    a->tid = (unsigned)gettid();
    if (a->scores) {
        a->status = baton_llama_rerank(a->m, &request, "who", documents, 1, &score, NULL);
    } else {
        a->status = baton_llama_embed(a->m, &request, "text", true, &e, NULL);
        baton_embeddings_free(&e);
    }
    return NULL;
}

/* Whoever is in a native call that does not end is seen there. */
static void owners_tell_what_it_is_and_who_asked(void **state) {
    (void)state;
    for (int scores = 0; scores < 2; scores++) {
        struct asker a = {.scores = scores};
        pthread_t thread;
        baton_snapshot s;
        a.m = open_owner("fake:scores=1,step_us=1000000000", BATON_OWNER_THREAD, 1,
                         scores ? BATON_POOLING_RANK : BATON_POOLING_MEAN);
        assert_int_equal(pthread_create(&thread, NULL, asks, &a), 0);
        look_until(a.m, s, s.running == 1 && s.run[0].inside);
        assert_int_equal(s.run[0].id, 51);
        assert_int_equal(s.run[0].op, scores ? BATON_OP_SCORE : BATON_OP_EMBED);
        assert_int_equal(s.run[0].tid, a.tid);
        assert_string_equal(s.run[0].thread, "asker");
        assert_string_equal(s.context[0].thread, "asker");
        assert_true(s.context[0].inside);
        assert_int_equal(s.context[0].op, s.run[0].op);
        baton_snapshot_free(&s);
        assert_true(baton_llama_cancel(a.m, 51));
        pthread_join(thread, NULL);
        assert_int_equal(a.status, BATON_CANCELLED);
        baton_llama_close(&a.m);
    }
}

static baton_llama *_Atomic logged;
static _Atomic int reentrant;

static void look_from_the_log(void *arg, baton_log_level level, const char *line) {
    (void)arg;
    (void)level;
    (void)line;
    baton_snapshot s = {.size = sizeof s};
    if (logged && baton_llama_snapshot(logged, &s, NULL) == BATON_REENTRANT)
        reentrant++;
    baton_snapshot_free(&s);
}

/* What an owner process prints is logged by the one thread that could answer. */
static void a_snapshot_from_the_log_of_its_own_model_is_refused(void **state) {
    (void)state;
    baton_llama *m = open_owner("fake:len=20,print=1", BATON_OWNER_PROCESS, 1, BATON_POOLING_OFF);
    baton_log_set(BATON_LOG_DEBUG, look_from_the_log, NULL);
    logged = m;
    baton_stream *stream = ask_for(m, 61, 1);
    overlap_wait_until(reentrant);
    (void)baton_stream_close(&stream, NULL);
    baton_snapshot s = look_at(m); /* from here it is answered */
    assert_true(s.owner[0].ready);
    baton_snapshot_free(&s);
    logged = NULL;
    baton_llama_close(&m);
    baton_log_set(BATON_LOG_INFO, NULL, NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_holds_and_who_waits_in_the_order_of_service),
        cmocka_unit_test(more_than_are_listed_are_counted),
        cmocka_unit_test(no_record_is_torn_while_contexts_change_hands),
        cmocka_unit_test(debug_lines_name_the_request),
        cmocka_unit_test(of_a_model_and_to_a_shorter_struct),
        cmocka_unit_test(owners_tell_who_runs_and_who_waits),
        cmocka_unit_test(a_process_that_ended_is_told_with_its_last_words),
        cmocka_unit_test(owners_tell_what_it_is_and_who_asked),
        cmocka_unit_test(a_snapshot_from_the_log_of_its_own_model_is_refused),
    };
    return bt_test_run(tests, argc, argv);
}
