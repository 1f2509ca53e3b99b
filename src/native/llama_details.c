/* What a model says of itself, and its tokens as text again. Reads what never changes: any thread. */
#include "native/llama_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void bt_llama_details(const struct bt_model *base, struct bt_model_details *d) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    bool memory_only = llama_model_has_encoder(m->model) || !llama_model_has_decoder(m->model);
    *d = (struct bt_model_details){
        .params = llama_model_n_params(m->model),
        .layers = llama_model_n_layer(m->model),
        .width = llama_model_n_embd(m->model),
        .heads = llama_model_n_head(m->model),
        .heads_kv = llama_model_n_head_kv(m->model),
        .embedding_width = llama_model_n_embd_out(m->model),
        .scores = m->scores,
        .generates = !memory_only && !bt_llama_embeds_only(m),
        .bos = llama_vocab_bos(m->vocab),
        .eos = llama_vocab_eos(m->vocab),
        .eot = llama_vocab_eot(m->vocab),
        .sep = llama_vocab_sep(m->vocab),
        .newline = llama_vocab_nl(m->vocab),
        .pad = llama_vocab_pad(m->vocab),
        .add_bos = llama_vocab_get_add_bos(m->vocab),
        .add_eos = llama_vocab_get_add_eos(m->vocab),
    };
}

typedef int32_t read_text(const struct llama_model *model, int32_t i, char *text, size_t size);

/* Says how long the text is, whatever room it was given. */
static void append(const struct llama_model *model, int i, read_text *read, struct bt_buf *out) {
    for (size_t room = 256; bt_buf_reserve(out, room);) {
        int32_t len = read(model, i, (char *)out->data + out->len, room);
        if (len < (int32_t)room) {
            out->len += (size_t)BT_MAX(len, 0);
            return;
        }
        room = (size_t)len + 1;
    }
}

bool bt_llama_metadata(const struct bt_model *base, int i, struct bt_buf *key, struct bt_buf *value) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    if (i < 0 || i >= llama_model_meta_count(m->model))
        return false;
    append(m->model, i, llama_model_meta_key_by_index, key);
    append(m->model, i, llama_model_meta_val_str_by_index, value);
    return true;
}

baton_status bt_llama_detokenize(const struct bt_model *base, const bt_token *tokens, size_t n, bool special,
                                 struct bt_buf *out, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    if (n > INT32_MAX / 16)
        return bt_fail(err, BATON_TOO_LONG, "%zu tokens are more than can be turned into text at once", n);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= m->vocab_size)
            return bt_fail(err, BATON_INVALID, "token %d at index %zu is not in the vocabulary (0 to %d)", tokens[i], i,
                           m->vocab_size - 1);
    for (int32_t room = (int32_t)n * 8 + 16; bt_buf_reserve(out, (size_t)room);) {
        int32_t len =
            llama_detokenize(m->vocab, tokens, (int32_t)n, (char *)out->data + out->len, room, false, special);
        if (len >= 0) {
            out->len += (size_t)len;
            return BATON_OK;
        }
        if (-len <= room)
            return bt_fail(err, BATON_FAILED, "libllama cannot turn %zu tokens into text", n);
        room = -len;
    }
    return bt_fail(err, BATON_NO_MEMORY, "no memory for the text of %zu tokens", n);
}

uint64_t bt_llama_fingerprint(int fd) {
    enum { BLOCKS = 64, WORDS = 512 };
    uint64_t words[WORDS], hash = 0;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return 0;
    hash = bt_mix64((uint64_t)st.st_size);
    off_t last = BT_MAX(st.st_size - (off_t)sizeof words, (off_t)0);
    for (int i = 0; i < BLOCKS; i++) {
        memset(words, 0, sizeof words);
        ssize_t got = pread(fd, words, sizeof words, last / (BLOCKS - 1) * i);
        for (int k = 0; got > 0 && k < WORDS; k++)
            hash = bt_mix64(hash ^ words[k]);
    }
    return hash ? hash : 1;
}

uint64_t bt_llama_fingerprint_of(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t fingerprint = bt_llama_fingerprint(fd);
    if (fd >= 0)
        close(fd);
    return fingerprint;
}
