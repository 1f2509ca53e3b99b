/* The JSON of answers, chunks and errors. State: none. */
#include "serve/openai_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool bt_openai_out_init(struct bt_openai_out *o, bool chat, bool usage_wanted, uint64_t id, int64_t created,
                        const char *model) {
    struct bt_buf *p = &o->prefix;
    *o = (struct bt_openai_out){.chat = chat, .usage_wanted = usage_wanted};
    bt_buf_addf(p, "data: {\"object\":\"%s\",", chat ? "chat.completion.chunk" : "text_completion");
    o->common_at = p->len;
    bt_buf_addf(p, "\"id\":\"%s-%016" PRIx64 "\",\"created\":%" PRId64 ",\"model\":", chat ? "chatcmpl" : "cmpl", id,
                created);
    bt_json_string(p, model, strlen(model));
    bt_buf_adds(p, ",\"choices\":[");
    o->head_len = p->len;
    bt_buf_adds(p, chat ? "{\"index\":0,\"delta\":{\"content\":\"" : "{\"index\":0,\"text\":\"");
    return !p->failed;
}

void bt_openai_out_free(struct bt_openai_out *o) {
    bt_buf_free(&o->prefix);
}

static void head(const struct bt_openai_out *o, struct bt_buf *b) {
    bt_buf_add(b, o->prefix.data, o->head_len);
}

/* OpenAI sends usage as null in every chunk but the one that has it. */
static void tail(const struct bt_openai_out *o, struct bt_buf *b) {
    bt_buf_adds(b, o->usage_wanted ? "],\"usage\":null}\n\n" : "]}\n\n");
}

void bt_openai_first(const struct bt_openai_out *o, struct bt_buf *b) {
    if (!o->chat)
        return;
    head(o, b);
    bt_buf_adds(b, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                   "\"finish_reason\":null}");
    tail(o, b);
}

void bt_openai_piece(const struct bt_openai_out *o, const char *text, size_t len, struct bt_buf *b) {
    bt_buf_add(b, o->prefix.data, o->prefix.len);
    bt_json_escape(b, text, len);
    bt_buf_adds(b, o->chat ? "\"},\"logprobs\":null,\"finish_reason\":null}"
                           : "\",\"logprobs\":null,"
                             "\"finish_reason\":null}");
    tail(o, b);
}

static const char *finish_reason(const struct bt_outcome *o) {
    return o->finish == BT_FINISH_LENGTH ? "length" : "stop";
}

static void usage(const struct bt_outcome *o, struct bt_buf *b) {
    bt_buf_addf(b,
                "{\"prompt_tokens\":%" PRIu32 ",\"completion_tokens\":%" PRIu32 ",\"total_tokens\":%" PRIu32
                ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRIu32 "}}",
                o->prompt_tokens, o->answer_tokens, o->prompt_tokens + o->answer_tokens, o->reused_tokens);
}

void bt_openai_last(const struct bt_openai_out *o, const struct bt_outcome *outcome, struct bt_buf *b) {
    head(o, b);
    bt_buf_addf(b, "{\"index\":0,%s,\"logprobs\":null,\"finish_reason\":\"%s\"}",
                o->chat ? "\"delta\":{}" : "\"text\":\"\"", finish_reason(outcome));
    tail(o, b);
    if (o->usage_wanted) {
        head(o, b);
        bt_buf_adds(b, "],\"usage\":");
        usage(outcome, b);
        bt_buf_adds(b, "}\n\n");
    }
    bt_buf_adds(b, "data: [DONE]\n\n");
}

void bt_openai_whole(const struct bt_openai_out *o, const struct bt_outcome *outcome, const char *text, size_t len,
                     struct bt_buf *b) {
    bt_buf_addf(b, "{\"object\":\"%s\",", o->chat ? "chat.completion" : "text_completion");
    bt_buf_add(b, o->prefix.data + o->common_at, o->head_len - o->common_at);
    bt_buf_adds(b,
                o->chat ? "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":" : "{\"index\":0,\"text\":");
    bt_json_string(b, text, len);
    bt_buf_addf(b, "%s,\"logprobs\":null,\"finish_reason\":\"%s\"}],\"usage\":", o->chat ? ",\"refusal\":null}" : "",
                finish_reason(outcome));
    usage(outcome, b);
    bt_buf_adds(b, "}");
}

void bt_openai_error(const struct bt_api_error *e, struct bt_buf *b) {
    bt_buf_adds(b, "{\"error\":{\"message\":");
    bt_json_string(b, e->text, strlen(e->text));
    bt_buf_addf(b, ",\"type\":\"%s\",\"param\":", e->type);
    if (e->param[0])
        bt_json_string(b, e->param, strlen(e->param));
    else
        bt_buf_adds(b, "null");
    if (e->code)
        bt_buf_addf(b, ",\"code\":\"%s\"}}", e->code);
    else
        bt_buf_adds(b, ",\"code\":null}}");
}

void bt_openai_error_event(const struct bt_api_error *e, struct bt_buf *b) {
    bt_buf_adds(b, "data: ");
    bt_openai_error(e, b);
    bt_buf_adds(b, "\n\n");
}

void bt_openai_status_error(baton_status status, const char *text, struct bt_api_error *e) {
    static const struct {
        baton_status status;
        int http;
        const char *type, *code;
    } table[] = {
        {BATON_BUSY, 429, "rate_limit_error", "busy"},
        {BATON_QUEUE_FULL, 429, "rate_limit_error", "queue_full"},
        {BATON_QUEUE_TIMEOUT, 429, "rate_limit_error", "queue_timeout"},
        {BATON_RUN_TIMEOUT, 504, "timeout_error", "run_timeout"},
        {BATON_CANCELLED, 503, "server_error", "cancelled"},
        {BATON_CLOSED, 503, "server_error", "closed"},
        {BATON_CRASHED, 500, "server_error", "crashed"},
        {BATON_HUNG, 500, "server_error", "hung"},
        {BATON_FAILED, 500, "server_error", "failed"},
        {BATON_NO_MEMORY, 500, "server_error", "no_memory"},
        {BATON_TOO_LONG, 400, "invalid_request_error", "context_length_exceeded"},
        {BATON_INVALID, 400, "invalid_request_error", "invalid_value"},
        {BATON_UNSUPPORTED, 400, "invalid_request_error", "unsupported"},
    };
    *e = (struct bt_api_error){.status = 500, .type = "server_error", .code = "internal"};
    for (size_t i = 0; i < BT_COUNT(table); i++)
        if (table[i].status == status) {
            e->status = table[i].http;
            e->type = table[i].type;
            e->code = table[i].code;
        }
    snprintf(e->text, sizeof e->text, "%s", text && text[0] ? text : baton_status_text(status));
}
