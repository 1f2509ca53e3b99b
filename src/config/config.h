/* The configuration file (docs/baton.ini.5): what `baton serve -c` and `baton work -c` run with, and what one model is
 * run with wherever it comes from. Reading is strict: whatever the file says is either taken or told as a fault with
 * its line, and all faults are told, not only the first.
 *
 *   struct bt_config *c;                                   struct bt_buf faults = BT_BUF_INIT;
 *   bt_config_read("baton.ini", &c, &faults, &err)         faults: one line each, "baton.ini:7: ...", when _INVALID
 *   c->models[i], c->serve, c->work                        defaults are in place; lay a command line's options over
 * them bt_model_settings_complete(&c->models[i], &err)        then this, once for each model
 *   bt_model_settings_front(&c->models[i], &params)        what a front is opened with
 *   bt_config_free(&c)
 *
 * State: none. A bt_config owns all the memory that its settings point to; settings of a command line point into argv.
 */
#ifndef BT_CONFIG_H
#define BT_CONFIG_H

#include "config/option.h"
#include "ipc/front.h"

enum {
    BT_CONFIG_FILE_MAX = 1 << 20,
    BT_CONFIG_MODELS_MAX = 64,
    BT_CONFIG_ROLES_MAX = 64,
    BT_CONFIG_NAME_MAX = 64, /* its end included; as baton_models has it */
    BT_CONFIG_TARGETS_MAX = 16,
    BT_CONFIG_LORAS_MAX = 16,
    BT_CONFIG_BODY_MAX = BT_FRAME_MAX - (64 << 10), /* a frame carries the prompt; the rest of a request is smaller */
};

/* Which library runs a model. */
enum bt_model_kind { BT_MODEL_TEXT, BT_MODEL_SPEECH, BT_MODEL_IMAGE };
enum { BT_EXACT_ON, BT_EXACT_OFF, BT_EXACT_AUTO };
enum { BT_RESUME_ON, BT_RESUME_OFF, BT_RESUME_AUTO };

/* What one model is run with. Begin with BT_MODEL_SETTINGS. */
struct bt_model_settings {
    const char *name; /* of its section; NULL: there is no file */
    int kind;         /* enum bt_model_kind */
    const char *file; /* NULL, and until complete "builtin": the built-in model */
    const char *chat_template, *lora, *mmproj;
    int gpu_layers, ctx, threads;
    int exact;
    int pooling;             /* enum bt_pooling: other than OFF, or what AUTO finds, it embeds or scores only */
    int contexts, sequences; /* 0: nobody said; complete knows what that means */
    int when_full;           /* 0: wait, 1: refuse */
    int queue;
    int64_t queue_timeout, run_timeout; /* ms; < 0: never */
    bool sequential;                    /* one request at a time, whatever asks */
    int owner;                          /* enum bt_owner_kind */
    bool no_sandbox, owner_core;
    int resume;
    int64_t hang_limit, start_limit; /* ms; < 0: never. hang_limit BT_OPTION_UNSAID: complete knows */
    const char *parts[BT_SD_PARTS];  /* of an image model that is not all in `file` */

    /* bt_model_settings_complete: what `lora` says; points into lora_text, so the struct stays where it is from then */
    struct bt_lora loras[BT_CONFIG_LORAS_MAX];
    int n_loras;
    char lora_text[4096];
};
#define BT_MODEL_SETTINGS                                                                                              \
    {                                                                                                                  \
        .exact = BT_EXACT_AUTO, .resume = BT_RESUME_AUTO, .pooling = BT_POOL_AUTO, .owner = BT_OWNER_PROCESS,          \
        .queue = 64, .queue_timeout = 30000, .run_timeout = 600000, .hang_limit = BT_OPTION_UNSAID,                    \
        .start_limit = BT_START_MS                                                                                     \
    }

/* [serve]. Begin with BT_SERVE_SETTINGS. */
struct bt_serve_settings {
    const char *host, *key_file, *origins;
    const char *tls_cert, *tls_key; /* both or none */
    int port, connections;
    int64_t body_max, header_timeout, body_timeout, idle_timeout, stream_idle, drain;
    int log; /* baton_log_level */
};
#define BT_SERVE_SETTINGS                                                                                              \
    {                                                                                                                  \
        .host = "127.0.0.1", .port = 8080, .connections = 4096, .body_max = BT_CONFIG_BODY_MAX,                        \
        .header_timeout = 15000, .body_timeout = 60000, .idle_timeout = 75000, .stream_idle = 60000, .drain = 10000,   \
        .log = BATON_LOG_INFO                                                                                          \
    }

/* [work]. Begin with BT_WORK_SETTINGS. */
enum bt_work_mode { BT_WORK_LONG_RUNNING, BT_WORK_ONE_SHOT };
enum bt_work_events { BT_EVENTS_NONE, BT_EVENTS_ASKED, BT_EVENTS_ALL };
struct bt_work_settings {
    int workers;
    int mode;    /* enum bt_work_mode */
    int backlog; /* tasks that may wait for a worker */
    int64_t drain;
    int events; /* enum bt_work_events */
    int log;    /* baton_log_level */
};
#define BT_WORK_SETTINGS                                                                                               \
    { .workers = 1, .backlog = 256, .drain = 8000, .log = BATON_LOG_INFO }

/* A name for a purpose: models and other roles, first choice first. */
struct bt_config_role {
    const char *name;
    const char *targets[BT_CONFIG_TARGETS_MAX];
    int n;
};

struct bt_config {
    struct bt_model_settings models[BT_CONFIG_MODELS_MAX]; /* in the file's order; the first answers who names none */
    int n_models;
    struct bt_config_role roles[BT_CONFIG_ROLES_MAX]; /* every target is there, and none leads to itself */
    int n_roles;
    struct bt_serve_settings serve;
    struct bt_work_settings work;
    struct bt_config_text *texts; /* memory behind all of it */
};

/* The tables, as groups of options over a struct of the kind that is named. A section of the file has the keys of all
 * the groups that fill its struct. */
enum bt_config_group {
    BT_GROUP_MODEL,   /* bt_model_settings: --model, --ctx, ...: every subcommand */
    BT_GROUP_POLICY,  /* bt_model_settings: --contexts, --sequences, --when-full, ... */
    BT_GROUP_POOLING, /* bt_model_settings: --pooling: of files and serve */
    BT_GROUP_KIND,    /* bt_model_settings: --kind, --sequential: of files and work */
    BT_GROUP_PARTS,   /* bt_model_settings: --diffusion-model, --vae, ...: of files and work */
    BT_GROUP_OWNER,   /* bt_model_settings: --owner, --no-sandbox, ...: every subcommand */
    BT_GROUP_ADDRESS, /* bt_serve_settings */
    BT_GROUP_LIMITS,  /* bt_serve_settings */
    BT_GROUP_WORK,    /* bt_work_settings */
};
struct bt_option_group bt_config_group(enum bt_config_group which, void *into);

/* Reads a file. File names in it are looked up from the file's own folder, and must be there. BATON_OK: *config is the
 * caller's. _INVALID: `faults` has the faults, a line each; _NOT_FOUND, _IO: the file itself; _NO_MEMORY. */
baton_status bt_config_read(const char *path, struct bt_config **config, struct bt_buf *faults, baton_error *err);
/* The same from memory; `path` is what faults begin with, and whose folder file names are looked up from. */
baton_status bt_config_parse(const char *path, const char *text, size_t len, struct bt_config **config,
                             struct bt_buf *faults, baton_error *err);
/* One model without a name, and defaults: what a command line without a file fills. NULL: out of memory. */
struct bt_config *bt_config_new(void);
void bt_config_free(struct bt_config **config);

/* Fills what nobody said and checks what belongs together: contexts and sequences (1 x 8; 1 x 1 for a sequential model
 * and for those that do not generate text), exact, the hang limit (longer for those that draw), the adapters. Once is
 * enough and twice is harmless. _INVALID. */
baton_status bt_model_settings_complete(struct bt_model_settings *m, baton_error *err);
/* The same for the server's, once a command line has been laid over them. _INVALID. */
baton_status bt_serve_settings_check(const struct bt_serve_settings *o, baton_error *err);
/* Of complete settings; what is filled borrows from them. The first leaves `sequences` alone; the second is the part of
 * the third that says where contexts live. */
void bt_model_settings_apply(const struct bt_model_settings *m, struct bt_model_params *model,
                             struct bt_context_params *context);
void bt_model_settings_owner(const struct bt_model_settings *m, struct bt_front_params *params);
void bt_model_settings_front(const struct bt_model_settings *m, struct bt_front_params *params);

/* The whole as a file again, every key with its effective value; what has none stands as a comment. Reading it gives
 * the same. */
void bt_config_write(const struct bt_config *c, struct bt_buf *out);

#endif
