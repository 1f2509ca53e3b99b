/* Which implementation a model path means, and what both share: a model's adapters, and where last words go. State: the
 * descriptor of the latter, an atomic word. */
#include "native/native.h"

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

baton_status bt_model_open(const struct bt_model_params *params, struct bt_model **m, baton_error *err) {
    baton_status status = params->path && strncmp(params->path, "fake:", 5) == 0 ? bt_fake_open(params, m, err)
                                                                                 : bt_llama_open(params, m, err);
    if (status)
        return status;
    status = open_adapters(*m, params, err);
    if (status) {
        bt_model_close(*m);
        *m = NULL;
    }
    return status;
}

void bt_model_close(struct bt_model *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->n_adapters; i++)
        m->ops->adapter_free(m, m->adapters[i]);
    free(m->adapters);
    free(m->scales);
    m->ops->free(m);
}

baton_status bt_context_open(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                             baton_error *err) {
    baton_status status = m->ops->context(m, params, c, err);
    if (status || m->n_adapters == 0)
        return status;
    status = (*c)->ops->set_adapters(*c, m->adapters, m->scales, m->n_adapters, err);
    if (status) {
        (*c)->ops->free(*c);
        *c = NULL;
    }
    return status;
}
