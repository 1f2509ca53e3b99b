/* A libwhisper model: loading, its facts, its languages. Immutable once open but for the count of its states, shared by
 * all threads. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "native/device.h"
#include "native/whisper_internal.h"

static pthread_once_t started = PTHREAD_ONCE_INIT;
static baton_error start_error; /* written under `started` only */

/* libwhisper never loads backends, and aborts when there are none. Every whisper_init* hands libwhisper's logger to
 * ggml again, so it has to be the one that is there. */
static void start(void) {
    if (bt_llama_start(&start_error) == BATON_OK)
        whisper_log_set(bt_native_log, NULL);
}

static void model_free(struct bt_whisper *base) {
    struct bt_native_whisper *w = bt_native_whisper_of(base);
    whisper_free(w->ctx);
    free(w);
}

static void model_info(const struct bt_whisper *base, struct bt_whisper_info *info) {
    *info = bt_native_whisper_of(base)->info;
}

static int model_language(const struct bt_whisper *base, const char *name) {
    int id = whisper_lang_id(name);
    return id < bt_native_whisper_of(base)->info.languages ? id : -1;
}

static const char *model_lang_str(const struct bt_whisper *base, int id) {
    return id >= 0 && id < bt_native_whisper_of(base)->info.languages ? whisper_lang_str(id) : NULL;
}

static const char *model_lang_name(const struct bt_whisper *base, int id) {
    return id >= 0 && id < bt_native_whisper_of(base)->info.languages ? whisper_lang_str_full(id) : NULL;
}

static const char *model_token_text(const struct bt_whisper *base, int32_t token) {
    const struct bt_native_whisper *w = bt_native_whisper_of(base);
    return token >= 0 && token < w->info.vocab_size ? whisper_token_to_str(w->ctx, token) : NULL;
}

static void *model_native(const struct bt_whisper *base) {
    return bt_native_whisper_of(base)->ctx;
}

static const struct bt_whisper_ops model_ops = {
    .free = model_free,
    .info = model_info,
    .language = model_language,
    .lang_str = model_lang_str,
    .lang_name = model_lang_name,
    .token_text = model_token_text,
    .check = bt_whisper_model_check,
    .state = bt_whisper_state_open,
    .native = model_native,
};

/* Caches in f16, as whisper_init_state makes them, and the room it reserves for logits. */
static uint64_t state_bytes(const struct bt_whisper_info *i) {
    enum { GRAIN = 256 };
    uint64_t text = ((uint64_t)i->text_ctx + GRAIN - 1) / GRAIN * GRAIN;
    uint64_t audio = ((uint64_t)i->audio_ctx + GRAIN - 1) / GRAIN * GRAIN;
    uint64_t row = 2 * sizeof(uint16_t) * (uint64_t)i->width; /* keys, values */
    return row * (uint64_t)i->text_layers * (text + audio) + row * audio +
           sizeof(float) * (uint64_t)i->vocab_size * (uint64_t)i->text_ctx;
}

static void gather_info(struct bt_native_whisper *w, const char *path) {
    enum { NOT_LANGUAGES = 51766 }; /* of the tokens of a multilingual model */
    struct bt_whisper_info *i = &w->info;
    const char *slash = strrchr(path, '/');
    snprintf(i->name, sizeof i->name, "%s", slash ? slash + 1 : path);
    snprintf(i->type, sizeof i->type, "%s", whisper_model_type_readable(w->ctx));
    i->multilingual = whisper_is_multilingual(w->ctx);
    i->languages = i->multilingual ? BT_MIN(i->vocab_size - NOT_LANGUAGES, whisper_lang_max_id() + 1) : 1;
    i->audio_ctx = whisper_model_n_audio_ctx(w->ctx);
    i->text_ctx = whisper_model_n_text_ctx(w->ctx);
    i->audio_layers = whisper_model_n_audio_layer(w->ctx);
    i->text_layers = whisper_model_n_text_layer(w->ctx);
    i->width = whisper_model_n_text_state(w->ctx);
    /* by these whisper_full tells the first distilled models, and runs them without timestamps */
    i->timestamps = i->text_layers != 2 || i->vocab_size == 51866;
    i->state_bytes = state_bytes(i);
    i->start = whisper_token_sot(w->ctx);
    i->end = whisper_token_eot(w->ctx);
    i->transcribe = whisper_token_transcribe(w->ctx);
    i->translate = whisper_token_translate(w->ctx);
    i->no_timestamps = whisper_token_not(w->ctx);
    i->first_timestamp = whisper_token_beg(w->ctx);
    i->first_language = whisper_token_lang(w->ctx, 0);
}

static size_t read_file(void *file, void *out, size_t n) {
    return fread(out, 1, n, file);
}
static bool at_end(void *file) {
    return feof((FILE *)file) != 0;
}
static void close_file(void *file) {
    fclose(file);
}

/* From a descriptor that stays open. */
static struct whisper_context *load_file(int fd, struct whisper_context_params p) {
    int mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *in = mine >= 0 && lseek(mine, 0, SEEK_SET) == 0 ? fdopen(mine, "rb") : NULL;
    struct whisper_model_loader loader = {.context = in, .read = read_file, .eof = at_end, .close = close_file};
    if (in)
        return whisper_init_with_params_no_state(&loader, p);
    if (mine >= 0)
        close(mine);
    return NULL;
}

static baton_status load(struct bt_native_whisper *w, const struct bt_whisper_model_params *params, baton_error *err) {
    struct whisper_context_params p = whisper_context_default_params();
    struct bt_buf causes = BT_BUF_INIT;
    p.use_gpu = params->gpu;
    p.gpu_device = params->gpu_device;
    bt_llama_listen(&causes);
    w->ctx = params->file ? load_file(*params->file, p) : whisper_init_from_file_with_params_no_state(params->path, p);
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    if (!w->ctx)
        status =
            bt_fail(err, BATON_BAD_MODEL, "%s cannot be loaded (is it damaged, or newer than this libwhisper?): %s",
                    params->path, cause);
    bt_buf_free(&causes);
    return status;
}

baton_status bt_whisper_open_native(const struct bt_whisper_model_params *params, struct bt_whisper **out,
                                    baton_error *err) {
    *out = NULL;
    struct bt_native_whisper *w = calloc(1, sizeof *w);
    if (!w)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a model");
    baton_status status = bt_whisper_check_file(params->path, params->file, &w->info, err);
    if (!status) {
        pthread_once(&started, start);
        if (start_error.status)
            status = bt_fail(err, start_error.status, "%s", start_error.text);
    }
    if (!status)
        status = bt_llama_device(params->gpu, &w->base.device, err);
    if (!status)
        status = load(w, params, err);
    if (status) {
        free(w);
        return status;
    }
    w->base.ops = &model_ops;
    gather_info(w, params->path);
    *out = &w->base;
    return BATON_OK;
}

const char *bt_whisper_version(void) {
    return whisper_version();
}
