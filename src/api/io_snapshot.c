/* Snapshots of models with owners of their own: the I/O thread tells, who asked looks up the names of threads. State:
 * the caller's. */
#include "api/io_int.h"

struct look {
    baton_snapshot *snapshot;
    baton_status status;
    baton_error *err;
};

/* Each handler of this front is a stream's, held while its request is alive. */
static unsigned asker(const void *arg) {
    const struct bt_io_stream *s = arg;
    return s->tid;
}

static void look(struct bt_io *io, void *arg) {
    struct look *l = arg;
    l->status = bt_front_snapshot(io->front, asker, l->snapshot, l->err);
}

baton_status bt_io_snapshot(struct bt_io *io, baton_snapshot *s, baton_error *err) {
    struct look l = {.snapshot = s, .err = err};
    if (pthread_equal(io->thread, pthread_self()))
        return bt_fail(err, BATON_REENTRANT,
                       "this is the I/O thread of that model, in a log handler: it cannot wait for itself");
    if (!bt_io_run(io, look, &l))
        return bt_fail(err, BATON_CLOSED, "the model is being closed");
    if (l.status)
        return l.status;
    for (int i = 0; i < s->running; i++)
        if (s->run[i].tid)
            bt_thread_name(s->run[i].tid, s->run[i].thread, sizeof s->run[i].thread);
    for (int i = 0; i < s->contexts; i++)
        if (s->context[i].tid)
            bt_thread_name(s->context[i].tid, s->context[i].thread, sizeof s->context[i].thread);
    return BATON_OK;
}
