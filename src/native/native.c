/* Which implementation a model path means, and what both share: a model's adapters, and where last words go. State: the
 * descriptor of the latter, an atomic word. */
#include "native/device.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static _Atomic int words_fd = -1;

void bt_native_last_words(int fd) {
    atomic_store(&words_fd, fd);
    bt_llama_catch_abort(fd >= 0 ? bt_native_say_last : NULL);
}

void bt_native_say_last(const char *text) {
    int fd = atomic_load(&words_fd);
    struct iovec line[] = {{(void *)text, strcspn(text, "\n")}, {(void *)"\n", 1}};
    line[0].iov_len = BT_MIN(line[0].iov_len, (size_t)400);
    if (fd >= 0) { /* one write, shorter than what a pipe keeps whole */
        ssize_t n = writev(fd, line, 2);
        (void)n;
    }
}

static baton_status open_adapters(struct bt_model *m, const struct bt_model_params *params, baton_error *err) {
    baton_status status = BATON_OK;
    if (params->n_loras == 0)
        return BATON_OK;
    m->adapters = calloc(params->n_loras, sizeof(struct bt_adapter *));
    m->scales = calloc(params->n_loras, sizeof *m->scales);
    if (!m->adapters || !m->scales)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for %zu adapters", params->n_loras);
    while (m->n_adapters < params->n_loras && !status) {
        const struct bt_lora *lora = &params->loras[m->n_adapters];
        m->scales[m->n_adapters] = lora->scale;
        if (!lora->path)
            status = bt_fail(err, BATON_INVALID, "adapter %zu has no path", m->n_adapters);
        else if (params->lora_files && params->n_files)
            status = bt_llama_adapter_open_file(m, lora->path, params->lora_files[m->n_adapters],
                                                &m->adapters[m->n_adapters], err);
        else
            status = m->ops->adapter(m, lora->path, &m->adapters[m->n_adapters], err);
        m->n_adapters += status == BATON_OK;
    }
    return status;
}

/* Weights and adapters are put onto their device and taken from it in turn with those who compute there. */
baton_status bt_model_open(const struct bt_model_params *params, struct bt_model **m, baton_error *err) {
    baton_status status = params->path && strncmp(params->path, "fake:", 5) == 0 ? bt_fake_open(params, m, err)
                                                                                 : bt_llama_open(params, m, err);
    if (status)
        return status;
    bt_device_enter((*m)->device);
    status = open_adapters(*m, params, err);
    bt_device_leave((*m)->device);
    if (status) {
        bt_model_close(*m);
        *m = NULL;
    }
    return status;
}

const struct bt_model *bt_model_keep(const struct bt_model *m) {
    atomic_fetch_add(&((struct bt_model *)m)->keepers, 1);
    return m;
}

void bt_model_close(struct bt_model *m) {
    if (!m || atomic_fetch_sub(&m->keepers, 1) > 0)
        return;
    struct bt_device *device = m->device;
    bt_device_enter(device);
    for (size_t i = 0; i < m->n_adapters; i++)
        m->ops->adapter_free(m, m->adapters[i]);
    free(m->adapters);
    free(m->scales);
    m->ops->free(m);
    bt_device_leave(device);
}

baton_status bt_context_open(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                             baton_error *err) {
    bt_device_enter(m->device);
    baton_status status = m->ops->context(m, params, c, err);
    if (!status && m->n_adapters > 0)
        status = (*c)->ops->set_adapters(*c, m->adapters, m->scales, m->n_adapters, err);
    if (!status)
        status = bt_device_gate(m->device, c, err);
    if (status && *c) {
        (*c)->ops->free(*c);
        *c = NULL;
    }
    bt_device_leave(m->device);
    return status;
}

/* How they were made is not known here: on any device that there is. */
static baton_status gate_all(struct bt_model *m, struct bt_context **contexts, int n, baton_error *err) {
    baton_status status = bt_llama_device(-1, &m->device, err);
    for (int i = 0; i < n && !status; i++)
        status = bt_device_gate(m->device, &contexts[i], err);
    return status;
}

baton_status bt_native_adopt(void *const *natives, int n, const char *chat_template, struct bt_model **model,
                             struct bt_context **contexts, baton_error *err) {
    baton_status status = bt_llama_adopt(natives, n, chat_template, model, contexts, err);
    if (status)
        return status;
    status = gate_all(*model, contexts, n, err);
    for (int i = 0; i < n && status; i++)
        contexts[i]->ops->free(contexts[i]);
    if (status) {
        bt_model_close(*model);
        *model = NULL;
    }
    return status;
}
