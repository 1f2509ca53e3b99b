/* Starting owners in threads. A bt_spawn belongs to the thread that opened it; each owner's parameters belong to its
 * thread from its start to its join. */
#include "ipc/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "owner/owner.h"

struct bt_spawn {
    struct bt_model *model;
    int n;
    struct owner_thread {
        pthread_t thread;
        int visits[2]; /* a pipe: [0] is the owner's, [1] whoever visits */
        struct bt_owner_params params;
        int number;
    } owners[];
};

static void *owner_main(void *arg) {
    struct owner_thread *o = arg;
    char name[16];
    snprintf(name, sizeof name, "baton-owner-%d", o->number);
    pthread_setname_np(pthread_self(), name);
    bt_owner_run(&o->params);
    close(o->params.fd);
    return NULL;
}

static baton_status start(struct bt_spawn *s, const struct bt_context_params *context, int *fd, baton_error *err) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return bt_fail(err, BATON_IO, "no socket pair for an owner: %s", strerror(errno));
    struct owner_thread *o = &s->owners[s->n];
    if (pipe2(o->visits, O_CLOEXEC | O_NONBLOCK)) {
        close(pair[0]);
        close(pair[1]);
        return bt_fail(err, BATON_IO, "no pipe for an owner: %s", strerror(errno));
    }
    o->params = (struct bt_owner_params){s->model, *context, pair[1], o->visits[0]};
    o->number = s->n;
    int rc = bt_thread_start(&o->thread, owner_main, o);
    if (rc) {
        close(pair[0]);
        close(pair[1]);
        close(o->visits[0]);
        close(o->visits[1]);
        return bt_fail(err, BATON_IO, "an owner thread cannot be started: %s", strerror(rc));
    }
    *fd = pair[0];
    s->n++;
    return BATON_OK;
}

baton_status bt_spawn_open(const struct bt_model_params *model, const struct bt_context_params *context, int contexts,
                           int *fds, struct bt_spawn **spawn, baton_error *err) {
    struct bt_spawn *s = calloc(1, sizeof *s + (size_t)contexts * sizeof s->owners[0]);
    *spawn = NULL;
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %d owners", contexts);
    baton_status status = bt_model_open(model, &s->model, err);
    for (int i = 0; i < contexts && !status; i++)
        status = start(s, context, &fds[i], err);
    if (status) {
        for (int i = 0; i < s->n; i++)
            close(fds[i]);
        bt_spawn_close(&s);
        return status;
    }
    *spawn = s;
    return BATON_OK;
}

const struct bt_model *bt_spawn_model(const struct bt_spawn *spawn) {
    return spawn->model;
}

void bt_spawn_visit(struct bt_spawn *spawn, int context, struct bt_visit *visit) {
    /* a pipe holds 8,192 pointers, and whoever visits waits for the end of it */
    if (write(spawn->owners[context].visits[1], &visit, sizeof visit) != (ssize_t)sizeof visit)
        visit->done(visit, false);
}

bool bt_spawn_is_owner(const struct bt_spawn *spawn) {
    for (int i = 0; i < spawn->n; i++)
        if (pthread_equal(spawn->owners[i].thread, pthread_self()))
            return true;
    return false;
}

void bt_spawn_close(struct bt_spawn **spawn) {
    struct bt_spawn *s = *spawn;
    *spawn = NULL;
    if (!s)
        return;
    for (int i = 0; i < s->n; i++) {
        struct bt_visit *visit;
        pthread_join(s->owners[i].thread, NULL);
        while (read(s->owners[i].visits[0], &visit, sizeof visit) == (ssize_t)sizeof visit)
            visit->done(visit, false);
        close(s->owners[i].visits[0]);
        close(s->owners[i].visits[1]);
    }
    bt_model_close(s->model);
    free(s);
}
