/* One answer: from a request's body to its last byte, or to its client's leaving. The answer owns its texts and its
 * place in the front; it ends in exactly one of finish(), which the front calls, and answer_gone.
 *
 * State: the event loop's thread. */
#include "serve/api.h"
#include "serve/openai_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char JSON[] = "application/json", EVENTS[] = "text/event-stream";

struct answer {
    struct bt_exchange exchange;
    struct bt_api *api;
    struct bt_served *model;
    struct bt_http_conn *conn;
    struct bt_request *request; /* NULL once the front has said its last */
    struct bt_list link;
    struct bt_openai_out out;
    bool stream, begun;
    uint32_t unacked;           /* pieces that have not left yet */
    struct bt_buf text;         /* of an answer that is not streamed */
    int64_t since_ns, first_ns; /* came; had its first text, 0: not yet */
};

static void answer_free(struct answer *w) {
    bt_list_remove(&w->link);
    bt_openai_out_free(&w->out);
    bt_buf_free(&w->text);
    free(w);
}

void bt_api_reply_error(struct bt_api *a, struct bt_http_conn *c, const struct bt_api_error *e, const char *headers) {
    a->scratch.len = 0;
    bt_openai_error(e, &a->scratch);
    bt_http_reply(c, e->status, JSON, headers, a->scratch.data, a->scratch.len);
}

int64_t bt_api_restart_seconds(const struct bt_front *f) {
    struct bt_front_health h;
    int64_t soonest = BT_NEVER_NS;
    for (int i = 0; i < bt_front_info(f)->contexts; i++) {
        bt_front_health(f, i, &h);
        if (h.ready)
            return 0;
        if (!h.gone)
            soonest = BT_MIN(soonest, h.retry_ns);
    }
    return soonest == BT_NEVER_NS ? 60 : BT_MAX(soonest - bt_now_ns(), 0) / BT_NS_PER_S + 1;
}

void bt_api_reply_status(struct bt_api *a, const struct bt_served *m, struct bt_http_conn *c, baton_status status,
                         const char *text) {
    struct bt_api_error e;
    struct bt_front_counts n;
    char retry[40];
    bt_openai_status_error(status, text, &e);
    bt_front_counts(m->front, &n);
    int64_t seconds =
        m->mean_ns / BT_NS_PER_S * (n.queued + 1) / BT_MAX(n.slots, 1) + 1 + bt_api_restart_seconds(m->front);
    snprintf(retry, sizeof retry, "Retry-After: %d\r\n", (int)BT_MIN(seconds, 60));
    bt_api_reply_error(a, c, &e, e.status == 429 || e.status == 503 ? retry : NULL);
}

static void begin(struct answer *w, struct bt_buf *b) {
    if (w->begun)
        return;
    w->begun = true;
    bt_http_begin(w->conn, 200, EVENTS);
    bt_openai_first(&w->out, b);
}

static void on_text(void *arg, const char *text, size_t len) {
    struct answer *w = arg;
    struct bt_buf *b = &w->api->scratch;
    w->unacked++;
    w->model->metrics.answer_tokens++;
    if (BT_UNLIKELY(w->first_ns == 0 && len > 0)) {
        w->first_ns = bt_now_ns();
        bt_metrics_first_text(&w->model->metrics, w->first_ns - w->since_ns);
    }
    b->len = 0;
    if (w->stream) {
        begin(w, b);
        if (len > 0)
            bt_openai_piece(&w->out, text, len, b);
        bt_http_send(w->conn, b->data, b->len);
    } else {
        bt_buf_add(&w->text, text, len);
    }
    bt_http_touch(w->conn);
}

static void completed(struct answer *w, const struct bt_outcome *o) {
    struct bt_buf *b = &w->api->scratch;
    int64_t took = bt_now_ns() - w->since_ns;
    w->model->mean_ns += (took - w->model->mean_ns) / 8;
    b->len = 0;
    if (w->stream) {
        begin(w, b);
        bt_openai_last(&w->out, o, b);
        bt_http_send(w->conn, b->data, b->len);
        bt_http_end(w->conn);
    } else if (w->text.failed) {
        bt_api_reply_status(w->api, w->model, w->conn, BATON_NO_MEMORY, "");
    } else {
        bt_openai_whole(&w->out, o, (const char *)w->text.data, w->text.len, b);
        bt_http_reply(w->conn, 200, JSON, NULL, b->data, b->len);
    }
}

/* A cut text is never reported as finished: no finish_reason and no [DONE] after it. */
static void cut(struct answer *w, const struct bt_outcome *o) {
    struct bt_buf *b = &w->api->scratch;
    struct bt_api_error e;
    if (!w->begun) {
        bt_api_reply_status(w->api, w->model, w->conn, o->status, o->error);
        return;
    }
    b->len = 0;
    bt_openai_status_error(o->status, o->error, &e);
    bt_openai_error_event(&e, b);
    bt_http_send(w->conn, b->data, b->len);
    bt_http_end(w->conn);
}

static void on_done(void *arg, const struct bt_outcome *o) {
    struct answer *w = arg;
    int64_t now = bt_now_ns();
    w->request = NULL;
    bt_metrics_done(&w->model->metrics, o, now - w->since_ns, w->first_ns ? now - w->first_ns : -1);
    bt_http_set_data(w->conn, NULL);
    if (o->status == BATON_OK)
        completed(w, o);
    else
        cut(w, o);
    if (w->api->scratch.failed) { /* the connection has failed with it, or sends an empty body: start afresh */
        bt_buf_free(&w->api->scratch);
    }
    answer_free(w);
}

static void answer_drained(struct bt_http_conn *c) {
    struct answer *w = bt_http_data(c);
    if (!w->request || w->unacked == 0)
        return;
    uint32_t n = w->unacked;
    w->unacked = 0;
    bt_request_consumed(w->request, n);
    w->model->poke(w->model->poke_arg);
}

static void answer_gone(struct bt_http_conn *c) {
    struct answer *w = bt_http_data(c);
    struct bt_served *m = w->model;
    bt_http_set_data(c, NULL);
    m->metrics.gone++;
    if (w->request)
        bt_request_abandon(w->request);
    answer_free(w);
    m->poke(m->poke_arg);
}

static baton_status submit(struct answer *w, struct bt_openai_request *r, baton_error *err) {
    const struct bt_handler handler = {.on_text = on_text, .on_done = on_done, .arg = w};
    r->submit.window = BT_WINDOW;
    r->submit.flow = bt_api_flow(w->api, w->conn);
    return bt_front_submit(w->model->front, &r->submit, NULL, &handler, &w->request, err);
}

void bt_answer_start(struct bt_api *a, struct bt_http_conn *c, bool chat) {
    static const struct bt_exchange exchange = {answer_gone, answer_drained};
    struct bt_openai_request r;
    struct bt_api_error e;
    struct bt_text body = bt_http_body(c);
    baton_error err = {.text = ""};
    const struct bt_openai_models models = {bt_served_choose, &a->served};
    if (!bt_openai_parse(&r, chat, body.data, body.len, &models, bt_random64(), &e)) {
        bt_api_reply_error(a, c, &e, NULL);
        return;
    }
    struct bt_served *m = BT_CONTAINER(r.model, struct bt_served, openai);
    bt_http_drop_body(c);
    struct answer *w = calloc(1, sizeof *w);
    baton_status st = BATON_NO_MEMORY;
    if (w) {
        *w = (struct answer){
            .exchange = exchange, .api = a, .model = m, .conn = c, .stream = r.stream, .since_ns = bt_now_ns()};
        bt_list_append(&a->answers, &w->link);
        if (bt_openai_out_init(&w->out, chat, r.include_usage, bt_http_id(c), time(NULL), m->names[0]))
            st = submit(w, &r, &err);
    }
    bt_openai_request_free(&r);
    if (st == BATON_OK) {
        bt_http_set_data(c, w);
        m->poke(m->poke_arg);
        return;
    }
    if (w)
        answer_free(w);
    bt_metrics_outcome(&m->metrics, st);
    bt_api_reply_status(a, m, c, st, err.text);
}

void bt_api_cancel_all(struct bt_api *a) {
    bt_vectors_cancel_all(a);
    struct bt_list *l = a->answers.next, *next;
    for (; l != &a->answers; l = next) { /* a cancel may end its own answer, no other */
        struct answer *w = BT_CONTAINER(l, struct answer, link);
        next = l->next;
        struct bt_served *m = w->model;
        if (w->request) {
            bt_request_cancel(w->request, BATON_CANCELLED);
            m->poke(m->poke_arg);
        }
    }
}
