/* What of images needs no library: the files of a model, and the memory of results. State: none. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "native/sd.h"

const char *bt_sd_path(const struct bt_sd_params *params) {
    static const enum bt_sd_part names[] = {BT_SD_MODEL, BT_SD_DIFFUSION_MODEL, BT_SD_UPSCALER};
    for (size_t i = 0; i < BT_COUNT(names); i++)
        if (params->parts[names[i]])
            return params->parts[names[i]];
    return NULL;
}

baton_status bt_sd_fail_nameless(baton_error *err) {
    return bt_fail(err, BATON_INVALID, "neither a model, a diffusion model nor an upscaler was named");
}

static baton_status open_file(const char *path, int *fd, baton_error *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return bt_fail(err, BATON_NOT_FOUND, "%s cannot be opened: %s", path, strerror(errno));
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return BATON_OK;
    close(*fd);
    return bt_fail(err, BATON_INVALID,
                   "%s is no file: an owner process is handed its files one by one; take a model that is one file, "
                   "or files, or an owner in this process",
                   path);
}

baton_status bt_sd_files_open(const struct bt_sd_params *params, int files[BT_SD_PARTS], size_t *n, baton_error *err) {
    *n = 0;
    if (!bt_sd_path(params))
        return bt_sd_fail_nameless(err);
    baton_status status = BATON_OK;
    for (int i = 0; i < BT_SD_PARTS && !status; i++) {
        if (!params->parts[i])
            continue;
        status = open_file(params->parts[i], &files[*n], err);
        *n += !status;
    }
    while (status && *n > 0)
        close(files[--*n]);
    return status;
}

void bt_sd_result_free(struct bt_sd_result *r) {
    for (size_t i = 0; i < r->n; i++)
        free(r->images[i].data);
    free(r->images);
    free(r->samples);
    *r = (struct bt_sd_result){.n = 0};
}
