/* The subcommands, and the options that several of them share. */
#ifndef BT_CLI_H
#define BT_CLI_H

#include "cli/options.h"
#include "ipc/front.h"
#include "native/native.h"

/* Each gets its own name as argv[0] and returns the program's exit code: 0, 1 (it failed), 2 (it was asked wrongly). */
int bt_cmd_ask(int argc, char **argv);
int bt_cmd_serve(int argc, char **argv);
int bt_cmd_demo(int argc, char **argv);

/* The model and how its contexts are made. */
struct bt_model_options {
    const char *model;         /* NULL: built in */
    const char *chat_template; /* NULL: the model's own */
    int gpu_layers;
    int ctx, threads;
    int exact; /* on, off, auto */
};
enum { BT_EXACT_ON, BT_EXACT_OFF, BT_EXACT_AUTO };
#define BT_MODEL_OPTIONS                                                                                               \
    { .exact = BT_EXACT_AUTO }

/* Where the contexts live. */
struct bt_owner_options {
    int owner; /* thread, process */
    bool no_sandbox, core;
};

struct bt_option_group bt_owner_option_group(struct bt_owner_options *o);
void bt_owner_options_apply(const struct bt_owner_options *o, struct bt_front_params *params);

struct bt_option_group bt_model_option_group(struct bt_model_options *m);
void bt_model_options_apply(const struct bt_model_options *m, struct bt_model_params *model,
                            struct bt_context_params *context);

/* A bar on stderr while the model loads, if that is a terminal and it takes long enough to be seen. */
void bt_cli_progress(struct bt_model_params *model);

/* "baton serve: text", and the exit code: 2 when what was asked for cannot be, 1 for all else. */
int bt_cli_failed(const char *command, const baton_error *err);

#endif
