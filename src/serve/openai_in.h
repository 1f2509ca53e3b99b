/* From a JSON body to what an owner is asked: strict, and precise about what is wrong. Pure functions.
 *
 * Unknown fields are ignored, as OpenAI does; known ones that baton cannot honour are refused, never dropped in
 * silence. A key that comes twice is refused. null is the same as absent. */
#ifndef BT_OPENAI_IN_H
#define BT_OPENAI_IN_H

#include "wire/frame.h"

/* Where the request says nothing. OpenAI's temperature is 1, made for large models; small ones want it lower, and
 * min_p cuts only what is twenty times less likely than the best. */
#define BT_OPENAI_TEMPERATURE 0.8f
#define BT_OPENAI_MIN_P 0.05f

enum {
    BT_MESSAGES_MAX = 4096,
    BT_BIAS_MAX = 1024,
    BT_VALUES_MAX = 1 << 20,     /* of any kind in a body, and token ids are most of them */
    BT_CONTAINERS_MAX = 1 << 16, /* arrays and objects among them */
};

/* An error as the API tells it. */
struct bt_api_error {
    int status;              /* of HTTP */
    const char *type, *code; /* code may be NULL */
    char param[64];          /* "" for none */
    char text[BATON_ERROR_TEXT_MAX];
};

/* What a model allows. */
struct bt_openai_model {
    int vocab_size;
    bool vision; /* messages may have images */
    bool hears;  /* transcribes, and does nothing else */
    bool draws;  /* makes images, and does nothing else */
};

/* Which model a name means, NULL where the request has none. NULL: there is none, and why[size] says what there is. */
struct bt_openai_models {
    const struct bt_openai_model *(*choose)(void *arg, const char *name, char *why, size_t size);
    void *arg;
};

struct bt_openai_request {
    struct bt_submit submit; /* its arrays and texts live as long as this struct */
    bool chat, stream, include_usage;
    const struct bt_openai_model *model; /* the one that was chosen */
    /* memory behind `submit` */
    void *root;
    struct bt_logit_bias *bias;
    char **owned;
    size_t n_owned;
};

/* False: *e says why, and nothing is kept. `seed`: the seed if none is given. */
bool bt_openai_parse(struct bt_openai_request *r, bool chat, const char *body, size_t len,
                     const struct bt_openai_models *models, uint64_t seed, struct bt_api_error *e);
void bt_openai_request_free(struct bt_openai_request *r);

#endif
