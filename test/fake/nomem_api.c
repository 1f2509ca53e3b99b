/* Each allocation of each public call fails once: the call says NO_MEMORY, or does without; what it was to fill is
 * empty, nothing leaks (under AddressSanitizer), and the handle goes on as if nothing had been. The list of calls is
 * read from the headers, so that a new one without an entry here fails. */
#include "nomem_api.h"

#include "pictures.h"

static baton_status open_as(baton_owner owner, baton_error *err) {
    baton_llama_lora lora = {"fake:7", 1};
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_status status;
    policy.owner = owner;
    policy.contexts = 2;
    params.policy = &policy;
    params.loras = &lora;
    params.n_loras = 1;
    params.chat_template = "chatml";
    if ((status = TRY(baton_llama_open(&m, path, &params, err))) != BATON_OK)
        assert_null(m);
    baton_llama_close(&m);
    return status;
}
static baton_status try_open(baton_error *err) {
    return open_as(BATON_OWNER_CALLER, err);
}
static baton_status try_open_thread(baton_error *err) {
    return open_as(BATON_OWNER_THREAD, err);
}

static baton_status generate_as(baton_owner owner, baton_error *err) {
    baton_llama *m = open_with(owner, 1, BATON_POOLING_OFF);
    baton_llama_ask ask = question();
    baton_result r;
    baton_status status = TRY(baton_llama_generate(m, &ask, &r, err));
    assert_int_equal(r.outcome.status, status);
    if (!status)
        assert_string_equal(r.text, whole);
    else
        assert_int_equal(r.outcome.finish, BATON_FINISH_NONE);
    baton_result_free(&r);
    answers_as_ever(m, owner);
    baton_llama_close(&m);
    return status;
}
static baton_status try_generate(baton_error *err) {
    return generate_as(BATON_OWNER_CALLER, err);
}
static baton_status try_generate_thread(baton_error *err) {
    return generate_as(BATON_OWNER_THREAD, err);
}

/* With an image. */
static baton_status see_as(baton_owner owner, baton_error *err) {
    static struct picture picture;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    baton_message message = {"user", "What is this?"};
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_llama *m;
    baton_result r;
    policy.when_full = BATON_WAIT; /* an owner thread is told of an end before its slot is free */
    policy.owner = owner;
    params.policy = &policy;
    params.mmproj = "fake";
    assert_int_equal(baton_llama_open(&m, path, &params, NULL), BATON_OK);
    make_png(&picture, 9, 7, 1);
    baton_image image = {picture.bytes, picture.size, 0, 0};
    ask.messages = &message;
    ask.n_messages = 1;
    ask.images = &image;
    ask.n_images = 1;
    ask.max_tokens = 8;
    baton_status status = TRY(baton_llama_generate(m, &ask, &r, err));
    assert_int_equal(r.outcome.status, status);
    baton_result_free(&r);
    answers_as_ever(m, owner);
    baton_llama_close(&m);
    return status;
}
static baton_status try_see(baton_error *err) {
    return see_as(BATON_OWNER_CALLER, err);
}
static baton_status try_see_thread(baton_error *err) {
    return see_as(BATON_OWNER_THREAD, err);
}

static baton_status stream_as(baton_owner owner, baton_error *err) {
    baton_llama *m = open_with(owner, 1, BATON_POOLING_OFF);
    baton_llama_ask ask = question();
    static char text[4096];
    size_t len = 0;
    baton_outcome o = {.status = BATON_OK};
    baton_stream *s;
    baton_delta d;
    baton_status status = BATON_OK, last = BATON_OK;
    arm();
    if ((status = baton_llama_stream(m, &ask, &s, err)) != BATON_OK) {
        assert_null(s);
    } else {
        while ((last = baton_stream_next(s, -1, &d)) == BATON_OK) {
            memcpy(text + len, d.text, d.len);
            len += d.len;
        }
        status = baton_stream_close(&s, &o);
        snprintf(err->text, sizeof err->text, "%s", o.text);
    }
    disarm();
    text[len] = '\0';
    if (last == BATON_NO_MEMORY) { /* said there: the reader knows that a piece is missing */
        err->status = status = last;
        snprintf(err->text, sizeof err->text, "next says so");
    } else if (!status) {
        assert_string_equal(text, whole);
    }
    answers_as_ever(m, owner);
    baton_llama_close(&m);
    return status;
}
static baton_status try_stream(baton_error *err) {
    return stream_as(BATON_OWNER_CALLER, err);
}
static baton_status try_stream_thread(baton_error *err) {
    return stream_as(BATON_OWNER_THREAD, err);
}

struct heard {
    char text[4096];
    size_t len;
};
static bool hear(void *arg, const baton_delta *d) {
    struct heard *h = arg;
    memcpy(h->text + h->len, d->text, d->len);
    h->len += d->len;
    return true;
}
static baton_status try_generate_cb(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_OFF);
    baton_llama_ask ask = question();
    static struct heard h;
    baton_outcome o;
    memset(&h, 0, sizeof h);
    baton_status status = TRY(baton_llama_generate_cb(m, &ask, hear, &h, &o, err));
    assert_int_equal(o.status, status);
    if (!status)
        assert_string_equal(h.text, whole);
    answers_as_ever(m, BATON_OWNER_CALLER);
    baton_llama_close(&m);
    return status;
}

/* A state is saved, read back from a file, and gone on from. */
static baton_status save_as(bool file, baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_OFF);
    baton_llama_ask ask = question();
    char name[] = "/tmp/baton-nomem-XXXXXX";
    int fd = mkstemp(name);
    void *state = NULL, *back = NULL;
    size_t size = 0, size_back = 0;
    baton_stream *s;
    baton_delta d;
    baton_status status;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(baton_llama_stream(m, &ask, &s, err), BATON_OK);
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    if (file) {
        status = TRY(baton_llama_save_state_file(s, name, err));
    } else if ((status = TRY(baton_llama_save_state(s, &state, &size, err))) != BATON_OK) {
        assert_null(state);
    }
    baton_error later;
    assert_int_equal(baton_llama_save_state_file(s, name, &later), BATON_OK);
    assert_int_equal(baton_llama_load_state(name, &back, &size_back, &later), BATON_OK);
    if (state) {
        assert_int_equal(size, size_back);
        assert_memory_equal(state, back, size);
    }
    baton_free(state);
    baton_free(back);
    while (baton_stream_next(s, -1, &d) == BATON_OK)
        ;
    assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
    baton_llama_close(&m);
    unlink(name);
    return status;
}
static baton_status try_save_state(baton_error *err) {
    return save_as(false, err);
}
static baton_status try_save_state_file(baton_error *err) {
    return save_as(true, err);
}
/* Without `resume`, reading the file is what is tried, with it the answer that goes on from it. */
static baton_status load_as(bool resume, baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_OFF);
    baton_llama_ask ask = question(), on = question();
    char name[] = "/tmp/baton-nomem-XXXXXX";
    int fd = mkstemp(name);
    void *state;
    size_t size;
    baton_stream *s;
    baton_delta d;
    baton_result r = {NULL};
    baton_status status;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(baton_llama_stream(m, &ask, &s, err), BATON_OK);
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    size_t had = d.len;
    assert_int_equal(baton_llama_save_state_file(s, name, err), BATON_OK);
    assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
    if (resume)
        status = baton_llama_load_state(name, &state, &size, err);
    else if ((status = TRY(baton_llama_load_state(name, &state, &size, err))) != BATON_OK)
        assert_null(state);
    if (resume) {
        on.messages = NULL;
        on.state = state;
        on.state_size = size;
        if ((status = TRY(baton_llama_generate(m, &on, &r, err))) == BATON_OK)
            assert_string_equal(r.text, whole + had);
        baton_result_free(&r);
    }
    baton_free(state);
    answers_as_ever(m, BATON_OWNER_CALLER);
    baton_llama_close(&m);
    unlink(name);
    return status;
}
static baton_status try_load_state(baton_error *err) {
    return load_as(false, err);
}
static baton_status try_go_on(baton_error *err) {
    return load_as(true, err);
}

static baton_status try_words(baton_error *err) {
    int32_t *tokens;
    char *text = NULL, *key = NULL, *value = NULL;
    size_t n, len;
    static int which;
    baton_status status = baton_llama_tokenize(words, "a lease", 7, true, &tokens, &n, err);
    assert_int_equal(status, BATON_OK);
    arm();
    if ((which = 0, status = baton_llama_detokenize(words, tokens, n, &text, &len, err)) == BATON_OK) {
        baton_free(text);
        text = NULL;
        if ((which = 1, status = baton_llama_piece(words, tokens[1], &text, &len, err)) == BATON_OK)
            if ((which = 2, status = baton_llama_metadata(words, 0, &key, &value, err)) == BATON_OK) {
                baton_free(key);
                baton_free(value);
                key = NULL;
                which = 3;
                status = baton_llama_metadata_get(words, "fake.vocab", &value, err);
            }
    }
    disarm();
    if (status) {
        assert_true(which != 0 || !text);
        assert_null(key);
        assert_null(value);
    }
    baton_free(tokens);
    baton_free(text);
    baton_free(value);
    return status;
}
static baton_status try_tokenize(baton_error *err) {
    int32_t *tokens;
    size_t n;
    baton_status status;
    if ((status = TRY(baton_llama_tokenize(words, "a lease", 7, true, &tokens, &n, err))) != BATON_OK)
        assert_null(tokens);
    baton_free(tokens);
    return status;
}

static void nothing(void *arg, struct llama_context *context) {
    (void)arg;
    (void)context;
}
static baton_status lease_as(baton_owner owner, baton_error *err) {
    baton_llama *m = open_with(owner, 2, BATON_POOLING_OFF);
    baton_lease lease = BATON_LEASE;
    baton_counts counts = {.size = sizeof counts};
    baton_snapshot shot = {.size = sizeof shot};
    baton_status status = BATON_OK;
    arm();
    if (owner == BATON_OWNER_CALLER) {
        status = baton_llama_acquire(m, NULL, &lease, err);
        if (!status)
            status = baton_lease_release(&lease, BATON_RESET, err);
        if (!status)
            status = baton_llama_reset(m, NULL, err);
    }
    if (!status)
        status = baton_llama_snapshot(m, &shot, err);
    if (!status)
        status = baton_llama_run(m, NULL, nothing, NULL, err);
    if (!status && baton_llama_cancel(m, 4711))
        status = BATON_FAILED;
    baton_llama_get_counts(m, &counts);
    disarm();
    assert_int_equal(counts.slots, 2);
    baton_snapshot_free(&shot);
    answers_as_ever(m, owner);
    baton_llama_close(&m);
    return status;
}
static baton_status try_lease(baton_error *err) {
    return lease_as(BATON_OWNER_CALLER, err);
}
static baton_status try_visit(baton_error *err) {
    return lease_as(BATON_OWNER_THREAD, err);
}

static const char *const texts[] = {"one", "two words", NULL};
static const char *next_text(void *arg) {
    return texts[(*(int *)arg)++];
}
static bool on_vector(void *arg, const float *values, int dim) {
    (void)arg;
    return values && dim > 0;
}
static baton_status try_embed(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_MEAN);
    baton_embeddings e, again;
    baton_status status = TRY(baton_llama_embed_batch(m, NULL, texts, 2, true, &e, err));
    assert_int_equal(baton_llama_embed_batch(m, NULL, texts, 2, true, &again, NULL), BATON_OK);
    if (!status)
        assert_memory_equal(e.values, again.values, 2 * (size_t)e.dim * sizeof *e.values);
    else
        assert_true(!e.values && !e.tokens && e.n == 0);
    baton_embeddings_free(&e);
    baton_embeddings_free(&again);
    baton_llama_close(&m);
    return status;
}
static baton_status try_embed_one(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_MEAN);
    baton_embeddings e;
    baton_status status = TRY(baton_llama_embed(m, NULL, "one", true, &e, err));
    baton_embeddings_free(&e);
    baton_llama_close(&m);
    return status;
}
static baton_status try_embed_each(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_MEAN);
    int i = 0;
    baton_status status = TRY(baton_llama_embed_each(m, NULL, next_text, on_vector, &i, true, err));
    i = 0;
    assert_int_equal(baton_llama_embed_each(m, NULL, next_text, on_vector, &i, true, NULL), BATON_OK);
    baton_llama_close(&m);
    return status;
}
static baton_status try_rerank(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_RANK);
    float scores[2], again[2];
    baton_status status = TRY(baton_llama_rerank(m, NULL, "query", texts, 2, scores, err));
    assert_int_equal(baton_llama_rerank(m, NULL, "query", texts, 2, again, NULL), BATON_OK);
    if (!status)
        assert_memory_equal(scores, again, sizeof scores);
    baton_llama_close(&m);
    return status;
}

/* Of an owner thread, which may be gone afterwards: whatever was OK is what it always was. */
static bool gone(baton_status status) {
    return failed && (status == BATON_CRASHED || status == BATON_CLOSED || status == BATON_STALE);
}
static baton_status try_embed_thread(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_THREAD, 1, BATON_POOLING_MEAN);
    static float first[32];
    baton_embeddings e, again;
    baton_status status = TRY(baton_llama_embed_batch(m, NULL, texts, 2, true, &e, err));
    baton_status later = baton_llama_embed_batch(m, NULL, texts, 2, true, &again, NULL);
    assert_true(later == BATON_OK || gone(later));
    if (!later && first[0] == 0)
        memcpy(first, again.values, 2 * (size_t)again.dim * sizeof *first);
    if (!later)
        assert_memory_equal(again.values, first, 2 * (size_t)again.dim * sizeof *first);
    if (!status && first[0] != 0)
        assert_memory_equal(e.values, first, 2 * (size_t)e.dim * sizeof *first);
    if (status)
        assert_null(e.values);
    baton_embeddings_free(&e);
    baton_embeddings_free(&again);
    baton_llama_close(&m);
    return status;
}
static baton_status try_embed_each_thread(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_THREAD, 1, BATON_POOLING_MEAN);
    int i = 0;
    baton_status status = TRY(baton_llama_embed_each(m, NULL, next_text, on_vector, &i, true, err));
    baton_llama_close(&m);
    return status;
}
static baton_status try_rerank_thread(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_THREAD, 1, BATON_POOLING_RANK);
    float scores[2];
    baton_status status = TRY(baton_llama_rerank(m, NULL, "which", texts, 2, scores, err));
    baton_llama_close(&m);
    return status;
}
static baton_status try_words_thread(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_THREAD, 1, BATON_POOLING_OFF);
    int32_t *tokens = NULL;
    char *text = NULL, *value = NULL;
    size_t n = 0, len;
    arm();
    baton_status status = baton_llama_tokenize(m, "a lease", 7, true, &tokens, &n, err);
    if (!status)
        status = baton_llama_detokenize(m, tokens, n, &text, &len, err);
    if (!status)
        status = baton_llama_metadata_get(m, "fake.vocab", &value, err);
    if (!status)
        status = baton_llama_reset(m, NULL, err);
    disarm();
    if (!status)
        assert_string_equal(text, "a lease");
    baton_free(tokens);
    baton_free(text);
    baton_free(value);
    baton_llama_close(&m);
    return status;
}
static baton_status try_save_state_thread(baton_error *err) {
    baton_llama *m = open_with(BATON_OWNER_THREAD, 1, BATON_POOLING_OFF);
    baton_llama_ask ask = question();
    baton_stream *s;
    baton_delta d;
    void *state;
    size_t size;
    assert_int_equal(baton_llama_stream(m, &ask, &s, err), BATON_OK);
    while (baton_stream_next(s, -1, &d) == BATON_OK)
        ;
    baton_status status = TRY(baton_llama_save_state(s, &state, &size, err));
    (void)baton_stream_close(&s, NULL);
    if (status)
        assert_null(state);
    baton_free(state);
    baton_llama_close(&m);
    return status;
}

static baton_status try_pool(baton_error *err) {
    static int things[2];
    void *contexts[] = {&things[0], &things[1]};
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_pool *pool = NULL;
    params.contexts = contexts;
    params.n = 2;
    params.name = "thing";
    arm();
    baton_status status = baton_pool_open(&pool, &params, err);
    disarm();
    if (status)
        assert_null(pool);
    else
        assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, err), BATON_OK);
    return status;
}
static baton_status try_ticket(baton_error *err) {
    static int thing;
    void *contexts[] = {&thing};
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_pool *pool;
    baton_lease held, lease;
    baton_ticket *ticket = NULL;
    void *context;
    params.contexts = contexts;
    params.n = 1;
    params.when_full = BATON_WAIT;
    assert_int_equal(baton_pool_open(&pool, &params, err), BATON_OK);
    assert_int_equal(baton_lease_acquire(pool, NULL, &held, err), BATON_OK);
    arm();
    baton_status status = baton_lease_ask(pool, NULL, &lease, &ticket, err);
    disarm();
    bool asked = status == BATON_AGAIN;
    assert_true(asked == (ticket != NULL));
    bool by_ticket = failed;
    arm();
    baton_status later = baton_lease_begin(&held, BATON_OP_USER, &context, NULL);
    if (!later)
        baton_lease_end(&held);
    later = later ? later : baton_lease_release(&held, BATON_KEEP, NULL);
    if (!later && asked)
        later = baton_lease_poll(&ticket, &lease, NULL);
    if (!later && asked)
        later = baton_lease_give(&lease, &held, NULL);
    if (!later && asked)
        later = baton_lease_take(&held, &lease, NULL);
    if (!later && asked)
        later = baton_lease_release(&lease, BATON_RESET, NULL);
    disarm();
    assert_int_equal(later, BATON_OK); /* nothing of this allocates: a held lease is never in want of memory */
    failed = by_ticket;
    baton_ticket_drop(&ticket);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, err), BATON_OK);
    return asked ? BATON_OK : status;
}
static baton_status try_snapshot(baton_error *err) {
    static int thing;
    void *contexts[] = {&thing};
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_snapshot shot = {.size = sizeof shot};
    baton_pool *pool;
    char *text = NULL;
    params.contexts = contexts;
    params.n = 1;
    assert_int_equal(baton_pool_open(&pool, &params, err), BATON_OK);
    arm();
    baton_status status = baton_pool_snapshot(pool, &shot, err);
    if (!status)
        status = baton_snapshot_json(&shot, &text, err);
    disarm();
    assert_true((status == BATON_OK) == (text != NULL));
    baton_free(text);
    baton_snapshot_free(&shot);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, err), BATON_OK);
    return status;
}

static const struct trial trials[] = {
    {"pool_open pool_close", try_pool, false}, /* first: later there is memory of pools that were closed */
    {"llama_open llama_close", try_open, false},
    {"llama_open llama_close", try_open_thread, true},
    {"llama_generate result_free", try_generate, false},
    {"llama_generate", try_generate_thread, true},
    {"llama_generate", try_see, false},
    {"llama_generate", try_see_thread, true},
    {"llama_stream stream_next stream_close", try_stream, false},
    {"llama_stream stream_next stream_close", try_stream_thread, true},
    {"llama_generate_cb", try_generate_cb, false},
    {"llama_save_state", try_save_state, false},
    {"llama_save_state_file", try_save_state_file, false},
    {"llama_load_state", try_load_state, false},
    {"llama_generate", try_go_on, false},
    {"llama_tokenize", try_tokenize, false},
    {"llama_detokenize llama_piece llama_metadata llama_metadata_get", try_words, false},
    {"llama_acquire llama_reset llama_snapshot llama_run llama_cancel llama_get_counts", try_lease, false},
    {"llama_snapshot llama_run llama_cancel llama_get_counts", try_visit, true},
    {"llama_embed", try_embed_one, false},
    {"llama_embed_batch embeddings_free", try_embed, false},
    {"llama_embed_each", try_embed_each, false},
    {"llama_rerank", try_rerank, false},
    {"llama_embed_batch", try_embed_thread, true},
    {"llama_embed_each", try_embed_each_thread, true},
    {"llama_rerank", try_rerank_thread, true},
    {"llama_tokenize llama_detokenize llama_metadata_get llama_reset", try_words_thread, true},
    {"llama_save_state", try_save_state_thread, true},
    {"lease_acquire lease_ask lease_poll lease_begin lease_end lease_release lease_give lease_take ticket_drop",
     try_ticket, false},
    {"pool_snapshot snapshot_json snapshot_free", try_snapshot, false},
};
/* They allocate nothing; adopt needs libllama's own contexts, and an estimate a file: test/fake/gguf.c. */
static const char no_allocation[] =
    " free lease_cancelled llama_adopt llama_context llama_estimate llama_get_details llama_get_info llama_is_end "
    "log_set misuse_set "
    "op_text pool_cancel pool_holders status_family_of status_name status_text stream_fd "
    "stream_id ticket_fd ticket_id version ";

static void every_call_is_here(void **state) {
    static const char *const headers[] = {"baton", "llama"};
    (void)state;
    every_public_call_is_here(headers, sizeof headers / sizeof headers[0], trials, sizeof trials / sizeof trials[0],
                              no_allocation, 45);
}
static void every_allocation_may_fail(void **state) {
    (void)state;
    every_allocation_of_every_call_may_fail(trials, sizeof trials / sizeof trials[0]);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_is_here),
                                       cmocka_unit_test(every_allocation_may_fail)};
    return bt_test_run(tests, argc, argv);
}
