/* Snapshots to programs, and their text. Stateless. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

/* A struct that ends before `owner` could not be freed of what it does not know. */
static bool knows_owners(const baton_snapshot *s) {
    return s->size >= offsetof(baton_snapshot, owner) + sizeof s->owner;
}

static void free_owners(baton_snapshot *s) {
    free(s->run);
    free(s->owner);
    s->run = NULL;
    s->owner = NULL;
    s->running = 0;
}

/* What is known of the whole, to a struct of the program's size. */
static void give(baton_snapshot *mine, struct bt_device_use use, baton_snapshot *snapshot) {
    mine->size = snapshot->size;
    snprintf(mine->device, sizeof mine->device, "%s", use.name);
    mine->device_tid = use.tid;
    mine->device_ms = use.for_ms;
    mine->device_waiting = use.waiting;
    if (!knows_owners(mine))
        free_owners(mine);
    memcpy(snapshot, mine, BT_MIN(mine->size, sizeof *mine));
}

static baton_status take(const struct bt_pool *pool, struct bt_device *device, baton_snapshot *snapshot,
                         baton_error *err) {
    baton_snapshot mine;
    baton_status status = bt_pool_snapshot(pool, &mine, err);
    if (!status)
        give(&mine, bt_device_use(device), snapshot);
    return status;
}

/* A struct that is too short for the two pointers could not be freed. */
static bool has_size(const baton_snapshot *s) {
    return s && s->size >= offsetof(baton_snapshot, granted) && s->size <= 1 << 16;
}

baton_status baton_pool_snapshot(const baton_pool *pool, baton_snapshot *snapshot, baton_error *err) {
    if (!pool || !has_size(snapshot))
        return bt_misuse(err, BATON_MISUSE,
                         "a snapshot needs a pool, and its own size: baton_snapshot s = {.size = sizeof s}");
    return take((const struct bt_pool *)pool, NULL, snapshot, err);
}

baton_status bt_owners_snapshot(struct bt_io *io, const char *name, const char *device, baton_snapshot *snapshot,
                                baton_error *err) {
    baton_snapshot mine;
    if (!has_size(snapshot))
        return bt_misuse(err, BATON_MISUSE, "a snapshot needs its own size: baton_snapshot s = {.size = sizeof s}");
    baton_status status = bt_told(bt_io_snapshot(io, &mine, err), err);
    if (status)
        return status;
    snprintf(mine.name, sizeof mine.name, "%s", name);
    give(&mine, bt_device_named(device), snapshot);
    return BATON_OK;
}

baton_status baton_llama_snapshot(const baton_llama *llama, baton_snapshot *snapshot, baton_error *err) {
    if (!llama || !has_size(snapshot))
        return bt_misuse(err, BATON_MISUSE,
                         "a snapshot needs a model, and its own size: baton_snapshot s = {.size = sizeof s}");
    BT_IN_CALL(llama);
    if (llama->io) /* processes take no turns with this one */
        return bt_owners_snapshot(llama->io, llama->info.name,
                                  llama->policy.owner == BATON_OWNER_THREAD ? llama->info.device : "", snapshot, err);
    return take(bt_caller_pool(llama->caller), llama->model->device, snapshot, err);
}

void baton_snapshot_free(baton_snapshot *snapshot) {
    if (!snapshot)
        return;
    free(snapshot->context);
    free(snapshot->waiting);
    snapshot->context = NULL;
    snapshot->waiting = NULL;
    snapshot->contexts = snapshot->listed = 0;
    if (knows_owners(snapshot))
        free_owners(snapshot);
}

static void histogram(struct bt_buf *b, const char *name, const uint64_t *counts) {
    int n = BATON_BUCKETS;
    while (n > 0 && counts[n - 1] == 0)
        n--;
    bt_buf_addf(b, ",\"%s\":[", name);
    for (int i = 0; i < n; i++)
        bt_buf_addf(b, "%s%llu", i ? "," : "", (unsigned long long)counts[i]);
    bt_buf_adds(b, "]");
}

/* Numbers with a decimal point whatever the program's locale: in thousandths. */
static void one_context(struct bt_buf *b, const baton_context_use *u) {
    int share = (int)(u->utilisation * 1000 + 0.5);
    bt_buf_addf(b, "{\"held\":%s,\"lost\":%s,\"grants\":%llu,\"utilisation\":%d.%03d", u->held ? "true" : "false",
                u->lost ? "true" : "false", (unsigned long long)u->grants, share / 1000, share % 1000);
    if (u->held) {
        bt_buf_addf(b, ",\"request\":\"%llu\",\"tid\":%u,\"thread\":", (unsigned long long)u->request, u->tid);
        bt_json_string(b, u->thread, strnlen(u->thread, sizeof u->thread));
        bt_buf_addf(b, ",\"inside\":%s,\"op\":", u->inside ? "true" : "false");
        bt_json_string(b, baton_op_text(u->op), strlen(baton_op_text(u->op)));
        bt_buf_addf(b, ",\"op_ms\":%lld,\"held_ms\":%lld", (long long)u->for_ms, (long long)u->held_ms);
    }
    bt_buf_adds(b, "}");
}

static void one_running(struct bt_buf *b, const baton_running *r) {
    bt_buf_addf(b, "{\"request\":\"%llu\",\"flow\":\"%llu\",\"context\":%d,\"op\":", (unsigned long long)r->id,
                (unsigned long long)r->flow, r->context);
    bt_json_string(b, baton_op_text(r->op), strlen(baton_op_text(r->op)));
    bt_buf_addf(b, ",\"inside\":%s,\"tid\":%u,\"thread\":", r->inside ? "true" : "false", r->tid);
    bt_json_string(b, r->thread, strnlen(r->thread, sizeof r->thread));
    bt_buf_addf(b, ",\"for_ms\":%lld,\"tokens\":%u}", (long long)r->for_ms, r->tokens);
}

static void one_owner(struct bt_buf *b, const baton_owner_health *o) {
    bt_buf_adds(b, "{\"state\":");
    bt_json_string(b, o->state, strnlen(o->state, sizeof o->state));
    bt_buf_addf(b, ",\"ready\":%s,\"gone\":%s,\"running\":%d,\"restarts\":%u,\"for_ms\":%lld,\"heard_ms\":%lld,",
                o->ready ? "true" : "false", o->gone ? "true" : "false", o->running, o->restarts, (long long)o->for_ms,
                (long long)o->heard_ms);
    bt_buf_adds(b, "\"last_end\":");
    bt_json_string(b, o->last_end, strnlen(o->last_end, sizeof o->last_end));
    bt_buf_adds(b, "}");
}

static void owners(struct bt_buf *b, const baton_snapshot *s) {
    bt_buf_adds(b, ",\"running\":[");
    for (int i = 0; i < s->running; i++) {
        bt_buf_adds(b, i ? "," : "");
        one_running(b, &s->run[i]);
    }
    bt_buf_adds(b, "],\"owners\":[");
    for (int i = 0; i < s->contexts; i++) {
        bt_buf_adds(b, i ? "," : "");
        one_owner(b, &s->owner[i]);
    }
    bt_buf_adds(b, "]");
}

/* Ids are strings: a number of 64 bits does not survive every reader. */
baton_status baton_snapshot_json(const baton_snapshot *snapshot, char **text, baton_error *err) {
    struct bt_buf b = BT_BUF_INIT;
    baton_snapshot s;
    BT_NEED(text, "a place for the text", err);
    *text = NULL;
    BT_NEED(snapshot, "a snapshot", err);
    memset(&s, 0, sizeof s);
    memcpy(&s, snapshot, BT_MIN(snapshot->size, sizeof s));
    bt_buf_adds(&b, "{\"version\":1,\"name\":");
    bt_json_string(&b, s.name, strnlen(s.name, sizeof s.name));
    bt_buf_addf(&b, ",\"open_ms\":%lld,\"contexts\":[", (long long)s.open_ms);
    for (int i = 0; i < s.contexts; i++) {
        bt_buf_adds(&b, i ? "," : "");
        one_context(&b, &s.context[i]);
    }
    bt_buf_addf(&b, "],\"queued\":%d,\"waiting\":[", s.queued);
    for (int i = 0; i < s.listed; i++)
        bt_buf_addf(&b,
                    "%s{\"position\":%d,\"request\":\"%llu\",\"flow\":\"%llu\",\"priority\":%d,\"tid\":%u,"
                    "\"for_ms\":%lld}",
                    i ? "," : "", s.waiting[i].position, (unsigned long long)s.waiting[i].id,
                    (unsigned long long)s.waiting[i].flow, s.waiting[i].priority, s.waiting[i].tid,
                    (long long)s.waiting[i].for_ms);
    bt_buf_addf(&b, "],\"granted\":%llu,\"contended\":%llu,\"refused\":%llu,\"timed_out\":%llu,\"cancelled\":%llu",
                (unsigned long long)s.granted, (unsigned long long)s.contended, (unsigned long long)s.refused,
                (unsigned long long)s.timed_out, (unsigned long long)s.cancelled);
    histogram(&b, "wait_us", s.wait_us);
    histogram(&b, "hold_ms", s.hold_ms);
    if (s.device[0]) {
        bt_buf_adds(&b, ",\"device\":{\"name\":");
        bt_json_string(&b, s.device, strnlen(s.device, sizeof s.device));
        bt_buf_addf(&b, ",\"tid\":%u,\"for_ms\":%lld,\"waiting\":%d}", s.device_tid, (long long)s.device_ms,
                    s.device_waiting);
    }
    if (s.owner)
        owners(&b, &s);
    bt_buf_add(&b, "}", 2);
    if (b.failed) {
        bt_buf_free(&b);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the text of a snapshot");
    }
    *text = (char *)b.data;
    return BATON_OK;
}
