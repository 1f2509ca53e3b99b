/* `baton serve` in a child process, and streaming clients, a connection a request, in this one. Every event is read and
 * counted; the server's own usage says how many tokens there were. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "cli/child.h"
#include "cli/sse.h"

struct client {
    struct bt_sse sse;
    int number, left;
    uint64_t tokens, events;
};

static void on_data(void *arg, const char *data, size_t len) {
    struct client *c = arg;
    (void)len;
    c->events++;
    const char *usage = data[len - 2] == '}' ? strstr(data, "\"completion_tokens\":") : NULL;
    if (usage)
        c->tokens += strtoull(usage + 20, NULL, 10);
}

static void must(baton_status status, const baton_error *err) {
    if (status == BATON_OK)
        return;
    bt_log(BATON_LOG_ERROR, "%s", err->text);
    exit(1);
}

static void ask(struct client *c, int port) {
    char prompt[160];
    struct bt_buf body = BT_BUF_INIT;
    baton_error err;
    bt_bench_prompt(prompt, sizeof prompt, c->number, c->left);
    bt_buf_adds(&body, "{\"prompt\":");
    bt_json_string(&body, prompt, strlen(prompt));
    bt_buf_addf(&body,
                ",\"temperature\":0,\"max_tokens\":%d,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
                BT_BENCH_TOKENS);
    c->left--;
    must(bt_sse_open(&c->sse, port, "/v1/completions", (char *)body.data, body.len, on_data, c, &err), &err);
    bt_buf_free(&body);
}

static uint64_t rounds_of(int port, int clients, int rounds) {
    struct client c[BT_BENCH_CLIENTS_MAX];
    struct pollfd fds[BT_BENCH_CLIENTS_MAX];
    uint64_t tokens = 0;
    int open = clients;
    for (int i = 0; i < clients; i++) {
        c[i] = (struct client){.number = i, .left = rounds};
        ask(&c[i], port);
    }
    while (open > 0) {
        for (int i = 0; i < clients; i++)
            fds[i] = (struct pollfd){c[i].sse.fd, POLLIN, 0};
        poll(fds, (nfds_t)clients, -1);
        for (int i = 0; i < clients; i++) {
            if (c[i].sse.fd < 0 || !fds[i].revents)
                continue;
            baton_status status = bt_sse_read(&c[i].sse);
            if (status == BATON_OK)
                continue;
            if (status != BATON_END || !c[i].sse.complete)
                must(BATON_IO, &(baton_error){BATON_IO, "a stream broke off"});
            bt_sse_close(&c[i].sse);
            if (c[i].left > 0)
                ask(&c[i], port);
            else
                open--;
        }
    }
    for (int i = 0; i < clients; i++)
        tokens += c[i].tokens;
    return tokens;
}

double bt_bench_http(const char *program, const char *path, int sequences, int clients, int rounds) {
    char n[16], ctx[16];
    snprintf(n, sizeof n, "%d", sequences);
    snprintf(ctx, sizeof ctx, "%d", BT_BENCH_CTX);
    const char *args[] = {"-m", path, "--sequences", n, "--ctx", ctx, "--threads", "1", NULL};
    struct bt_child child;
    baton_error err;
    must(bt_child_start(&child, program, args, &err), &err);
    rounds_of(child.port, clients, 1);
    int64_t start = bt_now_ns();
    uint64_t tokens = rounds_of(child.port, clients, rounds);
    double seconds = (double)(bt_now_ns() - start) / 1e9;
    bt_child_stop(&child);
    return (double)tokens / seconds;
}
