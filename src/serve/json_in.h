/* Fields of a JSON body. Pure functions; a false from any of them means that the error is filled in. */
#ifndef BT_JSON_IN_H
#define BT_JSON_IN_H

#include <jansson.h>

#include "serve/openai_in.h"

struct bt_in {
    struct bt_openai_request *r; /* of openai_in.c; NULL elsewhere */
    json_t *root;                /* bt_in_json's, for the caller to give back, also when it failed after all */
    const struct bt_openai_models *models;
    const struct bt_openai_model *model; /* take_model's */
    struct bt_api_error *e;
};

bool bt_in_fail(struct bt_in *x, int status, const char *code, const char *param, const char *format, ...)
    BATON_PRINTF(5, 6);
bool bt_in_expected(struct bt_in *x, const char *param, const json_t *v, const char *what);
bool bt_in_unsupported(struct bt_in *x, const char *param, const json_t *v, const char *cure);
bool bt_in_no_memory(struct bt_in *x);

/* The body as an object: valid, without a key twice, and not of too many values. */
bool bt_in_json(struct bt_in *x, const char *body, size_t len);
/* The model that "model" means. */
bool bt_in_model(struct bt_in *x);

const json_t *bt_in_get(const struct bt_in *x, const char *key); /* NULL when absent or null */
/* *out stays as it is when the field is absent. */
bool bt_in_real(struct bt_in *x, const char *key, double lo, double hi, float *out);
bool bt_in_int(struct bt_in *x, const char *key, json_int_t lo, json_int_t hi, json_int_t *out);
bool bt_in_cstring(struct bt_in *x, const char *key, const char *what, const char **text); /* NULL when absent */
bool bt_in_bool(struct bt_in *x, const char *key, bool *out);                              /* false when absent */

/* image_in.c: of a text without line breaks; *bytes is malloc'd. False: it is no base64, or *bytes is NULL. */
bool bt_in_base64(const char *text, size_t len, unsigned char **bytes, size_t *n);
/* One "image_url" part, in front of that byte of that message; its bytes are the request's. */
bool bt_in_image(struct bt_in *x, const char *param, const json_t *part, size_t message, size_t offset);
void bt_in_images_free(struct bt_submit *s);

#endif
