/* Which implementation a path means. Stateless. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "native/whisper.h"

static bool is_fake(const char *path) {
    return strncmp(path, "fake:", strlen("fake:")) == 0;
}

baton_status bt_whisper_file_open(const char *path, int *fd, size_t *n, baton_error *err) {
    *n = 0;
    if (!path)
        return bt_fail(err, BATON_INVALID, "no model file: give the path of a whisper.cpp model");
    if (is_fake(path))
        return BATON_OK;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for a writer */
    if (*fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return bt_fail(err, BATON_NOT_FOUND, "there is no model file %s: give the path of a whisper.cpp model", path);
    if (*fd < 0)
        return bt_fail(err, BATON_IO, "the model file %s cannot be opened: %s", path, strerror(errno));
    *n = 1;
    return BATON_OK;
}

baton_status bt_whisper_open(const struct bt_whisper_model_params *params, struct bt_whisper **w, baton_error *err) {
    *w = NULL;
    if (!params->path)
        return bt_fail(err, BATON_INVALID, "no model file: give the path of a whisper.cpp model");
    if (is_fake(params->path))
        return bt_whisper_open_fake(params, w, err);
    return bt_whisper_open_native(params, w, err);
}
