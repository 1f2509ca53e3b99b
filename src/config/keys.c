/* The tables: every option of a model, of the server and of the worker, once for command lines and files. State: none.
 */
#include "config/config.h"

#include <limits.h>

#define MODEL(field) BT_OPTION_AT(struct bt_model_settings, field)
#define SERVE(field) BT_OPTION_AT(struct bt_serve_settings, field)
#define WORK(field) BT_OPTION_AT(struct bt_work_settings, field)
#define DAY (24.0 * 3600 * 1000)

static const struct bt_option MODEL_OPTIONS[] = {
    {"model", 'm', BT_OPTION_TEXT, MODEL(file), .value = "FILE", .key = "file",
     .help =
         "a GGUF file; without it the built-in tiny model.\nfake:KEY=VALUE,... is a model without weights, for tests"},
    {"ctx", 0, BT_OPTION_INT, MODEL(ctx), 0, 1 << 24, .value = "N",
     .help = "tokens of context for each sequence; 0, the default:\nwhat the model was trained with, at most 4096. The "
             "memory it "
             "takes is\n"
             "printed at start"},
    {"threads", 't', BT_OPTION_INT, MODEL(threads), 0, 1024, .value = "N",
     .help = "threads of a context's native calls; 0, the default:\none less than there are cores"},
    {"gpu-layers", 'g', BT_OPTION_INT, MODEL(gpu_layers), -1, INT_MAX, .value = "N",
     .help = "layers of the model on the GPU; 0, the default: none;\n-1: all that fit"},
    {"exact", 0, BT_OPTION_CHOICE, MODEL(exact), .choices = "on|off|auto",
     .help = "every answer is the same to the bit in any company\n(split KV cache, no flash attention). auto, the "
             "default:\n"
             "on unless layers are on a GPU"},
    {"chat-template", 0, BT_OPTION_TEXT, MODEL(chat_template), .value = "NAME",
     .help = "a chat template that libllama knows (chatml, llama3,\n...) instead of the model's own"},
    {"lora", 0, BT_OPTION_TEXT, MODEL(lora), .value = "LIST",
     .help = "LoRA adapters of the model, as a.gguf,b.gguf:0.5 with\na scale behind the colon (1); none by default"},
    {"mmproj", 0, BT_OPTION_TEXT, MODEL(mmproj), .value = "FILE",
     .help = "the model's projector: chats may then have images"},
};

static const struct bt_option POLICY_OPTIONS[] = {
    {"contexts", 0, BT_OPTION_INT, MODEL(contexts), 1, BT_CONTEXTS_MAX, .value = "N",
     .help = "native contexts, which run at the same time (1)"},
    {"sequences", 0, BT_OPTION_INT, MODEL(sequences), 1, 256, .value = "N",
     .help = "requests in each context, batched (8)"},
    {"when-full", 0, BT_OPTION_CHOICE, MODEL(when_full), .choices = "wait|refuse",
     .help = "what happens to a request when all slots are in use\n(wait); refuse answers 429 at once"},
    {"queue", 0, BT_OPTION_INT, MODEL(queue), 0, 1 << 20, .value = "N",
     .help = "requests that may wait (64); the next gets 429"},
    {"queue-timeout", 0, BT_OPTION_DURATION, MODEL(queue_timeout), -1, DAY, .value = "TIME",
     .help = "how long one may wait (30s), or never ends; then 429"},
    {"run-timeout", 0, BT_OPTION_DURATION, MODEL(run_timeout), -1, 7 * DAY, .value = "TIME",
     .help = "how long one may run (10m), or never ends; then 504"},
};

static const struct bt_option OWNER_OPTIONS[] = {
    {"owner", 0, BT_OPTION_CHOICE, MODEL(owner), .choices = "thread|process",
     .help = "where each context lives: on a thread of this process, or\nin a process of its own, without network and "
             "without files\nbut the model's (process; ask: thread)"},
    {"no-sandbox", 0, BT_OPTION_FLAG, MODEL(no_sandbox),
     .help = "owner processes keep the rights of this one. Gives up:\na hostile model file could then read your files, "
             "use the\nnetwork and end your other processes"},
    {"resume", 0, BT_OPTION_CHOICE, MODEL(resume), .choices = "on|off|auto",
     .help = "what becomes of requests whose owner process ended: they\ngo on in the next one, token for token where "
             "--exact is on\n(on), or end as crashed, with the text they had. auto,\nthe default: on, but off for "
             "speech and images, which\nbegin again"},
    {"hang-limit", 0, BT_OPTION_DURATION, MODEL(hang_limit), -1, DAY, .value = "TIME",
     .help = "an owner process that has said nothing for so long is\nkilled and started again (30s, of kind image 10m; "
             "3s at\nleast), or never"},
    {"start-limit", 0, BT_OPTION_DURATION, MODEL(start_limit), -1, DAY, .value = "TIME",
     .help = "how long one may take to load its model (10m), or never\nends"},
    {"owner-core", 0, BT_OPTION_FLAG, MODEL(owner_core),
     .help = "an owner process that crashes may leave a core file,\nwith prompts and answers in it"},
};

static const struct bt_option POOLING_OPTIONS[] = {
    {"pooling", 0, BT_OPTION_CHOICE, MODEL(pooling), .choices = "off|none|mean|cls|last|rank|auto",
     .help =
         "what becomes of the vectors of a text's tokens: other than\noff the model embeds (mean, cls, last) or scores "
         "(rank),\nand generates nothing. auto, the default: off, unless it\ncan do nothing else"},
};

static const struct bt_option KIND_OPTIONS[] = {
    {"kind", 0, BT_OPTION_CHOICE, MODEL(kind), .choices = "text|speech|image",
     .help = "what the model is for, and with it the library that\nruns it (text)"},
    {"sequential", 0, BT_OPTION_FLAG, MODEL(sequential),
     .help = "one request at a time, whatever asks: one context of one\nsequence (no)"},
};

#define PART(name, part, text)                                                                                         \
    { name, 0, BT_OPTION_TEXT, MODEL(parts[part]), .value = "FILE", .help = text }
static const struct bt_option PARTS_OPTIONS[] = {
    PART("diffusion-model", BT_SD_DIFFUSION_MODEL, "its diffusion model, instead of --model"),
    PART("vae", BT_SD_VAE, "its VAE"),
    PART("clip-l", BT_SD_CLIP_L, "a text encoder"),
    PART("clip-g", BT_SD_CLIP_G, "a text encoder"),
    PART("t5xxl", BT_SD_T5XXL, "a text encoder"),
    PART("llm", BT_SD_LLM, "a text encoder"),
};

static const struct bt_option ADDRESS_OPTIONS[] = {
    {"host", 0, BT_OPTION_TEXT, SERVE(host), .value = "ADDRESS", .help = "where to listen (127.0.0.1)"},
    {"port", 'p', BT_OPTION_INT, SERVE(port), 0, 65535, .value = "N", .help = "0 picks a free one (8080)"},
    {"api-key-file", 0, BT_OPTION_TEXT, SERVE(key_file), .value = "FILE",
     .help = "API keys, one a line: who has none of them gets 401;\nwithout it anybody who can connect may ask"},
    {"tls-cert", 0, BT_OPTION_TEXT, SERVE(tls_cert), .value = "FILE",
     .help = "a certificate and those that lead to its root, as PEM:\nHTTPS instead of HTTP"},
    {"tls-key", 0, BT_OPTION_TEXT, SERVE(tls_key), .value = "FILE", .help = "its key, as PEM without a passphrase"},
    {"allow-origin", 0, BT_OPTION_TEXT, SERVE(origins), .value = "LIST",
     .help =
         "web pages that may ask, as http://localhost:3000, with\ncommas between them; * is any, without it none: 403"},
};

static const struct bt_option LIMIT_OPTIONS[] = {
    {"body-max", 0, BT_OPTION_SIZE, SERVE(body_max), 1024, BT_CONFIG_BODY_MAX, .value = "SIZE",
     .help = "the longest body of a request (just below 16M); 413"},
    {"max-connections", 0, BT_OPTION_INT, SERVE(connections), 1, 1 << 20, .value = "N",
     .help = "connections at once (4096); 503"},
    {"header-timeout", 0, BT_OPTION_DURATION, SERVE(header_timeout), 10, DAY, .value = "TIME",
     .help = "first to last byte of a header (15s); 408"},
    {"body-timeout", 0, BT_OPTION_DURATION, SERVE(body_timeout), 10, DAY, .value = "TIME",
     .help = "first to last byte of a body (60s); 408"},
    {"idle-timeout", 0, BT_OPTION_DURATION, SERVE(idle_timeout), 10, DAY, .value = "TIME",
     .help = "a connection without a request (75s)"},
    {"stream-idle", 0, BT_OPTION_DURATION, SERVE(stream_idle), 10, DAY, .value = "TIME",
     .help = "a reader that takes no byte of what waits for it (60s);\nits request is cancelled"},
    {"drain", 0, BT_OPTION_DURATION, SERVE(drain), 0, DAY, .value = "TIME",
     .help = "after SIGINT or SIGTERM: how long answers may go on\n(10s); a second signal ends at once"},
    {"log", 0, BT_OPTION_CHOICE, SERVE(log), .choices = "error|warn|info|debug",
     .help = "what is said on stderr (info); never a prompt"},
};

static const struct bt_option WORK_OPTIONS[] = {
    {"workers", 'w', BT_OPTION_INT, WORK(workers), 1, 1024, .value = "N",
     .help = "tasks at once (1: strictly one after the other);\nRUNQY_PYTHON_WORKERS and BATON_WORKERS in the\n"
             "environment override it"},
    {"mode", 0, BT_OPTION_CHOICE, WORK(mode), .choices = "long_running|one_shot",
     .help = "until SIGTERM or the end of stdin (long_running), or one\ntask and then the end"},
    {"backlog", 0, BT_OPTION_INT, WORK(backlog), 0, 1 << 20, .value = "N",
     .help = "tasks that may wait for a worker (256); the next is\nanswered BATON_QUEUE_FULL, retry true"},
    {"drain", 0, BT_OPTION_DURATION, WORK(drain), 0, DAY, .value = "TIME",
     .help = "after SIGTERM or SIGINT: how long tasks may go on (8s);\na second signal ends at once"},
    {"events", 0, BT_OPTION_CHOICE, WORK(events), .choices = "none|asked|all",
     .help = "lines without task_id that tell of text as it comes: of\nno task (none), of those with \"stream\": true, "
             "of all"},
    {"log", 0, BT_OPTION_CHOICE, WORK(log), .choices = "error|warn|info|debug",
     .help = "what is said on stderr (info); never a prompt"},
};

struct bt_option_group bt_config_group(enum bt_config_group which, void *into) {
    static const struct bt_option_group GROUPS[] = {
        [BT_GROUP_MODEL] = {"The model", MODEL_OPTIONS, BT_COUNT(MODEL_OPTIONS), NULL},
        [BT_GROUP_POLICY] = {"How many at once, and what happens to the rest", POLICY_OPTIONS, BT_COUNT(POLICY_OPTIONS),
                             NULL},
        [BT_GROUP_POOLING] = {"Vectors", POOLING_OPTIONS, BT_COUNT(POOLING_OPTIONS), NULL},
        [BT_GROUP_KIND] = {"What it is", KIND_OPTIONS, BT_COUNT(KIND_OPTIONS), NULL},
        [BT_GROUP_PARTS] = {"A model that draws and is not in one file", PARTS_OPTIONS, BT_COUNT(PARTS_OPTIONS), NULL},
        [BT_GROUP_OWNER] = {"The owner", OWNER_OPTIONS, BT_COUNT(OWNER_OPTIONS), NULL},
        [BT_GROUP_ADDRESS] = {"The address", ADDRESS_OPTIONS, BT_COUNT(ADDRESS_OPTIONS), NULL},
        [BT_GROUP_LIMITS] = {"Limits", LIMIT_OPTIONS, BT_COUNT(LIMIT_OPTIONS), NULL},
        [BT_GROUP_WORK] = {"The worker", WORK_OPTIONS, BT_COUNT(WORK_OPTIONS), NULL},
    };
    struct bt_option_group g = GROUPS[which];
    g.into = into;
    return g;
}
