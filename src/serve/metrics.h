/* What a server counts of each model, and how Prometheus reads it (text format 0.0.4). Counting costs additions alone;
 * scraping takes no lock and asks no owner.
 *
 * State: the event loop's thread owns all of it. */
#ifndef BT_METRICS_H
#define BT_METRICS_H

#include "ipc/front.h"

enum { BT_EDGES_MAX = 20, BT_OUTCOMES_MAX = 128 /* above every status code */ };

struct bt_histogram {
    uint64_t counts[BT_EDGES_MAX + 1]; /* the last: above every edge */
    uint64_t sum_ns;
};

struct bt_metrics {
    uint64_t outcomes[BT_OUTCOMES_MAX]; /* by status, OK: completed; also of requests that were refused */
    uint64_t gone;                      /* whose client left first */
    uint64_t prompt_tokens, reused_tokens, answer_tokens;
    struct bt_histogram queue, first_token, per_token, whole;
};

/* What became of a request: also one that was refused at the front. */
void bt_metrics_outcome(struct bt_metrics *m, baton_status status);
/* Text has come for the first time, so long after the request. */
void bt_metrics_first_text(struct bt_metrics *m, int64_t after_ns);
/* A request has ended `whole_ns` after it came, `text_ns` (< 0: there was none) after its first text. */
void bt_metrics_done(struct bt_metrics *m, const struct bt_outcome *o, int64_t whole_ns, int64_t text_ns);

/* A family of metrics is written as its head, then one line for each model. */
struct bt_metrics_of {
    const char *model;
    const struct bt_metrics *metrics;
    const struct bt_front *front;
};
void bt_metrics_write(const struct bt_metrics_of *models, int n, struct bt_buf *out);
/* One metric without a model. */
void bt_metrics_head(struct bt_buf *out, const char *name, const char *type, const char *help);

#endif
