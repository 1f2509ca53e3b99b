/* What subcommands share: how a load is shown, and how a failure is told. State: none. */
#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

/* Of the load under way: there is one at a time. */
static int64_t load_start_ns;

static bool show_progress(void *arg, float done) {
    static const char bar[] = "########################################";
    const char *name = arg;
    int width = (int)sizeof bar - 1, filled = (int)(done * (float)width);
    int64_t now = bt_now_ns();
    if (load_start_ns == 0)
        load_start_ns = now;
    if (now - load_start_ns >= BT_NS_PER_S / 2) {
        fprintf(stderr, "\rloading %s%s[%-*.*s] %3.0f%%", name, *name ? " " : "", width, filled, bar,
                (double)done * 100);
        if (done >= 1)
            fprintf(stderr, "\r\033[K");
    }
    if (done >= 1)
        load_start_ns = 0;
    return true;
}

void bt_cli_progress(const char *name, struct bt_model_params *model) {
    if (!isatty(STDERR_FILENO))
        return;
    model->progress = show_progress;
    model->progress_arg = (void *)(name ? name : "");
}

baton_status bt_cli_estimate(const struct bt_model_settings *m, char *text, size_t size, baton_error *err) {
    const struct bt_context_params context = {.sequences = m->sequences, .ctx = m->ctx};
    const double mib = 1 << 20;
    uint64_t weights, contexts;
    baton_status status = bt_model_estimate(m->file, &context, m->contexts, &weights, &contexts, err);
    if (status)
        return status;
    snprintf(text, size, "%s%s%.1f MiB of weights, %.1f MiB of caches (%d context%s x %d sequence%s)%s",
             m->name ? m->name : "", m->name ? ": " : "", (double)weights / mib, (double)contexts / mib, m->contexts,
             m->contexts == 1 ? "" : "s", m->sequences, m->sequences == 1 ? "" : "s",
             contexts || weights == 0 ? "" : "; its file does not say its shape");
    return BATON_OK;
}

int bt_cli_failed(const char *command, const baton_error *err) {
    fprintf(stderr, "baton %s: %s\n", command, err->text);
    return err->status == BATON_INVALID || err->status == BATON_NOT_FOUND || err->status == BATON_UNSUPPORTED ? 2 : 1;
}
