/* The registry's inside, shared by its two files: models.c (what is loaded, who uses it) and models_names.c (names,
 * roles, listing). */
#ifndef BT_MODELS_H
#define BT_MODELS_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "base/list.h"
#include "baton/models.h"

/* How a model is opened: copies of the program's parameters, complete. */
struct bt_recipe {
    char *path; /* NULL: the built-in model */
    char *chat_template, *mmproj;
    baton_llama_lora *loras; /* with their paths */
    baton_policy policy;
    baton_llama_params params; /* points to those above; progress is the program's */
};

/* A model that is loaded. Freed by the last use once it is retired. */
struct bt_loaded {
    baton_llama *llama;
    struct bt_entry *entry; /* counted */
    uint64_t weight_bytes, context_bytes;
    int uses;
    bool retired; /* no more uses begin */
};

/* A name. */
struct bt_entry {
    struct bt_list link;
    char name[BATON_MODEL_NAME_MAX];
    /* anybody */
    _Atomic int progress; /* thousandths of the load under way */
    /* under the registry's lock */
    struct bt_recipe *recipe;
    struct bt_loaded *now; /* NULL: absent */
    int refs;              /* the registry's list, each bt_loaded, whoever changes it */
    int draining;          /* retired and not yet freed */
    int draining_uses, waiting;
    unsigned changer; /* the thread that loads, unloads or swaps it; 0: none */
    uint64_t loads, attempt, failed_attempt;
    baton_error failed; /* of failed_attempt */
    baton_status last;  /* what the last load came to */
};

struct bt_role {
    struct bt_list link;
    char name[BATON_MODEL_NAME_MAX];
    int n;
    char targets[BATON_ROLE_TARGETS_MAX][BATON_MODEL_NAME_MAX];
    uint64_t walked; /* the last walk that came by: a walk enters a role once */
};

struct baton_models {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below, or in an entry */
    /* under lock */
    struct bt_list entries, roles, held;
    uint64_t attempts, walks;
    int refs; /* the program's, each use, each call under way */
    bool closing;
};

/* Under the lock, all of them. */
struct bt_entry *bt_models_find(baton_models *r, const char *name);
struct bt_role *bt_models_find_role(baton_models *r, const char *name);
baton_status bt_models_unknown(baton_models *r, const char *name, baton_error *err);
baton_status bt_models_check_name(baton_models *r, const char *name, baton_error *err);
/* The models that a name means, first choice first, each once; returns how many, -1: out of memory. *names is malloc'd
 * (rows of BATON_MODEL_NAME_MAX). */
int bt_models_resolve(baton_models *r, const char *name, char (**names)[BATON_MODEL_NAME_MAX]);

/* Metadata alone. */
baton_status bt_estimate(const baton_llama_params *params, const char *path, uint64_t *weights, uint64_t *contexts,
                         baton_error *err);

#endif
