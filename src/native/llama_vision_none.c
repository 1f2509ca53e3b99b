/* Images in a build without libmtmd: says so. Owns no state. */
#include "native/llama_internal.h"

bool bt_llama_has_vision(void) {
    return false;
}

baton_status bt_llama_vision_open(struct bt_llama_model *m, const struct bt_model_params *params, baton_error *err) {
    (void)m;
    return bt_fail(
        err, BATON_UNSUPPORTED,
        "the projector %s cannot be opened: this baton was built without libmtmd. Build it where libmtmd and "
        "mtmd-helper.h of libllama 0.7.0 or later are found (libllama-dev in Debian 14, or tools/deps)",
        params->mmproj);
}

void bt_llama_vision_close(struct bt_llama_model *m) {
    (void)m;
}

baton_status bt_llama_eye_get(const struct bt_llama_model *m, int threads, struct bt_llama_eye **eye,
                              baton_error *err) {
    (void)m, (void)threads, (void)err;
    *eye = NULL;
    return BATON_OK;
}

void bt_llama_eye_give(const struct bt_llama_model *m, struct bt_llama_eye *eye) {
    (void)m, (void)eye;
}

void bt_llama_eye_abort(struct bt_llama_eye *eye, bool (*abort_hook)(void *arg), void *arg) {
    (void)eye, (void)abort_hook, (void)arg;
}

baton_status bt_llama_chunks(const struct bt_model *m, const char *text, size_t len, const char *mark,
                             const struct bt_image *images, size_t n, struct bt_chunks **chunks, baton_error *err) {
    (void)m, (void)text, (void)len, (void)mark, (void)images, (void)n;
    *chunks = NULL;
    return bt_fail(err, BATON_UNSUPPORTED, "this baton was built without libmtmd: it reads text alone");
}

enum bt_decode bt_llama_image(struct bt_context *c, const struct bt_chunks *chunks, size_t i, int seq, int32_t pos) {
    (void)c, (void)chunks, (void)i, (void)seq, (void)pos;
    return BT_DECODE_INVALID;
}
