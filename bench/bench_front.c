/* Requests through admission, frames and an owner, in a thread or a process: all of baton but HTTP. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "ipc/front.h"

struct client {
    struct bt_front *front;
    struct bt_request *request;
    int number, left;
    uint64_t tokens;
    int64_t asked_ns;
    bool begun;
};

/* From asking to the first token, of all requests. */
static struct {
    int64_t ns[4096];
    size_t n;
} firsts;

static void ask(struct client *c);

static void on_text(void *arg, const char *text, size_t len) {
    struct client *c = arg;
    (void)text;
    (void)len;
    if (!c->begun && firsts.n < BT_COUNT(firsts.ns))
        firsts.ns[firsts.n++] = bt_now_ns() - c->asked_ns;
    c->begun = true;
    bt_request_consumed(c->request, 1);
}

static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct client *c = arg;
    c->tokens += outcome->answer_tokens;
    c->request = NULL;
    if (c->left > 0)
        ask(c);
}

static void ask(struct client *c) {
    char text[128];
    baton_error err;
    bt_bench_prompt(text, sizeof text, c->number, c->left);
    struct bt_submit s = {.kind = BT_PROMPT_TEXT,
                          .text = {text, strlen(text)},
                          .max_tokens = BT_BENCH_TOKENS,
                          .flow = (uint64_t)c->number + 1};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    struct bt_handler handler = {.on_text = on_text, .on_done = on_done, .arg = c};
    c->left--;
    c->begun = false;
    c->asked_ns = bt_now_ns();
    if (bt_front_submit(c->front, &s, NULL, &handler, &c->request, &err)) {
        bt_log(BATON_LOG_ERROR, "%s", err.text);
        abort();
    }
}

static uint64_t rounds_of(struct bt_front *f, int clients, int rounds) {
    struct client c[BT_BENCH_CLIENTS_MAX];
    uint64_t tokens = 0;
    bool busy = true;
    for (int i = 0; i < clients; i++) {
        c[i] = (struct client){.front = f, .number = i, .left = rounds};
        ask(&c[i]);
    }
    while (busy) {
        bt_front_run_once(f, -1);
        busy = false;
        for (int i = 0; i < clients; i++)
            busy |= c[i].request != NULL;
    }
    for (int i = 0; i < clients; i++)
        tokens += c[i].tokens;
    return tokens;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double bt_bench_front(const char *path, int sequences, int clients, int rounds, bool process, double *first_ms) {
    struct bt_front_params p = {.model = {.path = path},
                                .context = {.sequences = sequences, .ctx = BT_BENCH_CTX, .threads = 1, .exact = true},
                                .contexts = 1,
                                .when_full = BT_WAIT,
                                .queue_max = BT_BENCH_CLIENTS_MAX,
                                .queue_ms = -1,
                                .run_ms = -1,
                                .owner = process ? BT_OWNER_PROCESS : BT_OWNER_THREAD};
    struct bt_front *f;
    baton_error err;
    if (bt_front_open(&p, &f, &err)) {
        bt_log(BATON_LOG_ERROR, "%s", err.text);
        abort();
    }
    rounds_of(f, clients, 1);
    firsts.n = 0;
    int64_t start = bt_now_ns();
    uint64_t tokens = rounds_of(f, clients, rounds);
    double seconds = (double)(bt_now_ns() - start) / 1e9;
    bt_front_close(&f);
    qsort(firsts.ns, firsts.n, sizeof firsts.ns[0], ascending);
    size_t middle = firsts.n / 2;
    *first_ms = firsts.n ? (double)firsts.ns[middle] / 1e6 : 0;
    return (double)tokens / seconds;
}
