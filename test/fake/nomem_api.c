/* Each allocation of each public call fails once: the call says NO_MEMORY, or does without; what it was to fill is
 * empty, nothing leaks (under AddressSanitizer), and the handle goes on as if nothing had been. The list of calls is
 * read from the headers, so that a new one without an entry here fails. */
#include "api_bodies.h"

#include "baton/models.h"
#include "baton/runtime.h"
#include "native/fake.h"
#include "nomem.h"

static const char path[] = "fake:len=24";
static long at; /* the allocation that fails in this attempt */
static bool failed;

/* What is between the two is what is tried. */
static void arm(void) {
    nomem_arm(at);
}
static void disarm(void) {
    failed = nomem_disarm();
}
static baton_status disarmed(baton_status status) {
    disarm();
    return status;
}
#define TRY(call) (arm(), disarmed(call))

static baton_llama *open_with(baton_owner owner, int contexts, baton_pooling pooling) {
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    policy.owner = owner;
    policy.contexts = contexts;
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    params.pooling = pooling;
    params.exact = 0;
    if (baton_llama_open(&m, pooling == BATON_POOLING_RANK ? "fake:scores=1" : path, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

static baton_llama_ask question(void) {
    static const char *const stops[] = {"never said"};
    static const baton_logit_bias bias[] = {{5, 1}};
    static baton_sampling sampling = BATON_SAMPLING;
    static const baton_message chat[] = {{"user", "spare me a word"}};
    baton_llama_ask ask = BATON_LLAMA_ASK;
    sampling.temperature = 0.8f;
    sampling.bias = bias;
    sampling.n_bias = 1;
    ask.messages = chat;
    ask.n_messages = 1;
    ask.stops = stops;
    ask.n_stops = 1;
    ask.sampling = &sampling;
    return ask;
}

/* The answer of an undisturbed handle; the same for every handle of this file. */
static char whole[4096];
static void answers_as_ever(baton_llama *m) {
    baton_llama_ask ask = question();
    baton_result r;
    baton_error err;
    if (baton_llama_generate(m, &ask, &r, &err))
        fail_msg("allocation %ld: afterwards %s", at, err.text);
    if (!whole[0])
        snprintf(whole, sizeof whole, "%s", r.text);
    assert_string_equal(r.text, whole);
    baton_result_free(&r);
}

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
    if (status != BATON_CRASHED)
        answers_as_ever(m);
    baton_llama_close(&m);
    return status;
}
static baton_status try_generate(baton_error *err) {
    return generate_as(BATON_OWNER_CALLER, err);
}
static baton_status try_generate_thread(baton_error *err) {
    return generate_as(BATON_OWNER_THREAD, err);
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
    if (status != BATON_CRASHED)
        answers_as_ever(m);
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
    answers_as_ever(m);
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
    answers_as_ever(m);
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

static baton_llama *words; /* for calls that change nothing */
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
        if (!status)
            status = baton_llama_snapshot(m, &shot, err);
    }
    if (!status)
        status = baton_llama_run(m, NULL, nothing, NULL, err);
    if (!status && baton_llama_cancel(m, 4711))
        status = BATON_FAILED;
    baton_llama_get_counts(m, &counts);
    disarm();
    assert_int_equal(counts.slots, 2);
    baton_snapshot_free(&shot);
    answers_as_ever(m);
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

static baton_status try_models(baton_error *err) {
    static const char *const targets[] = {"a"};
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    baton_llama_lora lora = {"fake:7", 1};
    baton_models *models = NULL;
    baton_model_use use = {0};
    const char *const *names = NULL;
    uint64_t weights, contexts;
    baton_llama_ask ask = question();
    baton_result r = {NULL};
    size_t n;
    params.policy = &policy;
    params.loras = &lora;
    params.n_loras = 1;
    params.chat_template = "chatml";
    arm();
    baton_status status = baton_models_open(&models, err);
    if (!status)
        status = baton_models_add(models, "a", path, &params, false, err);
    if (!status)
        status = baton_models_role(models, "fast", targets, 1, err);
    if (!status)
        status = baton_models_names(models, false, &names, &n, err);
    if (!status)
        status = baton_models_estimate(models, "a", &weights, &contexts, err);
    if (!status)
        status = baton_models_load(models, "a", -1, err);
    if (!status)
        status = baton_models_use(models, "fast", -1, &use, err);
    baton_models_put(&use);
    if (!status) {
        status = baton_models_generate(models, "fast", &ask, &r, err);
        assert_int_equal(r.outcome.status, status);
    }
    if (!status)
        status = baton_models_unload(models, "a", -1, err);
    if (!status)
        status = baton_models_swap(models, "a", path, NULL, -1, err);
    if (!status)
        status = baton_models_remove(models, "a", -1, err);
    disarm();
    baton_result_free(&r);
    baton_free((void *)names);
    if (models) { /* whatever failed: a model can be added, and answers */
        baton_error later;
        assert_int_equal(baton_models_add(models, "b", path, NULL, true, &later), BATON_OK);
        assert_int_equal(baton_models_generate(models, "b", &ask, &r, &later), BATON_OK);
        assert_string_equal(r.text, whole);
        baton_result_free(&r);
    }
    baton_models_close(&models);
    return status;
}

static baton_status runtime_all(baton_error *err) {
    static baton_sampling sampling = BATON_SAMPLING;
    static const baton_logit_bias bias[] = {{5, 1}};
    uint64_t id = 0, stepped = 0, *ids = NULL;
    baton_result r = {NULL};
    char *text = NULL;
    size_t len, n;
    sampling.bias = bias;
    sampling.n_bias = 1;
    baton_status status = baton_runtime_load_model(path, NULL, err);
    if (!status)
        status = baton_runtime_configure_sampling(&sampling, err);
    if (!status)
        status = baton_runtime_generate("hi", 2, 20, &id, err);
    if (!status && (status = baton_runtime_result(id, &r, err)) == BATON_OK)
        assert_int_equal(r.outcome.status, BATON_OK);
    baton_result_free(&r);
    if (!status)
        status = baton_runtime_start("hi", 2, 20, &stepped, err);
    while (!status && (status = baton_runtime_next_token(stepped, &text, &len, err)) == BATON_OK)
        baton_free(text);
    if (status == BATON_END)
        status = baton_runtime_transcript(&ids, &n, err);
    baton_free(ids);
    if (!status)
        status = baton_runtime_diagnostics(&text, &len, err);
    if (!status)
        baton_free(text);
    if (!status)
        status = baton_runtime_reset_context(err);
    if (!status)
        status = baton_runtime_clear_transcript(err);
    if (!status)
        status = baton_runtime_free_model(err);
    return status;
}
static baton_status try_runtime(baton_error *err) {
    baton_error later;
    arm();
    baton_status status = baton_runtime_init(NULL, err);
    bool there = !status;
    if (there)
        status = runtime_all(err);
    disarm();
    if (there && runtime_all(&later))
        fail_msg("allocation %ld: afterwards %s", at, later.text);
    if (there)
        assert_int_equal(baton_runtime_end(&later), BATON_OK);
    return status;
}
/* The result of an answer that lost a piece must not be told as finished. */
static baton_status try_runtime_result(baton_error *err) {
    baton_error later;
    baton_result r = {NULL}, good = {NULL};
    uint64_t id = 41, whole_id = 42;
    assert_int_equal(baton_runtime_init(NULL, err), BATON_OK);
    assert_int_equal(baton_runtime_load_model(path, NULL, err), BATON_OK);
    baton_status status = TRY(baton_runtime_generate("hi", 2, -1, &id, err));
    assert_int_equal(baton_runtime_generate("hi", 2, -1, &whole_id, &later), BATON_OK);
    assert_int_equal(baton_runtime_result(whole_id, &good, &later), BATON_OK);
    if (baton_runtime_result(id, &r, &later) == BATON_OK) {
        assert_int_equal(r.outcome.status, status);
        if (!status)
            assert_string_equal(r.text, good.text);
        baton_result_free(&r);
    } else {
        assert_int_not_equal(status, BATON_OK);
    }
    baton_result_free(&good);
    assert_int_equal(baton_runtime_end(&later), BATON_OK);
    return status;
}

static const struct trial {
    const char *covers; /* public functions, without baton_ */
    baton_status (*run)(baton_error *err);
    bool threads; /* an owner that has no memory for its own state ends, and the front says CRASHED */
} trials[] = {
    {"pool_open pool_close", try_pool, false}, /* first: later there is memory of pools that were closed */
    {"llama_open llama_close", try_open, false},
    {"llama_open llama_close", try_open_thread, true},
    {"llama_generate result_free", try_generate, false},
    {"llama_generate", try_generate_thread, true},
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
    {"llama_run llama_cancel llama_get_counts", try_visit, true},
    {"llama_embed", try_embed_one, false},
    {"llama_embed_batch embeddings_free", try_embed, false},
    {"llama_embed_each", try_embed_each, false},
    {"llama_rerank", try_rerank, false},
    {"lease_acquire lease_ask lease_poll lease_begin lease_end lease_release lease_give lease_take ticket_drop",
     try_ticket, false},
    {"pool_snapshot snapshot_json snapshot_free", try_snapshot, false},
    {"models_open models_add models_role models_names models_estimate models_load models_use models_put "
     "models_generate "
     "models_unload models_swap models_remove models_close",
     try_models, false},
    {"runtime_init runtime_load_model runtime_configure_sampling runtime_generate runtime_result runtime_start "
     "runtime_next_token runtime_transcript runtime_diagnostics runtime_reset_context runtime_clear_transcript "
     "runtime_free_model runtime_end",
     try_runtime, false},
    {"runtime_generate runtime_result", try_runtime_result, false},
};
/* They allocate nothing; adopt needs libllama's own contexts. */
static const char no_allocation[] =
    " free lease_cancelled llama_adopt llama_context llama_get_details llama_get_info llama_is_end log_set misuse_set "
    "models_info op_text pool_cancel pool_holders runtime_cancel status_family_of status_name status_text stream_fd "
    "stream_id ticket_fd ticket_id version ";

static bool covered(const char *name) {
    char word[96];
    snprintf(word, sizeof word, " %s ", name);
    if (strstr(no_allocation, word))
        return true;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        char list[512];
        snprintf(list, sizeof list, " %s ", trials[i].covers);
        if (strstr(list, word))
            return true;
    }
    return false;
}

static void every_public_call_is_here(void **state) {
    static const char *const headers[] = {"baton", "llama", "models", "runtime"};
    char file[512], line[512], name[64];
    int calls = 0;
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        snprintf(file, sizeof file, "%s/../include/baton/%s.h", getenv("BATON_TOOLS"), headers[i]);
        FILE *f = fopen(file, "r");
        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
            const char *paren = strncmp(line, "BATON_API", 9) == 0 ? strchr(line, '(') : NULL;
            const char *from = paren;
            while (from && from > line && from[-1] != ' ' && from[-1] != '*')
                from--;
            if (!from || sscanf(from, "baton_%63[a-z_]", name) != 1)
                continue;
            calls++;
            if (!covered(name))
                fail_msg("baton_%s has no entry: say what it does without memory", name);
        }
        fclose(f);
    }
    assert_true(calls > 70);
}

static void every_allocation_of_every_call_may_fail(void **state) {
    (void)state;
    words = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_OFF);
    answers_as_ever(words);
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        long told = 0;
        for (at = 1;; at++) {
            baton_error err = {BATON_OK, ""};
            failed = false;
            alarm(20);
            baton_status status = trials[i].run(&err);
            alarm(0);
            if (!failed) {
                if (status)
                    fail_msg("%s: without a failure %s: %s", trials[i].covers, baton_status_name(status), err.text);
                break;
            }
            told += status == BATON_NO_MEMORY;
            if (status != BATON_OK && status != BATON_NO_MEMORY && !(status == BATON_CRASHED && trials[i].threads))
                fail_msg("%s: allocation %ld failed: %s: %s", trials[i].covers, at, baton_status_name(status),
                         err.text);
            if (status && !err.text[0])
                fail_msg("%s: allocation %ld failed without a text", trials[i].covers, at);
        }
        print_message("%4ld allocations, %4ld told: %.60s\n", at - 1, told, trials[i].covers);
        assert_true(told > 0 || at == 1); /* at 1: it allocates nothing */
    }
    baton_llama_close(&words);
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.models + s.contexts + s.samplers, 0);
    assert_int_equal(s.overlaps, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_public_call_is_here),
        cmocka_unit_test(every_allocation_of_every_call_may_fail),
    };
    return bt_test_run(tests, argc, argv);
}
