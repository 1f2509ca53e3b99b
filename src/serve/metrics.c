/* Counters, histograms, and their text. State: the structs that are given. */
#include "serve/metrics.h"

#include <inttypes.h>
#include <string.h>

/* The edges that the OpenTelemetry conventions for generative models advise, so that dashboards can compare. */
static const double FIRST_TOKEN[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30, 60};
static const double PER_TOKEN[] = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5};
static const double WHOLE[] = {.01,  .02,  .04,   .08,   .16,   .32,   .64,    1.28,
                               2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 600};

static void observe(struct bt_histogram *h, const double *edges, size_t n, int64_t ns) {
    double s = (double)ns / 1e9;
    size_t i = 0;
    while (i < n && s > edges[i])
        i++;
    h->counts[i]++;
    h->sum_ns += (uint64_t)BT_MAX(ns, 0);
}

void bt_metrics_outcome(struct bt_metrics *m, baton_status status) {
    m->outcomes[(unsigned)status < BT_OUTCOMES_MAX ? (unsigned)status : BATON_PROTOCOL]++;
}

void bt_metrics_first_text(struct bt_metrics *m, int64_t after_ns) {
    observe(&m->first_token, FIRST_TOKEN, BT_COUNT(FIRST_TOKEN), after_ns);
}

void bt_metrics_done(struct bt_metrics *m, const struct bt_outcome *o, int64_t whole_ns, int64_t text_ns) {
    bt_metrics_outcome(m, o->status);
    m->prompt_tokens += o->prompt_tokens;
    m->reused_tokens += o->reused_tokens;
    observe(&m->queue, FIRST_TOKEN, BT_COUNT(FIRST_TOKEN), o->queue_ns);
    if (o->status != BATON_OK)
        return;
    observe(&m->whole, WHOLE, BT_COUNT(WHOLE), whole_ns);
    if (text_ns >= 0 && o->answer_tokens > 1)
        observe(&m->per_token, PER_TOKEN, BT_COUNT(PER_TOKEN), text_ns / (o->answer_tokens - 1));
}

void bt_metrics_head(struct bt_buf *out, const char *name, const char *type, const char *help) {
    bt_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name{model="...", without its end. */
static void line(struct bt_buf *out, const char *name, const char *suffix, const char *model) {
    bt_buf_addf(out, "%s%s{model=\"", name, suffix);
    for (const char *c = model; *c; c++) {
        if (*c == '\\' || *c == '"')
            bt_buf_adds(out, "\\");
        bt_buf_add(out, *c == '\n' ? " " : c, 1);
    }
    bt_buf_adds(out, "\"");
}

static void histogram(struct bt_buf *out, const char *name, const char *model, const struct bt_histogram *h,
                      const double *edges, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i <= n; i++) {
        sum += h->counts[i];
        line(out, name, "_bucket", model);
        if (i < n)
            bt_buf_addf(out, ",le=\"%g\"} %" PRIu64 "\n", edges[i], sum);
        else
            bt_buf_addf(out, ",le=\"+Inf\"} %" PRIu64 "\n", sum);
    }
    line(out, name, "_sum", model);
    bt_buf_addf(out, "} %.9f\n", (double)h->sum_ns / 1e9);
    line(out, name, "_count", model);
    bt_buf_addf(out, "} %" PRIu64 "\n", sum);
}

static const struct family {
    const char *name, *help;
    const double *edges;
    size_t n, at;
} HISTOGRAMS[] = {
    {"baton_request_queue_time_seconds", "Time that a request waited for a slot.", FIRST_TOKEN, BT_COUNT(FIRST_TOKEN),
     offsetof(struct bt_metrics, queue)},
    {"baton_time_to_first_token_seconds", "From a request to its first text, the queue included.", FIRST_TOKEN,
     BT_COUNT(FIRST_TOKEN), offsetof(struct bt_metrics, first_token)},
    {"baton_request_time_per_output_token_seconds",
     "From the first text to the end, by the tokens behind the first, of completed requests.", PER_TOKEN,
     BT_COUNT(PER_TOKEN), offsetof(struct bt_metrics, per_token)},
    {"baton_e2e_request_latency_seconds", "From a request to its end, of completed requests.", WHOLE, BT_COUNT(WHOLE),
     offsetof(struct bt_metrics, whole)},
};

/* The gauges and counters that are one number for each model. */
enum number { RUNNING, WAITING, SLOTS, PROMPT, REUSED, ANSWER, RESTARTS, QUARANTINED, NUMBERS };
static const struct {
    const char *name, *type, *help;
} NUMBER[NUMBERS] = {
    [RUNNING] = {"baton_requests_running", "gauge", "Requests that have a slot."},
    [WAITING] = {"baton_requests_waiting", "gauge", "Requests in the queue."},
    [SLOTS] = {"baton_slots", "gauge", "Requests that can run at once."},
    [PROMPT] = {"baton_prompt_tokens_total", "counter", "Tokens of prompts, of requests that ended."},
    [REUSED] = {"baton_prompt_tokens_cached_total", "counter", "Tokens of prompts that were in a cache already."},
    [ANSWER] = {"baton_generation_tokens_total", "counter", "Tokens generated, as they come."},
    [RESTARTS] = {"baton_context_restarts_total", "counter", "Owners that were started again."},
    [QUARANTINED] = {"baton_requests_quarantined_total", "counter", "Requests that ended an owner alone."},
};

static uint64_t number(const struct bt_metrics_of *of, enum number which, const struct bt_front_counts *n) {
    const struct bt_metrics *m = of->metrics;
    switch (which) {
    case RUNNING:
        return (uint64_t)n->running;
    case WAITING:
        return (uint64_t)n->queued;
    case SLOTS:
        return (uint64_t)n->slots;
    case PROMPT:
        return m->prompt_tokens;
    case REUSED:
        return m->reused_tokens;
    case ANSWER:
        return m->answer_tokens;
    case RESTARTS:
        return n->restarts;
    default:
        return n->quarantined;
    }
}

static void numbers(const struct bt_metrics_of *models, int n, struct bt_buf *out) {
    struct bt_front_counts counts;
    for (int k = 0; k < NUMBERS; k++) {
        bt_metrics_head(out, NUMBER[k].name, NUMBER[k].type, NUMBER[k].help);
        for (int i = 0; i < n; i++) {
            memset(&counts, 0, sizeof counts);
            bt_front_counts(models[i].front, &counts);
            line(out, NUMBER[k].name, "", models[i].model);
            bt_buf_addf(out, "} %" PRIu64 "\n", number(&models[i], (enum number)k, &counts));
        }
    }
}

static void contexts(const struct bt_metrics_of *models, int n, struct bt_buf *out) {
    static const char name[] = "baton_context_ready";
    struct bt_front_health h;
    bt_metrics_head(out, name, "gauge", "1 if the owner of a context has answered lately and takes requests.");
    for (int i = 0; i < n; i++)
        for (int c = 0; c < bt_front_info(models[i].front)->contexts; c++) {
            bt_front_health(models[i].front, c, &h);
            line(out, name, "", models[i].model);
            bt_buf_addf(out, ",context=\"%d\"} %d\n", c, h.ready ? 1 : 0);
        }
}

static void outcome(const struct bt_metrics_of *of, const char *what, uint64_t count, struct bt_buf *out) {
    line(out, "baton_requests_total", "", of->model);
    bt_buf_addf(out, ",outcome=\"%s\"} %" PRIu64 "\n", what, count);
}

static void outcomes(const struct bt_metrics_of *models, int n, struct bt_buf *out) {
    static const struct {
        baton_status status;
        const char *name;
    } NAMES[] = {
        {BATON_OK, "completed"},
        {BATON_BUSY, "busy"},
        {BATON_QUEUE_FULL, "queue_full"},
        {BATON_QUEUE_TIMEOUT, "queue_timeout"},
        {BATON_RUN_TIMEOUT, "run_timeout"},
        {BATON_CANCELLED, "cancelled"},
        {BATON_CLOSED, "closed"},
        {BATON_CRASHED, "crashed"},
        {BATON_HUNG, "hung"},
        {BATON_FAILED, "failed"},
    };
    bt_metrics_head(out, "baton_requests_total", "counter", "Requests by what became of them.");
    for (int i = 0; i < n; i++) {
        uint64_t others = 0;
        for (size_t s = 0; s < BT_OUTCOMES_MAX; s++)
            others += models[i].metrics->outcomes[s];
        for (size_t k = 0; k < BT_COUNT(NAMES); k++) {
            uint64_t count = models[i].metrics->outcomes[NAMES[k].status];
            outcome(&models[i], NAMES[k].name, count, out);
            others -= count;
        }
        outcome(&models[i], "client_gone", models[i].metrics->gone, out);
        outcome(&models[i], "other", others, out);
    }
}

void bt_metrics_write(const struct bt_metrics_of *models, int n, struct bt_buf *out) {
    numbers(models, n, out);
    contexts(models, n, out);
    outcomes(models, n, out);
    for (size_t k = 0; k < BT_COUNT(HISTOGRAMS); k++) {
        const struct family *f = &HISTOGRAMS[k];
        bt_metrics_head(out, f->name, "histogram", f->help);
        for (int i = 0; i < n; i++)
            histogram(out, f->name, models[i].model,
                      (const struct bt_histogram *)((const char *)models[i].metrics + f->at), f->edges, f->n);
    }
}
