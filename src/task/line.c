/* The codec. State: none but the readers'. */
#include "task/line.h"

#include <inttypes.h>
#include <string.h>

#include "task/json.h"

static size_t limit(const struct bt_line_reader *r) {
    return r->max ? r->max : BT_LINE_IN_MAX;
}

bool bt_lines_add(struct bt_line_reader *r, const void *data, size_t len) {
    bt_buf_drop(&r->in, r->from);
    r->seen -= r->from;
    r->from = 0;
    const char *bytes = data;
    if (r->cut && len > 0) { /* of what was dropped before, only its end matters */
        const char *end = memchr(bytes, '\n', len);
        if (!end)
            return true;
        len -= (size_t)(end - bytes);
        bytes = end;
    }
    bt_buf_add(&r->in, bytes, len);
    return !r->in.failed;
}

static struct bt_text from(const struct bt_line_reader *r, size_t len) {
    return (struct bt_text){(const char *)r->in.data + r->from, len};
}

/* The line ends at `end`; `skip` bytes end it. */
static baton_status give(struct bt_line_reader *r, size_t end, size_t skip, struct bt_text *line) {
    bool long_one = r->cut || end - r->from > limit(r);
    *line = from(r, long_one ? BT_MIN(end - r->from, (size_t)BT_LINE_HEAD) : end - r->from);
    r->from = r->seen = end + skip;
    r->cut = false;
    return long_one ? BATON_TOO_LONG : BATON_OK;
}

baton_status bt_lines_next(struct bt_line_reader *r, struct bt_text *line) {
    const char *data = (const char *)r->in.data;
    const char *end = r->in.len > r->seen ? memchr(data + r->seen, '\n', r->in.len - r->seen) : NULL;
    if (end)
        return give(r, (size_t)(end - data), 1, line);
    r->seen = r->in.len;
    if (r->in.len - r->from > limit(r)) {
        r->cut = true;
        r->in.len = r->seen = r->from + BT_MIN(limit(r), (size_t)BT_LINE_HEAD);
    }
    return BATON_AGAIN;
}

baton_status bt_lines_last(struct bt_line_reader *r, struct bt_text *line) {
    if (r->in.len == r->from)
        return BATON_AGAIN;
    return give(r, r->in.len, 0, line);
}

void bt_lines_free(struct bt_line_reader *r) {
    bt_buf_free(&r->in);
}

static const struct bt_text NULL_VALUE = {"null", 4};

static baton_status take_member(struct bt_task_line *t, struct bt_text *type, struct bt_text key, struct bt_text value,
                                baton_error *err) {
    bool null = value.len == 4 && value.data[0] == 'n';
    if (bt_json_says(key, "task_id")) {
        t->id = (struct bt_text){0};
        if (!bt_json_is_string(value) || value.len == 2)
            return bt_fail(err, BATON_INVALID, "task_id is %.*s: expected a string that is not empty",
                           (int)BT_MIN(value.len, 40u), value.data);
        if (!bt_utf8_valid(value.data, value.len))
            return bt_fail(err, BATON_INVALID, "task_id is not valid UTF-8");
        if (value.len <= BT_LINE_HEAD) /* what is longer cannot even be refused by its name */
            t->id = value;
        if (value.len > BT_TASK_ID_MAX)
            return bt_fail(err, BATON_TOO_LONG, "task_id has %zu bytes: at most %d are possible", value.len,
                           BT_TASK_ID_MAX);
    } else if (bt_json_says(key, "type")) {
        if (!null && !bt_json_is_string(value))
            return bt_fail(err, BATON_INVALID, "type is %.*s: expected \"task\" or \"cancel\"",
                           (int)BT_MIN(value.len, 40u), value.data);
        *type = null ? (struct bt_text){0} : value;
    } else if (bt_json_says(key, "payload")) {
        t->payload = value;
    } else if (bt_json_says(key, "queue")) {
        t->queue = bt_json_is_string(value) ? value : (struct bt_text){0};
    } else if (bt_json_says(key, "retry_count")) {
        if (!null && !bt_json_int(value, &t->retry_count))
            return bt_fail(err, BATON_INVALID, "retry_count is %.*s: expected a whole number",
                           (int)BT_MIN(value.len, 40u), value.data);
    } else if (bt_json_says(key, "max_retry")) {
        if (!null && !bt_json_int(value, &t->max_retry))
            return bt_fail(err, BATON_INVALID, "max_retry is %.*s: expected a whole number",
                           (int)BT_MIN(value.len, 40u), value.data);
    }
    return BATON_OK;
}

static bool blank(struct bt_text line) {
    struct bt_json j;
    bt_json_start(&j, line);
    return bt_json_over(&j);
}

/* The members, as far as they can be read: a broken line's id is worth having. The first fault is what is told. */
static baton_status take_members(struct bt_text line, bool whole, struct bt_task_line *t, struct bt_text *type,
                                 baton_error *err) {
    struct bt_json j;
    struct bt_text key = {0}, value;
    enum bt_json_step step = BT_JSON_BAD;
    baton_status status = BATON_OK;
    bt_json_start(&j, line);
    if (bt_json_open(&j))
        while ((step = bt_json_member(&j, &key, &value)) == BT_JSON_MEMBER) {
            baton_error later;
            baton_status one = take_member(t, type, key, value, status ? &later : err);
            status = status ? status : one;
        }
    if (!whole)
        return bt_fail(err, BATON_TOO_LONG, "the line has more than %d bytes: less at a time", BT_LINE_IN_MAX);
    if (step == BT_JSON_END && !bt_json_over(&j)) {
        step = BT_JSON_BAD;
        j.why = "something follows the object";
    }
    if (step == BT_JSON_BAD)
        return bt_fail(err, BATON_INVALID, "the line is not valid JSON: byte %zu: %s", (size_t)(j.at - line.data),
                       j.why);
    return status;
}

baton_status bt_task_line_parse(struct bt_text line, bool whole, struct bt_task_line *t, baton_error *err) {
    struct bt_text type = {0};
    *t = (struct bt_task_line){.kind = BT_LINE_TASK, .payload = NULL_VALUE};
    if (whole && blank(line)) {
        t->kind = BT_LINE_BLANK;
        return BATON_OK;
    }
    baton_status status = take_members(line, whole, t, &type, err);
    if (status)
        return status;
    if (!bt_utf8_valid(line.data, line.len))
        return bt_fail(err, BATON_INVALID, "the line is not valid UTF-8");
    if (t->id.len == 0)
        return bt_fail(err, BATON_INVALID, "the line has no task_id");
    if (type.len > 0 && bt_json_says(type, "cancel"))
        t->kind = BT_LINE_CANCEL;
    else if (type.len > 0 && !bt_json_says(type, "task"))
        return bt_fail(err, BATON_UNSUPPORTED, "type is %.*s: expected \"task\" or \"cancel\"",
                       (int)BT_MIN(type.len, 40u), type.data);
    if (t->payload.data[0] == '{')
        t->work_kind = bt_json_find(t->payload, "kind");
    return BATON_OK;
}

/* runqy reads a child's keys whatever their case, and so must whoever stands between. */
static bool key_is(struct bt_text key, const char *name) {
    size_t n = strlen(name);
    return key.len == n + 2 && strncasecmp(key.data + 1, name, n) == 0;
}

void bt_reply_line_parse(struct bt_text line, struct bt_reply_line *r) {
    struct bt_json j;
    struct bt_text key = {0}, value, status = {0}, id = {0};
    enum bt_json_step step;
    bool null_error = true;
    *r = (struct bt_reply_line){.sound = true, .result = NULL_VALUE};
    bt_json_start(&j, line);
    if (!bt_utf8_valid(line.data, line.len) || !bt_json_open(&j))
        return;
    while ((step = bt_json_member(&j, &key, &value)) == BT_JSON_MEMBER) {
        bool null = value.data[0] == 'n';
        if (key_is(key, "task_id"))
            id = value;
        else if (key_is(key, "status"))
            status = value;
        else if (key_is(key, "error")) {
            null_error = null || (bt_json_is_string(value) && value.len == 2); /* "" is none, as in Go */
            r->error = bt_json_is_string(value) && value.len > 2 ? value : (struct bt_text){0};
        } else if (key_is(key, "result")) {
            r->result = value;
        } else if (key_is(key, "retry")) {
            r->retry = value.data[0] == 't';
            r->sound &= null || r->retry || value.data[0] == 'f';
        }
    }
    if (step != BT_JSON_END || !bt_json_over(&j))
        return;
    r->sound &= null_error || r->error.len > 0;
    r->kind = BT_REPLY_LOG;
    if (bt_json_is_string(id) && id.len > 2) {
        r->kind = BT_REPLY_ANSWER;
        r->id = id;
    } else if (bt_json_says(status, "ready")) {
        r->kind = BT_REPLY_READY;
    } else if (bt_json_says(status, "error")) {
        r->kind = BT_REPLY_ERROR;
    } else if (id.len > 0) {
        r->kind = BT_REPLY_NOISE;
    }
}
