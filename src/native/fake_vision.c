/* The fake native's images: places whose content is the image's bytes, so that another image gives other tokens. */
#include <stdlib.h>

#include "native/fake_internal.h"
#include "native/image.h"

struct fake_chunks {
    struct bt_chunks base;
    size_t n_images;
    uint64_t pictures[BT_IMAGES_MAX]; /* a hash of each */
};

static void chunks_free(struct bt_chunks *base) {
    struct fake_chunks *c = BT_CONTAINER(base, struct fake_chunks, base);
    for (size_t i = 0; i < base->n; i++)
        free((bt_token *)base->list[i].tokens);
    free(base->list);
    free(c);
    bt_fake_count(&bt_fake_counters.prompts, -1);
}

static baton_status add_text(struct fake_chunks *c, const struct bt_model *m, const struct bt_text *text, bool last,
                             baton_error *err) {
    bt_token *tokens;
    size_t n;
    baton_status status = bt_fake_tokenize(m, text->data, text->len, last, true, &tokens, &n, err);
    if (status)
        return status;
    if (n == 0) {
        free(tokens);
        return BATON_OK;
    }
    c->base.list[c->base.n++] = (struct bt_chunk){.tokens = tokens, .n = (int32_t)n};
    return BATON_OK;
}

baton_status bt_fake_chunks(const struct bt_model *base, const char *text, size_t len, const char *mark,
                            const struct bt_image *images, size_t n, struct bt_chunks **out, baton_error *err) {
    const struct bt_fake_model *m = BT_CONTAINER(base, const struct bt_fake_model, base);
    struct bt_text texts[BT_IMAGES_MAX + 1];
    struct bt_image_shape shape;
    *out = NULL;
    baton_status status = bt_image_texts(text, len, mark, n, m->sees, texts, err);
    if (status)
        return status;
    struct fake_chunks *c = calloc(1, sizeof *c);
    struct bt_chunk *list = calloc(2 * n + 1, sizeof *list);
    if (!c || !list) {
        free(c);
        free(list);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a prompt with images");
    }
    bt_fake_count(&bt_fake_counters.prompts, 1);
    c->base.free = chunks_free;
    c->base.list = list;
    for (size_t i = 0; i <= n && !status; i++) {
        status = add_text(c, base, &texts[i], i == n, err);
        if (status || i == n)
            break;
        status = bt_image_look(&images[i], i, &shape, err);
        if (status)
            break;
        c->pictures[c->n_images++] = bt_sum64(images[i].bytes, images[i].len);
        c->base.list[c->base.n++] = (struct bt_chunk){.n = (int32_t)m->image_tokens, .whole = m->image_whole != 0};
    }
    if (status)
        chunks_free(&c->base);
    else
        *out = &c->base;
    return status;
}

uint64_t bt_fake_picture(const struct bt_chunks *base, size_t i) {
    const struct fake_chunks *c = BT_CONTAINER(base, const struct fake_chunks, base);
    size_t number = 0;
    for (size_t k = 0; k < i; k++)
        number += base->list[k].tokens == NULL;
    return c->pictures[number];
}
