/* What the fake model says of itself, and its adapters: a number each that goes into every hash. */
#include "native/fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bt_fake_details(const struct bt_model *base, struct bt_model_details *d) {
    const struct bt_fake_model *m = BT_CONTAINER(base, const struct bt_fake_model, base);
    *d = (struct bt_model_details){.embedding_width = BT_FAKE_WIDTH,
                                   .width = BT_FAKE_WIDTH,
                                   .scores = (int)m->scores,
                                   .generates = true,
                                   .bos = BT_FAKE_BOS,
                                   .eos = BT_FAKE_EOS,
                                   .eot = BT_FAKE_EOT,
                                   .sep = -1,
                                   .newline = '\n',
                                   .pad = -1,
                                   .add_bos = true};
}

bool bt_fake_metadata(const struct bt_model *base, int i, struct bt_buf *key, struct bt_buf *value) {
    const struct bt_fake_model *m = BT_CONTAINER(base, const struct bt_fake_model, base);
    static const char *const names[] = {
#define BT_FAKE_NAME(name, preset, least, text) #name,
        BT_FAKE_KNOBS(BT_FAKE_NAME)
#undef BT_FAKE_NAME
    };
    const int64_t values[] = {
#define BT_FAKE_VALUE(name, preset, least, text) m->name,
        BT_FAKE_KNOBS(BT_FAKE_VALUE)
#undef BT_FAKE_VALUE
    };
    if (i < 0 || (size_t)i >= BT_COUNT(names))
        return false;
    bt_buf_addf(key, "fake.%s", names[i]);
    bt_buf_addf(value, "%lld", (long long)values[i]);
    return true;
}

baton_status bt_fake_detokenize(const struct bt_model *base, const bt_token *tokens, size_t n, bool special,
                                struct bt_buf *out, baton_error *err) {
    const struct bt_fake_model *m = BT_CONTAINER(base, const struct bt_fake_model, base);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= m->vocab)
            return bt_fail(err, BATON_INVALID, "token %d at index %zu is not in the vocabulary (0 to %d)", tokens[i], i,
                           (int)m->vocab - 1);
    for (size_t i = 0; i < n; i++) {
        char piece[16];
        const char *name = special ? bt_fake_special(tokens[i]) : NULL;
        if (name)
            bt_buf_adds(out, name);
        else
            bt_buf_add(out, piece, bt_fake_piece(tokens[i], piece));
    }
    return out->failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the text of %zu tokens", n) : BATON_OK;
}

baton_status bt_fake_pair(const struct bt_model *base, const char *query, const char *document, bt_token **tokens,
                          size_t *n, baton_error *err) {
    struct bt_buf text = BT_BUF_INIT;
    if (BT_CONTAINER(base, const struct bt_fake_model, base)->scores == 0)
        return bt_fail(err, BATON_UNSUPPORTED, "the fake has no rank head: the knob scores gives it one");
    bt_buf_addf(&text, "%s<|eos|>%s", query, document);
    baton_status status = text.failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for a pair")
                                      : bt_fake_tokenize(base, (char *)text.data, text.len, true, true, tokens, n, err);
    bt_buf_free(&text);
    return status;
}

/* A plain number, as libllama's set is plain memory: unserialised calls are a race that ThreadSanitizer sees. */
static void count_adapter(struct bt_fake_model *m, int by) {
    pthread_mutex_lock(&m->adapters_lock);
    m->adapters += by;
    pthread_mutex_unlock(&m->adapters_lock);
}

baton_status bt_fake_adapter_open(struct bt_model *base, const char *path, struct bt_adapter **out, baton_error *err) {
    struct bt_fake_model *m = BT_CONTAINER(base, struct bt_fake_model, base);
    *out = NULL;
    if (strncmp(path, "fake:", 5) != 0)
        return bt_fail(err, BATON_NOT_FOUND, "there is no adapter %s: the fake's are called fake:NAME", path);
    struct bt_fake_adapter *a = calloc(1, sizeof *a);
    if (!a)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for an adapter");
    a->base.model = base;
    a->salt = 1;
    for (const char *c = path; *c; c++)
        a->salt = bt_mix64(a->salt ^ (unsigned char)*c);
    count_adapter(m, 1);
    *out = &a->base;
    return BATON_OK;
}

void bt_fake_adapter_free(struct bt_model *base, struct bt_adapter *a) {
    if (!a)
        return;
    count_adapter(BT_CONTAINER(base, struct bt_fake_model, base), -1);
    free(BT_CONTAINER(a, struct bt_fake_adapter, base));
}
