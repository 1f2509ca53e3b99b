/* The client's side of server-sent events. A bt_sse belongs to one thread. */
#include "cli/sse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end_line(struct bt_sse *s) {
    bt_buf_add(&s->line, "", 1);
    if (s->line.failed)
        return;
    const char *text = (const char *)s->line.data;
    size_t len = s->line.len - 1;
    if (len > 0 && text[len - 1] == '\r')
        s->line.data[--len] = '\0';
    if (s->http_status == 200 && strncmp(text, "data: ", 6) == 0) {
        if (strcmp(text + 6, "[DONE]") == 0)
            s->complete = true;
        else
            s->on_data(s->arg, text + 6, len - 6);
    } else if (s->http_status != 200 && len > 0) {
        s->on_data(s->arg, text, len);
    }
    s->line.len = 0;
}

static int on_headers(http_parser *p) {
    struct bt_sse *s = p->data;
    s->http_status = (int)p->status_code;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t len) {
    struct bt_sse *s = p->data;
    for (const char *end = at + len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        bt_buf_add(&s->line, at, (size_t)((newline ? newline : end) - at));
        if (newline)
            end_line(s);
        at = newline ? newline + 1 : end;
    }
    return 0;
}

static int on_complete(http_parser *p) {
    struct bt_sse *s = p->data;
    if (s->line.len > 0)
        end_line(s);
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings SETTINGS = {
    .on_headers_complete = on_headers, .on_body = on_body, .on_message_complete = on_complete};

static bool send_all(int fd, const void *data, size_t len) {
    for (const char *at = data; len > 0;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

baton_status bt_sse_open(struct bt_sse *s, int port, const char *path, const char *body, size_t len,
                         void (*on_data)(void *arg, const char *data, size_t len), void *arg, baton_error *err) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct bt_buf head = BT_BUF_INIT;
    int yes = 1;
    memset(s, 0, sizeof *s);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->on_data = on_data;
    s->arg = arg;
    http_parser_init(&s->parser, HTTP_RESPONSE);
    s->parser.data = s;
    bt_buf_addf(&head,
                "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                "\r\n",
                path, port, len);
    bt_buf_add(&head, body, len);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd >= 0)
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&to, sizeof to) || head.failed ||
        !send_all(s->fd, head.data, head.len)) {
        int error = errno;
        bt_buf_free(&head);
        bt_sse_close(s);
        return bt_fail(err, BATON_IO, "no request to 127.0.0.1:%d: %s", port, strerror(error));
    }
    bt_buf_free(&head);
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    return BATON_OK;
}

baton_status bt_sse_read(struct bt_sse *s) {
    char data[32768];
    ssize_t n;
    do
        n = recv(s->fd, data, sizeof data, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return BATON_OK;
    if (n <= 0)
        return BATON_IO;
    http_parser_execute(&s->parser, &SETTINGS, data, (size_t)n);
    enum http_errno error = HTTP_PARSER_ERRNO(&s->parser);
    return error == HPE_OK ? BATON_OK : error == HPE_PAUSED ? BATON_END : BATON_IO;
}

void bt_sse_close(struct bt_sse *s) {
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    bt_buf_free(&s->line);
}
