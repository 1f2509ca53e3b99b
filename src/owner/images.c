/* Chats with images as chunks: pure functions over the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"

/* Every image stands somewhere in the chat, not before the one in front of it, and not inside a character. */
static baton_status check_places(const struct bt_chat_message *messages, size_t n_messages,
                                 const struct bt_image *images, size_t n_images, baton_error *err) {
    for (size_t i = 0; i < n_images; i++) {
        const struct bt_image *image = &images[i], *before = i ? image - 1 : NULL;
        if (image->message >= n_messages)
            return bt_fail(err, BATON_INVALID, "image %zu stands in message %zu, and there are %zu", i, image->message,
                           n_messages);
        const char *content = messages[image->message].content;
        size_t len = strlen(content);
        if (image->offset > len || ((unsigned char)content[image->offset] & 0xc0) == 0x80)
            return bt_fail(err, BATON_INVALID, "image %zu stands at byte %zu of message %zu, which %s", i,
                           image->offset, image->message,
                           image->offset > len ? "is behind its end" : "is inside a character");
        if (before &&
            (before->message > image->message || (before->message == image->message && before->offset > image->offset)))
            return bt_fail(err, BATON_INVALID,
                           "image %zu stands in front of image %zu: give them in the order in which they stand in the "
                           "chat",
                           i, i - 1);
    }
    return BATON_OK;
}

enum { MARK_SIZE = 32 };

/* Text that is nowhere in the chat, and of which no end is its beginning: where it is found after the template has been
 * applied, it was put. */
static void choose_mark(const struct bt_chat_message *messages, size_t n, char mark[MARK_SIZE]) {
    bool taken = true;
    for (unsigned number = 0; taken; number++) {
        snprintf(mark, MARK_SIZE, "<__image_%u__>", number);
        taken = false;
        for (size_t i = 0; i < n && !taken; i++)
            taken = strstr(messages[i].content, mark) || strstr(messages[i].role, mark);
    }
}

/* The messages with marks in them: the list and its texts are one piece of memory. */
static struct bt_chat_message *marked(const struct bt_chat_message *messages, size_t n, const struct bt_image *images,
                                      size_t n_images, const char *mark) {
    size_t size = n * sizeof *messages + n_images * strlen(mark);
    for (size_t i = 0; i < n; i++)
        size += strlen(messages[i].content) + 1;
    struct bt_chat_message *list = malloc(BT_MAX(size, sizeof *list));
    char *to = list ? (char *)(list + n) : NULL;
    for (size_t i = 0, k = 0; i < n && list; i++) {
        const char *from = messages[i].content, *content = from;
        list[i] = (struct bt_chat_message){messages[i].role, to};
        for (; k < n_images && images[k].message == i; k++) {
            size_t len = (size_t)(content + images[k].offset - from);
            to = mempcpy(mempcpy(to, from, len), mark, strlen(mark));
            from += len;
        }
        to = mempcpy(to, from, strlen(from) + 1);
    }
    return list;
}

static baton_status list_tokens(const struct bt_chunks *chunks, bt_token **tokens, size_t *n, baton_error *err) {
    *n = 0;
    for (size_t i = 0; i < chunks->n; i++)
        *n += (size_t)chunks->list[i].n;
    bt_token *to = *tokens = malloc(*n * sizeof **tokens + 1);
    if (!to)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", *n);
    for (size_t i = 0; i < chunks->n; i++)
        for (int32_t k = 0; k < chunks->list[i].n; k++)
            *to++ = chunks->list[i].tokens ? chunks->list[i].tokens[k] : BT_TOKEN_IMAGE;
    return BATON_OK;
}

baton_status bt_chat_chunks(const struct bt_model *m, const struct bt_chat_message *messages, size_t n_messages,
                            const struct bt_image *images, size_t n_images, struct bt_chunks **chunks,
                            bt_token **tokens, size_t *n, baton_error *err) {
    struct bt_buf chat = BT_BUF_INIT;
    char mark[MARK_SIZE];
    *chunks = NULL;
    *tokens = NULL;
    baton_status status = check_places(messages, n_messages, images, n_images, err);
    if (status)
        return status;
    choose_mark(messages, n_messages, mark);
    struct bt_chat_message *list = marked(messages, n_messages, images, n_images, mark);
    if (!list)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a chat of %zu messages", n_messages);
    status = m->ops->chat(m, list, n_messages, &chat, err);
    free(list);
    if (!status && chat.failed)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a chat of %zu messages", n_messages);
    if (!status)
        status = m->ops->chunks(m, (const char *)chat.data, chat.len, mark, images, n_images, chunks, err);
    if (!status)
        status = list_tokens(*chunks, tokens, n, err);
    if (status) {
        bt_chunks_free(*chunks);
        *chunks = NULL;
    }
    bt_buf_free(&chat);
    return status;
}

baton_status bt_text_tokens(const bt_token *tokens, size_t n, bt_token **text, size_t *n_text, baton_error *err) {
    *n_text = 0;
    *text = malloc(n * sizeof **text + 1);
    if (!*text)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] != BT_TOKEN_IMAGE)
            (*text)[(*n_text)++] = tokens[i];
    return BATON_OK;
}

baton_status bt_check_chunks(const struct bt_chunks *chunks, int chunk, baton_error *err) {
    for (size_t i = 0; i < chunks->n; i++)
        if (chunks->list[i].whole && chunks->list[i].n > chunk)
            return bt_fail(err, BATON_TOO_LONG,
                           "an image takes %d places that must go through the model together, and this context takes "
                           "%d at once: send a smaller image",
                           (int)chunks->list[i].n, chunk);
    if (chunks->n == 0 || !chunks->list[chunks->n - 1].tokens)
        return bt_fail(err, BATON_INVALID,
                       "the prompt ends with an image: nothing can be continued from there. Put text behind it");
    return BATON_OK;
}

size_t bt_chunk_at(const struct bt_chunks *chunks, int32_t pos) {
    size_t i = 0;
    for (int32_t at = 0; at < pos; i++)
        at += chunks->list[i].n;
    return i;
}
