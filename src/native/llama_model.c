/* A libllama model: loading, its facts, its vocabulary. Immutable once open, shared by all threads. */
#include "native/device.h"
#include "native/llama_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void model_free(struct bt_model *base) {
    struct bt_llama_model *m = bt_llama_model_of(base);
    bt_llama_vision_close(m);
    if (!m->borrowed)
        llama_model_free(m->model);
    pthread_mutex_destroy(&m->adapters_lock);
    free(m->path);
    free(m->chat_template);
    free(m);
}

static bool is_recurrent(const struct llama_model *m) {
    return llama_model_is_recurrent(m) || llama_model_is_hybrid(m);
}

static void model_info(const struct bt_model *base, struct bt_model_info *info) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    *info = (struct bt_model_info){
        .vocab_size = m->vocab_size,
        .ctx_train = llama_model_n_ctx_train(m->model),
        .bytes = llama_model_size(m->model),
        .recurrent =
            llama_model_is_recurrent(m->model) || llama_model_is_hybrid(m->model) || llama_model_n_swa(m->model) > 0,
        .has_chat_template = m->chat_template || llama_model_chat_template(m->model, NULL),
        .vision = m->mmproj != NULL,
    };
    if (llama_model_meta_val_str(m->model, "general.name", info->name, sizeof info->name) <= 0) {
        const char *slash = strrchr(m->path, '/');
        snprintf(info->name, sizeof info->name, "%s", slash ? slash + 1 : m->path);
    }
    llama_model_desc(m->model, info->description, sizeof info->description);
}

static baton_status model_tokenize(const struct bt_model *base, const char *text, size_t len, bool add_special,
                                   bool parse_special, bt_token **tokens, size_t *n, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    *tokens = NULL;
    *n = 0;
    if (len > INT32_MAX / 2)
        return bt_fail(err, BATON_TOO_LONG, "a text of %zu bytes is more than can be turned into tokens", len);
    for (int32_t room = (int32_t)(len / 2) + 16;;) {
        bt_token *t = malloc((size_t)room * sizeof *t);
        if (!t)
            return bt_fail(err, BATON_NO_MEMORY, "no memory for %d tokens", room);
        int32_t count = llama_tokenize(m->vocab, text, (int32_t)len, t, room, add_special, parse_special);
        if (count >= 0) {
            *tokens = t;
            *n = (size_t)count;
            return BATON_OK;
        }
        free(t);
        if (count == INT32_MIN || -count <= room)
            return bt_fail(err, BATON_TOO_LONG, "a text of %zu bytes has more tokens than can be counted", len);
        room = -count;
    }
}

static void model_piece(const struct bt_model *base, bt_token token, struct bt_buf *out) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    if (token < 0 || token >= m->vocab_size)
        return;
    for (int32_t room = 32; bt_buf_reserve(out, (size_t)room);) {
        int32_t len = llama_token_to_piece(m->vocab, token, (char *)out->data + out->len, room, 0, false);
        if (len >= 0) {
            out->len += (size_t)len;
            return;
        }
        room = -len;
    }
}

static bool model_is_end(const struct bt_model *base, bt_token token) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    return token == BT_TOKEN_END || (token >= 0 && token < m->vocab_size && llama_vocab_is_eog(m->vocab, token));
}

static const struct bt_model_ops model_ops = {
    .free = model_free,
    .info = model_info,
    .tokenize = model_tokenize,
    .piece = model_piece,
    .is_end = model_is_end,
    .chat = bt_llama_chat,
    .context = bt_llama_context_open,
    .sampler = bt_llama_sampler_open,
    .details = bt_llama_details,
    .metadata = bt_llama_metadata,
    .detokenize = bt_llama_detokenize,
    .pair = bt_llama_pair,
    .adapter = bt_llama_adapter_open,
    .adapter_free = bt_llama_adapter_free,
    .chunks = bt_llama_chunks,
};

struct progress {
    const struct bt_model_params *params;
    bool stopped;
};

static bool on_progress(float done, void *arg) {
    struct progress *p = arg;
    if (!p->params->progress(p->params->progress_arg, done))
        p->stopped = true;
    return !p->stopped;
}

/* Weights repacked for the processor's matrix units make libllama multiply several recurrent states otherwise than one:
 * an answer would depend on its neighbours. Only such models, known when loaded, are loaded once more without. */
static bool must_not_be_repacked(const struct llama_model *m, const struct llama_model_params *p) {
    return m && p->use_extra_bufts && !p->vocab_only && is_recurrent(m);
}

static struct llama_model *load_once(const struct bt_llama_model *m, const struct bt_model_params *params,
                                     struct llama_model_params p) {
    return params->n_files ? bt_llama_load_files(params->files, params->n_files, p)
                           : llama_model_load_from_file(m->path, p);
}

static baton_status load(struct bt_llama_model *m, const struct bt_model_params *params, baton_error *err) {
    struct progress progress = {.params = params};
    struct llama_model_params p = llama_model_default_params();
    struct bt_buf causes = BT_BUF_INIT;
    ggml_backend_dev_t none[] = {NULL};
    p.n_gpu_layers = params->gpu_layers < 0 ? -1 : params->gpu_layers;
    if (params->gpu_layers == 0) /* else a GPU that is there computes long prompts all the same */
        p.devices = none;
    p.vocab_only = params->facts_only;
    if (params->progress) {
        p.progress_callback = on_progress;
        p.progress_callback_user_data = &progress;
    }
    bt_llama_listen(&causes);
    m->model = load_once(m, params, p);
    if (must_not_be_repacked(m->model, &p)) {
        llama_model_free(m->model);
        p.use_extra_bufts = false;
        m->model = load_once(m, params, p);
    }
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    if (!m->model && progress.stopped)
        status = bt_fail(err, BATON_CANCELLED, "loading %s was stopped", m->path);
    else if (!m->model)
        status =
            bt_fail(err, BATON_BAD_MODEL,
                    "%s cannot be loaded (is it damaged, cut off, or newer than this libllama?): %s", m->path, cause);
    bt_buf_free(&causes);
    return status;
}

/* What the native library would answer with an assert, or not at all. */
static baton_status check_kind(const struct bt_llama_model *m, baton_error *err) {
    if (llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_NONE || m->vocab_size <= 0)
        return bt_fail(err, BATON_BAD_MODEL, "%s has no vocabulary: it cannot read or write text", m->path);
    if (llama_model_has_encoder(m->model) || !llama_model_has_decoder(m->model) || llama_model_is_diffusion(m->model))
        return bt_fail(err, BATON_UNSUPPORTED, "%s does not generate text token by token (encoder or diffusion model)",
                       m->path);
    return BATON_OK;
}

static void look_into(struct bt_llama_model *m, const struct bt_model_params *params) {
    enum { PIECES_MAX = 1024 };
    int own[PIECES_MAX];
    size_t n = 0;
    baton_error ignored;
    if (params->n_files)
        bt_llama_look_into(m, params->files, params->n_files);
    else if (bt_model_files_open(m->path, own, PIECES_MAX, &n, &ignored) == BATON_OK)
        bt_llama_look_into(m, own, n);
    for (size_t i = 0; i < n; i++)
        close(own[i]);
}

static baton_status open_model(struct bt_llama_model *m, const struct bt_model_params *params, baton_error *err) {
    const char *path = params->path;
    baton_status status = BATON_OK;
    if (!path)
        status = bt_builtin_model(&path, err);
    if (status)
        return status;
    m->path = strdup(path);
    m->chat_template = params->chat_template ? strdup(params->chat_template) : NULL;
    if (!m->path || (params->chat_template && !m->chat_template))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the names of model %s", path);
    status = params->n_files ? bt_llama_check_file(m->path, params->files[0], err) : bt_llama_check_path(m->path, err);
    if (status == BATON_OK)
        status = bt_llama_start(err);
    if (status == BATON_OK && m->chat_template)
        status = bt_llama_check_template(m->chat_template, err);
    if (status == BATON_OK && !params->facts_only)
        status = bt_llama_device(params->gpu_layers, &m->base.device, err);
    if (status != BATON_OK)
        return status;
    bt_device_enter(m->base.device);
    status = load(m, params, err);
    bt_device_leave(m->base.device);
    if (status != BATON_OK)
        return status;
    m->vocab = llama_model_get_vocab(m->model);
    m->vocab_size = llama_vocab_n_tokens(m->vocab);
    m->fingerprint = params->n_files ? bt_llama_fingerprint(params->files[0]) : bt_llama_fingerprint_of(m->path);
    look_into(m, params);
    status = check_kind(m, err);
    return status || !params->mmproj ? status : bt_llama_vision_open(m, params, err);
}

baton_status bt_llama_open(const struct bt_model_params *params, struct bt_model **out, baton_error *err) {
    *out = NULL;
    struct bt_llama_model *m = calloc(1, sizeof *m);
    if (!m)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    m->base.ops = &model_ops;
    pthread_mutex_init(&m->adapters_lock, NULL);
    baton_status status = open_model(m, params, err);
    if (status != BATON_OK) {
        struct bt_device *device = m->base.device;
        bt_device_enter(device);
        model_free(&m->base);
        bt_device_leave(device);
        return status;
    }
    *out = &m->base;
    return BATON_OK;
}

/* What the first context is of, as a model that is not freed. */
static baton_status borrow_model(struct llama_context *first, const char *chat_template, struct bt_llama_model **out,
                                 baton_error *err) {
    struct bt_llama_model *m = calloc(1, sizeof *m);
    *out = m;
    if (!m)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    m->base.ops = &model_ops;
    pthread_mutex_init(&m->adapters_lock, NULL);
    m->borrowed = true;
    m->model = (struct llama_model *)llama_get_model(first);
    m->path = strdup("the program's own model");
    m->chat_template = chat_template ? strdup(chat_template) : NULL;
    if (!m->path || (chat_template && !m->chat_template))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the names of a model");
    m->vocab = llama_model_get_vocab(m->model);
    m->vocab_size = llama_vocab_n_tokens(m->vocab);
    m->fingerprint = bt_mix64(llama_model_size(m->model)) ^ llama_model_n_params(m->model); /* there is no file */
    baton_status status = m->chat_template ? bt_llama_check_template(m->chat_template, err) : BATON_OK;
    return status ? status : check_kind(m, err);
}

baton_status bt_llama_adopt(void *const *natives, int n, const char *chat_template, struct bt_model **model,
                            struct bt_context **contexts, baton_error *err) {
    struct bt_llama_model *m;
    int made = 0;
    *model = NULL;
    baton_status status = borrow_model(natives[0], chat_template, &m, err);
    for (; made < n && !status; made++) {
        for (int i = 0; i < made && !status; i++)
            if (natives[i] == natives[made])
                status = bt_fail(err, BATON_INVALID, "contexts %d and %d are the same one", i, made);
        if (!status && llama_get_model(natives[made]) != m->model)
            status =
                bt_fail(err, BATON_INVALID, "context %d is of another model than context 0: adopt them apart", made);
        status = status ? status : bt_llama_context_wrap(m, natives[made], &contexts[made], err);
        if (status)
            break;
    }
    if (!status) {
        *model = &m->base;
        return BATON_OK;
    }
    while (made-- > 0)
        contexts[made]->ops->free(contexts[made]);
    if (m)
        model_free(&m->base);
    return status;
}

void bt_native_own(struct bt_context *c) {
    bt_llama_context_of(bt_device_inner(c))->borrowed = false;
}

int bt_native_rows(const struct bt_context *c) {
    return bt_llama_context_of(bt_device_inner((struct bt_context *)c))->rows_max;
}
