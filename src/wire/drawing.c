/* The codec of what an owner that draws is asked, and says. Pure. */
#include "wire/drawing.h"

#include <stdlib.h>

#include "wire/wire_int.h"

enum record { PICTURE, SOUND, STEP, PREVIEW, RECORDS };
enum { IMAGE_HEAD = 12, LORA_BYTES = 4 + 5 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples go as they lie in memory");

/* ---- pieces */

static void put_int(struct bt_buf *b, int x) {
    put_u32(b, (uint32_t)x);
}

static size_t size_of(const struct bt_sd_image *i) {
    return (size_t)i->width * i->height * i->channels;
}

static void put_image(struct bt_buf *b, const struct bt_sd_image *i) {
    put_u32(b, i->data ? i->width : 0);
    put_u32(b, i->data ? i->height : 0);
    put_u32(b, i->data ? i->channels : 0);
    if (i->data)
        bt_buf_add(b, i->data, size_of(i));
}

/* Nothing of it reaches past what is left, so its size cannot overflow. */
static struct bt_sd_image get_image(struct reader *r) {
    struct bt_sd_image i = {.data = NULL};
    i.width = get_u32(r);
    i.height = get_u32(r);
    i.channels = get_u32(r);
    if (i.width == 0 && i.height == 0 && i.channels == 0)
        return (struct bt_sd_image){0, 0, 0, NULL};
    if (i.width == 0 || i.height == 0 || i.channels == 0 || i.channels > 4 || i.width > r->left / i.channels ||
        i.height > r->left / i.channels / i.width) {
        r->bad = true;
        r->left = 0;
        return (struct bt_sd_image){0, 0, 0, NULL};
    }
    i.data = (unsigned char *)r->at; /* who decodes reads */
    r->at += size_of(&i);
    r->left -= size_of(&i);
    return i;
}

/* ---- asks */

#define NUMBERS(X)                                                                                                     \
    X(width)                                                                                                           \
    X(height)                                                                                                          \
    X(steps)                                                                                                           \
    X(clip_skip)                                                                                                       \
    X(count)                                                                                                           \
    X(frames)                                                                                                          \
    X(fps)                                                                                                             \
    X(preview_every)
#define FLOATS(X)                                                                                                      \
    X(cfg_scale)                                                                                                       \
    X(guidance)                                                                                                        \
    X(strength)                                                                                                        \
    X(control_strength)
#define IMAGES(X)                                                                                                      \
    X(init)                                                                                                            \
    X(mask)                                                                                                            \
    X(control)                                                                                                         \
    X(end)

void bt_draw_ask_encode(struct bt_buf *b, enum bt_draw_what what, const struct bt_sd_ask *ask, int factor) {
    put_u8(b, (unsigned)what);
    put_int(b, factor);
    put_string(b, ask->prompt);
    put_string(b, ask->negative_prompt);
    put_string(b, ask->sampler);
    put_string(b, ask->scheduler);
#define PUT(field) put_int(b, ask->field);
    NUMBERS(PUT)
#undef PUT
#define PUT(field) put_float(b, ask->field);
    FLOATS(PUT)
#undef PUT
    put_u64(b, (uint64_t)ask->seed);
    put_u8(b, (unsigned)ask->preview);
    put_u8(b, ask->on_progress != NULL);
    put_u8(b, ask->on_preview != NULL);
    put_u32(b, (uint32_t)ask->n_loras);
    for (size_t i = 0; i < ask->n_loras; i++) {
        put_float(b, ask->loras[i].scale);
        put_string(b, ask->loras[i].path);
    }
#define PUT(field) put_image(b, &ask->field);
    IMAGES(PUT)
#undef PUT
    put_u32(b, (uint32_t)ask->n_references);
    for (size_t i = 0; i < ask->n_references; i++)
        put_image(b, &ask->references[i]);
}

static baton_status get_loras(struct reader *r, struct bt_sd_ask *a) {
    size_t n = get_count(r, LORA_BYTES);
    struct bt_sd_lora *loras = n ? calloc(n, sizeof *loras) : NULL;
    if (n && !loras)
        return BATON_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        loras[i].scale = get_float(r);
        loras[i].path = get_string(r);
    }
    a->loras = loras;
    a->n_loras = n;
    return BATON_OK;
}

static baton_status get_references(struct reader *r, struct bt_sd_ask *a) {
    size_t n = get_count(r, IMAGE_HEAD);
    struct bt_sd_image *references = n ? calloc(n, sizeof *references) : NULL;
    if (n && !references)
        return BATON_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        references[i] = get_image(r);
    a->references = references;
    a->n_references = n;
    return BATON_OK;
}

static baton_status get_ask(struct reader *r, struct bt_draw_ask *ask) {
    struct bt_sd_ask *a = &ask->ask;
    ask->what = (enum bt_draw_what)get_small(r, BT_DRAW_WHAT_END);
    ask->factor = get_i32(r);
    a->prompt = get_string(r);
    a->negative_prompt = get_optional(r);
    a->sampler = get_optional(r);
    a->scheduler = get_optional(r);
#define GET(field) a->field = get_i32(r);
    NUMBERS(GET)
#undef GET
#define GET(field) a->field = get_float(r);
    FLOATS(GET)
#undef GET
    a->seed = (int64_t)get_u64(r);
    a->preview = (enum bt_sd_preview)get_small(r, BT_SD_PREVIEW_VAE + 1);
    ask->progress = get_bool(r);
    ask->previews = get_bool(r);
    baton_status status = get_loras(r, a);
#define GET(field) a->field = get_image(r);
    IMAGES(GET)
#undef GET
    if (!status)
        status = get_references(r, a);
    return status ? status : finish(r);
}

baton_status bt_draw_ask_decode(struct bt_text bytes, struct bt_draw_ask *ask) {
    struct reader r = reader_of_bytes((const unsigned char *)bytes.data, bytes.len);
    memset(ask, 0, sizeof *ask);
    baton_status status = get_ask(&r, ask);
    if (status)
        bt_draw_ask_free(ask);
    return status;
}

void bt_draw_ask_free(struct bt_draw_ask *ask) {
    free((void *)ask->ask.loras);
    free((void *)ask->ask.references);
    memset(ask, 0, sizeof *ask);
}

static uint64_t positive(int n) {
    return n > 0 ? (uint64_t)n : 0;
}

uint64_t bt_draw_most(struct bt_text bytes) {
    enum { PIXEL = 4, BESIDE = 1 << 20, SIDE_MAX = 1 << 16, TIMES_MAX = 16, SECOND = 48000 * 2 * 4 /* of a second */ };
    struct bt_draw_ask d;
    if (bt_draw_ask_decode(bytes, &d))
        return 0;
    const struct bt_sd_ask *a = &d.ask;
    uint64_t width = positive(a->width), height = positive(a->height), n = positive(a->count), sound = 0;
    if (d.what == BT_DRAW_VIDEO) {
        n = positive(a->frames);
        sound = n * SECOND; /* a frame is a second at the most */
    } else if (d.what == BT_DRAW_UPSCALE) {
        uint64_t times = d.factor > 0 ? (uint64_t)BT_MIN(d.factor, TIMES_MAX) : TIMES_MAX;
        width = times * a->init.width;
        height = times * a->init.height;
        n = 1;
    }
    bt_draw_ask_free(&d);
    n = BT_MIN(n, (uint64_t)BT_DRAW_PICTURES_MAX);
    return 2 * n * BT_MIN(width, (uint64_t)SIDE_MAX) * BT_MIN(height, (uint64_t)SIDE_MAX) * PIXEL + sound + BESIDE;
}

/* ---- what the model makes */

void bt_draw_info_encode(struct bt_buf *b, const struct bt_sd_info *info) {
    put_u8(b, info->images);
    put_u8(b, info->videos);
    put_u8(b, info->control_net);
    put_int(b, info->upscale);
}

baton_status bt_draw_info_decode(struct bt_text bytes, struct bt_sd_info *info) {
    struct reader r = reader_of_bytes((const unsigned char *)bytes.data, bytes.len);
    info->images = get_bool(&r);
    info->videos = get_bool(&r);
    info->control_net = get_bool(&r);
    info->upscale = get_i32(&r);
    return finish(&r);
}

/* ---- records */

void bt_draw_put_picture(struct bt_buf *b, const struct bt_sd_image *image) {
    size_t at = begin_record(b, PICTURE);
    put_image(b, image);
    end_record(b, at);
}

void bt_draw_put_sound(struct bt_buf *b, const struct bt_sd_result *r) {
    size_t at = begin_record(b, SOUND);
    put_int(b, r->fps);
    put_u32(b, r->rate);
    put_u32(b, r->channels);
    bt_buf_add(b, r->samples, r->samples ? (size_t)r->n_samples * r->channels * sizeof *r->samples : 0);
    end_record(b, at);
}

void bt_draw_put_step(struct bt_buf *b, int step, int steps) {
    put_u8(b, STEP);
    put_int(b, step);
    put_int(b, steps);
}

void bt_draw_put_preview(struct bt_buf *b, int step, const struct bt_sd_image *images, size_t n, bool noisy) {
    put_u8(b, PREVIEW);
    put_int(b, step);
    put_u8(b, noisy);
    put_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_image(b, &images[i]);
}

baton_status bt_draw_news_decode(struct bt_text bytes, struct bt_draw_news *news) {
    struct reader r = reader_of_bytes((const unsigned char *)bytes.data, bytes.len);
    unsigned which = get_small(&r, RECORDS);
    news->preview = which == PREVIEW;
    news->n = 0;
    r.bad |= which != STEP && which != PREVIEW;
    news->step = get_i32(&r);
    if (!news->preview) {
        news->steps = get_i32(&r);
        return finish(&r);
    }
    news->noisy = get_bool(&r);
    size_t n = get_count(&r, IMAGE_HEAD);
    r.bad |= n > BT_DRAW_PREVIEWS_MAX;
    while (news->n < n && !r.bad) {
        news->images[news->n] = get_image(&r);
        r.bad |= !news->images[news->n++].data;
    }
    return finish(&r);
}

static baton_status take_picture(struct reader *r, struct bt_sd_result *result) {
    struct bt_sd_image i = get_image(r);
    if (finish(r) || !i.data || result->n >= BT_DRAW_PICTURES_MAX)
        return BATON_PROTOCOL;
    struct bt_sd_image *images = realloc(result->images, (result->n + 1) * sizeof *images);
    if (!images)
        return BATON_NO_MEMORY;
    result->images = images;
    images[result->n] = i;
    images[result->n].data = malloc(size_of(&i));
    if (!images[result->n].data)
        return BATON_NO_MEMORY;
    memcpy(images[result->n++].data, i.data, size_of(&i));
    return BATON_OK;
}

static baton_status take_sound(struct reader *r, struct bt_sd_result *result) {
    int fps = get_i32(r);
    uint32_t rate = get_u32(r), channels = get_u32(r);
    struct bt_text samples = get_rest(r);
    size_t frame = (size_t)channels * sizeof *result->samples;
    if (finish(r) || result->samples || fps < 0 || (samples.len > 0 && (channels == 0 || samples.len % frame != 0)))
        return BATON_PROTOCOL;
    if (samples.len > 0) {
        result->samples = malloc(samples.len);
        if (!result->samples)
            return BATON_NO_MEMORY;
        memcpy(result->samples, samples.data, samples.len);
        result->n_samples = samples.len / frame;
        result->rate = rate;
        result->channels = channels;
    }
    result->fps = fps;
    return BATON_OK;
}

baton_status bt_draw_take(struct bt_buf *in, struct bt_sd_result *result) {
    size_t at = 0;
    baton_status status = in->failed ? BATON_NO_MEMORY : BATON_OK;
    while (!status && in->len - at >= RECORD_HEAD) {
        unsigned which = in->data[at];
        size_t len = (size_t)bt_load(in->data + at + 1, 4);
        if (which > SOUND || len > INT32_MAX)
            return BATON_PROTOCOL;
        if (in->len - at - RECORD_HEAD < len)
            break;
        struct reader r = reader_of_bytes(in->data + at + RECORD_HEAD, len);
        status = which == PICTURE ? take_picture(&r, result) : take_sound(&r, result);
        at += RECORD_HEAD + len;
    }
    bt_buf_drop(in, at);
    return status;
}
