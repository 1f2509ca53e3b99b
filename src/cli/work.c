/* `baton work`: from the command line and the configuration file to a task worker. State: none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/nats.h"
#include "cli/setup.h"
#include "work/exec.h"
#include "work/models.h"

struct options {
    const char *exec;
};

/* Lines that are held: beyond it stdin is left to its pipe, so that a parent that sends faster than we work waits. */
static const size_t LINES_MAX = (size_t)64 << 20;
enum { SEQUENCES_MAX = 256 }; /* of one context */

static const struct bt_option OPTIONS[] = {
    {"exec", 0, BT_OPTION_TEXT, BT_OPTION_AT(struct options, exec), .value = "COMMAND",
     .help = "instead of a model: a program that speaks the same\nprotocol, as many children as there are workers. "
             "Split\nat spaces, with quotes, no shell"},
};

static const struct bt_command COMMAND = {
    .name = "work",
    .operands = "",
    .about = "Works off tasks that come as JSON lines on stdin, answers as lines on stdout: runqy's stdio protocol.\n"
             "Prints {\"status\":\"ready\"} when the models are loaded. payload.kind is chat, completion, embed,\n"
             "score, transcribe or image, the rest of the payload as in the HTTP API.",
    .notes = "Where nothing else is said, a model has as many sequences as there are workers.\n"
             "Exit codes: 0 after SIGTERM or the end of stdin, all tasks answered; 1 failed, or ended by a second\n"
             "signal; 2 asked wrongly.",
};

static const enum bt_config_group GROUPS[] = {BT_GROUP_MODEL,  BT_GROUP_KIND,  BT_GROUP_PARTS, BT_GROUP_POOLING,
                                              BT_GROUP_POLICY, BT_GROUP_OWNER, BT_GROUP_WORK};

struct setup {
    struct bt_work_models_params models;
    struct bt_work_exec_params exec; /* command NULL: models */
};

/* Whoever does the tasks: one of the two. */
struct doer {
    struct bt_work_models *models;
    struct bt_work_exec *exec;
};

static baton_status doer_open(struct doer *d, const struct setup *s, struct bt_worker *worker, baton_error *err) {
    if (s->exec.command)
        return bt_work_exec_open(&s->exec, worker, &d->exec, err);
    return bt_work_models_open(&s->models, worker, &d->models, err);
}

static void doer_close(struct doer *d) {
    bt_work_models_close(&d->models);
    bt_work_exec_close(&d->exec, false);
}

static baton_status run_in(struct bt_worker *worker, struct doer *doer, const struct setup *s, baton_error *err) {
    baton_status status = doer_open(doer, s, worker, err);
    if (status != BATON_OK) {
        bt_worker_not_ready(worker, err);
        return status;
    }
    struct bt_runner runner = doer->exec ? bt_work_exec_runner(doer->exec) : bt_work_models_runner(doer->models);
    status = bt_worker_run(worker, &runner, err);
    if (status != BATON_OK) { /* an orderly end would wait for what does not end, or was told not to */
        bt_work_exec_close(
            &doer->exec, status == BATON_CANCELLED); /* but children end with us: they may have children of their own */
        bt_cli_failed("work", err);
        _exit(1);
    }
    return status;
}

static int run(const struct bt_worker_params *params, const struct setup *s) {
    struct bt_stdio io;
    struct bt_worker *worker = NULL;
    struct doer doer = {0};
    baton_error err = {.text = ""};
    baton_status status = bt_stdio_take(&io, &err);
    if (status != BATON_OK)
        return bt_cli_failed("work", &err);
    bt_worker_signals_take();
    status = bt_worker_new(params, &io, &worker, &err);
    if (status == BATON_OK)
        status = run_in(worker, &doer, s, &err);
    doer_close(&doer);
    bt_worker_free(&worker);
    bt_stdio_end(&io);
    return status == BATON_OK ? 0 : bt_cli_failed("work", &err);
}

/* As many sequences as there are workers, unless somebody said otherwise. */
static int before(struct bt_config *c) {
    baton_error err;
    if (bt_workers_from_environment(&c->work.workers, &err) != BATON_OK)
        return bt_cli_failed("work", &err);
    if (c->work.mode == BT_WORK_ONE_SHOT)
        c->work.workers = 1;
    for (int i = 0; i < c->n_models; i++) {
        struct bt_model_settings *m = &c->models[i];
        int contexts = BT_MAX(m->contexts, 1);
        if (m->sequences == 0 && !m->sequential && m->kind == BT_MODEL_TEXT)
            m->sequences = BT_MIN((c->work.workers + contexts - 1) / contexts, SEQUENCES_MAX);
    }
    return BT_OPTIONS_GO;
}

/* Tasks from NATS: this process is the parent of a worker on stdio, which has all options but those of NATS. */
static int work_for_nats(const struct bt_work_settings *w, const struct bt_nats_params *nats, int argc, char **argv) {
    char **child = calloc((size_t)argc + 4, sizeof *child);
    baton_error err = {.text = ""};
    int n = 0;
    if (!child)
        return 1;
    child[n++] = (char *)"/proc/self/exe";
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--nats", 6) != 0)
            child[n++] = argv[i];
        else if (!strchr(argv[i], '='))
            i++;
    }
    child[n++] = (char *)"--events";
    child[n++] = (char *)"all";
    const struct bt_nats_worker_params params = {
        .nats = *nats, .child = child, .workers = w->workers, .drain_ms = w->drain};
    baton_status status = bt_nats_work(&params, &err);
    free(child);
    return status == BATON_OK ? 0 : bt_cli_failed("work", &err);
}

int bt_cmd_work(int argc, char **argv) {
    struct options o = {0};
    struct bt_nats_params nats = BT_NATS_OPTIONS;
    const struct bt_option_group own[] = {{"Programs instead of models", OPTIONS, BT_COUNT(OPTIONS), &o},
                                          bt_nats_option_group(&nats, true)};
    const struct bt_setup setup = {.command = &COMMAND,
                                   .groups = GROUPS,
                                   .n_groups = BT_COUNT(GROUPS),
                                   .own = own,
                                   .n_own = BT_COUNT(own),
                                   .before = before};
    struct bt_config *c;
    baton_error err;
    char **words = malloc((size_t)(argc + 1) * sizeof *words); /* setup sorts argv */
    if (!words)
        return 1;
    memcpy(words, argv, (size_t)(argc + 1) * sizeof *words);
    int code = bt_setup(&setup, argc, argv, &c);
    if (code != BT_OPTIONS_GO) {
        free(words);
        return code;
    }
    const struct bt_work_settings *w = &c->work;
    bt_log_set_level((baton_log_level)w->log);
    const struct setup s = {
        .models = {.models = c->models,
                   .n_models = c->n_models,
                   .roles = c->roles,
                   .n_roles = c->n_roles,
                   .events = (enum bt_work_events)w->events},
        .exec = {.command = o.exec,
                 .children = w->workers,
                 .run_ms = c->models[0].run_timeout,
                 .start_ms = c->models[0].start_limit},
    };
    const struct bt_worker_params params = {
        .life = {.workers = w->workers,
                 .backlog = w->backlog,
                 .drain_ms = w->drain,
                 .bytes_max = LINES_MAX,
                 .one_shot = w->mode == BT_WORK_ONE_SHOT},
        .events = w->events == BT_EVENTS_ALL,
    };
    baton_status status = bt_nats_options_check(&nats, params.life.one_shot, &err);
    if (o.exec && (c->models[0].name || c->models[0].file))
        status = bt_fail(&err, BATON_INVALID,
                         "--exec is instead of a model: of --model, --config and --exec only one can be given");
    if (status) {
        code = bt_cli_failed("work", &err);
    } else if (nats.url) {
        code = work_for_nats(w, &nats, argc, words);
    } else {
        code = run(&params, &s);
    }
    free(words);
    bt_config_free(&c);
    return code;
}
