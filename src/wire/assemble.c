/* Putting bodies together. Owns nothing but what its caller's bt_bodies holds. */
#include "wire/assemble.h"

#include <stdlib.h>

void bt_bodies_init(struct bt_bodies *b, int most) {
    bt_list_init(&b->list);
    b->n = 0;
    b->most = most;
}

void bt_body_free(struct bt_body *body) {
    if (!body)
        return;
    bt_buf_free(&body->bytes);
    free(body);
}

static void remove_body(struct bt_bodies *b, struct bt_body *body) {
    bt_list_remove(&body->link);
    b->n--;
}

void bt_bodies_free(struct bt_bodies *b) {
    while (b->n > 0) {
        struct bt_body *body = BT_CONTAINER(b->list.next, struct bt_body, link);
        remove_body(b, body);
        bt_body_free(body);
    }
}

static struct bt_body *find(struct bt_bodies *b, uint64_t id) {
    for (struct bt_list *l = b->list.next; l != &b->list; l = l->next) {
        struct bt_body *body = BT_CONTAINER(l, struct bt_body, link);
        if (body->head.id == id)
            return body;
    }
    return NULL;
}

/* A piece has come for a body that is in the list. */
static baton_status add(struct bt_bodies *b, struct bt_body *body, struct bt_text bytes, struct bt_body **whole) {
    baton_status status = BATON_AGAIN;
    if (bytes.len > body->head.total - body->bytes.len)
        status = BATON_PROTOCOL;
    else
        bt_buf_add(&body->bytes, bytes.data, bytes.len);
    if (body->bytes.failed)
        status = BATON_NO_MEMORY;
    if (status == BATON_AGAIN && body->bytes.len < body->head.total)
        return status;
    remove_body(b, body);
    if (status != BATON_AGAIN) {
        bt_body_free(body);
        return status;
    }
    *whole = body;
    return BATON_OK;
}

static baton_status begin(struct bt_bodies *b, const struct bt_frame *f, struct bt_body **whole) {
    struct bt_frame_body head;
    baton_status status = bt_get_body(f, &head);
    if (status)
        return status;
    if (b->n >= b->most || find(b, head.id))
        return BATON_PROTOCOL;
    struct bt_body *body = calloc(1, sizeof *body);
    if (!body)
        return BATON_NO_MEMORY;
    body->type = f->type;
    body->head = head;
    body->head.first = (struct bt_text){"", 0};
    bt_list_append(&b->list, &body->link);
    b->n++;
    return add(b, body, head.first, whole);
}

baton_status bt_bodies_take(struct bt_bodies *b, const struct bt_frame *f, struct bt_body **whole) {
    struct bt_frame_part part;
    *whole = NULL;
    if (f->type != BT_FRAME_PART)
        return begin(b, f, whole);
    baton_status status = bt_get_part(f, &part);
    struct bt_body *body = status ? NULL : find(b, part.id);
    if (!body || body->head.attempt != part.attempt)
        return BATON_PROTOCOL;
    return add(b, body, part.bytes, whole);
}

bool bt_bodies_drop(struct bt_bodies *b, uint64_t id, enum bt_frame_type *type, struct bt_frame_body *head) {
    struct bt_body *body = find(b, id);
    if (!body)
        return false;
    *type = body->type;
    *head = body->head;
    remove_body(b, body);
    bt_body_free(body);
    return true;
}
