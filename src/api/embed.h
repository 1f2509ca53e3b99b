/* The two ways to vectors: under a lease on the caller's thread (llama_embed.c), or from an owner (owner_embed.c). */
#ifndef BT_API_EMBED_H
#define BT_API_EMBED_H

#include "api/api.h"

/* baton_llama_embed_each, checked. */
struct bt_each {
    const char *(*next)(void *arg);
    bool (*on_vector)(void *arg, const float *values, int dim);
    void *arg;
    bool normalise;
    float *vector; /* room for one */
    int dim;
};

/* `query`: NULL, or the texts are documents to be scored. `values`: n x dim; `tokens`: n, or NULL. */
baton_status bt_owner_embed(baton_llama *llama, const baton_request *request, const char *query,
                            const char *const *texts, size_t n, bool normalise, int dim, float *values,
                            uint32_t *tokens, baton_error *err);
baton_status bt_owner_embed_each(baton_llama *llama, const baton_request *request, const struct bt_each *each,
                                 baton_error *err);

#endif
