/* How an owner process begins: what it is told, what it keeps, and who ends it. State: none. */
#include "child/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wire/start.h"

/* Exactly n more bytes, and none of the next frame. */
static baton_status read_more(struct bt_buf *in, size_t n, baton_error *err) {
    if (!bt_buf_reserve(in, n))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a START frame of %zu bytes", n);
    while (n > 0) {
        struct pollfd fds[] = {{BT_START_SOCKET, POLLIN, 0}, {BT_START_PARENT, POLLIN, 0}};
        ssize_t got = recv(BT_START_SOCKET, in->data + in->len, n, MSG_DONTWAIT);
        if (got > 0) {
            in->len += (size_t)got;
            n -= (size_t)got;
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            return bt_fail(err, BATON_CLOSED, "the front is gone");
        } else if (poll(fds, 2, -1) > 0 && fds[1].revents) {
            return bt_fail(err, BATON_CLOSED, "the front's process has ended");
        }
    }
    return BATON_OK;
}

baton_status bt_child_start(struct bt_buf *in, struct bt_start *start, baton_error *err) {
    struct bt_frame frame;
    baton_status status = read_more(in, BT_FRAME_HEADER, err);
    if (status)
        return status;
    uint32_t after =
        (uint32_t)in->data[0] | (uint32_t)in->data[1] << 8 | (uint32_t)in->data[2] << 16 | (uint32_t)in->data[3] << 24;
    size_t whole = (size_t)after + 4;
    if (whole < BT_FRAME_HEADER || whole > BT_FRAME_MAX)
        return bt_fail(err, BATON_PROTOCOL, "the front's first frame has %u bytes", after);
    status = read_more(in, whole - BT_FRAME_HEADER, err);
    if (status)
        return status;
    if (bt_frame_peek(in->data, in->len, &frame) || frame.type != BT_FRAME_START || bt_get_start(&frame, start) ||
        start->version != BT_IPC_VERSION)
        return bt_fail(err, BATON_PROTOCOL,
                       "the front and baton-owner are not of the same version: install both from one build, or set "
                       "BATON_OWNER to the right one");
    return BATON_OK;
}

void bt_child_close_rest(const struct bt_start *start) {
    unsigned first = BT_START_FILES + (unsigned)(start->n_files + start->n_loras) + start->has_mmproj;
#ifdef __NR_close_range
    if (syscall(__NR_close_range, first, ~0U, 0) == 0)
        return;
#endif
    for (long fd = first, end = sysconf(_SC_OPEN_MAX); fd < end; fd++)
        close((int)fd);
}

/* The end of the socket would not do: nobody reads it while a decode hangs, and a forked child of the front's program
 * may hold it open. Neither would a signal on the parent's death: it comes when the *thread* that spawned ends. */
static void *watch(void *arg) {
    struct pollfd fd = {BT_START_PARENT, POLLIN, 0};
    (void)arg;
    pthread_setname_np(pthread_self(), "baton-watchdog");
    while (poll(&fd, 1, -1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

baton_status bt_child_watch(baton_error *err) {
    pthread_t thread;
    int rc = bt_thread_start(&thread, watch, NULL);
    if (rc)
        return bt_fail(err, BATON_IO, "the watchdog thread cannot be started: %s", strerror(rc));
    pthread_detach(thread);
    return BATON_OK;
}
