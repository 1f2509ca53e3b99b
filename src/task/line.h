/* The lines between a task worker and its parent: runqy's stdio protocol (docs/work.md) as a codec. Pure functions over
 * bytes, bounded whatever arrives.
 *
 * Strings that are only passed on (the task's id) are kept as they came, quotes and escapes and all, so that what is
 * echoed is what was sent.
 *
 * State: none but a reader's bytes, which belong to one thread. */
#ifndef BT_TASK_LINE_H
#define BT_TASK_LINE_H

#include "base/base.h"

enum {
    BT_LINE_IN_MAX = 16 << 20,
    BT_LINE_OUT_MAX = (10 << 20) - 2, /* runqy stops reading for good at a line of 10 MiB, its newline counted */
    BT_LINE_HEAD = 64 << 10,          /* of a line that is too long, what is kept: its task's id is there */
    BT_TASK_ID_MAX = 1024,            /* bytes as it stands in a line */
    BT_LINE_ERROR_MAX = 32 << 10,     /* bytes of an error's text */
};

/* Bytes in, lines out. */
struct bt_line_reader {
    struct bt_buf in;
    size_t from, seen; /* the line begins; no newline before */
    size_t max;        /* a longer line is cut; 0: BT_LINE_IN_MAX */
    bool cut;          /* the line was too long: its head is at `from`, the rest of it is being dropped */
};
/* False: out of memory. */
bool bt_lines_add(struct bt_line_reader *r, const void *data, size_t len);
/* BATON_OK: *line, without its newline, until the next call. BATON_TOO_LONG: *line is the head of one that was too long
 * and has ended. BATON_AGAIN: none is whole. */
baton_status bt_lines_next(struct bt_line_reader *r, struct bt_text *line);
/* The stream has ended: what is left is a line. As bt_lines_next. */
baton_status bt_lines_last(struct bt_line_reader *r, struct bt_text *line);
void bt_lines_free(struct bt_line_reader *r);

enum bt_line_kind { BT_LINE_BLANK, BT_LINE_TASK, BT_LINE_CANCEL };

/* A line of the parent's; all borrow from it. */
struct bt_task_line {
    enum bt_line_kind kind;
    struct bt_text id;        /* a string as it stands there, quotes and all; len 0: there is none */
    struct bt_text queue;     /* the same */
    struct bt_text payload;   /* any value; "null" where there is none */
    struct bt_text work_kind; /* payload.kind, a string as it stands there; len 0: there is none */
    int64_t retry_count, max_retry;
};

/* `whole` false: the head of a line that was too long. BATON_OK, or what is wrong with the line: _INVALID,
 * _UNSUPPORTED, _TOO_LONG. t->id is filled whenever the line says whose it is. */
baton_status bt_task_line_parse(struct bt_text line, bool whole, struct bt_task_line *t, baton_error *err);

/* A line of a child's that runs tasks for us (--exec). */
enum bt_reply_kind { BT_REPLY_NOISE, BT_REPLY_READY, BT_REPLY_ERROR, BT_REPLY_LOG, BT_REPLY_ANSWER };
struct bt_reply_line {
    enum bt_reply_kind kind; /* NOISE: no JSON object; LOG: one without an id */
    struct bt_text id;       /* ANSWER */
    struct bt_text error;    /* ANSWER, ERROR: a string as it stands there, or len 0 */
    struct bt_text result;   /* ANSWER: any value; "null" where there is none */
    bool retry;              /* ANSWER */
    bool sound;              /* ANSWER: error and retry are of the types that the parent takes */
};
void bt_reply_line_parse(struct bt_text line, struct bt_reply_line *r);

/* Lines out, with their newline. `id`, `queue` as in bt_task_line. */
void bt_line_ready(struct bt_buf *b);
void bt_line_not_ready(struct bt_buf *b, const baton_error *why);

/* The one line that ends a task. `result`: JSON; its line breaks become spaces. */
void bt_line_result(struct bt_buf *b, struct bt_text id, struct bt_text result);
/* `partial`: what there was of an answer's text; shortened until the line fits. */
void bt_line_failure(struct bt_buf *b, struct bt_text id, baton_status status, const char *text,
                     struct bt_text partial);
/* Whether the same task may do better later. */
bool bt_status_may_pass(baton_status status);

/* A line about a task that does not end it: "event", "task", "attempt", then `more`: members, each with a comma before
 * it, or "". */
void bt_line_event(struct bt_buf *b, const char *event, const struct bt_task_line *t, struct bt_text more);

#endif
