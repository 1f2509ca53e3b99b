/* `baton serve`: from the command line to bt_serve. State: none. */
#include "cli/cli.h"
#include "serve/server.h"

#include <signal.h>

static const struct bt_command COMMAND = {
    .name = "serve",
    .operands = "",
    .about = "Serves a model over HTTP with OpenAI's API: /v1/chat/completions, /v1/completions, /v1/models, /health.\n"
             "Prints \"listening on http://ADDRESS:PORT\" when it is ready.",
    .notes =
        "A client that leaves, or half-closes its connection, cancels its request and frees its slot.\n"
        "Where a request says nothing: temperature 0.8, min_p 0.05, top_p 1, top_k off, a random seed, and as many\n"
        "tokens as the context holds. A key that comes twice in a request is refused.",
};

int bt_cmd_serve(int argc, char **argv) {
    struct bt_model_settings model = BT_MODEL_SETTINGS;
    struct bt_serve_settings o = BT_SERVE_SETTINGS;
    const struct bt_option_group groups[] = {
        bt_config_group(BT_GROUP_MODEL, &model), bt_config_group(BT_GROUP_POLICY, &model),
        bt_config_group(BT_GROUP_OWNER, &model), bt_config_group(BT_GROUP_ADDRESS, &o),
        bt_config_group(BT_GROUP_LIMITS, &o),
    };
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, NULL, NULL);
    if (code != BT_OPTIONS_GO)
        return code;
    struct bt_serve_params p = {
        .host = o.host,
        .port = o.port,
        .key_file = o.key_file,
        .origins = o.origins,
        .limits = {.connections = o.connections,
                   .body_max = (size_t)o.body_max,
                   .header_ms = o.header_timeout,
                   .body_ms = o.body_timeout,
                   .idle_ms = o.idle_timeout,
                   .write_ms = o.stream_idle},
        .drain_ms = o.drain,
    };
    const struct sigaction ignored = {.sa_handler = SIG_IGN};
    baton_error err = {.text = ""};
    if (bt_model_settings_complete(&model, &err) != BATON_OK)
        return bt_cli_failed("serve", &err);
    bt_model_settings_front(&model, &p.front);
    bt_log_set_level((baton_log_level)o.log);
    sigaction(SIGPIPE, &ignored, NULL); /* whoever reads the log may go */
    if (bt_serve(&p, &err) != BATON_OK)
        return bt_cli_failed("serve", &err);
    return 0;
}
