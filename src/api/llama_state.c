/* Conversations as bytes and files. Stateless. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"

baton_status baton_llama_save_state(baton_stream *stream, void **state, size_t *size, baton_error *err) {
    struct bt_buf out = BT_BUF_INIT;
    BT_NEED(state && size, "places for the state and its size", err);
    *state = NULL;
    *size = 0;
    BT_NEED(stream, "a stream", err);
    baton_status status = bt_stream_save(stream, &out, err);
    if (status) {
        bt_buf_free(&out);
        return status;
    }
    *state = out.data;
    *size = out.len;
    return BATON_OK;
}

static bool write_all(int fd, const unsigned char *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0;
}

static baton_status replace_file(const char *path, const void *bytes, size_t size, baton_error *err) {
    struct bt_buf beside = BT_BUF_INIT;
    bt_buf_addf(&beside, "%s.XXXXXX", path);
    if (beside.failed) {
        bt_buf_free(&beside);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a path");
    }
    char *name = (char *)beside.data;
    int fd = mkostemp(name, O_CLOEXEC);
    bool done = fd >= 0 && write_all(fd, bytes, size) && rename(name, path) == 0;
    baton_status status = BATON_OK;
    if (!done)
        status = bt_fail(err, BATON_IO, "%s cannot be written: %s", path, strerror(errno));
    if (fd >= 0 && !done)
        unlink(name);
    if (fd >= 0)
        close(fd);
    bt_buf_free(&beside);
    return status;
}

baton_status baton_llama_save_state_file(baton_stream *stream, const char *path, baton_error *err) {
    struct bt_buf out = BT_BUF_INIT;
    BT_NEED(stream && path, "a stream and a path", err);
    baton_status status = bt_stream_save(stream, &out, err);
    if (!status)
        status = replace_file(path, out.data, out.len, err);
    bt_buf_free(&out);
    return status;
}

static baton_status read_file(const char *path, struct bt_buf *out, baton_error *err) {
    struct stat st;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return bt_fail(err, errno == ENOENT ? BATON_NOT_FOUND : BATON_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return bt_fail(err, BATON_IO, "%s is no regular file", path);
    }
    while (out->len < (size_t)st.st_size && bt_buf_reserve(out, (size_t)st.st_size - out->len)) {
        n = read(fd, out->data + out->len, (size_t)st.st_size - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        out->len += (size_t)n;
    }
    int cause = errno;
    close(fd);
    if (out->failed)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the %lld bytes of %s", (long long)st.st_size, path);
    return n < 0 ? bt_fail(err, BATON_IO, "%s cannot be read: %s", path, strerror(cause)) : BATON_OK;
}

baton_status baton_llama_load_state(const char *path, void **state, size_t *size, baton_error *err) {
    struct bt_buf out = BT_BUF_INIT;
    struct bt_saved saved;
    BT_NEED(state && size, "places for the state and its size", err);
    *state = NULL;
    *size = 0;
    BT_NEED(path, "a path", err);
    baton_status status = read_file(path, &out, err);
    if (!status)
        status = bt_saved_get(out.data, out.len, &saved, err);
    if (status) {
        bt_buf_free(&out);
        return status;
    }
    bt_saved_free(&saved);
    *state = out.data;
    *size = out.len;
    return BATON_OK;
}
