/* The process-global runtime: one model in a registry of its own, requests by id, and their results.
 *
 * State: `rt`, the one runtime. bt_rt.lock guards all of it and is never held while a model is loaded, asked, stepped
 * or freed. A request belongs to whoever is inside it (`busy`); others only mark it `ending` and cancel it by id. Who
 * finds it marked when he comes out ends it: an answer is ended once. bt_rt.inside counts the calls under way, for the
 * end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/runtime_int.h"

struct bt_runtime bt_rt = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* What this thread is in the middle of, when one of its functions (progress, log) calls again: it cannot wait for that.
 */
static __thread struct {
    int inside;
    bool changes; /* loads or frees */
} here;

/* Takes the lock. */
baton_status bt_rt_enter(const char *function, baton_error *err) {
    pthread_mutex_lock(&bt_rt.lock);
    if (bt_rt.there) {
        bt_rt.inside++;
        here.inside++;
        return BATON_OK;
    }
    pthread_mutex_unlock(&bt_rt.lock);
    return bt_misuse(err, BATON_MISUSE, "%s without a runtime: call baton_runtime_init first", function);
}

baton_status bt_rt_leave(baton_status status) {
    bt_rt.inside--;
    here.inside--;
    pthread_cond_broadcast(&bt_rt.changed);
    pthread_mutex_unlock(&bt_rt.lock);
    return status;
}

baton_status bt_rt_no_model(baton_error *err) {
    return bt_fail(err, BATON_NOT_FOUND, "no model is loaded: baton_runtime_load_model loads one");
}

baton_status baton_runtime_init(const baton_runtime_params *params, baton_error *err) {
    baton_runtime_params p = BATON_RUNTIME_PARAMS;
    if (!BT_TAKE(p, params))
        return bt_misuse(err, BATON_MISUSE, "parameters without their size: make them with BATON_RUNTIME_PARAMS");
    baton_policy policy = BATON_POLICY;
    policy.when_full = p.when_full;
    policy.queue = p.queue;
    baton_status status = bt_check_policy(&policy, false, err);
    if (!status && (p.keep < 1 || p.keep > 65536))
        status = bt_fail(err, BATON_INVALID, "keep is %d: 1 to 65536 results are possible", p.keep);
    if (status)
        return status;
    pthread_mutex_lock(&bt_rt.lock);
    if (bt_rt.there || bt_rt.inside > 0)
        status = bt_misuse(err, BATON_MISUSE, "the runtime is there already, or is being ended (baton_runtime_end)");
    else
        status = baton_models_open(&bt_rt.models, err);
    if (!status) {
        bt_list_init(&bt_rt.under_way);
        bt_list_init(&bt_rt.transcript);
        bt_rt.params = p;
        bt_rt.sampling = (baton_sampling)BATON_SAMPLING;
        bt_rt.next_id = 1;
        bt_rt.there = true;
    }
    pthread_mutex_unlock(&bt_rt.lock);
    return status;
}

baton_status baton_runtime_end(baton_error *err) {
    if (here.inside > 0)
        return bt_misuse(err, BATON_REENTRANT,
                         "this thread is inside another call of the runtime (in a progress function, or a log "
                         "handler): end it when that has returned");
    baton_status status = bt_rt_enter("baton_runtime_end", err);
    if (status)
        return status;
    bt_rt.there = false;
    bt_rt.freeing = true;
    bt_rt_end_stepped();
    while (bt_rt.inside > 1)
        pthread_cond_wait(&bt_rt.changed, &bt_rt.lock);
    bt_rt_end_stepped(); /* what began meanwhile */
    bt_rt_shorten_transcript(0);
    baton_models_close(&bt_rt.models);
    free(bt_rt.bias);
    bt_rt.bias = NULL;
    bt_rt.freeing = false;
    memset(&bt_rt.artifact, 0, sizeof bt_rt.artifact);
    return bt_rt_leave(BATON_OK);
}

static baton_status check_not_changing(baton_error *err) {
    if (!here.changes)
        return BATON_OK;
    return bt_misuse(err, BATON_REENTRANT,
                     "this very thread is loading or freeing the model: its progress function cannot do either. Let it "
                     "return first (false ends a load)");
}

/* Under the lock: one load or free at a time. */
static baton_status change_begins(baton_error *err) {
    int64_t deadline_ns = bt_deadline(bt_now_ns(), bt_rt.params.queue_ms);
    while (bt_rt.changing) {
        if (bt_rt.params.when_full == BATON_REFUSE)
            return bt_fail(err, BATON_BUSY, "another thread loads or frees the model: try again when it is done");
        struct timespec t = {deadline_ns / BT_NS_PER_S, deadline_ns % BT_NS_PER_S};
        int rc = deadline_ns == BT_NEVER_NS ? pthread_cond_wait(&bt_rt.changed, &bt_rt.lock)
                                            : pthread_cond_clockwait(&bt_rt.changed, &bt_rt.lock, CLOCK_MONOTONIC, &t);
        if (rc == ETIMEDOUT && bt_rt.changing)
            return bt_fail(err, BATON_QUEUE_TIMEOUT, "another thread loads or frees the model, for %lld ms and longer",
                           (long long)bt_rt.params.queue_ms);
    }
    bt_rt.changing = here.changes = true;
    return BATON_OK;
}

static void change_ends(void) {
    bt_rt.changing = here.changes = false;
    pthread_cond_broadcast(&bt_rt.changed);
}

bool bt_rt_is_loaded(void) {
    baton_model_info info = {.size = sizeof info};
    return baton_models_info(bt_rt.models, BT_RT_MODEL, &info, NULL) == BATON_OK && info.state == BATON_MODEL_READY;
}

baton_status baton_runtime_load_model(const char *path, const baton_llama_params *params, baton_error *err) {
    baton_llama_params p = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    struct bt_artifact artifact;
    if (!BT_TAKE(p, params))
        return bt_misuse(err, BATON_MISUSE, "parameters without their size: make them with BATON_LLAMA_PARAMS");
    if (p.policy)
        return bt_fail(err, BATON_INVALID, "the policy of a runtime is set at baton_runtime_init: leave it NULL here");
    baton_status status = check_not_changing(err);
    if (!status)
        status = bt_rt_enter("baton_runtime_load_model", err);
    if (status)
        return status;
    status = change_begins(err);
    if (status)
        return bt_rt_leave(status);
    policy.when_full = bt_rt.params.when_full;
    policy.queue = bt_rt.params.queue;
    policy.queue_ms = bt_rt.params.queue_ms;
    policy.run_ms = bt_rt.params.run_ms;
    p.policy = &policy;
    bool hash = bt_rt.params.hash, swap = bt_rt_is_loaded();
    pthread_mutex_unlock(&bt_rt.lock);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    bt_artifact_read(path, hash, &artifact);
    status = swap ? baton_models_swap(bt_rt.models, BT_RT_MODEL, path, &p, 0, err)
                  : baton_models_add(bt_rt.models, BT_RT_MODEL, path, &p, true, err);
    if (!bt_artifact_same(&artifact, now.tv_sec * BT_NS_PER_S + now.tv_nsec))
        artifact.sha256[0] = '\0';
    pthread_mutex_lock(&bt_rt.lock);
    if (status == BATON_AGAIN) /* the old one is freed by whoever is the last on it */
        status = BATON_OK;
    if (!status) {
        bt_rt.artifact = artifact;
        bt_rt.threads = bt_native_threads(p.threads);
    }
    change_ends();
    return bt_rt_leave(status);
}

baton_status baton_runtime_configure_sampling(const baton_sampling *sampling, baton_error *err) {
    baton_sampling mine = BATON_SAMPLING;
    if (!sampling || !BT_TAKE(mine, sampling))
        return bt_misuse(err, BATON_MISUSE, "a baton_sampling without its size: make it with BATON_SAMPLING");
    baton_status status = bt_check_sampling(&mine, err);
    if (status)
        return status;
    baton_logit_bias *bias = calloc(mine.n_bias + 1, sizeof *bias);
    if (!bias)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu biases", mine.n_bias);
    if (mine.n_bias)
        memcpy(bias, mine.bias, mine.n_bias * sizeof *bias);
    status = bt_rt_enter("baton_runtime_configure_sampling", err);
    if (status) {
        free(bias);
        return status;
    }
    free(bt_rt.bias);
    bt_rt.bias = bias;
    bt_rt.sampling = mine;
    bt_rt.sampling.bias = bias;
    return bt_rt_leave(BATON_OK);
}

static void nothing(void *arg, struct llama_context *context) {
    (void)arg;
    (void)context;
}

baton_status baton_runtime_reset_context(baton_error *err) {
    baton_model_use use;
    baton_status status = bt_rt_enter("baton_runtime_reset_context", err);
    if (status)
        return status;
    if (!bt_rt_is_loaded())
        return bt_rt_leave(bt_rt_no_model(err));
    bt_rt_end_stepped();
    int64_t wait_ms = bt_rt.params.when_full == BATON_REFUSE ? 0 : bt_rt.params.queue_ms;
    pthread_mutex_unlock(&bt_rt.lock);
    status = baton_models_use(bt_rt.models, BT_RT_MODEL, wait_ms, &use, err);
    if (status == BATON_NOT_FOUND)
        status = bt_rt_no_model(err);
    if (!status)
        status = baton_llama_run(use.llama, NULL, nothing, NULL, err); /* a lease that ends empties its context */
    baton_models_put(&use);
    pthread_mutex_lock(&bt_rt.lock);
    return bt_rt_leave(status);
}

baton_status baton_runtime_clear_transcript(baton_error *err) {
    baton_status status = bt_rt_enter("baton_runtime_clear_transcript", err);
    if (status)
        return status;
    bt_rt_shorten_transcript(0);
    return bt_rt_leave(BATON_OK);
}

baton_status baton_runtime_free_model(baton_error *err) {
    baton_status status = check_not_changing(err);
    if (!status)
        status = bt_rt_enter("baton_runtime_free_model", err);
    if (status)
        return status;
    status = change_begins(err);
    if (status)
        return bt_rt_leave(status);
    if (bt_rt_is_loaded()) {
        bt_rt.freeing = true; /* who gets the context from now on gives it back */
        bt_rt_end_stepped();
        pthread_mutex_unlock(&bt_rt.lock);
        status = baton_models_remove(bt_rt.models, BT_RT_MODEL, -1, err);
        pthread_mutex_lock(&bt_rt.lock);
        bt_rt.freeing = false;
        memset(&bt_rt.artifact, 0, sizeof bt_rt.artifact);
    } else {
        status = bt_rt_no_model(err);
    }
    change_ends();
    return bt_rt_leave(status);
}

baton_status baton_runtime_diagnostics(char **json, size_t *len, baton_error *err) {
    struct bt_buf out = BT_BUF_INIT;
    baton_model_use use = {0};
    if (!json || !len)
        return bt_misuse(err, BATON_MISUSE, "baton_runtime_diagnostics needs places for the text and its length");
    *json = NULL;
    *len = 0;
    baton_status status = bt_rt_enter("baton_runtime_diagnostics", err);
    if (status)
        return status;
    struct bt_runtime_facts f = {.params = bt_rt.params,
                                 .sampling = bt_rt.sampling,
                                 .artifact = bt_rt.artifact,
                                 .transcript = bt_rt.n_transcript,
                                 .loaded = bt_rt_is_loaded() && !bt_rt.freeing,
                                 .threads = bt_rt.threads,
                                 .info = {.size = sizeof f.info}};
    for (struct bt_list *l = bt_rt.under_way.next; l != &bt_rt.under_way; l = l->next)
        f.under_way++;
    if (f.loaded && baton_models_use(bt_rt.models, BT_RT_MODEL, 0, &use, NULL) == BATON_OK)
        baton_llama_get_info(use.llama, &f.info);
    else
        f.loaded = false;
    pthread_mutex_unlock(&bt_rt.lock);
    baton_models_put(&use);
    bt_runtime_json(&f, &out);
    size_t n = out.len;
    bt_buf_add(&out, "", 1);
    if (out.failed) {
        bt_buf_free(&out);
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for the diagnostics");
    } else {
        *json = (char *)out.data;
        *len = n;
    }
    pthread_mutex_lock(&bt_rt.lock);
    return bt_rt_leave(status);
}
