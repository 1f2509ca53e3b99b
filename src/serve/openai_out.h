/* From an answer to the API's JSON. What is the same in every chunk of a stream is made once per request, so that a
 * token costs two copies and an escape. Pure functions over buffers; each buffer belongs to its request. */
#ifndef BT_OPENAI_OUT_H
#define BT_OPENAI_OUT_H

#include "ipc/front.h"
#include "serve/openai_in.h"

struct bt_openai_out {
    bool chat, usage_wanted;
    struct bt_buf prefix; /* a content chunk up to its text */
    size_t common_at;     /* where the fields begin that every chunk and whole body has */
    size_t head_len;      /* where they, and the opening of "choices", end */
};

/* `id`: without its "chatcmpl-"; `created`: seconds since 1970. False: out of memory. */
bool bt_openai_out_init(struct bt_openai_out *o, bool chat, bool usage_wanted, uint64_t id, int64_t created,
                        const char *model);
void bt_openai_out_free(struct bt_openai_out *o);

/* Server-sent events, appended to b. */
void bt_openai_first(const struct bt_openai_out *o, struct bt_buf *b); /* the role; nothing for completions */
void bt_openai_piece(const struct bt_openai_out *o, const char *text, size_t len, struct bt_buf *b);
/* finish_reason, usage if wanted, [DONE]. */
void bt_openai_last(const struct bt_openai_out *o, const struct bt_outcome *outcome, struct bt_buf *b);
void bt_openai_error_event(const struct bt_api_error *e, struct bt_buf *b);

/* Whole bodies. */
void bt_openai_whole(const struct bt_openai_out *o, const struct bt_outcome *outcome, const char *text, size_t len,
                     struct bt_buf *b);
void bt_openai_error(const struct bt_api_error *e, struct bt_buf *b);

/* What a status of baton's is to a client. `text`: what happened, may be "". */
void bt_openai_status_error(baton_status status, const char *text, struct bt_api_error *e);

#endif
