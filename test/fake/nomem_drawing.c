/* Each allocation of a use of baton/sd.h fails once, from the opening to the close, with the owner on the caller's
 * thread and on one of its own, on the stand-in: every call says NO_MEMORY or does without, what is told as complete is
 * whole, nothing leaks (under AddressSanitizer) and nothing hangs. */
#include "drawing_util.h"
#include "nomem.h"

#include <unistd.h>

static unsigned char pixels[16 * 16 * 3] = {1, 2, 3};
static const baton_sd_image reference = {16, 16, 3, pixels};
static baton_sd_result whole, large;
static int completed;

static baton_sd_ask an_ask(void) {
    baton_sd_ask ask = short_ask("memory");
    ask.count = 2;
    ask.init = reference;
    ask.references = &reference;
    ask.n_references = 1;
    return ask;
}

static bool go_on(void *arg, int step, int steps) {
    (void)arg;
    assert_true(step >= 1 && step <= steps);
    return true;
}

static void see(void *arg, int step, const baton_sd_image *images, size_t n, bool noisy) {
    (void)arg, (void)step, (void)noisy;
    assert_true(n == 1 && images[0].width == 2);
}

static void draw(baton_sd *sd) {
    baton_sd_ask ask = an_ask();
    baton_sd_result r;
    baton_error err = {BATON_OK, ""};
    ask.on_progress = go_on;
    ask.on_preview = see;
    ask.preview = BATON_SD_PREVIEW_FAST;
    baton_status status = baton_sd_generate_image(sd, &ask, &r, &err);
    if (status == BATON_OK)
        same(&whole, &r);
    else
        assert_true(r.n <= whole.n && strlen(err.text) > 0);
    completed += status == BATON_OK;
    baton_sd_result_free(&r);
    status = baton_sd_upscale(sd, NULL, &reference, 2, &r, &err);
    if (status == BATON_OK)
        assert_memory_equal(r.images[0].data, large.images[0].data, sizeof(unsigned char[32 * 32 * 3]));
    completed += status == BATON_OK;
    baton_sd_result_free(&r);
}

/* False: nothing failed any more. */
static bool use_with_failure(long at, baton_owner owner) {
    baton_sd_params params = BATON_SD_PARAMS;
    baton_policy policy = BATON_POLICY;
    baton_sd *sd;
    baton_error err = {BATON_OK, ""};
    policy.owner = owner;
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    params.model = "a.gguf";
    params.upscaler = "up.gguf";
    nomem_arm(at);
    if (baton_sd_open(&sd, &params, &err)) {
        assert_null(sd);
        assert_true(strlen(err.text) > 0);
        return nomem_disarm();
    }
    draw(sd);
    bool failed = nomem_disarm();
    if (owner == BATON_OWNER_CALLER) { /* and whatever failed has left nothing behind */
        int before = completed;
        draw(sd);
        assert_int_equal(completed, before + 2);
        completed = before;
    }
    baton_sd_close(&sd);
    return failed;
}

static void every_allocation_may_fail(baton_owner owner) {
    long at = 1;
    completed = 0;
    for (bool failed = true; failed; at++) {
        alarm(20);
        failed = use_with_failure(at, owner);
    }
    alarm(0);
    print_message("%ld allocations, %d requests complete all the same\n", at - 1, completed);
    assert_true(at > 10 && completed > 0);
}

static void every_allocation_of_a_caller_may_fail(void **state) {
    (void)state;
    every_allocation_may_fail(BATON_OWNER_CALLER);
}

static void every_allocation_beside_an_owner_may_fail(void **state) {
    (void)state;
    every_allocation_may_fail(BATON_OWNER_THREAD);
}

static void ignore_line(void *arg, baton_log_level level, const char *text) {
    (void)arg, (void)level, (void)text;
}

static int set_up(void **state) {
    (void)state;
    baton_log_set(BATON_LOG_ERROR, ignore_line, NULL);
    baton_sd *sd = open_sd(NULL, "a.gguf", "up.gguf");
    baton_sd_ask ask = an_ask();
    int status = baton_sd_generate_image(sd, &ask, &whole, NULL);
    status = status ? status : (int)baton_sd_upscale(sd, NULL, &reference, 2, &large, NULL);
    baton_sd_close(&sd);
    return status;
}

static int tear_down(void **state) {
    (void)state;
    baton_sd_result_free(&whole);
    baton_sd_result_free(&large);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_a_caller_may_fail),
        cmocka_unit_test(every_allocation_beside_an_owner_may_fail),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
