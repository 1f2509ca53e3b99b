/* Tokens, text and what a model says of itself: on what never changes, so beside anything. Stateless. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

baton_status bt_llama_call(const baton_llama *llama, enum bt_call_op op, uint32_t number, const void *bytes, size_t len,
                           struct bt_buf *result, baton_error *err) {
    struct bt_call call = {.op = op, .number = number, .bytes = {bytes, len}};
    return bt_told(bt_io_call(llama->io, -1, &call, BT_NEVER_NS, result, err), err);
}

baton_status baton_llama_tokenize(const baton_llama *llama, const char *text, size_t len, bool special,
                                  int32_t **tokens, size_t *n, baton_error *err) {
    BT_IN_CALL(llama);
    struct bt_buf result = BT_BUF_INIT;
    BT_NEED(tokens && n, "places for the tokens and their number", err);
    *tokens = NULL;
    *n = 0;
    BT_NEED(llama, "a model", err);
    BT_NEED(text || len == 0, "a text", err);
    if (len > INT32_MAX)
        return bt_fail(err, BATON_TOO_LONG, "a text of %zu bytes is more than can be turned into tokens", len);
    if (llama->model)
        return llama->model->ops->tokenize(llama->model, text, len, special, special, tokens, n, err);
    baton_status status = bt_llama_call(llama, BT_CALL_TOKENIZE, special ? BT_TOKENIZE_ADD | BT_TOKENIZE_PARSE : 0,
                                        text, len, &result, err);
    if (!status && bt_get_tokens(result.data, result.len, tokens, n))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for the tokens of %zu bytes", len);
    bt_buf_free(&result);
    for (size_t i = 0; !status && i < *n; i++) /* programs take them for an index */
        if ((*tokens)[i] < 0 || (*tokens)[i] >= llama->info.vocab_size)
            status = bt_fail(err, BATON_PROTOCOL, "the owner sent token %d, of which there is none", (*tokens)[i]);
    if (status) {
        free(*tokens);
        *tokens = NULL;
        *n = 0;
    }
    return status;
}

/* The bytes of each token, one after the other. */
static baton_status pieces(const baton_llama *llama, const int32_t *tokens, size_t n, struct bt_buf *out,
                           baton_error *err) {
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= llama->info.vocab_size)
            return bt_fail(err, BATON_INVALID, "token %d at index %zu is not in the vocabulary (0 to %d)",
                           (int)tokens[i], i, llama->info.vocab_size - 1);
    if (llama->model) {
        for (size_t i = 0; i < n; i++)
            llama->model->ops->piece(llama->model, tokens[i], out);
        return BATON_OK;
    }
    struct bt_buf list = BT_BUF_INIT;
    bt_put_tokens(&list, tokens, n);
    baton_status status = list.failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", n)
                                      : bt_llama_call(llama, BT_CALL_DETOKENIZE, 0, list.data, list.len, out, err);
    bt_buf_free(&list);
    return status;
}

baton_status baton_llama_detokenize(const baton_llama *llama, const int32_t *tokens, size_t n, char **text, size_t *len,
                                    baton_error *err) {
    BT_IN_CALL(llama);
    struct bt_buf bytes = BT_BUF_INIT, clean = BT_BUF_INIT;
    BT_NEED(text, "a place for the text", err);
    *text = NULL;
    BT_NEED(llama, "a model", err);
    BT_NEED(tokens || n == 0, "tokens", err);
    baton_status status = pieces(llama, tokens, n, &bytes, err);
    bt_utf8_clean(&clean, (const char *)bytes.data, bytes.len);
    clean.failed |= bytes.failed;
    bt_buf_free(&bytes);
    if (!status)
        return bt_give_text(&clean, text, len, err);
    bt_buf_free(&clean);
    return status;
}

baton_status baton_llama_piece(const baton_llama *llama, int32_t token, char **bytes, size_t *len, baton_error *err) {
    BT_IN_CALL(llama);
    struct bt_buf out = BT_BUF_INIT;
    BT_NEED(bytes && len, "places for the bytes and their number", err);
    *bytes = NULL;
    *len = 0;
    BT_NEED(llama, "a model", err);
    baton_status status = pieces(llama, &token, 1, &out, err);
    if (!status)
        return bt_give_text(&out, bytes, len, err);
    bt_buf_free(&out);
    return status;
}

/* The text becomes the caller's. */
baton_status bt_give_text(struct bt_buf *b, char **text, size_t *len, baton_error *err) {
    bt_buf_add(b, "", 1);
    if (b->failed) {
        bt_buf_free(b);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a text");
    }
    *text = (char *)b->data;
    if (len)
        *len = b->len - 1;
    return BATON_OK;
}

void bt_handle_details(const baton_llama *llama, struct bt_model_details *details) {
    if (llama->model)
        llama->model->ops->details(llama->model, details);
    else
        *details = bt_io_info(llama->io)->ready.details;
}

void baton_llama_get_details(const baton_llama *llama, baton_llama_details *details) {
    BT_IN_CALL(llama);
    struct bt_model_details d;
    BT_NEED_OR(llama && details, "a model and a place for its details");
    size_t size = details->size;
    bt_handle_details(llama, &d);
    baton_llama_details mine = {.size = size,
                                .params = d.params,
                                .layers = d.layers,
                                .width = d.width,
                                .heads = d.heads,
                                .heads_kv = d.heads_kv,
                                .embedding_width = d.embedding_width,
                                .scores = d.scores,
                                .generates = d.generates,
                                .bos = d.bos,
                                .eos = d.eos,
                                .eot = d.eot,
                                .sep = d.sep,
                                .newline = d.newline,
                                .pad = d.pad,
                                .add_bos = d.add_bos,
                                .add_eos = d.add_eos};
    memcpy(details, &mine, BT_MIN(size, sizeof mine));
}

bool baton_llama_is_end(const baton_llama *llama, int32_t token) {
    BT_NEED_OR(llama, "a model", false);
    const struct bt_frame_ready *ready = llama->io ? &bt_io_info(llama->io)->ready : NULL;
    for (uint32_t i = 0; ready && i < ready->n_ends; i++)
        if (ready->ends[i] == token)
            return true;
    return llama->model && token >= 0 && token < llama->info.vocab_size &&
           llama->model->ops->is_end(llama->model, token);
}

static baton_status no_such(int i, baton_error *err) {
    return bt_fail(err, BATON_END, "there is no metadata number %d", i);
}

/* All of it, as an owner tells it; the pairs lie in `bytes`. */
static baton_status all_pairs(const baton_llama *llama, struct bt_buf *bytes, struct bt_chat_message **pairs, size_t *n,
                              baton_error *err) {
    *pairs = NULL;
    *n = 0;
    baton_status status = bt_llama_call(llama, BT_CALL_METADATA, 0, "", 0, bytes, err);
    if (!status && bt_get_pairs(bytes->data, bytes->len, pairs, n))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for the model's metadata");
    return status;
}

static baton_status pair_of(const baton_llama *llama, int i, struct bt_buf *k, struct bt_buf *v, baton_error *err) {
    struct bt_buf bytes = BT_BUF_INIT;
    struct bt_chat_message *pairs;
    size_t n;
    if (llama->model)
        return llama->model->ops->metadata(llama->model, i, k, v) ? BATON_OK : no_such(i, err);
    baton_status status = all_pairs(llama, &bytes, &pairs, &n, err);
    if (!status && (i < 0 || (size_t)i >= n))
        status = no_such(i, err);
    if (!status) {
        bt_buf_adds(k, pairs[i].role);
        bt_buf_adds(v, pairs[i].content);
    }
    free(pairs);
    bt_buf_free(&bytes);
    return status;
}

baton_status baton_llama_metadata(const baton_llama *llama, int i, char **key, char **value, baton_error *err) {
    BT_IN_CALL(llama);
    struct bt_buf k = BT_BUF_INIT, v = BT_BUF_INIT;
    BT_NEED(key && value, "places for the key and the value", err);
    *key = *value = NULL;
    BT_NEED(llama, "a model", err);
    baton_status status = pair_of(llama, i, &k, &v, err);
    if (status) {
        bt_buf_free(&k);
        bt_buf_free(&v);
        return status;
    }
    status = bt_give_text(&k, key, NULL, err);
    if (status) {
        bt_buf_free(&v);
        return status;
    }
    status = bt_give_text(&v, value, NULL, err);
    if (status) {
        free(*key);
        *key = NULL;
    }
    return status;
}

baton_status baton_llama_metadata_get(const baton_llama *llama, const char *key, char **value, baton_error *err) {
    BT_IN_CALL(llama);
    struct bt_buf k = BT_BUF_INIT, v = BT_BUF_INIT, bytes = BT_BUF_INIT;
    struct bt_chat_message *pairs = NULL;
    size_t n = 0;
    BT_NEED(value, "a place for the value", err);
    *value = NULL;
    BT_NEED(llama && key, "a model and a key", err);
    baton_status status = llama->io ? all_pairs(llama, &bytes, &pairs, &n, err) : BATON_OK;
    bool found = false, more = true;
    for (int i = 0; !status && !found && more; i++) {
        k.len = v.len = 0;
        if (llama->io) {
            more = (size_t)i < n;
            bt_buf_adds(&k, more ? pairs[i].role : "");
            bt_buf_adds(&v, more ? pairs[i].content : "");
        } else {
            more = llama->model->ops->metadata(llama->model, i, &k, &v);
        }
        found = more && k.len == strlen(key) && (k.len == 0 || memcmp(k.data, key, k.len) == 0);
    }
    free(pairs);
    bt_buf_free(&bytes);
    bool failed = k.failed;
    bt_buf_free(&k);
    if (!status && found)
        return bt_give_text(&v, value, NULL, err);
    bt_buf_free(&v);
    return status   ? status
           : failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for a key")
                    : bt_fail(err, BATON_NOT_FOUND, "the model has no metadata '%s'", key);
}
