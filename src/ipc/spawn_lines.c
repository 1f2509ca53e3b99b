/* Lines of an owner process: cut, cleaned of what a terminal would obey, and not more than a log can bear. */
#include "ipc/spawn_lines.h"

#include <stdio.h>
#include <string.h>

static const int64_t COST_NS = BT_NS_PER_S / BT_LINES_PER_S;

void bt_printed_init(struct bt_printed *l, const char *name, int64_t now_ns) {
    memset(l, 0, sizeof *l);
    snprintf(l->name, sizeof l->name, "%s", name);
    bt_utf8_mend(l->name);
    l->credit_ns = COST_NS * BT_LINES_BURST;
    l->seen_ns = now_ns;
}

/* The owner's own bt_log wrote it: at its own level, without saying so twice. */
static baton_log_level level_of(const char **line) {
    static const char *const names[] = {"error: ", "warning: ", "info: ", "debug: "};
    if (strncmp(*line, "baton: ", 7) == 0)
        for (size_t i = 0; i < BT_COUNT(names); i++)
            if (strncmp(*line + 7, names[i], strlen(names[i])) == 0) {
                *line += 7 + strlen(names[i]);
                return (baton_log_level)i;
            }
    return BATON_LOG_INFO;
}

static void tell_dropped(struct bt_printed *l) {
    if (l->dropped)
        bt_log(BATON_LOG_WARN, "%s: %llu more lines of its owner process were dropped: it prints more than %d a second",
               l->name, (unsigned long long)l->dropped, BT_LINES_PER_S);
    l->dropped = 0;
}

static void say(struct bt_printed *l, int64_t now_ns) {
    const char *line = l->line;
    l->line[l->len] = '\0';
    bt_line_clean(l->line);
    bool empty = l->line[strspn(l->line, " ")] == '\0';
    if (!empty)
        memcpy(l->last, l->line, sizeof l->last);
    l->credit_ns = BT_MIN(l->credit_ns + (now_ns - l->seen_ns), COST_NS * BT_LINES_BURST);
    l->seen_ns = now_ns;
    if (!empty && l->credit_ns < COST_NS) {
        l->dropped++;
    } else if (!empty) {
        baton_log_level level = level_of(&line);
        l->credit_ns -= COST_NS;
        tell_dropped(l);
        bt_log(level, "%s: %s%s", l->name, line, l->cut ? " [...]" : "");
    }
    l->len = 0;
    l->cut = false;
}

void bt_printed_add(struct bt_printed *l, const char *text, size_t len, int64_t now_ns) {
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\n')
            say(l, now_ns);
        else if (l->len < BT_LINE_MAX)
            l->line[l->len++] = text[i] ? text[i] : ' ';
        else
            l->cut = true;
}

void bt_printed_end(struct bt_printed *l, int64_t now_ns) {
    if (l->len > 0)
        say(l, now_ns);
    tell_dropped(l);
}
