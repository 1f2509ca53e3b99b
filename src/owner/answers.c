/* What the model alone can tell, for whoever asks over frames, and texts as the inputs of an embedding. Pure functions
 * over the model. */
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"
#include "owner/request.h"

/* One text, or its tokens, as the native library takes it. */
static baton_status input_of(const struct bt_model *m, const char *query, const struct bt_frame_input *from,
                             size_t number, struct bt_input *out, baton_error *err) {
    bt_token *tokens = NULL;
    baton_status status;
    if (query && (from->n > 0 || strlen(from->text.data) != from->text.len))
        return bt_fail(err, BATON_INVALID, "document %zu is no text without NUL bytes, which scoring takes", number);
    if (query) {
        status = m->ops->pair(m, query, from->text.data, &tokens, &out->n, err);
    } else if (from->n == 0) {
        status = m->ops->tokenize(m, from->text.data, from->text.len, true, false, &tokens, &out->n, err);
    } else {
        status = bt_check_tokens(m, from->tokens, from->n, err);
        if (status)
            return bt_fail(err, status, "input %zu has tokens that are not in the vocabulary", number);
        tokens = malloc(from->n * sizeof *tokens);
        if (!tokens)
            return bt_fail(err, BATON_NO_MEMORY, "no memory for input %zu", number);
        memcpy(tokens, from->tokens, from->n * sizeof *tokens);
        out->n = from->n;
    }
    out->tokens = tokens;
    return status;
}

baton_status bt_prepare_inputs(const struct bt_model *m, int capacity, bool score, struct bt_text query,
                               const struct bt_frame_input *from, size_t n, size_t number, struct bt_inputs *out,
                               baton_error *err) {
    if (score && strlen(query.data) != query.len)
        return bt_fail(err, BATON_INVALID, "the query has NUL bytes, which scoring does not take");
    out->list = calloc(n + 1, sizeof *out->list);
    if (!out->list)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu inputs", n);
    for (out->n = 0; out->n < n; out->n++) {
        size_t i = number + out->n;
        struct bt_input *in = &out->list[out->n];
        baton_status status = input_of(m, score ? query.data : NULL, &from[out->n], i, in, err);
        if (!status && in->n == 0)
            status = bt_fail(err, BATON_INVALID, "input %zu has no tokens", i);
        if (!status && in->n > (size_t)capacity)
            status =
                bt_fail(err, BATON_TOO_LONG, "input %zu has %zu tokens and the context holds %d", i, in->n, capacity);
        if (status) {
            free((void *)in->tokens);
            return status;
        }
    }
    return BATON_OK;
}

/* The number under ARCHITECTURE.pooling_type, as libllama counts (llama.h: llama_pooling_type); -1: there is none. */
static int pooling_type(const struct bt_model *m) {
    static const char suffix[] = ".pooling_type";
    struct bt_buf key = BT_BUF_INIT, value = BT_BUF_INIT;
    int type = -1;
    for (int i = 0; type < 0 && m->ops->metadata(m, i, &key, &value); i++) {
        bt_buf_add(&value, "", 1);
        if (!value.failed && key.len >= sizeof suffix - 1 &&
            memcmp(key.data + key.len - (sizeof suffix - 1), suffix, sizeof suffix - 1) == 0)
            type = (int)strtol((const char *)value.data, NULL, 10);
        key.len = value.len = 0;
    }
    bt_buf_free(&key);
    bt_buf_free(&value);
    return type;
}

enum bt_pooling bt_pooling_for(const struct bt_model *m, enum bt_pooling asked, bool generates) {
    struct bt_model_details d;
    if (asked != BT_POOL_AUTO)
        return asked;
    m->ops->details(m, &d);
    if (generates && d.generates)
        return BT_POOL_OFF;
    if (d.scores > 0)
        return BT_POOL_RANK;
    int type = pooling_type(m);
    return type == 2 ? BT_POOL_CLS : type == 3 ? BT_POOL_LAST : BT_POOL_MEAN;
}

static baton_status tokenize(const struct bt_model *m, const struct bt_call *call, struct bt_buf *out,
                             baton_error *err) {
    bt_token *tokens = NULL;
    size_t n = 0;
    baton_status status = m->ops->tokenize(m, call->bytes.data, call->bytes.len, call->number & BT_TOKENIZE_ADD,
                                           call->number & BT_TOKENIZE_PARSE, &tokens, &n, err);
    if (!status)
        bt_put_tokens(out, tokens, n);
    free(tokens);
    return status;
}

static baton_status detokenize(const struct bt_model *m, const struct bt_call *call, struct bt_buf *out,
                               baton_error *err) {
    struct bt_model_info info;
    bt_token *tokens;
    size_t n;
    m->ops->info(m, &info);
    baton_status status = bt_get_tokens((const unsigned char *)call->bytes.data, call->bytes.len, &tokens, &n);
    if (status)
        return bt_fail(err, status, "the tokens of a call are malformed");
    for (size_t i = 0; i < n && !status; i++)
        if (tokens[i] < 0 || tokens[i] >= info.vocab_size)
            status = bt_fail(err, BATON_INVALID, "token %d at index %zu is not in the vocabulary (0 to %d)",
                             (int)tokens[i], i, info.vocab_size - 1);
        else
            m->ops->piece(m, tokens[i], out);
    free(tokens);
    return status;
}

static baton_status chat(const struct bt_model *m, const struct bt_call *call, struct bt_buf *out, baton_error *err) {
    struct bt_chat_message *messages;
    size_t n;
    baton_status status = bt_get_pairs((const unsigned char *)call->bytes.data, call->bytes.len, &messages, &n);
    if (status)
        return bt_fail(err, status, "the messages of a call are malformed");
    status = m->ops->chat(m, messages, n, out, err);
    free(messages);
    return status;
}

static void metadata(const struct bt_model *m, struct bt_buf *out) {
    struct bt_buf key = BT_BUF_INIT, value = BT_BUF_INIT;
    for (int i = 0; m->ops->metadata(m, i, &key, &value); i++) {
        out->failed |= key.failed || value.failed;
        bt_put_pair(out, (const char *)key.data, key.len, (const char *)value.data, value.len);
        key.len = value.len = 0;
    }
    bt_buf_free(&key);
    bt_buf_free(&value);
}

baton_status bt_answer_call(const struct bt_model *m, const struct bt_call *call, struct bt_buf *result,
                            baton_error *err) {
    baton_status status = BATON_OK;
    switch (call->op) {
    case BT_CALL_TOKENIZE:
        status = tokenize(m, call, result, err);
        break;
    case BT_CALL_DETOKENIZE:
        status = detokenize(m, call, result, err);
        break;
    case BT_CALL_CHAT:
        status = chat(m, call, result, err);
        break;
    case BT_CALL_METADATA:
        metadata(m, result);
        break;
    default:
        return bt_fail(err, BATON_PROTOCOL, "a call of kind %d is not about the model", (int)call->op);
    }
    return !status && result->failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the result of a call") : status;
}
