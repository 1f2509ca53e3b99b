/* Which implementation a path means. Stateless. */
#include <string.h>

#include "native/whisper.h"

baton_status bt_whisper_open(const struct bt_whisper_model_params *params, struct bt_whisper **w, baton_error *err) {
    *w = NULL;
    if (!params->path)
        return bt_fail(err, BATON_INVALID, "no model file: give the path of a whisper.cpp model");
    if (strncmp(params->path, "fake:", strlen("fake:")) == 0)
        return bt_whisper_open_fake(params, w, err);
    return bt_whisper_open_native(params, w, err);
}
