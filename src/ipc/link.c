/* A watched socket and its two buffers. State: the caller's. */
#include "ipc/link.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_CHUNK = 64 << 10 };

static bool watch(struct bt_link *l, int how) {
    struct epoll_event event = {.events = EPOLLIN | (l->blocked ? EPOLLOUT : 0), .data.u64 = l->tag};
    return epoll_ctl(l->epoll, how, l->fd, &event) == 0;
}

baton_status bt_link_open(struct bt_link *l, int fd, int epoll, uint64_t tag, baton_error *err) {
    *l = (struct bt_link){.fd = fd, .epoll = epoll, .tag = tag};
    if (watch(l, EPOLL_CTL_ADD))
        return BATON_OK;
    bt_fail(err, BATON_IO, "a socket cannot be watched: %s", strerror(errno));
    bt_link_close(l);
    return BATON_IO;
}

void bt_link_flush(struct bt_link *l) {
    while (l->fd >= 0 && l->out.len > 0 && !l->out.failed) {
        ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        bt_buf_drop(&l->out, n < 0 ? l->out.len : (size_t)n); /* nobody hears it any more: the next read sees the end */
    }
    bool blocked = l->out.len > 0 || l->out.failed;
    if (l->fd >= 0 && blocked != l->blocked) {
        l->blocked = blocked;
        watch(l, EPOLL_CTL_MOD);
    }
}

bool bt_link_fill(struct bt_link *l) {
    size_t left = BT_LINK_FILL_MAX;
    while (left > 0) {
        if (!bt_buf_reserve(&l->in, BT_MIN(left, (size_t)READ_CHUNK)))
            return false;
        size_t room = BT_MIN(l->in.cap - l->in.len, left);
        ssize_t n = recv(l->fd, l->in.data + l->in.len, room, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        l->in.len += (size_t)n;
        left -= (size_t)n;
        if ((size_t)n < room)
            break;
    }
    return true;
}

bool bt_link_ignore(struct bt_link *l) {
    unsigned char ignored[4096];
    size_t seen = 0;
    ssize_t n;
    bt_buf_free(&l->in);
    bt_buf_free(&l->out);
    do {
        n = recv(l->fd, ignored, sizeof ignored, MSG_DONTWAIT);
        seen += (size_t)BT_MAX(n, 0);
    } while ((n > 0 && seen < BT_LINK_FILL_MAX) || (n < 0 && errno == EINTR));
    return n > 0 || (n < 0 && errno == EAGAIN);
}

void bt_link_close(struct bt_link *l) {
    if (l->fd >= 0) {
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, l->fd, NULL);
        shutdown(l->fd, SHUT_RDWR); /* a forked child of this program may hold the descriptor, too */
        close(l->fd);
    }
    l->fd = -1;
    bt_buf_free(&l->in);
    bt_buf_free(&l->out);
}
