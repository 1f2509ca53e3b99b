/* What subcommands share: how a load is shown, and how a failure is told. State: none. */
#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

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
