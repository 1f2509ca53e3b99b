/* HTTP/1.1 for one event loop: connections, limits, replies; knows nothing of models. libevent tells when, http_parser
 * reads the grammar, and this folder's own code decides.
 *
 * An exchange is one request and its reply. It is open from on_request (or a reply given in on_head) until
 * bt_http_reply or bt_http_end, or until on_gone, whichever comes first. While it is open nothing more is read from
 * its connection, so that pipelined requests are answered in order and the kernel pushes back on the rest; that the
 * client has left is noticed all the same, without writing (EPOLLRDHUP, EPOLLERR). A half-closed client counts as gone:
 * one cannot tell the two apart.
 *
 * State: all of it belongs to the thread that runs the event loop. */
#ifndef BT_HTTP_H
#define BT_HTTP_H

#include "base/base.h"

struct event_base;
struct bt_http;
struct bt_http_conn;
struct bt_tls;

enum {
    BT_HTTP_HEADER_MAX = 16 << 10,
    BT_HTTP_PATH_MAX = 1024,
    BT_HTTP_BODIES_MAX = 256 << 20, /* bytes of request bodies held at once, all connections together */
    BT_HTTP_LINGER_MS = 2000,       /* how long a refused client may take to read why */
    BT_HTTP_SNDBUF = 32 << 10,      /* small, so that a reader that stops is felt soon */
    BT_HTTP_BACKLOG = 512,
    BT_HTTP_RETRY_MS = 200, /* until the next try to accept, when there were no descriptors */
    BT_HTTP_STATUS_MAX = 600,
    BT_HTTP_REFUSED_MAX = 64, /* connections over the limit that are told so at a time; more are just closed */
};

struct bt_http_limits {
    int connections;
    size_t body_max;
    int64_t header_ms; /* first to last byte of a header */
    int64_t body_ms;   /* first to last byte of a body */
    int64_t idle_ms;   /* between requests */
    int64_t write_ms;  /* without the client taking a byte of what waits for it */
};

enum bt_http_method { BT_HTTP_GET, BT_HTTP_HEAD, BT_HTTP_POST, BT_HTTP_OPTIONS, BT_HTTP_OTHER };

struct bt_http_handler {
    void (*on_head)(void *arg, struct bt_http_conn *c);    /* may reply: then the body is not read */
    void (*on_request)(void *arg, struct bt_http_conn *c); /* the body is whole; replies now or later */
    void (*on_drained)(void *arg, struct bt_http_conn *c); /* all that was sent so far has left */
    void (*on_gone)(void *arg, struct bt_http_conn *c);    /* the client left before the exchange had ended */
    /* The limits' own refusals, in the words of the API that is served: must call bt_http_reply. */
    void (*on_refuse)(void *arg, struct bt_http_conn *c, int status, const char *text);
    void (*on_idle)(void *arg); /* stopping, and the last exchange has ended */
    void *arg;
};

struct bt_http_params {
    struct event_base *base; /* with EV_FEATURE_ET and EV_FEATURE_EARLY_CLOSE */
    const char *host;
    int port; /* 0 picks one */
    struct bt_http_limits limits;
    struct bt_http_handler handler;
    struct bt_tls *tls; /* borrowed; NULL: plain HTTP */
};

/* Binds, so that an address in use is told before anything slow is done; bt_http_listen lets clients in. */
baton_status bt_http_open(const struct bt_http_params *params, struct bt_http **http, baton_error *err);
baton_status bt_http_listen(struct bt_http *http, baton_error *err);
int bt_http_port(const struct bt_http *http);
/* No new connections, idle ones are closed, the others after the exchange they are in. */
void bt_http_stop(struct bt_http *http);
int bt_http_busy(const struct bt_http *http); /* connections with something still to do */
int bt_http_connections(const struct bt_http *http);
uint64_t bt_http_replies(const struct bt_http *http, int status); /* so many have begun; below BT_HTTP_STATUS_MAX */
void bt_http_close(struct bt_http **http);                        /* on_gone for every open exchange */

/* The request. Path is without query, percent-decoded; everything is borrowed until the exchange ends. */
enum bt_http_method bt_http_method(const struct bt_http_conn *c);
const char *bt_http_path(const struct bt_http_conn *c);
struct bt_text bt_http_body(const struct bt_http_conn *c);
uint64_t bt_http_id(const struct bt_http_conn *c);                  /* what x-request-id says */
struct bt_text bt_http_authorization(const struct bt_http_conn *c); /* the header's value, not NUL-terminated */
/* The web page that sent it: the header's value, not NUL-terminated; false where there is none. */
bool bt_http_origin(const struct bt_http_conn *c, struct bt_text *origin);
void bt_http_allow_origin(struct bt_http_conn *c);   /* the reply will say that this page may read it */
uint64_t bt_http_peer(const struct bt_http_conn *c); /* the same for all connections of one address */
void bt_http_drop_body(struct bt_http_conn *c);      /* frees it early: an answer may take minutes */

void *bt_http_data(const struct bt_http_conn *c);
void bt_http_set_data(struct bt_http_conn *c, void *data);

/* A whole reply. `headers`: more header lines, each with CRLF; may be NULL. */
void bt_http_reply(struct bt_http_conn *c, int status, const char *type, const char *headers, const void *body,
                   size_t len);
/* A reply in pieces. Written when the event loop has run its callbacks: one write per connection, however many pieces.
 */
void bt_http_begin(struct bt_http_conn *c, int status, const char *type);
void bt_http_send(struct bt_http_conn *c, const void *data, size_t len);
void bt_http_end(struct bt_http_conn *c);
/* on_drained will be called although there may be nothing to send. */
void bt_http_touch(struct bt_http_conn *c);

#endif
