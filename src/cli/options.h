/* Command lines from tables of options (config/option.h). Pure but for the text it prints. */
#ifndef BT_OPTIONS_H
#define BT_OPTIONS_H

#include "config/option.h"

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

#endif
