/* `baton work`: from the command line to a task worker. State: none. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "work/models.h"

struct options {
    int workers, mode;
    int contexts, sequences;
    int when_full, queue;
    int64_t queue_timeout, run_timeout, drain;
    int events, log;
};

#define AT(field) BT_OPTION_AT(struct options, field)
#define DAY (24.0 * 3600 * 1000)

/* Lines that are held: beyond it stdin is left to its pipe, so that a parent that sends faster than we work waits. */
static const size_t LINES_MAX = (size_t)64 << 20;

static const struct bt_option TASKS[] = {
    {"workers", 'w', BT_OPTION_INT, AT(workers), 1, BT_WORKERS_MAX, .value = "N",
     .help = "tasks at once (1: strictly one after the other);\nRUNQY_PYTHON_WORKERS and BATON_WORKERS in the "
             "environment\noverride it"},
    {"mode", 0, BT_OPTION_CHOICE, AT(mode), .choices = "long_running|one_shot",
     .help = "until SIGTERM or the end of stdin (long_running), or one\ntask and then the end"},
    {"queue", 0, BT_OPTION_INT, AT(queue), 0, 1 << 20, .value = "N",
     .help = "tasks that may wait for a worker (256); the next is\nanswered BATON_QUEUE_FULL, retry true"},
    {"when-full", 0, BT_OPTION_CHOICE, AT(when_full), .choices = "wait|refuse",
     .help = "what happens to a task when all workers are in use\n(wait); refuse answers BATON_BUSY at once"},
    {"queue-timeout", 0, BT_OPTION_DURATION, AT(queue_timeout), -1, DAY, .value = "TIME",
     .help = "how long a task may wait, or never ends (never)"},
    {"run-timeout", 0, BT_OPTION_DURATION, AT(run_timeout), -1, 7 * DAY, .value = "TIME",
     .help = "how long one may run (10m), or never ends"},
    {"drain", 0, BT_OPTION_DURATION, AT(drain), 0, DAY, .value = "TIME",
     .help = "after SIGTERM or SIGINT: how long tasks may go on (8s);\na second signal ends at once"},
    {"events", 0, BT_OPTION_CHOICE, AT(events), .choices = "none|asked|all",
     .help = "lines without task_id that tell of starts and of text as\nit comes (none): of no task, of those with "
             "\"stream\": true,\nof all"},
    {"log", 0, BT_OPTION_CHOICE, AT(log), .choices = "error|warn|info|debug",
     .help = "what is said on stderr (info); never a prompt"},
};

static const struct bt_option MODELS[] = {
    {"contexts", 0, BT_OPTION_INT, AT(contexts), 1, BT_CONTEXTS_MAX, .value = "N",
     .help = "native contexts, which run at the same time (1)"},
    {"sequences", 0, BT_OPTION_INT, AT(sequences), 0, 256, .value = "N",
     .help = "tasks in each context, batched; 0, the default: as many\nas there are workers"},
};

static const struct bt_command COMMAND = {
    .name = "work",
    .operands = "",
    .about = "Works off tasks that come as JSON lines on stdin, answers as lines on stdout: runqy's stdio protocol.\n"
             "Prints {\"status\":\"ready\"} when the model is loaded. payload.kind is chat or completion, the rest of\n"
             "the payload as in the HTTP API.",
    .notes = "Exit codes: 0 after SIGTERM or the end of stdin, all tasks answered; 1 failed, or ended by a second\n"
             "signal; 2 asked wrongly.",
};

static struct bt_work_models_params models_of(const struct options *o, const struct bt_model_options *model) {
    int sequences = o->sequences ? o->sequences : (o->workers + o->contexts - 1) / o->contexts;
    struct bt_work_models_params p = {
        .front = {.contexts = o->contexts,
                  .when_full = BT_WAIT, /* who waits for a worker is the worker's affair; here each has one */
                  .queue_max = o->workers,
                  .queue_ms = o->queue_timeout,
                  .run_ms = o->run_timeout,
                  .context = {.sequences = sequences}},
        .events = (enum bt_work_events)o->events,
    };
    bt_model_options_apply(model, &p.front.model, &p.front.context);
    return p;
}

static int work(const struct bt_worker_params *params, const struct bt_work_models_params *of_models) {
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

int bt_cmd_work(int argc, char **argv) {
    struct bt_model_options model = BT_MODEL_OPTIONS;
    struct options o = {
        .workers = 1,
        .contexts = 1,
        .queue = 256,
        .queue_timeout = -1,
        .run_timeout = 600000,
        .drain = 8000,
        .log = BATON_LOG_INFO,
    };
    const struct bt_option_group groups[] = {
        bt_model_option_group(&model),
        {"The tasks", TASKS, BT_COUNT(TASKS), &o},
        {"How the tasks share the model", MODELS, BT_COUNT(MODELS), &o},
    };
    baton_error err;
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, NULL, NULL);
    if (code != BT_OPTIONS_GO)
        return code;
    if (bt_workers_from_environment(&o.workers, &err) != BATON_OK)
        return bt_cli_failed("work", &err);
    bool one_shot = o.mode == 1;
    if (one_shot)
        o.workers = 1;
    bt_log_set_level((baton_log_level)o.log);
    const struct bt_work_models_params models = models_of(&o, &model);
    const struct bt_worker_params params = {
        .life = {.workers = o.workers,
                 .queue_max = o.queue,
                 .when_full = o.when_full == 0 ? BT_WAIT : BT_REFUSE,
                 .queue_ms = o.queue_timeout,
                 .drain_ms = o.drain,
                 .bytes_max = LINES_MAX,
                 .one_shot = one_shot},
        .events = o.events == BT_EVENTS_ALL,
    };
    return work(&params, &models);
}
