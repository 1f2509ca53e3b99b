/* OpenAI's API over the fronts of some models: routes, and the answers that are under way.
 *
 * Callbacks of the front never call the front and never write to a socket: they append to a connection, whose output
 * leaves in the pass behind them; what that frees of the window goes back to the front from there.
 *
 * State: the event loop's thread owns all of it. */
#ifndef BT_API_H
#define BT_API_H

#include "base/list.h"
#include "ipc/front.h"
#include "serve/http.h"
#include "serve/keys.h"
#include "serve/served.h"

/* What a connection's data begins with while a request of it is under way. */
struct bt_exchange {
    void (*gone)(struct bt_http_conn *c);    /* the client has left: frees it */
    void (*drained)(struct bt_http_conn *c); /* what was written has left; may be NULL */
};

struct bt_api {
    struct bt_served_set served;
    struct bt_http *http;
    void (*idle)(void *arg); /* the last exchange has ended: is there something to stop? */
    void *idle_arg;
    const struct bt_keys *keys; /* NULL: anybody may ask */
    const char *origins;        /* web pages that may ask, separated by commas; "*": any; NULL: none */
    size_t body_max;            /* for the text of 413 */
    int64_t created;            /* when the server began, seconds since 1970 */
    bool stopping;
    struct bt_list answers, vectors;
    struct bt_buf scratch;
};

void bt_api_free(struct bt_api *a);
/* For bt_http_params: `arg` is the api. */
struct bt_http_handler bt_api_handler(struct bt_api *a);
/* Cancels every answer that is under way. */
void bt_api_cancel_all(struct bt_api *a);

/* Whose request it is: its API key, else its peer's address. */
uint64_t bt_api_flow(const struct bt_api *a, const struct bt_http_conn *c);

/* answer.c */
void bt_answer_start(struct bt_api *a, struct bt_http_conn *c, bool chat);
/* A status as a reply. Who is told to come back is told when: after the queue that is there now. */
int64_t bt_api_restart_seconds(const struct bt_front *f); /* until some owner may be ready; 0: one is */
void bt_api_reply_status(struct bt_api *a, const struct bt_served *m, struct bt_http_conn *c, baton_status status,
                         const char *text);
/* vectors.c */
void bt_vectors_start(struct bt_api *a, struct bt_http_conn *c);
void bt_rerank_start(struct bt_api *a, struct bt_http_conn *c);
void bt_vectors_cancel_all(struct bt_api *a);
void bt_tokenize_start(struct bt_api *a, struct bt_http_conn *c);
void bt_detokenize_start(struct bt_api *a, struct bt_http_conn *c);
void bt_api_reply_error(struct bt_api *a, struct bt_http_conn *c, const struct bt_api_error *e, const char *headers);

#endif
