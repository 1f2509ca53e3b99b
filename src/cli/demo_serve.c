/* Part (c): `baton serve` in a child process and a streaming client per question. State: the clients, on this thread.
 */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/demo.h"
#include "cli/sse.h"

struct client {
    struct bt_sse sse;
    struct bt_buf text;
    bool over, broken, finished;
    int events;
};

static void on_data(void *arg, const char *data, size_t len) {
    struct client *c = arg;
    json_t *root = json_loadb(data, len, 0, NULL);
    json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const char *content = json_string_value(json_object_get(json_object_get(choice, "delta"), "content"));
    if (content)
        bt_buf_adds(&c->text, content);
    c->events++;
    c->finished |= json_is_string(json_object_get(choice, "finish_reason"));
    c->broken |= !root || json_object_get(root, "error");
    json_decref(root);
}

static int columns(void) {
    struct winsize w;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

/* The end of each answer, a line a client, over the lines drawn before. */
static void draw(const struct client *clients, bool again) {
    int room = columns() - 16;
    if (again)
        printf("\033[%dA", BT_DEMO_ASKS);
    for (int i = 0; i < BT_DEMO_ASKS; i++) {
        const struct bt_buf *t = &clients[i].text;
        size_t from = t->len > (size_t)room ? t->len - (size_t)room : 0;
        while (from < t->len && (t->data[from] & 0xc0) == 0x80)
            from++;
        printf("\r\033[K  client %d  ", i + 1);
        for (size_t k = from; k < t->len; k++)
            putchar(t->data[k] == '\n' ? ' ' : t->data[k]);
        putchar('\n');
    }
    fflush(stdout);
}

static baton_status start(const struct bt_demo *d, struct client *clients, int port, baton_error *err) {
    baton_status status = BATON_OK;
    for (int i = 0; i < BT_DEMO_ASKS; i++)
        clients[i].sse.fd = -1;
    for (int i = 0; i < BT_DEMO_ASKS && !status; i++) {
        struct bt_buf body = BT_BUF_INIT;
        bt_buf_adds(&body, "{\"messages\":[{\"role\":\"user\",\"content\":");
        bt_json_string(&body, d->questions[i], strlen(d->questions[i]));
        bt_buf_addf(&body, "}],\"temperature\":0,\"max_tokens\":%d,\"stream\":true}", BT_DEMO_TOKENS);
        status = bt_sse_open(&clients[i].sse, port, "/v1/chat/completions", (char *)body.data, body.len, on_data,
                             &clients[i], err);
        bt_buf_free(&body);
    }
    return status;
}

static void follow(const struct bt_demo *d, struct client *clients) {
    int64_t drawn_ns = 0;
    bool any = true;
    while (any) {
        struct pollfd fds[BT_DEMO_ASKS];
        any = false;
        for (int i = 0; i < BT_DEMO_ASKS; i++) {
            fds[i] = (struct pollfd){clients[i].over ? -1 : clients[i].sse.fd, POLLIN, 0};
            any |= !clients[i].over;
        }
        if (any)
            poll(fds, BT_DEMO_ASKS, -1);
        for (int i = 0; i < BT_DEMO_ASKS; i++) {
            if (clients[i].over || !fds[i].revents)
                continue;
            baton_status status = bt_sse_read(&clients[i].sse);
            clients[i].over = status != BATON_OK;
            clients[i].broken |= status == BATON_IO;
        }
        if (d->live && (bt_now_ns() - drawn_ns > 40 * BT_NS_PER_MS || !any)) {
            draw(clients, drawn_ns != 0);
            drawn_ns = bt_now_ns();
        }
    }
}

baton_status bt_demo_serve(const struct bt_demo *d, struct bt_demo_row *row, baton_error *err) {
    char sequences[16];
    const char *args[12] = {"--sequences", sequences, "--ctx", "512"};
    int n = 4;
    snprintf(sequences, sizeof sequences, "%d", BT_DEMO_ASKS);
    if (d->model->file) {
        args[n++] = "-m";
        args[n++] = d->model->file;
    }
    if (d->model->chat_template) {
        args[n++] = "--chat-template";
        args[n++] = d->model->chat_template;
    }
    if (d->model->lora) {
        args[n++] = "--lora";
        args[n++] = d->model->lora;
    }
    struct bt_child child;
    struct client clients[BT_DEMO_ASKS];
    memset(clients, 0, sizeof clients);
    snprintf(row->name, sizeof row->name, "serve: %d streaming HTTP clients", BT_DEMO_ASKS);
    baton_status status = bt_child_start(&child, d->program, args, err);
    if (status)
        return status;
    int64_t start_ns = bt_now_ns(), tokens = 0;
    status = start(d, clients, child.port, err);
    if (!status)
        follow(d, clients);
    double seconds = (double)(bt_now_ns() - start_ns) / 1e9;
    for (int i = 0; i < BT_DEMO_ASKS; i++) {
        if (clients[i].broken || !clients[i].finished || !clients[i].sse.complete)
            row->error++;
        else
            bt_demo_judge(d, i, clients[i].text.data, clients[i].text.len, row);
        tokens += (int64_t)d->lone[i].n_tokens;
        bt_sse_close(&clients[i].sse);
        bt_buf_free(&clients[i].text);
    }
    row->tokens_per_s = (double)tokens / seconds;
    int code = bt_child_stop(&child);
    if (!status && code)
        status = bt_fail(err, BATON_FAILED, "the server ended with exit code %d", code);
    return status;
}
