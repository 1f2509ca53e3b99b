/* Fuzzing the task worker's lines: however bytes are cut into pieces the same lines come out, a line that is taken is
 * sound JSON of the right parts, and whatever is said about it is one line below the bound. State: none. */
#include <string.h>

#include "fuzz.h"
#include "task/json.h"
#include "task/line.h"

static bool inside(struct bt_text part, struct bt_text line) {
    return part.len == 0 || (part.data >= line.data && part.data + part.len <= line.data + line.len);
}

static void check_out(struct bt_buf *b) {
    struct bt_json j;
    struct bt_text value;
    FUZZ_ASSERT(!b->failed && b->len > 0 && b->len <= BT_LINE_OUT_MAX && b->data[b->len - 1] == '\n');
    FUZZ_ASSERT(memchr(b->data, '\n', b->len) == b->data + b->len - 1);
    bt_json_start(&j, (struct bt_text){(char *)b->data, b->len});
    FUZZ_ASSERT(bt_json_value(&j, &value) && bt_json_over(&j));
    FUZZ_ASSERT(bt_utf8_valid((char *)b->data, b->len));
    b->len = 0;
}

static void check_task(struct bt_text line, bool whole) {
    struct bt_task_line t;
    baton_error err = {.text = ""};
    struct bt_buf b = BT_BUF_INIT, text = BT_BUF_INIT;
    baton_status status = bt_task_line_parse(line, whole, &t, &err);
    FUZZ_ASSERT(inside(t.id, line) && inside(t.queue, line) && inside(t.work_kind, line));
    FUZZ_ASSERT(status == BATON_OK || err.text[0]);
    bt_line_failure(&b, t.id, status ? status : BATON_BUSY, err.text, line);
    check_out(&b);
    if (status == BATON_OK && t.kind != BT_LINE_BLANK) {
        FUZZ_ASSERT(whole && t.id.len > 2 && t.id.len <= BT_TASK_ID_MAX);
        bt_json_decode(t.id, &text);
        bt_line_result(&b, t.id, t.payload);
        check_out(&b);
        bt_line_event(&b, "x", &t, (struct bt_text){",\"y\":1", 6});
        check_out(&b);
        (void)bt_json_says(t.work_kind, "chat");
    }
    bt_buf_free(&text);
    bt_buf_free(&b);
}

static void check_reply(struct bt_text line) {
    struct bt_reply_line r;
    struct bt_buf text = BT_BUF_INIT;
    bt_reply_line_parse(line, &r);
    FUZZ_ASSERT(inside(r.id, line) && inside(r.error, line));
    if (r.kind == BT_REPLY_ANSWER)
        bt_json_decode(r.id, &text);
    bt_buf_free(&text);
}

/* The lines of a stream that comes in pieces of `step`, one after the other, each with its verdict. */
static void read_all(const uint8_t *data, size_t size, size_t step, struct bt_buf *out, bool check) {
    struct bt_line_reader r = {.max = 4096};
    struct bt_text line;
    baton_status status;
    for (size_t at = 0; at < size; at += step) {
        FUZZ_ASSERT(bt_lines_add(&r, data + at, BT_MIN(step, size - at)));
        while ((status = bt_lines_next(&r, &line)) != BATON_AGAIN) {
            if (check) {
                check_task(line, status == BATON_OK);
                check_reply(line);
            }
            size_t n = BT_MIN(line.len, r.max); /* of a cut one, how much is kept depends on the pieces */
            bt_buf_addf(out, "%d:", status);
            bt_buf_add(out, line.data, n);
            bt_buf_adds(out, "\n");
        }
        FUZZ_ASSERT(r.in.len <= r.max + BT_LINE_HEAD + size);
    }
    status = bt_lines_last(&r, &line);
    if (status != BATON_AGAIN) {
        bt_buf_addf(out, "%d:", status);
        bt_buf_add(out, line.data, BT_MIN(line.len, r.max));
    }
    bt_lines_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t steps[] = {7, 100};
    struct bt_buf whole = BT_BUF_INIT;
    read_all(data, size, BT_MAX(size, (size_t)1), &whole, true);
    for (size_t i = 0; i < BT_COUNT(steps); i++) {
        struct bt_buf pieces = BT_BUF_INIT;
        read_all(data, size, steps[i], &pieces, false);
        FUZZ_ASSERT(pieces.len == whole.len && (whole.len == 0 || memcmp(pieces.data, whole.data, whole.len) == 0));
        bt_buf_free(&pieces);
    }
    bt_buf_free(&whole);
    return 0;
}
