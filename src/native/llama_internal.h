/* The parts of the libllama implementation: backends and log (llama_backend.c), model and vocabulary (llama_model.c),
 * chat template (llama_chat.c), context (llama_context.c), sampler (llama_sampler.c). */
#ifndef BT_LLAMA_INTERNAL_H
#define BT_LLAMA_INTERNAL_H

#include <llama.h>

#include "native/native.h"

/* Immutable once open: any thread may use it. */
struct bt_llama_model {
    struct bt_model base;
    struct llama_model *model;
    const struct llama_vocab *vocab;
    int vocab_size;
    char *path;
    char *chat_template; /* NULL: the model's own */
};

static inline struct bt_llama_model *bt_llama_model_of(const struct bt_model *m) {
    return (struct bt_llama_model *)BT_CONTAINER(m, const struct bt_llama_model, base);
}

/* Loads the backends, once per process. */
baton_status bt_llama_start(baton_error *err);

/* The one logger of ggml, libllama and libwhisper: process-wide in all three, each setting it overwrites the others'.
 */
void bt_native_log(enum ggml_log_level level, const char *text, void *arg);

/* Threads of a native call; `asked` 0: one core is left to everybody else, because ggml's threads spin, and on all
 * cores they collapse beside any other work. */
int bt_native_threads(int asked);

/* What the native library says at error level on this thread between the two calls goes to `causes`, a line each. */
void bt_llama_listen(struct bt_buf *causes);
const char *bt_llama_heard(struct bt_buf *causes); /* one line for an error text; lives as long as causes */

baton_status bt_llama_chat(const struct bt_model *m, const struct bt_chat_message *messages, size_t n,
                           struct bt_buf *out, baton_error *err);
baton_status bt_llama_check_template(const char *chat_template, baton_error *err);

baton_status bt_llama_context_open(struct bt_model *m, const struct bt_context_params *params, struct bt_context **c,
                                   baton_error *err);
baton_status bt_llama_sampler_open(const struct bt_model *m, const struct bt_sampling *sampling,
                                   const bt_token *history, size_t n, struct bt_sampler **s, baton_error *err);
bt_token bt_llama_sampler_pick(struct bt_sampler *s, const float *logits, int32_t n, uint64_t index);

#endif
