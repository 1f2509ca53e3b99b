/* Part (b): the same questions, two threads, under each policy. The threads share the job below and take questions from
 * it by one atomic counter; everything else of it is theirs by question. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/demo.h"
#include "ipc/front.h"

struct job {
    const struct bt_demo *demo;
    struct bt_caller *caller;
    enum bt_when_full when_full;
    _Atomic int next, refusals;
    struct bt_run_result results[BT_DEMO_ASKS];
    baton_status statuses[BT_DEMO_ASKS];
};

static void *work(void *arg) {
    struct job *j = arg;
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    for (int i; (i = atomic_fetch_add(&j->next, 1)) < BT_DEMO_ASKS;) {
        struct bt_ask ask = {.when_full = j->when_full, .queue_ms = -1, .priority = 1};
        struct bt_run run = {.prompt = j->demo->prompts[i],
                             .n_prompt = j->demo->n_prompts[i],
                             .max_tokens = BT_DEMO_TOKENS,
                             .sampling = &greedy};
        baton_error err;
        while ((j->statuses[i] = bt_caller_generate(j->caller, &ask, &run, &j->results[i], &err)) == BATON_BUSY) {
            struct timespec later = {.tv_nsec = 2000000}; /* what a refused program does: something else, then again */
            atomic_fetch_add(&j->refusals, 1);
            nanosleep(&later, NULL);
        }
    }
    return NULL;
}

static baton_status in_threads(const struct bt_demo *d, int contexts, enum bt_when_full when_full,
                               struct bt_demo_row *row, baton_error *err) {
    struct job job = {.demo = d, .when_full = when_full};
    struct bt_model_params model = {0};
    struct bt_context_params context = {.sequences = 1, .ctx = 512};
    pthread_t threads[2];
    bt_model_settings_apply(d->model, &model, &context);
    context.ctx = 512;
    baton_status status = bt_caller_open(&model, &context, contexts, BT_DEMO_ASKS, &job.caller, err);
    if (status)
        return status;
    int64_t start_ns = bt_now_ns(), tokens = 0;
    int n = 0;
    while (n < 2 && bt_thread_start(&threads[n], work, &job) == 0)
        n++;
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(bt_now_ns() - start_ns) / 1e9;
    for (int i = 0; i < BT_DEMO_ASKS; i++) {
        if (job.statuses[i])
            row->error++;
        else
            bt_demo_judge(d, i, job.results[i].text.data, job.results[i].text.len, row);
        tokens += (int64_t)job.results[i].n_tokens;
        bt_run_result_free(&job.results[i]);
    }
    row->tokens_per_s = (double)tokens / seconds;
    if (when_full == BT_REFUSE)
        snprintf(row->remark, sizeof row->remark, "%d BUSY", atomic_load(&job.refusals));
    bt_caller_close(&job.caller, BT_CLOSE_DRAIN);
    return n == 2 ? BATON_OK : bt_fail(err, BATON_IO, "two threads cannot be started");
}

struct gathered {
    struct bt_request *request;
    struct bt_buf text;
    baton_status status;
    uint32_t tokens;
};

static void on_text(void *arg, const char *text, size_t len) {
    struct gathered *g = arg;
    bt_buf_add(&g->text, text, len);
    bt_request_consumed(g->request, 1);
}

static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct gathered *g = arg;
    g->request = NULL;
    g->status = outcome->status;
    g->tokens = outcome->answer_tokens;
}

static baton_status in_sequences(const struct bt_demo *d, struct bt_demo_row *row, baton_error *err) {
    struct bt_front_params p = {
        .contexts = 1, .when_full = BT_WAIT, .queue_max = BT_DEMO_ASKS, .queue_ms = -1, .run_ms = -1};
    struct gathered g[BT_DEMO_ASKS];
    struct bt_front *f;
    bt_model_settings_apply(d->model, &p.model, &p.context);
    p.context.sequences = BT_DEMO_ASKS;
    p.context.ctx = 512;
    baton_status status = bt_front_open(&p, &f, err);
    if (status)
        return status;
    memset(g, 0, sizeof g);
    int64_t start_ns = bt_now_ns(), tokens = 0;
    for (int i = 0; i < BT_DEMO_ASKS && !status; i++) {
        struct bt_submit s = {.kind = BT_PROMPT_TOKENS,
                              .tokens = d->prompts[i],
                              .n_tokens = d->n_prompts[i],
                              .max_tokens = BT_DEMO_TOKENS,
                              .sampling = BT_SAMPLING_DEFAULT};
        struct bt_handler handler = {.on_text = on_text, .on_done = on_done, .arg = &g[i]};
        status = bt_front_submit(f, &s, NULL, &handler, &g[i].request, err);
    }
    for (int i = 0; i < BT_DEMO_ASKS && !status; i++)
        while (g[i].request)
            bt_front_run_once(f, -1);
    double seconds = (double)(bt_now_ns() - start_ns) / 1e9;
    bt_front_close(&f);
    for (int i = 0; i < BT_DEMO_ASKS; i++) {
        if (g[i].status)
            row->error++;
        else
            bt_demo_judge(d, i, g[i].text.data, g[i].text.len, row);
        tokens += g[i].tokens;
        bt_buf_free(&g[i].text);
    }
    row->tokens_per_s = (double)tokens / seconds;
    return status;
}

baton_status bt_demo_policy(const struct bt_demo *d, enum bt_demo_policy policy, struct bt_demo_row *row,
                            baton_error *err) {
    switch (policy) {
    case BT_DEMO_REFUSE:
        snprintf(row->name, sizeof row->name, "refuse: 1 context, 2 threads");
        return in_threads(d, 1, BT_REFUSE, row, err);
    case BT_DEMO_WAIT:
        snprintf(row->name, sizeof row->name, "wait: 1 context, 2 threads");
        return in_threads(d, 1, BT_WAIT, row, err);
    case BT_DEMO_CONTEXTS:
        snprintf(row->name, sizeof row->name, "wait: 2 contexts, 2 threads");
        return in_threads(d, 2, BT_WAIT, row, err);
    default:
        snprintf(row->name, sizeof row->name, "wait: 1 context x %d sequences", BT_DEMO_ASKS);
        return in_sequences(d, row, err);
    }
}
