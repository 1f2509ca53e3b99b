/* An owner that draws: what a request is, and the hooks of its native call. State: the loop's thread's (single.h). */
#include "owner/draw.h"

#include <stdio.h>
#include <string.h>

#include "owner/single.h"
#include "wire/drawing.h"

struct draw {
    struct bt_sd *sd;
    struct bt_single *loop; /* of the call that is running */
    struct bt_buf record;
};

static bool should_stop(void *arg) {
    struct draw *d = arg;
    return bt_single_stop(d->loop);
}

static void on_progress(void *arg, int step, int steps) {
    struct draw *d = arg;
    bt_draw_put_step(&d->record, step, steps);
    bt_single_news(d->loop, &d->record);
}

static void on_preview(void *arg, int step, const struct bt_sd_image *images, size_t n, bool noisy) {
    struct draw *d = arg;
    bt_draw_put_preview(&d->record, step, images, n, noisy);
    bt_single_news(d->loop, &d->record);
}

static baton_status native_call(struct draw *d, const struct bt_draw_ask *ask, struct bt_sd_result *result,
                                baton_error *err) {
    struct bt_sd_info info;
    *result = (struct bt_sd_result){.n = 0};
    bt_sd_get_info(d->sd, &info);
    if (ask->what == BT_DRAW_UPSCALE)
        return bt_sd_upscale(d->sd, &ask->ask, ask->factor, result, err);
    if (ask->what == BT_DRAW_VIDEO && info.videos)
        return bt_sd_video(d->sd, &ask->ask, result, err);
    if (ask->what == BT_DRAW_VIDEO || !info.images)
        return bt_fail(err, BATON_UNSUPPORTED, "this model makes no %s",
                       ask->what == BT_DRAW_VIDEO ? "videos" : "images");
    return bt_sd_image(d->sd, &ask->ask, result, err);
}

/* One piece after the other: a result may be large, and each is copied on its way. */
static void send_result(struct draw *d, struct bt_sd_result *result) {
    for (size_t i = 0; i < result->n; i++) {
        bt_draw_put_picture(&d->record, &result->images[i]);
        bt_single_data(d->loop, &d->record);
    }
    if (result->fps > 0 || result->samples) {
        bt_draw_put_sound(&d->record, result);
        bt_single_data(d->loop, &d->record);
    }
}

static baton_status draw_ask(void *arg, struct bt_single *loop, struct bt_text bytes, baton_error *err) {
    struct draw *d = arg;
    struct bt_draw_ask ask;
    struct bt_sd_result result;
    baton_status status = bt_draw_ask_decode(bytes, &ask);
    if (status)
        return bt_fail(err, status, "what is asked is malformed, or there is no memory for it");
    d->loop = loop;
    ask.ask.on_progress = ask.progress ? on_progress : NULL;
    ask.ask.on_preview = ask.previews ? on_preview : NULL;
    ask.ask.stop = should_stop;
    ask.ask.arg = d;
    status = native_call(d, &ask, &result, err);
    send_result(d, &result);
    bt_sd_result_free(&result);
    bt_draw_ask_free(&ask);
    return status;
}

static void describe(void *arg, struct bt_buf *result) {
    const struct draw *d = arg;
    struct bt_sd_info info;
    bt_sd_get_info(d->sd, &info);
    bt_draw_info_encode(result, &info);
}

void bt_draw_run(const struct bt_draw_params *params) {
    struct draw d = {.sd = params->sd};
    const struct bt_single_kind kind = {BT_WHAT_DRAW, "this owner draws: it does nothing else", draw_ask, describe, &d};
    struct bt_single *loop = bt_single_new(params->fd, &kind);
    const char *slash = strrchr(params->name, '/'), *version = bt_sd_version();
    struct bt_frame_ready ready = {.sequences = 1,
                                   .ctx = 1, /* it has no tokens; a front believes in none without room */
                                   .versions = {version ? version : "", version ? strlen(version) : 0}};
    if (!loop)
        return; /* the front sees the socket close and says so */
    snprintf(ready.info.name, sizeof ready.info.name, "%s", slash ? slash + 1 : params->name);
    bt_single_serve(loop, &ready);
    bt_single_free(loop);
    bt_buf_free(&d.record);
}
