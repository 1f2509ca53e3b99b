/* The listener and the life of a connection: when to read, to write, to close.
 *
 * Events are edge-triggered and registered once in a connection's life, so that a token costs one send(2) and no
 * epoll_ctl(2), and so that a client's leaving is told although nothing is being read (EV_CLOSED; a reset comes as
 * EV_READ | EV_WRITE with an error on the socket).
 *
 * Callbacks only mark a connection; the pass (`wake`) that libevent runs behind them writes, goes on to the next
 * pipelined request, and frees the dead. So no callback can pull a connection from under another one.
 *
 * State: the event loop's thread owns all of it. */
#include "serve/http_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void wake_soon(struct bt_http *h) {
    if (!h->in_pass)
        event_active(&h->wake, EV_TIMEOUT, 0);
}

void bt_conn_mark(struct bt_http_conn *c) {
    c->touched = true;
    if (bt_list_empty(&c->dirty) && c->state != BT_CONN_DEAD)
        bt_list_append(&c->http->dirty, &c->dirty);
    wake_soon(c->http);
}

void bt_conn_timer(struct bt_http_conn *c, int64_t ms) {
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    if (ms < 0)
        evtimer_del(&c->timer);
    else
        evtimer_add(&c->timer, &tv);
}

static void accept_again(struct bt_http *h) {
    struct timeval later = {0, BT_HTTP_RETRY_MS * 1000L};
    if (h->accepting || h->stopping)
        return;
    h->accepting = event_add(&h->accept, NULL) == 0;
    if (!h->accepting)
        evtimer_add(&h->retry, &later);
}

static void on_retry(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    accept_again(arg);
}

void bt_conn_gone(struct bt_http_conn *c) {
    struct bt_http *h = c->http;
    if (c->state == BT_CONN_DEAD)
        return;
    c->state = BT_CONN_DEAD;
    event_del(&c->io);
    evtimer_del(&c->timer);
    bt_tls_free(&c->tls);
    close(c->fd);
    h->n_conns--;
    bt_list_remove(&c->dirty);
    bt_list_remove(&c->link);
    bt_list_append(&h->dead, &c->link);
    accept_again(h); /* a descriptor is free again */
    wake_soon(h);
    if (c->owes_gone) {
        c->owes_gone = false;
        h->handler.on_gone(h->handler.arg, c);
    }
}

static void conn_free(struct bt_http_conn *c) {
    bt_list_remove(&c->link);
    bt_conn_free_body(c);
    bt_buf_free(&c->in);
    bt_buf_free(&c->url);
    bt_buf_free(&c->out);
    free(c);
}

/* One bounded read; what is left waits for the next pass, so that a fast sender starves nobody. */
static void conn_read(struct bt_http_conn *c) {
    struct bt_http *h = c->http;
    if (!c->readable || !(bt_conn_reading(c) || c->state == BT_CONN_LINGER))
        return;
    ssize_t n = c->tls ? bt_tls_recv(c->tls, h->scratch, sizeof h->scratch)
                       : recv(c->fd, h->scratch, sizeof h->scratch, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        c->readable = errno == EINTR;
    } else if (n <= 0) {
        bt_conn_gone(c);
        return;
    } else if (c->state != BT_CONN_LINGER) {
        bt_conn_feed(c, h->scratch, (size_t)n);
    }
    if (c->readable && c->state != BT_CONN_DEAD)
        bt_conn_mark(c);
}

static void conn_next(struct bt_http_conn *c) {
    if (!c->keep || c->http->stopping) {
        c->state = BT_CONN_LINGER;
        if (c->tls)
            bt_tls_end(c->tls);
        shutdown(c->fd, SHUT_WR);
        bt_conn_timer(c, BT_HTTP_LINGER_MS);
        conn_read(c);
        return;
    }
    bt_conn_reset(c);
    bt_conn_timer(c, c->http->limits.idle_ms);
    struct bt_buf in = c->in;
    c->in = (struct bt_buf)BT_BUF_INIT;
    bt_conn_feed(c, in.data, in.len);
    bt_buf_free(&in);
    conn_read(c);
}

/* False when the connection broke. Progress restarts the clock of a reader that does not read. */
static bool conn_write(struct bt_http_conn *c) {
    while (c->out_at < c->out.len) {
        const unsigned char *data = c->out.data + c->out_at;
        size_t len = c->out.len - c->out_at;
        ssize_t n = c->tls ? bt_tls_send(c->tls, data, len) : send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            c->out_at += (size_t)n;
            if (c->out_at < c->out.len)
                bt_conn_timer(c, c->http->limits.write_ms);
        } else if (n < 0 && errno == EAGAIN) {
            if (!evtimer_pending(&c->timer, NULL))
                bt_conn_timer(c, c->http->limits.write_ms);
            c->blocked = true;
            return true;
        } else if (n == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void conn_flush(struct bt_http_conn *c) {
    struct bt_http *h = c->http;
    if (c->out.failed) {
        bt_log(BATON_LOG_ERROR, "out of memory: a connection is closed");
        bt_conn_gone(c);
        return;
    }
    if (c->blocked)
        return;
    bool had = c->out.len > 0;
    if (!conn_write(c)) {
        bt_conn_gone(c);
        return;
    }
    if (c->blocked)
        return;
    if (had && !bt_conn_reading(c))
        bt_conn_timer(c, -1);
    c->out_at = c->out.len = 0;
    if (c->out.cap > BT_HTTP_SNDBUF && c->state != BT_CONN_BUSY)
        bt_buf_free(&c->out);
    if (c->state == BT_CONN_ENDING)
        conn_next(c);
    else if (c->state == BT_CONN_BUSY && c->touched && c->owes_gone)
        h->handler.on_drained(h->handler.arg, c);
}

/* The pass behind the callbacks. What marks itself anew waits for the next turn of the loop: I/O comes in between. */
static void on_wake(evutil_socket_t fd, short what, void *arg) {
    struct bt_http *h = arg;
    struct bt_list now;
    (void)fd;
    (void)what;
    h->in_pass = true;
    bt_list_init(&now);
    while (!bt_list_empty(&h->dirty)) {
        struct bt_list *first = h->dirty.next;
        bt_list_remove(first);
        bt_list_append(&now, first);
    }
    while (!bt_list_empty(&now)) {
        struct bt_http_conn *c = BT_CONTAINER(now.next, struct bt_http_conn, dirty);
        bt_list_remove(&c->dirty);
        conn_flush(c);
        c->touched = false;
        conn_read(c);
    }
    h->in_pass = false;
    while (!bt_list_empty(&h->dead))
        conn_free(BT_CONTAINER(h->dead.next, struct bt_http_conn, link));
    if (!bt_list_empty(&h->dirty)) {
        struct timeval at_once = {0, 0};
        evtimer_add(&h->wake, &at_once);
    } else if (h->stopping && bt_http_busy(h) == 0) {
        h->handler.on_idle(h->handler.arg);
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg) {
    struct bt_http_conn *c = arg;
    int error = 0;
    socklen_t len = sizeof error;
    if (what & EV_CLOSED) {
        bt_conn_gone(c);
        return;
    }
    if (c->tls && what & (EV_READ | EV_WRITE)) /* either may be what a call of the other kind has waited for */
        what |= EV_READ | EV_WRITE;
    bool reads = bt_conn_reading(c) || c->state == BT_CONN_LINGER;
    if (!reads && (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)) {
        bt_conn_gone(c);
        return;
    }
    if (what & EV_WRITE)
        c->blocked = false;
    if (what & EV_READ) {
        c->readable = true;
        conn_read(c);
    }
    if (c->state != BT_CONN_DEAD && c->out.len > 0)
        bt_conn_mark(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    struct bt_http_conn *c = arg;
    (void)fd;
    (void)what;
    if (c->state == BT_CONN_HEAD && c->head_bytes > 0)
        bt_conn_refuse(c, 408, "the request's header did not come in time");
    else if (c->state == BT_CONN_BODY)
        bt_conn_refuse(c, 408, "the request's body did not come in time");
    else
        bt_conn_gone(c); /* idle, lingering, or a reader that does not read */
}

/* Who it is, port aside: the same for all connections of one machine. */
static uint64_t peer_of(const struct sockaddr_storage *name) {
    uint64_t hash = bt_mix64(name->ss_family), words[2] = {0};
    if (name->ss_family == AF_INET6)
        memcpy(words, &((const struct sockaddr_in6 *)name)->sin6_addr, sizeof words);
    else if (name->ss_family == AF_INET)
        memcpy(words, &((const struct sockaddr_in *)name)->sin_addr, sizeof(struct in_addr));
    return bt_mix64(bt_mix64(hash ^ words[0]) ^ words[1]);
}

static void conn_open(struct bt_http *h, int fd, uint64_t peer) {
    struct bt_http_conn *c = calloc(1, sizeof *c);
    int yes = 1;
    bool full = h->n_conns >= h->limits.connections + BT_HTTP_REFUSED_MAX;
    if (c && h->tls && !full)
        c->tls = bt_tls_accept(h->tls, fd);
    if (!c || full || (h->tls && !c->tls)) {
        free(c);
        close(fd);
        return;
    }
    c->http = h;
    c->fd = fd;
    c->peer = peer;
    bt_list_init(&c->dirty);
    bt_list_append(&h->conns, &c->link);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    evtimer_assign(&c->timer, h->base, on_timer, c);
    event_assign(&c->io, h->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_io, c);
    h->n_conns++;
    bt_conn_reset(c);
    if (event_add(&c->io, NULL) != 0) {
        bt_conn_gone(c);
        return;
    }
    if (h->n_conns > h->limits.connections) /* says so, instead of letting them wait unheard */
        bt_conn_refuse(c, 503, "too many connections: close idle ones or try again later");
    else
        bt_conn_timer(c, h->limits.idle_ms);
}

static void on_accept(evutil_socket_t fd, short what, void *arg) {
    struct bt_http *h = arg;
    (void)what;
    for (int i = 0; i < 64; i++) {
        struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof name;
        int conn = accept4(fd, (struct sockaddr *)&name, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (conn >= 0) {
            h->starved = false;
            conn_open(h, conn, peer_of(&name));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            struct timeval later = {0, BT_HTTP_RETRY_MS * 1000L};
            if (!h->starved)
                bt_log(BATON_LOG_WARN, "no new connections for now: %s", strerror(errno));
            h->starved = true;
            event_del(&h->accept); /* else the loop would spin on it */
            h->accepting = false;
            evtimer_add(&h->retry, &later); /* the lack may not be ours: no close of ours may end it */
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static baton_status http_bind(struct bt_http *h, const char *host, int port, baton_error *err) {
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char service[8];
    int yes = 1, size = BT_HTTP_SNDBUF;
    snprintf(service, sizeof service, "%d", port);
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed)
        return bt_fail(err, BATON_INVALID, "--host %s is no address of this machine: %s", host, gai_strerror(failed));
    h->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    baton_status st = BATON_OK;
    if (h->fd < 0 || setsockopt(h->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        setsockopt(h->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) != 0 ||
        bind(h->fd, found->ai_addr, found->ai_addrlen) != 0)
        st = bt_fail(err, BATON_IO, "cannot use %s port %d: %s%s", host, port, strerror(errno),
                     errno == EADDRINUSE ? ": another program has it; choose one with --port, 0 picks a free one" : "");
    freeaddrinfo(found);
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    if (st == BATON_OK && getsockname(h->fd, (struct sockaddr *)&name, &len) == 0)
        h->port = ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                                   : ((struct sockaddr_in *)&name)->sin_port);
    return st;
}

baton_status bt_http_open(const struct bt_http_params *params, struct bt_http **http, baton_error *err) {
    struct bt_http *h = calloc(1, sizeof *h);
    *http = NULL;
    if (!h)
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for the listener");
    h->base = params->base;
    h->limits = params->limits;
    h->handler = params->handler;
    h->tls = params->tls;
    h->id_base = bt_random64();
    h->fd = -1;
    bt_list_init(&h->conns);
    bt_list_init(&h->dirty);
    bt_list_init(&h->dead);
    evtimer_assign(&h->wake, h->base, on_wake, h);
    evtimer_assign(&h->retry, h->base, on_retry, h);
    baton_status st = http_bind(h, params->host, params->port, err);
    if (st == BATON_OK)
        event_assign(&h->accept, h->base, h->fd, EV_READ | EV_PERSIST, on_accept, h);
    if (st != BATON_OK) {
        if (h->fd >= 0)
            close(h->fd);
        free(h);
        return st;
    }
    *http = h;
    return BATON_OK;
}

baton_status bt_http_listen(struct bt_http *h, baton_error *err) {
    if (listen(h->fd, BT_HTTP_BACKLOG) != 0 || event_add(&h->accept, NULL) != 0)
        return bt_fail(err, BATON_IO, "cannot listen on port %d: %s", h->port, strerror(errno));
    h->accepting = true;
    return BATON_OK;
}

int bt_http_port(const struct bt_http *h) {
    return h->port;
}

int bt_http_connections(const struct bt_http *h) {
    return h->n_conns;
}

uint64_t bt_http_replies(const struct bt_http *h, int status) {
    return h->replies[status];
}

int bt_http_busy(const struct bt_http *h) {
    int n = 0;
    for (const struct bt_list *l = h->conns.next; l != &h->conns; l = l->next) {
        const struct bt_http_conn *c = BT_CONTAINER(l, const struct bt_http_conn, link);
        n += c->state == BT_CONN_BUSY || c->state == BT_CONN_ENDING;
    }
    return n;
}

void bt_http_stop(struct bt_http *h) {
    h->stopping = true;
    evtimer_del(&h->retry);
    if (h->fd >= 0) {
        event_del(&h->accept);
        close(h->fd);
        h->fd = -1;
        h->accepting = false;
    }
    for (struct bt_list *l = h->conns.next, *next; l != &h->conns; l = next) {
        struct bt_http_conn *c = BT_CONTAINER(l, struct bt_http_conn, link);
        next = l->next;
        if (bt_conn_reading(c))
            bt_conn_gone(c);
    }
}

void bt_http_close(struct bt_http **http) {
    struct bt_http *h = *http;
    if (!h)
        return;
    *http = NULL;
    bt_http_stop(h);
    while (!bt_list_empty(&h->conns))
        bt_conn_gone(BT_CONTAINER(h->conns.next, struct bt_http_conn, link));
    while (!bt_list_empty(&h->dead))
        conn_free(BT_CONTAINER(h->dead.next, struct bt_http_conn, link));
    event_del(&h->wake);
    free(h);
}
