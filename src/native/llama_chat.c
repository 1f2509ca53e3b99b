/* Chat templates: libllama knows a fixed list, by name or by the look of a Jinja text. Owns no state. */
#include "native/llama_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static baton_status unknown_template(const char *whose, baton_error *err) {
    const char *names[128];
    char some[160] = "";
    size_t len = 0;
    int32_t n = llama_chat_builtin_templates(names, BT_COUNT(names));
    for (int32_t i = 0; i < BT_MIN(n, (int32_t)BT_COUNT(names)); i++)
        if (len + strlen(names[i]) + 3 < sizeof some)
            len += (size_t)snprintf(some + len, sizeof some - len, "%s%s", len ? ", " : "", names[i]);
    return bt_fail(err, BATON_UNSUPPORTED,
                   "%s: name the one the model was trained on with --chat-template (%s, ...), or use plain completion",
                   whose, some);
}

baton_status bt_llama_check_template(const char *chat_template, baton_error *err) {
    struct llama_chat_message message = {.role = "user", .content = "x"};
    char text[16];
    if (llama_chat_apply_template(chat_template, &message, 1, true, text, sizeof text) >= 0)
        return BATON_OK;
    char whose[96];
    snprintf(whose, sizeof whose, "libllama does not know the chat template '%.*s'",
             (int)BT_MIN(strcspn(chat_template, "\n"), (size_t)32), chat_template);
    return unknown_template(whose, err);
}

/* The tokeniser puts the token that begins a text in front of every text; templates that write it too would double it.
 */
static void drop_bos(const struct bt_llama_model *m, struct bt_buf *out, size_t at) {
    llama_token token = llama_vocab_bos(m->vocab);
    const char *bos = token >= 0 && llama_vocab_get_add_bos(m->vocab) ? llama_vocab_get_text(m->vocab, token) : "";
    size_t len = strlen(bos);
    if (len == 0 || out->len - at < len || memcmp(out->data + at, bos, len) != 0)
        return;
    memmove(out->data + at, out->data + at + len, out->len - at - len);
    out->len -= len;
}

baton_status bt_llama_chat(const struct bt_model *base, const struct bt_chat_message *messages, size_t n,
                           struct bt_buf *out, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    const char *chat_template = m->chat_template ? m->chat_template : llama_model_chat_template(m->model, NULL);
    if (!chat_template)
        return unknown_template("this model has no chat template", err);
    struct llama_chat_message *list = calloc(n ? n : 1, sizeof *list);
    if (!list)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a chat of %zu messages", n);
    size_t room = 256, at = out->len;
    for (size_t i = 0; i < n; i++) {
        list[i] = (struct llama_chat_message){.role = messages[i].role, .content = messages[i].content};
        room += strlen(messages[i].role) + strlen(messages[i].content) + 64;
    }
    baton_status status = BATON_OK;
    for (;;) {
        if (room > INT32_MAX)
            status = bt_fail(err, BATON_TOO_LONG, "a chat of %zu bytes is more than a chat template takes", room);
        else if (!bt_buf_reserve(out, room))
            status = bt_fail(err, BATON_NO_MEMORY, "no memory for the text of a chat");
        if (status != BATON_OK)
            break;
        int32_t len =
            llama_chat_apply_template(chat_template, list, n, true, (char *)out->data + out->len, (int32_t)room);
        if (len < 0) {
            status = unknown_template("libllama does not know this model's chat template", err);
            break;
        }
        if ((size_t)len <= room) {
            out->len += (size_t)len;
            drop_bos(m, out, at);
            break;
        }
        room = (size_t)len + 1;
    }
    free(list);
    return status;
}
