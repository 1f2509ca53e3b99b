/* The public face of the task worker: handlers of a program on threads. State: one word of the process, that it ran; a
 * baton_task belongs to its handler's thread. */
#include "baton/work.h"

#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "task/json.h"
#include "task/threads.h"

struct baton_task {
    struct bt_job *job;
    bool events;
    struct bt_buf id;
    char **texts; /* given out by baton_task_text */
    size_t n_texts;
};

struct work {
    const baton_work_handler *handlers;
    size_t n;
    baton_work_params params;
};

static const size_t LINES_MAX = (size_t)64 << 20;
static atomic_flag ran = ATOMIC_FLAG_INIT;

const char *baton_task_id(const baton_task *task) {
    return (const char *)task->id.data;
}

int64_t baton_task_attempt(const baton_task *task) {
    return task->job->task->is.retry_count;
}

const char *baton_task_payload(const baton_task *task, size_t *len) {
    if (len)
        *len = task->job->task->is.payload.len;
    return task->job->task->is.payload.data;
}

const char *baton_task_text(baton_task *task, const char *key) {
    struct bt_text value = bt_json_find(task->job->task->is.payload, key);
    struct bt_buf b = BT_BUF_INIT;
    char **texts = bt_json_is_string(value) ? realloc(task->texts, (task->n_texts + 1) * sizeof *texts) : NULL;
    if (!texts)
        return NULL;
    task->texts = texts;
    bt_json_decode(value, &b);
    bt_buf_add(&b, "", 1);
    if (b.failed || strlen((char *)b.data) + 1 != b.len) {
        bt_buf_free(&b);
        return NULL;
    }
    return task->texts[task->n_texts++] = (char *)b.data;
}

bool baton_task_cancelled(const baton_task *task) {
    return atomic_load(&task->job->cancelled);
}

static baton_status check_json(const char *what, struct bt_text json, baton_error *err) {
    struct bt_json j;
    struct bt_text value;
    bt_json_start(&j, json);
    if (!bt_json_value(&j, &value) || !bt_json_over(&j))
        return bt_fail(err, BATON_INVALID, "the %s is not valid JSON: byte %zu: %s", what, (size_t)(j.at - json.data),
                       j.why ? j.why : "something follows the value");
    if (!bt_utf8_valid(json.data, json.len))
        return bt_fail(err, BATON_INVALID, "the %s is not valid UTF-8", what);
    return BATON_OK;
}

baton_status baton_task_reply(baton_task *task, const char *json, size_t len, baton_error *err) {
    struct bt_buf *b = &task->job->result;
    baton_status status = check_json("answer", (struct bt_text){json, len}, err);
    if (status)
        return status;
    if (len > BT_LINE_OUT_MAX - BT_LINE_HEAD)
        return bt_fail(err, BATON_TOO_LONG, "the answer has %zu bytes and %d are possible", len,
                       BT_LINE_OUT_MAX - BT_LINE_HEAD);
    b->len = 0;
    bt_buf_add(b, json, len);
    if (!b->failed)
        return BATON_OK;
    bt_buf_free(b);
    return bt_fail(err, BATON_NO_MEMORY, "no memory for the answer");
}

baton_status baton_task_reply_text(baton_task *task, const char *text, baton_error *err) {
    struct bt_buf b = BT_BUF_INIT;
    bt_json_string(&b, text, strlen(text));
    baton_status status = b.failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the answer")
                                   : baton_task_reply(task, (char *)b.data, b.len, err);
    bt_buf_free(&b);
    return status;
}

static bool is_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && name[n] == '\0';
}

baton_status baton_task_event(baton_task *task, const char *name, const char *json, baton_error *err) {
    struct bt_buf more = BT_BUF_INIT, line = BT_BUF_INIT;
    baton_status status = check_json("event's data", (struct bt_text){json, strlen(json)}, err);
    if (status)
        return status;
    if (!is_name(name))
        return bt_fail(err, BATON_INVALID, "an event is called \"%.40s\": expected letters, digits, _ and -", name);
    if (!task->events)
        return BATON_OK;
    bt_buf_addf(&more, ",\"data\":%s", json);
    bt_line_event(&line, name, &task->job->task->is, (struct bt_text){(char *)more.data, more.len});
    if (more.failed || line.failed)
        status = BATON_NO_MEMORY;
    else if (line.len > BT_LINE_OUT_MAX)
        status = BATON_TOO_LONG;
    else
        status = bt_job_event(task->job, line.data, line.len - 1);
    bt_buf_free(&more);
    bt_buf_free(&line);
    return status ? bt_fail(err, status, "the event cannot be told: %s", baton_status_text(status)) : BATON_OK;
}

static const baton_work_handler *handler_of(const struct work *w, const struct bt_task_line *t) {
    for (size_t i = 0; i < w->n; i++)
        if (w->handlers[i].kind && bt_json_says(t->work_kind, w->handlers[i].kind))
            return &w->handlers[i];
    for (size_t i = 0; i < w->n; i++)
        if (!w->handlers[i].kind)
            return &w->handlers[i];
    return NULL;
}

static baton_status check(void *arg, const struct bt_task_line *t, baton_error *err) {
    const struct work *w = arg;
    if (handler_of(w, t))
        return BATON_OK;
    struct bt_buf kinds = BT_BUF_INIT;
    for (size_t i = 0; i < w->n; i++)
        bt_buf_addf(&kinds, "%s\"%s\"", i ? ", " : "", w->handlers[i].kind);
    bt_fail(err, BATON_INVALID, "payload.kind is %.*s: expected one of %.*s",
            t->work_kind.len ? (int)BT_MIN(t->work_kind.len, 40u) : 7, t->work_kind.len ? t->work_kind.data : "missing",
            (int)kinds.len, kinds.data ? (const char *)kinds.data : "");
    bt_buf_free(&kinds);
    return BATON_INVALID;
}

/* The payload becomes a C string: the byte behind it, a comma or a brace of the line, is of no use to anybody now. */
static void end_payload(struct bt_task *t) {
    size_t end = (size_t)(t->is.payload.data - t->line) + t->is.payload.len;
    if (t->is.payload.data >= t->line && end <= t->len) /* "null" may be the codec's own */
        t->line[end] = '\0';
}

static void call(void *arg, struct bt_job *c) {
    const struct work *w = arg;
    const baton_work_handler *h = handler_of(w, &c->task->is);
    baton_task task = {.job = c, .events = w->params.events};
    end_payload(c->task);
    bt_json_decode(c->task->is.id, &task.id);
    bt_buf_add(&task.id, "", 1);
    c->status = task.id.failed ? bt_fail(&c->error, BATON_NO_MEMORY, "no memory for the task")
                               : h->run(h->arg, &task, &c->error);
    for (size_t i = 0; i < task.n_texts; i++)
        free(task.texts[i]);
    free(task.texts);
    bt_buf_free(&task.id);
}

static baton_status work(struct work *w, const struct bt_stdio *io, bool *left, baton_error *err) {
    struct bt_worker *worker;
    struct bt_threads *threads = NULL;
    const struct bt_worker_params params = {
        .life = {.workers = w->params.workers,
                 .backlog = w->params.backlog,
                 .drain_ms = w->params.drain_ms,
                 .bytes_max = LINES_MAX,
                 .one_shot = w->params.one_shot},
        .events = w->params.events,
    };
    baton_status status = bt_worker_new(&params, io, &worker, err);
    if (status == BATON_OK) {
        status = bt_threads_open(w->params.workers, check, call, w, worker, &threads, err);
        if (status)
            bt_worker_not_ready(worker, err);
    }
    if (status == BATON_OK) {
        struct bt_runner runner = bt_threads_runner(threads);
        status = bt_worker_run(worker, &runner, err);
    }
    *left = !bt_threads_close(&threads);
    if (!*left)
        bt_worker_free(&worker);
    return status;
}

static baton_status check_params(const baton_work_handler *handlers, size_t n, struct work *w, baton_error *err) {
    for (size_t i = 0; handlers && i < n; i++)
        if (!handlers[i].run)
            return bt_misuse(err, BATON_MISUSE, "handler %zu has no function", i);
    if (!handlers || n == 0)
        return bt_misuse(err, BATON_MISUSE, "there are no handlers");
    const baton_work_params *p = &w->params;
    if (p->workers < 1 || p->workers > BT_WORKERS_MAX)
        return bt_fail(err, BATON_INVALID, "workers is %d: expected 1 to %d", p->workers, BT_WORKERS_MAX);
    if (p->backlog < 0)
        return bt_fail(err, BATON_INVALID, "backlog is %d: expected 0 or more", p->backlog);
    return bt_workers_from_environment(&w->params.workers, err);
}

baton_status baton_work_run(const baton_work_handler *handlers, size_t n, const baton_work_params *params,
                            baton_error *err) {
    static struct work w; /* handlers that are left behind use it */
    baton_error own;
    struct bt_stdio io;
    bool left = false;
    err = err ? err : &own;
    struct work mine = {.handlers = handlers, .n = n, .params = BATON_WORK_PARAMS};
    if (!BT_TAKE(mine.params, params))
        return bt_misuse(err, BATON_MISUSE, "params->size is no size: begin with BATON_WORK_PARAMS");
    baton_status status = check_params(handlers, n, &mine, err);
    if (status)
        return status;
    if (atomic_flag_test_and_set(&ran))
        return bt_misuse(err, BATON_MISUSE, "a process works off tasks once: its standard streams have been used");
    w = mine;
    if (w.params.one_shot)
        w.params.workers = 1;
    status = bt_stdio_take(&io, err);
    if (status)
        return status;
    bt_worker_signals_take();
    status = work(&w, &io, &left, err);
    bt_worker_signals_give_back();
    if (!left)
        bt_stdio_end(&io);
    return status;
}
