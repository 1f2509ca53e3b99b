/* The binding for libstable-diffusion on a stand-in (test/standin), which finds overlapping calls and leaks of context.
 * Each test ends with nothing alive and no overlap. */
#include <dlfcn.h>

#include "drawing_util.h"
#include "header_calls.h"

static int standin(const char *what) {
    void *handle = dlopen(BATON_SD_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    int (*count)(void) = handle ? (int (*)(void))dlsym(handle, what) : NULL;
    int n = count ? count() : 0;
    if (handle)
        dlclose(handle);
    return n;
}

static int nothing_is_left(void **state) {
    (void)state;
    assert_int_equal(standin("standin_overlaps"), 0);
    assert_int_equal(standin("standin_alive"), 0);
    return 0;
}

static void images_are_the_requests_own(void **state) {
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask("a lighthouse");
    baton_sd_result a, b;
    baton_sd_info info = {.size = sizeof info};
    (void)state;
    ask.count = 3;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &a, NULL), BATON_OK);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.images[2].width, 16);
    assert_int_equal(a.images[2].channels, 3);
    assert_memory_not_equal(a.images[0].data, a.images[1].data, 16 * 16 * 3);
    assert_int_equal(baton_sd_generate_image(sd, &ask, &b, NULL), BATON_OK);
    same(&a, &b);
    baton_sd_result_free(&b);
    ask.seed = 2;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &b, NULL), BATON_OK);
    assert_memory_not_equal(a.images[0].data, b.images[0].data, 16 * 16 * 3);
    baton_sd_get_info(sd, &info);
    assert_true(info.images && !info.videos && !info.control_net && info.upscale == 0);
    assert_non_null(baton_sd_version());
    baton_sd_close(&sd);
    assert_null(sd);
    assert_int_equal(a.n, 3); /* outlives the model */
    baton_sd_result_free(&a);
    baton_sd_result_free(&a);
    baton_sd_result_free(&b);
}

static void one_context_per_process(void **state) {
    baton_sd_params p = BATON_SD_PARAMS;
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL), *second;
    baton_error err;
    (void)state;
    p.model = "b.gguf";
    assert_int_equal(baton_sd_open(&second, &p, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "in this process already"));
    assert_null(second);
    baton_sd_close(&sd);
    assert_int_equal(baton_sd_open(&second, &p, &err), BATON_OK);
    baton_sd_close(&second);
}

static void what_cannot_be_is_said_at_once(void **state) {
    baton_policy policy = BATON_POLICY;
    baton_sd_params p = BATON_SD_PARAMS;
    baton_sd *sd;
    baton_error err;
    baton_sd_result r;
    (void)state;
    assert_int_equal(baton_sd_open(&sd, &p, &err), BATON_INVALID);
    p.model = "nowhere.gguf";
    assert_int_equal(baton_sd_open(&sd, &p, &err), BATON_BAD_MODEL);
    assert_non_null(strstr(err.text, "there is no such file")); /* the library's own reason */
    p.model = "a.gguf";
    p.upscaler = "nowhere.gguf";
    assert_int_equal(baton_sd_open(&sd, &p, &err), BATON_BAD_MODEL);
    p.upscaler = NULL;
    p.policy = &policy;
    policy.contexts = 2;
    assert_int_equal(baton_sd_open(&sd, &p, &err), BATON_INVALID);
    policy.owner = BATON_OWNER_THREAD;
    assert_int_equal(baton_sd_open(&sd, &p, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "BATON_OWNER_PROCESS"));
    sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask(NULL);
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_INVALID);
    ask = short_ask("x");
    ask.width = 9000;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "width is 9000"));
    ask = short_ask("x");
    ask.sampler = "none such";
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "none such"));
    ask = short_ask("x");
    ask.init =
        (baton_sd_image){4, 4, 4, (unsigned char *)"0123456789012345678901234567890123456789012345678901234567890123"};
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "4 channels"));
    ask = short_ask("x");
    assert_int_equal(baton_sd_generate_video(sd, &ask, &r, &err), BATON_UNSUPPORTED);
    ask = short_ask("fail");
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_FAILED);
    assert_non_null(strstr(err.text, "cannot allocate the buffer"));
    assert_int_equal(r.n, 0);
    baton_sd_close(&sd);
}

/* Some images are not all: they are given, and told as what they are. */
static void probe_P23_a_missing_image_is_no_success(void **state) {
    (void)state;
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask("lost");
    baton_sd_result r;
    baton_error err;
    ask.count = 3;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_FAILED);
    assert_non_null(strstr(err.text, "2 of 3 images: vae.cpp:34 - cannot decode"));
    assert_true(r.n == 2 && r.status == BATON_FAILED);
    baton_sd_result_free(&r);
    baton_sd_close(&sd);
}

static baton_status call_generate_image(baton_sd *sd, baton_error *err) {
    baton_sd_ask ask = short_ask("second");
    baton_sd_result r;
    baton_status status = baton_sd_generate_image(sd, &ask, &r, err);
    baton_sd_result_free(&r);
    return status;
}
static baton_status call_generate_video(baton_sd *sd, baton_error *err) {
    baton_sd_ask ask = short_ask("second");
    baton_sd_result r;
    ask.frames = 5;
    baton_status status = baton_sd_generate_video(sd, &ask, &r, err);
    baton_sd_result_free(&r);
    return status;
}
static baton_status call_upscale(baton_sd *sd, baton_error *err) {
    baton_sd_image image = {1, 1, 3, (unsigned char *)"rgb"};
    baton_sd_result r;
    baton_status status = baton_sd_upscale(sd, NULL, &image, 0, &r, err);
    baton_sd_result_free(&r);
    return status;
}
static baton_status call_load_control_net(baton_sd *sd, baton_error *err) {
    return baton_sd_load_control_net(sd, NULL, "net", err);
}
static baton_status call_unload_control_net(baton_sd *sd, baton_error *err) {
    return baton_sd_unload_control_net(sd, NULL, err);
}
static baton_status call_get_info(baton_sd *sd, baton_error *err) {
    baton_sd_info info = {.size = sizeof info};
    (void)err;
    baton_sd_get_info(sd, &info);
    return BATON_OK;
}
static baton_status call_version(baton_sd *sd, baton_error *err) {
    (void)sd, (void)err;
    return baton_sd_version() ? BATON_OK : BATON_FAILED;
}
static baton_status call_cancel(baton_sd *sd, baton_error *err) {
    (void)err;
    return baton_sd_cancel(sd, 4711) ? BATON_FAILED : BATON_OK;
}
static baton_status call_snapshot(baton_sd *sd, baton_error *err) {
    baton_snapshot shot = {.size = sizeof shot};
    baton_status status = baton_sd_snapshot(sd, &shot, err);
    baton_snapshot_free(&shot);
    return status;
}

enum kind {
    MUTATES, /* refused while another thread is inside */
    FREE,    /* goes through */
    ENDS     /* nobody else has the handle or the result, or may have */
};
static const struct entry {
    const char *name;
    enum kind kind;
    baton_status (*call)(baton_sd *sd, baton_error *err);
} entries[] = {
    {"open", ENDS, NULL},
    {"close", ENDS, NULL},
    {"result_free", ENDS, NULL},
    {"get_info", FREE, call_get_info},
    {"version", FREE, call_version},
    {"cancel", FREE, call_cancel},
    {"snapshot", FREE, call_snapshot},
    {"generate_image", MUTATES, call_generate_image},
    {"generate_video", MUTATES, call_generate_video},
    {"upscale", MUTATES, call_upscale},
    {"load_control_net", MUTATES, call_load_control_net},
    {"unload_control_net", MUTATES, call_unload_control_net},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static const char *entry_name(int i) {
    return entries[i].name;
}
static void probe_P01_every_call_of_the_header_has_an_entry(void **state) {
    (void)state;
    every_call_has_an_entry("sd.h", "baton_sd_", entry_name, ENTRIES);
}

static void expect_named(const struct entry *e, baton_status status, const baton_error *err) {
    static const char *const words[] = {"the-painter", "generate image", "wait in a queue"};
    if (status != BATON_BUSY)
        fail_msg("baton_sd_%s: %s where another thread is inside", e->name, baton_status_name(status));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(err->text, words[i]))
            fail_msg("baton_sd_%s: '%s' is not in: %s", e->name, words[i], err->text);
}

/* A model makes images or videos. */
static bool has_it(const struct entry *e, bool video) {
    return e->kind != ENDS && strcmp(e->name, video ? "generate_image" : "generate_video") != 0 &&
           !(video && strstr(e->name, "control_net"));
}

/* Each call that needs the context is refused while another thread is inside, by name; the others go through. */
static void refused_by_name(const char *model, bool video) {
    static struct painter holder;
    baton_sd *sd = open_sd(NULL, model, "up.gguf");
    baton_sd_ask ask = short_ask("first");
    baton_snapshot shot = {.size = sizeof shot};
    baton_error err = {BATON_OK, ""};
    ask.frames = 5;
    paint_start_as(&holder, sd, &ask, true, video);
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *e = &entries[i];
        if (has_it(e, video) && e->kind == MUTATES)
            expect_named(e, e->call(sd, &err), &err);
        else if (e->kind == FREE && e->call(sd, &err))
            fail_msg("baton_sd_%s needs no context and was refused", e->name);
    }
    assert_int_equal(baton_sd_snapshot(sd, &shot, NULL), BATON_OK);
    assert_true(shot.context[0].inside && shot.context[0].op == BATON_OP_DRAW);
    baton_snapshot_free(&shot);
    assert_int_equal(paint_end(&holder), BATON_OK);
    baton_sd_result_free(&holder.result);
    for (int i = 0; i < ENTRIES; i++) /* the refusals left nothing behind */
        if (has_it(&entries[i], video) && entries[i].call(sd, &err))
            fail_msg("baton_sd_%s, afterwards: %s", entries[i].name, err.text);
    baton_sd_close(&sd);
}

static void probe_P01_two_threads_refuse(void **state) {
    (void)state;
    refused_by_name("a.gguf", false);
    refused_by_name("video.gguf", true);
}

static void probe_P02_several_wait_and_each_gets_its_own(void **state) {
    enum { N = 6 };
    static struct painter alone[N], together[N];
    baton_policy policy = BATON_POLICY;
    char prompts[N][32];
    (void)state;
    policy.when_full = BATON_WAIT;
    baton_sd *sd = open_sd(&policy, "a.gguf", NULL);
    for (int i = 0; i < N; i++) {
        snprintf(prompts[i], sizeof prompts[i], "number %d", i);
        baton_sd_ask ask = short_ask(prompts[i]);
        ask.steps = 40;
        paint_start(&alone[i], sd, &ask, false);
        assert_int_equal(paint_end(&alone[i]), BATON_OK);
    }
    for (int i = 0; i < N; i++)
        paint_start(&together[i], sd, &alone[i].ask, false);
    for (int i = 0; i < N; i++) {
        assert_int_equal(paint_end(&together[i]), BATON_OK);
        same(&alone[i].result, &together[i].result);
        baton_sd_result_free(&alone[i].result);
        baton_sd_result_free(&together[i].result);
    }
    baton_sd_close(&sd);
}

static void *close_it(void *arg) {
    baton_sd_close(arg);
    return NULL;
}

static void probe_P03_made_here_used_there_closed_elsewhere(void **state) {
    static struct painter p;
    pthread_t thread;
    (void)state;
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask("far away");
    paint_start(&p, sd, &ask, false);
    assert_int_equal(paint_end(&p), BATON_OK);
    baton_sd_result_free(&p.result);
    assert_int_equal(pthread_create(&thread, NULL, close_it, &sd), 0);
    pthread_join(thread, NULL);
    assert_null(sd);
}

struct reentry {
    baton_sd *sd;
    baton_status status[3];
    int previews;
    bool closed;
};

static bool reenter(void *arg, int step, int steps) {
    struct reentry *r = arg;
    baton_sd_ask ask = short_ask("inner");
    baton_request wait = BATON_REQUEST;
    baton_sd_result result;
    (void)steps;
    if (step != 1)
        return true;
    wait.when_full = BATON_WAIT;
    r->status[0] = baton_sd_generate_image(r->sd, &ask, &result, NULL);
    ask.request = &wait;
    r->status[1] = baton_sd_generate_image(r->sd, &ask, &result, NULL);
    r->status[2] = baton_sd_load_control_net(r->sd, &wait, "net", NULL);
    return true;
}

static void probe_P04_a_callback_into_its_own_context(void **state) {
    struct reentry r = {.sd = open_sd(NULL, "a.gguf", NULL)};
    baton_sd_ask ask = short_ask("outer");
    baton_sd_result alone, result;
    (void)state;
    assert_int_equal(baton_sd_generate_image(r.sd, &ask, &alone, NULL), BATON_OK);
    ask.on_progress = reenter;
    ask.arg = &r;
    assert_int_equal(baton_sd_generate_image(r.sd, &ask, &result, NULL), BATON_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r.status[i], BATON_REENTRANT);
    same(&alone, &result);
    baton_sd_result_free(&alone);
    baton_sd_result_free(&result);
    baton_sd_close(&r.sd);
}

static void count_previews(void *arg, int step, const baton_sd_image *images, size_t n, bool noisy) {
    struct reentry *r = arg;
    (void)noisy;
    assert_int_equal(n, 1);
    assert_non_null(images[0].data);
    assert_int_equal(step % 2, 0);
    r->previews++;
}

/* Error, callback that stops, timeout, cancel: the next one finds the context free, and no stop of the last one's. */
static void probe_P05_every_way_out_releases(void **state) {
    static struct painter p;
    struct reentry r = {.sd = open_sd(NULL, "a.gguf", NULL)};
    baton_request request = BATON_REQUEST;
    baton_sd_result result;
    baton_error err;
    (void)state;
    for (int i = 0; i < 3; i++) {
        baton_sd_ask ask = short_ask("fail");
        assert_int_equal(baton_sd_generate_image(r.sd, &ask, &result, &err), BATON_FAILED);
        ask = short_ask("stopped");
        ask.on_progress = stop_at_two;
        assert_int_equal(baton_sd_generate_image(r.sd, &ask, &result, &err), BATON_CANCELLED);
        assert_int_equal(result.n, 0);
        ask = short_ask("timed");
        ask.steps = 1000;
        ask.request = &request;
        request.id = 0;
        request.run_ms = 20;
        paint_start(&p, r.sd, &ask, true);
        nanosleep(&(struct timespec){0, 40000000}, NULL); /* longer than its time */
        assert_int_equal(paint_end(&p), BATON_RUN_TIMEOUT);
        baton_sd_result_free(&p.result);
        ask.request = &request;
        request.run_ms = -1;
        request.id = 99;
        ask.count = 2;
        paint_start(&p, r.sd, &ask, true);
        assert_true(baton_sd_cancel(r.sd, 99));
        assert_int_equal(paint_end(&p), BATON_CANCELLED);
        baton_sd_result_free(&p.result);
        ask = short_ask("well");
        ask.preview = BATON_SD_PREVIEW_FAST;
        ask.preview_every = 2;
        ask.on_preview = count_previews;
        ask.arg = &r;
        assert_int_equal(baton_sd_generate_image(r.sd, &ask, &result, &err), BATON_OK);
        assert_int_equal(result.n, 1);
        baton_sd_result_free(&result);
    }
    assert_int_equal(r.previews, 6);
    baton_sd_close(&r.sd);
}

/* A time of 0 ms is no time, not time without end: of the policy, and of a request. */
static void probe_P23_no_time_to_draw_is_a_timeout(void **state) {
    static unsigned char pixels[8 * 8 * 3];
    const baton_sd_image image = {8, 8, 3, pixels};
    (void)state;
    for (int requests = 0; requests <= 1; requests++) {
        baton_policy policy = BATON_POLICY;
        baton_request request = BATON_REQUEST;
        baton_sd_result r;
        baton_error err;
        policy.run_ms = requests ? -1 : 0;
        request.run_ms = requests ? 0 : BATON_MS_AS_POLICY;
        baton_sd *sd = open_sd(&policy, "a.gguf", "up.gguf");
        baton_sd_ask ask = short_ask("no time");
        ask.request = &request;
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_RUN_TIMEOUT);
        assert_true(r.n == 0 && r.status == BATON_RUN_TIMEOUT);
        assert_non_null(strstr(err.text, "run timeout"));
        assert_int_equal(baton_sd_upscale(sd, &request, &image, 0, &r, &err), BATON_RUN_TIMEOUT);
        assert_int_equal(r.n, 0);
        request.run_ms = -1;
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_OK);
        baton_sd_result_free(&r);
        baton_sd_close(&sd);
    }
}

/* A cancel of one who waits touches not the one who runs. */
static void probe_P20_cancel_touches_no_other(void **state) {
    static struct painter holder, waiting;
    baton_request request = BATON_REQUEST;
    baton_sd_ask ask = short_ask("first"), second = short_ask("second");
    baton_snapshot shot = {.size = sizeof shot};
    (void)state;
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    request.id = 7;
    request.when_full = BATON_WAIT;
    second.request = &request;
    paint_start(&holder, sd, &ask, true);
    paint_start(&waiting, sd, &second, false);
    while (!baton_sd_cancel(sd, 7))
        ;
    assert_int_equal(paint_end(&waiting), BATON_CANCELLED);
    assert_int_equal(paint_end(&holder), BATON_OK);
    assert_int_equal(holder.result.n, 1);
    baton_sd_result_free(&holder.result);
    assert_int_equal(baton_sd_snapshot(sd, &shot, NULL), BATON_OK);
    assert_false(shot.context[0].held);
    baton_snapshot_free(&shot);
    baton_sd_close(&sd);
}

static bool close_inside(void *arg, int step, int steps) {
    struct reentry *r = arg;
    (void)steps;
    if (step == 2 && !r->closed) {
        r->closed = true;
        baton_sd_close(&r->sd);
    }
    return true;
}

/* Close while one is inside and another waits; from a callback; twice. */
static void probe_P25_close_while_busy(void **state) {
    static struct painter holder, waiting;
    baton_policy policy = BATON_POLICY;
    baton_sd_ask ask = short_ask("first");
    pthread_t closer;
    baton_sd_result result;
    (void)state;
    policy.when_full = BATON_WAIT;
    baton_sd *sd = open_sd(&policy, "a.gguf", NULL), *copy = sd;
    ask.steps = 1000;
    paint_start(&holder, sd, &ask, true);
    paint_start(&waiting, sd, &ask, false);
    for (int queued = 0; queued < 1;) {
        baton_snapshot shot = {.size = sizeof shot};
        assert_int_equal(baton_sd_snapshot(sd, &shot, NULL), BATON_OK);
        queued = shot.queued;
        baton_snapshot_free(&shot);
    }
    assert_int_equal(pthread_create(&closer, NULL, close_it, &copy), 0);
    assert_int_equal(paint_end(&waiting), BATON_CLOSED);
    baton_status held = paint_end(&holder); /* it may be done before it is told */
    assert_true(held == BATON_CANCELLED || held == BATON_OK);
    pthread_join(closer, NULL);
    baton_sd_result_free(&holder.result);
    baton_sd_close(&copy);
    struct reentry r = {.sd = open_sd(NULL, "a.gguf", NULL)};
    ask.on_progress = close_inside;
    ask.arg = &r;
    assert_int_equal(baton_sd_generate_image(r.sd, &ask, &result, NULL), BATON_CANCELLED);
    assert_null(r.sd);
    baton_sd_result_free(&result);
}

static void control_nets_come_and_go(void **state) {
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask("a face");
    unsigned char pixels[16 * 16 * 3] = {1, 2, 3};
    baton_sd_info info = {.size = sizeof info};
    baton_sd_result with, without;
    baton_error err;
    (void)state;
    ask.control = (baton_sd_image){16, 16, 3, pixels};
    assert_int_equal(baton_sd_generate_image(sd, &ask, &without, NULL), BATON_OK);
    assert_int_equal(baton_sd_load_control_net(sd, NULL, "nowhere", &err), BATON_BAD_MODEL);
    assert_non_null(strstr(err.text, "no such control net"));
    assert_int_equal(baton_sd_load_control_net(sd, NULL, "net", NULL), BATON_OK);
    baton_sd_get_info(sd, &info);
    assert_true(info.control_net);
    assert_int_equal(baton_sd_generate_image(sd, &ask, &with, NULL), BATON_OK);
    assert_memory_not_equal(with.images[0].data, without.images[0].data, 16 * 16 * 3);
    assert_int_equal(baton_sd_unload_control_net(sd, NULL, NULL), BATON_OK);
    baton_sd_get_info(sd, &info);
    assert_false(info.control_net);
    baton_sd_result_free(&with);
    baton_sd_result_free(&without);
    baton_sd_close(&sd);
}

static void videos_and_larger_images(void **state) {
    baton_sd *sd = open_sd(NULL, "video.gguf", "up.gguf");
    baton_sd_ask ask = short_ask("waves");
    baton_sd_result r;
    (void)state;
    ask.frames = 5;
    ask.fps = 12;
    assert_int_equal(baton_sd_generate_video(sd, &ask, &r, NULL), BATON_OK);
    assert_int_equal(r.n, 5);
    assert_int_equal(r.fps, 12);
    assert_int_equal(r.n_samples, 100);
    assert_int_equal(r.channels, 2);
    baton_sd_image small = r.images[0];
    baton_sd_result large;
    assert_int_equal(baton_sd_upscale(sd, NULL, &small, 0, &large, NULL), BATON_OK);
    assert_int_equal(large.images[0].width, 64);
    baton_sd_result_free(&large);
    ask.on_progress = stop_at_two;
    baton_sd_result_free(&r);
    assert_int_equal(baton_sd_generate_video(sd, &ask, &r, NULL), BATON_CANCELLED);
    assert_int_equal(baton_sd_generate_image(sd, &ask, &large, NULL), BATON_UNSUPPORTED);
    baton_sd_close(&sd);
    sd = open_sd(NULL, NULL, "up.gguf");
    unsigned char pixel[3] = {9, 9, 9};
    small = (baton_sd_image){1, 1, 3, pixel};
    assert_int_equal(baton_sd_upscale(sd, NULL, &small, 2, &large, NULL), BATON_OK);
    assert_int_equal(large.images[0].width, 2);
    baton_sd_result_free(&large);
    assert_int_equal(baton_sd_generate_image(sd, &ask, &large, NULL), BATON_UNSUPPORTED);
    baton_sd_close(&sd);
}

#define SD_TEST(name) cmocka_unit_test_teardown(name, nothing_is_left)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        SD_TEST(images_are_the_requests_own),
        SD_TEST(one_context_per_process),
        SD_TEST(what_cannot_be_is_said_at_once),
        SD_TEST(probe_P23_a_missing_image_is_no_success),
        SD_TEST(probe_P01_two_threads_refuse),
        SD_TEST(probe_P01_every_call_of_the_header_has_an_entry),
        SD_TEST(probe_P02_several_wait_and_each_gets_its_own),
        SD_TEST(probe_P03_made_here_used_there_closed_elsewhere),
        SD_TEST(probe_P04_a_callback_into_its_own_context),
        SD_TEST(probe_P05_every_way_out_releases),
        SD_TEST(probe_P23_no_time_to_draw_is_a_timeout),
        SD_TEST(probe_P20_cancel_touches_no_other),
        SD_TEST(probe_P25_close_while_busy),
        SD_TEST(control_nets_come_and_go),
        SD_TEST(videos_and_larger_images),
    };
    return bt_test_run(tests, argc, argv);
}
