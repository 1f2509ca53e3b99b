/* From a reply to bytes. Everything is appended to the connection's output and written by the pass that follows the
 * event loop's callbacks. State: the connection's. */
#include "serve/http_conn.h"

#include <inttypes.h>
#include <time.h>

enum bt_http_method bt_http_method(const struct bt_http_conn *c) {
    return c->method;
}

const char *bt_http_path(const struct bt_http_conn *c) {
    return c->path;
}

struct bt_text bt_http_body(const struct bt_http_conn *c) {
    return (struct bt_text){(const char *)c->body.data, c->body.len};
}

uint64_t bt_http_id(const struct bt_http_conn *c) {
    return c->id;
}

struct bt_text bt_http_authorization(const struct bt_http_conn *c) {
    return (struct bt_text){c->authorization, c->authorization_len};
}

bool bt_http_origin(const struct bt_http_conn *c, struct bt_text *origin) {
    *origin = (struct bt_text){c->origin, c->origin_len};
    return c->has_origin;
}

void bt_http_allow_origin(struct bt_http_conn *c) {
    c->for_origin = true;
}

uint64_t bt_http_peer(const struct bt_http_conn *c) {
    return c->peer;
}

void bt_http_drop_body(struct bt_http_conn *c) {
    bt_conn_free_body(c);
}

void *bt_http_data(const struct bt_http_conn *c) {
    return c->data;
}

void bt_http_set_data(struct bt_http_conn *c, void *data) {
    c->data = data;
}

static const char *reason(int status) {
    switch (status) {
#define REASON(number, name, text)                                                                                     \
    case number:                                                                                                       \
        return #text;
        HTTP_STATUS_MAP(REASON)
#undef REASON
    }
    return "Unknown";
}

/* Formatted once a second at most. */
static const char *date(struct bt_http *h) {
    time_t now = time(NULL);
    if (now != h->date_at) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(h->date, sizeof h->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        h->date_at = now;
    }
    return h->date;
}

static void head(struct bt_http_conn *c, int status, const char *type, const char *headers) {
    bt_buf_addf(&c->out, "HTTP/1.1 %d %s\r\nDate: %s\r\nx-request-id: %016" PRIx64 "\r\n", status, reason(status),
                date(c->http), c->id);
    if (type)
        bt_buf_addf(&c->out, "Content-Type: %s\r\n", type);
    if (headers)
        bt_buf_adds(&c->out, headers);
    if (c->for_origin)
        bt_buf_addf(&c->out, "Access-Control-Allow-Origin: %.*s\r\nVary: Origin\r\n", (int)c->origin_len, c->origin);
    if (c->http->stopping)
        c->keep = false;
    if (!c->keep)
        bt_buf_adds(&c->out, "Connection: close\r\n");
    else if (!c->http11)
        bt_buf_adds(&c->out, "Connection: keep-alive\r\n");
    c->begun = true;
    c->http->replies[status]++; /* of ours: in range */
}

static void end(struct bt_http_conn *c) {
    c->state = BT_CONN_ENDING;
    c->owes_gone = false;
    bt_conn_free_body(c);
    bt_conn_mark(c);
}

void bt_http_reply(struct bt_http_conn *c, int status, const char *type, const char *headers, const void *body,
                   size_t len) {
    if (c->state != BT_CONN_BUSY)
        return;
    head(c, status, type, headers);
    if (status != 204)
        bt_buf_addf(&c->out, "Content-Length: %zu\r\n", len);
    bt_buf_adds(&c->out, "\r\n");
    if (c->method != BT_HTTP_HEAD)
        bt_buf_add(&c->out, body, len);
    end(c);
}

void bt_http_begin(struct bt_http_conn *c, int status, const char *type) {
    if (c->state != BT_CONN_BUSY)
        return;
    c->chunked = c->http11;
    if (!c->chunked)
        c->keep = false; /* its end is told by closing */
    head(c, status, type,
         c->chunked ? "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n" : "Cache-Control: no-cache\r\n");
    bt_buf_adds(&c->out, "\r\n");
    bt_conn_mark(c);
}

void bt_http_send(struct bt_http_conn *c, const void *data, size_t len) {
    if (c->state != BT_CONN_BUSY || len == 0)
        return;
    if (c->chunked) {
        static const char digits[] = "0123456789abcdef";
        char size[20];
        size_t at = sizeof size;
        size[--at] = '\n';
        size[--at] = '\r';
        for (size_t n = len; n; n >>= 4)
            size[--at] = digits[n & 15];
        bt_buf_add(&c->out, size + at, sizeof size - at);
    }
    bt_buf_add(&c->out, data, len);
    if (c->chunked)
        bt_buf_add(&c->out, "\r\n", 2);
    bt_conn_mark(c);
}

void bt_http_end(struct bt_http_conn *c) {
    if (c->state != BT_CONN_BUSY)
        return;
    if (c->chunked)
        bt_buf_adds(&c->out, "0\r\n\r\n");
    end(c);
}

void bt_http_touch(struct bt_http_conn *c) {
    bt_conn_mark(c);
}
