/* `baton work`: from the command line and the configuration file to a task worker. State: none. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "work/models.h"

struct options {
    const char *config;
};

/* Lines that are held: beyond it stdin is left to its pipe, so that a parent that sends faster than we work waits. */
static const size_t LINES_MAX = (size_t)64 << 20;
enum { SEQUENCES_MAX = 256 }; /* of one context */

static const struct bt_option FILES[] = {
    {"config", 'c', BT_OPTION_TEXT, BT_OPTION_AT(struct options, config), .value = "FILE",
     .help = "models and settings from a file (baton.ini); options of\nthe worker win over it"},
};

static const struct bt_command COMMAND = {
    .name = "work",
    .operands = "",
    .about = "Works off tasks that come as JSON lines on stdin, answers as lines on stdout: runqy's stdio protocol.\n"
             "Prints {\"status\":\"ready\"} when the models are loaded. payload.kind is chat or completion, the rest\n"
             "of the payload as in the HTTP API.",
    .notes = "Where nothing else is said, a model has as many sequences as there are workers.\n"
             "Exit codes: 0 after SIGTERM or the end of stdin, all tasks answered; 1 failed, or ended by a second\n"
             "signal; 2 asked wrongly.",
};

struct setup {
    struct bt_model_settings model; /* without a file */
    struct bt_work_settings work;
    struct bt_config *config;
    struct bt_work_models_params models;
};

static int run(const struct bt_worker_params *params, const struct bt_work_models_params *of_models) {
    struct bt_stdio io;
    struct bt_worker *worker = NULL;
    struct bt_work_models *models = NULL;
    baton_error err = {.text = ""};
    baton_status status = bt_stdio_take(&io, &err);
    if (status != BATON_OK)
        return bt_cli_failed("work", &err);
    bt_worker_signals_take();
    status = bt_worker_new(params, &io, &worker, &err);
    if (status == BATON_OK) {
        status = bt_work_models_open(of_models, worker, &models, &err);
        if (status != BATON_OK)
            bt_worker_not_ready(worker, &err);
    }
    if (status == BATON_OK) {
        struct bt_runner runner = bt_work_models_runner(models);
        status = bt_worker_run(worker, &runner, &err);
        if (status != BATON_OK) { /* an orderly end would wait for what does not end, or was told not to */
            bt_cli_failed("work", &err);
            _exit(1);
        }
    }
    bt_work_models_close(&models);
    bt_worker_free(&worker);
    bt_stdio_end(&io);
    return status == BATON_OK ? 0 : bt_cli_failed("work", &err);
}

static baton_status read_config(struct setup *s, const char *path, baton_error *err) {
    struct bt_buf faults = BT_BUF_INIT;
    baton_status status = bt_config_read(path, &s->config, &faults, err);
    fprintf(stderr, "%.*s", (int)faults.len, faults.data ? (const char *)faults.data : "");
    bt_buf_free(&faults);
    if (status)
        return status;
    s->work = s->config->work;
    s->models.models = s->config->models;
    s->models.n_models = s->config->n_models;
    s->models.roles = s->config->roles;
    s->models.n_roles = s->config->n_roles;
    return s->models.n_models > 0 ? BATON_OK : bt_fail(err, BATON_INVALID, "%s has no section [model NAME]", path);
}

/* As many sequences as there are workers, unless somebody said otherwise. */
static baton_status complete(struct setup *s, baton_error *err) {
    baton_status status = bt_workers_from_environment(&s->work.workers, err);
    if (s->work.mode == BT_WORK_ONE_SHOT)
        s->work.workers = 1;
    struct bt_model_settings *models = s->config ? s->config->models : &s->model;
    for (int i = 0; status == BATON_OK && i < s->models.n_models; i++) {
        struct bt_model_settings *m = &models[i];
        int contexts = BT_MAX(m->contexts, 1);
        if (m->sequences == 0 && !m->sequential && m->kind == BT_MODEL_TEXT)
            m->sequences = BT_MIN((s->work.workers + contexts - 1) / contexts, SEQUENCES_MAX);
        status = bt_model_settings_complete(m, err);
    }
    return status;
}

static int work(struct setup *s) {
    baton_error err = {.text = ""};
    if (complete(s, &err) != BATON_OK)
        return bt_cli_failed("work", &err);
    bt_log_set_level((baton_log_level)s->work.log);
    s->models.events = (enum bt_work_events)s->work.events;
    const struct bt_worker_params params = {
        .life = {.workers = s->work.workers,
                 .backlog = s->work.backlog,
                 .drain_ms = s->work.drain,
                 .bytes_max = LINES_MAX,
                 .one_shot = s->work.mode == BT_WORK_ONE_SHOT},
        .events = s->work.events == BT_EVENTS_ALL,
    };
    return run(&params, &s->models);
}

int bt_cmd_work(int argc, char **argv) {
    struct setup s = {.model = BT_MODEL_SETTINGS, .work = BT_WORK_SETTINGS};
    struct options o = {0};
    const struct bt_option_group groups[] = {
        {"The file", FILES, BT_COUNT(FILES), &o},
        bt_config_group(BT_GROUP_MODEL, &s.model),
        bt_config_group(BT_GROUP_POLICY, &s.model),
        bt_config_group(BT_GROUP_WORK, &s.work),
    };
    s.models = (struct bt_work_models_params){.models = &s.model, .n_models = 1};
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, NULL, NULL);
    baton_error err = {.text = ""};
    if (code == BT_OPTIONS_GO && o.config) {
        if (s.model.file) {
            bt_fail(&err, BATON_INVALID, "--model and --config are both given: the models are those of the file");
            return bt_cli_failed("work", &err);
        }
        /* the file first, and over it what the command line says of the worker */
        if (read_config(&s, o.config, &err) != BATON_OK)
            return bt_cli_failed("work", &err);
        code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, NULL, NULL);
    }
    code = code == BT_OPTIONS_GO ? work(&s) : code;
    bt_config_free(&s.config);
    return code;
}
