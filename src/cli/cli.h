/* The subcommands, and the options that several of them share. */
#ifndef BT_CLI_H
#define BT_CLI_H

#include "cli/options.h"
#include "config/config.h"
#include "native/native.h"

/* Each gets its own name as argv[0] and returns the program's exit code: 0, 1 (it failed), 2 (it was asked wrongly). */
int bt_cmd_ask(int argc, char **argv);
int bt_cmd_serve(int argc, char **argv);
int bt_cmd_demo(int argc, char **argv);
int bt_cmd_work(int argc, char **argv);
int bt_cmd_submit(int argc, char **argv);

/* A bar on stderr while the model loads, if that is a terminal and it takes long enough to be seen. `name` may be NULL;
 * models are loaded one after the other. */
void bt_cli_progress(const char *name, struct bt_model_params *model);

/* One line on what memory the model would take, before it is opened; its settings are complete. */
baton_status bt_cli_estimate(const struct bt_model_settings *m, char *text, size_t size, baton_error *err);

/* "baton serve: text", and the exit code: 2 when what was asked for cannot be, 1 for all else. */
int bt_cli_failed(const char *command, const baton_error *err);

#endif
