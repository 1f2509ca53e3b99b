/* `baton ask`: one question, its answer streamed to the terminal. State: one request, on the main thread. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "ipc/front.h"

struct options {
    double temperature, top_p, min_p, presence, frequency;
    int top_k, max_tokens;
    struct bt_option_seed seed;
    const char *stop, *system;
    bool raw, stats, estimate;
};

#define AT(field) BT_OPTION_AT(struct options, field)

static const struct bt_option ANSWER[] = {
    {"temperature", 0, BT_OPTION_REAL, AT(temperature), 0, 10, .value = "T",
     .help = "0 always takes the likeliest token (0.8)"},
    {"top-p", 0, BT_OPTION_REAL, AT(top_p), 0, 1, .value = "P",
     .help = "from the likeliest tokens that make up P (1: off)"},
    {"top-k", 0, BT_OPTION_INT, AT(top_k), 0, 1 << 20, .value = "K", .help = "from the K likeliest tokens (0: off)"},
    {"min-p", 0, BT_OPTION_REAL, AT(min_p), 0, 1, .value = "P",
     .help = "from tokens at least P times as likely as the likeliest\n(0.05)"},
    {"presence-penalty", 0, BT_OPTION_REAL, AT(presence), -2, 2, .value = "X", .help = "against any repetition (0)"},
    {"frequency-penalty", 0, BT_OPTION_REAL, AT(frequency), -2, 2, .value = "X", .help = "against much repetition (0)"},
    {"seed", 's', BT_OPTION_SEED, AT(seed), .value = "N", .help = "the same seed gives the same answer (random)"},
    {"max-tokens", 'n', BT_OPTION_INT, AT(max_tokens), -1, 1 << 30, .value = "N",
     .help = "at most so many; -1, the default: until the context is full"},
    {"stop", 0, BT_OPTION_TEXT, AT(stop), .value = "TEXT", .help = "ends before this text"},
    {"system", 0, BT_OPTION_TEXT, AT(system), .value = "TEXT", .help = "what the model is told first"},
    {"raw", 0, BT_OPTION_FLAG, AT(raw), .help = "continue the prompt as it stands, without a chat template"},
    {"stats", 0, BT_OPTION_FLAG, AT(stats), .help = "memory, tokens and their rate, on stderr"},
    {"estimate", 0, BT_OPTION_FLAG, AT(estimate), .help = "only print what memory the model would take"},
};

static const struct bt_command COMMAND = {
    .name = "ask",
    .operands = "[--] PROMPT",
    .about = "Asks a model and streams its answer to stdout. PROMPT - reads the prompt from stdin.",
    .notes = "Exit codes: 0 answered; 1 failed; 2 asked wrongly; 130 interrupted (the part of the answer that was\n"
             "there has been printed).",
    .operands_min = 1,
    .operands_max = 1,
};

struct ask {
    struct bt_request *request; /* NULL: over */
    struct bt_outcome outcome;
    char error[BATON_ERROR_TEXT_MAX];
    int64_t first_ns;
    bool unwritable;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static void on_text(void *arg, const char *text, size_t len) {
    struct ask *a = arg;
    if (!a->first_ns)
        a->first_ns = bt_now_ns();
    if (fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0)
        a->unwritable = true;
    bt_request_consumed(a->request, 1);
}

static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct ask *a = arg;
    a->outcome = *outcome;
    snprintf(a->error, sizeof a->error, "%s", outcome->error);
    a->outcome.error = a->error;
    a->request = NULL;
}

/* An exit code, 0 for success. */
static int read_prompt(struct bt_buf *text) {
    char piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0)
        bt_buf_add(text, piece, n);
    if (ferror(stdin) || text->failed) {
        fprintf(stderr, "baton ask: the prompt cannot be read from stdin\n");
        return 1;
    }
    const void *nul = text->len > 0 ? memchr(text->data, 0, text->len) : NULL;
    if (nul) {
        fprintf(stderr, "baton ask: the prompt has a NUL at byte %zu: only text can be asked\n",
                (size_t)((const unsigned char *)nul - text->data));
        return 2;
    }
    bt_buf_add(text, "", 1);
    return text->failed ? 1 : 0;
}

static void submit_of(const struct options *o, const char *prompt, bool chat, struct bt_chat_message messages[2],
                      struct bt_text *stop, struct bt_submit *s) {
    *s = (struct bt_submit){.kind = chat ? BT_PROMPT_CHAT : BT_PROMPT_TEXT, .max_tokens = o->max_tokens};
    s->sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    s->sampling.temperature = (float)o->temperature;
    s->sampling.top_p = (float)o->top_p;
    s->sampling.top_k = o->top_k;
    s->sampling.min_p = (float)o->min_p;
    s->sampling.presence_penalty = (float)o->presence;
    s->sampling.frequency_penalty = (float)o->frequency;
    s->sampling.seed = o->seed.given ? o->seed.value : bt_random64();
    if (!chat)
        s->text = (struct bt_text){prompt, strlen(prompt)};
    else {
        if (o->system)
            messages[s->n_messages++] = (struct bt_chat_message){"system", o->system};
        messages[s->n_messages++] = (struct bt_chat_message){"user", prompt};
        s->messages = messages;
    }
    *stop = (struct bt_text){o->stop, o->stop ? strlen(o->stop) : 0};
    if (o->stop && *o->stop)
        s->stops[s->n_stops++] = *stop;
}

static void print_stats(const struct ask *a, int64_t start_ns) {
    double total = (double)(bt_now_ns() - start_ns) / 1e9;
    double first = a->first_ns ? (double)(a->first_ns - start_ns) / 1e9 : total;
    fprintf(stderr, "prompt %u tokens (%u reused), first text after %.3f s; answer %u tokens, %.1f tokens/s\n",
            a->outcome.prompt_tokens, a->outcome.reused_tokens, first, a->outcome.answer_tokens,
            total > 0 ? a->outcome.answer_tokens / total : 0);
}

static int answer(struct bt_front *f, const struct options *o, const char *prompt) {
    struct bt_chat_message messages[2];
    struct bt_text stop;
    struct bt_submit s;
    struct ask a = {0};
    struct bt_handler handler = {.on_text = on_text, .on_done = on_done, .arg = &a};
    baton_error err;
    bool chat = !o->raw && bt_front_info(f)->ready.info.has_chat_template;
    submit_of(o, prompt, chat, messages, &stop, &s);
    int64_t start_ns = bt_now_ns();
    if (bt_front_submit(f, &s, NULL, &handler, &a.request, &err))
        return bt_cli_failed("ask", &err);
    while (a.request) {
        bt_front_run_once(f, -1);
        if (a.request && (interrupted || a.unwritable))
            bt_request_cancel(a.request, BATON_CANCELLED);
    }
    if (!a.unwritable)
        putchar('\n');
    if (a.outcome.status == BATON_CANCELLED)
        return interrupted ? 130 : 1;
    if (a.outcome.status) {
        snprintf(err.text, sizeof err.text, "%s", a.outcome.error);
        err.status = a.outcome.status;
        return bt_cli_failed("ask", &err);
    }
    if (o->stats)
        print_stats(&a, start_ns);
    return 0;
}

int bt_cmd_ask(int argc, char **argv) {
    struct bt_model_settings model = BT_MODEL_SETTINGS;
    model.owner = BT_OWNER_THREAD; /* one answer of one's own: it may take the program with it */
    struct options o = {.temperature = 0.8, .top_p = 1, .min_p = 0.05, .max_tokens = -1};
    const struct bt_option_group groups[] = {
        {"The answer", ANSWER, BT_COUNT(ANSWER), &o},
        bt_config_group(BT_GROUP_MODEL, &model),
        bt_config_group(BT_GROUP_OWNER, &model),
    };
    char **operands;
    int n_operands;
    int code = bt_options_parse(&COMMAND, groups, BT_COUNT(groups), argc, argv, &operands, &n_operands);
    if (code != BT_OPTIONS_GO)
        return code;
    struct bt_buf from_stdin = BT_BUF_INIT;
    const char *prompt = operands[0];
    if (strcmp(prompt, "-") == 0) {
        code = read_prompt(&from_stdin);
        if (code) {
            bt_buf_free(&from_stdin);
            return code;
        }
        prompt = (const char *)from_stdin.data;
    }
    struct bt_front_params p = {
        .context = {.sequences = 1}, .contexts = 1, .when_full = BT_REFUSE, .queue_ms = -1, .run_ms = -1};
    struct bt_front *f;
    baton_error err;
    struct sigaction action = {.sa_handler = on_interrupt};
    bt_log_set_level(BATON_LOG_WARN);
    if (bt_model_settings_complete(&model, &err) != BATON_OK) {
        bt_buf_free(&from_stdin);
        return bt_cli_failed("ask", &err);
    }
    model.sequences = 1;
    if (o.estimate || o.stats) {
        char text[300];
        bool told = bt_cli_estimate(&model, text, sizeof text, &err) == BATON_OK;
        if (told)
            fprintf(o.estimate ? stdout : stderr, "%s\n", text);
        if (o.estimate) {
            bt_buf_free(&from_stdin);
            return told ? 0 : bt_cli_failed("ask", &err);
        }
    }
    bt_model_settings_apply(&model, &p.model, &p.context);
    bt_model_settings_owner(&model, &p);
    bt_cli_progress(NULL, &p.model);
    if (bt_front_open(&p, &f, &err) == BATON_OK) {
        sigaction(SIGINT, &action, NULL); /* not before: a load is to be interrupted as any program is */
        code = answer(f, &o, prompt);
        bt_front_close(&f);
    } else {
        code = bt_cli_failed("ask", &err);
    }
    bt_buf_free(&from_stdin);
    return code;
}
