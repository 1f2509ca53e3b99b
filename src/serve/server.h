/* `baton serve`: an HTTP server over the fronts of one or more models, in one thread and without a lock. */
#ifndef BT_SERVER_H
#define BT_SERVER_H

#include "ipc/front.h"
#include "serve/http.h"
#include "serve/served.h"

struct bt_serve_model {
    const char *name; /* borrowed; NULL: what its file says */
    struct bt_front_params front;
};

struct bt_serve_params {
    const struct bt_serve_model *models; /* borrowed: 1 .. BT_SERVED_MAX; the first answers who names none */
    int n_models;
    const struct bt_serve_role *roles; /* borrowed */
    int n_roles;
    const char *host;               /* borrowed */
    int port;                       /* 0 picks one */
    const char *key_file;           /* borrowed; NULL: anybody who can connect may ask */
    const char *origins;            /* borrowed; see bt_api */
    const char *tls_cert, *tls_key; /* borrowed; both NULL: plain HTTP */
    struct bt_http_limits limits;
    int64_t drain_ms; /* after SIGINT or SIGTERM: how long answers may go on */
};

/* Loads one model after the other, listens, says "listening on http://HOST:PORT" on stdout, serves until SIGINT or
 * SIGTERM (a second one ends it at once). BATON_OK: ended by a signal. Blocks. Call from the main thread, once. */
baton_status bt_serve(const struct bt_serve_params *params, baton_error *err);

#endif
