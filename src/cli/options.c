/* The command line's parser and the help that is made of the same table. State: none but the structs it is given. */
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

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
        /* not what is behind "=": it may be secret */
        snprintf(text, sizeof text, "there is no option %.*s", (int)BT_MIN(strcspn(argv[*i], "="), (size_t)80),
                 argv[*i]);
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

/* An argument as it may be told to a log: a URL's user and password are not. */
static void tellable(const char *arg, char *text, size_t size) {
    const char *authority = strstr(arg, "://"), *at = authority ? strrchr(authority, '@') : NULL;
    if (at)
        snprintf(text, size, "%.*s...%.60s", (int)BT_MIN(authority + 3 - arg, 10), arg, at);
    else
        snprintf(text, size, "%.60s", arg);
}

int bt_options_parse(const struct bt_command *command, const struct bt_option_group *groups, size_t n_groups, int argc,
                     char **argv, char ***operands, int *n_operands) {
    int n = 0;
    bool only_operands = false;
    char text[120], extra[80];
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
        snprintf(text, sizeof text, "%s is missing", command->operands);
        if (n > command->operands_max) {
            tellable(argv[1 + command->operands_max], extra, sizeof extra);
            snprintf(text, sizeof text, "\"%s\" is one argument too many", extra);
        }
        return usage_error(command, text);
    }
    if (operands) {
        *operands = argv + 1;
        *n_operands = n;
    }
    return BT_OPTIONS_GO;
}
