/* What each layer adds to the native calls below it, in nanoseconds and as a share of a token of the model at hand.
 *
 * Guard, gate, lease and device gate are timed as pairs of calls by themselves. The layers that do something for each
 * token (the stream that holds the lease and turns tokens into text, the binding over it) are timed over the fake
 * native, whose own time is small and the same in each loop: what a layer takes is the difference between the loop
 * through it and the loop of the same native calls by hand. Each figure is the least of several runs, as noise only
 * adds. A token of the model is timed by the raw llama_decode loop. A second thread is alive, as in bench_gate.c. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "baton/guard.h"
#include "baton/llama.h"
#include "bench.h"
#include "gate/gate.h"
#include "lease/caller.h"
#include "native/device.h"

enum { RUNS = 7, PAIRS = 300000, TOKENS = 3000, CTX = 4096, ANSWERS = 3000 };
static const char fake[] = "fake:len=100000,ctx_train=4096";

static int failures;

static double least_of(double (*run)(void)) {
    double least = 1e12;
    for (int i = 0; i < RUNS; i++) {
        double ns = run();
        least = BT_MIN(least, ns);
    }
    return least;
}

static double since(int64_t start_ns, int n) {
    return (double)(bt_now_ns() - start_ns) / n;
}

static double nothing_run(void) {
    int64_t start = bt_now_ns();
    for (int i = 0; i < PAIRS; i++)
        __asm__ volatile("" ::: "memory");
    return since(start, PAIRS);
}

static double guard_run(void) {
    static baton_guard guard = BATON_GUARD_INIT;
    int64_t start = bt_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        failures += baton_guard_enter(&guard, 1) != 0;
        failures += baton_guard_leave(&guard) != 0;
    }
    return since(start, PAIRS);
}

static double gate_run(void) {
    struct bt_gate gate;
    struct bt_waiter w = {.priority = 1, .deadline_ns = BT_NEVER_NS};
    bt_gate_init(&gate, 1, 8);
    int64_t start = bt_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        failures += bt_gate_ask(&gate, &w, BT_WAIT, i) != BATON_OK;
        failures += bt_gate_give(&gate, &w, i) != NULL;
    }
    return since(start, PAIRS);
}

static struct bt_pool *pool;

static double lease_run(void) {
    int64_t start = bt_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        struct bt_lease lease;
        failures += bt_lease_acquire(pool, NULL, &lease, NULL) != BATON_OK;
        failures += bt_lease_release(&lease, BT_KEEP, NULL) != BATON_OK;
    }
    return since(start, PAIRS);
}

static double call_run(void) {
    struct bt_lease lease;
    void *context;
    failures += bt_lease_acquire(pool, NULL, &lease, NULL) != BATON_OK;
    int64_t start = bt_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        failures += bt_lease_begin(&lease, BT_OP_DECODE, &context, NULL) != BATON_OK;
        failures += !bt_lease_end(&lease);
    }
    double ns = since(start, PAIRS);
    failures += bt_lease_release(&lease, BT_KEEP, NULL) != BATON_OK;
    return ns;
}

static double device_run(void) {
    struct bt_device *d = bt_device_of("bench");
    int64_t start = bt_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        bt_device_enter(d);
        bt_device_leave(d);
    }
    return since(start, PAIRS);
}

/* The native calls of an answer by hand, one token each time. */
static struct bt_model *model;
static struct bt_context *context;

static double native_run(void) {
    const struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    struct bt_buf text = BT_BUF_INIT;
    struct bt_sampler *sampler;
    bt_token token = 'x';
    if (model->ops->sampler(model, &greedy, &token, 1, &sampler, NULL))
        abort();
    context->ops->seq_rm(context, 0, 0, -1);
    int64_t start = bt_now_ns();
    for (int i = 0; i < TOKENS; i++) {
        const struct bt_row row = {token, i, 0, true};
        failures += context->ops->decode(context, &row, 1) != BT_DECODE_OK;
        token = context->ops->sample(context, sampler, 0, (uint64_t)i);
        sampler->ops->accept(sampler, token);
        text.len = 0;
        model->ops->piece(model, token, &text);
        failures += model->ops->is_end(model, token);
    }
    double ns = since(start, TOKENS);
    sampler->ops->free(sampler);
    bt_buf_free(&text);
    return ns;
}

static struct bt_caller *caller;

static double stream_run(void) {
    const struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    const bt_token prompt = 'x';
    const struct bt_run run = {.prompt = &prompt, .n_prompt = 1, .max_tokens = TOKENS, .sampling = &greedy};
    struct bt_caller_stream *s;
    struct bt_delta d;
    if (bt_caller_stream_open(caller, NULL, &run, &s, NULL))
        abort();
    int64_t start = bt_now_ns();
    while (bt_caller_stream_next(s, &d, NULL) == BATON_OK)
        ;
    double ns = since(start, TOKENS);
    failures += bt_caller_stream_close(&s, NULL, NULL) != BATON_OK;
    return ns;
}

static baton_llama *llama;

static double binding_run(void) {
    static const int32_t prompt = 'x';
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_stream *s;
    baton_delta d;
    ask.tokens = &prompt;
    ask.n_tokens = 1;
    ask.max_tokens = TOKENS;
    if (baton_llama_stream(llama, &ask, &s, NULL))
        abort();
    int64_t start = bt_now_ns();
    while (baton_stream_next(s, -1, &d) == BATON_OK)
        ;
    double ns = since(start, TOKENS);
    failures += baton_stream_close(&s, NULL) != BATON_OK;
    return ns;
}

/* An answer without a token: what is paid once. */
static double answer_run(void) {
    static const int32_t prompt = 'x';
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_stream *s;
    ask.tokens = &prompt;
    ask.n_tokens = 1;
    int64_t start = bt_now_ns();
    for (int i = 0; i < ANSWERS; i++) {
        failures += baton_llama_stream(llama, &ask, &s, NULL) != BATON_OK;
        failures += baton_stream_close(&s, NULL) != BATON_CANCELLED;
    }
    return since(start, ANSWERS);
}

static void row(const char *layer, const char *when, double ns, double token_ns) {
    printf("  %-44s %-22s %8.0f    %9.4f %%\n", layer, when, ns, 100 * ns / token_ns);
}

static void open_all(void) {
    const struct bt_model_params mp = {.path = fake};
    const struct bt_context_params cp = {.sequences = 1, .ctx = CTX, .threads = 1};
    static int thing;
    void *contexts[] = {&thing};
    const struct bt_pool_params params = {.name = "bench", .contexts = contexts, .n_contexts = 1, .queue_max = 8};
    baton_llama_params lp = BATON_LLAMA_PARAMS;
    baton_error err;
    lp.ctx = CTX;
    if (bt_model_open(&mp, &model, &err) || bt_context_open(model, &cp, &context, &err) ||
        bt_pool_open(&params, &pool, &err) || bt_caller_open(&mp, &cp, 1, 8, &caller, &err) ||
        baton_llama_open(&llama, fake, &lp, &err)) {
        bt_log(BATON_LOG_ERROR, "%s", err.text);
        abort();
    }
}

static void close_all(void) {
    context->ops->free(context);
    bt_model_close(model);
    bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL);
    bt_caller_close(&caller, BT_CLOSE_DRAIN);
    baton_llama_close(&llama);
}

static void *idle_thread(void *until) {
    pthread_mutex_lock(until);
    pthread_mutex_unlock(until);
    return NULL;
}

void bt_bench_layers(const char *path) {
    pthread_mutex_t alive = PTHREAD_MUTEX_INITIALIZER;
    pthread_t second;
    double token_ns = 1e12;
    for (int i = 0; i < 3; i++) {
        double ns = 1e9 / bt_bench_raw(path, 1, 32);
        token_ns = BT_MIN(token_ns, ns);
    }
    open_all();
    pthread_mutex_lock(&alive);
    if (pthread_create(&second, NULL, idle_thread, &alive) != 0)
        abort();
    double loop = least_of(nothing_run), native = 1e12, stream = 1e12, binding = 1e12;
    for (int i = 0; i < 5 * RUNS; i++) { /* in turn: the machine's speed drifts */
        double ns[] = {native_run(), stream_run(), binding_run()};
        native = BT_MIN(native, ns[0]);
        stream = BT_MIN(stream, ns[1]);
        binding = BT_MIN(binding, ns[2]);
    }
    printf("\nLayers over the raw native call; a token of the model: %.0f ns (one ggml thread)\n", token_ns);
    printf("  %-44s %-22s %8s    %s\n", "layer", "paid", "ns", "of a token");
    row("guard: enter + leave", "a native call", least_of(guard_run) - loop, token_ns);
    row("gate: ask + give", "an answer", least_of(gate_run) - loop, token_ns);
    row("lease: acquire + release", "an answer", least_of(lease_run) - loop, token_ns);
    row("lease: begin + end", "a native call", least_of(call_run) - loop, token_ns);
    row("device gate: enter + leave, where needed", "a native call", least_of(device_run) - loop, token_ns);
    printf("  %-44s %-22s %8.0f\n", "(the fake's native calls of a token)", "a token", native);
    row("stream under a lease, over the native calls", "a token", stream - native, token_ns);
    row("binding (baton_stream_next), over the stream", "a token", binding - stream, token_ns);
    row("binding: baton_llama_stream + close", "an answer", least_of(answer_run), token_ns);
    row("all of it", "a token", binding - native, token_ns);
    pthread_mutex_unlock(&alive);
    pthread_join(second, NULL);
    close_all();
    if (failures)
        printf("  %d calls FAILED: the figures above mean nothing\n", failures);
}
