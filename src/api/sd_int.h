/* What the files of the binding for libstable-diffusion share.
 *
 * A baton_sd is referenced by its open handle, by each call under way (a callback may close it) and by its context in
 * the pool; the last one frees it. With owner = caller what `native` points to changes under the pool's lease only;
 * with owners of their own there is neither of the two here, but a bt_io (sd_owned.c). */
#ifndef BT_SD_API_H
#define BT_SD_API_H

#include <stdatomic.h>

#include "api/api.h"
#include "baton/sd.h"
#include "native/sd.h"
#include "wire/drawing.h"

struct baton_sd {
    /* set at open */
    baton_policy policy;
    struct bt_sd *native;
    struct bt_pool *pool; /* referenced */
    struct bt_io *io;
    char name[128];
    bool images, videos;
    int upscale;
    /* any thread */
    _Atomic bool control_net;
    _Atomic int refs;
};
void bt_drawer_unref(baton_sd *sd);

/* A request from its ask to its result: belongs to the thread that asks. */
struct bt_drawing {
    baton_sd *sd;
    baton_request request;
    struct bt_sd_ask ask;
    bool (*on_progress)(void *arg, int step, int steps);
    void (*on_preview)(void *arg, int step, const baton_sd_image *images, size_t n, bool noisy);
    void *arg;
    bool told; /* on_progress said no */
    int64_t queue_ns, run_ns;
    /* owner = caller */
    struct bt_lease lease;
    int64_t deadline_ns;
};

/* Hooks of the native call, whose arg is the drawing. */
void bt_drawing_progress(void *drawing, int step, int steps);
void bt_drawing_preview(void *drawing, int step, const struct bt_sd_image *images, size_t n, bool noisy);

/* With an owner of its own (sd_owned.c). */
baton_status bt_drawer_open(baton_sd *sd, const baton_sd_params *p, const struct bt_sd_params *native,
                            baton_error *err);
baton_status bt_drawer_draw(struct bt_drawing *d, enum bt_draw_what what, int factor, struct bt_sd_result *result,
                            baton_error *err);

#endif
