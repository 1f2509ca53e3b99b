/* Lines out. An answer that would pass what its reader takes is told as such, in a line that does not. State: none. */
#include "task/line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void bt_line_ready(struct bt_buf *b) {
    bt_buf_adds(b, "{\"status\":\"ready\"}\n");
}

/* "BATON_BAD_MODEL: text", as a JSON string. */
static void put_error(struct bt_buf *b, baton_status status, const char *text) {
    bt_buf_addf(b, "\"BATON_%s: ", baton_status_name(status));
    if (!text || !text[0])
        text = baton_status_text(status);
    bt_json_escape(b, text, BT_MIN(strlen(text), (size_t)BT_LINE_ERROR_MAX));
    bt_buf_adds(b, "\"");
}

void bt_line_not_ready(struct bt_buf *b, const baton_error *why) {
    bt_buf_adds(b, "{\"status\":\"error\",\"error\":");
    put_error(b, why->status, why->text);
    bt_buf_adds(b, "}\n");
}

static void put_id(struct bt_buf *b, struct bt_text id) {
    bt_buf_adds(b, "{\"task_id\":");
    if (id.len > 0)
        bt_buf_add(b, id.data, id.len);
    else
        bt_buf_adds(b, "\"unknown\"");
}

/* JSON has line breaks only between values, where a space does as well. */
static void put_flat(struct bt_buf *b, struct bt_text json) {
    size_t at = b->len;
    bt_buf_add(b, json.data, json.len);
    for (; at < b->len; at++)
        if (b->data[at] == '\n' || b->data[at] == '\r')
            b->data[at] = ' ';
}

void bt_line_result(struct bt_buf *b, struct bt_text id, struct bt_text result) {
    static const char tail[] = ",\"error\":null,\"retry\":false}\n";
    size_t begun = b->len;
    put_id(b, id);
    bt_buf_adds(b, ",\"result\":");
    size_t line = b->len - begun + result.len + sizeof tail - 1;
    if (line <= BT_LINE_OUT_MAX) {
        put_flat(b, result);
        bt_buf_adds(b, tail);
        return;
    }
    char text[120];
    b->len = begun;
    snprintf(text, sizeof text, "the answer takes a line of %zu bytes and %d are possible: ask for less", line,
             BT_LINE_OUT_MAX);
    bt_line_failure(b, id, BATON_TOO_LONG, text, (struct bt_text){0});
}

void bt_line_failure(struct bt_buf *b, struct bt_text id, baton_status status, const char *text,
                     struct bt_text partial) {
    put_id(b, id);
    bt_buf_adds(b, ",\"result\":");
    /* a byte takes at most six as it is escaped */
    partial.len = BT_MIN(partial.len, (size_t)(BT_LINE_OUT_MAX - BT_LINE_HEAD - 6 * BT_LINE_ERROR_MAX - 256) / 6);
    partial.len -= bt_utf8_unfinished(partial.data, partial.len);
    if (partial.len > 0) {
        bt_buf_adds(b, "{\"partial\":");
        bt_json_string(b, partial.data, partial.len);
        bt_buf_adds(b, "}");
    } else {
        bt_buf_adds(b, "null");
    }
    bt_buf_adds(b, ",\"error\":");
    put_error(b, status, text);
    bt_buf_addf(b, ",\"retry\":%s}\n", bt_status_may_pass(status) ? "true" : "false");
}

bool bt_status_may_pass(baton_status status) {
    switch (status) {
    case BATON_BUSY:
    case BATON_QUEUE_FULL:
    case BATON_QUEUE_TIMEOUT:
    case BATON_RUN_TIMEOUT:
    case BATON_CLOSED:
    case BATON_CRASHED:
    case BATON_HUNG:
    case BATON_FAILED:
    case BATON_NO_MEMORY:
    case BATON_IO:
        return true;
    default:
        return false;
    }
}

void bt_line_event(struct bt_buf *b, const char *event, const struct bt_task_line *t, struct bt_text more) {
    bt_buf_addf(b, "{\"event\":\"%s\",\"task\":", event);
    bt_buf_add(b, t->id.data, t->id.len);
    bt_buf_addf(b, ",\"attempt\":%" PRId64, t->retry_count);
    put_flat(b, more);
    bt_buf_adds(b, "}\n");
}
