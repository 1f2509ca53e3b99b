/* What a model will take, from its file's metadata alone. */
#include <stdlib.h>
#include <string.h>

#include "api/models.h"

/* The number under ARCHITECTURE.suffix; 0: the file does not have one. *failed: out of memory. */
static uint64_t number(const struct bt_model *m, const char *suffix, bool *failed) {
    uint64_t found = 0;
    struct bt_buf key = BT_BUF_INIT, value = BT_BUF_INIT;
    for (int i = 0; found == 0 && !*failed && m->ops->metadata(m, i, &key, &value); i++) {
        bt_buf_add(&key, "", 1);
        bt_buf_add(&value, "", 1);
        *failed = key.failed || value.failed;
        const char *dot = *failed ? NULL : strchr((char *)key.data, '.');
        if (dot && strcmp(dot + 1, suffix) == 0)
            found = strtoull((char *)value.data, NULL, 10);
        key.len = value.len = 0;
    }
    bt_buf_free(&key);
    bt_buf_free(&value);
    return found;
}

/* Bytes of keys and values of one token, 16 bits each; 0: the shape is not in the file. */
static uint64_t bytes_per_token(const struct bt_model *m, bool *failed) {
    uint64_t layers = number(m, "block_count", failed), width = number(m, "embedding_length", failed);
    uint64_t heads = number(m, "attention.head_count", failed);
    uint64_t heads_kv = number(m, "attention.head_count_kv", failed);
    if (layers == 0 || width == 0 || heads == 0)
        return 0;
    return 2 * sizeof(uint16_t) * (width / heads) * (heads_kv ? heads_kv : heads) * layers;
}

baton_status bt_estimate(const baton_llama_params *params, const char *path, uint64_t *weights, uint64_t *contexts,
                         baton_error *err) {
    struct bt_model_params p = {.path = path, .facts_only = true};
    struct bt_model_info info;
    struct bt_model *m;
    *weights = *contexts = 0;
    baton_status status = bt_model_open(&p, &m, err);
    if (status)
        return status;
    m->ops->info(m, &info);
    *weights = info.bytes;
    bool failed = false;
    if (m->ops->metadata) {
        uint64_t trained = number(m, "context_length", &failed);
        uint64_t ctx = params->ctx > 0 ? (uint64_t)params->ctx : BT_MIN(trained, BT_CTX_PRESET);
        ctx = (ctx + 255) / 256 * 256;
        *contexts = bytes_per_token(m, &failed) * ctx * (uint64_t)params->policy->sequences *
                    (uint64_t)params->policy->contexts;
    }
    bt_model_close(m);
    return failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the metadata of a model") : BATON_OK;
}
