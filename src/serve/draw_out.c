/* Images as OpenAI tells them: PNG files as base64. State: the struct's. */
#include "serve/draw_out.h"

#include <inttypes.h>

#include "serve/png.h"

enum { FRAME = 128 /* of an image in the body, beside its bytes */ };

void bt_draw_out_free(struct bt_draw_out *o) {
    bt_sd_result_free(&o->result);
    bt_buf_free(&o->records);
}

baton_status bt_draw_out_add(struct bt_draw_out *o, const char *bytes, size_t len) {
    bt_buf_add(&o->records, bytes, len);
    baton_status status = bt_draw_take(&o->records, &o->result);
    return !status && o->result.n > (size_t)o->count ? BATON_PROTOCOL : status;
}

baton_status bt_draw_out_news(const char *bytes, size_t len, struct bt_buf *b) {
    struct bt_draw_news news;
    baton_status status = bt_draw_news_decode((struct bt_text){bytes, len}, &news);
    if (status || news.preview)
        return status ? status : BATON_AGAIN;
    bt_buf_addf(b, ",\"step\":%d,\"steps\":%d", news.step, news.steps);
    return BATON_OK;
}

static baton_status put_image(const struct bt_sd_image *image, int64_t seed, size_t most, struct bt_buf *b,
                              baton_error *err) {
    struct bt_buf png = BT_BUF_INIT;
    size_t room = most - BT_MIN(b->len + FRAME, most);
    baton_status status = bt_png_write(image, room / 4 * 3, &png, err);
    if (!status) {
        bt_buf_adds(b, "{\"b64_json\":\"");
        bt_buf_base64(b, png.data, png.len);
        bt_buf_addf(b, "\",\"seed\":%" PRId64 "}", seed);
    }
    bt_buf_free(&png);
    return status;
}

baton_status bt_draw_out_whole(const struct bt_draw_out *o, time_t created, size_t most, struct bt_buf *b,
                               baton_error *err) {
    baton_status status = BATON_OK;
    if (o->result.n < (size_t)o->count || o->result.n == 0)
        status = bt_fail(err, BATON_FAILED, "the native library made %zu of %d images", o->result.n, o->count);
    size_t begin = b->len;
    bt_buf_addf(b, "{\"created\":%" PRId64 ",\"data\":[", (int64_t)created);
    for (size_t i = 0; i < o->result.n && !status; i++) {
        bt_buf_adds(b, i ? "," : "");
        status = put_image(&o->result.images[i], o->seed + (int64_t)i, begin + most, b, err);
    }
    if (!status)
        bt_buf_addf(b, "],\"output_format\":\"png\",\"size\":\"%" PRIu32 "x%" PRIu32 "\"}", o->result.images[0].width,
                    o->result.images[0].height);
    return !status && b->failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the answer") : status;
}
