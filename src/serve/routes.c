/* Which path is answered by what, and everything that is answered at once. State: the api's. */
#include "serve/api.h"
#include "serve/openai_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char JSON[] = "application/json";

static void chat(struct bt_api *a, struct bt_http_conn *c) {
    bt_answer_start(a, c, true);
}

static void completions(struct bt_api *a, struct bt_http_conn *c) {
    bt_answer_start(a, c, false);
}

static void model_object(struct bt_api *a, struct bt_buf *b) {
    const struct bt_front_info *info = bt_front_info(a->front);
    const struct bt_frame_ready *r = &info->ready;
    bt_buf_adds(b, "{\"id\":");
    bt_json_string(b, a->model.names[0], strlen(a->model.names[0]));
    bt_buf_addf(b, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"baton\",\"meta\":{\"description\":",
                a->created);
    bt_json_string(b, r->info.description, strlen(r->info.description));
    bt_buf_addf(b,
                ",\"exact\":\"%s\",\"context\":%" PRIu32 ",\"context_train\":%d,\"contexts\":%d,\"sequences\":%" PRIu32
                ",\"vocabulary\":%d,\"weight_bytes\":%" PRIu64 ",\"context_bytes\":%" PRIu64 "}}",
                r->exact ? "yes" : "no", r->ctx, r->info.ctx_train, info->contexts, r->sequences, r->info.vocab_size,
                r->info.bytes, r->memory);
}

static void reply_scratch(struct bt_api *a, struct bt_http_conn *c, int status) {
    bt_http_reply(c, status, JSON, NULL, a->scratch.data, a->scratch.len);
}

static void models(struct bt_api *a, struct bt_http_conn *c) {
    a->scratch.len = 0;
    bt_buf_adds(&a->scratch, "{\"object\":\"list\",\"data\":[");
    model_object(a, &a->scratch);
    bt_buf_adds(&a->scratch, "]}");
    reply_scratch(a, c, 200);
}

static void one_model(struct bt_api *a, struct bt_http_conn *c) {
    const char *id = bt_http_path(c) + strlen("/v1/models/");
    for (size_t i = 0; i < BT_COUNT(a->model.names); i++)
        if (a->model.names[i] && strcmp(id, a->model.names[i]) == 0) {
            a->scratch.len = 0;
            model_object(a, &a->scratch);
            reply_scratch(a, c, 200);
            return;
        }
    struct bt_api_error e = {
        .status = 404, .type = "invalid_request_error", .code = "model_not_found", .param = "model"};
    snprintf(e.text, sizeof e.text, "there is no model of this name here: GET /v1/models lists what there is");
    bt_api_reply_error(a, c, &e, NULL);
}

static void health(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_front_counts n;
    bt_front_counts(a->front, &n);
    const char *status = a->stopping ? "stopping" : n.dead_contexts ? "degraded" : "ok";
    a->scratch.len = 0;
    bt_buf_addf(&a->scratch,
                "{\"status\":\"%s\",\"running\":%d,\"queued\":%d,\"slots\":%d,\"connections\":%d,\"accepted\":%" PRIu64
                ",\"refused\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"cancelled\":%" PRIu64 ",\"timed_out\":%" PRIu64
                ",\"failed\":%" PRIu64 "}",
                status, n.running, n.queued, n.slots, bt_http_connections(a->http), n.accepted, n.refused, n.completed,
                n.cancelled, n.timed_out, n.failed);
    reply_scratch(a, c, strcmp(status, "ok") == 0 ? 200 : 503);
}

static const struct route {
    const char *path; /* ends in "/": with one more segment, which may hold slashes */
    bool post;        /* else GET and HEAD */
    void (*serve)(struct bt_api *a, struct bt_http_conn *c);
} ROUTES[] = {
    {"/v1/chat/completions", true, chat}, {"/v1/completions", true, completions},
    {"/v1/models", false, models},        {"/v1/models/", false, one_model},
    {"/health", false, health},
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

static int key_of(const struct bt_api *a, const struct bt_http_conn *c) {
    struct bt_text given = bt_http_authorization(c);
    return bt_keys_find(a->keys, given.data, given.len);
}

uint64_t bt_api_flow(const struct bt_api *a, const struct bt_http_conn *c) {
    return a->keys ? (uint64_t)key_of(a, c) : bt_http_peer(c);
}

/* /health is for those who watch the server, and tells nothing of anybody. */
static bool refuse_stranger(struct bt_api *a, struct bt_http_conn *c) {
    struct bt_api_error e = {.status = 401, .type = "invalid_request_error", .code = "invalid_api_key"};
    if (!a->keys || strcmp(bt_http_path(c), "/health") == 0 || key_of(a, c) >= 0)
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
                 "there is nothing at %.200s: try /v1/chat/completions, /v1/completions, /v1/models or /health",
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
    (void)arg;
    bt_answer_drained(c);
}

static void on_gone(void *arg, struct bt_http_conn *c) {
    (void)arg;
    bt_answer_gone(c);
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
    a->poke(a->poke_arg);
}

struct bt_http_handler bt_api_handler(struct bt_api *a) {
    return (struct bt_http_handler){on_head, on_request, on_drained, on_gone, on_refuse, on_idle, a};
}

void bt_api_init(struct bt_api *a, struct bt_front *front, const char *model_path) {
    const struct bt_frame_ready *r = &bt_front_info(front)->ready;
    const char *slash = model_path ? strrchr(model_path, '/') : NULL;
    a->front = front;
    a->created = time(NULL);
    snprintf(a->file_name, sizeof a->file_name, "%s", slash ? slash + 1 : model_path ? model_path : "");
    a->model.vocab_size = r->info.vocab_size;
    size_t n = 0;
    if (r->info.name[0])
        a->model.names[n++] = r->info.name;
    if (a->file_name[0])
        a->model.names[n++] = a->file_name;
    a->model.names[n++] = "baton";
}

void bt_api_free(struct bt_api *a) {
    bt_buf_free(&a->scratch);
}
