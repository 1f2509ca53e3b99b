/* Requests for vectors and scores: each round one native call for the inputs whose turn it is, one of each request
 * after the other, so that a long list keeps nobody waiting. Runs on the loop's thread.
 *
 * Invariant: `computed` inputs of a request have their records on the way, `offset` bytes of them, in order; everything
 * of a native call is read before the next one. */
#include <stdlib.h>
#include <string.h>

#include "owner/loop.h"

struct turn {
    struct bt_owner_request *r;
    size_t input;
};

static struct bt_owner_request *first(const struct bt_loop *l) {
    return bt_list_empty(&l->waiting) ? NULL : BT_CONTAINER(l->waiting.next, struct bt_owner_request, link);
}

/* Whose turn it is: every request that has inputs gives one, and again while there is room; who has given one is last
 * next time. Vectors of length 1 and others do not go together: who is next and wants the other kind ends the round. */
static int turns(struct bt_loop *l, struct turn *list) {
    int most = l->one_by_one ? 1 : l->sequences, n = 0;
    bool found = true;
    for (size_t round = 0; found && n < most; round++) {
        struct bt_list *end = l->waiting.prev; /* whoever is behind it has had a turn in this round */
        found = false;
        for (bool last = bt_list_empty(&l->waiting); !last && n < most;) {
            struct bt_owner_request *r = first(l);
            bool has = r->computed + round < r->inputs.n;
            if (has && n > 0 && r->ask.normalise != list[0].r->ask.normalise)
                return n;
            last = &r->link == end;
            bt_list_remove(&r->link);
            bt_list_append(&l->waiting, &r->link);
            if (has)
                list[n++] = (struct turn){r, r->computed + round};
            found |= has;
        }
    }
    return n;
}

bool bt_loop_embedded(struct bt_loop *l, struct bt_owner_request *r) {
    if (r->computed < r->inputs.n || r->ask.open || r->more)
        return false;
    bt_loop_finish(l, r, BATON_OK, BT_FINISH_STOP, "");
    return true;
}

/* The record of one input. */
static void send_vector(struct bt_loop *l, const struct turn *t, const float *values) {
    struct bt_owner_request *r = t->r;
    uint32_t tokens = (uint32_t)r->inputs.list[t->input].n;
    l->text.len = 0;
    bt_put_record(&l->text, tokens, values, (size_t)l->width);
    if (bt_loop_text_lost(l, r)) {
        bt_loop_finish(l, r, BATON_NO_MEMORY, BT_FINISH_NONE, "");
        return;
    }
    bt_put_data(&l->out, &(struct bt_frame_data){
                             r->ask.id, r->ask.attempt, r->offset, {(const char *)l->text.data, l->text.len}});
    r->offset += l->text.len;
    r->computed++;
    r->n_prompt += (int32_t)tokens;
    r->n_tokens = r->n_prompt;
    free((void *)r->inputs.list[t->input].tokens);
    r->inputs.list[t->input].tokens = NULL;
    bt_loop_embedded(l, r);
}

static void fail(struct bt_loop *l, struct bt_owner_request *r, baton_status status, const char *text) {
    if (r->cancelled)
        bt_loop_finish(l, r, r->cancelled, BT_FINISH_NONE, baton_status_text(r->cancelled));
    else if (status != BATON_CANCELLED) /* aborted without that: everything is about to end, with a word of its own */
        bt_loop_finish(l, r, status, BT_FINISH_NONE, text);
}

/* True while the i-th turn's request has neither ended in a turn before it nor lost the inputs before its own. */
static bool still_on(const struct bt_loop *l, const struct turn *t, uint64_t id) {
    const struct bt_owner_request *r = bt_loop_find(l, id);
    return r == t->r && r->computed == t->input;
}

/* One native call for those inputs. When it fails each is tried alone, so that one bad input cannot take its
 * neighbours with it. */
static void call(struct bt_loop *l, const struct turn *list, const uint64_t *ids, int n) {
    baton_error err = {BATON_OK, ""};
    bool same = true;
    for (int i = 0; i < n; i++) {
        l->inputs[i] = list[i].r->inputs.list[list[i].input];
        same &= list[i].r == list[0].r;
    }
    l->alone = same ? list[0].r : NULL;
    l->looked_ns = bt_now_coarse_ns();
    int64_t began_ns = bt_now_ns();
    baton_status status =
        l->context->ops->embed(l->context, l->inputs, (size_t)n, list[0].r->ask.normalise, l->vectors, &err);
    l->alone = NULL;
    l->steps++;
    bt_loop_took(l, bt_now_ns() - began_ns);
    if (!status) {
        for (int i = 0; i < n; i++)
            if (still_on(l, &list[i], ids[i]))
                send_vector(l, &list[i], l->vectors + (size_t)i * (size_t)l->width);
    } else if (n == 1 || (same && status == BATON_CANCELLED)) {
        fail(l, list[0].r, status, err.text);
    } else {
        for (int i = 0; i < n && status != BATON_CANCELLED; i++)
            if (still_on(l, &list[i], ids[i]))
                call(l, &list[i], &ids[i], 1);
    }
}

bool bt_loop_embed(struct bt_loop *l) {
    struct turn list[BT_SEQUENCES_MAX];
    uint64_t ids[BT_SEQUENCES_MAX];
    int n = turns(l, list);
    if (n == 0)
        return false;
    for (struct bt_list *at = l->waiting.next; at != &l->waiting; at = at->next)
        bt_loop_stand(l, BT_CONTAINER(at, struct bt_owner_request, link), BT_STANDING_RESTING);
    for (int i = 0; i < n; i++) {
        ids[i] = list[i].r->ask.id;
        bt_loop_stand(l, list[i].r, BT_STANDING_STEPPING);
    }
    bt_loop_tell(l);
    call(l, list, ids, n);
    return true;
}

baton_status bt_loop_more(struct bt_loop *l, struct bt_body *body) {
    baton_error err;
    struct bt_owner_request *r = bt_loop_find(l, body->head.id);
    if (!r || r->ask.attempt != body->head.attempt) { /* it has ended meanwhile */
        bt_body_free(body);
        return BATON_OK;
    }
    if (!r->ask.open || r->more) {
        bt_body_free(body);
        return BATON_PROTOCOL;
    }
    struct bt_owner_more *m = bt_owner_more_new(body, &err);
    if (!m)
        return err.status;
    r->more = true;
    bt_loop_prepare_fresh(l); /* its request goes first */
    m->first = r->asked;
    r->asked += m->ask.n_inputs;
    l->n_preparing++;
    bt_prepare_give(l->prepare, &m->job);
    return BATON_OK;
}

static bool append(struct bt_inputs *to, struct bt_inputs *from) {
    if (from->n == 0)
        return true;
    struct bt_input *list = realloc(to->list, (to->n + from->n) * sizeof *list);
    if (!list)
        return false;
    memcpy(list + to->n, from->list, from->n * sizeof *list);
    to->list = list;
    to->n += from->n;
    from->n = 0;
    return true;
}

void bt_loop_took_more(struct bt_loop *l, struct bt_owner_more *m) {
    struct bt_owner_request *r = bt_loop_find(l, m->job.body->head.id);
    if (r && r->ask.attempt == m->job.body->head.attempt) {
        r->more = false;
        r->ask.open = m->ask.open;
        if (m->job.error.status)
            bt_loop_finish(l, r, m->job.error.status, BT_FINISH_NONE, m->job.error.text);
        else if (!append(&r->inputs, &m->inputs))
            bt_loop_finish(l, r, BATON_NO_MEMORY, BT_FINISH_NONE, "no memory for more inputs");
        else
            bt_loop_embedded(l, r);
    }
    bt_job_free(&m->job);
}
