/* Speech recognition in a build without libwhisper: says so. Owns no state. */
#include "native/whisper.h"

baton_status bt_whisper_open_native(const struct bt_whisper_model_params *params, struct bt_whisper **w,
                                    baton_error *err) {
    *w = NULL;
    return bt_fail(err, BATON_UNSUPPORTED,
                   "%s cannot be opened: this baton was built without libwhisper. Build it where pkg-config finds "
                   "whisper 1.9.5 or later (libwhisper-dev in Debian 14 and Ubuntu 26.04, or tools/deps)",
                   params->path);
}

const char *bt_whisper_version(void) {
    return NULL;
}
