/* What is asked of models that draw: from JSON to what an owner is asked. Strict as openai_in.h. The fields are those
 * of OpenAI's images, and some more that libstable-diffusion has (docs/work.md). Pure functions. */
#ifndef BT_DRAW_IN_H
#define BT_DRAW_IN_H

#include "serve/openai_in.h"

struct bt_draw_request {
    struct bt_submit submit; /* its text lives as long as this struct */
    const struct bt_openai_model *model;
    bool stream;
    int64_t seed; /* of the first image */
    int width, height, count;
    struct bt_buf ask; /* memory behind `submit` */
};

/* `seed`: of the first image, if none is given. False: *e says why, and nothing is kept. */
bool bt_draw_parse(struct bt_draw_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                   uint64_t seed, struct bt_api_error *e);
void bt_draw_request_free(struct bt_draw_request *r);

#endif
