/* A stand-in for libstable-diffusion: draws nothing, yet an image is a function of its request alone; it calls back
 * through process-wide variables as the library does, forgets a cancel that came before a generation began, and counts
 * the calls that overlap.
 *
 * A model's path, or what its file says if there is one, has words in it: "video" makes videos, "nowhere" cannot be
 * loaded, "abort" ends the process meanwhile, "slow" takes its time at each step. A prompt that begins with "fail"
 * fails with an error line, and so does a random seed; of "lost" the second image is missing; one with "open " if the
 * file behind that can be opened. With "abort", "segfault", "exit" or "hang" the second step does so. */
#include "stable-diffusion.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sd_ctx_t {
    _Atomic int cancel;
    bool control_net, videos, slow;
};
struct upscaler_ctx_t {
    int factor;
};

static sd_log_cb_t log_cb;
static sd_progress_cb_t progress_cb;
static sd_preview_cb_t preview_cb;
static void *log_data, *progress_data, *preview_data;
static int preview_every = 1;
static _Atomic int inside, overlaps, alive;

int standin_overlaps(void) {
    return overlaps;
}

int standin_alive(void) {
    return alive;
}

/* Relaxed, so that it orders nothing: ThreadSanitizer must see only the order that callers make. */
static void enter(void) {
    if (atomic_fetch_add_explicit(&inside, 1, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&overlaps, 1, memory_order_relaxed);
}

static void leave(void) {
    atomic_fetch_sub_explicit(&inside, 1, memory_order_relaxed);
}

void sd_set_log_callback(sd_log_cb_t cb, void *data) {
    log_cb = cb;
    log_data = data;
}

void sd_set_progress_callback(sd_progress_cb_t cb, void *data) {
    progress_cb = cb;
    progress_data = data;
}

void sd_set_preview_callback(sd_preview_cb_t cb, enum preview_t mode, int interval, bool denoised, bool noisy,
                             void *data) {
    (void)denoised, (void)noisy;
    preview_cb = mode == PREVIEW_NONE ? NULL : cb;
    preview_every = interval;
    preview_data = data;
}

static void say(enum sd_log_level_t level, const char *text) {
    if (log_cb)
        log_cb(level, text, log_data);
}

bool sd_ctx_supports_image_generation(const sd_ctx_t *ctx) {
    return !ctx->videos;
}

bool sd_ctx_supports_video_generation(const sd_ctx_t *ctx) {
    return ctx->videos;
}

bool sd_ctx_load_control_net(sd_ctx_t *ctx, const char *path) {
    enter();
    bool found = strstr(path, "nowhere") == NULL;
    if (!found)
        say(SD_LOG_ERROR, "control.cpp:1 - no such control net\n");
    ctx->control_net = found || ctx->control_net;
    leave();
    return found;
}

bool sd_ctx_unload_control_net(sd_ctx_t *ctx) {
    enter();
    ctx->control_net = false;
    leave();
    return true;
}

bool sd_ctx_has_control_net(const sd_ctx_t *ctx) {
    return ctx->control_net;
}

enum sample_method_t str_to_sample_method(const char *name) {
    return strcmp(name, "euler") == 0 ? EULER_SAMPLE_METHOD : SAMPLE_METHOD_COUNT;
}

enum scheduler_t str_to_scheduler(const char *name) {
    return strcmp(name, "karras") == 0 ? KARRAS_SCHEDULER : SCHEDULER_COUNT;
}

void sd_ctx_params_init(sd_ctx_params_t *params) {
    *params = (sd_ctx_params_t){.n_threads = 1};
}

static void read_words(const char *path, char *words, size_t size) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(words, 1, size - 1, f) : 0;
    words[n] = '\0';
    if (f)
        fclose(f);
    else
        snprintf(words, size, "%s", path);
}

sd_ctx_t *new_sd_ctx(const sd_ctx_params_t *params) {
    const char *path = params->model_path ? params->model_path : params->diffusion_model_path;
    char words[256], line[512];
    read_words(path, words, sizeof words);
    if (strstr(words, "nowhere")) {
        snprintf(line, sizeof line, "model.cpp:7 - there is no such file: %s\n", path);
        say(SD_LOG_ERROR, line);
        return NULL;
    }
    if (strstr(words, "abort"))
        abort();
    sd_ctx_t *ctx = calloc(1, sizeof *ctx);
    if (ctx) {
        ctx->videos = strstr(words, "video") != NULL;
        ctx->slow = strstr(words, "slow") != NULL;
        ctx->control_net = params->control_net_path != NULL;
        atomic_fetch_add(&alive, 1);
    }
    return ctx;
}

void free_sd_ctx(sd_ctx_t *ctx) {
    enter();
    leave();
    free(ctx);
    atomic_fetch_sub(&alive, 1);
}

void free_sd_audio(sd_audio_t *audio) {
    free(audio->data);
    free(audio);
}

void free_sd_images(sd_image_t *images, int n) {
    for (int i = 0; i < n; i++)
        free(images[i].data);
    free(images);
}

static void sample_params_init(sd_sample_params_t *p) {
    *p = (sd_sample_params_t){{7, 3.5f}, SAMPLE_METHOD_COUNT, SCHEDULER_COUNT, 20};
}

void sd_img_gen_params_init(sd_img_gen_params_t *params) {
    *params = (sd_img_gen_params_t){.batch_count = 1, .strength = 0.75f, .control_strength = 0.9f};
    sample_params_init(&params->sample_params);
}

void sd_vid_gen_params_init(sd_vid_gen_params_t *params) {
    *params = (sd_vid_gen_params_t){.fps = 16, .strength = 0.75f};
    sample_params_init(&params->sample_params);
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

/* Noise; `dark`: mostly zeros, which a PNG makes small. Nobody is to fill his memory with gigabytes of it. */
static sd_image_t image(uint32_t width, uint32_t height, uint64_t hash, bool dark) {
    size_t size = (size_t)width * height * 3;
    sd_image_t i = {width, height, 3, size < (size_t)1 << 30 ? malloc(size) : NULL};
    for (size_t k = 0; i.data && k < size; k++) {
        hash = hash * 6364136223846793005u + 1442695040888963407u;
        i.data[k] = (uint8_t)(dark ? hash >> 60 == 0 : hash >> 56);
    }
    return i;
}

static void die(const char *prompt) {
    volatile int *nowhere = NULL;
    if (strncmp(prompt, "abort", 5) == 0) {
        fprintf(stderr, "stand-in: this cannot be\n");
        abort();
    }
    if (strncmp(prompt, "segfault", 8) == 0) {
        sigaction(SIGSEGV, &(struct sigaction){.sa_handler = SIG_DFL}, NULL); /* a sanitizer would tell of it */
        *nowhere = 1;
    }
    if (strncmp(prompt, "exit", 4) == 0)
        _exit(0); /* likewise */
    while (strncmp(prompt, "hang", 4) == 0)
        nanosleep(&(struct timespec){1, 0}, NULL);
}

/* The steps of one image. False: cancelled. */
static bool sample(sd_ctx_t *ctx, const char *prompt, int steps, uint64_t hash) {
    for (int step = 1; step <= steps; step++) {
        if (step == 2)
            die(prompt);
        if (ctx->slow)
            nanosleep(&(struct timespec){0, 20000000}, NULL);
        if (ctx->cancel == SD_CANCEL_ALL)
            return false;
        if (preview_cb && step % preview_every == 0) {
            sd_image_t sketch = image(2, 2, hash + (uint64_t)step, false);
            preview_cb(step, 1, &sketch, false, preview_data);
            free(sketch.data);
        }
        if (progress_cb)
            progress_cb(step, steps, 0.1f, progress_data);
    }
    return true;
}

static bool refuses(const char *prompt, int64_t seed) {
    FILE *f = strncmp(prompt, "open ", 5) == 0 ? fopen(prompt + 5, "r") : NULL;
    bool opened = f != NULL;
    if (f)
        fclose(f);
    if (!opened && seed >= 0 && strncmp(prompt, "fail", 4) != 0)
        return false;
    say(SD_LOG_ERROR, "vae.cpp:12 - cannot allocate the buffer\n");
    return true;
}

bool generate_image(sd_ctx_t *ctx, const sd_img_gen_params_t *p, sd_image_t **images, int *n) {
    enter();
    ctx->cancel = SD_CANCEL_RESET;
    say(SD_LOG_INFO, "generate_image\n");
    uint64_t hash = mix(mix(14695981039346656037u, p->prompt, strlen(p->prompt)), &p->seed, sizeof p->seed);
    hash = mix(hash, p->negative_prompt, strlen(p->negative_prompt));
    if (p->init_image.data)
        hash = mix(hash, p->init_image.data, (size_t)p->init_image.width * p->init_image.height * 3);
    for (uint32_t i = 0; i < p->lora_count; i++)
        hash = mix(mix(hash, p->loras[i].path, strlen(p->loras[i].path)), &p->loras[i].multiplier, sizeof(float));
    for (int i = 0; i < p->ref_images_count; i++)
        hash = mix(hash, p->ref_images[i].data, (size_t)p->ref_images[i].width * p->ref_images[i].height * 3);
    if (ctx->control_net && p->control_image.data)
        hash = mix(hash, p->control_image.data, (size_t)p->control_image.width * p->control_image.height * 3);
    bool well = !refuses(p->prompt, p->seed), lost = strncmp(p->prompt, "lost", 4) == 0,
         dark = strncmp(p->prompt, "dark", 4) == 0;
    *n = 0;
    *images = calloc((size_t)p->batch_count, sizeof **images);
    for (int i = 0; i < p->batch_count && well && *images; i++) {
        if (!sample(ctx, p->prompt, p->sample_params.sample_steps, hash + (uint64_t)i))
            break;
        (*images)[(*n)++] = image((uint32_t)p->width, (uint32_t)p->height, hash + (uint64_t)i, dark);
        if (lost && i == 1) { /* the second is not there */
            say(SD_LOG_ERROR, "vae.cpp:34 - cannot decode\n");
            free((*images)[i].data);
            (*images)[i].data = NULL;
        }
    }
    if (*n == 0) {
        free(*images);
        *images = NULL;
    }
    leave();
    return *n > 0;
}

void sd_cancel_generation(sd_ctx_t *ctx, enum sd_cancel_mode_t mode) {
    ctx->cancel = mode;
}

bool generate_video(sd_ctx_t *ctx, const sd_vid_gen_params_t *p, sd_image_t **frames, int *n, sd_audio_t **audio) {
    enter();
    ctx->cancel = SD_CANCEL_RESET;
    uint64_t hash = mix(mix(1, p->prompt, strlen(p->prompt)), &p->seed, sizeof p->seed);
    bool well = !refuses(p->prompt, p->seed) && sample(ctx, p->prompt, p->sample_params.sample_steps, hash);
    *n = 0;
    *frames = NULL;
    *audio = NULL;
    if (well) {
        *frames = calloc((size_t)p->video_frames, sizeof **frames);
        for (; *n < p->video_frames; ++*n)
            (*frames)[*n] = image((uint32_t)p->width, (uint32_t)p->height, hash + (uint64_t)*n, false);
        *audio = malloc(sizeof **audio);
        **audio = (sd_audio_t){8000, 2, 100, calloc(200, sizeof(float))};
    }
    leave();
    return well;
}

upscaler_ctx_t *new_upscaler_ctx(const char *path, bool direct, int threads, int tile, const char *backend,
                                 const char *params_backend) {
    (void)direct, (void)threads, (void)tile, (void)backend, (void)params_backend;
    if (strstr(path, "nowhere"))
        return NULL;
    upscaler_ctx_t *ctx = malloc(sizeof *ctx);
    if (ctx) {
        ctx->factor = 4;
        atomic_fetch_add(&alive, 1);
    }
    return ctx;
}

void free_upscaler_ctx(upscaler_ctx_t *ctx) {
    free(ctx);
    atomic_fetch_sub(&alive, 1);
}

bool upscale(upscaler_ctx_t *ctx, sd_image_t from, uint32_t factor, sd_image_t **images, int *n) {
    (void)ctx;
    enter();
    *images = malloc(sizeof **images);
    **images = image(from.width * factor, from.height * factor, mix(2, from.data, (size_t)from.width * from.height * 3),
                     false);
    *n = 1;
    if (progress_cb)
        progress_cb(1, 1, 0.1f, progress_data);
    leave();
    return true;
}

int get_upscale_factor(upscaler_ctx_t *ctx) {
    return ctx->factor;
}
