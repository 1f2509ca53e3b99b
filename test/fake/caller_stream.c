/* owner = caller, pulled: the slot is held from open to close and by nobody else, whichever thread pulls; what is cut
 * is never told as finished. */
#include "caller_held.h"

#include <semaphore.h>

#include "native/fake.h"

static const struct bt_ask refuse = {.when_full = BT_REFUSE, .priority = 1};
static const struct bt_ask wait_long = {.when_full = BT_WAIT, .queue_ms = -1, .priority = 1};
static const struct bt_sampling greedy = BT_SAMPLING_DEFAULT;

static struct bt_caller *open_caller(const char *path, int contexts) {
    struct bt_model_params m = {.path = path};
    struct bt_context_params p = {.sequences = 1, .ctx = 256, .chunk = 16};
    struct bt_caller *c;
    baton_error err;
    bt_fake_stats_reset();
    if (bt_caller_open(&m, &p, contexts, 64, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

/* And nothing of it is left, and nothing overlapped. */
static void close_caller(struct bt_caller *c) {
    struct bt_fake_stats stats;
    bt_caller_close(&c, BT_CLOSE_DRAIN);
    bt_fake_stats(&stats);
    assert_int_equal(stats.models + stats.contexts + stats.samplers, 0);
    assert_int_equal(stats.overlaps, 0);
}

static struct bt_run run_of(struct bt_caller *c, const char *text) {
    struct bt_run run = {.max_tokens = -1, .sampling = &greedy};
    bt_token *tokens;
    baton_error err;
    const struct bt_model *m = bt_caller_model(c);
    assert_int_equal(m->ops->tokenize(m, text, strlen(text), true, true, &tokens, &run.n_prompt, &err), BATON_OK);
    run.prompt = tokens;
    return run;
}

static struct bt_caller_stream *open_stream(struct bt_caller *c, const struct bt_ask *ask, const struct bt_run *run) {
    struct bt_caller_stream *s;
    baton_error err;
    if (bt_caller_stream_open(c, ask, run, &s, &err))
        fail_msg("%s", err.text);
    return s;
}

/* Pulls to the end, or `max` deltas; their texts go to `text`. */
static baton_status pull(struct bt_caller_stream *s, size_t max, struct bt_buf *text, baton_error *err) {
    struct bt_delta d;
    baton_status status = BATON_OK;
    for (size_t i = 0; i < max && !status; i++) {
        status = bt_caller_stream_next(s, &d, err);
        bt_buf_add(text, d.text, d.len);
    }
    return status;
}

static void assert_same(const struct bt_run_result *a, const struct bt_run_result *b) {
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_int_equal(a->text.len, b->text.len);
    assert_memory_equal(a->text.data, b->text.data, a->text.len);
    assert_int_equal(a->finish, b->finish);
}

static void a_stream_is_the_answer_in_pieces(void **state) {
    (void)state;
    static const char *const prompts[] = {"one", "two", "three", "a prompt that is longer than one chunk of sixteen"};
    static const struct bt_text stops[] = {{" gate", 5}, {"queue owner", 11}};
    struct bt_caller *c = open_caller("fake:", 1);
    baton_error err;
    for (size_t i = 0; i < BT_COUNT(prompts) * 3; i++) {
        struct bt_run run = run_of(c, prompts[i / 3]);
        struct bt_run_result whole, pieces;
        struct bt_buf text = BT_BUF_INIT;
        run.n_stops = i % 3 == 1 ? 2 : 0;
        run.stops = stops;
        run.max_tokens = i % 3 == 2 ? 5 : -1;
        assert_int_equal(bt_caller_generate(c, &refuse, &run, &whole, &err), BATON_OK);
        struct bt_caller_stream *s = open_stream(c, &refuse, &run);
        free((void *)run.prompt); /* a stream borrows nothing */
        assert_int_equal(pull(s, SIZE_MAX, &text, &err), BATON_END);
        assert_int_equal(pull(s, 1, &text, &err), BATON_END);
        assert_int_equal(bt_caller_stream_close(&s, &pieces, &err), BATON_OK);
        assert_same(&whole, &pieces);
        assert_int_equal(text.len, whole.text.len);
        assert_memory_equal(text.data, whole.text.data, text.len);
        assert_true(!pieces.partial && pieces.n_prompt == run.n_prompt && pieces.prefill_ns > 0);
        assert_int_equal(pieces.finish, i % 3 == 2 ? BT_FINISH_LENGTH : BT_FINISH_STOP);
        bt_run_result_free(&whole);
        bt_run_result_free(&pieces);
        bt_buf_free(&text);
    }
    close_caller(c);
}

static void probe_P10_closed_before_its_first_piece_it_frees_the_slot_at_once(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_fake_stats stats;
    struct bt_run_result r;
    baton_error err;
    for (int i = 0; i < 1000; i++) {
        struct bt_caller_stream *s = open_stream(c, &refuse, &run);
        assert_int_equal(bt_caller_stream_close(&s, &r, &err), BATON_CANCELLED);
        assert_true(r.partial && r.finish == BT_FINISH_NONE && r.n_tokens == 0);
        bt_run_result_free(&r);
        assert_int_equal(bt_caller_stream_close(&s, NULL, &err), BATON_OK);
    }
    bt_fake_stats(&stats);
    assert_int_equal(stats.decodes, 0);
    free((void *)run.prompt);
    close_caller(c);
}

struct other {
    unsigned tid; /* of the thread that pulls */
    sem_t *stay;
    pthread_t thread;
    struct bt_caller *caller;
    struct bt_caller_stream *stream;
    const struct bt_run *run;
    struct bt_buf text;
    size_t pulls;
    baton_status status;
    baton_error err;
    _Atomic bool done;
};

static void *pull_there(void *arg) {
    struct other *o = arg;
    o->tid = baton_guard_self();
    o->status = pull(o->stream, o->pulls, &o->text, &o->err);
    o->done = true;
    while (o->stay && sem_wait(o->stay)) /* a thread that ends gives its lease back by itself */
        ;
    return NULL;
}

static sem_t inside;

static void tell_inside(void *arg, const struct bt_fake_event *event) {
    if (event->call == BT_FAKE_DECODE_BEGIN && event->number == *(const uint64_t *)arg)
        sem_post(&inside);
}

static void *generate_there(void *arg) {
    struct other *o = arg;
    struct bt_run_result r;
    o->status = bt_caller_generate(o->caller, &wait_long, o->run, &r, &o->err);
    bt_buf_add(&o->text, r.text.data, r.text.len);
    bt_run_result_free(&r);
    return NULL;
}

/* The hook aborts only the one decode that hangs; nobody else may be in the context before it has returned. */
static void probe_P11_closed_inside_a_native_call_the_slot_waits_for_its_return(void **state) {
    (void)state;
    static uint64_t third = 3;
    struct bt_caller *c = open_caller("fake:hang_at=3", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_run_result r;
    baton_error err;
    sem_init(&inside, 0, 0);
    bt_fake_set_hook(tell_inside, &third);
    struct bt_caller_stream *s = open_stream(c, &refuse, &run);
    sem_t stay;
    sem_init(&stay, 0, 0);
    struct other puller = {.stream = s, .pulls = SIZE_MAX, .stay = &stay}, waiter = {.caller = c, .run = &run};
    pthread_create(&puller.thread, NULL, pull_there, &puller);
    while (sem_wait(&inside))
        ;
    pthread_create(&waiter.thread, NULL, generate_there, &waiter);
    struct bt_delta d;
    assert_int_equal(bt_caller_stream_next(s, &d, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "one thread at a time"));
    assert_int_equal(bt_caller_stream_close(&s, &r, &err), BATON_CANCELLED);
    struct bt_holding held;
    assert_int_equal(bt_pool_holders(bt_caller_pool(c), &held, 1), 1);
    assert_false(held.held && held.tid == puller.tid); /* it waited for the call to return */
    assert_true(r.partial && r.n_tokens == 2);
    sem_post(&stay);
    pthread_join(puller.thread, NULL);
    assert_int_equal(puller.status, BATON_CANCELLED);
    pthread_join(waiter.thread, NULL);
    assert_int_equal(waiter.status, BATON_OK);
    bt_fake_set_hook(NULL, NULL);
    bt_run_result_free(&r);
    bt_buf_free(&puller.text);
    bt_buf_free(&waiter.text);
    free((void *)run.prompt);
    close_caller(c);
}

static void probe_P11_nobody_enters_until_the_native_call_has_returned(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:len=20,step_us=1200", 1); /* asked several times a step */
    struct bt_run run = run_of(c, "hello");
    closed_inside_a_native_call(c, &run, 2); /* the first ask is made before it */
    free((void *)run.prompt);
    close_caller(c);
}

static void on_thread(struct other *o, void *(*what)(void *arg)) {
    assert_int_equal(pthread_create(&o->thread, NULL, what, o), 0);
    pthread_join(o->thread, NULL);
}

static void *pull_and_park_there(void *arg) {
    struct other *o = arg;
    o->status = pull(o->stream, o->pulls, &o->text, &o->err);
    if (!o->status)
        o->status = bt_caller_stream_park(o->stream, &o->err);
    return NULL;
}

static void probe_P12_pulled_by_many_threads_it_is_the_same_answer(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:len=30", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_run_result whole, pieces;
    baton_error err;
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &whole, &err), BATON_OK);
    struct bt_caller_stream *s = open_stream(c, &refuse, &run);
    struct other o = {.stream = s, .pulls = 3};
    assert_int_equal(pull(s, 2, &o.text, &err), BATON_OK);
    for (int i = 0; i < 5; i++) {
        on_thread(&o, pull_and_park_there);
        assert_int_equal(o.status, BATON_OK);
    }
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &pieces, &err), BATON_BUSY);
    assert_int_equal(pull(s, SIZE_MAX, &o.text, &err), BATON_END);
    assert_int_equal(bt_caller_stream_close(&s, &pieces, &err), BATON_OK);
    assert_same(&whole, &pieces);
    assert_int_equal(o.text.len, whole.text.len);
    bt_run_result_free(&whole);
    bt_run_result_free(&pieces);
    bt_buf_free(&o.text);
    free((void *)run.prompt);
    close_caller(c);
}

/* Without parking, the lease ends with the thread: the slot is not lost, and the stream says what happened. */
static void probe_P05_a_stream_whose_thread_ended_is_stale_and_the_slot_is_free(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:len=30", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_run_result r;
    struct bt_delta d;
    baton_error err;
    struct bt_caller_stream *s = open_stream(c, &refuse, &run);
    struct other o = {.stream = s, .pulls = 3};
    on_thread(&o, pull_there);
    assert_int_equal(o.status, BATON_OK);
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &r, &err), BATON_OK);
    bt_run_result_free(&r);
    assert_int_equal(bt_caller_stream_next(s, &d, &err), BATON_STALE);
    assert_non_null(strstr(err.text, "park"));
    assert_int_equal(bt_caller_stream_close(&s, &r, &err), BATON_STALE);
    assert_true(r.partial && r.finish == BT_FINISH_NONE && r.n_tokens == 3);
    bt_run_result_free(&r);
    bt_buf_free(&o.text);
    free((void *)run.prompt);
    close_caller(c);
}

static void probe_P01_between_two_pulls_the_refused_are_told_that_it_is_idle(void **state) {
    (void)state;
    static uint64_t fourth = 4;
    struct bt_caller *c = open_caller("fake:hang_at=4", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_run_result r;
    baton_error err;
    struct bt_caller_stream *s = open_stream(c, &refuse, &run), *refused;
    struct other o = {.stream = s, .pulls = 99};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(bt_caller_stream_open(c, &refuse, &run, &refused, &err), BATON_BUSY);
        assert_null(refused);
        assert_non_null(strstr(err.text, "idle"));
        assert_int_equal(pull(s, 1, &o.text, &err), BATON_OK);
    }
    sem_init(&inside, 0, 0);
    bt_fake_set_hook(tell_inside, &fourth);
    pthread_create(&o.thread, NULL, pull_there, &o);
    while (sem_wait(&inside))
        ;
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &r, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "stream"));
    assert_int_equal(bt_caller_stream_close(&s, &r, &err), BATON_CANCELLED);
    pthread_join(o.thread, NULL);
    bt_fake_set_hook(NULL, NULL);
    bt_run_result_free(&r);
    bt_buf_free(&o.text);
    free((void *)run.prompt);
    close_caller(c);
}

static void probe_P20_a_cancel_reaches_its_stream_and_no_other(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:len=20", 2);
    struct bt_run run = run_of(c, "hello");
    struct bt_run_result r, other;
    struct bt_buf text = BT_BUF_INIT;
    baton_error err;
    struct bt_ask named = refuse;
    named.id = 77;
    struct bt_caller_stream *a = open_stream(c, &named, &run), *b = open_stream(c, &refuse, &run);
    assert_int_equal(bt_caller_stream_id(a), 77);
    assert_int_equal(pull(a, 4, &text, &err), BATON_OK);
    assert_int_equal(pull(b, 4, &text, &err), BATON_OK);
    assert_true(bt_pool_cancel(bt_caller_pool(c), 77));
    assert_int_equal(pull(a, 1, &text, &err), BATON_CANCELLED);
    assert_int_equal(pull(a, 1, &text, &err), BATON_CANCELLED);
    assert_int_equal(pull(b, SIZE_MAX, &text, &err), BATON_END);
    assert_int_equal(bt_caller_stream_close(&a, &r, &err), BATON_CANCELLED);
    assert_int_equal(bt_caller_stream_close(&b, &other, &err), BATON_OK);
    assert_true(r.partial && r.n_tokens == 4 && r.finish == BT_FINISH_NONE);
    assert_true(!other.partial && other.n_tokens == 20 && other.finish == BT_FINISH_STOP);
    bt_run_result_free(&r);
    bt_run_result_free(&other);
    bt_buf_free(&text);
    free((void *)run.prompt);
    close_caller(c);
}

static void probe_P23_a_run_timeout_cuts_inside_a_native_call_and_says_so(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:hang_at=5", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_run_result r;
    struct bt_buf text = BT_BUF_INIT;
    baton_error err;
    run.run_ms = 20;
    struct bt_caller_stream *s = open_stream(c, &refuse, &run);
    assert_int_equal(pull(s, SIZE_MAX, &text, &err), BATON_RUN_TIMEOUT);
    assert_non_null(strstr(err.text, "run timeout"));
    assert_int_equal(bt_caller_stream_close(&s, &r, &err), BATON_RUN_TIMEOUT);
    assert_true(r.partial && r.finish == BT_FINISH_NONE && r.text.len == text.len);
    bt_run_result_free(&r);
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &r, &err), BATON_OK);
    bt_run_result_free(&r);
    bt_buf_free(&text);
    free((void *)run.prompt);
    close_caller(c);
}

struct from_inside {
    struct bt_caller *caller;
    struct bt_caller_stream *stream;
    const struct bt_run *run;
    int asked, close_at;
    baton_status next, generate, close;
};

static bool call_back(void *arg) {
    struct from_inside *f = arg;
    struct bt_delta d;
    struct bt_run_result r;
    baton_error err;
    if (!f->stream)
        return false;
    f->asked++;
    f->next = bt_caller_stream_next(f->stream, &d, &err);
    f->generate = bt_caller_generate(f->caller, &wait_long, f->run, &r, &err);
    if (f->asked == f->close_at)
        f->close = bt_caller_stream_close(&f->stream, NULL, &err);
    return false;
}

static void probe_P04_from_inside_it_is_reentrant_and_closed_when_the_call_is_through(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:len=9", 1);
    struct bt_run run = run_of(c, "hello"), mine = run;
    struct from_inside f = {.caller = c, .run = &run, .close_at = 9};
    struct bt_buf text = BT_BUF_INIT;
    struct bt_run_result r;
    baton_error err;
    mine.cancelled = call_back;
    mine.arg = &f;
    struct bt_caller_stream *s = f.stream = open_stream(c, &refuse, &mine);
    assert_int_equal(pull(s, SIZE_MAX, &text, &err), BATON_CANCELLED);
    assert_int_equal(f.next, BATON_REENTRANT);
    assert_int_equal(f.generate, BATON_REENTRANT);
    assert_int_equal(f.close, BATON_CANCELLED);
    assert_int_equal(bt_caller_generate(c, &refuse, &run, &r, &err), BATON_OK); /* the slot is free */
    bt_run_result_free(&r);
    bt_buf_free(&text);
    free((void *)run.prompt);
    close_caller(c);
}

static void probe_P25_a_caller_closed_under_its_own_stream_goes_when_that_is_closed(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:len=9", 1);
    struct bt_run run = run_of(c, "hello");
    struct bt_buf text = BT_BUF_INIT;
    struct bt_fake_stats stats;
    baton_error err;
    struct bt_caller_stream *s = open_stream(c, &refuse, &run);
    assert_int_equal(pull(s, 2, &text, &err), BATON_OK);
    bt_caller_close(&c, BT_CLOSE_DRAIN);
    assert_int_equal(pull(s, SIZE_MAX, &text, &err), BATON_END);
    assert_int_equal(bt_caller_stream_close(&s, NULL, &err), BATON_OK);
    bt_fake_stats(&stats);
    assert_int_equal(stats.models + stats.contexts + stats.samplers, 0);
    bt_buf_free(&text);
    free((void *)run.prompt);
}

static void a_request_that_cannot_be_is_refused_before_it_waits(void **state) {
    (void)state;
    struct bt_caller *c = open_caller("fake:", 1);
    struct bt_run run = run_of(c, "hello"), bad = run;
    struct bt_sampling nonsense = {.grammar = "root ::= ("};
    baton_error err;
    struct bt_caller_stream *holder = open_stream(c, &refuse, &run), *s;
    bad.n_prompt = 0;
    assert_int_equal(bt_caller_stream_open(c, &wait_long, &bad, &s, &err), BATON_INVALID);
    bad = run;
    bad.prompt = (const bt_token[]){'a', 1 << 20};
    bad.n_prompt = 2;
    assert_int_equal(bt_caller_stream_open(c, &wait_long, &bad, &s, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "index 1"));
    bad = run;
    bad.sampling = &nonsense;
    assert_int_equal(bt_caller_stream_open(c, &wait_long, &bad, &s, &err), BATON_INVALID);
    assert_null(s);
    assert_int_equal(bt_caller_stream_close(&holder, NULL, &err), BATON_CANCELLED);
    free((void *)run.prompt);
    close_caller(c);
}

enum { THREADS = 4, ROUNDS = 60 };
static struct bt_run_result lone[3];
static struct bt_run runs[3];

struct worker {
    pthread_t thread;
    struct bt_caller *caller;
    uint64_t seed;
    int right, cut, wrong;
};

static void *work(void *arg) {
    struct worker *w = arg;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t dice = bt_mix64(w->seed + i);
        int which = (int)(dice % 3);
        size_t pulls = dice & 64 ? SIZE_MAX : (dice >> 8) % 12;
        struct bt_caller_stream *s;
        struct bt_buf text = BT_BUF_INIT;
        struct bt_run_result r;
        baton_error err;
        if (bt_caller_stream_open(w->caller, &wait_long, &runs[which], &s, &err)) {
            w->wrong++;
            continue;
        }
        pull(s, pulls, &text, &err);
        baton_status outcome = bt_caller_stream_close(&s, &r, &err);
        bool fits = r.n_tokens <= lone[which].n_tokens &&
                    (r.n_tokens == 0 || memcmp(r.tokens, lone[which].tokens, r.n_tokens * sizeof *r.tokens) == 0);
        bool whole = outcome == BATON_OK && r.n_tokens == lone[which].n_tokens && !r.partial;
        bool cut = outcome == BATON_CANCELLED && r.partial && r.finish == BT_FINISH_NONE;
        w->right += fits && whole;
        w->cut += fits && cut;
        w->wrong += !(fits && (whole || cut));
        bt_run_result_free(&r);
        bt_buf_free(&text);
    }
    return NULL;
}

static void probe_P15_streams_opened_cut_and_finished_by_many_are_each_right(void **state) {
    (void)state;
    static const char *const prompts[] = {"alpha", "beta", "a longer one, more than a chunk"};
    struct bt_caller *c = open_caller("fake:", 2);
    struct worker workers[THREADS];
    uint64_t seed = bt_test_seed();
    baton_error err;
    int right = 0, cut = 0;
    for (int i = 0; i < 3; i++) {
        runs[i] = run_of(c, prompts[i]);
        assert_int_equal(bt_caller_generate(c, &refuse, &runs[i], &lone[i], &err), BATON_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.caller = c, .seed = seed + (uint64_t)i * 1000};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
        right += workers[i].right;
        cut += workers[i].cut;
    }
    assert_int_equal(right + cut, THREADS * ROUNDS);
    assert_true(right > 0 && cut > 0);
    for (int i = 0; i < 3; i++) {
        bt_run_result_free(&lone[i]);
        free((void *)runs[i].prompt);
    }
    close_caller(c);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_the_answer_in_pieces),
        cmocka_unit_test(probe_P10_closed_before_its_first_piece_it_frees_the_slot_at_once),
        cmocka_unit_test(probe_P11_closed_inside_a_native_call_the_slot_waits_for_its_return),
        cmocka_unit_test(probe_P11_nobody_enters_until_the_native_call_has_returned),
        cmocka_unit_test(probe_P12_pulled_by_many_threads_it_is_the_same_answer),
        cmocka_unit_test(probe_P05_a_stream_whose_thread_ended_is_stale_and_the_slot_is_free),
        cmocka_unit_test(probe_P01_between_two_pulls_the_refused_are_told_that_it_is_idle),
        cmocka_unit_test(probe_P20_a_cancel_reaches_its_stream_and_no_other),
        cmocka_unit_test(probe_P23_a_run_timeout_cuts_inside_a_native_call_and_says_so),
        cmocka_unit_test(probe_P04_from_inside_it_is_reentrant_and_closed_when_the_call_is_through),
        cmocka_unit_test(probe_P25_a_caller_closed_under_its_own_stream_goes_when_that_is_closed),
        cmocka_unit_test(a_request_that_cannot_be_is_refused_before_it_waits),
        cmocka_unit_test(probe_P15_streams_opened_cut_and_finished_by_many_are_each_right),
    };
    return bt_test_run(tests, argc, argv);
}
