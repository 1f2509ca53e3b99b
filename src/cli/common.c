/* What subcommands share: the options of the model, and how a failure is told. State: none. */
#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define AT(field) BT_OPTION_AT(struct bt_model_options, field)

static const struct bt_option OPTIONS[] = {
    {"model", 'm', BT_OPTION_TEXT, AT(model), .value = "FILE",
     .help =
         "a GGUF file; without it the built-in tiny model.\nfake:KEY=VALUE,... is a model without weights, for tests"},
    {"ctx", 'c', BT_OPTION_INT, AT(ctx), 0, 1 << 24, .value = "N",
     .help = "tokens of context for each sequence; 0, the default:\nwhat the model was trained with, at most 4096. The "
             "memory it "
             "takes is\n"
             "printed at start"},
    {"threads", 't', BT_OPTION_INT, AT(threads), 0, 1024, .value = "N",
     .help = "threads of a context's native calls; 0, the default:\none less than there are cores"},
    {"gpu-layers", 'g', BT_OPTION_INT, AT(gpu_layers), -1, INT_MAX, .value = "N",
     .help = "layers of the model on the GPU; 0, the default: none;\n-1: all that fit"},
    {"exact", 0, BT_OPTION_CHOICE, AT(exact), .choices = "on|off|auto",
     .help = "every answer is the same to the bit in any company\n(split KV cache, no flash attention). auto, the "
             "default:\n"
             "on unless layers are on a GPU"},
    {"chat-template", 0, BT_OPTION_TEXT, AT(chat_template), .value = "NAME",
     .help = "a chat template that libllama knows (chatml, llama3,\n...) instead of the model's own"},
};

struct bt_option_group bt_model_option_group(struct bt_model_options *m) {
    return (struct bt_option_group){"The model", OPTIONS, BT_COUNT(OPTIONS), m};
}

void bt_model_options_apply(const struct bt_model_options *m, struct bt_model_params *model,
                            struct bt_context_params *context) {
    model->path = m->model;
    model->chat_template = m->chat_template;
    model->gpu_layers = m->gpu_layers;
    context->ctx = m->ctx;
    context->threads = m->threads;
    context->exact = m->exact == BT_EXACT_ON || (m->exact == BT_EXACT_AUTO && m->gpu_layers == 0);
}

#undef AT
#define AT(field) BT_OPTION_AT(struct bt_owner_options, field)

static const struct bt_option OWNER[] = {
    {"owner", 0, BT_OPTION_CHOICE, AT(owner), .choices = "thread|process",
     .help =
         "where each context lives: on a thread of this process, or\nin a process of its own, baton-owner, which has "
         "no network\nand no files but the model's"},
    {"no-sandbox", 0, BT_OPTION_FLAG, AT(no_sandbox),
     .help = "owner processes keep this one's rights: gives up that a\nhostile model file can reach neither files nor "
             "network nor\nother processes. For drivers that the sandbox stops"},
    {"owner-core", 0, BT_OPTION_FLAG, AT(core),
     .help = "an owner process that crashes may leave a core file, with\nprompts and answers in it"},
};

struct bt_option_group bt_owner_option_group(struct bt_owner_options *o) {
    return (struct bt_option_group){"The owner", OWNER, BT_COUNT(OWNER), o};
}

void bt_owner_options_apply(const struct bt_owner_options *o, struct bt_front_params *params) {
    params->owner = o->owner == 1 ? BT_OWNER_PROCESS : BT_OWNER_THREAD;
    params->no_sandbox = o->no_sandbox;
    params->core = o->core;
}

static bool show_progress(void *arg, float done) {
    static const char bar[] = "########################################";
    const int64_t *start_ns = arg;
    int width = (int)sizeof bar - 1, filled = (int)(done * (float)width);
    if (bt_now_ns() - *start_ns < BT_NS_PER_S / 2)
        return true;
    fprintf(stderr, "\rloading [%-*.*s] %3.0f%%", width, filled, bar, (double)done * 100);
    if (done >= 1)
        fprintf(stderr, "\r\033[K");
    return true;
}

void bt_cli_progress(struct bt_model_params *model) {
    static int64_t start_ns;
    if (!isatty(STDERR_FILENO))
        return;
    start_ns = bt_now_ns();
    model->progress = show_progress;
    model->progress_arg = &start_ns;
}

int bt_cli_failed(const char *command, const baton_error *err) {
    fprintf(stderr, "baton %s: %s\n", command, err->text);
    return err->status == BATON_INVALID || err->status == BATON_NOT_FOUND || err->status == BATON_UNSUPPORTED ? 2 : 1;
}
