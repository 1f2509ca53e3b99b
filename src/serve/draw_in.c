/* Validation of requests for images. What only the library knows (its samplers) the owner looks at. State: none. */
#include "serve/draw_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/json_in.h"
#include "wire/drawing.h"

enum {
    COUNT_MAX = 10, /* OpenAI's */
    SIDE_MIN = 64,
    SIDE_MAX = 4096,
    SIDE_PRESET = 512,
    PIXELS_MAX = 16 << 20, /* of all images: as PNGs they do not fit into an answer by far */
};

static bool take_prompt(struct bt_in *x, struct bt_sd_ask *ask) {
    const json_t *v = bt_in_get(x, "prompt");
    if (!v)
        return bt_in_fail(x, 400, "missing_field", "prompt", "prompt is missing: expected a string");
    return bt_in_cstring(x, "prompt", "a string", &ask->prompt) &&
           bt_in_cstring(x, "negative_prompt", "a string", &ask->negative_prompt) &&
           bt_in_cstring(x, "sampler", "the name of a sampler, as \"euler_a\"", &ask->sampler) &&
           bt_in_cstring(x, "scheduler", "the name of a scheduler, as \"karras\"", &ask->scheduler);
}

static bool take_size(struct bt_in *x, struct bt_sd_ask *ask) {
    const json_t *v = bt_in_get(x, "size");
    const char *text = json_string_value(v);
    char end;
    if (v && (!text || strcmp(text, "auto") != 0)) {
        if (!text || strspn(text, "0123456789x") != strlen(text) || strlen(text) > 9 ||
            sscanf(text, "%dx%d%c", &ask->width, &ask->height, &end) != 2 || ask->width < SIDE_MIN ||
            ask->width > SIDE_MAX || ask->height < SIDE_MIN || ask->height > SIDE_MAX)
            return bt_in_expected(x, "size", v, "WIDTHxHEIGHT, as \"512x768\", each from 64 to 4096");
    }
    if ((int64_t)ask->width * ask->height * ask->count > PIXELS_MAX)
        return bt_in_fail(x, 400, "invalid_value", "size",
                          "%d images of %d x %d pixels are more than %d pixels: ask for fewer, or for smaller ones",
                          ask->count, ask->width, ask->height, PIXELS_MAX);
    return true;
}

/* OpenAI's, which are honoured as far as there is one way alone. */
static bool refuse_others(struct bt_in *x) {
    static const struct {
        const char *name, *taken[3], *cure;
    } others[] = {
        {"response_format", {"b64_json"}, "use \"b64_json\""},
        {"output_format", {"png"}, "use \"png\""},
        {"quality", {"auto", "standard"}, "leave it out; steps says how much work an image is worth"},
        {"style", {NULL}, "leave it out, and say it in the prompt"},
        {"background", {"auto", "opaque"}, "leave it out"},
        {"moderation", {"auto", "low"}, "leave it out"},
        {"image", {NULL}, "leave it out: images are made of text alone"},
        {"mask", {NULL}, "leave it out: images are made of text alone"},
    };
    for (size_t i = 0; i < BT_COUNT(others); i++) {
        const json_t *v = bt_in_get(x, others[i].name);
        bool taken = !v;
        for (size_t k = 0; k < BT_COUNT(others[i].taken) && others[i].taken[k] && !taken; k++)
            taken = json_is_string(v) && strcmp(json_string_value(v), others[i].taken[k]) == 0;
        if (!taken)
            return bt_in_unsupported(x, others[i].name, v, others[i].cure);
    }
    json_int_t partial = 0;
    if (!bt_in_int(x, "partial_images", 0, 3, &partial))
        return false;
    return partial == 0 ||
           bt_in_unsupported(x, "partial_images", bt_in_get(x, "partial_images"), "leave it out, or use 0");
}

static bool take_numbers(struct bt_in *x, struct bt_sd_ask *ask) {
    json_int_t n = 1, steps = 0, seed = ask->seed;
    if (!bt_in_int(x, "n", 1, COUNT_MAX, &n) || !bt_in_int(x, "steps", 1, 1000, &steps) ||
        !bt_in_int(x, "seed", 0, INT64_MAX - COUNT_MAX, &seed) ||
        !bt_in_real(x, "cfg_scale", 0, 100, &ask->cfg_scale) || !bt_in_real(x, "guidance", 0, 100, &ask->guidance))
        return false;
    ask->count = (int)n;
    ask->steps = (int)steps;
    ask->seed = seed;
    return true;
}

/* Something is to be called as it goes on; what, its reader knows. */
static void step(void *arg, int done, int of) {
    (void)arg, (void)done, (void)of;
}

static bool take(struct bt_in *x, struct bt_draw_request *r) {
    struct bt_sd_ask ask = {.width = SIDE_PRESET,
                            .height = SIDE_PRESET,
                            .count = 1,
                            .cfg_scale = -1,
                            .guidance = -1,
                            .strength = -1,
                            .control_strength = -1,
                            .seed = r->seed};
    if (!bt_in_model(x))
        return false;
    if (!x->model->draws)
        return bt_in_fail(x, 400, "unsupported_model", "model",
                          "this model does not draw: only one of kind = image (a file that libstable-diffusion loads) "
                          "makes images");
    if (!take_prompt(x, &ask) || !take_numbers(x, &ask) || !take_size(x, &ask) ||
        !bt_in_bool(x, "stream", &r->stream) || !refuse_others(x))
        return false;
    ask.on_progress = step;
    bt_draw_ask_encode(&r->ask, BT_DRAW_IMAGE, &ask, 0);
    if (r->ask.failed)
        return bt_in_no_memory(x);
    r->model = x->model;
    r->seed = ask.seed;
    r->width = ask.width;
    r->height = ask.height;
    r->count = ask.count;
    r->submit = (struct bt_submit){.what = BT_WHAT_DRAW,
                                   .kind = BT_PROMPT_TEXT,
                                   .text = {(const char *)r->ask.data, r->ask.len},
                                   .max_tokens = -1};
    return true;
}

bool bt_draw_parse(struct bt_draw_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                   uint64_t seed, struct bt_api_error *e) {
    struct bt_in x = {.models = models, .e = e};
    *e = (struct bt_api_error){0};
    *r = (struct bt_draw_request){.seed = (int64_t)(seed & INT32_MAX)};
    bool ok = bt_in_json(&x, body, len) && take(&x, r);
    json_decref(x.root);
    if (!ok)
        bt_draw_request_free(r);
    return ok;
}

void bt_draw_request_free(struct bt_draw_request *r) {
    bt_buf_free(&r->ask);
    *r = (struct bt_draw_request){.model = NULL};
}
