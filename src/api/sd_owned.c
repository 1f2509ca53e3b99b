/* Images with the owner in a thread or a process of its own: what is asked goes to it as a frame, what it draws comes
 * back as records, and how far it is as news. State: the request's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/owned.h"
#include "api/sd_int.h"

static baton_status ask_model(baton_sd *sd, baton_error *err) {
    struct bt_buf bytes = BT_BUF_INIT;
    struct bt_sd_info info = {.upscale = 0};
    baton_status status = bt_owned_metadata(sd->io, &bytes, err);
    if (!status) {
        status = bt_draw_info_decode((struct bt_text){(const char *)bytes.data, bytes.len}, &info);
        if (status)
            bt_fail(err, status, "what the owner says of its model is malformed");
    }
    bt_buf_free(&bytes);
    sd->images = info.images;
    sd->videos = info.videos;
    sd->upscale = info.upscale;
    atomic_store(&sd->control_net, info.control_net);
    return status;
}

baton_status bt_drawer_open(baton_sd *sd, const baton_sd_params *p, const struct bt_sd_params *native,
                            baton_error *err) {
    struct bt_front_params front = bt_owned_front(&sd->policy, native->threads, p->retry);
    front.model.gpu_layers = p->gpu;
    front.draws = true;
    front.sd = *native;
    front.hang_ms = p->hang_ms;
    baton_status status = bt_io_open(&front, &sd->io, err);
    if (status)
        return status;
    snprintf(sd->name, sizeof sd->name, "%s", bt_io_info(sd->io)->ready.info.name);
    return ask_model(sd, err);
}

/* A picture is a record, whose length has 31 bits. */
static baton_status check_upscaled(const struct bt_drawing *d, int factor, baton_error *err) {
    enum { CHANNELS = 3, FACTOR_MAX = 16, HEAD = 64 };
    const struct bt_sd_image *i = &d->ask.init;
    uint64_t times = (uint64_t)BT_MIN(BT_MAX(factor > 0 ? factor : d->sd->upscale, 1), FACTOR_MAX);
    uint64_t bytes = CHANNELS * (i->width * times) * (i->height * times);
    if (bytes <= INT32_MAX - HEAD)
        return BATON_OK;
    return bt_fail(
        err, BATON_INVALID,
        "an image of %u x %u pixels is %llu bytes when it is %d times as large, and an owner of its own gives "
        "%d at most: take a smaller factor, or BATON_OWNER_CALLER",
        i->width, i->height, (unsigned long long)bytes, (int)times, INT32_MAX - HEAD);
}

static baton_status submit(struct bt_drawing *d, enum bt_draw_what what, int factor, struct bt_io_stream **stream,
                           baton_error *err) {
    struct bt_buf bytes = BT_BUF_INIT;
    if (what == BT_DRAW_UPSCALE && check_upscaled(d, factor, err))
        return BATON_INVALID;
    if (d->ask.n_loras > 0 && d->sd->policy.owner == BATON_OWNER_PROCESS)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "an owner process can open no file but those that it was opened with, and so no LoRA: use "
                       "BATON_OWNER_CALLER or BATON_OWNER_THREAD, or merge it into the model's file");
    if (d->ask.seed < 0) /* another attempt is to draw the same */
        d->ask.seed = (int64_t)(bt_random64() & INT32_MAX);
    bt_draw_ask_encode(&bytes, what, &d->ask, factor);
    return bt_owned_submit(d->sd->io, BT_WHAT_DRAW, &bytes, &d->request, stream, err);
}

/* Callbacks run here, beside the native call: a no reaches it with its next step. */
static baton_status take_news(struct bt_drawing *d, const struct bt_buf *bytes) {
    struct bt_draw_news news;
    baton_status status = bt_draw_news_decode((struct bt_text){(const char *)bytes->data, bytes->len}, &news);
    if (status || d->told)
        return status;
    if (news.preview && d->on_preview)
        d->on_preview(d->arg, news.step, (const baton_sd_image *)news.images, news.n, news.noisy);
    if (!news.preview && d->on_progress && !d->on_progress(d->arg, news.step, news.steps)) {
        d->told = true;
        bt_io_cancel(d->sd->io, d->request.id);
    }
    return BATON_OK;
}

static baton_status draw(struct bt_drawing *d, enum bt_draw_what what, int factor, struct bt_sd_result *result,
                         baton_error *err) {
    struct bt_buf data = BT_BUF_INIT, news = BT_BUF_INIT;
    struct bt_io_stream *stream;
    baton_outcome last = {.status = BATON_OK};
    baton_status status = submit(d, what, factor, &stream, err);
    if (status)
        return status;
    do {
        status = bt_io_stream_take(stream, &data, &news);
        if (!status)
            status = bt_draw_take(&data, result);
        if (!status && news.len > 0)
            status = take_news(d, &news);
    } while (!status);
    bt_buf_free(&data);
    bt_buf_free(&news);
    bt_io_stream_close(stream, &last);
    d->queue_ns = last.queue_ns;
    d->run_ns = last.run_ns;
    if (status == BATON_PROTOCOL)
        return bt_fail(err, status, "what the owner sent after %zu images is no part of a drawing", result->n);
    if (status != BATON_END)
        return bt_fail(err, status, "no memory for what the owner drew, after %zu images", result->n);
    return last.status ? bt_fail(err, last.status, "%s", last.text) : BATON_OK;
}

baton_status bt_drawer_draw(struct bt_drawing *d, enum bt_draw_what what, int factor, struct bt_sd_result *result,
                            baton_error *err) {
    baton_sd *sd = d->sd;
    atomic_fetch_add(&sd->refs, 1); /* a callback may close it, and so may another thread */
    d->ask.on_progress = d->on_progress ? bt_drawing_progress : NULL;
    d->ask.on_preview = d->on_preview ? bt_drawing_preview : NULL;
    baton_status status = draw(d, what, factor, result, err);
    bt_drawer_unref(sd);
    return status;
}
