/* `baton serve`: from the command line to bt_serve. State: none. */
#include "cli/cli.h"
#include "serve/server.h"

#include <limits.h>
#include <signal.h>

struct options {
    const char *host, *key_file, *origins;
    int port;
    int contexts, sequences;
    int when_full; /* wait, refuse */
    int queue;
    int64_t queue_timeout, run_timeout;
    int connections;
    int64_t body_max, header_timeout, body_timeout, idle_timeout, stream_idle, drain;
    int log;
};

#define AT(field) BT_OPTION_AT(struct options, field)
#define DAY (24.0 * 3600 * 1000)

/* A frame carries the prompt; the rest of what a request says fits into this. */
enum { FRAME_OVERHEAD = 64 << 10 };

static const struct bt_option ADDRESS[] = {
    {"host", 0, BT_OPTION_TEXT, AT(host), .value = "ADDRESS", .help = "where to listen (127.0.0.1)"},
    {"port", 'p', BT_OPTION_INT, AT(port), 0, 65535, .value = "N", .help = "0 picks a free one (8080)"},
    {"api-key-file", 0, BT_OPTION_TEXT, AT(key_file), .value = "FILE",
     .help = "API keys, one a line: who has none of them gets 401;\nwithout it anybody who can connect may ask"},
    {"allow-origin", 0, BT_OPTION_TEXT, AT(origins), .value = "LIST",
     .help =
         "web pages that may ask, as http://localhost:3000, with\ncommas between them; * is any, without it none: 403"},
};

static const struct bt_option POLICY[] = {
    {"contexts", 0, BT_OPTION_INT, AT(contexts), 1, BT_CONTEXTS_MAX, .value = "N",
     .help = "native contexts, which run at the same time (1)"},
    {"sequences", 0, BT_OPTION_INT, AT(sequences), 1, 256, .value = "N",
     .help = "requests in each context, batched (8)"},
    {"when-full", 0, BT_OPTION_CHOICE, AT(when_full), .choices = "wait|refuse",
     .help = "what happens to a request when all slots are in use\n(wait); refuse answers 429 at once"},
    {"queue", 0, BT_OPTION_INT, AT(queue), 0, 1 << 20, .value = "N",
     .help = "requests that may wait (64); the next gets 429"},
    {"queue-timeout", 0, BT_OPTION_DURATION, AT(queue_timeout), -1, DAY, .value = "TIME",
     .help = "how long one may wait (30s), or never ends; then 429"},
    {"run-timeout", 0, BT_OPTION_DURATION, AT(run_timeout), -1, 7 * DAY, .value = "TIME",
     .help = "how long one may run (10m), or never ends; then 504"},
};

static const struct bt_option LIMITS[] = {
    {"body-max", 0, BT_OPTION_SIZE, AT(body_max), 1024, BT_FRAME_MAX - FRAME_OVERHEAD, .value = "SIZE",
     .help = "the longest body of a request (just below 16M); 413"},
    {"max-connections", 0, BT_OPTION_INT, AT(connections), 1, 1 << 20, .value = "N",
     .help = "connections at once (4096); 503"},
    {"header-timeout", 0, BT_OPTION_DURATION, AT(header_timeout), 10, DAY, .value = "TIME",
     .help = "first to last byte of a header (15s); 408"},
    {"body-timeout", 0, BT_OPTION_DURATION, AT(body_timeout), 10, DAY, .value = "TIME",
     .help = "first to last byte of a body (60s); 408"},
    {"idle-timeout", 0, BT_OPTION_DURATION, AT(idle_timeout), 10, DAY, .value = "TIME",
     .help = "a connection without a request (75s)"},
    {"stream-idle", 0, BT_OPTION_DURATION, AT(stream_idle), 10, DAY, .value = "TIME",
     .help = "a reader that takes no byte of what waits for it (60s);\nits request is cancelled"},
    {"drain", 0, BT_OPTION_DURATION, AT(drain), 0, DAY, .value = "TIME",
     .help = "after SIGINT or SIGTERM: how long answers may go on\n(10s); a second signal ends at once"},
    {"log", 0, BT_OPTION_CHOICE, AT(log), .choices = "error|warn|info|debug",
     .help = "what is said on stderr (info); never a prompt"},
};

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
    struct bt_model_options model = BT_MODEL_OPTIONS;
    struct bt_owner_options owner = {.owner = 0};
    struct options o = {
        .host = "127.0.0.1",
        .port = 8080,
        .contexts = 1,
        .sequences = 8,
        .queue = 64,
        .queue_timeout = 30000,
        .run_timeout = 600000,
        .connections = 4096,
        .body_max = BT_FRAME_MAX - FRAME_OVERHEAD,
        .header_timeout = 15000,
        .body_timeout = 60000,
        .idle_timeout = 75000,
        .stream_idle = 60000,
        .drain = 10000,
        .log = BATON_LOG_INFO,
    };
    const struct bt_option_group groups[] = {
        bt_model_option_group(&model),
        bt_owner_option_group(&owner),
        {"The address", ADDRESS, BT_COUNT(ADDRESS), &o},
        {"How many at once, and what happens to the rest", POLICY, BT_COUNT(POLICY), &o},
        {"Limits", LIMITS, BT_COUNT(LIMITS), &o},
    };
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, NULL, NULL);
    if (code != BT_OPTIONS_GO)
        return code;
    struct bt_serve_params p = {
        .front = {.contexts = o.contexts,
                  .when_full = o.when_full == 0 ? BT_WAIT : BT_REFUSE,
                  .queue_max = o.queue,
                  .queue_ms = o.queue_timeout,
                  .run_ms = o.run_timeout,
                  .context = {.sequences = o.sequences}},
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
    bt_model_options_apply(&model, &p.front.model, &p.front.context);
    bt_owner_options_apply(&owner, &p.front);
    bt_log_set_level((baton_log_level)o.log);
    sigaction(SIGPIPE, &ignored, NULL); /* whoever reads the log may go */
    if (bt_serve(&p, &err) != BATON_OK)
        return bt_cli_failed("serve", &err);
    return 0;
}
