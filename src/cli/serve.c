/* `baton serve`: from the command line and the configuration file to bt_serve. State: none. */
#include "cli/setup.h"
#include "serve/server.h"

#include <signal.h>
#include <string.h>

static const struct bt_command COMMAND = {
    .name = "serve",
    .operands = "",
    .about = "Serves models over HTTP with OpenAI's API: /v1/chat/completions, /v1/completions, /v1/embeddings, "
             "/v1/rerank, /v1/models, /health.\n"
             "Prints \"listening on http://ADDRESS:PORT\" when it is ready.",
    .notes =
        "A client that leaves, or half-closes its connection, cancels its request and frees its slot.\n"
        "Where a request says nothing: temperature 0.8, min_p 0.05, top_p 1, top_k off, a random seed, and as many\n"
        "tokens as the context holds. A key that comes twice in a request is refused.",
};

static const enum bt_config_group GROUPS[] = {BT_GROUP_MODEL, BT_GROUP_POOLING, BT_GROUP_POLICY,
                                              BT_GROUP_OWNER, BT_GROUP_ADDRESS, BT_GROUP_LIMITS};

struct served {
    struct bt_serve_model models[BT_CONFIG_MODELS_MAX];
    struct bt_serve_role roles[BT_CONFIG_ROLES_MAX];
    int n, n_roles;
};

/* A file may be shared with `baton work`: what this server cannot answer with is left to that. */
static void choose(struct bt_config *c, struct served *s) {
    for (int i = 0; i < c->n_models; i++) {
        struct bt_model_settings *m = &c->models[i];
        if (m->kind != BT_MODEL_TEXT || m->pooling == BT_POOL_NONE) {
            bt_log(BATON_LOG_WARN, "model %s is not served: it makes neither text nor vectors of texts",
                   m->name ? m->name : "");
            continue;
        }
        char text[300];
        bool fake = m->file && strncmp(m->file, "fake:", 5) == 0;
        if (!fake && bt_cli_estimate(m, text, sizeof text, NULL) == BATON_OK) /* else the load says why, and better */
            bt_log(BATON_LOG_INFO, "to be loaded: %s", text);
        struct bt_serve_model *to = &s->models[s->n++];
        to->name = m->name;
        bt_model_settings_front(m, &to->front);
        bt_cli_progress(m->name, &to->front.model);
    }
    for (int i = 0; i < c->n_roles; i++)
        s->roles[s->n_roles++] = (struct bt_serve_role){c->roles[i].name, c->roles[i].targets, c->roles[i].n};
}

int bt_cmd_serve(int argc, char **argv) {
    const struct bt_setup setup = {.command = &COMMAND, .groups = GROUPS, .n_groups = BT_COUNT(GROUPS)};
    const struct sigaction ignored = {.sa_handler = SIG_IGN};
    struct served served = {.n = 0};
    struct bt_config *c;
    baton_error err = {.text = ""};
    int code = bt_setup(&setup, argc, argv, &c);
    if (code != BT_OPTIONS_GO)
        return code;
    const struct bt_serve_settings *o = &c->serve;
    bt_log_set_level((baton_log_level)o->log);
    choose(c, &served);
    struct bt_serve_params p = {
        .models = served.models,
        .n_models = served.n,
        .roles = served.roles,
        .n_roles = served.n_roles,
        .host = o->host,
        .port = o->port,
        .key_file = o->key_file,
        .origins = o->origins,
        .tls_cert = o->tls_cert,
        .tls_key = o->tls_key,
        .limits = {.connections = o->connections,
                   .body_max = (size_t)o->body_max,
                   .header_ms = o->header_timeout,
                   .body_ms = o->body_timeout,
                   .idle_ms = o->idle_timeout,
                   .write_ms = o->stream_idle},
        .drain_ms = o->drain,
    };
    sigaction(SIGPIPE, &ignored, NULL); /* whoever reads the log may go */
    code = 0;
    if (served.n == 0)
        bt_fail(&err, BATON_INVALID, "there is no model of kind = text to serve");
    if (served.n == 0 || bt_serve(&p, &err) != BATON_OK)
        code = bt_cli_failed("serve", &err);
    bt_config_free(&c);
    return code;
}
