/* The models of one server: by name, by role, and which of them answers. Each has its own front and so its own gate:
 * two never wait for each other.
 *
 * A role is a list of models, first choice first. A model that is gone for good is passed over; one that is merely busy
 * is not: which model answers would depend on the company. As baton_models has it (baton/models.h).
 *
 * State: the event loop's thread owns all of it. */
#ifndef BT_SERVED_H
#define BT_SERVED_H

#include "ipc/front.h"
#include "serve/metrics.h"
#include "serve/openai_in.h"

enum { BT_SERVED_MAX = 64 };

struct bt_served {
    struct bt_openai_model openai;
    struct bt_front *front;
    void (*poke)(void *arg); /* the front was told something: ask for its next deadline */
    void *poke_arg;
    const char *names[4]; /* the first is what it is called in replies; unused ones are NULL */
    char file_name[128];
    int64_t mean_ns; /* how long an answer takes, of late: for Retry-After */
    struct bt_metrics metrics;
};

/* What is said of a role. */
struct bt_serve_role {
    const char *name;           /* borrowed */
    const char *const *targets; /* borrowed: names of models and roles */
    int n;
};

struct bt_served_role {
    const char *name;
    int n;
    struct bt_served *models[BT_SERVED_MAX]; /* where it leads, each once */
};

struct bt_served_set {
    struct bt_served *models; /* the first answers who names none */
    int n;
    struct bt_served_role *roles;
    int n_roles;
};

/* Names a model whose front is there: `name`, or, where that is NULL, what its file says, the file's base name, and
 * "baton". */
void bt_served_init(struct bt_served *m, struct bt_front *front, const char *name, const char *model_path);

/* Finds where roles lead; models must have their names. Targets that are not there are left out, with a warning
 * also roles that lead nowhere. */
baton_status bt_served_resolve(struct bt_served_set *set, const struct bt_serve_role *roles, int n, baton_error *err);
void bt_served_free(struct bt_served_set *set); /* what resolve made */

struct bt_served *bt_served_find(const struct bt_served_set *set, const char *name);
const struct bt_served_role *bt_served_find_role(const struct bt_served_set *set, const char *name);

/* For bt_openai_parse; arg is the set. */
const struct bt_openai_model *bt_served_choose(void *arg, const char *name, char *why, size_t size);

/* Every owner of it is gone for good. */
bool bt_served_gone(const struct bt_served *m);

#endif
