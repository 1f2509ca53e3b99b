/* Images in messages: data URLs, which bring their bytes along. Nothing is fetched for anybody: a server that follows
 * strangers' links reaches what they cannot. Pure functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/json_in.h"

/* -1: none of the alphabet's. */
static int sextet(unsigned char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool bt_in_base64(const char *text, size_t len, unsigned char **bytes, size_t *n) {
    uint32_t word = 0;
    *n = 0;
    *bytes = malloc(len / 4 * 3 + 4);
    if (!*bytes)
        return false;
    while (len > 0 && text[len - 1] == '=' && len % 4 != 1)
        len--;
    for (size_t i = 0; i < len; i++) {
        int six = sextet((unsigned char)text[i]);
        if (six < 0)
            return false;
        word = word << 6 | (uint32_t)six;
        if (i % 4 > 0)
            (*bytes)[(*n)++] = (unsigned char)(word >> (6 - 2 * (i % 4)));
    }
    return len > 0 && len % 4 != 1;
}

static const char *after_prefix(const char *url) {
    static const char *const prefixes[] = {"data:image/png;base64,", "data:image/jpeg;base64,",
                                           "data:image/jpg;base64,"};
    for (size_t i = 0; i < BT_COUNT(prefixes); i++)
        if (strncmp(url, prefixes[i], strlen(prefixes[i])) == 0)
            return url + strlen(prefixes[i]);
    return NULL;
}

bool bt_in_image(struct bt_in *x, const char *param, const json_t *part, size_t message, size_t offset) {
    struct bt_submit *s = &x->r->submit;
    const json_t *url = json_object_get(json_object_get(part, "image_url"), "url");
    const char *text = json_string_value(url), *data = text ? after_prefix(text) : NULL;
    if (!text)
        return bt_in_expected(x, param, part,
                              "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,...\"}}");
    if (!x->model->vision)
        return bt_in_fail(x, 400, "unsupported_parameter", param,
                          "this model reads text alone: it was started without a projector (--mmproj)");
    if (!data)
        return bt_in_fail(
            x, 400, "unsupported_parameter", param,
            "an image comes as data:image/png;base64,... or data:image/jpeg;base64,...: the server fetches "
            "no URL for anybody (this one begins with \"%.24s\")",
            text);
    if (s->n_images == BT_IMAGES_MAX)
        return bt_in_fail(x, 400, "invalid_value", param, "more than %d images in a request", BT_IMAGES_MAX);
    if (!s->images && !(s->images = calloc(BT_IMAGES_MAX, sizeof *s->images)))
        return bt_in_no_memory(x);
    unsigned char *bytes;
    size_t n;
    bool sound = bt_in_base64(data, json_string_length(url) - (size_t)(data - text), &bytes, &n);
    if (!bytes)
        return bt_in_no_memory(x);
    s->images[s->n_images++] = (struct bt_image){.bytes = bytes, .len = n, .message = message, .offset = offset};
    return sound || bt_in_fail(x, 400, "invalid_value", param, "what stands behind \"base64,\" is no base64");
}

void bt_in_images_free(struct bt_submit *s) {
    for (size_t i = 0; i < s->n_images; i++)
        free((void *)s->images[i].bytes);
    free(s->images);
}
