/* Images with owners of their own, on a stand-in for libstable-diffusion (test/standin): what they draw is what
 * owner = caller draws alone, to the bit, whatever becomes of the owner. Models are files with words in them. */
#include "drawing_util.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "overlap.h"
#include "owner_pids.h"

static char folder[] = "/tmp/baton-drawing-XXXXXX";
static const char *const MODELS[] = {"plain", "video", "slow", "nowhere", "abort"};

static const char *model(const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const baton_owner OWNERS[] = {BATON_OWNER_THREAD, BATON_OWNER_PROCESS};
enum { KINDS = 2 };

static baton_policy policy_of(baton_owner owner, int contexts, baton_when_full when_full) {
    baton_policy policy = BATON_POLICY;
    policy.owner = owner;
    policy.contexts = contexts;
    policy.when_full = when_full;
    return policy;
}

static baton_sd *owned(const char *name, baton_owner owner) {
    const baton_policy policy = policy_of(owner, 1, BATON_REFUSE);
    return open_sd(&policy, model(name), NULL);
}

static baton_sd *process_of(const char *name, bool retry, int64_t hang_ms) {
    const baton_policy policy = policy_of(BATON_OWNER_PROCESS, 1, BATON_WAIT);
    baton_sd_params p = BATON_SD_PARAMS;
    baton_sd *sd;
    baton_error err;
    p.model = model(name);
    p.policy = &policy;
    p.retry = retry;
    p.hang_ms = hang_ms;
    if (baton_sd_open(&sd, &p, &err))
        fail_msg("%s", err.text);
    return sd;
}

/* What short_ask(prompt) gives alone. */
static baton_sd_result lone(const char *prompt, int count) {
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask(prompt);
    baton_sd_result r;
    ask.count = count;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, NULL), BATON_OK);
    baton_sd_close(&sd);
    return r;
}

static baton_sd_result still; /* what "still there" gives */

static void still_draws(baton_sd *sd) {
    baton_sd_result r;
    baton_sd_ask ask = short_ask("still there");
    baton_request wait = BATON_REQUEST;
    baton_error err;
    wait.when_full = BATON_WAIT; /* for the next owner, or for a call that was given up */
    ask.request = &wait;
    if (baton_sd_generate_image(sd, &ask, &r, &err))
        fail_msg("%s", err.text);
    same(&still, &r);
    baton_sd_result_free(&r);
}

struct told {
    int steps, previews;
    bool orderly;
};

static bool hear_step(void *arg, int step, int steps) {
    struct told *t = arg;
    t->orderly &= step == t->steps % 4 + 1 && steps == 4;
    t->steps++;
    return true;
}

static void see_preview(void *arg, int step, const baton_sd_image *images, size_t n, bool noisy) {
    struct told *t = arg;
    t->orderly &= step == 2 * (t->previews % 2) + 2 && n == 1 && images[0].width == 2 && !noisy;
    t->previews++;
}

static void owners_draw_what_a_caller_does(void **state) {
    static unsigned char pixels[16 * 16 * 3] = {1, 2, 3};
    const baton_sd_image reference = {16, 16, 3, pixels};
    (void)state;
    baton_sd *here = open_sd(NULL, model("plain"), NULL);
    baton_sd_ask ask = short_ask("a lighthouse");
    baton_sd_result expected, r;
    baton_sd_info info = {.size = sizeof info};
    ask.count = 3;
    ask.negative_prompt = "fog";
    ask.init = reference;
    ask.references = &reference;
    ask.n_references = 1;
    assert_int_equal(baton_sd_generate_image(here, &ask, &expected, NULL), BATON_OK);
    baton_sd_close(&here);
    ask.on_progress = hear_step;
    ask.on_preview = see_preview;
    ask.preview = BATON_SD_PREVIEW_FAST;
    ask.preview_every = 2;
    for (int k = 0; k < KINDS; k++) {
        baton_sd *sd = owned("plain", OWNERS[k]);
        struct told told = {.orderly = true};
        ask.arg = &told;
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, NULL), BATON_OK);
        assert_int_equal(r.n, 3);
        assert_int_equal(r.images[2].channels, 3);
        same(&expected, &r);
        baton_sd_result_free(&r);
        assert_true(told.orderly && told.steps == 12 && told.previews == 6);
        baton_sd_get_info(sd, &info);
        assert_true(info.images && !info.videos && info.upscale == 0);
        baton_sd_close(&sd);
    }
    baton_sd_result_free(&expected);
}

/* A picture is larger than a frame, and than what waits on its way. */
static void large_pictures_and_videos_come_whole(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        const baton_policy policy = policy_of(OWNERS[k], 1, BATON_REFUSE);
        baton_sd *sd = open_sd(&policy, model("video"), model("plain"));
        baton_sd_ask ask = short_ask("waves");
        baton_sd_result r, large;
        ask.frames = 5;
        ask.fps = 12;
        assert_int_equal(baton_sd_generate_video(sd, &ask, &r, NULL), BATON_OK);
        assert_true(r.n == 5 && r.fps == 12 && r.n_samples == 100 && r.channels == 2 && r.rate == 8000);
        baton_sd_result_free(&r);
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, NULL), BATON_UNSUPPORTED);
        unsigned char *pixels = calloc((size_t)700 * 700, 3);
        assert_non_null(pixels);
        const baton_sd_image image = {700, 700, 3, pixels};
        assert_int_equal(baton_sd_upscale(sd, NULL, &image, 0, &large, NULL), BATON_OK); /* 22 MiB */
        assert_true(large.n == 1 && large.images[0].width == 2800 && large.images[0].height == 2800);
        baton_sd_close(&sd);
        sd = open_sd(NULL, NULL, "up.gguf");
        assert_int_equal(baton_sd_upscale(sd, NULL, &image, 0, &r, NULL), BATON_OK);
        assert_memory_equal(r.images[0].data, large.images[0].data, (size_t)2800 * 2800 * 3);
        baton_sd_result_free(&r);
        baton_sd_result_free(&large);
        baton_sd_close(&sd);
        free(pixels);
    }
}

/* Before all the work. */
static void what_no_record_has_room_for_is_refused(void **state) {
    enum { SIDE = 4096 };
    (void)state;
    const baton_sd_image image = {SIDE, SIDE, 3, calloc((size_t)SIDE * SIDE, 3)}, small = {16, 16, 3, image.data};
    assert_non_null(image.data);
    for (int k = 0; k < KINDS; k++) {
        const baton_policy policy = policy_of(OWNERS[k], 1, BATON_REFUSE);
        baton_sd *sd = open_sd(&policy, model("video"), model("plain"));
        baton_sd_result r;
        baton_error err;
        assert_int_equal(baton_sd_upscale(sd, NULL, &image, 16, &r, &err), BATON_INVALID);
        assert_true(strstr(err.text, "12884901888") && strstr(err.text, "2147483583"));
        assert_int_equal(baton_sd_upscale(sd, NULL, &small, 16, &r, &err), BATON_OK);
        baton_sd_result_free(&r);
        baton_sd_close(&sd);
    }
    free(image.data);
}

static void what_owners_cannot_do_is_said(void **state) {
    (void)state;
    const baton_sd_lora lora = {"some.lora", 1};
    for (int k = 0; k < KINDS; k++) {
        baton_sd *sd = owned("plain", OWNERS[k]);
        baton_sd_ask ask = short_ask("x");
        baton_sd_result r;
        baton_error err;
        assert_int_equal(baton_sd_load_control_net(sd, NULL, "net", &err), BATON_UNSUPPORTED);
        assert_non_null(strstr(err.text, "BATON_OWNER_CALLER"));
        assert_int_equal(baton_sd_unload_control_net(sd, NULL, &err), BATON_UNSUPPORTED);
        assert_int_equal(baton_sd_generate_video(sd, &ask, &r, &err), BATON_UNSUPPORTED);
        ask.sampler = "none such";
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, "none such"));
        ask = short_ask("fail");
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_FAILED);
        assert_non_null(strstr(err.text, "cannot allocate the buffer"));
        ask = short_ask("x");
        ask.loras = &lora;
        ask.n_loras = 1;
        baton_status status = baton_sd_generate_image(sd, &ask, &r, &err);
        assert_int_equal(status, OWNERS[k] == BATON_OWNER_THREAD ? BATON_OK : BATON_UNSUPPORTED);
        assert_true(!status || strstr(err.text, "BATON_OWNER_THREAD"));
        baton_sd_result_free(&r);
        baton_sd_close(&sd);
    }
}

static void an_owner_that_cannot_be_is_said_at_open(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int contexts;
        baton_status status;
        const char *text;
        int kind; /* 0: any, else that of OWNERS */
    } cases[] = {
        {"nowhere", 1, BATON_BAD_MODEL, "nowhere cannot be loaded: model.cpp:7 - there is no such file: /tmp/baton", 0},
        {"plain", 2, BATON_INVALID, "BATON_OWNER_PROCESS", 1},
        {"not there", 1, BATON_NOT_FOUND, "not there", 2},
        {".", 1, BATON_INVALID, "is no file", 2},
        {"abort", 1, BATON_CRASHED, "this cannot be loaded", 2},
        {"plain", 65, BATON_INVALID, "1 to 64", 2}};
    for (int k = 0; k < KINDS; k++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const baton_policy policy = policy_of(OWNERS[k], cases[i].contexts, BATON_WAIT);
            baton_sd_params p = BATON_SD_PARAMS;
            baton_sd *sd;
            baton_error err;
            if (cases[i].kind && cases[i].kind != k + 1)
                continue;
            p.model = model(cases[i].name);
            p.policy = &policy;
            baton_status status = baton_sd_open(&sd, &p, &err);
            if (status != cases[i].status || (status != BATON_CRASHED && !strstr(err.text, cases[i].text)))
                fail_msg("%s: %s, %s", cases[i].name, baton_status_name(status), err.text);
            assert_null(sd);
        }
    baton_sd *sd = owned("plain", BATON_OWNER_THREAD), *second;
    baton_sd_params p = BATON_SD_PARAMS;
    baton_error err;
    p.model = model("plain");
    assert_int_equal(baton_sd_open(&second, &p, &err), BATON_BUSY); /* the thread has the process's one */
    baton_sd_close(&sd);
}

/* Each has a process, and they draw at once. */
static void probe_P06_two_processes_draw_at_once(void **state) {
    enum { N = 4 };
    static struct painter p[N];
    const baton_policy policy = policy_of(BATON_OWNER_PROCESS, 2, BATON_WAIT);
    (void)state;
    baton_sd_result expected = lone("together", 1);
    baton_sd *sd = open_sd(&policy, model("slow"), NULL);
    baton_sd_ask ask = short_ask("together");
    bool at_once = false;
    pid_t pid;
    ask.steps = 40;
    assert_int_equal(owners(&pid), 2);
    for (int i = 0; i < N; i++)
        paint_start(&p[i], sd, &ask, false);
    while (!at_once) {
        baton_snapshot shot = {.size = sizeof shot};
        assert_int_equal(baton_sd_snapshot(sd, &shot, NULL), BATON_OK);
        int inside = 0;
        for (int i = 0; i < shot.running; i++)
            inside += shot.run[i].inside && shot.run[i].op == BATON_OP_DRAW;
        at_once = inside == 2;
        baton_snapshot_free(&shot);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(paint_end(&p[i]), BATON_OK);
        same(&expected, &p[i].result);
        baton_sd_result_free(&p[i].result);
    }
    baton_sd_result_free(&expected);
    baton_sd_close(&sd);
    assert_int_equal(owners(&pid), 0);
}

/* Native code dies in each of its ways: that request says so, and the next is another owner's. */
static void probe_P41_a_library_that_dies(void **state) {
    static const struct {
        const char *prompt;
        baton_status status;
    } ways[] = {{"abort", BATON_CRASHED}, {"segfault", BATON_CRASHED}, {"exit", BATON_CRASHED}, {"hang", BATON_HUNG}};
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        baton_sd *sd = process_of("plain", false, ways[i].status == BATON_HUNG ? 3000 : 0);
        baton_sd_ask ask = short_ask(ways[i].prompt);
        baton_sd_result r;
        baton_error err;
        baton_status status = baton_sd_generate_image(sd, &ask, &r, &err);
        if (status != ways[i].status || r.n != 0)
            fail_msg("%s: %s, %s", ways[i].prompt, baton_status_name(status), err.text);
        assert_int_equal(r.status, status);
        assert_true(i != 0 || strstr(err.text, "this cannot be")); /* the library's last words */
        baton_sd_result_free(&r);
        still_draws(sd);
        baton_sd_close(&sd);
    }
}

/* kill -9 in the middle: cut, or as if undisturbed; and the next owner draws. */
static void probe_P40_a_killed_owner(void **state) {
    static struct painter p;
    (void)state;
    baton_sd_result expected = lone("a long one", 2);
    for (int retry = 0; retry <= 1; retry++) {
        baton_sd *sd = process_of("slow", retry, 0);
        baton_sd_ask ask = short_ask("a long one");
        pid_t pid = 0;
        ask.count = 2;
        paint_start(&p, sd, &ask, true);
        assert_int_equal(owners(&pid), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        overlap_wait_until(kill(pid, 0) != 0);
        baton_status status = paint_end(&p);
        assert_int_equal(status, retry ? BATON_OK : BATON_CRASHED);
        if (retry)
            same(&expected, &p.result);
        baton_sd_result_free(&p.result);
        still_draws(sd);
        baton_sd_close(&sd);
    }
    baton_sd_result_free(&expected);
}

/* One that kills its owner alone is not asked for ever. */
static void probe_P42_a_drawing_that_kills_its_owner(void **state) {
    (void)state;
    baton_sd *sd = process_of("plain", true, 0);
    baton_sd_ask ask = short_ask("segfault");
    baton_sd_result r;
    baton_error err;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_CRASHED);
    assert_non_null(strstr(err.text, "alone"));
    baton_sd_result_free(&r);
    still_draws(sd);
    baton_sd_close(&sd);
}

static bool close_inside(void *arg, int step, int steps) {
    baton_sd **sd = arg;
    (void)step, (void)steps;
    baton_sd_close(sd);
    return true;
}

/* Cancel, run timeout, a callback's no, close: after the step under way, and each is told apart. */
static void probe_P21_an_owner_is_stopped(void **state) {
    static struct painter p, waiting;
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        baton_sd *sd = owned("slow", OWNERS[k]);
        baton_request request = BATON_REQUEST;
        baton_sd_ask ask = short_ask("long"), second = short_ask("second");
        baton_sd_result r;
        baton_error err;
        ask.steps = 1000;
        ask.request = &request;
        request.id = 7;
        paint_start(&p, sd, &ask, true);
        assert_int_equal(baton_sd_generate_image(sd, &second, &r, &err), BATON_BUSY);
        assert_non_null(strstr(err.text, "a drawing for request 7"));
        assert_false(baton_sd_cancel(sd, 8));
        assert_true(baton_sd_cancel(sd, 7));
        assert_int_equal(paint_end(&p), BATON_CANCELLED);
        assert_false(baton_sd_cancel(sd, 7));
        request.id = 0;
        request.run_ms = 30;
        request.when_full = BATON_WAIT;
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_RUN_TIMEOUT);
        request.run_ms = -1;
        ask.on_progress = stop_at_two;
        assert_int_equal(baton_sd_generate_image(sd, &ask, &r, &err), BATON_CANCELLED);
        still_draws(sd);
        ask.on_progress = NULL; /* P25: closed while busy and waited for */
        paint_start(&p, sd, &ask, true);
        paint_start(&waiting, sd, &ask, false);
        for (int queued = 0; queued < 1;) {
            baton_snapshot shot = {.size = sizeof shot};
            assert_int_equal(baton_sd_snapshot(sd, &shot, NULL), BATON_OK);
            queued = shot.queued;
            baton_snapshot_free(&shot);
        }
        baton_sd_close(&sd);
        baton_status status = paint_end(&p);
        assert_true(status == BATON_CLOSED || status == BATON_CANCELLED);
        assert_int_equal(paint_end(&waiting), BATON_CLOSED);
        sd = owned("slow", OWNERS[k]); /* from a callback */
        ask.on_progress = close_inside;
        ask.arg = &sd;
        status = baton_sd_generate_image(sd, &ask, &r, &err);
        assert_true(status == BATON_CLOSED || status == BATON_CANCELLED);
        assert_null(sd);
    }
}

/* The library reads what it was handed, and nothing else. */
static void probe_P43_a_library_that_opens_files(void **state) {
    (void)state;
    baton_sd *sd = open_sd(NULL, "a.gguf", NULL);
    baton_sd_ask ask = short_ask("open /etc/passwd");
    baton_sd_result r;
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, NULL), BATON_FAILED); /* without a sandbox it can */
    baton_sd_close(&sd);
    sd = owned("plain", BATON_OWNER_PROCESS);
    assert_int_equal(baton_sd_generate_image(sd, &ask, &r, NULL), BATON_OK);
    baton_sd_result_free(&r);
    baton_sd_close(&sd);
}

static void random_seeds_differ(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        baton_sd *sd = owned("plain", OWNERS[k]);
        baton_sd_ask ask = short_ask("chance");
        baton_sd_result a, b;
        ask.seed = -1;
        assert_int_equal(baton_sd_generate_image(sd, &ask, &a, NULL), BATON_OK);
        assert_int_equal(baton_sd_generate_image(sd, &ask, &b, NULL), BATON_OK);
        assert_memory_not_equal(a.images[0].data, b.images[0].data, sizeof(unsigned char[16 * 16 * 3]));
        baton_sd_result_free(&a);
        baton_sd_result_free(&b);
        baton_sd_close(&sd);
    }
}

static void ignore_line(void *arg, baton_log_level level, const char *text) {
    (void)arg, (void)level, (void)text;
}

static int set_up(void **state) {
    (void)state;
    baton_log_set(BATON_LOG_ERROR, ignore_line, NULL);
    const char *owner = getenv("BATON_OWNER_STANDIN");
    if (!owner || setenv("BATON_OWNER", owner, 1) != 0 || !mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
        FILE *f = fopen(model(MODELS[i]), "w");
        if (!f || fputs(MODELS[i], f) < 0 || fclose(f))
            return -1;
    }
    still = lone("still there", 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    baton_sd_result_free(&still);
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++)
        unlink(model(MODELS[i]));
    return rmdir(folder);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_draw_what_a_caller_does),
        cmocka_unit_test(large_pictures_and_videos_come_whole),
        cmocka_unit_test(what_no_record_has_room_for_is_refused),
        cmocka_unit_test(what_owners_cannot_do_is_said),
        cmocka_unit_test(an_owner_that_cannot_be_is_said_at_open),
        cmocka_unit_test(probe_P06_two_processes_draw_at_once),
        cmocka_unit_test(probe_P41_a_library_that_dies),
        cmocka_unit_test(probe_P40_a_killed_owner),
        cmocka_unit_test(probe_P42_a_drawing_that_kills_its_owner),
        cmocka_unit_test(probe_P21_an_owner_is_stopped),
        cmocka_unit_test(probe_P43_a_library_that_opens_files),
        cmocka_unit_test(random_seeds_differ),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
