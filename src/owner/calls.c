/* Questions to an owner: those about the model go to the prepare thread, those about a conversation or the caches are
 * answered here, between native calls. Runs on the loop's thread.
 *
 * A result may be as large as a context's whole cache: it leaves in pieces, as the peer takes them. */
#include <stdlib.h>
#include <string.h>

#include "owner/loop.h"

void bt_loop_reply(struct bt_loop *l, struct bt_owner_call *c) {
    uint64_t most = bt_call_result_max(c->ask.op, c->ask.bytes.len);
    if (!c->job.error.status && c->result.len > most)
        bt_fail(&c->job.error, BATON_TOO_LONG, "the result has %zu bytes and %llu are possible", c->result.len,
                (unsigned long long)most);
    bt_body_free(c->job.body); /* its text may be as long as its answer */
    c->job.body = NULL;
    c->ask.bytes = (struct bt_text){"", 0};
    bt_list_remove(&c->link);
    bt_list_append(&l->replies, &c->link);
}

/* The next piece of the first reply; the last one is the REPLY. */
static void send_piece(struct bt_loop *l, struct bt_owner_call *c) {
    const char *bytes = (const char *)c->result.data;
    size_t left = c->result.len - c->sent;
    baton_status status = c->job.error.status;
    if (!status && left > BT_PIECE) {
        bt_put_data(&l->out, &(struct bt_frame_data){c->ask.id, 0, c->sent, {bytes + c->sent, BT_PIECE}});
        c->sent += BT_PIECE;
        return;
    }
    struct bt_text end = {left ? bytes + c->sent : "", left};
    if (status)
        end = (struct bt_text){c->job.error.text, strlen(c->job.error.text)};
    bt_put_reply(&l->out, &(struct bt_frame_reply){c->ask.id, status, status ? 0 : c->sent, end});
    bt_list_remove(&c->link);
    l->n_calls--;
    bt_job_free(&c->job);
}

void bt_loop_send_replies(struct bt_loop *l) {
    while (l->out.len < BT_OUT_MAX && !bt_list_empty(&l->replies))
        send_piece(l, BT_CONTAINER(l->replies.next, struct bt_owner_call, link));
}

void bt_loop_wipe(struct bt_loop *l, int seq) {
    struct bt_owner_seq *s = &l->seqs[seq];
    l->context->ops->seq_rm(l->context, seq, 0, -1);
    free(s->cached);
    s->cached = NULL;
    s->n_cached = 0;
    s->last = 0;
}

bool bt_loop_wipes(const struct bt_loop *l, const struct bt_owner_request *r) {
    for (const struct bt_list *at = l->resets.next; at != &l->resets; at = at->next)
        if (r->arrived < BT_CONTAINER(at, struct bt_owner_call, link)->before)
            return true;
    return false;
}

static int busy_before(const struct bt_loop *l, uint64_t before) {
    int n = 0;
    for (int i = 0; i < l->sequences; i++)
        n += l->seqs[i].request && l->seqs[i].request->arrived < before;
    return n;
}

void bt_loop_check_resets(struct bt_loop *l) {
    for (struct bt_list *at = l->resets.next; at != &l->resets;) {
        struct bt_owner_call *c = BT_CONTAINER(at, struct bt_owner_call, link);
        at = at->next;
        if (busy_before(l, c->before) == 0)
            bt_loop_reply(l, c);
    }
}

static void reset(struct bt_loop *l, struct bt_owner_call *c) {
    for (int i = 0; i < l->sequences; i++)
        if (!l->seqs[i].request)
            bt_loop_wipe(l, i);
    c->before = l->arrivals;
    int busy = busy_before(l, c->before);
    if (busy > 0 && c->ask.number) {
        bt_list_append(&l->resets, &c->link);
        return;
    }
    if (busy > 0)
        bt_fail(&c->job.error, BATON_BUSY, "%d of %d sequences are in use, and those that are not are empty now", busy,
                l->sequences);
    bt_loop_reply(l, c);
}

void bt_loop_keep(struct bt_loop *l, const struct bt_owner_request *r) {
    struct bt_kept *k = &l->kept[l->kept_next++ % BT_KEPT_MAX];
    size_t size = (size_t)r->n_tokens * sizeof *k->tokens;
    for (int i = 0; i < BT_KEPT_MAX; i++) /* an id is that of the last one who had it */
        if (l->kept[i].id == r->ask.id)
            l->kept[i].id = 0;
    free(k->tokens);
    *k = (struct bt_kept){r->ask.id, malloc(size), r->n_tokens, r->n_prompt, r->n_before, r->seq};
    if (k->tokens)
        memcpy(k->tokens, r->tokens, size);
    else
        k->id = 0;
}

/* A conversation that runs or is over. */
static bool find_conversation(const struct bt_loop *l, uint64_t id, struct bt_kept *k, int32_t *fed) {
    const struct bt_owner_request *r = bt_loop_find(l, id);
    if (r && r->seq >= 0) {
        *k = (struct bt_kept){id, r->tokens, r->n_tokens, r->n_prompt, r->n_before, r->seq};
        *fed = r->fed;
        return true;
    }
    for (int i = 0; i < BT_KEPT_MAX && id; i++) {
        if (l->kept[i].id != id)
            continue;
        *k = l->kept[i];
        *fed = k->seq >= 0 && l->seqs[k->seq].last == id ? l->seqs[k->seq].n_cached : 0;
        return true;
    }
    return false;
}

/* As many tokens of the answer as its reader has: what the owner is ahead of it is left out. The cells of the cache
 * that belong to those are taken off when it is used. A conversation whose cache is gone is its tokens. */
static baton_status save(struct bt_loop *l, const struct bt_call *ask, struct bt_buf *out, baton_error *err) {
    const struct bt_context_ops *ops = l->context->ops;
    struct bt_kept k;
    int32_t fed;
    unsigned char *cache;
    if (!find_conversation(l, ask->about, &k, &fed))
        return bt_fail(
            err, BATON_STALE,
            "request %llu has ended long ago: its conversation is not kept any more. Save before its end, or "
            "soon after",
            (unsigned long long)ask->about);
    int32_t known = k.n_prompt + k.n_before;
    for (int32_t i = 0; i < k.n_prompt; i++)
        if (k.tokens[i] == BT_TOKEN_IMAGE)
            return bt_fail(err, BATON_UNSUPPORTED,
                           "a conversation with images cannot be saved: its bytes would not have the images. Keep the "
                           "messages and the images, and ask again");
    if (ask->number > (uint32_t)(k.n_tokens - known))
        return bt_fail(err, BATON_INVALID, "the answer has %d tokens, and %u are to be saved",
                       (int)(k.n_tokens - known), ask->number);
    struct bt_saved s = {.tokens = k.tokens,
                         .n_tokens = (size_t)known + ask->number,
                         .n_prompt = (size_t)k.n_prompt,
                         .cache_size = fed > 0 ? ops->state_size(l->context, k.seq) : 0};
    s.cached = BT_MIN(fed, (int32_t)s.n_tokens);
    if (s.cache_size > BT_BODY_MAX - s.n_tokens * sizeof *s.tokens - BT_PIECE)
        return bt_fail(err, BATON_TOO_LONG, "the state takes %zu bytes, and %d can be given out", s.cache_size,
                       BT_BODY_MAX);
    if (!bt_saved_begin(out, &s, &cache))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a state of %zu bytes", s.cache_size);
    size_t written = s.cache_size ? ops->state_get(l->context, k.seq, cache, s.cache_size) : 0;
    if (s.cache_size && written == 0)
        return bt_fail(err, BATON_FAILED, "the native library gives no state of this sequence");
    bt_saved_end(out, written);
    return BATON_OK;
}

baton_status bt_loop_call(struct bt_loop *l, struct bt_body *body) {
    baton_error err;
    struct bt_owner_call *c = bt_owner_call_new(body, &err);
    if (!c)
        return err.status;
    if (l->n_calls >= BT_CALLS_MAX) {
        bt_job_free(&c->job);
        return BATON_PROTOCOL;
    }
    l->n_calls++;
    if (c->ask.op == BT_CALL_RESET) {
        reset(l, c);
    } else if (c->ask.op == BT_CALL_SAVE) {
        save(l, &c->ask, &c->result, &c->job.error);
        bt_loop_reply(l, c);
    } else {
        l->n_preparing++;
        bt_prepare_give(l->prepare, &c->job);
    }
    return BATON_OK;
}

void bt_loop_free_calls(struct bt_loop *l) {
    struct bt_list *lists[] = {&l->replies, &l->resets};
    for (size_t i = 0; i < BT_COUNT(lists); i++)
        while (!bt_list_empty(lists[i])) {
            struct bt_owner_call *c = BT_CONTAINER(lists[i]->next, struct bt_owner_call, link);
            bt_list_remove(&c->link);
            bt_job_free(&c->job);
        }
    for (int i = 0; i < BT_KEPT_MAX; i++)
        free(l->kept[i].tokens);
}
