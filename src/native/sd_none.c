/* Images and videos in a build without libstable-diffusion: says so. Owns no state. */
#include "native/sd.h"

static baton_status none(baton_error *err) {
    return bt_fail(err, BATON_UNSUPPORTED,
                   "this baton was built without libstable-diffusion: build it where pkg-config finds stable-diffusion "
                   "(stable-diffusion.cpp, installed as a shared library)");
}

baton_status bt_sd_load(baton_error *err) {
    return none(err);
}

baton_status bt_sd_open(const struct bt_sd_params *params, struct bt_sd **sd, baton_error *err) {
    (void)params;
    *sd = NULL;
    return none(err);
}

void bt_sd_close(struct bt_sd *sd) {
    (void)sd;
}

void bt_sd_get_info(const struct bt_sd *sd, struct bt_sd_info *info) {
    (void)sd;
    *info = (struct bt_sd_info){.upscale = 0};
}

baton_status bt_sd_image(struct bt_sd *sd, const struct bt_sd_ask *ask, struct bt_sd_result *result, baton_error *err) {
    (void)sd, (void)ask;
    *result = (struct bt_sd_result){.n = 0};
    return none(err);
}

baton_status bt_sd_video(struct bt_sd *sd, const struct bt_sd_ask *ask, struct bt_sd_result *result, baton_error *err) {
    return bt_sd_image(sd, ask, result, err);
}

baton_status bt_sd_upscale(struct bt_sd *sd, const struct bt_sd_ask *ask, int factor, struct bt_sd_result *result,
                           baton_error *err) {
    (void)factor;
    return bt_sd_image(sd, ask, result, err);
}

baton_status bt_sd_load_control_net(struct bt_sd *sd, const char *path, baton_error *err) {
    (void)sd, (void)path;
    return none(err);
}

const char *bt_sd_version(void) {
    return NULL;
}
