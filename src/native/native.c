/* Which implementation a model path means. Owns no state. */
#include "native/native.h"

#include <string.h>

baton_status bt_model_open(const struct bt_model_params *params, struct bt_model **m, baton_error *err) {
    static const char fake[] = "fake:";
    if (params->path && strncmp(params->path, fake, sizeof fake - 1) == 0)
        return bt_fake_open(params, m, err);
    return bt_llama_open(params, m, err);
}
