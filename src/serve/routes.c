/* Which path is answered by what, and everything that is answered at once. State: the api's. */
#include "serve/api.h"
#include "serve/openai_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char JSON[] = "application/json";

static int key_of(const struct bt_api *a, const struct bt_http_conn *c) {
    struct bt_text given = bt_http_authorization(c);
    return bt_keys_find(a->keys, given.data, given.len);
}

static void chat(struct bt_api *a, struct bt_http_conn *c) {
    bt_answer_start(a, c, true);
}

static void completions(struct bt_api *a, struct bt_http_conn *c) {
    bt_answer_start(a, c, false);
}

static void names(struct bt_buf *b, const char *key, const char *const *list, int n) {
    bt_buf_addf(b, ",\"%s\":[", key);
    for (int i = 0; i < n; i++) {
        bt_buf_adds(b, i ? "," : "");
        bt_json_string(b, list[i], strlen(list[i]));
    }
    bt_buf_adds(b, "]");
}

static void object_head(const struct bt_api *a, const char *name, struct bt_buf *b) {
    bt_buf_adds(b, "{\"id\":");
    bt_json_string(b, name, strlen(name));
    bt_buf_addf(b, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"baton\",\"meta\":{", a->created);
}

/* "ready" if all its owners are, "degraded" if some are; else how the first one is that is not gone for good. */
static const char *state_of(const struct bt_front *f) {
    struct bt_front_health h;
    const char *worst = "gone";
    int contexts = bt_front_info(f)->contexts, ready = 0;
    for (int i = contexts - 1; i >= 0; i--) {
        bt_front_health(f, i, &h);
        ready += h.ready;
        if (!h.gone)
            worst = h.state;
    }
    return ready == contexts ? "ready" : ready > 0 ? "degraded" : worst;
}

static void model_object(const struct bt_api *a, const struct bt_served *m, struct bt_buf *b) {
    const struct bt_front_info *info = bt_front_info(m->front);
    const struct bt_frame_ready *r = &info->ready;
    const char *roles[BT_SERVED_MAX];
    struct bt_front_counts n;
    int n_roles = 0;
    bt_front_counts(m->front, &n);
    object_head(a, m->names[0], b);
    bt_buf_adds(b, "\"description\":");
    bt_json_string(b, r->info.description, strlen(r->info.description));
    bt_buf_addf(b,
                ",\"exact\":\"%s\",\"context\":%" PRIu32 ",\"context_train\":%d,\"contexts\":%d,\"sequences\":%" PRIu32
                ",\"vocabulary\":%d,\"weight_bytes\":%" PRIu64 ",\"context_bytes\":%" PRIu64
                ",\"state\":\"%s\",\"running\":%d,\"queued\":%d,\"slots\":%d",
                r->exact ? "yes" : "no", r->ctx, r->info.ctx_train, info->contexts, r->sequences, r->info.vocab_size,
                r->info.bytes, r->memory, state_of(m->front), n.running, n.queued, n.slots);
    static const char *const poolings[] = {"off", "none", "mean", "cls", "last", "rank"};
    bt_buf_addf(b, ",\"pooling\":\"%s\"", poolings[r->pooling]);
    if (r->pooling != BT_POOL_OFF && r->pooling != BT_POOL_RANK)
        bt_buf_addf(b, ",\"dimensions\":%" PRIu32, r->width);
    for (int i = 0; i < a->served.n_roles; i++)
        for (int k = 0; k < a->served.roles[i].n; k++)
            if (a->served.roles[i].models[k] == m)
                roles[n_roles++] = a->served.roles[i].name;
    names(b, "roles", roles, n_roles);
    bt_buf_adds(b, "}}");
}

static void role_object(const struct bt_api *a, const struct bt_served_role *r, struct bt_buf *b) {
    const char *models[BT_SERVED_MAX];
    for (int i = 0; i < r->n; i++)
        models[i] = r->models[i]->names[0];
    object_head(a, r->name, b);
    bt_buf_adds(b, "\"role\":true");
    names(b, "models", models, r->n);
    bt_buf_adds(b, "}}");
}

static void reply_scratch(struct bt_api *a, struct bt_http_conn *c, int status) {
    bt_http_reply(c, status, JSON, NULL, a->scratch.data, a->scratch.len);
}

static void models(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_buf *b = &a->scratch;
    b->len = 0;
    bt_buf_adds(b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < a->served.n; i++) {
        bt_buf_adds(b, i ? "," : "");
        model_object(a, &a->served.models[i], b);
    }
    for (int i = 0; i < a->served.n_roles; i++) {
        bt_buf_adds(b, ",");
        role_object(a, &a->served.roles[i], b);
    }
    bt_buf_adds(b, "]}");
    reply_scratch(a, c, 200);
}

static void one_model(struct bt_api *a, struct bt_http_conn *c) {
    const char *id = bt_http_path(c) + strlen("/v1/models/");
    const struct bt_served *m = bt_served_find(&a->served, id);
    const struct bt_served_role *r = m ? NULL : bt_served_find_role(&a->served, id);
    a->scratch.len = 0;
    if (m || r) {
        if (m)
            model_object(a, m, &a->scratch);
        else
            role_object(a, r, &a->scratch);
        reply_scratch(a, c, 200);
        return;
    }
    struct bt_api_error e = {
        .status = 404, .type = "invalid_request_error", .code = "model_not_found", .param = "model"};
    snprintf(e.text, sizeof e.text, "there is no model of this name here: GET /v1/models lists what there is");
    bt_api_reply_error(a, c, &e, NULL);
}

static void count_all(const struct bt_api *a, struct bt_front_counts *all, int *contexts) {
    struct bt_front_counts n;
    memset(all, 0, sizeof *all);
    *contexts = 0;
    for (int i = 0; i < a->served.n; i++) {
        bt_front_counts(a->served.models[i].front, &n);
        *contexts += bt_front_info(a->served.models[i].front)->contexts;
        all->running += n.running;
        all->queued += n.queued;
        all->slots += n.slots;
        all->dead_contexts += n.dead_contexts;
        all->accepted += n.accepted;
        all->refused += n.refused;
        all->completed += n.completed;
        all->cancelled += n.cancelled;
        all->timed_out += n.timed_out;
        all->failed += n.failed;
        all->quarantined += n.quarantined;
        all->restarts += n.restarts;
    }
}

/* That the server lives: not of use only when no owner will ever live again. Of all models together: it is for those
 * who watch the server, and names none of them. */
static void health(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_front_counts all;
    int contexts;
    count_all(a, &all, &contexts);
    bool gone = contexts > 0 && all.dead_contexts == contexts;
    const char *status = a->stopping ? "stopping" : gone ? "gone" : all.dead_contexts ? "degraded" : "ok";
    a->scratch.len = 0;
    bt_buf_addf(&a->scratch,
                "{\"status\":\"%s\",\"running\":%d,\"queued\":%d,\"slots\":%d,\"connections\":%d,\"accepted\":%" PRIu64
                ",\"refused\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"cancelled\":%" PRIu64 ",\"timed_out\":%" PRIu64
                ",\"failed\":%" PRIu64 ",\"quarantined\":%" PRIu64 ",\"restarts\":%" PRIu64 "}",
                status, all.running, all.queued, all.slots, bt_http_connections(a->http), all.accepted, all.refused,
                all.completed, all.cancelled, all.timed_out, all.failed, all.quarantined, all.restarts);
    reply_scratch(a, c, a->stopping || gone ? 503 : 200);
}

static void owner_object(const struct bt_front_health *h, int context, bool trusted, struct bt_buf *b) {
    int64_t now = bt_now_ns();
    bt_buf_addf(b,
                "%s{\"context\":%d,\"state\":\"%s\",\"for_ms\":%" PRId64 ",\"heard_ms\":%" PRId64
                ",\"running\":%d,\"restarts\":%" PRIu32,
                context ? "," : "", context, h->state, (now - h->since_ns) / BT_NS_PER_MS,
                (now - h->heard_ns) / BT_NS_PER_MS, h->running, h->restarts);
    if (trusted) {
        bt_buf_adds(b, ",\"last_end\":");
        bt_json_string(b, h->last_end, strlen(h->last_end));
        bt_buf_adds(b, ",\"sandbox\":");
        bt_json_string(b, h->sandbox, strlen(h->sandbox));
    }
    bt_buf_adds(b, "}");
}

/* That requests will be answered: each model has an owner that has answered lately. Who has no key is not told names,
 * nor what native libraries said. */
static void ready(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_buf *b = &a->scratch;
    bool all = !a->stopping, trusted = !a->keys || key_of(a, c) >= 0;
    int64_t seconds = 1;
    char retry[40];
    for (int i = 0; i < a->served.n; i++) {
        all &= bt_front_ready(a->served.models[i].front);
        seconds = BT_MAX(seconds, bt_api_restart_seconds(a->served.models[i].front));
    }
    b->len = 0;
    bt_buf_addf(b, "{\"ready\":%s,\"models\":[", all ? "true" : "false");
    for (int i = 0; i < a->served.n; i++) {
        const struct bt_served *m = &a->served.models[i];
        bt_buf_addf(b, "%s{", i ? "," : "");
        if (trusted) {
            bt_buf_adds(b, "\"id\":");
            bt_json_string(b, m->names[0], strlen(m->names[0]));
            bt_buf_adds(b, ",");
        }
        bt_buf_addf(b, "\"ready\":%s,\"owners\":[", bt_front_ready(m->front) ? "true" : "false");
        for (int k = 0; k < bt_front_info(m->front)->contexts; k++) {
            struct bt_front_health h;
            bt_front_health(m->front, k, &h);
            owner_object(&h, k, trusted, b);
        }
        bt_buf_adds(b, "]}");
    }
    bt_buf_adds(b, "]}");
    snprintf(retry, sizeof retry, "Retry-After: %d\r\n", (int)BT_MIN(seconds, 60));
    bt_http_reply(c, all ? 200 : 503, JSON, all ? NULL : retry, b->data, b->len);
}

static void metrics(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_metrics_of of[BT_SERVED_MAX];
    struct bt_buf *b = &a->scratch;
    for (int i = 0; i < a->served.n; i++)
        of[i] = (struct bt_metrics_of){a->served.models[i].names[0], &a->served.models[i].metrics,
                                       a->served.models[i].front};
    b->len = 0;
    bt_metrics_head(b, "baton_build_info", "gauge", "1, with the version as a label.");
    bt_buf_adds(b, "baton_build_info{version=\"" BATON_VERSION "\"} 1\n");
    bt_metrics_head(b, "process_start_time_seconds", "gauge", "When the server began, seconds since 1970.");
    bt_buf_addf(b, "process_start_time_seconds %" PRId64 "\n", a->created);
    bt_metrics_head(b, "baton_connections", "gauge", "Connections of clients.");
    bt_buf_addf(b, "baton_connections %d\n", bt_http_connections(a->http));
    bt_metrics_head(b, "baton_http_responses_total", "counter", "Replies by their status.");
    for (int status = 100; status < BT_HTTP_STATUS_MAX; status++)
        if (bt_http_replies(a->http, status) > 0)
            bt_buf_addf(b, "baton_http_responses_total{code=\"%d\"} %" PRIu64 "\n", status,
                        bt_http_replies(a->http, status));
    bt_metrics_write(of, a->served.n, b);
    bt_http_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, b->data, b->len);
}

static const struct route {
    const char *path; /* ends in "/": with one more segment, which may hold slashes */
    bool post;        /* else GET and HEAD */
    void (*serve)(struct bt_api *a, struct bt_http_conn *c);
} ROUTES[] = {
    {"/v1/chat/completions", true, chat},
    {"/v1/completions", true, completions},
    {"/v1/embeddings", true, bt_vectors_start},
    {"/v1/rerank", true, bt_rerank_start},
    {"/rerank", true, bt_rerank_start},
    {"/tokenize", true, bt_tokenize_start},
    {"/detokenize", true, bt_detokenize_start},
    {"/v1/models", false, models},
    {"/v1/models/", false, one_model},
    {"/health", false, health},
    {"/ready", false, ready},
    {"/metrics", false, metrics},
};

static const struct route *find(const char *path) {
    for (size_t i = 0; i < BT_COUNT(ROUTES); i++) {
        size_t len = strlen(ROUTES[i].path);
        bool prefix = ROUTES[i].path[len - 1] == '/';
        if (prefix ? strncmp(path, ROUTES[i].path, len) == 0 && path[len] : strcmp(path, ROUTES[i].path) == 0)
            return &ROUTES[i];
    }
    return NULL;
}

uint64_t bt_api_flow(const struct bt_api *a, const struct bt_http_conn *c) {
    return a->keys ? (uint64_t)key_of(a, c) : bt_http_peer(c);
}

/* /health and /ready are for those who watch the server, and tell nothing of anybody. */
static bool refuse_stranger(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_api_error e = {.status = 401, .type = "invalid_request_error", .code = "invalid_api_key"};
    if (!a->keys || strcmp(bt_http_path(c), "/health") == 0 || strcmp(bt_http_path(c), "/ready") == 0 ||
        key_of(a, c) >= 0)
        return false;
    snprintf(e.text, sizeof e.text, "the API key is missing or wrong: expected the header Authorization: Bearer KEY");
    bt_api_reply_error(a, c, &e, "WWW-Authenticate: Bearer\r\n");
    return true;
}

static bool origin_allowed(const struct bt_api *a, struct bt_text origin) {
    const char *o = a->origins;
    if (!o || strcmp(o, "*") == 0)
        return o != NULL;
    for (;;) {
        size_t n = strcspn(o, ",");
        if (n == origin.len && n > 0 && memcmp(o, origin.data, n) == 0)
            return true;
        if (o[n] == '\0')
            return false;
        o += n + 1;
    }
}

/* Any web page can have its reader's browser send requests to loopback; only the browser says so, with Origin. */
static bool refuse_page(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_api_error e = {.status = 403, .type = "invalid_request_error", .code = "origin_not_allowed"};
    struct bt_text origin;
    if (!bt_http_origin(c, &origin))
        return false;
    if (origin_allowed(a, origin)) {
        bt_http_allow_origin(c);
        return false;
    }
    snprintf(e.text, sizeof e.text, "web pages at \"%.*s\" may not ask here: --allow-origin lets them",
             (int)BT_MIN(origin.len, (size_t)80), origin.data);
    bt_api_reply_error(a, c, &e, NULL);
    return true;
}

/* What a browser asks before it lets a page ask; it sends no key with that. */
static bool preflight(struct bt_http_conn *c, const struct route *r) {
    struct bt_text origin;
    if (!r || bt_http_method(c) != BT_HTTP_OPTIONS || !bt_http_origin(c, &origin))
        return false;
    bt_http_reply(c, 204, NULL,
                  "Access-Control-Allow-Methods: GET, HEAD, POST\r\nAccess-Control-Allow-Headers: Authorization, *\r\n"
                  "Access-Control-Max-Age: 600\r\n",
                  NULL, 0);
    return true;
}

static void on_head(void *arg, struct bt_http_conn *c) {
    struct bt_api *a = arg;
    const struct route *r = find(bt_http_path(c));
    enum bt_http_method m = bt_http_method(c);
    struct bt_api_error e = {.type = "invalid_request_error"};
    if (refuse_page(a, c) || preflight(c, r) || refuse_stranger(a, c))
        return;
    if (!r) {
        e.status = 404;
        e.code = "unknown_url";
        snprintf(e.text, sizeof e.text,
                 "there is nothing at %.200s: try /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/rerank, "
                 "/v1/models, /health or /ready",
                 bt_http_path(c));
        bt_api_reply_error(a, c, &e, NULL);
        return;
    }
    const char *allow = r->post ? "Allow: POST, OPTIONS\r\n" : "Allow: GET, HEAD, OPTIONS\r\n";
    if (m == BT_HTTP_OPTIONS) {
        bt_http_reply(c, 204, NULL, allow, NULL, 0);
    } else if (r->post ? m != BT_HTTP_POST : m != BT_HTTP_GET && m != BT_HTTP_HEAD) {
        e.status = 405;
        e.code = "method_not_allowed";
        snprintf(e.text, sizeof e.text, "%s takes %s only", r->path, r->post ? "POST" : "GET and HEAD");
        bt_api_reply_error(a, c, &e, allow);
    } else if (r->post && a->stopping) {
        bt_openai_status_error(BATON_CLOSED, "the server is stopping", &e);
        bt_api_reply_error(a, c, &e, NULL);
    }
}

static void on_request(void *arg, struct bt_http_conn *c) {
    const struct route *r = find(bt_http_path(c));
    if (r) /* on_head has refused all else */
        r->serve(arg, c);
}

static void on_drained(void *arg, struct bt_http_conn *c) {
    const struct bt_exchange *x = bt_http_data(c);
    (void)arg;
    if (x && x->drained)
        x->drained(c);
}

static void on_gone(void *arg, struct bt_http_conn *c) {
    const struct bt_exchange *x = bt_http_data(c);
    (void)arg;
    if (x)
        x->gone(c);
}

static void on_refuse(void *arg, struct bt_http_conn *c, int status, const char *text) {
    struct bt_api *a = arg;
    struct bt_api_error e = {.status = status, .type = status >= 500 ? "server_error" : "invalid_request_error"};
    if (text)
        snprintf(e.text, sizeof e.text, "%s", text);
    else
        snprintf(e.text, sizeof e.text, "the request's body is longer than %zu bytes (--body-max)", a->body_max);
    e.code = status == 413 ? "body_too_large" : status == 408 ? "request_timeout" : NULL;
    bt_api_reply_error(a, c, &e, status == 503 ? "Retry-After: 1\r\n" : NULL);
}

static void on_idle(void *arg) {
    struct bt_api *a = arg;
    a->idle(a->idle_arg);
}

struct bt_http_handler bt_api_handler(struct bt_api *a) {
    return (struct bt_http_handler){on_head, on_request, on_drained, on_gone, on_refuse, on_idle, a};
}

void bt_api_free(struct bt_api *a) {
    bt_buf_free(&a->scratch);
}
