/* Prompts as tokens, for owners on either kind of thread: pure functions over the model. */
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"
#include "owner/request.h"

baton_status bt_check_tokens(const struct bt_model *m, const bt_token *tokens, size_t n, baton_error *err) {
    struct bt_model_info info;
    m->ops->info(m, &info);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= info.vocab_size)
            return bt_fail(err, BATON_INVALID, "token %d at index %zu of the prompt is not in the vocabulary (0 to %d)",
                           (int)tokens[i], i, info.vocab_size - 1);
    return BATON_OK;
}

baton_status bt_chat_tokens(const struct bt_model *m, const struct bt_chat_message *messages, size_t n_messages,
                            bt_token **tokens, size_t *n, baton_error *err) {
    struct bt_buf chat = BT_BUF_INIT;
    baton_status status = m->ops->chat(m, messages, n_messages, &chat, err);
    if (!status && chat.failed)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a chat of %zu messages", n_messages);
    if (!status)
        status = m->ops->tokenize(m, (const char *)chat.data, chat.len, true, true, tokens, n, err);
    bt_buf_free(&chat);
    return status;
}

/* What is known before the first native call: the prompt, and of the answer what came with a state. */
struct known {
    struct bt_saved saved; /* n_tokens 0: none */
    bt_token *tokens;      /* malloc */
    size_t n, n_prompt;
};

/* A chat with images; the chunks are the request's. */
static baton_status chunk_tokens(const struct bt_model *m, struct bt_owner_request *r, bt_token **tokens, size_t *n,
                                 baton_error *err) {
    const struct bt_submit *ask = &r->ask;
    return bt_chat_chunks(m, ask->messages, ask->n_messages, ask->images, ask->n_images, &r->chunks, tokens, n, err);
}

/* The new turn, malloc'd. After a saved conversation a text has no beginning of its own. */
static baton_status turn_tokens(const struct bt_model *m, struct bt_owner_request *r, bool after, bt_token **tokens,
                                size_t *n, baton_error *err) {
    const struct bt_submit *ask = &r->ask;
    *n = 0;
    *tokens = NULL;
    switch (ask->kind) {
    case BT_PROMPT_TEXT:
        return m->ops->tokenize(m, ask->text.data, ask->text.len, !after, true, tokens, n, err);
    case BT_PROMPT_CHAT:
        if (after)
            return bt_fail(err, BATON_UNSUPPORTED,
                           "messages cannot come after a saved conversation: a template writes whole chats. Give the "
                           "new turn as prompt or tokens");
        return ask->n_images ? chunk_tokens(m, r, tokens, n, err)
                             : bt_chat_tokens(m, ask->messages, ask->n_messages, tokens, n, err);
    case BT_PROMPT_TOKENS:
        *n = ask->n_tokens;
        *tokens = malloc(*n * sizeof **tokens + 1);
        if (!*tokens)
            return bt_fail(err, BATON_NO_MEMORY, "no memory for a prompt of %zu tokens", *n);
        if (*n)
            memcpy(*tokens, ask->tokens, *n * sizeof **tokens);
        return BATON_OK;
    case BT_PROMPT_STATE:
        return after ? BATON_OK : bt_fail(err, BATON_INVALID, "an answer is to go on and there is no state of it");
    }
    return bt_fail(err, BATON_INVALID, "a prompt of kind %d: there is none", (int)ask->kind);
}

static baton_status join(struct known *k, const bt_token *turn, size_t n, bool goes_on, baton_error *err) {
    const struct bt_saved *s = &k->saved;
    k->n = s->n_tokens + n;
    k->n_prompt = goes_on ? s->n_prompt : k->n;
    k->tokens = malloc(k->n * sizeof *k->tokens + 1);
    if (!k->tokens)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", k->n);
    if (s->n_tokens)
        memcpy(k->tokens, s->tokens, s->n_tokens * sizeof *k->tokens);
    if (n)
        memcpy(k->tokens + s->n_tokens, turn, n * sizeof *turn);
    return BATON_OK;
}

static baton_status known_of(const struct bt_model *m, struct bt_owner_request *r, struct known *k, baton_error *err) {
    const struct bt_submit *ask = &r->ask;
    bt_token *turn = NULL;
    size_t n = 0;
    bool after = ask->state.len > 0;
    baton_status status = after ? bt_saved_get(ask->state.data, ask->state.len, &k->saved, err) : BATON_OK;
    if (!status)
        status = turn_tokens(m, r, after, &turn, &n, err);
    if (!status)
        status = join(k, turn, n, ask->kind == BT_PROMPT_STATE, err);
    free(turn);
    return status || r->chunks ? status : bt_check_tokens(m, k->tokens, k->n, err);
}

/* The tokens of the answer that were delivered before: sampler and text machine are brought to where they were. */
static baton_status replay(const struct bt_model *m, struct bt_owner_request *r, const bt_token *tokens, size_t n,
                           baton_error *err) {
    struct bt_buf piece = BT_BUF_INIT, ignored = BT_BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        r->tokens[r->n_tokens++] = tokens[i];
        r->sampler->ops->accept(r->sampler, tokens[i]);
        piece.len = 0;
        m->ops->piece(m, tokens[i], &piece);
        r->stopped |= bt_textout_push(&r->text, piece.data, piece.len, &ignored);
    }
    bool lost = piece.failed || r->text.pending.failed;
    bt_buf_free(&piece);
    bt_buf_free(&ignored);
    return lost ? bt_fail(err, BATON_NO_MEMORY, "no memory for the text of a resumed answer") : BATON_OK;
}

/* The body, which may hold megabytes of prompt, is given back when the answer begins: stop strings outlive it. */
static bool own_stops(struct bt_owner_request *r) {
    struct bt_submit *s = &r->ask;
    size_t size = 1;
    for (size_t i = 0; i < s->n_stops; i++)
        size += s->stops[i].len;
    char *to = r->stop_bytes = malloc(size);
    for (size_t i = 0; i < s->n_stops && to; i++) {
        memcpy(to, s->stops[i].data, s->stops[i].len);
        s->stops[i].data = to;
        to += s->stops[i].len;
    }
    r->text.stops = s->stops;
    r->text.n_stops = s->n_stops;
    return r->stop_bytes != NULL;
}

static baton_status check_room(const struct known *k, size_t resumed, size_t capacity, baton_error *err) {
    if (k->n_prompt == 0)
        return bt_fail(err, BATON_INVALID, "the prompt has no tokens: there is nothing to continue");
    if (k->n >= capacity || k->n + resumed > capacity)
        return bt_fail(err, BATON_TOO_LONG,
                       "the prompt has %zu tokens and the context holds %zu (one is kept for the answer): shorten "
                       "the prompt or start with a larger --ctx",
                       k->n + resumed, capacity);
    return BATON_OK;
}

static baton_status take_known(const struct bt_model *m, size_t capacity, const struct known *k,
                               struct bt_owner_request *r, baton_error *err) {
    r->tokens = malloc(capacity * sizeof *r->tokens);
    if (!r->tokens || !own_stops(r))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", capacity);
    int *window = &r->ask.sampling.penalty_last_n;
    if (*window < 0 || *window > (int)capacity)
        *window = (int)capacity; /* there is no more to look back at, and samplers keep room for all of it */
    bt_token *text;
    size_t n_text;
    baton_status status = bt_text_tokens(k->tokens, k->n_prompt, &text, &n_text, err);
    if (!status)
        status = m->ops->sampler(m, &r->ask.sampling, text, n_text, &r->sampler, err);
    free(text);
    if (status)
        return status;
    memcpy(r->tokens, k->tokens, k->n_prompt * sizeof *k->tokens);
    r->n_prompt = r->n_tokens = (int32_t)k->n_prompt;
    r->n_before = (int32_t)(k->n - k->n_prompt);
    r->cache = k->saved.cache;
    r->cache_size = k->saved.cache_size;
    r->cached = k->saved.cached;
    status = replay(m, r, k->tokens + k->n_prompt, k->n - k->n_prompt, err);
    return status ? status : replay(m, r, r->ask.resume, r->ask.n_resume, err);
}

baton_status bt_prepare_prompt(const struct bt_model *m, int capacity, int chunk, struct bt_owner_request *r,
                               baton_error *err) {
    struct known k = {.tokens = NULL};
    baton_status status = known_of(m, r, &k, err);
    if (!status && r->chunks)
        status = bt_check_chunks(r->chunks, chunk, err);
    if (!status)
        status = bt_check_tokens(m, r->ask.resume, r->ask.n_resume, err);
    if (!status)
        status = check_room(&k, r->ask.n_resume, (size_t)capacity, err);
    if (!status)
        status = take_known(m, (size_t)capacity, &k, r, err);
    free(k.tokens);
    bt_saved_free(&k.saved);
    return status;
}
