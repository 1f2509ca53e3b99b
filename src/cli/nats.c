/* The options of NATS, and `baton submit`. State: none. */
#include "cli/nats.h"

#include <string.h>

#define AT(field) BT_OPTION_AT(struct bt_nats_params, field)
#define DAY (24.0 * 3600 * 1000)

/* The last two are the worker's. */
static const struct bt_option OPTIONS[] = {
    {"nats", 0, BT_OPTION_TEXT, AT(url), .value = "URL",
     .help = "a NATS server with JetStream, nats://host:4222;\nuser:password@ or a token before the host; several with "
             "commas"},
    {"nats-name", 0, BT_OPTION_TEXT, AT(name), .value = "NAME",
     .help = "of the queue (default): subject baton.tasks.NAME"},
    {"nats-creds", 0, BT_OPTION_TEXT, AT(credentials), .value = "FILE", .help = "credentials, as NATS makes them"},
    {"nats-ca", 0, BT_OPTION_TEXT, AT(ca), .value = "FILE", .help = "TLS: whom to trust"},
    {"nats-cert", 0, BT_OPTION_TEXT, AT(certificate), .value = "FILE", .help = "TLS: a certificate of one's own"},
    {"nats-key", 0, BT_OPTION_TEXT, AT(key), .value = "FILE", .help = "TLS: its key"},
    {"nats-max-deliver", 0, BT_OPTION_INT, AT(max_deliver), 1, 1000, .value = "N",
     .help = "how often a task is begun (5) before it is given up and\nkept in stream BATON_DEAD"},
    {"nats-ack-wait", 0, BT_OPTION_DURATION, AT(ack_wait_ms), 300, DAY, .value = "TIME",
     .help = "without a sign of life for so long (30s), a task goes to\nanother worker"},
};

struct bt_option_group bt_nats_option_group(struct bt_nats_params *p, bool worker) {
    return (struct bt_option_group){"Many machines", OPTIONS, BT_COUNT(OPTIONS) - (worker ? 0 : 2), p};
}

baton_status bt_nats_options_check(const struct bt_nats_params *p, bool one_shot, baton_error *err) {
    static const struct bt_nats_params presets = BT_NATS_OPTIONS;
    bool others = strcmp(p->name, presets.name) != 0 || p->credentials || p->ca || p->certificate || p->key ||
                  p->max_deliver != presets.max_deliver || p->ack_wait_ms != presets.ack_wait_ms;
    if (!p->url && others)
        return bt_fail(err, BATON_INVALID, "--nats is missing: the other options of NATS mean nothing without it");
    if (p->url && one_shot)
        return bt_fail(err, BATON_INVALID, "--mode one_shot is for one task on stdin: leave it out with --nats");
    return BATON_OK;
}

struct options {
    const char *model, *payload;
    double temperature;
    int max_tokens;
    int64_t wait;
    bool raw, events;
    struct bt_option_seed seed;
};

#undef AT
#define AT(field) BT_OPTION_AT(struct options, field)

static const struct bt_option TASK[] = {
    {"model", 'm', BT_OPTION_TEXT, AT(model), .value = "NAME", .help = "which of the workers' models; theirs, if none"},
    {"temperature", 0, BT_OPTION_REAL, AT(temperature), 0, 2, .value = "T",
     .help = "0 always takes the likeliest token (0.8)"},
    {"max-tokens", 'n', BT_OPTION_INT, AT(max_tokens), -1, 1 << 30, .value = "N",
     .help = "at most so many; -1, the default: until the context is full"},
    {"seed", 's', BT_OPTION_SEED, AT(seed), .value = "N", .help = "the same seed gives the same answer (random)"},
    {"raw", 0, BT_OPTION_FLAG, AT(raw), .help = "continue the prompt as it stands, without a chat template"},
    {"payload", 0, BT_OPTION_TEXT, AT(payload), .value = "JSON",
     .help = "the task as it is to be, instead of a prompt"},
    {"wait", 0, BT_OPTION_DURATION, AT(wait), -1, DAY, .value = "TIME", .help = "for the outcome (10m), or never ends"},
    {"lines", 0, BT_OPTION_FLAG, AT(events), .help = "print what comes as lines of JSON"},
};

static const struct bt_command COMMAND = {
    .name = "submit",
    .operands = "[--] [PROMPT]",
    .about = "Gives a task to the workers of a queue on NATS (baton work --nats) and streams its answer.",
    .notes = "Exit codes: 0 answered; 1 failed, or no outcome in time; 2 asked wrongly.",
    .operands_min = 0,
    .operands_max = 1,
};

static void make_payload(const struct options *o, const char *prompt, struct bt_buf *b) {
    bt_buf_adds(b, o->raw ? "{\"kind\":\"completion\",\"prompt\":"
                          : "{\"kind\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":");
    bt_json_string(b, prompt, strlen(prompt));
    /* a seed of ours: whoever does the task again says the same */
    bt_buf_addf(b, "%s,\"temperature\":%g,\"seed\":%lld", o->raw ? "" : "}]", o->temperature,
                (long long)(o->seed.given ? o->seed.value : bt_random64() >> 1));
    if (o->max_tokens > 0)
        bt_buf_addf(b, ",\"max_tokens\":%d", o->max_tokens);
    if (o->model) {
        bt_buf_adds(b, ",\"model\":");
        bt_json_string(b, o->model, strlen(o->model));
    }
    bt_buf_adds(b, "}");
    bt_buf_add(b, "", 1);
}

int bt_cmd_submit(int argc, char **argv) {
    struct options o = {.temperature = 0.8, .max_tokens = -1, .wait = 600000};
    struct bt_nats_params nats = BT_NATS_OPTIONS;
    const struct bt_option_group groups[] = {{"The task", TASK, BT_COUNT(TASK), &o},
                                             bt_nats_option_group(&nats, false)};
    struct bt_buf payload = BT_BUF_INIT;
    baton_error err = {.text = ""};
    char **operands;
    int n;
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, &operands, &n);
    if (code != BT_OPTIONS_GO)
        return code;
    if (!nats.url || (n == 1) == (o.payload != NULL)) {
        bt_fail(&err, BATON_INVALID, !nats.url ? "--nats is needed: the server" : "a PROMPT or --payload: one of them");
        return bt_cli_failed("submit", &err);
    }
    if (!o.payload)
        make_payload(&o, operands[0], &payload);
    baton_status status = payload.failed ? bt_fail(&err, BATON_NO_MEMORY, "no memory for the task") : BATON_OK;
    if (status == BATON_OK)
        status = bt_nats_submit(
            &(struct bt_nats_submit_params){.nats = nats,
                                            .payload = o.payload ? o.payload : (const char *)payload.data,
                                            .wait_ms = o.wait,
                                            .events = o.events},
            &err);
    bt_buf_free(&payload);
    return status == BATON_OK ? 0 : bt_cli_failed("submit", &err);
}
