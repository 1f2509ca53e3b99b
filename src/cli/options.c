/* The option parser and the help that is made of the same table. State: none but the structs it is given. */
#include "cli/options.h"

#include <errno.h>
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
        *(bool *)to = ok = true;
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

static void help_option(const struct bt_option *o) {
    char left[80], letter[8] = "    ";
    const char *help = o->help;
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name, o->kind == BT_OPTION_FLAG ? "" : " ",
             o->kind == BT_OPTION_FLAG     ? ""
             : o->kind == BT_OPTION_CHOICE ? o->choices
                                           : o->value);
    printf("%-34s", left);
    if (strlen(left) > 33)
        printf("\n%-34s", "");
    while (*help) {
        size_t n = strcspn(help, "\n");
        printf("%.*s\n", (int)n, help);
        help += n + (help[n] == '\n');
        if (*help)
            printf("%-34s", "");
    }
}

static void help(const struct bt_command *c, const struct bt_option_group *groups, size_t n_groups) {
    printf("usage: baton %s [options]%s%s\n\n%s\n", c->name, c->operands[0] ? " " : "", c->operands, c->about);
    for (size_t g = 0; g < n_groups; g++) {
        printf("\n%s:\n", groups[g].title);
        for (size_t i = 0; i < groups[g].n; i++)
            help_option(&groups[g].options[i]);
    }
    printf("\n      --help                      this text\n");
    if (c->notes)
        printf("\n%s\n", c->notes);
}

static int usage_error(const struct bt_command *c, const char *text) {
    fprintf(stderr, "baton %s: %s\n(baton %s --help lists the options)\n", c->name, text, c->name);
    return 2;
}

struct found {
    const struct bt_option *option;
    void *into;
    const char *value; /* behind "=" or the letter, NULL: the next argument */
};

static struct found find(const struct bt_option_group *groups, size_t n_groups, const char *arg) {
    const char *name = arg + 2;
    size_t len = strcspn(name, "=");
    bool is_long = arg[1] == '-';
    for (size_t g = 0; g < n_groups; g++)
        for (size_t i = 0; i < groups[g].n; i++) {
            const struct bt_option *o = &groups[g].options[i];
            if (is_long && strlen(o->name) == len && strncmp(o->name, name, len) == 0)
                return (struct found){o, groups[g].into, name[len] ? name + len + 1 : NULL};
            if (!is_long && o->letter && o->letter == arg[1])
                return (struct found){o, groups[g].into, arg[2] ? arg + 2 : NULL};
        }
    return (struct found){0};
}

/* One option at argv[*i]; *i is moved to its last argument. BT_OPTIONS_GO or an exit code. */
static int take(const struct bt_command *command, const struct bt_option_group *groups, size_t n_groups, int argc,
                char **argv, int *i) {
    struct found f = find(groups, n_groups, argv[*i]);
    char text[BATON_ERROR_TEXT_MAX], what[40];
    baton_error err;
    if (!f.option) {
        snprintf(text, sizeof text, "there is no option %.80s", argv[*i]);
        return usage_error(command, text);
    }
    snprintf(what, sizeof what, "--%s", f.option->name);
    if (f.option->kind == BT_OPTION_FLAG && f.value) {
        snprintf(text, sizeof text, "%s takes no value", what);
        return usage_error(command, text);
    }
    if (f.option->kind != BT_OPTION_FLAG && !f.value) {
        if (*i + 1 >= argc) {
            snprintf(text, sizeof text, "%s needs a value: %s", what,
                     f.option->kind == BT_OPTION_CHOICE ? f.option->choices : f.option->value);
            return usage_error(command, text);
        }
        f.value = argv[++*i];
    }
    if (bt_option_set(f.option, f.into, what, f.value ? f.value : "", &err) != BATON_OK)
        return usage_error(command, err.text);
    return BT_OPTIONS_GO;
}

int bt_options_parse(const struct bt_command *command, const struct bt_option_group *groups, size_t n_groups, int argc,
                     char **argv, char ***operands, int *n_operands) {
    int n = 0;
    bool only_operands = false;
    char text[120];
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (only_operands || arg[0] != '-' || arg[1] == '\0') {
            argv[1 + n++] = arg; /* never ahead of what has been read */
        } else if (strcmp(arg, "--") == 0) {
            only_operands = true;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            help(command, groups, n_groups);
            return 0;
        } else {
            int code = take(command, groups, n_groups, argc, argv, &i);
            if (code != BT_OPTIONS_GO)
                return code;
        }
    }
    if (n < command->operands_min || n > command->operands_max) {
        if (n > command->operands_max)
            snprintf(text, sizeof text, "\"%.60s\" is one argument too many", argv[1 + command->operands_max]);
        else
            snprintf(text, sizeof text, "%s is missing", command->operands);
        return usage_error(command, text);
    }
    if (operands) {
        *operands = argv + 1;
        *n_operands = n;
    }
    return BT_OPTIONS_GO;
}
