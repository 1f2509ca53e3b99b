/* Starting owners as threads, and the choice between the two kinds (spawn_process.c is the other). */
#include "ipc/spawn_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "owner/draw.h"
#include "owner/hear.h"
#include "owner/owner.h"

/* Invariant: `thread` may be joined exactly while `started`. Whoever asks bt_spawn_is_owner or visits may be any
 * thread, so these read only what is fixed or atomic. */
struct owner_thread {
    int visits[2]; /* a pipe: [0] is the owner's, [1] whoever visits; both for the life of the spawn */
    pthread_t thread;
    bool started;
    struct bt_owner_params params;
    struct bt_whisper *ear; /* it hears */
    struct bt_sd *sd;       /* it draws; neither: it generates */
    int number;
    _Atomic bool ended;
};

struct threads {
    struct bt_spawn base;
    struct bt_model *model;
    struct bt_whisper *ear;
    struct bt_sd *sd; /* one of the three */
    char name[128];   /* of that */
    struct bt_context_params context;
    int n;
    struct owner_thread owners[];
};

/* Of which spawn this thread is an owner. */
static _Thread_local const struct bt_spawn *owner_of;

static struct threads *of(const struct bt_spawn *s) {
    return (struct threads *)BT_CONTAINER(s, const struct threads, base);
}

struct start {
    struct owner_thread *owner;
    const struct bt_spawn *spawn;
};

static void *owner_main(void *arg) {
    struct start start = *(struct start *)arg;
    struct owner_thread *o = start.owner;
    char name[16];
    free(arg);
    owner_of = start.spawn;
    snprintf(name, sizeof name, "baton-owner-%d", o->number);
    pthread_setname_np(pthread_self(), name);
    if (o->sd)
        bt_draw_run(&(struct bt_draw_params){o->sd, of(start.spawn)->name, o->params.fd});
    else if (o->ear)
        bt_hear_run(&(struct bt_hear_params){o->ear, o->params.context.threads, o->params.fd});
    else
        bt_owner_run(&o->params);
    int fd = o->params.fd;
    atomic_store(&o->ended, true); /* before the front can see the end */
    close(fd);
    return NULL;
}

static baton_status threads_start(struct bt_spawn *base, int context, int *fd, baton_error *err) {
    struct threads *s = of(base);
    struct owner_thread *o = &s->owners[context];
    struct start *start = malloc(sizeof *start);
    int pair[2];
    if (!start)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for an owner");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        free(start);
        return bt_fail(err, BATON_IO, "no socket pair for an owner: %s", strerror(errno));
    }
    *start = (struct start){o, base};
    o->params = (struct bt_owner_params){s->model, s->context, pair[1], o->visits[0]};
    o->ear = s->ear;
    o->sd = s->sd;
    o->number = context;
    atomic_store(&o->ended, false);
    int rc = bt_thread_start(&o->thread, owner_main, start);
    if (rc) {
        free(start);
        close(pair[0]);
        close(pair[1]);
        return bt_fail(err, BATON_IO, "an owner thread cannot be started: %s", strerror(rc));
    }
    o->started = true;
    *fd = pair[0];
    return BATON_OK;
}

static void join(struct owner_thread *o) {
    struct bt_visit *visit;
    if (o->started)
        pthread_join(o->thread, NULL);
    o->started = false;
    while (read(o->visits[0], &visit, sizeof visit) == (ssize_t)sizeof visit)
        visit->done(visit, false);
}

static bool threads_reap(struct bt_spawn *base, int context, struct bt_owner_end *end) {
    struct owner_thread *o = &of(base)->owners[context];
    if (!o->started || !atomic_load(&o->ended))
        return false;
    join(o);
    *end = (struct bt_owner_end){.kind = BT_END_EXITED};
    return true;
}

static void threads_visit(struct bt_spawn *base, int context, struct bt_visit *visit) {
    if (of(base)->ear || of(base)->sd) {
        visit->done(visit, false);
        return;
    }
    /* a pipe holds 8,192 pointers, and whoever visits waits for the end of it */
    if (write(of(base)->owners[context].visits[1], &visit, sizeof visit) != (ssize_t)sizeof visit)
        visit->done(visit, false);
}

static const struct bt_model *threads_model(const struct bt_spawn *base) {
    return of(base)->model;
}

static void threads_close(struct bt_spawn *base) {
    struct threads *s = of(base);
    for (int i = 0; i < s->n; i++) {
        join(&s->owners[i]);
        close(s->owners[i].visits[0]);
        close(s->owners[i].visits[1]);
    }
    bt_model_close(s->model);
    if (s->ear)
        s->ear->ops->free(s->ear);
    bt_sd_close(s->sd);
    free(s);
}

static const struct bt_spawn_ops thread_ops = {.start = threads_start,
                                               .reap = threads_reap,
                                               .visit = threads_visit,
                                               .model = threads_model,
                                               .close = threads_close};

static baton_status load(struct threads *s, const struct bt_spawn_params *params, baton_error *err) {
    const struct bt_whisper_model_params ear = {
        .path = params->model.path, .gpu = params->model.gpu_layers > 0, .gpu_device = params->model.gpu_layers - 1};
    if (params->hears)
        return bt_whisper_open(&ear, &s->ear, err);
    if (!params->draws)
        return bt_model_open(&params->model, &s->model, err);
    if (params->contexts > 1)
        return bt_fail(
            err, BATON_INVALID,
            "%d contexts that draw: a process has one, as libstable-diffusion's callbacks are the process's. "
            "Use owner processes, one context each",
            params->contexts);
    const char *path = bt_sd_path(params->draws);
    snprintf(s->name, sizeof s->name, "%s", path ? path : "");
    return bt_sd_open(params->draws, &s->sd, err);
}

static baton_status threads_open(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err) {
    struct threads *s = calloc(1, sizeof *s + (size_t)params->contexts * sizeof s->owners[0]);
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d owners", params->contexts);
    s->base.ops = &thread_ops;
    s->context = params->context;
    baton_status status = load(s, params, err);
    for (; s->n < params->contexts && !status; s->n += status == BATON_OK)
        if (pipe2(s->owners[s->n].visits, O_CLOEXEC | O_NONBLOCK))
            status = bt_fail(err, BATON_IO, "no pipe for an owner: %s", strerror(errno));
    if (status) {
        threads_close(&s->base);
        return status;
    }
    *spawn = &s->base;
    return BATON_OK;
}

baton_status bt_spawn_open(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err) {
    *spawn = NULL;
    return params->owner == BT_OWNER_PROCESS ? bt_spawn_processes(params, spawn, err)
                                             : threads_open(params, spawn, err);
}

baton_status bt_spawn_start(struct bt_spawn *s, int context, int *fd, baton_error *err) {
    return s->ops->start(s, context, fd, err);
}

int bt_spawn_pidfd(const struct bt_spawn *s, int context) {
    return s->ops->pidfd ? s->ops->pidfd(s, context) : -1;
}

int bt_spawn_log_fd(const struct bt_spawn *s, int context) {
    return s->ops->log_fd ? s->ops->log_fd(s, context) : -1;
}

void bt_spawn_read_log(struct bt_spawn *s, int context) {
    if (s->ops->read_log)
        s->ops->read_log(s, context);
}

void bt_spawn_kill(struct bt_spawn *s, int context) {
    if (s->ops->kill)
        s->ops->kill(s, context);
}

bool bt_spawn_reap(struct bt_spawn *s, int context, struct bt_owner_end *end) {
    return s->ops->reap(s, context, end);
}

const char *bt_spawn_sandbox(const struct bt_spawn *s, int context) {
    return s->ops->sandbox ? s->ops->sandbox(s, context) : "";
}

void bt_spawn_visit(struct bt_spawn *s, int context, struct bt_visit *visit) {
    if (s->ops->visit)
        s->ops->visit(s, context, visit);
    else
        visit->done(visit, false);
}

bool bt_spawn_is_owner(const struct bt_spawn *s) {
    return owner_of == s;
}

void bt_spawn_close(struct bt_spawn **spawn) {
    struct bt_spawn *s = *spawn;
    *spawn = NULL;
    if (s)
        s->ops->close(s);
}
