/* P01 for the whole public binding: while another thread is inside every context, each call that needs one is refused,
 * and its text names thread, operation and cure; each call that needs none goes through. The list of calls is read from
 * the header, so that a new one without an entry here fails. */
#include "api_bodies.h"
#include "header_calls.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/prctl.h>

struct scene {
    baton_llama *m;      /* held */
    baton_llama *embeds; /* held, too; they cannot be one */
    baton_llama *ranks;
    baton_stream *stream;
    int32_t token;
};

static baton_llama_ask short_ask(void) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    ask.prompt = "hello";
    ask.max_tokens = 3;
    return ask;
}

static baton_status call_generate(struct scene *s, baton_error *err) {
    baton_llama_ask ask = short_ask();
    baton_result r;
    baton_status status = baton_llama_generate(s->m, &ask, &r, err);
    baton_result_free(&r);
    return status;
}
static baton_status call_stream(struct scene *s, baton_error *err) {
    baton_llama_ask ask = short_ask();
    baton_stream *stream;
    baton_status status = baton_llama_stream(s->m, &ask, &stream, err);
    if (!status)
        (void)baton_stream_close(&stream, NULL);
    return status;
}
static bool go_on(void *arg, const baton_delta *delta) {
    (void)arg;
    (void)delta;
    return true;
}
static baton_status call_generate_cb(struct scene *s, baton_error *err) {
    baton_llama_ask ask = short_ask();
    baton_outcome o;
    baton_status status = baton_llama_generate_cb(s->m, &ask, go_on, NULL, &o, err);
    assert_int_equal(o.status, status);
    return status;
}
static baton_status call_reset(struct scene *s, baton_error *err) {
    return baton_llama_reset(s->m, NULL, err);
}
static void visit(void *arg, struct llama_context *context) {
    (void)arg;
    (void)context;
}
static baton_status call_run(struct scene *s, baton_error *err) {
    return baton_llama_run(s->m, NULL, visit, NULL, err);
}
static baton_status call_embed(struct scene *s, baton_error *err) {
    baton_embeddings e;
    baton_status status = baton_llama_embed(s->embeds, NULL, "text", true, &e, err);
    baton_embeddings_free(&e);
    return status;
}
static baton_status call_embed_batch(struct scene *s, baton_error *err) {
    static const char *const texts[] = {"one", "two"};
    baton_embeddings e;
    baton_status status = baton_llama_embed_batch(s->embeds, NULL, texts, 2, true, &e, err);
    baton_embeddings_free(&e);
    return status;
}
static const char *next_text(void *arg) {
    return (*(int *)arg)-- > 0 ? "text" : NULL;
}
static bool on_vector(void *arg, const float *values, int dim) {
    (void)arg;
    return values && dim > 0;
}
static baton_status call_embed_each(struct scene *s, baton_error *err) {
    int left = 2;
    return baton_llama_embed_each(s->embeds, NULL, next_text, on_vector, &left, true, err);
}
static baton_status call_rerank(struct scene *s, baton_error *err) {
    static const char *const documents[] = {"one", "two"};
    float scores[2];
    return baton_llama_rerank(s->ranks, NULL, "query", documents, 2, scores, err);
}

static baton_status call_estimate(struct scene *s, baton_error *err) {
    uint64_t weights, contexts;
    (void)s;
    return baton_llama_estimate("fake:", NULL, &weights, &contexts, err);
}
static baton_status call_get_info(struct scene *s, baton_error *err) {
    baton_llama_info info = {.size = sizeof info};
    (void)err;
    baton_llama_get_info(s->m, &info);
    return info.vocab_size > 0 ? BATON_OK : BATON_FAILED;
}
static baton_status call_get_details(struct scene *s, baton_error *err) {
    baton_llama_details d = {.size = sizeof d};
    (void)err;
    baton_llama_get_details(s->m, &d);
    return d.embedding_width > 0 ? BATON_OK : BATON_FAILED;
}
static baton_status call_snapshot(struct scene *s, baton_error *err) {
    baton_snapshot shot = {.size = sizeof shot};
    baton_status status = baton_llama_snapshot(s->m, &shot, err);
    baton_snapshot_free(&shot);
    return status;
}

static baton_status call_get_counts(struct scene *s, baton_error *err) {
    baton_counts c = {.size = sizeof c};
    (void)err;
    baton_llama_get_counts(s->m, &c);
    return c.slots == 1 ? BATON_OK : BATON_FAILED;
}
static baton_status call_tokenize(struct scene *s, baton_error *err) {
    int32_t *tokens;
    size_t n;
    baton_status status = baton_llama_tokenize(s->m, "x", 1, false, &tokens, &n, err);
    baton_free(tokens);
    return status;
}
static baton_status call_detokenize(struct scene *s, baton_error *err) {
    char *text;
    size_t len;
    baton_status status = baton_llama_detokenize(s->m, &s->token, 1, &text, &len, err);
    baton_free(text);
    return status;
}
static baton_status call_piece(struct scene *s, baton_error *err) {
    char *text;
    size_t len;
    baton_status status = baton_llama_piece(s->m, s->token, &text, &len, err);
    baton_free(text);
    return status;
}
static baton_status call_is_end(struct scene *s, baton_error *err) {
    (void)err;
    return baton_llama_is_end(s->m, s->token) ? BATON_FAILED : BATON_OK;
}
static baton_status call_metadata(struct scene *s, baton_error *err) {
    char *key, *value;
    baton_status status = baton_llama_metadata(s->m, 0, &key, &value, err);
    baton_free(key);
    baton_free(value);
    return status;
}
static baton_status call_metadata_get(struct scene *s, baton_error *err) {
    char *value;
    baton_status status = baton_llama_metadata_get(s->m, "fake.vocab", &value, err);
    baton_free(value);
    return status;
}
static baton_status call_cancel(struct scene *s, baton_error *err) {
    (void)err;
    return baton_llama_cancel(s->m, 4711) ? BATON_FAILED : BATON_OK;
}

static baton_status call_acquire(struct scene *s, baton_error *err) {
    baton_lease lease = BATON_LEASE;
    baton_status status = baton_llama_acquire(s->m, NULL, &lease, err);
    if (!status)
        status = baton_lease_release(&lease, BATON_KEEP, err);
    return status;
}

static char state_path[64];

static baton_status call_load_state(struct scene *s, baton_error *err) {
    void *state;
    size_t size;
    (void)s;
    baton_status status = baton_llama_load_state(state_path, &state, &size, err);
    baton_free(state);
    return status;
}
static baton_status call_save_state(struct scene *s, baton_error *err) {
    void *state;
    size_t size;
    baton_status status = baton_llama_save_state(s->stream, &state, &size, err);
    baton_free(state);
    return status;
}
static baton_status call_save_state_file(struct scene *s, baton_error *err) {
    return baton_llama_save_state_file(s->stream, state_path, err);
}

enum kind {
    MUTATES, /* refused while another thread is inside */
    FREE,    /* goes through */
    STREAM,  /* refused while another thread is in a call on the stream: probe_P01_a_stream below */
    ENDS     /* open and close: nobody else has the handle, or may have */
};
static const struct entry {
    const char *name;
    enum kind kind;
    baton_status (*call)(struct scene *s, baton_error *err);
} entries[] = {
    {"open", ENDS, NULL},
    {"baton_free", ENDS, NULL}, /* of memory that its caller has */
    {"baton_result_free", ENDS, NULL},
    {"baton_embeddings_free", ENDS, NULL},
    {"estimate", FREE, call_estimate},
    {"close", ENDS, NULL},
    {"adopt", ENDS, NULL},
    {"context", ENDS, NULL}, /* of a lease that is held, inside begin and end only */
    {"get_info", FREE, call_get_info},
    {"get_details", FREE, call_get_details},
    {"get_counts", FREE, call_get_counts},
    {"snapshot", FREE, call_snapshot},
    {"tokenize", FREE, call_tokenize},
    {"detokenize", FREE, call_detokenize},
    {"piece", FREE, call_piece},
    {"is_end", FREE, call_is_end},
    {"metadata", FREE, call_metadata},
    {"metadata_get", FREE, call_metadata_get},
    {"cancel", FREE, call_cancel},
    {"generate", MUTATES, call_generate},
    {"generate_cb", MUTATES, call_generate_cb},
    {"stream", MUTATES, call_stream},
    {"run", MUTATES, call_run},
    {"acquire", MUTATES, call_acquire},
    {"reset", MUTATES, call_reset},
    {"embed", MUTATES, call_embed},
    {"embed_batch", MUTATES, call_embed_batch},
    {"embed_each", MUTATES, call_embed_each},
    {"rerank", MUTATES, call_rerank},
    {"save_state_file", STREAM, call_save_state_file},
    {"save_state", STREAM, call_save_state},
    {"load_state", FREE, call_load_state},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static const char *entry_name(int i) {
    return entries[i].name;
}

static void probe_P01_every_call_of_the_header_has_an_entry(void **state) {
    (void)state;
    every_call_has_an_entry("llama.h", "baton_llama_", entry_name, ENTRIES);
}

struct holder {
    baton_llama *m;
    pthread_t thread;
    sem_t inside, leave;
};
static void stay(void *arg, struct llama_context *context) {
    struct holder *h = arg;
    (void)context;
    sem_post(&h->inside);
    sem_wait(&h->leave);
}
static void *hold(void *arg) {
    struct holder *h = arg;
    prctl(PR_SET_NAME, "the-holder");
    if (baton_llama_run(h->m, NULL, stay, h, NULL))
        abort();
    return NULL;
}
static void start_holder(struct holder *h, baton_llama *m) {
    h->m = m;
    sem_init(&h->inside, 0, 0);
    sem_init(&h->leave, 0, 0);
    assert_int_equal(pthread_create(&h->thread, NULL, hold, h), 0);
    sem_wait(&h->inside);
}
static void end_holder(struct holder *h) {
    sem_post(&h->leave);
    pthread_join(h->thread, NULL);
    sem_destroy(&h->inside);
    sem_destroy(&h->leave);
}

static baton_llama *open_pooled(const char *path, baton_pooling pooling) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    params.pooling = pooling;
    if (baton_llama_open(&m, path, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

static void expect_named(const struct entry *e, baton_status status, const baton_error *err) {
    static const char *const words[] = {"the-holder", "user code", "Try again", "wait in a queue"};
    if (status != BATON_BUSY)
        fail_msg("baton_llama_%s: %s where another thread is inside", e->name, baton_status_name(status));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(err->text, words[i]))
            fail_msg("baton_llama_%s: '%s' is not in: %s", e->name, words[i], err->text);
}

static void make_state_file(void) {
    baton_llama *m = api_open("fake:len=60", NULL, 256);
    baton_llama_ask ask = short_ask();
    baton_stream *s;
    baton_delta d;
    snprintf(state_path, sizeof state_path, "/tmp/baton-contention-XXXXXX");
    int fd = mkstemp(state_path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(baton_llama_stream(m, &ask, &s, NULL), BATON_OK);
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    assert_int_equal(baton_llama_save_state_file(s, state_path, NULL), BATON_OK);
    (void)baton_stream_close(&s, NULL);
    baton_llama_close(&m);
}

static void probe_P01_each_call_is_refused_by_name_while_another_thread_is_inside(void **state) {
    struct scene s = {api_open("fake:", NULL, 256), open_pooled("fake:", BATON_POOLING_MEAN),
                      open_pooled("fake:scores=1", BATON_POOLING_RANK), NULL, 'x'};
    struct holder holders[3];
    baton_error err;
    (void)state;
    make_state_file();
    start_holder(&holders[0], s.m);
    start_holder(&holders[1], s.embeds);
    start_holder(&holders[2], s.ranks);
    for (int i = 0; i < ENTRIES; i++) {
        if (entries[i].kind == MUTATES)
            expect_named(&entries[i], entries[i].call(&s, &err), &err);
        else if (entries[i].kind == FREE && entries[i].call(&s, &err))
            fail_msg("baton_llama_%s needs no context and was refused", entries[i].name);
    }
    for (int i = 0; i < 3; i++)
        end_holder(&holders[i]);
    for (int i = 0; i < ENTRIES; i++) /* and the refusals left nothing behind */
        if (entries[i].kind == MUTATES && entries[i].call(&s, &err))
            fail_msg("baton_llama_%s, alone: %s", entries[i].name, err.text);
    baton_llama_close(&s.m);
    baton_llama_close(&s.embeds);
    baton_llama_close(&s.ranks);
    unlink(state_path);
}

/* A stream whose holder is in next, which takes until the other thread has seen what it came for. */
static void *pull_for_long(void *arg) {
    baton_delta d;
    (void)!baton_stream_next(arg, -1, &d);
    return NULL;
}

static void probe_P01_a_stream_that_another_thread_pulls_is_saved_by_nobody(void **state) {
    (void)state;
    make_state_file();
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    params.exact = 0; /* its self-test would count decodes */
    assert_int_equal(baton_llama_open(&m, "fake:hang_at=2", &params, NULL), BATON_OK);
    baton_llama_ask ask = short_ask();
    baton_request request = BATON_REQUEST;
    baton_delta d;
    struct scene s = {.m = m};
    request.id = 5;
    ask.request = &request;
    assert_int_equal(baton_llama_stream(m, &ask, &s.stream, NULL), BATON_OK);
    assert_int_equal(baton_stream_next(s.stream, -1, &d), BATON_OK);
    for (int i = 0; i < ENTRIES; i++) {
        baton_error err;
        if (entries[i].kind != STREAM)
            continue;
        assert_int_equal(entries[i].call(&s, &err), BATON_OK);
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pull_for_long, s.stream), 0);
    for (int i = 0; i < ENTRIES; i++) {
        baton_error err;
        if (entries[i].kind != STREAM)
            continue;
        while (entries[i].call(&s, &err) == BATON_OK) /* the puller is not in yet */
            sched_yield();
        assert_int_equal(err.status, BATON_BUSY);
        assert_non_null(strstr(err.text, "one at a time"));
        assert_non_null(strstr(err.text, "thread "));
    }
    assert_true(baton_llama_cancel(m, 5));
    pthread_join(thread, NULL);
    assert_int_equal(baton_stream_close(&s.stream, NULL), BATON_CANCELLED);
    baton_llama_close(&m);
    unlink(state_path);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_every_call_of_the_header_has_an_entry),
        cmocka_unit_test(probe_P01_each_call_is_refused_by_name_while_another_thread_is_inside),
        cmocka_unit_test(probe_P01_a_stream_that_another_thread_pulls_is_saved_by_nobody),
    };
    return bt_test_run(tests, argc, argv);
}
