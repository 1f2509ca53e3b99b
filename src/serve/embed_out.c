/* Vectors and scores as JSON. State: none. */
#include "serve/embed_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asked {
    const struct bt_embed_request *request;
    const char *model;
    struct bt_text records; /* wire/frame.h: BT_RECORD_BYTES */
};

/* Nine digits are enough for every float to come back as it was. */
static void put_floats(struct bt_buf *b, const float *values, size_t n) {
    bt_buf_adds(b, "[");
    for (size_t i = 0; i < n; i++)
        bt_buf_addf(b, i ? ",%.9g" : "%.9g", (double)values[i]);
    bt_buf_adds(b, "]");
}

static void put_head(const struct asked *v, struct bt_buf *b) {
    bt_buf_adds(b, "{\"object\":\"list\",\"model\":");
    bt_json_string(b, v->model, strlen(v->model));
}

static void put_usage(const struct bt_outcome *o, struct bt_buf *b) {
    bt_buf_addf(b, "],\"usage\":{\"prompt_tokens\":%" PRIu32 ",\"total_tokens\":%" PRIu32 "}}", o->prompt_tokens,
                o->prompt_tokens);
}

/* False: a vector is no numbers. */
static bool put_embeddings(const struct asked *v, const struct bt_outcome *o, size_t width, float *values,
                           struct bt_buf *b) {
    uint32_t tokens;
    put_head(v, b);
    bt_buf_adds(b, ",\"data\":[");
    for (size_t i = 0; i < v->request->submit.n_inputs; i++) {
        const unsigned char *record = (const unsigned char *)v->records.data + i * BT_RECORD_BYTES(width);
        if (!bt_get_record(record, width, &tokens, values))
            return false;
        bt_buf_addf(b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        if (v->request->base64) {
            bt_buf_adds(b, "\"");
            bt_buf_base64(b, record + 4, 4 * width);
            bt_buf_adds(b, "\"");
        } else {
            put_floats(b, values, width);
        }
        bt_buf_adds(b, "}");
    }
    put_usage(o, b);
    return true;
}

struct ranked {
    size_t index;
    float score;
};

/* The best first; equal ones as they were given. */
static int better(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static bool put_ranking(const struct asked *v, const struct bt_outcome *o, size_t width, float *values,
                        struct bt_buf *b) {
    size_t n = v->request->submit.n_inputs;
    uint32_t tokens;
    struct ranked *list = calloc(n, sizeof *list);
    bool fine = list != NULL;
    b->failed |= !list;
    for (size_t i = 0; i < n && fine; i++) {
        fine =
            bt_get_record((const unsigned char *)v->records.data + i * BT_RECORD_BYTES(width), width, &tokens, values);
        list[i] = (struct ranked){i, values[0]};
    }
    if (fine)
        qsort(list, n, sizeof *list, better);
    put_head(v, b);
    bt_buf_adds(b, ",\"results\":[");
    for (size_t i = 0; i < v->request->top_n && fine; i++) {
        struct bt_text text = v->request->submit.inputs[list[i].index].text;
        bt_buf_addf(b, "%s{\"index\":%zu,\"relevance_score\":%.9g", i ? "," : "", list[i].index, (double)list[i].score);
        if (v->request->return_documents) {
            bt_buf_adds(b, ",\"document\":{\"text\":");
            bt_json_string(b, text.data, text.len);
            bt_buf_adds(b, "}");
        }
        bt_buf_adds(b, "}");
    }
    put_usage(o, b);
    free(list);
    return fine || b->failed;
}

baton_status bt_embed_out(const struct bt_embed_request *r, const char *model, size_t width, struct bt_text records,
                          const struct bt_outcome *o, struct bt_buf *b) {
    const struct asked v = {r, model, records};
    if (width == 0 || records.len != r->submit.n_inputs * BT_RECORD_BYTES(width))
        return BATON_FAILED;
    float *values = malloc(width * sizeof *values);
    bool fine = values && (r->submit.what == BT_WHAT_SCORE ? put_ranking : put_embeddings)(&v, o, width, values, b);
    bool room = values && !b->failed;
    free(values);
    return !room ? BATON_NO_MEMORY : fine ? BATON_OK : BATON_FAILED;
}

bool bt_embed_fits(const struct bt_embed_request *r, const char *model, size_t width, struct bt_api_error *e) {
    if (r->dimensions == 0 || (size_t)r->dimensions == width || width == 0)
        return true;
    *e = (struct bt_api_error){
        .status = 400, .type = "invalid_request_error", .code = "unsupported_parameter", .param = "dimensions"};
    snprintf(e->text, sizeof e->text, "dimensions is %d: vectors of %s have %zu, and are not cut", r->dimensions, model,
             width);
    return false;
}
