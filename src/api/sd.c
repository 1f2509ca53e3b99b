/* The binding for libstable-diffusion: one context under a pool of one, and the public functions of either kind of
 * owner. State: that of baton_sd (sd_int.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/io.h"
#include "api/sd_int.h"
#include "lease/pool.h"

void bt_drawer_unref(baton_sd *sd) {
    if (atomic_fetch_sub(&sd->refs, 1) > 1)
        return;
    if (sd->pool)
        bt_pool_unref(sd->pool);
    if (sd->io)
        bt_io_unref(sd->io);
    free(sd);
}

static void destroy(void *context) {
    baton_sd *sd = context;
    bt_sd_close(sd->native);
    bt_drawer_unref(sd);
}

static baton_status open_pool(baton_sd *sd, baton_error *err) {
    void *context = sd;
    const struct bt_pool_params p = {.name = "context of libstable-diffusion",
                                     .contexts = &context,
                                     .n_contexts = 1,
                                     .queue_max = sd->policy.queue,
                                     .destroy = destroy,
                                     .when_full = (enum bt_when_full)sd->policy.when_full,
                                     .queue_ms = sd->policy.queue_ms};
    baton_status status = bt_pool_open(&p, &sd->pool, err);
    if (status)
        return status;
    bt_pool_ref(sd->pool);
    atomic_fetch_add(&sd->refs, 1);
    return BATON_OK;
}

static baton_status check_policy(const baton_policy *p, baton_error *err) {
    baton_policy as_thread = *p; /* what goes for those goes for processes */
    if (p->owner == BATON_OWNER_PROCESS)
        as_thread.owner = BATON_OWNER_THREAD;
    baton_status status = bt_check_policy(&as_thread, false, err);
    if (status)
        return status;
    if (p->sequences != 1)
        return bt_fail(err, BATON_INVALID, "sequences is %d: a context draws for one request at a time. Set it to 1",
                       p->sequences);
    if (p->contexts != 1 && p->owner != BATON_OWNER_PROCESS)
        return bt_fail(err, BATON_INVALID,
                       "%d contexts: libstable-diffusion's callbacks are the process's, so there is one context in a "
                       "process. Use BATON_OWNER_PROCESS, where each has a process of its own",
                       p->contexts);
    return BATON_OK;
}

static struct bt_sd_params native_params(const baton_sd_params *p) {
    return (struct bt_sd_params){.parts = {[BT_SD_MODEL] = p->model,
                                           [BT_SD_DIFFUSION_MODEL] = p->diffusion_model,
                                           [BT_SD_HIGH_NOISE_DIFFUSION_MODEL] = p->high_noise_diffusion_model,
                                           [BT_SD_VAE] = p->vae,
                                           [BT_SD_TAESD] = p->taesd,
                                           [BT_SD_CLIP_L] = p->clip_l,
                                           [BT_SD_CLIP_G] = p->clip_g,
                                           [BT_SD_CLIP_VISION] = p->clip_vision,
                                           [BT_SD_T5XXL] = p->t5xxl,
                                           [BT_SD_LLM] = p->llm,
                                           [BT_SD_CONTROL_NET] = p->control_net,
                                           [BT_SD_UPSCALER] = p->upscaler},
                                 .threads = p->threads,
                                 .flash_attention = p->flash_attention};
}

static baton_status open_here(baton_sd *sd, const struct bt_sd_params *params, baton_error *err) {
    struct bt_sd_info info;
    baton_status status = bt_sd_open(params, &sd->native, err);
    if (status)
        return status;
    bt_sd_get_info(sd->native, &info);
    sd->images = info.images;
    sd->videos = info.videos;
    sd->upscale = info.upscale;
    atomic_store(&sd->control_net, info.control_net);
    status = open_pool(sd, err);
    if (status)
        bt_sd_close(sd->native);
    return status;
}

baton_status baton_sd_open(baton_sd **out, const baton_sd_params *params, baton_error *err) {
    baton_sd_params p = BATON_SD_PARAMS;
    baton_policy policy = BATON_POLICY;
    if (!out)
        return bt_misuse(err, BATON_MISUSE, "baton_sd_open needs a place for the model");
    *out = NULL;
    if (!params || !BT_TAKE(p, params) || !BT_TAKE(policy, p.policy))
        return bt_misuse(err, BATON_MISUSE,
                         "parameters without their size: make them with BATON_SD_PARAMS and BATON_POLICY");
    baton_status status = check_policy(&policy, err);
    if (status)
        return status;
    baton_sd *sd = calloc(1, sizeof *sd);
    if (!sd)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    atomic_store(&sd->refs, 1);
    sd->policy = policy;
    const struct bt_sd_params native = native_params(&p);
    status = policy.owner == BATON_OWNER_CALLER ? open_here(sd, &native, err) : bt_drawer_open(sd, &p, &native, err);
    if (status)
        baton_sd_close(&sd);
    else
        *out = sd;
    return status;
}

void baton_sd_close(baton_sd **sd) {
    if (!sd || !*sd)
        return;
    baton_sd *mine = *sd;
    struct bt_pool *pool = mine->pool;
    *sd = NULL;
    bt_pool_close(&pool, BT_CLOSE_CANCEL, NULL);
    if (mine->io)
        bt_io_close(mine->io);
    bt_drawer_unref(mine);
}

void baton_sd_get_info(const baton_sd *sd, baton_sd_info *info) {
    size_t size = info->size;
    baton_sd_info mine = {size, sd->images, sd->videos, atomic_load(&sd->control_net), sd->upscale};
    memcpy(info, &mine, BT_MIN(size, sizeof mine));
}

const char *baton_sd_version(void) {
    return bt_sd_version();
}

_Static_assert(sizeof(baton_sd_image) == sizeof(struct bt_sd_image), "the same four fields");
_Static_assert(sizeof(baton_sd_lora) == sizeof(struct bt_sd_lora), "the same two fields");

static bool should_stop(void *arg) {
    const struct bt_drawing *d = arg;
    return d->told || bt_lease_cancelled(&d->lease) ||
           (d->deadline_ns != BT_NEVER_NS && bt_now_coarse_ns() >= d->deadline_ns);
}

void bt_drawing_progress(void *drawing, int step, int steps) {
    struct bt_drawing *d = drawing;
    if (d->on_progress && !d->on_progress(d->arg, step, steps))
        d->told = true;
}

void bt_drawing_preview(void *drawing, int step, const struct bt_sd_image *images, size_t n, bool noisy) {
    struct bt_drawing *d = drawing;
    d->on_preview(d->arg, step, (const baton_sd_image *)images, n, noisy);
}

static baton_status check_image(const struct bt_sd_image *i, const char *what, uint32_t channels, baton_error *err) {
    if (!i->data)
        return BATON_OK;
    if (i->width < 1 || i->height < 1 || i->width > 8192 || i->height > 8192 || i->channels != channels)
        return bt_fail(err, BATON_INVALID,
                       "%s is an image of %u x %u pixels of %u channels: 1 to 8192 each way, and %u", what, i->width,
                       i->height, i->channels, channels);
    return BATON_OK;
}

static baton_status check_number(const char *what, int64_t value, int64_t least, int64_t most, baton_error *err) {
    if (value >= least && value <= most)
        return BATON_OK;
    return bt_fail(err, BATON_INVALID, "%s is %lld: %lld to %lld are possible", what, (long long)value,
                   (long long)least, (long long)most);
}

static baton_status check_ask(const struct bt_sd_ask *a, baton_error *err) {
    const struct {
        const char *what;
        int64_t value, least, most;
    } numbers[] = {{"width", a->width, 8, 8192},
                   {"height", a->height, 8, 8192},
                   {"steps", a->steps, 0, 1000},
                   {"count", a->count, 1, 64},
                   {"frames", a->frames, 1, 1024},
                   {"fps", a->fps, 0, 1000},
                   {"n_loras", (int64_t)BT_MIN(a->n_loras, (size_t)INT32_MAX), 0, 64},
                   {"n_references", (int64_t)BT_MIN(a->n_references, (size_t)INT32_MAX), 0, 16},
                   {"preview", a->preview, 0, BT_SD_PREVIEW_VAE}};
    baton_status status = a->prompt ? BATON_OK : bt_fail(err, BATON_INVALID, "there is no prompt");
    for (size_t i = 0; i < BT_COUNT(numbers) && !status; i++)
        status = check_number(numbers[i].what, numbers[i].value, numbers[i].least, numbers[i].most, err);
    for (size_t i = 0; i < a->n_loras && !status; i++)
        if (!a->loras[i].path)
            status = bt_fail(err, BATON_INVALID, "LoRA %zu has no path", i);
    for (size_t i = 0; i < a->n_references && !status; i++)
        status = check_image(&a->references[i], "a reference", 3, err);
    status = status ? status : check_image(&a->init, "init", 3, err);
    status = status ? status : check_image(&a->mask, "mask", 1, err);
    status = status ? status : check_image(&a->control, "control", 3, err);
    return status ? status : check_image(&a->end, "end", 3, err);
}

static struct bt_sd_image image_of(const baton_sd_image *i) {
    return (struct bt_sd_image){i->width, i->height, i->channels, i->data};
}

static baton_status take_ask(struct bt_drawing *d, baton_sd *sd, const baton_sd_ask *theirs, baton_error *err) {
    baton_sd_ask a = BATON_SD_ASK;
    memset(d, 0, sizeof *d);
    if (!theirs || !BT_TAKE(a, theirs))
        return bt_misuse(err, BATON_MISUSE, "an ask without its size: make it with BATON_SD_ASK");
    d->sd = sd;
    d->on_progress = a.on_progress;
    d->on_preview = a.on_preview;
    d->arg = a.arg;
    d->ask = (struct bt_sd_ask){.prompt = a.prompt,
                                .negative_prompt = a.negative_prompt,
                                .sampler = a.sampler,
                                .scheduler = a.scheduler,
                                .width = a.width,
                                .height = a.height,
                                .steps = a.steps,
                                .clip_skip = a.clip_skip,
                                .count = a.count,
                                .cfg_scale = a.cfg_scale,
                                .guidance = a.guidance,
                                .strength = a.strength,
                                .control_strength = a.control_strength,
                                .seed = a.seed,
                                .loras = (const struct bt_sd_lora *)a.loras,
                                .n_loras = a.n_loras,
                                .init = image_of(&a.init),
                                .mask = image_of(&a.mask),
                                .control = image_of(&a.control),
                                .end = image_of(&a.end),
                                .references = (const struct bt_sd_image *)a.references,
                                .n_references = a.n_references,
                                .frames = a.frames,
                                .fps = a.fps,
                                .preview = (enum bt_sd_preview)a.preview,
                                .preview_every = a.preview_every};
    baton_status status = bt_take_request(a.request, &sd->policy, &d->request, err);
    return status ? status : check_ask(&d->ask, err);
}

static baton_status acquire(struct bt_drawing *d, baton_error *err) BATON_TRY_ACQUIRE(0, d->lease) {
    const struct bt_ask ask = {.when_full = d->request.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE,
                               .queue_ms = d->request.queue_ms,
                               .id = d->request.id,
                               .flow = d->request.flow,
                               .priority = d->request.priority};
    return bt_lease_acquire(d->sd->pool, &ask, &d->lease, err);
}

enum what { IMAGE = BT_DRAW_IMAGE, VIDEO = BT_DRAW_VIDEO, UPSCALE = BT_DRAW_UPSCALE, CONTROL_NET };

static baton_status native_call(struct bt_drawing *d, enum what what, const void *more, struct bt_sd_result *r,
                                baton_error *err) {
    struct bt_sd *native = d->sd->native;
    if (what == IMAGE)
        return bt_sd_image(native, &d->ask, r, err);
    if (what == VIDEO)
        return bt_sd_video(native, &d->ask, r, err);
    if (what == UPSCALE)
        return bt_sd_upscale(native, &d->ask, *(const int *)more, r, err);
    baton_status status = bt_sd_load_control_net(native, more, err);
    struct bt_sd_info info;
    bt_sd_get_info(native, &info);
    atomic_store(&d->sd->control_net, info.control_net);
    return status;
}

/* Under a lease of its own. What is in `more` is what the kind of call needs besides its ask. */
static baton_status run(struct bt_drawing *d, enum what what, const void *more, struct bt_sd_result *r,
                        baton_error *err) {
    int64_t asked_ns = bt_now_ns();
    void *context;
    atomic_fetch_add(&d->sd->refs, 1); /* a callback may close it, and so may another thread while this one waits */
    baton_status status = acquire(d, err);
    if (!status) {
        int64_t began_ns = bt_now_ns();
        d->queue_ns = began_ns - asked_ns;
        d->deadline_ns = bt_deadline(began_ns, d->request.run_ms);
        d->ask.stop = should_stop;
        d->ask.on_progress = bt_drawing_progress;
        d->ask.on_preview = d->on_preview ? bt_drawing_preview : NULL;
        d->ask.arg = d;
        status = bt_lease_begin(&d->lease, BT_OP_DRAW, &context, err);
        if (!status) {
            bool no_time = d->request.run_ms == 0 && what != CONTROL_NET;
            status = no_time ? BATON_CANCELLED : native_call(d, what, more, r, err);
            if (status == BATON_CANCELLED && !d->told && !bt_lease_cancelled(&d->lease))
                status = bt_fail(err, BATON_RUN_TIMEOUT, "the run timeout passed: %zu images were complete", r->n);
            bt_lease_end(&d->lease);
        }
        bt_lease_release(&d->lease, BT_KEEP, NULL);
        d->run_ns = bt_now_ns() - began_ns;
    }
    bt_drawer_unref(d->sd);
    return bt_told(status, err);
}

/* By either kind of owner. */
static baton_status make(struct bt_drawing *d, enum what what, int factor, baton_sd_result *result, baton_error *err) {
    struct bt_sd_result r = {.n = 0};
    baton_status status =
        d->sd->io ? bt_drawer_draw(d, (enum bt_draw_what)what, factor, &r, err) : run(d, what, &factor, &r, err);
    *result = (baton_sd_result){.images = (baton_sd_image *)r.images,
                                .n = r.n,
                                .fps = r.fps,
                                .samples = r.samples,
                                .n_samples = r.n_samples,
                                .rate = r.rate,
                                .channels = r.channels,
                                .queue_ns = d->queue_ns,
                                .run_ns = d->run_ns};
    return status;
}

static baton_status draw(baton_sd *sd, const baton_sd_ask *ask, enum what what, baton_sd_result *result,
                         baton_error *err) {
    struct bt_drawing d;
    memset(result, 0, sizeof *result);
    baton_status status = take_ask(&d, sd, ask, err);
    if (!status && !(what == IMAGE ? sd->images : sd->videos))
        status = bt_fail(err, BATON_UNSUPPORTED, "this model makes no %s", what == IMAGE ? "images" : "videos");
    if (!status)
        status = make(&d, what, 0, result, err);
    result->status = status;
    return status;
}

baton_status baton_sd_generate_image(baton_sd *sd, const baton_sd_ask *ask, baton_sd_result *result, baton_error *err) {
    return draw(sd, ask, IMAGE, result, err);
}

baton_status baton_sd_generate_video(baton_sd *sd, const baton_sd_ask *ask, baton_sd_result *result, baton_error *err) {
    return draw(sd, ask, VIDEO, result, err);
}

baton_status baton_sd_upscale(baton_sd *sd, const baton_request *request, const baton_sd_image *image, int factor,
                              baton_sd_result *result, baton_error *err) {
    struct bt_drawing d = {.sd = sd};
    memset(result, 0, sizeof *result);
    baton_status status = bt_take_request(request, &sd->policy, &d.request, err);
    if (!status && (!image || !image->data))
        status = bt_misuse(err, BATON_MISUSE, "there is no image to make larger");
    if (!status) {
        d.ask.init = image_of(image);
        status = check_image(&d.ask.init, "what is to be made larger", 3, err);
    }
    if (!status && sd->upscale == 0)
        status =
            bt_fail(err, BATON_UNSUPPORTED, "this handle was opened without an upscaler: name one in its parameters");
    if (!status)
        status = check_number("factor", factor, 0, 16, err);
    if (!status)
        status = make(&d, UPSCALE, factor, result, err);
    result->status = status;
    return status;
}

void baton_sd_result_free(baton_sd_result *result) {
    for (size_t i = 0; i < result->n; i++)
        free(result->images[i].data);
    free(result->images);
    free(result->samples);
    memset(result, 0, sizeof *result);
}

baton_status baton_sd_load_control_net(baton_sd *sd, const baton_request *request, const char *path, baton_error *err) {
    struct bt_drawing d = {.sd = sd};
    struct bt_sd_result none = {.n = 0};
    baton_status status = bt_take_request(request, &sd->policy, &d.request, err);
    if (!status && sd->io)
        status = bt_fail(err, BATON_UNSUPPORTED,
                         "an owner of its own keeps the control net that it was opened with: name it in the "
                         "parameters of baton_sd_open, or use BATON_OWNER_CALLER");
    return status ? status : run(&d, CONTROL_NET, path, &none, err);
}

baton_status baton_sd_unload_control_net(baton_sd *sd, const baton_request *request, baton_error *err) {
    return baton_sd_load_control_net(sd, request, NULL, err);
}

bool baton_sd_cancel(baton_sd *sd, uint64_t id) {
    return sd->io ? bt_io_cancel(sd->io, id) : bt_pool_cancel(sd->pool, id);
}

baton_status baton_sd_snapshot(const baton_sd *sd, baton_snapshot *snapshot, baton_error *err) {
    if (!sd)
        return bt_misuse(err, BATON_MISUSE, "a snapshot needs a model");
    if (sd->io)
        return bt_owners_snapshot(sd->io, sd->name, "", snapshot, err);
    return baton_pool_snapshot((const baton_pool *)sd->pool, snapshot, err);
}
