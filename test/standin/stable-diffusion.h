/* What the binding uses of libstable-diffusion, declared for a stand-in (stable-diffusion.c beside this): the same
 * names and meanings, but only the members that are looked at, in an order of their own. A program that was compiled
 * against this header does not run with the library. */
#ifndef BT_STANDIN_STABLE_DIFFUSION_H
#define BT_STANDIN_STABLE_DIFFUSION_H

#include <stdbool.h>
#include <stdint.h>

#define SD_API __attribute__((visibility("default")))

enum sample_method_t { EULER_SAMPLE_METHOD, SAMPLE_METHOD_COUNT };
enum scheduler_t { KARRAS_SCHEDULER, SCHEDULER_COUNT };
enum sd_log_level_t { SD_LOG_DEBUG, SD_LOG_INFO, SD_LOG_WARN, SD_LOG_ERROR };
enum preview_t { PREVIEW_NONE, PREVIEW_PROJ, PREVIEW_TAE, PREVIEW_VAE };
enum sd_cancel_mode_t { SD_CANCEL_ALL, SD_CANCEL_NEW_LATENTS, SD_CANCEL_RESET };

typedef struct sd_ctx_t sd_ctx_t;
typedef struct upscaler_ctx_t upscaler_ctx_t;
typedef struct {
    uint32_t width, height, channel;
    uint8_t *data;
} sd_image_t;
typedef struct {
    uint32_t sample_rate, channels;
    uint64_t sample_count;
    float *data;
} sd_audio_t;
typedef struct {
    float multiplier;
    const char *path;
} sd_lora_t;
typedef struct {
    const char *model_path, *diffusion_model_path, *high_noise_diffusion_model_path, *vae_path, *taesd_path;
    const char *clip_l_path, *clip_g_path, *clip_vision_path, *t5xxl_path, *llm_path, *control_net_path;
    int n_threads;
    bool diffusion_flash_attn;
} sd_ctx_params_t;
typedef struct {
    struct {
        float txt_cfg, distilled_guidance;
    } guidance;
    enum sample_method_t sample_method;
    enum scheduler_t scheduler;
    int sample_steps;
} sd_sample_params_t;
typedef struct {
    sd_sample_params_t sample_params;
    const char *prompt, *negative_prompt;
    int width, height, clip_skip, batch_count, ref_images_count;
    int64_t seed;
    sd_image_t init_image, mask_image, control_image, *ref_images;
    float strength, control_strength;
    const sd_lora_t *loras;
    uint32_t lora_count;
} sd_img_gen_params_t;
typedef struct {
    sd_sample_params_t sample_params;
    const char *prompt, *negative_prompt;
    int width, height, clip_skip, video_frames, fps;
    int64_t seed;
    sd_image_t init_image, end_image;
    float strength;
    const sd_lora_t *loras;
    uint32_t lora_count;
} sd_vid_gen_params_t;

typedef void (*sd_log_cb_t)(enum sd_log_level_t level, const char *text, void *data);
typedef void (*sd_progress_cb_t)(int step, int steps, float time, void *data);
typedef void (*sd_preview_cb_t)(int step, int n, sd_image_t *frames, bool noisy, void *data);

SD_API void sd_set_log_callback(sd_log_cb_t cb, void *data);
SD_API void sd_set_progress_callback(sd_progress_cb_t cb, void *data);
SD_API void sd_set_preview_callback(sd_preview_cb_t cb, enum preview_t mode, int interval, bool denoised, bool noisy,
                                    void *data);
SD_API bool sd_ctx_supports_image_generation(const sd_ctx_t *ctx);
SD_API bool sd_ctx_supports_video_generation(const sd_ctx_t *ctx);
SD_API bool sd_ctx_load_control_net(sd_ctx_t *ctx, const char *path);
SD_API bool sd_ctx_unload_control_net(sd_ctx_t *ctx);
SD_API bool sd_ctx_has_control_net(const sd_ctx_t *ctx);
SD_API enum sample_method_t str_to_sample_method(const char *name);
SD_API enum scheduler_t str_to_scheduler(const char *name);
SD_API void sd_ctx_params_init(sd_ctx_params_t *params);
SD_API sd_ctx_t *new_sd_ctx(const sd_ctx_params_t *params);
SD_API void free_sd_ctx(sd_ctx_t *ctx);
SD_API void free_sd_audio(sd_audio_t *audio);
SD_API void sd_img_gen_params_init(sd_img_gen_params_t *params);
SD_API bool generate_image(sd_ctx_t *ctx, const sd_img_gen_params_t *params, sd_image_t **images, int *n);
SD_API void sd_cancel_generation(sd_ctx_t *ctx, enum sd_cancel_mode_t mode);
SD_API void sd_vid_gen_params_init(sd_vid_gen_params_t *params);
SD_API bool generate_video(sd_ctx_t *ctx, const sd_vid_gen_params_t *params, sd_image_t **frames, int *n,
                           sd_audio_t **audio);
SD_API upscaler_ctx_t *new_upscaler_ctx(const char *path, bool direct, int threads, int tile, const char *backend,
                                        const char *params_backend);
SD_API void free_upscaler_ctx(upscaler_ctx_t *ctx);
SD_API bool upscale(upscaler_ctx_t *ctx, sd_image_t image, uint32_t factor, sd_image_t **images, int *n);
SD_API int get_upscale_factor(upscaler_ctx_t *ctx);
SD_API void free_sd_images(sd_image_t *images, int n);

/* The stand-in's own: calls that found another one inside, and what is alive. */
SD_API int standin_overlaps(void);
SD_API int standin_alive(void);

#endif
