/* Images and videos by libstable-diffusion, as plain types: one context in a process, because what the library calls
 * back (log, progress, preview) and the buffer of its log are the process's. native/sd.c implements it where the
 * library was found at build time, native/sd_none.c says elsewhere that it was not. sd_files.c is in both.
 *
 * Threads: functions on a bt_sd need its lease, one thread at a time; bt_sd_version any thread. */
#ifndef BT_SD_H
#define BT_SD_H

#include "base/base.h"

struct bt_sd;

/* The files that a model is made of: MODEL is all in one, the others are its parts, or what stands beside it. */
enum bt_sd_part {
    BT_SD_MODEL,
    BT_SD_DIFFUSION_MODEL,
    BT_SD_HIGH_NOISE_DIFFUSION_MODEL,
    BT_SD_VAE,
    BT_SD_TAESD,
    BT_SD_CLIP_L,
    BT_SD_CLIP_G,
    BT_SD_CLIP_VISION,
    BT_SD_T5XXL,
    BT_SD_LLM,
    BT_SD_CONTROL_NET,
    BT_SD_UPSCALER,
    BT_SD_PARTS
};

struct bt_sd_params {
    const char *parts[BT_SD_PARTS]; /* paths, borrowed; NULL: none */
    int threads;                    /* 0: as the library likes */
    bool flash_attention;
};
/* What it is called: the path of the model, else of its diffusion model, else of the upscaler; NULL: there is none. */
const char *bt_sd_path(const struct bt_sd_params *params);

/* Opens its files for somebody else to load, who is given them as /proc/self/fd/N, without looking into them: in the
 * order of the parts that are named, *n of them. _INVALID: there is no model, or a part is no file; _NOT_FOUND. */
baton_status bt_sd_files_open(const struct bt_sd_params *params, int files[BT_SD_PARTS], size_t *n, baton_error *err);

struct bt_sd_image {
    uint32_t width, height, channels;
    unsigned char *data; /* rows, pixels, channels; NULL: no image */
};

enum bt_sd_preview { BT_SD_PREVIEW_OFF, BT_SD_PREVIEW_FAST, BT_SD_PREVIEW_SMALL_VAE, BT_SD_PREVIEW_VAE };

struct bt_sd_lora {
    const char *path;
    float scale;
};

/* What is asked. Everything in it is borrowed for the call. 0 and NULL leave the library its own choice. */
struct bt_sd_ask {
    const char *prompt, *negative_prompt, *sampler, *scheduler;
    int width, height, steps, clip_skip, count;
    float cfg_scale, guidance, strength, control_strength;
    int64_t seed;
    const struct bt_sd_lora *loras;
    size_t n_loras;
    struct bt_sd_image init, mask, control, end;
    const struct bt_sd_image *references;
    size_t n_references;
    int frames, fps; /* of a video */
    enum bt_sd_preview preview;
    int preview_every; /* steps */
    /* Called inside the native call, on its thread, but for `stop`, on any. Each may be NULL. */
    void (*on_progress)(void *arg, int step, int steps);
    void (*on_preview)(void *arg, int step, const struct bt_sd_image *images, size_t n, bool noisy);
    bool (*stop)(void *arg); /* true: the call ends at its next step */
    void *arg;
};

/* What came of it: malloc'd, nothing of the library's. */
struct bt_sd_result {
    struct bt_sd_image *images;
    size_t n;
    int fps;            /* of a video */
    float *samples;     /* of its sound, interleaved; NULL: it has none */
    uint64_t n_samples; /* of each channel */
    uint32_t rate, channels;
};
void bt_sd_result_free(struct bt_sd_result *r);

struct bt_sd_info {
    bool images, videos, control_net;
    int upscale; /* how many times larger its upscaler makes an image; 0: there is none */
};

baton_status bt_sd_fail_nameless(baton_error *err); /* _INVALID: bt_sd_path is NULL */

/* Loads the library, which opening does else: for who cannot open files later. _NOT_FOUND, _UNSUPPORTED. */
baton_status bt_sd_load(baton_error *err);
/* BATON_BUSY: there is one in this process already, whose name is in the text. */
baton_status bt_sd_open(const struct bt_sd_params *params, struct bt_sd **sd, baton_error *err);
void bt_sd_close(struct bt_sd *sd);
void bt_sd_get_info(const struct bt_sd *sd, struct bt_sd_info *info);
/* _CANCELLED: `stop` said so, and result has what was complete. _FAILED: the library gave up, for the reason that its
 * log has. _INVALID names what of the ask makes no sense. */
baton_status bt_sd_image(struct bt_sd *sd, const struct bt_sd_ask *ask, struct bt_sd_result *result, baton_error *err);
baton_status bt_sd_video(struct bt_sd *sd, const struct bt_sd_ask *ask, struct bt_sd_result *result, baton_error *err);
/* Of the ask, its callbacks and `init` alone, which is the image. */
baton_status bt_sd_upscale(struct bt_sd *sd, const struct bt_sd_ask *ask, int factor, struct bt_sd_result *result,
                           baton_error *err);
baton_status bt_sd_load_control_net(struct bt_sd *sd, const char *path, baton_error *err); /* NULL: unloads */
/* Of the library that this build is for; NULL: none. */
const char *bt_sd_version(void);

#endif
