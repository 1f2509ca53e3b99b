/* Decisions about tasks. State: struct bt_life, its owner's. */
#include "task/life.h"

#include <stdlib.h>
#include <string.h>

/* After a cancel a task that can be cancelled ends within a token or two. */
static const int64_t LEAVE_MS = 1000;

void bt_life_init(struct bt_life *l, const struct bt_life_params *p) {
    *l = (struct bt_life){
        .drain_ms = p->drain_ms,
        .bytes_max = p->bytes_max,
        .one_shot = p->one_shot,
        .cancel_ns = BT_NEVER_NS,
        .leave_ns = BT_NEVER_NS,
    };
    bt_gate_init(&l->gate, p->workers, p->backlog);
    bt_list_init(&l->all);
    for (int i = 0; i < BT_LIFE_BUCKETS; i++)
        bt_list_init(&l->buckets[i]);
}

struct bt_task *bt_task_new(const struct bt_task_line *is, struct bt_text line) {
    struct bt_task *t = calloc(1, sizeof *t);
    char *copy = t ? malloc(line.len + 1) : NULL;
    if (!copy) {
        free(t);
        return NULL;
    }
    memcpy(copy, line.data, line.len);
    copy[line.len] = '\0';
    *t = (struct bt_task){.is = *is, .line = copy, .len = line.len};
    struct bt_text *texts[] = {&t->is.id, &t->is.queue, &t->is.payload, &t->is.work_kind};
    for (size_t i = 0; i < BT_COUNT(texts); i++) {
        struct bt_text *x = texts[i];
        if (x->data >= line.data && x->data < line.data + line.len) /* "null" is of the codec's own */
            x->data = copy + (x->data - line.data);
    }
    bt_list_init(&t->bucket);
    bt_list_init(&t->all);
    bt_list_init(&t->starting);
    bt_list_init(&t->waiter.link);
    return t;
}

void bt_task_free(struct bt_task *t) {
    if (!t)
        return;
    free(t->line);
    free(t);
}

static struct bt_list *bucket_of(struct bt_life *l, struct bt_text id) {
    return &l->buckets[bt_sum64(id.data, id.len) % BT_LIFE_BUCKETS];
}

struct bt_task *bt_life_find(struct bt_life *l, struct bt_text id) {
    struct bt_list *head = bucket_of(l, id);
    for (struct bt_list *n = head->next; n != head; n = n->next) {
        struct bt_task *t = BT_CONTAINER(n, struct bt_task, bucket);
        if (t->is.id.len == id.len && memcmp(t->is.id.data, id.data, id.len) == 0)
            return t;
    }
    return NULL;
}

void bt_life_answered(struct bt_life *l, struct bt_task *t) {
    if (t->answered)
        return;
    t->answered = true;
    l->unanswered--;
    bt_list_remove(&t->bucket);
}

/* Out of the books: it waits no more, or has ended. */
static void forget(struct bt_life *l, struct bt_task *t) {
    bt_life_answered(l, t);
    bt_list_remove(&t->all);
    l->bytes -= t->len;
}

bool bt_life_withdraw(struct bt_life *l, struct bt_task *t) {
    if (!bt_gate_withdraw(&l->gate, &t->waiter))
        return false;
    forget(l, t);
    return true;
}

baton_status bt_life_arrive(struct bt_life *l, struct bt_task *t, int64_t now_ns, struct bt_task **older) {
    *older = NULL;
    struct bt_task *same = bt_life_find(l, t->is.id);
    if (same && same->is.retry_count == t->is.retry_count)
        return BATON_END;
    if (l->stopping || (l->one_shot && l->taken))
        return BATON_CLOSED;
    if (same) {
        *older = same;
        if (!bt_life_withdraw(l, same))
            bt_life_answered(l, same);
    }
    t->waiter.flow = t->is.queue.len > 0 ? bt_sum64(t->is.queue.data, t->is.queue.len) : 0;
    t->waiter.priority = 1;
    t->waiter.deadline_ns = BT_NEVER_NS; /* as in the parent's pipe */
    baton_status status = bt_gate_ask(&l->gate, &t->waiter, BT_WAIT, now_ns);
    if (status != BATON_OK && status != BATON_AGAIN)
        return status;
    l->taken = true;
    l->unanswered++;
    l->running += status == BATON_OK;
    l->bytes += t->len;
    bt_list_append(&l->all, &t->all);
    bt_list_append(bucket_of(l, t->is.id), &t->bucket);
    return status;
}

struct bt_task *bt_life_ended(struct bt_life *l, struct bt_task *t, int64_t now_ns) {
    struct bt_waiter *next = bt_gate_give(&l->gate, &t->waiter, now_ns);
    l->running--;
    forget(l, t);
    if (!next)
        return NULL;
    l->running++;
    return BT_CONTAINER(next, struct bt_task, waiter);
}

static struct bt_task *out_of_the_queue(struct bt_life *l, struct bt_waiter *w) {
    if (!w)
        return NULL;
    struct bt_task *t = BT_CONTAINER(w, struct bt_task, waiter);
    forget(l, t);
    return t;
}

struct bt_task *bt_life_stop(struct bt_life *l, int64_t now_ns) {
    if (!l->stopping) {
        l->stopping = true;
        l->cancel_ns = bt_deadline(now_ns, l->drain_ms);
        l->leave_ns = bt_deadline(l->cancel_ns, LEAVE_MS);
    }
    return out_of_the_queue(l, bt_gate_close(&l->gate));
}

bool bt_life_wants_lines(const struct bt_life *l) {
    return !l->eof && !(l->one_shot && l->taken) && l->bytes < l->bytes_max;
}

enum bt_life_next bt_life_next(struct bt_life *l, int64_t now_ns) {
    bool ends = l->stopping || l->eof || (l->one_shot && l->taken);
    if (ends && bt_list_empty(&l->all))
        return BT_LIFE_OVER;
    if (l->stopping && now_ns >= l->leave_ns)
        return BT_LIFE_LEAVE_REST;
    if (l->stopping && now_ns >= l->cancel_ns && !l->rest_cancelled) {
        l->rest_cancelled = true;
        return BT_LIFE_CANCEL_REST;
    }
    return BT_LIFE_GO_ON;
}

int64_t bt_life_deadline(const struct bt_life *l) {
    if (!l->stopping)
        return BT_NEVER_NS;
    return l->rest_cancelled || bt_list_empty(&l->all) ? l->leave_ns : l->cancel_ns;
}

bool bt_life_check(const struct bt_life *l) {
    int tasks = 0, unanswered = 0, queued = 0;
    size_t bytes = 0;
    for (struct bt_list *n = l->all.next; n != &l->all; n = n->next) {
        const struct bt_task *t = BT_CONTAINER(n, struct bt_task, all);
        tasks++;
        bytes += t->len;
        unanswered += !t->answered;
        queued += t->waiter.state == BT_WAITER_QUEUED;
        if (t->answered != bt_list_empty(&t->bucket) || (t->answered && t->waiter.state == BT_WAITER_QUEUED))
            return false;
        for (struct bt_list *m = n->next; m != &l->all; m = m->next) {
            const struct bt_task *o = BT_CONTAINER(m, struct bt_task, all);
            if (!t->answered && !o->answered && t->is.id.len == o->is.id.len &&
                memcmp(t->is.id.data, o->is.id.data, t->is.id.len) == 0)
                return false;
        }
    }
    return bt_gate_check(&l->gate) && unanswered == l->unanswered && bytes == l->bytes && queued == l->gate.queued &&
           tasks - queued == l->running && l->running == l->gate.used;
}
