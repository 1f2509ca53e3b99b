/* Jobs from frames, and their end. Owns no state. */
#include "owner/request.h"

#include <stdlib.h>

static void *job_new(size_t size, enum bt_job_kind kind, struct bt_body *body) {
    struct bt_job *job = calloc(1, size);
    if (job) {
        job->kind = kind;
        job->body = body;
    }
    return job;
}

/* `job` is not decoded: it goes with its body. */
static void *refuse(void *job, struct bt_body *body, baton_status status, const char *what, baton_error *err) {
    bt_fail(err, status, "a %s of %zu bytes %s", what, body->bytes.len,
            status == BATON_NO_MEMORY ? "finds no memory" : "is malformed");
    free(job);
    bt_body_free(body);
    return NULL;
}

struct bt_owner_request *bt_owner_request_new(struct bt_body *body, baton_error *err) {
    struct bt_owner_request *r = job_new(sizeof *r, BT_JOB_REQUEST, body);
    baton_status status = r ? bt_get_submit(&body->head, body->bytes.data, body->bytes.len, &r->ask) : BATON_NO_MEMORY;
    if (status)
        return refuse(r, body, status, "SUBMIT", err);
    r->seq = -1;
    r->asked = r->ask.n_inputs;
    bt_list_init(&r->link);
    return r;
}

struct bt_owner_more *bt_owner_more_new(struct bt_body *body, baton_error *err) {
    struct bt_owner_more *m = job_new(sizeof *m, BT_JOB_MORE, body);
    baton_status status = m ? bt_get_more(body->bytes.data, body->bytes.len, &m->ask) : BATON_NO_MEMORY;
    return status ? refuse(m, body, status, "MORE", err) : m;
}

struct bt_owner_call *bt_owner_call_new(struct bt_body *body, baton_error *err) {
    struct bt_owner_call *c = job_new(sizeof *c, BT_JOB_CALL, body);
    baton_status status = c ? bt_get_call(&body->head, body->bytes.data, body->bytes.len, &c->ask) : BATON_NO_MEMORY;
    if (status)
        return refuse(c, body, status, "CALL", err);
    bt_list_init(&c->link);
    return c;
}

void bt_inputs_free(struct bt_inputs *in) {
    for (size_t i = 0; i < in->n; i++)
        free((void *)in->list[i].tokens);
    free(in->list);
    *in = (struct bt_inputs){NULL, 0};
}

void bt_owner_request_free(struct bt_owner_request *r) {
    if (!r)
        return;
    if (r->sampler)
        r->sampler->ops->free(r->sampler);
    bt_buf_free(&r->text.pending);
    bt_submit_free(&r->ask);
    bt_inputs_free(&r->inputs);
    bt_chunks_free(r->chunks);
    free(r->stop_bytes);
    free(r->tokens);
    bt_body_free(r->job.body);
    free(r);
}

static void more_free(struct bt_owner_more *m) {
    bt_more_free(&m->ask);
    bt_inputs_free(&m->inputs);
    bt_body_free(m->job.body);
    free(m);
}

static void call_free(struct bt_owner_call *c) {
    bt_buf_free(&c->result);
    bt_body_free(c->job.body);
    free(c);
}

void bt_job_free(struct bt_job *job) {
    switch (job->kind) {
    case BT_JOB_REQUEST:
        bt_owner_request_free(BT_CONTAINER(job, struct bt_owner_request, job));
        break;
    case BT_JOB_MORE:
        more_free(BT_CONTAINER(job, struct bt_owner_more, job));
        break;
    case BT_JOB_CALL:
        call_free(BT_CONTAINER(job, struct bt_owner_call, job));
        break;
    }
}
