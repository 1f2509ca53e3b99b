/* The prepare thread: chat template, tokens, sampler; slow work on the model only, which is safe beside a decode
 * (llama.h: "Tokenization … The API is thread-safe"; templates are pure functions).
 *
 * Requests go in and come out as pointers through two pipes: order is kept, no lock is taken, and whoever has read a
 * pointer owns the request. A pipe holds 8,192 pointers and the loop has fewer requests than that alive, so neither
 * side ever waits to write. */
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
    int capacity;
    int in[2], out[2]; /* pipes: [0] is read, [1] written */
    pthread_t thread;
};

struct bt_owner_request *bt_owner_request_new(struct bt_body *body, baton_error *err) {
    struct bt_owner_request *r = calloc(1, sizeof *r);
    baton_status status = r ? bt_get_submit(&body->head, body->bytes.data, body->bytes.len, &r->ask) : BATON_NO_MEMORY;
    if (status) {
        free(r);
        bt_fail(err, status, "a SUBMIT of %zu bytes %s", body->bytes.len,
                status == BATON_NO_MEMORY ? "finds no memory" : "is malformed");
        bt_body_free(body);
        return NULL;
    }
    r->body = body;
    r->seq = -1;
    bt_list_init(&r->link);
    return r;
}

void bt_owner_request_free(struct bt_owner_request *r) {
    if (!r)
        return;
    if (r->sampler)
        r->sampler->ops->free(r->sampler);
    bt_buf_free(&r->text.pending);
    bt_submit_free(&r->ask);
    free(r->tokens);
    bt_body_free(r->body);
    free(r);
}

/* The prompt as tokens, malloc'd. */
static baton_status prompt_tokens(const struct bt_model *m, const struct bt_submit *ask, bt_token **tokens, size_t *n,
                                  baton_error *err) {
    if (ask->kind == BT_PROMPT_TOKENS) {
        baton_status status = bt_check_tokens(m, ask->tokens, ask->n_tokens, err);
        if (status)
            return status;
        *n = ask->n_tokens;
        *tokens = malloc(*n * sizeof **tokens + 1);
        if (!*tokens)
            return bt_fail(err, BATON_NO_MEMORY, "no memory for a prompt of %zu tokens", *n);
        if (*n)
            memcpy(*tokens, ask->tokens, *n * sizeof **tokens);
        return BATON_OK;
    }
    if (ask->kind == BT_PROMPT_TEXT)
        return m->ops->tokenize(m, ask->text.data, ask->text.len, true, true, tokens, n, err);
    return bt_chat_tokens(m, ask->messages, ask->n_messages, tokens, n, err);
}

/* The tokens that an earlier attempt delivered: sampler and text machine are brought to where they were. */
static baton_status replay(const struct bt_model *m, struct bt_owner_request *r, baton_error *err) {
    struct bt_buf piece = BT_BUF_INIT, ignored = BT_BUF_INIT;
    for (size_t i = 0; i < r->ask.n_resume; i++) {
        bt_token token = r->ask.resume[i];
        r->tokens[r->n_tokens++] = token;
        r->sampler->ops->accept(r->sampler, token);
        piece.len = 0;
        m->ops->piece(m, token, &piece);
        r->stopped |= bt_textout_push(&r->text, piece.data, piece.len, &ignored);
    }
    bool lost = piece.failed || r->text.pending.failed;
    bt_buf_free(&piece);
    bt_buf_free(&ignored);
    return lost ? bt_fail(err, BATON_NO_MEMORY, "no memory for the text of a resumed answer") : BATON_OK;
}

static baton_status prepare(const struct bt_prepare *p, struct bt_owner_request *r, baton_error *err) {
    const struct bt_model *m = p->model;
    bt_token *prompt = NULL;
    size_t n = 0, capacity = (size_t)p->capacity;
    baton_status status = prompt_tokens(m, &r->ask, &prompt, &n, err);
    if (!status)
        status = bt_check_tokens(m, r->ask.resume, r->ask.n_resume, err);
    if (!status && n == 0)
        status = bt_fail(err, BATON_INVALID, "the prompt has no tokens: there is nothing to continue");
    if (!status && (n >= capacity || n + r->ask.n_resume > capacity))
        status = bt_fail(err, BATON_TOO_LONG,
                         "the prompt has %zu tokens and the context holds %zu (one is kept for the answer): shorten "
                         "the prompt or start with a larger --ctx",
                         n + r->ask.n_resume, capacity);
    if (!status) {
        r->tokens = malloc(capacity * sizeof *r->tokens);
        if (!r->tokens)
            status = bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", capacity);
    }
    int *window = &r->ask.sampling.penalty_last_n;
    if (*window < 0 || *window > p->capacity)
        *window = p->capacity; /* there is no more to look back at, and samplers keep room for all of it */
    if (!status)
        status = m->ops->sampler(m, &r->ask.sampling, prompt, n, &r->sampler, err);
    if (!status) {
        memcpy(r->tokens, prompt, n * sizeof *prompt);
        r->n_prompt = r->n_tokens = (int32_t)n;
        r->text.stops = r->ask.stops;
        r->text.n_stops = r->ask.n_stops;
        status = replay(m, r, err);
    }
    free(prompt);
    return status;
}

/* Moves one pointer; false at the end of the pipe, or when it is empty and not to be waited for. */
static bool move(int fd, struct bt_owner_request **r, bool reading) {
    ssize_t n;
    do
        n = reading ? read(fd, r, sizeof *r) : write(fd, r, sizeof *r);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *r;
}

static void *prepare_main(void *arg) {
    struct bt_prepare *p = arg;
    struct bt_owner_request *r;
    pthread_setname_np(pthread_self(), "baton-prepare");
    while (move(p->in[0], &r, true)) {
        r->error.status = BATON_OK;
        prepare(p, r, &r->error);
        move(p->out[1], &r, false);
    }
    close(p->out[1]);
    return NULL;
}

baton_status bt_prepare_start(const struct bt_model *m, int capacity, struct bt_prepare **out, baton_error *err) {
    struct bt_prepare *p = calloc(1, sizeof *p);
    if (!p)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the prepare thread");
    p->model = m;
    p->capacity = capacity;
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

void bt_prepare_give(struct bt_prepare *p, struct bt_owner_request *r) {
    r->preparing = true;
    move(p->in[1], &r, false);
}

struct bt_owner_request *bt_prepare_take(struct bt_prepare *p) {
    struct bt_owner_request *r;
    if (!move(p->out[0], &r, true))
        return NULL;
    r->preparing = false;
    return r;
}

int bt_prepare_fd(const struct bt_prepare *p) {
    return p->out[0];
}

void bt_prepare_stop(struct bt_prepare *p) {
    struct bt_owner_request *r;
    close(p->in[1]);
    pthread_join(p->thread, NULL);
    while (move(p->out[0], &r, true))
        bt_owner_request_free(r);
    close(p->in[0]);
    close(p->out[0]);
    free(p);
}
