/* `baton demo`: what goes wrong on a shared context, and that nothing does under baton. State: struct bt_demo, on the
 * main thread. */
#include "cli/demo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const QUESTIONS[BT_DEMO_ASKS] = {
    "What is a lease?", "What is a queue?",     "What is a slot?",     "What is a deadline?",
    "What is baton?",   "What is a data race?", "Count from 1 to 20.", "Tell me a story about a ferry.",
};

struct options {
    int trials;
};
static const struct bt_option OPTIONS[] = {
    {"trials", 0, BT_OPTION_INT, BT_OPTION_AT(struct options, trials), 1, 10000, .value = "N",
     .help = "how often two threads race on a raw context (36)"},
};
static const struct bt_command COMMAND = {
    .name = "demo",
    .operands = "",
    .about = "Shows what two threads do to one raw native context, then the same work under baton's policies, then a\n"
             "server with eight streaming clients. Every answer is compared with what the model says when asked alone.",
    .notes = "Exit codes: 0 every answer under baton was right; 1 one was not, or something failed; 2 asked wrongly.",
};

void bt_demo_judge(const struct bt_demo *d, int i, const void *text, size_t len, struct bt_demo_row *row) {
    const struct bt_buf *lone = &d->lone[i].text;
    if (len == lone->len && (len == 0 || memcmp(text, lone->data, len) == 0))
        row->right++;
    else
        row->wrong++;
}

/* What each question's answer is alone: one context, one request at a time. */
static baton_status ask_alone(struct bt_demo *d, baton_error *err) {
    struct bt_model_params model = {0};
    struct bt_context_params context = {.sequences = 1};
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    struct bt_caller *caller;
    bt_model_settings_apply(d->model, &model, &context);
    context.ctx = 512;
    bt_cli_progress(NULL, &model);
    baton_status status = bt_caller_open(&model, &context, 1, 0, &caller, err);
    for (int i = 0; i < BT_DEMO_ASKS && !status; i++) {
        struct bt_chat_message message = {"user", d->questions[i]};
        status = bt_caller_chat(caller, &message, 1, &d->prompts[i], &d->n_prompts[i], err);
        struct bt_run run = {
            .prompt = d->prompts[i], .n_prompt = d->n_prompts[i], .max_tokens = BT_DEMO_TOKENS, .sampling = &greedy};
        if (!status)
            status = bt_caller_generate(caller, NULL, &run, &d->lone[i], err);
    }
    bt_caller_close(&caller, BT_CLOSE_DRAIN);
    return status;
}

static void print_table(const struct bt_demo_row *rows, int n) {
    printf("\n%-36s %6s %6s %6s %6s %6s %9s\n", "", "right", "wrong", "error", "crash", "hang", "tokens/s");
    for (int i = 0; i < n; i++) {
        printf("%-36s %6d %6d %6d %6d %6d ", rows[i].name, rows[i].right, rows[i].wrong, rows[i].error, rows[i].crash,
               rows[i].hang);
        if (rows[i].tokens_per_s > 0)
            printf("%9.0f", rows[i].tokens_per_s);
        else
            printf("%9s", "-");
        printf("%s%s\n", rows[i].remark[0] ? "  " : "", rows[i].remark);
    }
}

static baton_status all_parts(struct bt_demo *d, struct bt_demo_row *rows, int *n, baton_error *err) {
    printf("(a) Two threads share one raw llama_context, a child process a trial.\n");
    fflush(stdout);
    baton_status status = bt_demo_race(d, rows, err);
    *n = BT_DEMO_RACES;
    printf("(b) The same model, %d questions, under baton: each answer compared with its lone run.\n", BT_DEMO_ASKS);
    fflush(stdout);
    if (!status)
        status = ask_alone(d, err);
    for (int p = 0; p < BT_DEMO_POLICIES && !status; p++)
        status = bt_demo_policy(d, (enum bt_demo_policy)p, &rows[(*n)++], err);
    if (status)
        return status;
    printf("(c) A server, %d clients streaming at once: each answer compared with its lone run.\n", BT_DEMO_ASKS);
    fflush(stdout);
    return bt_demo_serve(d, &rows[(*n)++], err);
}

int bt_cmd_demo(int argc, char **argv) {
    struct bt_model_settings model = BT_MODEL_SETTINGS;
    model.pooling = BT_POOL_OFF; /* its questions want an answer in words */
    struct options o = {.trials = 36};
    const struct bt_option_group groups[] = {
        {"The demo", OPTIONS, BT_COUNT(OPTIONS), &o},
        bt_config_group(BT_GROUP_MODEL, &model),
    };
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, NULL, NULL);
    if (code != BT_OPTIONS_GO)
        return code;
    baton_error err;
    if (bt_model_settings_complete(&model, &err) != BATON_OK)
        return bt_cli_failed("demo", &err);
    struct bt_demo *d = calloc(1, sizeof *d);
    if (!d)
        return 1;
    struct bt_demo_row rows[BT_DEMO_RACES + BT_DEMO_POLICIES + 1];
    int n = 0;
    memset(rows, 0, sizeof rows);
    memcpy(d->questions, QUESTIONS, sizeof QUESTIONS);
    d->model = &model;
    d->trials = o.trials;
    d->live = isatty(STDOUT_FILENO);
    bt_log_set_level(BATON_LOG_WARN);
    if (readlink("/proc/self/exe", d->program, sizeof d->program - 1) < 0)
        snprintf(d->program, sizeof d->program, "baton");
    code = all_parts(d, rows, &n, &err) == BATON_OK ? 0 : bt_cli_failed("demo", &err);
    print_table(rows, n);
    for (int i = BT_DEMO_RACES; i < n; i++)
        if (rows[i].right != BT_DEMO_ASKS)
            code = BT_MAX(code, 1);
    printf("\n%s\n", code == 0 ? "Under baton every answer was right." : "Something went wrong: see above.");
    for (int i = 0; i < BT_DEMO_ASKS; i++) {
        free(d->prompts[i]);
        bt_run_result_free(&d->lone[i]);
    }
    free(d);
    return code;
}
