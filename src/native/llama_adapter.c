/* LoRA adapters. An adapter is immutable once open; opening and freeing one changes its model's register, which
 * libllama does not guard: the model's adapters_lock does. */
#include "native/llama_internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct adapter {
    struct bt_adapter base;
    struct llama_adapter_lora *lora;
    uint64_t fingerprint;
};

static baton_status check_adapter(const struct llama_adapter_lora *lora, const char *path, baton_error *err) {
    if (llama_adapter_get_alora_n_invocation_tokens(lora) > 0)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "%s is an activated LoRA: it counts from certain tokens on, and whole answers cannot use it",
                       path);
    return BATON_OK;
}

baton_status bt_llama_adapter_open_file(struct bt_model *base, const char *path, int fd, struct bt_adapter **out,
                                        baton_error *err) {
    struct bt_llama_model *m = bt_llama_model_of(base);
    struct bt_buf causes = BT_BUF_INIT;
    FILE *file = bt_llama_reopen(fd);
    struct adapter *a = calloc(1, sizeof *a);
    *out = NULL;
    if (!file || !a) {
        if (file)
            fclose(file);
        free(a);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for an adapter");
    }
    a->base.model = base;
    a->fingerprint = bt_llama_fingerprint(fd);
    pthread_mutex_lock(&m->adapters_lock);
    bt_llama_listen(&causes);
    a->lora = llama_adapter_lora_init_from_file_ptr(m->model, file);
    const char *cause = bt_llama_heard(&causes);
    pthread_mutex_unlock(&m->adapters_lock);
    fclose(file);
    baton_status status =
        a->lora ? check_adapter(a->lora, path, err)
                : bt_fail(err, BATON_BAD_MODEL,
                          "%s cannot be loaded as a LoRA adapter (is it one, and for this model?): %s", path, cause);
    bt_buf_free(&causes);
    if (status) {
        bt_llama_adapter_free(base, &a->base);
        return status;
    }
    *out = &a->base;
    return BATON_OK;
}

baton_status bt_llama_adapter_open(struct bt_model *base, const char *path, struct bt_adapter **out, baton_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *out = NULL;
    if (fd < 0)
        return bt_fail(err, BATON_NOT_FOUND,
                       "there is no adapter file %s that can be read: give the path of a GGUF file", path);
    baton_status status = bt_llama_adapter_open_file(base, path, fd, out, err);
    close(fd);
    return status;
}

void bt_llama_adapter_free(struct bt_model *base, struct bt_adapter *adapter) {
    struct bt_llama_model *m = bt_llama_model_of(base);
    if (!adapter)
        return;
    struct adapter *a = BT_CONTAINER(adapter, struct adapter, base);
    if (a->lora) {
        pthread_mutex_lock(&m->adapters_lock);
        llama_adapter_lora_free(a->lora);
        pthread_mutex_unlock(&m->adapters_lock);
    }
    free(a);
}

static baton_status check_set(const struct bt_llama_context *c, struct bt_adapter *const *adapters, const float *scales,
                              size_t n, baton_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (!adapters[i] || adapters[i]->model != &c->model->base)
            return bt_fail(err, BATON_INVALID, "adapter %zu was opened for another model", i);
        if (!isfinite(scales[i]))
            return bt_fail(err, BATON_INVALID, "the scale of adapter %zu is not a finite number", i);
        for (size_t k = 0; k < i; k++)
            if (adapters[k] == adapters[i])
                return bt_fail(err, BATON_INVALID, "adapter %zu is adapter %zu again", i, k);
    }
    return BATON_OK;
}

baton_status bt_llama_set_adapters(struct bt_context *base, struct bt_adapter *const *adapters, const float *scales,
                                   size_t n, baton_error *err) {
    struct bt_llama_context *c = bt_llama_context_of(base);
    uint64_t which = 0;
    baton_status status = check_set(c, adapters, scales, n, err);
    if (status)
        return status;
    struct llama_adapter_lora **list = calloc(n ? n : 1, sizeof *list);
    float *own = calloc(n ? n : 1, sizeof *own);
    for (size_t i = 0; list && own && i < n; i++) {
        uint32_t bits;
        const struct adapter *a = BT_CONTAINER(adapters[i], const struct adapter, base);
        list[i] = a->lora;
        own[i] = scales[i];
        memcpy(&bits, &own[i], sizeof bits);
        which = bt_mix64(which ^ a->fingerprint ^ bt_mix64(bits));
    }
    if (!list || !own)
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for %zu adapters", n);
    else if (llama_set_adapters_lora(c->ctx, list, n, own) != 0)
        status = bt_fail(err, BATON_FAILED, "libllama refuses the adapters");
    free(list);
    free(own);
    if (!status && which != c->adapters) {
        c->adapters = which;
        c->batch.n_tokens = 0;
        if (c->memory)
            llama_memory_clear(c->memory, true);
    }
    return status;
}
