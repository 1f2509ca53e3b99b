/* libstable-diffusion. It is loaded when the first context is made, so that what brings its own libggml along keeps it
 * to itself: beside libllama's, linked together, one would call the other's functions.
 *
 * State: the library; that a context is there; and the call under way, which the process-wide callbacks find.
 * Invariant: `now` is set by the thread that is inside the one context's native call, and by nobody else. */
#include "native/sd.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes" /* it declares f() */
#include <stable-diffusion.h>
#pragma GCC diagnostic pop

#define SD_CALLS(X)                                                                                                    \
    X(sd_set_log_callback)                                                                                             \
    X(sd_set_progress_callback)                                                                                        \
    X(sd_set_preview_callback)                                                                                         \
    X(sd_ctx_supports_image_generation)                                                                                \
    X(sd_ctx_supports_video_generation)                                                                                \
    X(sd_ctx_load_control_net)                                                                                         \
    X(sd_ctx_unload_control_net)                                                                                       \
    X(sd_ctx_has_control_net)                                                                                          \
    X(str_to_sample_method)                                                                                            \
    X(str_to_scheduler)                                                                                                \
    X(sd_ctx_params_init)                                                                                              \
    X(new_sd_ctx)                                                                                                      \
    X(free_sd_ctx)                                                                                                     \
    X(free_sd_audio)                                                                                                   \
    X(sd_img_gen_params_init)                                                                                          \
    X(generate_image)                                                                                                  \
    X(sd_cancel_generation)                                                                                            \
    X(sd_vid_gen_params_init)                                                                                          \
    X(generate_video)                                                                                                  \
    X(new_upscaler_ctx)                                                                                                \
    X(free_upscaler_ctx)                                                                                               \
    X(upscale)                                                                                                         \
    X(get_upscale_factor)                                                                                              \
    X(free_sd_images)

static struct {
#define SD_FIELD(name) __typeof__(&name) name;
    SD_CALLS(SD_FIELD)
#undef SD_FIELD
} lib; /* written under `loaded` only */
static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static baton_error load_error; /* as lib */

static _Atomic bool taken;

struct bt_sd {
    sd_ctx_t *ctx;
    upscaler_ctx_t *upscaler;
    int upscale;
};

/* A native call under way, on the stack of its thread. */
struct call {
    struct bt_sd *sd;
    const struct bt_sd_ask *ask; /* NULL: a call that draws nothing */
    pthread_t thread;
    bool draws; /* the library can be told to stop */
    _Atomic bool stopped;
    struct bt_buf causes; /* error lines of its own thread */
};
static struct call *_Atomic now;

static void load(void) {
    int flags = RTLD_NOW | RTLD_LOCAL;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* whose own interception it would undo */
    flags |= RTLD_DEEPBIND;
#endif
    void *handle = dlopen(BATON_SD_LIBRARY, flags);
    if (!handle) {
        bt_fail(&load_error, BATON_NOT_FOUND,
                "libstable-diffusion, which this baton was built for, cannot be loaded: %s", dlerror());
        return;
    }
#define SD_LOAD(name)                                                                                                  \
    lib.name = (__typeof__(lib.name))dlsym(handle, #name);                                                             \
    if (!lib.name && load_error.status == BATON_OK)                                                                    \
        bt_fail(&load_error, BATON_UNSUPPORTED,                                                                        \
                "%s has no function " #name ": it is another version than the one this baton was built for",           \
                BATON_SD_LIBRARY);
    SD_CALLS(SD_LOAD)
#undef SD_LOAD
}

/* A cancel is told at each chance: the library forgets one that comes before it has really begun. */
static void look_for_stop(struct call *c) {
    if (c->ask && !atomic_load(&c->stopped) && c->ask->stop && c->ask->stop(c->ask->arg))
        atomic_store(&c->stopped, true);
    if (c->draws && atomic_load(&c->stopped))
        lib.sd_cancel_generation(c->sd->ctx, SD_CANCEL_ALL);
}

/* Also from threads of the library's own. */
static void on_log(enum sd_log_level_t level, const char *text, void *data) {
    struct call *c = atomic_load(&now);
    size_t len = strcspn(text, "\n");
    (void)data;
    if (len > 0 && level != SD_LOG_DEBUG && bt_log_level() >= BATON_LOG_DEBUG)
        bt_log(BATON_LOG_DEBUG, "native: %.*s", (int)BT_MIN(len, (size_t)4096), text);
    if (!c || !pthread_equal(c->thread, pthread_self()))
        return;
    if (level == SD_LOG_ERROR && c->causes.len < 1024) {
        bt_buf_add(&c->causes, c->causes.len ? "; " : "", c->causes.len ? 2 : 0);
        bt_buf_add(&c->causes, text, len);
    }
    look_for_stop(c);
}

static void on_progress(int step, int steps, float time, void *data) {
    struct call *c = atomic_load(&now);
    (void)time, (void)data;
    if (!c || !pthread_equal(c->thread, pthread_self()))
        return;
    if (c->ask && c->ask->on_progress)
        c->ask->on_progress(c->ask->arg, step, steps);
    look_for_stop(c);
}

enum { PREVIEW_FRAMES = 256 };

static void on_preview(int step, int n, sd_image_t *images, bool noisy, void *data) {
    struct call *c = atomic_load(&now);
    struct bt_sd_image mine[PREVIEW_FRAMES];
    (void)data;
    if (!c || !pthread_equal(c->thread, pthread_self()) || !c->ask || !c->ask->on_preview || n < 1)
        return;
    n = BT_MIN(n, PREVIEW_FRAMES);
    for (int i = 0; i < n; i++)
        mine[i] = (struct bt_sd_image){images[i].width, images[i].height, images[i].channel, images[i].data};
    c->ask->on_preview(c->ask->arg, step, mine, (size_t)n, noisy);
    look_for_stop(c);
}

static void call_begin(struct call *c, struct bt_sd *sd, const struct bt_sd_ask *ask, bool draws) {
    *c = (struct call){.sd = sd, .ask = ask, .draws = draws, .thread = pthread_self()};
    atomic_store(&now, c);
}

/* Why it failed, if it did; lives as long as c->causes. */
static const char *call_end(struct call *c) {
    atomic_store(&now, NULL);
    bt_buf_add(&c->causes, "", 1);
    return c->causes.failed || c->causes.len < 2 ? "it gave no reason" : (const char *)c->causes.data;
}

static sd_ctx_t *new_context(const struct bt_sd_params *p) {
    sd_ctx_params_t native;
    lib.sd_ctx_params_init(&native);
    native.model_path = p->parts[BT_SD_MODEL];
    native.diffusion_model_path = p->parts[BT_SD_DIFFUSION_MODEL];
    native.high_noise_diffusion_model_path = p->parts[BT_SD_HIGH_NOISE_DIFFUSION_MODEL];
    native.vae_path = p->parts[BT_SD_VAE];
    native.taesd_path = p->parts[BT_SD_TAESD];
    native.clip_l_path = p->parts[BT_SD_CLIP_L];
    native.clip_g_path = p->parts[BT_SD_CLIP_G];
    native.clip_vision_path = p->parts[BT_SD_CLIP_VISION];
    native.t5xxl_path = p->parts[BT_SD_T5XXL];
    native.llm_path = p->parts[BT_SD_LLM];
    native.control_net_path = p->parts[BT_SD_CONTROL_NET];
    native.diffusion_flash_attn = p->flash_attention;
    if (p->threads > 0)
        native.n_threads = p->threads;
    return lib.new_sd_ctx(&native);
}

static baton_status make(struct bt_sd *sd, const struct bt_sd_params *p, baton_error *err) {
    struct call c;
    const char *upscaler = p->parts[BT_SD_UPSCALER];
    bool draws = p->parts[BT_SD_MODEL] || p->parts[BT_SD_DIFFUSION_MODEL];
    lib.sd_set_log_callback(on_log, NULL);
    lib.sd_set_progress_callback(on_progress, NULL);
    call_begin(&c, sd, NULL, false);
    if (draws)
        sd->ctx = new_context(p);
    if (upscaler && (sd->ctx || !draws))
        sd->upscaler = lib.new_upscaler_ctx(upscaler, false, p->threads > 0 ? p->threads : -1, 0, NULL, NULL);
    const char *cause = call_end(&c);
    baton_status status = BATON_OK;
    if (draws && !sd->ctx)
        status = bt_fail(err, BATON_BAD_MODEL, "%s cannot be loaded: %s", bt_sd_path(p), cause);
    else if (upscaler && !sd->upscaler)
        status = bt_fail(err, BATON_BAD_MODEL, "the upscaler %s cannot be loaded: %s", upscaler, cause);
    bt_buf_free(&c.causes);
    if (sd->upscaler)
        sd->upscale = lib.get_upscale_factor(sd->upscaler);
    return status;
}

baton_status bt_sd_load(baton_error *err) {
    pthread_once(&loaded, load);
    return load_error.status ? bt_fail(err, load_error.status, "%s", load_error.text) : BATON_OK;
}

baton_status bt_sd_open(const struct bt_sd_params *params, struct bt_sd **out, baton_error *err) {
    *out = NULL;
    if (!bt_sd_path(params))
        return bt_sd_fail_nameless(err);
    baton_status status = bt_sd_load(err);
    if (status)
        return status;
    if (atomic_exchange(&taken, true))
        return bt_fail(err, BATON_BUSY,
                       "there is an open context of libstable-diffusion in this process already: its callbacks are the "
                       "process's, so there can be one. Close that one first, or use another process");
    struct bt_sd *sd = calloc(1, sizeof *sd);
    if (!sd) {
        atomic_store(&taken, false);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a context");
    }
    status = make(sd, params, err);
    if (status)
        bt_sd_close(sd);
    else
        *out = sd;
    return status;
}

void bt_sd_close(struct bt_sd *sd) {
    if (!sd)
        return;
    if (sd->upscaler)
        lib.free_upscaler_ctx(sd->upscaler);
    if (sd->ctx)
        lib.free_sd_ctx(sd->ctx);
    lib.sd_set_progress_callback(NULL, NULL);
    lib.sd_set_preview_callback(NULL, PREVIEW_NONE, 1, false, false, NULL);
    lib.sd_set_log_callback(NULL, NULL);
    free(sd);
    atomic_store(&taken, false);
}

void bt_sd_get_info(const struct bt_sd *sd, struct bt_sd_info *info) {
    *info = (struct bt_sd_info){.images = sd->ctx && lib.sd_ctx_supports_image_generation(sd->ctx),
                                .videos = sd->ctx && lib.sd_ctx_supports_video_generation(sd->ctx),
                                .control_net = sd->ctx && lib.sd_ctx_has_control_net(sd->ctx),
                                .upscale = sd->upscale};
}

static sd_image_t native_image(const struct bt_sd_image *i) {
    return (sd_image_t){i->width, i->height, i->channels, i->data};
}

static void set_sample_params(const struct bt_sd_ask *ask, sd_sample_params_t *p) {
    if (ask->steps > 0)
        p->sample_steps = ask->steps;
    if (ask->cfg_scale >= 0)
        p->guidance.txt_cfg = ask->cfg_scale;
    if (ask->guidance >= 0)
        p->guidance.distilled_guidance = ask->guidance;
    if (ask->sampler)
        p->sample_method = lib.str_to_sample_method(ask->sampler);
    if (ask->scheduler)
        p->scheduler = lib.str_to_scheduler(ask->scheduler);
}

static baton_status check_names(const struct bt_sd *sd, const struct bt_sd_ask *ask, baton_error *err) {
    if (!sd->ctx)
        return bt_fail(err, BATON_UNSUPPORTED, "this handle only upscales: it was opened without a model");
    if (ask->sampler && lib.str_to_sample_method(ask->sampler) == SAMPLE_METHOD_COUNT)
        return bt_fail(err, BATON_INVALID, "libstable-diffusion knows no sampler '%.60s'", ask->sampler);
    if (ask->scheduler && lib.str_to_scheduler(ask->scheduler) == SCHEDULER_COUNT)
        return bt_fail(err, BATON_INVALID, "libstable-diffusion knows no scheduler '%.60s'", ask->scheduler);
    return BATON_OK;
}

static void set_preview(const struct bt_sd_ask *ask) {
    static const enum preview_t modes[] = {PREVIEW_NONE, PREVIEW_PROJ, PREVIEW_TAE, PREVIEW_VAE};
    bool on = ask->on_preview && ask->preview != BT_SD_PREVIEW_OFF;
    lib.sd_set_preview_callback(on ? on_preview : NULL, on ? modes[ask->preview] : PREVIEW_NONE,
                                BT_MAX(ask->preview_every, 1), true, false, NULL);
}

/* The library's images as ours. */
static baton_status take_images(sd_image_t *native, int n, struct bt_sd_result *r, baton_error *err) {
    baton_status status = BATON_OK;
    r->images = calloc((size_t)BT_MAX(n, 1), sizeof *r->images);
    for (int i = 0; i < n && r->images && !status; i++) {
        size_t size = (size_t)native[i].width * native[i].height * native[i].channel;
        if (!native[i].data)
            continue;
        struct bt_sd_image *mine = &r->images[r->n];
        *mine = (struct bt_sd_image){native[i].width, native[i].height, native[i].channel, malloc(size ? size : 1)};
        if (!mine->data)
            status = bt_fail(err, BATON_NO_MEMORY, "no memory for an image of %zu bytes", size);
        else
            r->n++;
        if (mine->data)
            memcpy(mine->data, native[i].data, size);
    }
    lib.free_sd_images(native, n);
    return r->images ? status : bt_fail(err, BATON_NO_MEMORY, "no memory for %d images", n);
}

static baton_status take_sound(sd_audio_t *a, struct bt_sd_result *r, baton_error *err) {
    baton_status status = BATON_OK;
    if (!a)
        return BATON_OK;
    size_t size = (size_t)a->sample_count * a->channels * sizeof(float);
    if (a->data && size > 0) {
        r->samples = malloc(size);
        if (r->samples) {
            memcpy(r->samples, a->data, size);
            r->n_samples = a->sample_count;
            r->rate = a->sample_rate;
            r->channels = a->channels;
        } else {
            status = bt_fail(err, BATON_NO_MEMORY, "no memory for a sound of %zu bytes", size);
        }
    }
    lib.free_sd_audio(a);
    return status;
}

/* What a call that came back says of the request. `whole`: so many images make it complete, SIZE_MAX: no number does.
 */
static baton_status verdict(struct call *c, bool done, const struct bt_sd_result *r, size_t whole, baton_error *err) {
    const char *cause = call_end(c);
    baton_status status = BATON_OK;
    if (atomic_load(&c->stopped) && (!done || r->n < whole))
        status = bt_fail(err, BATON_CANCELLED, "cancelled: %zu images were complete", r->n);
    else if (!done || r->n == 0)
        status = bt_fail(err, BATON_FAILED, "libstable-diffusion gave up: %s", cause);
    else if (whole != SIZE_MAX && r->n < whole)
        status = bt_fail(err, BATON_FAILED, "libstable-diffusion made only %zu of %zu images: %s", r->n, whole, cause);
    bt_buf_free(&c->causes);
    return status;
}

baton_status bt_sd_image(struct bt_sd *sd, const struct bt_sd_ask *ask, struct bt_sd_result *r, baton_error *err) {
    sd_img_gen_params_t p;
    sd_lora_t *loras = NULL;
    sd_image_t *native = NULL, *references = NULL;
    struct call c;
    int n = 0;
    *r = (struct bt_sd_result){.n = 0};
    baton_status status = check_names(sd, ask, err);
    if (status)
        return status;
    loras = calloc(ask->n_loras + 1, sizeof *loras);
    references = calloc(ask->n_references + 1, sizeof *references);
    if (loras && references) {
        for (size_t i = 0; i < ask->n_loras; i++)
            loras[i] = (sd_lora_t){.multiplier = ask->loras[i].scale, .path = ask->loras[i].path};
        for (size_t i = 0; i < ask->n_references; i++)
            references[i] = native_image(&ask->references[i]);
        lib.sd_img_gen_params_init(&p);
        set_sample_params(ask, &p.sample_params);
        p.loras = loras;
        p.lora_count = (uint32_t)ask->n_loras;
        p.prompt = ask->prompt;
        p.negative_prompt = ask->negative_prompt ? ask->negative_prompt : "";
        p.clip_skip = ask->clip_skip > 0 ? ask->clip_skip : -1;
        p.width = ask->width;
        p.height = ask->height;
        p.seed = ask->seed;
        p.batch_count = ask->count;
        p.init_image = native_image(&ask->init);
        p.mask_image = native_image(&ask->mask);
        p.control_image = native_image(&ask->control);
        p.ref_images = references;
        p.ref_images_count = (int)ask->n_references;
        p.strength = ask->strength >= 0 ? ask->strength : p.strength;
        p.control_strength = ask->control_strength >= 0 ? ask->control_strength : p.control_strength;
        call_begin(&c, sd, ask, true);
        set_preview(ask);
        bool done = lib.generate_image(sd->ctx, &p, &native, &n);
        status = done ? take_images(native, n, r, err) : BATON_OK;
        baton_status said = verdict(&c, done, r, (size_t)ask->count, status ? NULL : err);
        status = status ? status : said;
    } else {
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    }
    free(loras);
    free(references);
    return status;
}

baton_status bt_sd_video(struct bt_sd *sd, const struct bt_sd_ask *ask, struct bt_sd_result *r, baton_error *err) {
    sd_vid_gen_params_t p;
    sd_image_t *native = NULL;
    sd_audio_t *sound = NULL;
    struct call c;
    int n = 0;
    *r = (struct bt_sd_result){.n = 0};
    baton_status status = check_names(sd, ask, err);
    if (status)
        return status;
    sd_lora_t *loras = calloc(ask->n_loras + 1, sizeof *loras);
    if (!loras)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a request");
    for (size_t i = 0; i < ask->n_loras; i++)
        loras[i] = (sd_lora_t){.multiplier = ask->loras[i].scale, .path = ask->loras[i].path};
    lib.sd_vid_gen_params_init(&p);
    set_sample_params(ask, &p.sample_params);
    p.loras = loras;
    p.lora_count = (uint32_t)ask->n_loras;
    p.prompt = ask->prompt;
    p.negative_prompt = ask->negative_prompt ? ask->negative_prompt : "";
    p.clip_skip = ask->clip_skip > 0 ? ask->clip_skip : -1;
    p.width = ask->width;
    p.height = ask->height;
    p.seed = ask->seed;
    p.video_frames = ask->frames;
    p.fps = ask->fps > 0 ? ask->fps : p.fps;
    p.init_image = native_image(&ask->init);
    p.end_image = native_image(&ask->end);
    p.strength = ask->strength >= 0 ? ask->strength : p.strength;
    call_begin(&c, sd, ask, true);
    set_preview(ask);
    bool done = lib.generate_video(sd->ctx, &p, &native, &n, &sound);
    status = done ? take_images(native, n, r, err) : BATON_OK;
    baton_status heard = take_sound(sound, r, status ? NULL : err);
    status = status ? status : heard;
    r->fps = p.fps;
    /* models round the number of frames, so that one that was stopped cannot be told from a whole one by it */
    baton_status said = verdict(&c, done, r, SIZE_MAX, status ? NULL : err);
    free(loras);
    return status ? status : said;
}

baton_status bt_sd_upscale(struct bt_sd *sd, const struct bt_sd_ask *ask, int factor, struct bt_sd_result *r,
                           baton_error *err) {
    sd_image_t *native = NULL;
    struct call c;
    int n = 0;
    *r = (struct bt_sd_result){.n = 0};
    if (!sd->upscaler)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "this handle was opened without an upscaler: name one in its parameters");
    call_begin(&c, sd, ask, false);
    bool done =
        lib.upscale(sd->upscaler, native_image(&ask->init), (uint32_t)(factor > 0 ? factor : sd->upscale), &native, &n);
    baton_status status = done ? take_images(native, n, r, err) : BATON_OK;
    baton_status said = verdict(&c, done, r, 1, status ? NULL : err);
    return status ? status : said;
}

baton_status bt_sd_load_control_net(struct bt_sd *sd, const char *path, baton_error *err) {
    struct call c;
    if (!sd->ctx)
        return bt_fail(err, BATON_UNSUPPORTED, "this handle only upscales: it was opened without a model");
    call_begin(&c, sd, NULL, false);
    bool done = path ? lib.sd_ctx_load_control_net(sd->ctx, path) : lib.sd_ctx_unload_control_net(sd->ctx);
    const char *cause = call_end(&c);
    baton_status status = done   ? BATON_OK
                          : path ? bt_fail(err, BATON_BAD_MODEL, "the control net %s cannot be loaded: %s", path, cause)
                                 : bt_fail(err, BATON_FAILED, "the control net cannot be unloaded: %s", cause);
    bt_buf_free(&c.causes);
    return status;
}

const char *bt_sd_version(void) {
    return BATON_SD_VERSION;
}
