/* Tokens, text and what a model says of itself: on what never changes, so beside anything. Stateless. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

baton_status baton_llama_tokenize(const baton_llama *llama, const char *text, size_t len, bool special,
                                  int32_t **tokens, size_t *n, baton_error *err) {
    BT_IN_CALL(llama);
    const struct bt_model *m = bt_llama_model(llama);
    *tokens = NULL;
    *n = 0;
    return m->ops->tokenize(m, text, len, special, special, tokens, n, err);
}

baton_status baton_llama_detokenize(const baton_llama *llama, const int32_t *tokens, size_t n, char **text, size_t *len,
                                    baton_error *err) {
    BT_IN_CALL(llama);
    const struct bt_model *m = bt_llama_model(llama);
    struct bt_buf bytes = BT_BUF_INIT, clean = BT_BUF_INIT;
    *text = NULL;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= llama->info.vocab_size) {
            bt_buf_free(&bytes);
            return bt_fail(err, BATON_INVALID, "token %d at index %zu is not in the vocabulary (0 to %d)",
                           (int)tokens[i], i, llama->info.vocab_size - 1);
        }
        m->ops->piece(m, tokens[i], &bytes);
    }
    bt_utf8_clean(&clean, (const char *)bytes.data, bytes.len);
    bt_buf_add(&clean, "", 1);
    bool failed = bytes.failed || clean.failed;
    bt_buf_free(&bytes);
    if (failed) {
        bt_buf_free(&clean);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the text of %zu tokens", n);
    }
    *text = (char *)clean.data;
    *len = clean.len - 1;
    return BATON_OK;
}

baton_status baton_llama_piece(const baton_llama *llama, int32_t token, char **bytes, size_t *len, baton_error *err) {
    BT_IN_CALL(llama);
    const struct bt_model *m = bt_llama_model(llama);
    struct bt_buf out = BT_BUF_INIT;
    *bytes = NULL;
    *len = 0;
    if (token < 0 || token >= llama->info.vocab_size)
        return bt_fail(err, BATON_INVALID, "token %d is not in the vocabulary (0 to %d)", (int)token,
                       llama->info.vocab_size - 1);
    m->ops->piece(m, token, &out);
    return bt_give_text(&out, bytes, len, err);
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

void baton_llama_get_details(const baton_llama *llama, baton_llama_details *details) {
    BT_IN_CALL(llama);
    const struct bt_model *m = bt_llama_model(llama);
    struct bt_model_details d;
    size_t size = details->size;
    m->ops->details(m, &d);
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
    BT_IN_CALL(llama);
    const struct bt_model *m = bt_llama_model(llama);
    return token >= 0 && token < llama->info.vocab_size && m->ops->is_end(m, token);
}

baton_status baton_llama_metadata(const baton_llama *llama, int i, char **key, char **value, baton_error *err) {
    BT_IN_CALL(llama);
    const struct bt_model *m = bt_llama_model(llama);
    struct bt_buf k = BT_BUF_INIT, v = BT_BUF_INIT;
    *key = *value = NULL;
    if (!m->ops->metadata(m, i, &k, &v)) {
        bt_buf_free(&k);
        bt_buf_free(&v);
        return bt_fail(err, BATON_END, "there is no metadata number %d", i);
    }
    baton_status status = bt_give_text(&k, key, NULL, err);
    if (!status)
        status = bt_give_text(&v, value, NULL, err);
    else
        bt_buf_free(&v);
    if (status) {
        free(*key);
        *key = NULL;
    }
    return status;
}

baton_status baton_llama_metadata_get(const baton_llama *llama, const char *key, char **value, baton_error *err) {
    BT_IN_CALL(llama);
    char *name = NULL;
    *value = NULL;
    for (int i = 0;; i++) {
        baton_status status = baton_llama_metadata(llama, i, &name, value, err);
        if (status == BATON_END)
            return bt_fail(err, BATON_NOT_FOUND, "the model has no metadata '%s'", key);
        if (status)
            return status;
        bool found = name && strcmp(name, key) == 0;
        free(name);
        if (found)
            return BATON_OK;
        free(*value);
        *value = NULL;
    }
}
