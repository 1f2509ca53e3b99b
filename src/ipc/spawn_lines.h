/* What an owner process prints, as bounded log lines. Pure but for the log. State: the caller's. */
#ifndef BT_SPAWN_LINES_H
#define BT_SPAWN_LINES_H

#include "base/base.h"

enum { BT_LINE_MAX = 500, BT_LINES_BURST = 200, BT_LINES_PER_S = 50 };

struct bt_printed {
    char name[64]; /* begins each line */
    char line[BT_LINE_MAX + 1], last[BT_LINE_MAX + 1];
    size_t len;
    bool cut;          /* the line went on beyond its room */
    int64_t credit_ns; /* of time, of which each line costs its share */
    int64_t seen_ns;
    uint64_t dropped;
};

/* `name` of a model. */
void bt_printed_init(struct bt_printed *l, const char *name, int64_t now_ns);
void bt_printed_add(struct bt_printed *l, const char *text, size_t len, int64_t now_ns);
/* What has no line end yet is one; says how much was dropped. */
void bt_printed_end(struct bt_printed *l, int64_t now_ns);

#endif
