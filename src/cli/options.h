/* Command lines from tables: one table says how an option is read, what is allowed, and what --help tells of it, so
 * that the three cannot disagree. Pure but for the text it prints. */
#ifndef BT_OPTIONS_H
#define BT_OPTIONS_H

#include "base/base.h"

enum bt_option_kind {
    BT_OPTION_FLAG,     /* bool */
    BT_OPTION_TEXT,     /* const char *, borrowed from argv */
    BT_OPTION_INT,      /* int */
    BT_OPTION_SEED,     /* struct bt_option_seed */
    BT_OPTION_REAL,     /* double */
    BT_OPTION_DURATION, /* int64_t milliseconds, "500ms" "30s" "10m" "2h"; "never" is -1 where min is -1 */
    BT_OPTION_SIZE,     /* int64_t bytes, "512K" "16M" "1G" */
    BT_OPTION_CHOICE,   /* int: which of `choices` */
};

struct bt_option_seed {
    bool given;
    uint64_t value;
};

struct bt_option {
    const char *name; /* without its dashes */
    char letter;      /* 0: none */
    enum bt_option_kind kind;
    size_t at; /* offset in the struct of its group */
    double min, max;
    const char *choices; /* "wait|refuse" */
    const char *value;   /* how --help calls the value: "N" */
    const char *help;    /* one or more lines; the default is said here */
};
#define BT_OPTION_AT(type, field) offsetof(type, field)

/* Options that belong together and fill one struct, whose present content is the default. */
struct bt_option_group {
    const char *title;
    const struct bt_option *options;
    size_t n;
    void *into;
};

struct bt_command {
    const char *name;     /* "serve" */
    const char *operands; /* "[--] PROMPT", or "" */
    const char *about;    /* a paragraph */
    const char *notes;    /* printed behind the options, may be NULL */
    int operands_min, operands_max;
};

/* argv[0] is the subcommand. BT_OPTIONS_GO: go on, *operands are those of argv (reordered to its end). Else the
 * program's exit code: 0 after --help, 2 after an error, which has been printed. */
enum { BT_OPTIONS_GO = -1 };
int bt_options_parse(const struct bt_command *command, const struct bt_option_group *groups, size_t n_groups, int argc,
                     char **argv, char ***operands, int *n_operands);

/* One value as its option reads it: what bt_options_parse uses, for configuration files too. `what` names the place of
 * the value in the error's text. */
baton_status bt_option_set(const struct bt_option *o, void *into, const char *what, const char *value,
                           baton_error *err);

#endif
