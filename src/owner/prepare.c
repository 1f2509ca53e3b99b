/* The prepare thread: chat template, tokens, sampler, questions about the vocabulary; slow work on the model only,
 * which is safe beside a decode (llama.h: "Tokenization … The API is thread-safe"; templates are pure functions).
 *
 * Jobs go in and come out as pointers through two pipes: order is kept, no lock is taken, and whoever has read a
 * pointer owns the job. A pipe holds 8,192 pointers and the loop has fewer jobs than that under way, so neither side
 * ever waits to write. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "owner/owner.h"
#include "owner/request.h"

struct bt_prepare {
    const struct bt_model *model;
    int capacity, chunk;
    enum bt_pooling pooling;
    int in[2], out[2]; /* pipes: [0] is read, [1] written */
    pthread_t thread;
};

/* A handle is for one thing: a context generates, embeds or scores. */
static baton_status check_what(enum bt_pooling pooling, enum bt_what what, baton_error *err) {
    static const char *const can[] = {"generates", "embeds", "scores"};
    static const char *const asks[] = {"an answer", "an embedding", "a score", "a transcription"};
    enum bt_what mine = pooling == BT_POOL_OFF    ? BT_WHAT_GENERATE
                        : pooling == BT_POOL_RANK ? BT_WHAT_SCORE
                                                  : BT_WHAT_EMBED;
    if (what == mine)
        return BATON_OK;
    return bt_fail(err, BATON_UNSUPPORTED, "this model was opened as one that %s, and %s is asked for", can[mine],
                   asks[what]);
}

static baton_status prepare_request(const struct bt_prepare *p, struct bt_owner_request *r, baton_error *err) {
    const struct bt_submit *ask = &r->ask;
    baton_status status = check_what(p->pooling, ask->what, err);
    if (status || ask->what == BT_WHAT_GENERATE)
        return status ? status : bt_prepare_prompt(p->model, p->capacity, p->chunk, r, err);
    return bt_prepare_inputs(p->model, p->capacity, ask->what == BT_WHAT_SCORE, ask->text, ask->inputs, ask->n_inputs,
                             0, &r->inputs, err);
}

static void prepare(const struct bt_prepare *p, struct bt_job *job) {
    struct bt_owner_more *more;
    struct bt_owner_call *call;
    baton_error err = {BATON_OK, ""};
    switch (job->kind) {
    case BT_JOB_REQUEST:
        prepare_request(p, BT_CONTAINER(job, struct bt_owner_request, job), &err);
        break;
    case BT_JOB_MORE:
        more = BT_CONTAINER(job, struct bt_owner_more, job);
        bt_prepare_inputs(p->model, p->capacity, false, (struct bt_text){"", 0}, more->ask.inputs, more->ask.n_inputs,
                          more->first, &more->inputs, &err);
        break;
    case BT_JOB_CALL:
        call = BT_CONTAINER(job, struct bt_owner_call, job);
        bt_answer_call(p->model, &call->ask, &call->result, &err);
        break;
    }
    job->error = err;
}

/* Moves one pointer; false at the end of the pipe, or when it is empty and not to be waited for. */
static bool move(int fd, struct bt_job **job, bool reading) {
    ssize_t n;
    do
        n = reading ? read(fd, job, sizeof *job) : write(fd, job, sizeof *job);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *job;
}

static void *prepare_main(void *arg) {
    struct bt_prepare *p = arg;
    struct bt_job *job;
    pthread_setname_np(pthread_self(), "baton-prepare");
    while (move(p->in[0], &job, true)) {
        prepare(p, job);
        move(p->out[1], &job, false);
    }
    close(p->out[1]);
    return NULL;
}

baton_status bt_prepare_start(const struct bt_model *m, int capacity, int chunk, enum bt_pooling pooling,
                              struct bt_prepare **out, baton_error *err) {
    struct bt_prepare *p = calloc(1, sizeof *p);
    if (!p)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the prepare thread");
    p->model = m;
    p->capacity = capacity;
    p->chunk = chunk;
    p->pooling = pooling;
    if (pipe2(p->in, O_CLOEXEC)) {
        free(p);
        return bt_fail(err, BATON_IO, "no pipe: %s", strerror(errno));
    }
    if (pipe2(p->out, O_CLOEXEC)) {
        close(p->in[0]);
        close(p->in[1]);
        free(p);
        return bt_fail(err, BATON_IO, "no pipe: %s", strerror(errno));
    }
    fcntl(p->out[0], F_SETFL, O_NONBLOCK);
    int rc = bt_thread_start(&p->thread, prepare_main, p);
    if (rc) {
        for (int i = 0; i < 2; i++) {
            close(p->in[i]);
            close(p->out[i]);
        }
        free(p);
        return bt_fail(err, BATON_IO, "the prepare thread cannot be started: %s", strerror(rc));
    }
    *out = p;
    return BATON_OK;
}

void bt_prepare_give(struct bt_prepare *p, struct bt_job *job) {
    move(p->in[1], &job, false);
}

struct bt_job *bt_prepare_take(struct bt_prepare *p) {
    struct bt_job *job;
    return move(p->out[0], &job, true) ? job : NULL;
}

int bt_prepare_fd(const struct bt_prepare *p) {
    return p->out[0];
}

void bt_prepare_stop(struct bt_prepare *p) {
    struct bt_job *job;
    close(p->in[1]);
    pthread_join(p->thread, NULL);
    while (move(p->out[0], &job, true))
        bt_job_free(job);
    close(p->in[0]);
    close(p->out[0]);
    free(p);
}
