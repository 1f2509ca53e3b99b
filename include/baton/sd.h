/* baton for libstable-diffusion: images and videos from text, one at a time.
 *
 * A baton_sd is a model, an upscaler, or both. libstable-diffusion calls back (log, progress, preview) through
 * process-wide variables, and writes its log into a process-wide buffer: so a process has one context of it, and
 * opening another is BATON_BUSY. A context runs one request at a time; those that find it in use are refused or wait,
 * as the policy says.
 *
 * What runs where:
 *   owner = caller   native code and callbacks run on the calling thread, under a lease. contexts: 1. A C++ exception
 *                    or a failed assertion in the library ends the process.
 *   owner = thread   a thread of baton's runs the native code. Callbacks run on the calling thread, beside it.
 * contexts:
 *                    1. Control nets are not changed.
 *   owner = process  policy.contexts processes (1 to 64), each with a context of its own, in a sandbox; each loads the
 *                    model, as files, for itself: a crash, an exception, a failed assertion or a hang in the library
 *                    ends it alone, and it is started again. Control nets are not changed, and LoRAs not possible: a
 *                    process can open no file but those that it was opened with.
 *
 * With owners of their own, callbacks are told what has come: an on_progress that says no ends the request a step
 * later, and steps and previews are left out when the callbacks do not keep up, or when a preview has more than 16 MiB.
 * A callback that asks the same model again is refused, or waits, as anybody is.
 *
 * The binding was made after the header of stable-diffusion.cpp of August 2026 and is tested against a stand-in for the
 * library, not against the library: `baton --version` says "untested". A build that did not find the library has these
 * functions, and baton_sd_open says so.
 *
 * SPDX-License-Identifier: MIT */
#ifndef BATON_SD_H
#define BATON_SD_H

#include "baton/baton.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_sd baton_sd;

/* How it is opened. Paths, NULL for none; which ones a model needs is the library's business. */
typedef struct baton_sd_params {
    size_t size;
    const char *model;           /* all in one file; or its parts: */
    const char *diffusion_model; /* without its text encoders and VAE */
    const char *high_noise_diffusion_model;
    const char *vae, *taesd;                                 /* taesd: a small VAE, for previews */
    const char *clip_l, *clip_g, *clip_vision, *t5xxl, *llm; /* encoders */
    const char *control_net;
    const char *upscaler; /* an ESRGAN model; may stand alone */
    int threads;          /* of native calls; 0: as the library likes */
    bool flash_attention;
    const baton_policy *policy; /* NULL: BATON_POLICY. sequences: 1; contexts: 1, but with BATON_OWNER_PROCESS */
    /* Of owner processes. gpu: a library that uses a GPU may reach its devices and drivers. retry: when one ends in the
     * middle of a request, that is begun again in the next one; who ends it alone is BATON_CRASHED. false:
     * BATON_CRASHED at once. hang_ms: so long without a word of the library, in a step or while it decodes, and the
     * process is ended, and its request BATON_HUNG; 0: ten minutes; < 0: never */
    bool gpu;
    bool retry;
    int64_t hang_ms;
} baton_sd_params;
#define BATON_SD_PARAMS                                                                                                \
    {                                                                                                                  \
        sizeof(baton_sd_params), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, false,     \
            NULL, false, false, 0                                                                                      \
    }

/* Opens a model.
 *   sd      out; ended by baton_sd_close
 *   params  at least one of model, diffusion_model and upscaler
 * Returns: BATON_OK. _BUSY: there is one in this process already. _BAD_MODEL (with the reason that the library's log
 * has), _NOT_FOUND (the library itself; with BATON_OWNER_PROCESS a file), _UNSUPPORTED (a build without it, another
 * version of it, a kernel without Landlock), _INVALID, _CRASHED, _IO, _MISUSE, _NO_MEMORY: *sd is NULL. Threads: any.
 * Blocks: while the model loads. Since: 0.1.0. */
BATON_API baton_status baton_sd_open(baton_sd **sd, const baton_sd_params *params, baton_error *err) BATON_MUST_USE;

/* Closes: refuses new requests, gives those that wait BATON_CLOSED, cancels the one that runs, and frees everything
 * after the native call has returned. From inside a callback: when that request is over.
 *   sd  taken; *sd is NULL after. NULL inside is harmless
 * Threads: any; no other call may begin on it afterwards. Blocks: for the native call under way. Since: 0.1.0. */
BATON_API void baton_sd_close(baton_sd **sd);

typedef struct baton_sd_info {
    size_t size;
    bool images, videos; /* what the model makes */
    bool control_net;    /* one is loaded */
    int upscale;         /* times as large, each way, as its upscaler makes an image; 0: there is none */
} baton_sd_info;

/* Fills *info, whose size the caller has set. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_sd_get_info(const baton_sd *sd, baton_sd_info *info);

/* The version of libstable-diffusion that this baton was built for.
 * Returns: a static string; NULL: it was built without. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API const char *baton_sd_version(void);

/* Pixels, 8 bits a channel, in rows. */
typedef struct baton_sd_image {
    uint32_t width, height, channels; /* channels: 3, or 1 of a mask */
    unsigned char *data;              /* width x height x channels; NULL: no image */
} baton_sd_image;

typedef struct baton_sd_lora {
    const char *path;
    float scale;
} baton_sd_lora;

/* How an unfinished image is made for on_preview. */
typedef enum baton_sd_preview {
    BATON_SD_PREVIEW_OFF,
    BATON_SD_PREVIEW_FAST,      /* a projection: coarse */
    BATON_SD_PREVIEW_SMALL_VAE, /* by the taesd model */
    BATON_SD_PREVIEW_VAE        /* by the model's own: slow */
} baton_sd_preview;

/* What is asked. The prompt first, the rest has presets; where a number says so, the library has its own. All of it is
 * borrowed for the call. */
typedef struct baton_sd_ask {
    size_t size;
    const baton_request *request; /* NULL: BATON_REQUEST */
    const char *prompt;
    const char *negative_prompt; /* may be NULL */
    int width, height;           /* 8 to 8192 */
    int steps;                   /* 0: the library's; at most 1000 */
    const char *sampler;         /* "euler_a"; NULL: the library's for this model */
    const char *scheduler;       /* "karras"; NULL: the library's for this model */
    float cfg_scale;             /* < 0: the library's */
    float guidance;              /* of distilled models; < 0: the library's */
    int64_t seed;                /* < 0: a random one */
    int count;                   /* images, 1 to 64, with the seeds seed, seed + 1, ... */
    int clip_skip;               /* <= 0: the model's */
    const baton_sd_lora *loras;
    size_t n_loras;                   /* at most 64 */
    baton_sd_image init, mask;        /* begin with init, and change it where mask (1 channel) is not 0 */
    float strength;                   /* of the change of init, 0 to 1; < 0: the library's */
    baton_sd_image control;           /* for the control net */
    float control_strength;           /* < 0: the library's */
    const baton_sd_image *references; /* of models that edit */
    size_t n_references;              /* at most 16 */
    baton_sd_image end;               /* video: its last frame */
    int frames, fps;                  /* video: 1 to 1024; fps 0: the library's */
    baton_sd_preview preview;
    int preview_every; /* steps */
    /* Called on the calling thread, with owner = caller inside the native call; they may use other models, and get
     * BATON_REENTRANT from this one there. Each may be NULL. on_progress: the library counts each of its tasks (load,
     * sampling, tiles) from 0 to its own `steps`; false ends the request: BATON_CANCELLED. on_preview: the images live
     * until it returns */
    bool (*on_progress)(void *arg, int step, int steps);
    void (*on_preview)(void *arg, int step, const baton_sd_image *images, size_t n, bool noisy);
    void *arg;
} baton_sd_ask;
#define BATON_SD_ASK                                                                                                   \
    {                                                                                                                  \
        sizeof(baton_sd_ask), NULL, NULL, NULL, 512, 512, 0, NULL, NULL, -1, -1, -1, 1, 0, NULL, 0, {0, 0, 0, NULL},   \
            {0, 0, 0, NULL}, -1, {0, 0, 0, NULL}, -1, NULL, 0, {0, 0, 0, NULL}, 16, 0, BATON_SD_PREVIEW_OFF, 1, NULL,  \
            NULL, NULL                                                                                                 \
    }

/* What came of a request. It belongs to who asked: nothing in it is the library's. */
typedef struct baton_sd_result {
    baton_sd_image *images; /* with another status than BATON_OK what was complete */
    size_t n;
    int fps;        /* of a video */
    float *samples; /* of its sound, interleaved; NULL: it has none */
    uint64_t n_samples;
    uint32_t rate, channels;
    baton_status status;
    int64_t queue_ns, run_ns; /* waited; ran */
} baton_sd_result;

/* Makes images.
 *   result  out; freed with baton_sd_result_free, whatever was returned
 * Returns: BATON_OK: all of them. Refused, nothing was run: _INVALID (names the value), _UNSUPPORTED (the model makes
 * none), _TOO_LONG (its images take 2 GiB and more, with an owner of its own), _BUSY (names the holder and the cure),
 * _REENTRANT, _WOULD_DEADLOCK, _QUEUE_FULL, _QUEUE_TIMEOUT, _CANCELLED, _CLOSED, _MISUSE. Cut, with the images that are
 * complete: _RUN_TIMEOUT, _CANCELLED, _CLOSED, _FAILED (with the library's reason); with an owner of its own also
 * _CRASHED, _HUNG, and _PROTOCOL: what it said makes no sense. _NO_MEMORY. A cut is noticed after the step under way.
 * Threads: any. Blocks: under BATON_WAIT until it is free; while it draws. Since: 0.1.0. */
BATON_API baton_status baton_sd_generate_image(baton_sd *sd, const baton_sd_ask *ask, baton_sd_result *result,
                                               baton_error *err) BATON_MUST_USE;

/* Makes a video: its frames are the result's images. Looked at: what is not an image's alone (count, mask, control,
 * references). Returns: as baton_sd_generate_image. Threads: any. Blocks: as generate_image. Since: 0.1.0. */
BATON_API baton_status baton_sd_generate_video(baton_sd *sd, const baton_sd_ask *ask, baton_sd_result *result,
                                               baton_error *err) BATON_MUST_USE;

/* Makes an image larger.
 *   request  NULL: BATON_REQUEST
 *   image    of 3 channels
 *   factor   0: the upscaler's own
 * The library cannot be stopped here: a cancel or a run timeout comes too late. Returns: as baton_sd_generate_image;
 * _INVALID also for an image that would be larger than the 2 GiB which an owner of its own gives. Threads: any. Blocks:
 * as generate_image. Since: 0.1.0. */
BATON_API baton_status baton_sd_upscale(baton_sd *sd, const baton_request *request, const baton_sd_image *image,
                                        int factor, baton_sd_result *result, baton_error *err) BATON_MUST_USE;

/* Frees what a result points to, and clears it. Twice is harmless. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API void baton_sd_result_free(baton_sd_result *result);

/* Loads a control net in place of the one that there is.
 *   request  NULL: BATON_REQUEST
 *   path     NULL: unloads
 * Returns: BATON_OK; _BAD_MODEL, _FAILED; _UNSUPPORTED but with BATON_OWNER_CALLER; refusals as
 * baton_sd_generate_image. Threads: any. Blocks: under BATON_WAIT
 * until it is free; while it loads. Since: 0.1.0. */
BATON_API baton_status baton_sd_load_control_net(baton_sd *sd, const baton_request *request, const char *path,
                                                 baton_error *err) BATON_MUST_USE;

/* Unloads it. Returns: as load_control_net. Threads: any. Blocks: as load_control_net. Since: 0.1.0. */
BATON_API baton_status baton_sd_unload_control_net(baton_sd *sd, const baton_request *request,
                                                   baton_error *err) BATON_MUST_USE;

/* Ends the request of that id, queued or running, with BATON_CANCELLED, after the step under way; touches no other.
 * Returns: true if there was one. What is complete at that moment stays complete. Threads: any, callbacks too. Blocks:
 * never. Since: 0.1.0. */
BATON_API bool baton_sd_cancel(baton_sd *sd, uint64_t id);

/* Who holds it, and who waits, as baton_pool_snapshot. Threads: any. Blocks: never; it looks up the holder's name in
 * /proc. Since: 0.1.0. */
BATON_API baton_status baton_sd_snapshot(const baton_sd *sd, baton_snapshot *snapshot, baton_error *err) BATON_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
