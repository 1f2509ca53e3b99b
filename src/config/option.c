/* How values are read and written. State: none. */
#include "config/option.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit DURATIONS[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
static const struct unit SIZES[] = {{"", 1},          {"K", 1 << 10},   {"M", 1 << 20},  {"G", 1 << 30},
                                    {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};

/* A number and one of the units behind it; false if it is anything else. */
static bool with_unit(const char *text, const struct unit *units, size_t n, double *out) {
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    double number = strtod(text, &end);
    for (size_t i = 0; i < n; i++)
        if (strcmp(end, units[i].name) == 0) {
            *out = number * units[i].factor;
            return isfinite(*out) && *out < 9e15;
        }
    return false;
}

static void duration_text(double ms, char *text, size_t size) {
    if (ms < 0)
        snprintf(text, size, "never");
    else if (ms >= 3600000 && fmod(ms, 3600000) == 0)
        snprintf(text, size, "%.0fh", ms / 3600000);
    else if (ms >= 60000 && fmod(ms, 60000) == 0)
        snprintf(text, size, "%.0fm", ms / 60000);
    else if (ms >= 1000 && fmod(ms, 1000) == 0)
        snprintf(text, size, "%.0fs", ms / 1000);
    else
        snprintf(text, size, "%.0fms", ms);
}

static baton_status wrong(const struct bt_option *o, const char *what, const char *value, baton_error *err) {
    char expected[200], lo[32], hi[32];
    switch (o->kind) {
    case BT_OPTION_INT:
        snprintf(expected, sizeof expected, "a whole number from %.0f to %.0f", o->min, o->max);
        break;
    case BT_OPTION_REAL:
        snprintf(expected, sizeof expected, "a number from %g to %g", o->min, o->max);
        break;
    case BT_OPTION_SEED:
        snprintf(expected, sizeof expected, "a whole number of at most 64 bits");
        break;
    case BT_OPTION_DURATION:
        duration_text(BT_MAX(o->min, 0), lo, sizeof lo);
        duration_text(o->max, hi, sizeof hi);
        snprintf(expected, sizeof expected, "a time from %s to %s such as 500ms, 30s, 10m or 2h%s", lo, hi,
                 o->min < 0 ? ", or never" : "");
        break;
    case BT_OPTION_SIZE:
        snprintf(expected, sizeof expected, "a size from %.0f to %.0f bytes such as 65536, 512K, 16M or 1G", o->min,
                 o->max);
        break;
    case BT_OPTION_CHOICE:
        snprintf(expected, sizeof expected, "one of %s", o->choices);
        break;
    case BT_OPTION_FLAG:
        snprintf(expected, sizeof expected, "yes or no");
        break;
    default:
        snprintf(expected, sizeof expected, "a text that is not empty");
    }
    return bt_fail(err, BATON_INVALID, "%s is \"%.60s\": expected %s", what, value, expected);
}

static bool set_int(const struct bt_option *o, void *to, const char *value) {
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (end == value || *end || errno || (double)n < o->min || (double)n > o->max)
        return false;
    *(int *)to = (int)n;
    return true;
}

static bool set_real(const struct bt_option *o, void *to, const char *value) {
    char *end;
    double d = strtod(value, &end);
    if (end == value || *end || !(d >= o->min && d <= o->max))
        return false;
    *(double *)to = d;
    return true;
}

static bool set_seed(void *to, const char *value) {
    char *end;
    errno = 0;
    unsigned long long n = value[0] == '-' ? (unsigned long long)strtoll(value, &end, 10) : strtoull(value, &end, 10);
    if (end == value || *end || errno)
        return false;
    *(struct bt_option_seed *)to = (struct bt_option_seed){true, n};
    return true;
}

static bool set_scaled(const struct bt_option *o, void *to, const char *value) {
    bool time = o->kind == BT_OPTION_DURATION;
    double d = -1;
    if (!(time && o->min < 0 && strcmp(value, "never") == 0) &&
        !(with_unit(value, time ? DURATIONS : SIZES, time ? BT_COUNT(DURATIONS) : BT_COUNT(SIZES), &d) && d >= o->min &&
          d <= o->max))
        return false;
    *(int64_t *)to = (int64_t)d;
    return true;
}

static bool set_flag(void *to, const char *value) {
    bool no = strcmp(value, "no") == 0;
    if (!no && value[0] && strcmp(value, "yes") != 0)
        return false;
    *(bool *)to = !no;
    return true;
}

static bool set_choice(const struct bt_option *o, void *to, const char *value) {
    size_t len = strlen(value);
    const char *c = o->choices;
    for (int i = 0; *c; i++) {
        size_t n = strcspn(c, "|");
        if (n == len && strncmp(c, value, n) == 0) {
            *(int *)to = i;
            return true;
        }
        c += n + (c[n] == '|');
    }
    return false;
}

baton_status bt_option_set(const struct bt_option *o, void *into, const char *what, const char *value,
                           baton_error *err) {
    void *to = (char *)into + o->at;
    bool ok = false;
    switch (o->kind) {
    case BT_OPTION_FLAG:
        ok = set_flag(to, value);
        break;
    case BT_OPTION_TEXT:
        *(const char **)to = value;
        ok = value[0] != '\0';
        break;
    case BT_OPTION_INT:
        ok = set_int(o, to, value);
        break;
    case BT_OPTION_SEED:
        ok = set_seed(to, value);
        break;
    case BT_OPTION_REAL:
        ok = set_real(o, to, value);
        break;
    case BT_OPTION_DURATION:
    case BT_OPTION_SIZE:
        ok = set_scaled(o, to, value);
        break;
    case BT_OPTION_CHOICE:
        ok = set_choice(o, to, value);
        break;
    }
    return ok ? BATON_OK : wrong(o, what, value, err);
}

static void write_real(double d, struct bt_buf *out) {
    char text[32];
    snprintf(text, sizeof text, "%g", d);
    if (strtod(text, NULL) != d)
        snprintf(text, sizeof text, "%.17g", d);
    bt_buf_adds(out, text);
}

static void write_choice(const struct bt_option *o, int choice, struct bt_buf *out) {
    const char *c = o->choices;
    for (; choice > 0 && *c; choice--) {
        c += strcspn(c, "|");
        c += *c == '|';
    }
    bt_buf_add(out, c, strcspn(c, "|"));
}

bool bt_option_write(const struct bt_option *o, const void *from, struct bt_buf *out) {
    const void *at = (const char *)from + o->at;
    char text[32];
    switch (o->kind) {
    case BT_OPTION_FLAG:
        bt_buf_adds(out, *(const bool *)at ? "yes" : "no");
        break;
    case BT_OPTION_TEXT:
        if (!*(const char *const *)at)
            return false;
        bt_buf_adds(out, *(const char *const *)at);
        break;
    case BT_OPTION_INT:
        bt_buf_addf(out, "%d", *(const int *)at);
        break;
    case BT_OPTION_SEED:
        if (!((const struct bt_option_seed *)at)->given)
            return false;
        bt_buf_addf(out, "%" PRIu64, ((const struct bt_option_seed *)at)->value);
        break;
    case BT_OPTION_REAL:
        write_real(*(const double *)at, out);
        break;
    case BT_OPTION_DURATION:
        if (*(const int64_t *)at == BT_OPTION_UNSAID)
            return false;
        duration_text((double)*(const int64_t *)at, text, sizeof text);
        bt_buf_adds(out, text);
        break;
    case BT_OPTION_SIZE:
        bt_buf_addf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case BT_OPTION_CHOICE:
        write_choice(o, *(const int *)at, out);
        break;
    }
    return true;
}

void bt_option_key(const struct bt_option *o, char *key, size_t size) {
    snprintf(key, size, "%s", o->key ? o->key : o->name);
    for (char *c = key; *c; c++)
        if (*c == '-')
            *c = '_';
}
