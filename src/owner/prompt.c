/* Prompts as tokens, for owners on either kind of thread: pure functions over the model. */
#include "owner/owner.h"

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
