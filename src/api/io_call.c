/* Questions to owners from any thread: on the stack of whoever asks, told by the I/O thread. */
#include <stdio.h>
#include <string.h>

#include "api/io_int.h"

struct asking {
    int context;
    struct bt_call *call;
    baton_status asked; /* the reply may come before whoever asks has looked at this */
    baton_error *err;
    struct bt_buf *result;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    bool over;
    baton_status status; /* of the reply */
};

static void on_data(void *arg, const char *bytes, size_t len) {
    struct asking *a = arg;
    bt_buf_add(a->result, bytes, len); /* nobody else looks at it before the reply */
}

static void on_reply(void *arg, baton_status status, const char *text) {
    struct asking *a = arg;
    pthread_mutex_lock(&a->lock);
    a->over = true;
    a->status = status ? bt_fail(a->err, status, "%s", text) : BATON_OK;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static void ask(struct bt_io *io, void *arg) {
    struct asking *a = arg;
    const struct bt_call_handler handler = {on_data, on_reply, a};
    a->asked = bt_front_call(io->front, a->context, a->call, &handler, a->err);
}

static void drop(struct bt_io *io, void *arg) {
    const struct asking *a = arg;
    bt_front_call_drop(io->front, a->call->id);
}

static bool wait_for(struct asking *a, int64_t deadline_ns) {
    pthread_mutex_lock(&a->lock);
    while (!a->over && bt_io_wait(&a->changed, &a->lock, deadline_ns))
        ;
    bool over = a->over;
    pthread_mutex_unlock(&a->lock);
    return over;
}

static baton_status closed(baton_error *err) {
    return bt_fail(err, BATON_CLOSED, "the model is being closed");
}

baton_status bt_io_call(struct bt_io *io, int context, struct bt_call *call, int64_t deadline_ns, struct bt_buf *result,
                        baton_error *err) {
    struct asking a = {
        .context = context, .call = call, .err = err, .result = result, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t monotonic;
    baton_status status = bt_io_check_thread(io, err);
    if (status)
        return status;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    status = bt_io_run(io, ask, &a) ? a.asked : closed(err);
    if (!status && !wait_for(&a, deadline_ns)) {
        /* closing, the I/O thread tells everybody before it ends */
        if (!bt_io_run(io, drop, &a) || a.over)
            wait_for(&a, BT_NEVER_NS);
        else
            a.status = bt_fail(err, BATON_QUEUE_TIMEOUT, "%s", baton_status_text(BATON_QUEUE_TIMEOUT));
    }
    pthread_cond_destroy(&a.changed);
    pthread_mutex_destroy(&a.lock);
    if (status || a.status)
        return status ? status : a.status;
    return result->failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the result of a call") : BATON_OK;
}

static void list_holders(struct bt_io *io, void *arg) {
    bt_front_holders(io->front, arg);
}

void bt_io_who(struct bt_io *io, baton_error *err) {
    struct bt_buf who = BT_BUF_INIT;
    size_t len = strlen(err->text);
    if (err->status != BATON_BUSY)
        return;
    bt_io_run(io, list_holders, &who);
    bt_buf_add(&who, "", 1);
    if (!who.failed && who.len > 1)
        snprintf(err->text + len, sizeof err->text - len, " (%s): wait with when_full = wait, or cancel them",
                 (char *)who.data);
    bt_buf_free(&who);
}

struct where {
    struct bt_io_stream *stream;
    int context;
};

static void look(struct bt_io *io, void *arg) {
    struct where *w = arg;
    struct bt_io_stream *s = w->stream;
    (void)io;
    w->context = s->request ? bt_request_context(s->request) : s->context;
}

/* While it was asked. */
static baton_status owner_ended(struct bt_io_stream *s, baton_error *err) {
    pthread_mutex_lock(&s->lock);
    bool over = s->over;
    pthread_mutex_unlock(&s->lock);
    if (over)
        return bt_fail(err, BATON_STALE,
                       "the owner of request %llu has ended, and its conversation with it: save before its end, or ask "
                       "again with what was read",
                       (unsigned long long)s->id);
    return bt_fail(err, BATON_AGAIN, "its owner has just ended, and the answer goes on when there is another one");
}

baton_status bt_io_stream_save(struct bt_io_stream *s, uint32_t tokens, struct bt_buf *out, baton_error *err) {
    struct where w = {.stream = s};
    struct bt_call call = {.op = BT_CALL_SAVE, .about = s->id, .number = tokens, .bytes = {"", 0}};
    baton_status status = bt_io_check_thread(s->io, err);
    if (status)
        return status;
    if (!bt_io_run(s->io, look, &w))
        return closed(err);
    if (w.context < 0)
        return bt_fail(err, BATON_AGAIN, "its owner has ended, and the answer goes on when there is another one");
    status = bt_io_call(s->io, w.context, &call, BT_NEVER_NS, out, err);
    return status == BATON_CRASHED ? owner_ended(s, err) : status;
}

struct addition {
    struct bt_io_stream *stream;
    const struct bt_more *more;
    baton_status status;
    baton_error *err;
};

static void add(struct bt_io *io, void *arg) {
    struct addition *a = arg;
    (void)io;
    a->status = a->stream->request ? bt_request_more(a->stream->request, a->more, a->err) : BATON_OK;
}

/* One that is over says so where its results are read. */
baton_status bt_io_stream_more(struct bt_io_stream *s, const struct bt_more *more, baton_error *err) {
    struct addition a = {.stream = s, .more = more, .err = err};
    return bt_io_run(s->io, add, &a) ? a.status : closed(err);
}
