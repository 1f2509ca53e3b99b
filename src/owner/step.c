/* One round of native calls: plan, move, decode, sample, prefill; and the way back when a call fails half way.
 * Runs on the loop's thread, between which and the context nobody stands. */
#include <stdlib.h>
#include <string.h>

#include "owner/loop.h"

/* While somebody decodes, prompts get this many rows a round, so that a long one does not stall the others. */
enum { PREFILL_BUDGET = 64, FAILURES_MAX = 3 };

/* Tokens that rows can bring; 0: an image is next. */
static int32_t until_image(const struct bt_owner_request *r) {
    int32_t end = r->chunks ? r->n_prompt : 0, at = r->fed;
    while (at < end && r->tokens[at] != BT_TOKEN_IMAGE)
        at++;
    return (at < end ? at : r->n_tokens) - r->fed;
}

static void view(const struct bt_loop *l, int i, struct bt_seq_view *v) {
    const struct bt_owner_request *r = l->seqs[i].request;
    memset(v, 0, sizeof *v);
    if (!r)
        return;
    v->cells = r->fed;
    v->todo = until_image(r);
    v->arrived = r->arrived;
    if (r->sent - r->acked >= r->ask.window || v->todo == 0)
        v->phase = BT_PHASE_PAUSED;
    else
        v->phase = v->todo == 1 && bt_owner_answered(r) > 0 ? BT_PHASE_DECODE : BT_PHASE_PREFILL;
}

static void view_all(struct bt_loop *l) {
    for (int i = 0; i < l->sequences; i++) {
        view(l, i, &l->views[i]);
        l->caches[i] = (struct bt_seq_cache){l->seqs[i].cached, l->seqs[i].n_cached, l->seqs[i].flow};
    }
}

/* Brings the cache of a sequence back to its first `keep` tokens; models that cannot trim start over. Returns how many
 * are left. */
static int32_t trim(struct bt_loop *l, int seq, int32_t keep) {
    if (keep > 0 && !l->info.recurrent && l->context->ops->seq_rm(l->context, seq, keep, -1))
        return keep;
    l->context->ops->seq_rm(l->context, seq, 0, -1);
    return 0;
}

/* The saved state of its beginning, when that is more than what is in the sequence. The last token has to be decoded
 * here, for its logits. */
static baton_status restore(struct bt_loop *l, struct bt_owner_request *r, baton_error *err) {
    int32_t keep = BT_MIN(r->cached, r->n_tokens - 1);
    if (!r->cache || r->fed >= keep)
        return BATON_OK;
    bt_loop_stand(l, r, BT_STANDING_STEPPING);
    bt_loop_tell(l);
    baton_status status = bt_saved_restore(l->context, r->seq, r->cache, r->cache_size, keep, &r->fed, err);
    r->reused = r->fed ? BT_MIN(r->cached, r->n_prompt) : 0;
    return status;
}

/* What was asked has been taken over: megabytes of prompt or state are not kept beside it. */
static void drop_body(struct bt_owner_request *r) {
    bt_body_free(r->job.body);
    r->job.body = NULL;
    r->cache = NULL;
    r->ask.text = r->ask.state = (struct bt_text){"", 0};
    r->ask.sampling.grammar = NULL;
    r->ask.n_messages = 0;
}

static void take_sequence(struct bt_loop *l, struct bt_owner_request *r, int i, int32_t reuse) {
    struct bt_owner_seq *s = &l->seqs[i];
    baton_error err;
    bt_list_remove(&r->link);
    r->reused = reuse == s->n_cached && reuse > 0 ? reuse : trim(l, i, reuse);
    r->fed = r->reused;
    r->seq = i;
    free(s->cached);
    s->cached = NULL;
    s->n_cached = 0;
    s->last = 0;
    s->flow = r->ask.flow;
    s->request = r;
    baton_status status = restore(l, r, &err);
    drop_body(r);
    if (status)
        bt_loop_finish(l, r, status, BT_FINISH_NONE, err.text);
}

void bt_loop_place(struct bt_loop *l) {
    while (!bt_list_empty(&l->waiting)) {
        struct bt_owner_request *r = BT_CONTAINER(l->waiting.next, struct bt_owner_request, link);
        int32_t reuse;
        view_all(l);
        int i = bt_plan_place(l->views, l->caches, l->sequences, r->tokens, r->n_tokens, r->ask.flow,
                              !l->info.recurrent, &reuse);
        if (i < 0)
            return;
        take_sequence(l, r, i, reuse);
    }
}

static void move(struct bt_loop *l, int from, int to) {
    struct bt_owner_seq *a = &l->seqs[from], *b = &l->seqs[to];
    l->context->ops->seq_rm(l->context, to, 0, -1);
    l->context->ops->seq_cp(l->context, from, to);
    l->context->ops->seq_rm(l->context, from, 0, -1);
    free(b->cached);
    *b = *a;
    b->request->seq = to;
    memset(a, 0, sizeof *a);
    l->lost_steps = 0;
}

/* A token has been drawn for r: text, frames, and whether this was the last. */
static void advance(struct bt_loop *l, struct bt_owner_request *r, bt_token token) {
    if (l->model->ops->is_end(l->model, token)) {
        bt_loop_finish(l, r, BATON_OK, BT_FINISH_STOP, "");
        return;
    }
    if (token < 0) {
        bt_loop_finish(l, r, BATON_FAILED, BT_FINISH_NONE, "the native library computed logits that are no numbers");
        return;
    }
    r->sampler->ops->accept(r->sampler, token);
    r->tokens[r->n_tokens++] = token;
    l->piece.len = l->text.len = 0;
    l->model->ops->piece(l->model, token, &l->piece);
    if (l->piece.len > BT_TOKEN_TEXT_MAX) {
        bt_loop_finish(l, r, BATON_FAILED, BT_FINISH_NONE,
                       "a token of this model's vocabulary is a longer text than an owner may send");
        return;
    }
    bool stop = bt_textout_push(&r->text, l->piece.data, l->piece.len, &l->text);
    if (bt_loop_text_lost(l, r)) {
        bt_loop_finish(l, r, BATON_NO_MEMORY, BT_FINISH_NONE, "");
        return;
    }
    struct bt_frame_token frame = {r->ask.id,
                                   r->ask.attempt,
                                   (uint32_t)(bt_owner_answered(r) - r->n_before) - 1,
                                   token,
                                   (uint32_t)r->text.pending.len,
                                   {(const char *)l->text.data, l->text.len}};
    bt_put_token(&l->out, &frame);
    r->sent++;
    if (stop)
        bt_loop_finish(l, r, BATON_OK, BT_FINISH_STOP, "");
    else if (bt_owner_answered(r) - r->n_before == r->ask.max_tokens || r->n_tokens >= l->capacity)
        bt_loop_finish(l, r, BATON_OK, BT_FINISH_LENGTH, "");
}

/* Rows of the sequences in `list`: share[i] tokens each, logits for the last token of what is known. */
static int rows_of(struct bt_loop *l, const int *list, int n, const int32_t *share) {
    int k = 0;
    for (int i = 0; i < n; i++) {
        const struct bt_owner_request *r = l->seqs[list[i]].request;
        for (int32_t j = 0; j < share[list[i]]; j++)
            l->rows[k++] = (struct bt_row){r->tokens[r->fed + j], r->fed + j, list[i], r->fed + j == r->n_tokens - 1};
    }
    return k;
}

/* The call is done: everything of it is read before anything else happens to the context. */
static void collect(struct bt_loop *l, const int *list, int n, const int32_t *share) {
    bt_token drawn[BT_SEQUENCES_MAX];
    int row = 0;
    for (int i = 0; i < n; i++) {
        struct bt_owner_request *r = l->seqs[list[i]].request;
        row += share[list[i]];
        r->fed += share[list[i]];
        r->retries = 0;
        if (r->fed == r->n_tokens)
            drawn[i] = l->context->ops->sample(l->context, r->sampler, row - 1, (uint64_t)bt_owner_answered(r));
    }
    for (int i = 0; i < n; i++) {
        struct bt_owner_request *r = l->seqs[list[i]].request;
        if (r->fed == r->n_tokens)
            advance(l, r, drawn[i]);
    }
}

static void give_up(struct bt_loop *l, struct bt_owner_request *r, enum bt_decode why) {
    if (r->cancelled) {
        bt_loop_finish(l, r, r->cancelled, BT_FINISH_NONE, baton_status_text(r->cancelled));
    } else if (why == BT_DECODE_ABORTED) {
        return; /* everything is about to end, with a word of its own */
    } else if (why == BT_DECODE_FULL && bt_owner_answered(r) > 0) {
        bt_loop_finish(l, r, BATON_OK, BT_FINISH_LENGTH, "");
    } else if (why == BT_DECODE_INVALID || why == BT_DECODE_FULL || ++r->retries >= FAILURES_MAX) {
        bt_loop_finish(l, r, BATON_FAILED, BT_FINISH_NONE,
                       why == BT_DECODE_FULL      ? "the native library found no room for the prompt"
                       : why == BT_DECODE_INVALID ? "the native library refused the tokens"
                                                  : "the native decode failed, alone and more than once");
    }
}

/* One native call for those sequences. When it fails, each goes back to what it had, and each is tried alone, so that
 * one bad request cannot take its neighbours with it. */
static void call(struct bt_loop *l, const int *list, int n, const int32_t *share) {
    int rows = rows_of(l, list, n, share);
    l->alone = n == 1 ? l->seqs[list[0]].request : NULL;
    l->looked_ns = bt_now_coarse_ns();
    int64_t began_ns = bt_now_ns();
    enum bt_decode result = l->context->ops->decode(l->context, l->rows, rows);
    l->alone = NULL;
    l->steps++;
    bt_loop_took(l, bt_now_ns() - began_ns);
    if (result == BT_DECODE_OK) {
        collect(l, list, n, share);
        return;
    }
    for (int i = 0; i < n; i++) {
        struct bt_owner_request *r = l->seqs[list[i]].request;
        r->fed = trim(l, list[i], r->fed);
    }
    if (n == 1) {
        give_up(l, l->seqs[list[0]].request, result);
        return;
    }
    for (int i = 0; i < n && !l->ending; i++)
        if (l->seqs[list[i]].request->fed + share[list[i]] <= l->seqs[list[i]].request->n_tokens)
            call(l, &list[i], 1, share);
}

/* The request that came first of those whose next place is an image's; -1: there is none. */
static int next_image(const struct bt_loop *l) {
    int best = -1;
    for (int i = 0; i < l->sequences; i++) {
        const struct bt_owner_request *r = l->seqs[i].request;
        if (r && r->chunks && until_image(r) == 0 && (best < 0 || r->arrived < l->seqs[best].request->arrived))
            best = i;
    }
    return best;
}

/* One image, a native call of its own. */
static void see(struct bt_loop *l, int seq) {
    struct bt_owner_request *r = l->seqs[seq].request;
    size_t i = bt_chunk_at(r->chunks, r->fed);
    l->alone = r;
    l->looked_ns = bt_now_coarse_ns();
    int64_t began_ns = bt_now_ns();
    enum bt_decode result = l->context->ops->image(l->context, r->chunks, i, seq, r->fed);
    l->alone = NULL;
    l->steps++;
    bt_loop_took(l, bt_now_ns() - began_ns);
    if (result == BT_DECODE_OK) {
        r->fed += r->chunks->list[i].n;
        r->retries = 0;
        return;
    }
    r->fed = trim(l, seq, r->fed);
    give_up(l, r, result);
}

static void stand(struct bt_loop *l, int image) {
    bool in_it[BT_SEQUENCES_MAX] = {false};
    if (image >= 0)
        in_it[image] = true;
    for (int i = 0; i < l->plan.n_decode; i++)
        in_it[l->plan.decode[i]] = true;
    for (int i = 0; i < l->plan.n_prefill; i++)
        in_it[l->plan.prefill[i]] = true;
    for (int i = 0; i < l->sequences; i++)
        if (l->seqs[i].request)
            bt_loop_stand(l, l->seqs[i].request, in_it[i] ? BT_STANDING_STEPPING : BT_STANDING_RESTING);
    bt_loop_tell(l);
}

bool bt_loop_step(struct bt_loop *l) {
    struct bt_plan *plan = &l->plan;
    view_all(l);
    bt_plan_step(l->views, l->sequences, l->chunk, PREFILL_BUDGET, l->lost_steps, plan);
    int image = next_image(l);
    if (plan->n_decode == 0 && plan->n_prefill == 0 && image < 0)
        return false;
    l->lost_steps = plan->holes ? l->lost_steps + 1 : 0;
    stand(l, image);
    if (plan->move_from >= 0) {
        move(l, plan->move_from, plan->move_to);
        return true;
    }
    if (plan->n_decode > 0) {
        int32_t one[BT_SEQUENCES_MAX];
        for (int i = 0; i < plan->n_decode; i++)
            one[plan->decode[i]] = 1;
        call(l, plan->decode, plan->n_decode, one);
    }
    if (plan->n_decode > 0 && (plan->n_prefill > 0 || image >= 0))
        bt_loop_flush(l); /* nobody's token waits for a neighbour's prompt */
    if (plan->n_prefill > 0 && !l->ending)
        call(l, plan->prefill, plan->n_prefill, plan->share);
    if (image >= 0 && !l->ending && l->seqs[image].request && until_image(l->seqs[image].request) == 0)
        see(l, image);
    return true;
}
