/* What http.c, http_parse.c and http_reply.c share: the connection itself. */
#ifndef BT_HTTP_CONN_H
#define BT_HTTP_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <http_parser.h>

#include "base/list.h"
#include "serve/http.h"
#include "serve/tls.h"

enum bt_conn_state {
    BT_CONN_HEAD,   /* waits for a request, or is in its header */
    BT_CONN_BODY,   /* in its body */
    BT_CONN_BUSY,   /* the exchange is open */
    BT_CONN_ENDING, /* the reply is complete and on its way out */
    BT_CONN_LINGER, /* we have said our last word; what still comes in is dropped, lest a reset destroys the reply */
    BT_CONN_DEAD,   /* closed; freed when no callback can hold it any more */
};

struct bt_http_conn {
    struct bt_http *http;
    struct bt_list link;  /* in http->conns, or http->dead */
    struct bt_list dirty; /* in http->dirty: has something to write, read or tell */
    struct event io, timer;
    int fd;
    struct bt_tls_conn *tls; /* NULL: plain */
    enum bt_conn_state state;
    uint64_t id, peer;
    void *data;

    /* reading */
    http_parser parser;
    struct bt_buf in; /* read and not parsed: requests behind the open exchange */
    bool readable;    /* the kernel may have more: edge-triggered, so it will not say so again */
    bool owes_gone;   /* the handler knows this exchange: tell it if the client leaves */

    /* the request */
    size_t head_bytes, body_raw;
    struct bt_buf url, body;
    char path[BT_HTTP_PATH_MAX];
    char field[24], value[288]; /* cut: only short ones matter */
    char authorization[288], origin[288];
    size_t field_len, value_len, authorization_len, origin_len;
    bool in_value, expects_continue, coded, transfer_coded, has_origin;
    bool keep, http11;
    enum bt_http_method method;

    /* the reply */
    bool begun, chunked;
    bool for_origin; /* says that the page it comes from may read it */
    struct bt_buf out;
    size_t out_at;
    bool blocked; /* the kernel has no room: wait for EV_WRITE */
    bool touched;
};

struct bt_http {
    struct event_base *base;
    struct bt_http_limits limits;
    struct bt_http_handler handler;
    struct bt_tls *tls;
    int fd, port;
    bool accepting, stopping, in_pass;
    bool starved; /* of descriptors or memory, and has said so */
    struct event accept, retry, wake;
    struct bt_list conns, dirty, dead;
    int n_conns;
    size_t bodies; /* bytes of bodies held */
    uint64_t id_base, id_next;
    uint64_t replies[BT_HTTP_STATUS_MAX];
    time_t date_at;
    char date[40];
    unsigned char scratch[64 << 10];
};

static inline bool bt_conn_reading(const struct bt_http_conn *c) {
    return c->state == BT_CONN_HEAD || c->state == BT_CONN_BODY;
}

/* http.c */
void bt_conn_gone(struct bt_http_conn *c);
void bt_conn_mark(struct bt_http_conn *c);              /* has work for the pass after the callbacks */
void bt_conn_timer(struct bt_http_conn *c, int64_t ms); /* < 0: none */

/* http_parse.c */
void bt_conn_reset(struct bt_http_conn *c);                                       /* for the next request */
void bt_conn_feed(struct bt_http_conn *c, const unsigned char *data, size_t len); /* from the socket */
void bt_conn_refuse(struct bt_http_conn *c, int status, const char *text); /* the rest of the request is not read */
void bt_conn_free_body(struct bt_http_conn *c);

#endif
