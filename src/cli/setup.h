/* What a subcommand that may have a configuration file runs with. */
#ifndef BT_SETUP_H
#define BT_SETUP_H

#include "cli/cli.h"

struct bt_setup {
    const struct bt_command *command; /* without operands */
    const enum bt_config_group *groups;
    size_t n_groups;
    const struct bt_option_group *own; /* the subcommand's own options */
    size_t n_own;
    int (*before)(struct bt_config *c); /* settings are complete; may be NULL. BT_OPTIONS_GO, or the exit code */
};

/* Reads the command line, the file that it names, and the command line's options over that. BT_OPTIONS_GO: *config is
 * the caller's, its models complete; without a file it has one model, whose name is NULL. Else the exit code: all has
 * been said. */
int bt_setup(const struct bt_setup *setup, int argc, char **argv, struct bt_config **config);

#endif
