/* What is asked of models that embed or score, and of vocabularies: from JSON to what an owner is asked. Strict as
 * openai_in.h. Pure functions. */
#ifndef BT_EMBED_IN_H
#define BT_EMBED_IN_H

#include "serve/openai_in.h"

enum { BT_INPUTS_MAX = 2048 };

struct bt_embed_request {
    struct bt_submit submit; /* its arrays and texts live as long as this struct */
    const struct bt_openai_model *model;
    bool base64;           /* vectors as base64 of their little-endian floats */
    int dimensions;        /* 0: not given; else what the vectors must have */
    size_t top_n;          /* of the documents; n_inputs at most */
    bool return_documents; /* with the scores */
    void *root;            /* memory behind `submit` */
    bt_token *tokens;
};

/* /v1/embeddings and /v1/rerank. False: *e says why, and nothing is kept. */
bool bt_embed_parse(struct bt_embed_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                    struct bt_api_error *e);
bool bt_rerank_parse(struct bt_embed_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                     struct bt_api_error *e);
void bt_embed_request_free(struct bt_embed_request *r);

/* /tokenize and /detokenize: a call, whose bytes are in `bytes`. False as above. */
struct bt_words_request {
    struct bt_call call;
    struct bt_buf bytes;
    const struct bt_openai_model *model;
};
bool bt_tokenize_parse(struct bt_words_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                       struct bt_api_error *e);
bool bt_detokenize_parse(struct bt_words_request *r, const char *body, size_t len,
                         const struct bt_openai_models *models, struct bt_api_error *e);
void bt_words_request_free(struct bt_words_request *r);

#endif
