/* A small HTTP client for one streamed answer: what `baton demo` and the benches speak to a server with. One connection
 * per request; the caller polls the descriptor. */
#ifndef BT_SSE_H
#define BT_SSE_H

#include <http_parser.h>

#include "base/base.h"

struct bt_sse {
    int fd; /* -1: over */
    int http_status;
    bool complete; /* data: [DONE] came */
    http_parser parser;
    struct bt_buf line;
    /* The payload of one "data: ..." line, NUL-terminated; or, when http_status is not 200, a line of the body. */
    void (*on_data)(void *arg, const char *data, size_t len);
    void *arg;
};

/* Connects to 127.0.0.1 (blocks: loopback) and sends a POST of the JSON body. */
baton_status bt_sse_open(struct bt_sse *s, int port, const char *path, const char *body, size_t len,
                         void (*on_data)(void *arg, const char *data, size_t len), void *arg, baton_error *err);

/* Reads what is there. BATON_OK: more may come. BATON_END: the response is complete. BATON_IO: it broke off. */
baton_status bt_sse_read(struct bt_sse *s);

void bt_sse_close(struct bt_sse *s);

#endif
