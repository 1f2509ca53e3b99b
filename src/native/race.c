/* Threads that share one llama_context, on purpose without what baton is for. The faults are the subject here: only
 * the context, and with BT_RACE_NO_LOCK its every use, is shared; everything of our own is per thread. */
#include "native/race.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native/llama_internal.h"
#include "native/pick.h"

struct answer {
    bt_token *prompt;
    size_t n_prompt;
    llama_token *lone; /* the first `tokens` greedy tokens, end tokens among them */
};

struct bt_race {
    struct bt_model *model;
    int threads, tokens;
    struct answer answers[BT_RACE_THREADS_MAX];
};

struct trial {
    struct bt_race *race;
    struct llama_context *ctx;
    enum bt_race_lock lock;
    pthread_mutex_t mutex;
    pthread_barrier_t start;
};

struct runner {
    struct trial *trial;
    int seq;
    pthread_t thread;
    struct llama_batch batch;
    llama_token *tokens;
    bool failed;
};

/* Feeds what is in the batch and returns the next token, -1 on an error. */
static llama_token step(struct runner *r) {
    struct trial *t = r->trial;
    int32_t vocab = bt_llama_model_of(t->race->model)->vocab_size;
    llama_token token = -1;
    if (t->lock != BT_RACE_NO_LOCK)
        pthread_mutex_lock(&t->mutex);
    int32_t rc = llama_decode(t->ctx, r->batch);
    if (t->lock == BT_RACE_LOCK_DECODE)
        pthread_mutex_unlock(&t->mutex);
    if (rc == 0) {
        const float *logits = llama_get_logits_ith(t->ctx, -1); /* "the last one", as programs usually ask */
        token = logits ? bt_argmax(logits, vocab) : -1;
    }
    if (t->lock == BT_RACE_LOCK_TRANSACTION)
        pthread_mutex_unlock(&t->mutex);
    return token;
}

static void put(struct llama_batch *b, int32_t i, llama_token token, llama_pos pos, int seq) {
    b->token[i] = token;
    b->pos[i] = pos;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = seq;
    b->logits[i] = 0;
}

/* The first token, from the whole prompt. Not raced: what goes wrong while answers are made is the more telling. */
static void prefill(struct runner *r) {
    const struct answer *a = &r->trial->race->answers[r->seq];
    for (size_t i = 0; i < a->n_prompt; i++)
        put(&r->batch, (int32_t)i, a->prompt[i], (llama_pos)i, r->seq);
    r->batch.n_tokens = (int32_t)a->n_prompt;
    r->batch.logits[r->batch.n_tokens - 1] = 1;
    r->tokens[0] = step(r);
    r->failed = r->tokens[0] < 0;
}

static void *run(void *arg) {
    struct runner *r = arg;
    llama_pos pos = (llama_pos)r->trial->race->answers[r->seq].n_prompt;
    pthread_barrier_wait(&r->trial->start);
    for (int i = 1; i < r->trial->race->tokens && !r->failed; i++) {
        put(&r->batch, 0, r->tokens[i - 1], pos++, r->seq);
        r->batch.n_tokens = 1;
        r->batch.logits[0] = 1;
        r->tokens[i] = step(r);
        r->failed = r->tokens[i] < 0;
    }
    return NULL;
}

static size_t longest_prompt(const struct bt_race *race) {
    size_t n = 1;
    for (int i = 0; i < race->threads; i++)
        n = BT_MAX(n, race->answers[i].n_prompt);
    return n;
}

static struct llama_context *make_context(const struct bt_race *race) {
    struct llama_context_params p = llama_context_default_params();
    size_t cells = (longest_prompt(race) + (size_t)race->tokens + 256) / 256 * 256;
    p.n_ctx = (uint32_t)cells * (uint32_t)race->threads;
    p.n_seq_max = (uint32_t)race->threads;
    p.n_batch = p.n_ubatch = 512;
    p.n_threads = p.n_threads_batch = 1;
    p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    p.kv_unified = false;
    return llama_init_from_model(bt_llama_model_of(race->model)->model, p);
}

static bool prepare(struct runner *r, struct trial *t, int seq) {
    *r = (struct runner){.trial = t, .seq = seq};
    r->batch = llama_batch_init((int32_t)longest_prompt(t->race), 0, 1);
    r->tokens = calloc((size_t)t->race->tokens, sizeof *r->tokens);
    return r->tokens != NULL;
}

/* Starts those of `runners` that are wanted and waits for them: all at once, or one alone. */
static bool run_all(struct runner *runners, int n) {
    sigset_t all, before;
    int started = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < n && pthread_create(&runners[started].thread, NULL, run, &runners[started]) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started < n) /* the others wait at the barrier for somebody who never comes */
        return false;
    for (int i = 0; i < n; i++)
        pthread_join(runners[i].thread, NULL);
    return true;
}

static enum bt_race_verdict judge(const struct bt_race *race, const struct runner *runners) {
    enum bt_race_verdict worst = BT_RACE_RIGHT;
    for (int i = 0; i < race->threads; i++) {
        size_t bytes = (size_t)race->tokens * sizeof(llama_token);
        if (runners[i].failed)
            return BT_RACE_ERROR;
        if (memcmp(runners[i].tokens, race->answers[i].lone, bytes) != 0)
            worst = BT_RACE_WRONG;
    }
    return worst;
}

baton_status bt_race_trial(struct bt_race *race, enum bt_race_lock lock, enum bt_race_verdict *verdict,
                           baton_error *err) {
    struct trial t = {.race = race, .lock = lock, .mutex = PTHREAD_MUTEX_INITIALIZER};
    struct runner *runners = calloc((size_t)race->threads, sizeof *runners);
    bool ok = runners && (t.ctx = make_context(race));
    for (int i = 0; ok && i < race->threads; i++) {
        ok = prepare(&runners[i], &t, i);
        if (ok)
            prefill(&runners[i]);
    }
    if (ok) {
        pthread_barrier_init(&t.start, NULL, (unsigned)race->threads);
        if (!run_all(runners, race->threads)) /* runners hang on to t: it cannot be given back */
            return bt_fail(err, BATON_NO_MEMORY, "no %d threads for a trial: end this process", race->threads);
        pthread_barrier_destroy(&t.start);
        *verdict = judge(race, runners);
    }
    for (int i = 0; runners && i < race->threads; i++) {
        if (runners[i].batch.token)
            llama_batch_free(runners[i].batch);
        free(runners[i].tokens);
    }
    free(runners);
    if (t.ctx)
        llama_free(t.ctx);
    return ok ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for a trial of %d threads", race->threads);
}

/* Every answer alone, one after the other, in this thread. */
static baton_status run_lone(struct bt_race *race, baton_error *err) {
    struct trial t = {.race = race, .lock = BT_RACE_NO_LOCK};
    bool ok = (t.ctx = make_context(race)) != NULL;
    for (int i = 0; ok && i < race->threads; i++) {
        struct runner r;
        ok = prepare(&r, &t, i);
        pthread_barrier_init(&t.start, NULL, 1);
        if (ok) {
            prefill(&r);
            run(&r);
        }
        pthread_barrier_destroy(&t.start);
        ok = ok && !r.failed;
        llama_batch_free(r.batch);
        race->answers[i].lone = r.tokens;
    }
    if (t.ctx)
        llama_free(t.ctx);
    return ok ? BATON_OK : bt_fail(err, BATON_FAILED, "the lone runs to compare with failed: is memory short?");
}

static baton_status make_prompt(struct bt_race *race, int i, baton_error *err) {
    static const char *const questions[] = {"Count from 1 to 20.", "What is a lease?", "Tell me a story.",
                                            "Why does a lock per call not help?"};
    char text[96];
    int n = snprintf(text, sizeof text, "%s (%d)", questions[(size_t)i % BT_COUNT(questions)], i);
    struct answer *a = &race->answers[i];
    return race->model->ops->tokenize(race->model, text, (size_t)n, true, false, &a->prompt, &a->n_prompt, err);
}

baton_status bt_race_open(const struct bt_race_params *params, struct bt_race **out, baton_error *err) {
    *out = NULL;
    if (params->threads < 2 || params->threads > BT_RACE_THREADS_MAX || params->tokens < 1 || params->tokens > 4096)
        return bt_fail(err, BATON_INVALID, "a race takes 2 to %d threads (got %d) and 1 to 4096 tokens (got %d)",
                       BT_RACE_THREADS_MAX, params->threads, params->tokens);
    struct bt_race *race = calloc(1, sizeof *race);
    if (!race)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a race");
    race->threads = params->threads;
    race->tokens = params->tokens;
    struct bt_model_params model = {.path = params->path};
    baton_status status = bt_llama_open(&model, &race->model, err);
    for (int i = 0; status == BATON_OK && i < race->threads; i++)
        status = make_prompt(race, i, err);
    if (status == BATON_OK)
        status = run_lone(race, err);
    if (status != BATON_OK) {
        bt_race_close(race);
        return status;
    }
    *out = race;
    return BATON_OK;
}

void bt_race_close(struct bt_race *race) {
    for (int i = 0; i < race->threads; i++) {
        free(race->answers[i].prompt);
        free(race->answers[i].lone);
    }
    if (race->model)
        race->model->ops->free(race->model);
    free(race);
}
