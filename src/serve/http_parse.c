/* From bytes to a request: the parser's callbacks and the limits of size. A connection's parse state belongs to the
 * event loop's thread.
 *
 * Invariant: when the parser has seen the end of a message it is paused, and what follows it waits in c->in until the
 * exchange has ended: two exchanges of one connection are never open at once. */
#include "serve/http_conn.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void bt_conn_free_body(struct bt_http_conn *c) {
    c->http->bodies -= c->body.cap;
    bt_buf_free(&c->body);
}

void bt_conn_refuse(struct bt_http_conn *c, int status, const char *text) {
    c->keep = false;
    c->state = BT_CONN_BUSY;
    bt_conn_timer(c, -1);
    c->http->handler.on_refuse(c->http->handler.arg, c, status, text);
}

/* The one place where a header's value is looked at: it is whole when the next field, or the end, begins. */
static void header_done(struct bt_http_conn *c) {
    if (!c->in_value)
        return;
    while (c->value_len > 0 && (c->value[c->value_len - 1] == ' ' || c->value[c->value_len - 1] == '\t'))
        c->value_len--;
    if (c->field_len == 17 && strncasecmp(c->field, "transfer-encoding", 17) == 0)
        c->transfer_coded = !(c->value_len == 7 && strncasecmp(c->value, "chunked", 7) == 0) || c->transfer_coded;
    if (c->field_len == 6 && strncasecmp(c->field, "expect", 6) == 0)
        c->expects_continue = c->value_len == 12 && strncasecmp(c->value, "100-continue", 12) == 0;
    if (c->field_len == 16 && strncasecmp(c->field, "content-encoding", 16) == 0)
        c->coded = !(c->value_len == 8 && strncasecmp(c->value, "identity", 8) == 0);
    if (c->field_len == 13 && strncasecmp(c->field, "authorization", 13) == 0) {
        memcpy(c->authorization, c->value, c->value_len);
        c->authorization_len = c->value_len;
    }
    if (c->field_len == 6 && strncasecmp(c->field, "origin", 6) == 0) {
        memcpy(c->origin, c->value, c->value_len);
        c->origin_len = c->value_len;
        c->has_origin = true;
    }
    c->in_value = false;
    c->field_len = c->value_len = 0;
}

static void add_cut(char *to, size_t size, size_t *len, const char *from, size_t n) {
    for (size_t i = 0; i < n && *len < size; i++)
        to[(*len)++] = from[i];
}

static int on_url(http_parser *p, const char *at, size_t len) {
    struct bt_http_conn *c = p->data;
    bt_buf_add(&c->url, at, len);
    return 0;
}

static int on_field(http_parser *p, const char *at, size_t len) {
    struct bt_http_conn *c = p->data;
    if (c->state != BT_CONN_HEAD)
        return 0; /* a trailer: says nothing that is heard */
    header_done(c);
    if (memchr(at, ' ', len)) /* the parser overlooks it, a proxy in front may not: then they differ on where it ends */
        return bt_conn_refuse(c, 400, "this is not HTTP/1.1: there is a space in the name of a header"), -1;
    add_cut(c->field, sizeof c->field, &c->field_len, at, len);
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t len) {
    struct bt_http_conn *c = p->data;
    if (c->state != BT_CONN_HEAD)
        return 0;
    c->in_value = true;
    add_cut(c->value, sizeof c->value, &c->value_len, at, len);
    return 0;
}

static int hex(unsigned char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* "/v1/models/a%2Fb?x=1" to "/v1/models/a/b". False when it is too long, or hides a NUL. */
static bool take_path(struct bt_http_conn *c) {
    struct http_parser_url u;
    const unsigned char *s = c->url.data;
    http_parser_url_init(&u);
    if (c->url.failed || http_parser_parse_url((const char *)s, c->url.len, 0, &u) != 0 ||
        !(u.field_set & (1 << UF_PATH)))
        return false;
    size_t at = u.field_data[UF_PATH].off, end = at + u.field_data[UF_PATH].len, n = 0;
    for (; at < end; at++) {
        int hi = s[at] == '%' && at + 2 < end ? hex(s[at + 1]) : -1;
        int lo = hi >= 0 ? hex(s[at + 2]) : -1;
        char out = (char)s[at];
        if (lo >= 0) {
            out = (char)(hi << 4 | lo);
            at += 2;
        }
        if (out == '\0' || n + 1 >= sizeof c->path)
            return false;
        c->path[n++] = out;
    }
    c->path[n] = '\0';
    return true;
}

static enum bt_http_method method_of(const http_parser *p) {
    switch (p->method) {
    case HTTP_GET:
        return BT_HTTP_GET;
    case HTTP_HEAD:
        return BT_HTTP_HEAD;
    case HTTP_POST:
        return BT_HTTP_POST;
    case HTTP_OPTIONS:
        return BT_HTTP_OPTIONS;
    default:
        return BT_HTTP_OTHER;
    }
}

/* Returns what the parser wants: 0 goes on, -1 stops it (the reply is on its way). */
static int on_headers(http_parser *p) {
    struct bt_http_conn *c = p->data;
    struct bt_http *h = c->http;
    bool sized = p->content_length != UINT64_MAX, has_body = (p->flags & F_CHUNKED) || (sized && p->content_length > 0);
    header_done(c);
    p->upgrade = 0; /* an offer that one may ignore: we speak HTTP/1.1 */
    c->method = method_of(p);
    c->http11 = p->http_major == 1 && p->http_minor >= 1;
    bool keep = http_should_keep_alive(p) && !h->stopping && p->method != HTTP_CONNECT;
    c->keep = keep && !has_body; /* a reply from here on leaves the body unread */
    if (p->http_major != 1)
        return bt_conn_refuse(c, 505, "the HTTP version is not 1.0 or 1.1"), -1;
    if (c->transfer_coded)
        return bt_conn_refuse(c, 501, "the body has a Transfer-Encoding that is not just chunked"), -1;
    if (!take_path(c))
        return bt_conn_refuse(c, 400, "the request target is not a path of at most 1023 bytes"), -1;
    c->state = BT_CONN_BUSY;
    h->handler.on_head(h->handler.arg, c);
    if (c->state != BT_CONN_BUSY)
        return has_body ? -1 : 0;
    c->state = BT_CONN_BODY;
    c->keep = keep;
    if (sized && p->content_length > h->limits.body_max)
        return bt_conn_refuse(c, 413, NULL), -1;
    if (c->coded && has_body)
        return bt_conn_refuse(c, 415, "the body has a Content-Encoding: send it plain"), -1;
    if (has_body)
        bt_conn_timer(c, h->limits.body_ms);
    if (c->expects_continue && has_body && c->http11) {
        bt_buf_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        bt_conn_mark(c);
    }
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t len) {
    struct bt_http_conn *c = p->data;
    struct bt_http *h = c->http;
    if (c->body.len + len > h->limits.body_max)
        return bt_conn_refuse(c, 413, NULL), -1;
    size_t had = c->body.cap;
    bt_buf_reserve(&c->body, len + 1);
    h->bodies += c->body.cap - had;
    if (c->body.failed || h->bodies > BT_HTTP_BODIES_MAX)
        return bt_conn_refuse(c, 503, "too many large requests at once: try again later"), -1;
    bt_buf_add(&c->body, at, len);
    return 0;
}

static int on_complete(http_parser *p) {
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void bt_conn_reset(struct bt_http_conn *c) {
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    c->state = BT_CONN_HEAD;
    c->head_bytes = c->body_raw = c->field_len = c->value_len = c->authorization_len = c->origin_len = 0;
    c->url.len = 0;
    bt_conn_free_body(c);
    c->in_value = c->expects_continue = c->coded = c->transfer_coded = c->has_origin = c->for_origin = c->keep =
        c->http11 = c->begun = c->chunked = false;
    c->method = BT_HTTP_GET;
    c->path[0] = '\0';
    c->data = NULL;
    c->id = bt_mix64(c->http->id_base + c->http->id_next++);
}

/* One request is whole; `rest` is behind it. */
static void complete(struct bt_http_conn *c, const unsigned char *rest, size_t len) {
    struct bt_http *h = c->http;
    bt_buf_add(&c->in, rest, len);
    if (c->in.failed) {
        bt_conn_gone(c);
        return;
    }
    if (!bt_conn_reading(c))
        return; /* was answered by its header alone */
    bt_conn_timer(c, -1);
    c->state = BT_CONN_BUSY;
    c->owes_gone = true;
    h->handler.on_request(h->handler.arg, c);
}

void bt_conn_feed(struct bt_http_conn *c, const unsigned char *data, size_t len) {
    const size_t raw_max = c->http->limits.body_max + c->http->limits.body_max / 4 + BT_HTTP_HEADER_MAX;
    while (len > 0 && bt_conn_reading(c)) {
        bool in_head = c->state == BT_CONN_HEAD;
        if (in_head && c->head_bytes == 0)
            bt_conn_timer(c, c->http->limits.header_ms);
        size_t piece = in_head ? BT_MIN(len, BT_HTTP_HEADER_MAX - c->head_bytes) : len;
        size_t n = http_parser_execute(&c->parser, &settings, (const char *)data, piece);
        enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
        if (error == HPE_PAUSED) {
            complete(c, data + n, len - n);
            return;
        }
        if (!bt_conn_reading(c))
            return; /* refused */
        if (error != HPE_OK) {
            char text[128];
            snprintf(text, sizeof text, "this is not HTTP/1.1: %s", http_errno_description(error));
            bt_conn_refuse(c, 400, text);
            return;
        }
        data += n;
        len -= n;
        *(in_head ? &c->head_bytes : &c->body_raw) += n;
        if (c->state == BT_CONN_HEAD && c->head_bytes >= BT_HTTP_HEADER_MAX)
            bt_conn_refuse(c, 431, "the request's header is longer than 16384 bytes");
        else if (c->state == BT_CONN_BODY && c->body_raw > raw_max)
            bt_conn_refuse(c, 413, NULL);
    }
}
