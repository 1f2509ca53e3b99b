/* What a subcommand runs with: its configuration file, and its command line over it. State: none. */
#include "cli/setup.h"

#include <stdio.h>
#include <string.h>

struct file_options {
    const char *config;
    bool check, estimate;
};

#define AT(field) BT_OPTION_AT(struct file_options, field)

static const struct bt_option FILE_OPTIONS[] = {
    {"config", 'c', BT_OPTION_TEXT, AT(config), .value = "FILE",
     .help =
         "a configuration file (baton.ini(5)): models by name.\nOptions that stand on the command line override it, "
         "for\nall its models"},
    {"check", 0, BT_OPTION_FLAG, AT(check),
     .help = "only check what it was given, and print what it\nunderstood, as a configuration file"},
    {"estimate", 0, BT_OPTION_FLAG, AT(estimate),
     .help = "only print what memory its models of text would take,\nfrom their files' headers"},
};

enum { GROUPS_MAX = 12 };

static int parse(const struct bt_setup *setup, struct file_options *f, struct bt_config *c, int model, int argc,
                 char **argv) {
    struct bt_option_group groups[GROUPS_MAX];
    size_t n = 0;
    groups[n++] = (struct bt_option_group){"The configuration", FILE_OPTIONS, BT_COUNT(FILE_OPTIONS), f};
    for (size_t i = 0; i < setup->n_groups; i++) {
        enum bt_config_group g = setup->groups[i];
        void *into = g == BT_GROUP_WORK                              ? (void *)&c->work
                     : g == BT_GROUP_ADDRESS || g == BT_GROUP_LIMITS ? (void *)&c->serve
                                                                     : &c->models[model];
        groups[n++] = bt_config_group(g, into);
    }
    for (size_t i = 0; i < setup->n_own && n < GROUPS_MAX; i++)
        groups[n++] = setup->own[i];
    return bt_options_parse(setup->command, groups, n, argc, argv, NULL, NULL);
}

static int asked_wrongly(const struct bt_setup *setup, const char *text) {
    fprintf(stderr, "baton %s: %s\n", setup->command->name, text);
    return 2;
}

/* The file in the place of *c, and the command line, which has been parsed once, over each of its models. */
static int read_file(const struct bt_setup *setup, struct file_options *f, int argc, char **argv,
                     struct bt_config **c) {
    struct bt_buf faults = BT_BUF_INIT;
    baton_error err = {.text = ""};
    if ((*c)->models[0].file)
        return asked_wrongly(setup, "--model and --config: the file says which models there are");
    bt_config_free(c);
    baton_status st = bt_config_read(f->config, c, &faults, &err);
    if (faults.len > 0)
        fwrite(faults.data, 1, faults.len, stderr);
    bt_buf_free(&faults);
    if (st != BATON_OK)
        return bt_cli_failed(setup->command->name, &err);
    for (int i = 0; i < (*c)->n_models; i++) {
        int code = parse(setup, f, *c, i, argc, argv);
        if (code != BT_OPTIONS_GO)
            return code;
    }
    return BT_OPTIONS_GO;
}

static int complete(const struct bt_setup *setup, struct bt_config *c) {
    for (int i = 0; i < c->n_models; i++) {
        struct bt_model_settings *m = &c->models[i];
        baton_error err, whole;
        if (bt_model_settings_complete(m, &err) == BATON_OK)
            continue;
        if (m->name)
            bt_fail(&whole, err.status, "[model %s]: %s", m->name, err.text);
        return bt_cli_failed(setup->command->name, m->name ? &whole : &err);
    }
    baton_error err;
    if (bt_serve_settings_check(&c->serve, &err) != BATON_OK)
        return bt_cli_failed(setup->command->name, &err);
    return BT_OPTIONS_GO;
}

static int print(const struct bt_setup *setup, const struct bt_config *c) {
    struct bt_buf out = BT_BUF_INIT;
    bt_config_write(c, &out);
    bool ok = !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    bt_buf_free(&out);
    if (!ok)
        fprintf(stderr, "baton %s: stdout cannot be written\n", setup->command->name);
    return ok ? 0 : 1;
}

static int estimate(const struct bt_setup *setup, const struct bt_config *c) {
    for (int i = 0; i < c->n_models; i++) {
        char text[300];
        baton_error err;
        if (c->models[i].kind != BT_MODEL_TEXT)
            continue;
        if (bt_cli_estimate(&c->models[i], text, sizeof text, &err) != BATON_OK)
            return bt_cli_failed(setup->command->name, &err);
        puts(text);
    }
    return 0;
}

int bt_setup(const struct bt_setup *setup, int argc, char **argv, struct bt_config **config) {
    struct file_options f = {0};
    struct bt_config *c = bt_config_new();
    baton_error err = {.status = BATON_NO_MEMORY, .text = "out of memory for the settings"};
    if (!c)
        return bt_cli_failed(setup->command->name, &err);
    int code = parse(setup, &f, c, 0, argc, argv);
    if (code == BT_OPTIONS_GO && f.config)
        code = read_file(setup, &f, argc, argv, &c);
    if (code == BT_OPTIONS_GO && setup->before)
        code = setup->before(c);
    if (code == BT_OPTIONS_GO)
        code = complete(setup, c);
    if (code == BT_OPTIONS_GO && f.check)
        code = print(setup, c);
    if (code == BT_OPTIONS_GO && f.estimate)
        code = estimate(setup, c);
    if (code == BT_OPTIONS_GO)
        *config = c;
    else
        bt_config_free(&c);
    return code;
}
