/* Vectors and scores over HTTP: one request from its body to its reply, or to its client's leaving; and the vocabulary.
 *
 * An exchange ends in exactly one of its handler's last word and gone(). State: the event loop's thread. */
#include "serve/api.h"
#include "serve/embed_out.h"
#include "serve/openai_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char JSON[] = "application/json";

struct vectors {
    struct bt_exchange exchange;
    struct bt_api *api;
    struct bt_served *model;
    struct bt_http_conn *conn;
    struct bt_request *request; /* NULL once the front has said its last */
    struct bt_list link;
    struct bt_embed_request asked;
    struct bt_buf records; /* wire/frame.h: BT_RECORD_BYTES */
    int64_t since_ns;
};

struct words {
    struct bt_exchange exchange;
    struct bt_api *api;
    struct bt_served *model;
    struct bt_http_conn *conn;
    uint64_t call;
    enum bt_call_op op;
    struct bt_buf result;
};

static void vectors_free(struct vectors *v) {
    bt_list_remove(&v->link);
    bt_embed_request_free(&v->asked);
    bt_buf_free(&v->records);
    free(v);
}

static void on_data(void *arg, const char *bytes, size_t len) {
    struct vectors *v = arg;
    bt_buf_add(&v->records, bytes, len);
    bt_http_touch(v->conn);
}

static void reply(struct vectors *v, const struct bt_outcome *o) {
    struct bt_buf *b = &v->api->scratch;
    struct bt_text records = {(const char *)v->records.data, v->records.len};
    b->len = 0;
    baton_status st = v->records.failed ? BATON_NO_MEMORY
                                        : bt_embed_out(&v->asked, v->model->names[0],
                                                       bt_front_info(v->model->front)->ready.width, records, o, b);
    if (st == BATON_OK)
        bt_http_reply(v->conn, 200, JSON, NULL, b->data, b->len);
    else
        bt_api_reply_status(v->api, v->model, v->conn, st,
                            st == BATON_FAILED ? "the native library computed no numbers" : "");
}

static void on_done(void *arg, const struct bt_outcome *o) {
    struct vectors *v = arg;
    int64_t took = bt_now_ns() - v->since_ns;
    v->request = NULL;
    bt_metrics_done(&v->model->metrics, o, took, -1);
    bt_http_set_data(v->conn, NULL);
    if (o->status == BATON_OK) {
        v->model->mean_ns += (took - v->model->mean_ns) / 8;
        reply(v, o);
    } else {
        bt_api_reply_status(v->api, v->model, v->conn, o->status, o->error);
    }
    if (v->api->scratch.failed)
        bt_buf_free(&v->api->scratch);
    vectors_free(v);
}

static void vectors_gone(struct bt_http_conn *c) {
    struct vectors *v = bt_http_data(c);
    struct bt_served *m = v->model;
    bt_http_set_data(c, NULL);
    m->metrics.gone++;
    if (v->request)
        bt_request_abandon(v->request);
    vectors_free(v);
    m->poke(m->poke_arg);
}

static baton_status submit(struct vectors *v, baton_error *err) {
    const struct bt_handler handler = {.on_done = on_done, .arg = v, .on_data = on_data};
    v->asked.submit.flow = bt_api_flow(v->api, v->conn);
    return bt_front_submit(v->model->front, &v->asked.submit, NULL, &handler, &v->request, err);
}

static void start(struct bt_api *a, struct bt_http_conn *c, bool rerank) {
    static const struct bt_exchange exchange = {vectors_gone, NULL};
    struct bt_embed_request r;
    struct bt_api_error e;
    struct bt_text body = bt_http_body(c);
    baton_error err = {.text = ""};
    const struct bt_openai_models models = {bt_served_choose, &a->served};
    bool fine = rerank ? bt_rerank_parse(&r, body.data, body.len, &models, &e)
                       : bt_embed_parse(&r, body.data, body.len, &models, &e);
    struct bt_served *m = fine ? BT_CONTAINER(r.model, struct bt_served, openai) : NULL;
    if (fine && !bt_embed_fits(&r, m->names[0], bt_front_info(m->front)->ready.width, &e)) {
        bt_embed_request_free(&r);
        fine = false;
    }
    if (!fine) {
        bt_api_reply_error(a, c, &e, NULL);
        return;
    }
    bt_http_drop_body(c);
    struct vectors *v = calloc(1, sizeof *v);
    baton_status st = BATON_NO_MEMORY;
    if (v) {
        *v = (struct vectors){
            .exchange = exchange, .api = a, .model = m, .conn = c, .asked = r, .since_ns = bt_now_ns()};
        bt_list_append(&a->vectors, &v->link);
        st = submit(v, &err);
    } else {
        bt_embed_request_free(&r);
    }
    if (st == BATON_OK) {
        bt_http_set_data(c, v);
        m->poke(m->poke_arg);
        return;
    }
    if (v)
        vectors_free(v);
    bt_metrics_outcome(&m->metrics, st);
    bt_api_reply_status(a, m, c, st, err.text);
}

void bt_vectors_start(struct bt_api *a, struct bt_http_conn *c) {
    start(a, c, false);
}

void bt_rerank_start(struct bt_api *a, struct bt_http_conn *c) {
    start(a, c, true);
}

void bt_vectors_cancel_all(struct bt_api *a) {
    for (struct bt_list *l = a->vectors.next, *next; l != &a->vectors; l = next) {
        struct vectors *v = BT_CONTAINER(l, struct vectors, link);
        struct bt_served *m = v->model;
        next = l->next;
        if (v->request) {
            bt_request_cancel(v->request, BATON_CANCELLED);
            m->poke(m->poke_arg);
        }
    }
}

static void words_free(struct words *w) {
    bt_buf_free(&w->result);
    free(w);
}

static void on_words(void *arg, const char *bytes, size_t len) {
    struct words *w = arg;
    bt_buf_add(&w->result, bytes, len);
}

/* False: out of memory. */
static bool put_words(const struct words *w, struct bt_buf *b) {
    bt_token *tokens;
    size_t n;
    if (w->op == BT_CALL_DETOKENIZE) {
        bt_buf_adds(b, "{\"content\":");
        bt_json_string(b, (const char *)w->result.data, w->result.len);
        bt_buf_adds(b, "}");
        return !w->result.failed;
    }
    if (w->result.failed || bt_get_tokens(w->result.data, w->result.len, &tokens, &n))
        return false;
    bt_buf_adds(b, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++)
        bt_buf_addf(b, i ? ",%d" : "%d", (int)tokens[i]);
    bt_buf_addf(b, "],\"count\":%zu}", n);
    free(tokens);
    return true;
}

static void on_reply(void *arg, baton_status status, const char *text) {
    struct words *w = arg;
    struct bt_buf *b = &w->api->scratch;
    bt_http_set_data(w->conn, NULL);
    b->len = 0;
    if (!status && !put_words(w, b))
        status = BATON_NO_MEMORY;
    if (status)
        bt_api_reply_status(w->api, w->model, w->conn, status, text);
    else
        bt_http_reply(w->conn, 200, JSON, NULL, b->data, b->len);
    if (b->failed)
        bt_buf_free(b);
    words_free(w);
}

static void words_gone(struct bt_http_conn *c) {
    struct words *w = bt_http_data(c);
    struct bt_served *m = w->model;
    bt_http_set_data(c, NULL);
    bt_front_call_drop(m->front, w->call);
    words_free(w);
    m->poke(m->poke_arg);
}

static void ask(struct bt_api *a, struct bt_http_conn *c, bool detokenize) {
    static const struct bt_exchange exchange = {words_gone, NULL};
    struct bt_words_request r;
    struct bt_api_error e;
    struct bt_text body = bt_http_body(c);
    baton_error err = {.text = ""};
    const struct bt_openai_models models = {bt_served_choose, &a->served};
    if (!(detokenize ? bt_detokenize_parse : bt_tokenize_parse)(&r, body.data, body.len, &models, &e)) {
        bt_api_reply_error(a, c, &e, NULL);
        return;
    }
    struct bt_served *m = BT_CONTAINER(r.model, struct bt_served, openai);
    bt_http_drop_body(c);
    struct words *w = calloc(1, sizeof *w);
    const struct bt_call_handler handler = {on_words, on_reply, w};
    baton_status st = BATON_NO_MEMORY;
    if (w) {
        *w = (struct words){.exchange = exchange, .api = a, .model = m, .conn = c, .op = r.call.op};
        st = bt_front_call(m->front, -1, &r.call, &handler, &err);
        w->call = r.call.id;
    }
    bt_words_request_free(&r);
    if (st == BATON_OK) {
        bt_http_set_data(c, w);
        m->poke(m->poke_arg);
        return;
    }
    free(w);
    bt_api_reply_status(a, m, c, st, err.text);
}

void bt_tokenize_start(struct bt_api *a, struct bt_http_conn *c) {
    ask(a, c, false);
}

void bt_detokenize_start(struct bt_api *a, struct bt_http_conn *c) {
    ask(a, c, true);
}
