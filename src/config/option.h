/* Values from tables: one table says how a value is read, what is allowed, how it is written again and what --help
 * tells of it, for command lines and configuration files alike, so that these cannot disagree. Pure. State: none but
 * the structs that are filled. */
#ifndef BT_OPTION_H
#define BT_OPTION_H

#include "base/base.h"

enum bt_option_kind {
    BT_OPTION_FLAG,     /* bool; in a file yes or no */
    BT_OPTION_TEXT,     /* const char *, borrowed from argv or the file */
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
    const char *key;     /* its name in a file, where that is not `name`; "": files do not have it */
};
#define BT_OPTION_UNSAID INT64_MIN /* of a duration: nobody said, and the default depends on the rest */
#define BT_OPTION_AT(type, field) offsetof(type, field)

/* Options that belong together and fill one struct, whose present content is the default. */
struct bt_option_group {
    const char *title;
    const struct bt_option *options;
    size_t n;
    void *into;
};

/* One value as its option reads it. `what` names the place of the value in the error's text. A flag takes yes and no;
 * "" sets it, too. */
baton_status bt_option_set(const struct bt_option *o, void *into, const char *what, const char *value,
                           baton_error *err);

/* The value that is there, so that bt_option_set reads the same again; false where there is none (a text that is not
 * set, a seed that was not given, a duration that nobody said). */
bool bt_option_write(const struct bt_option *o, const void *from, struct bt_buf *out);

/* The name of an option in a configuration file: `key`, or the name with - as _. */
void bt_option_key(const struct bt_option *o, char *key, size_t size);

#endif
