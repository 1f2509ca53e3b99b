/* The runtime's inside, shared by its files: runtime.c (the model and resets), runtime_ask.c (requests) and
 * runtime_json.c (diagnostics, the model file's hash). */
#ifndef BT_RUNTIME_INT_H
#define BT_RUNTIME_INT_H

#include <pthread.h>

#include "api/api.h"
#include "base/list.h"
#include "baton/models.h"
#include "baton/runtime.h"

/* The model file as it was when it was loaded. */
struct bt_artifact {
    char path[1024]; /* empty: not a file */
    uint64_t bytes;
    char sha256[65]; /* empty: not known */
};

struct bt_rt_request {
    struct bt_list link; /* in bt_rt.under_way or in bt_rt.transcript */
    uint64_t id;
    bool busy, ending; /* under bt_rt.lock */
    /* whoever is busy with it; anybody under bt_rt.lock once it is in the transcript */
    baton_model_use use;
    baton_stream *stream; /* NULL: it is not stepped */
    struct bt_buf text;
    baton_outcome outcome;
};

struct bt_runtime {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool there, changing, freeing;
    baton_runtime_params params;
    baton_models *models;
    baton_sampling sampling;
    baton_logit_bias *bias;
    struct bt_artifact artifact;
    int threads;
    struct bt_list under_way, transcript;
    size_t n_transcript;
    uint64_t next_id;
    int inside;
};
extern struct bt_runtime bt_rt;

#define BT_RT_MODEL "model"

/* Between the two: counted as inside. enter takes the lock, leave lets go of it and returns its status. */
baton_status bt_rt_enter(const char *function, baton_error *err);
baton_status bt_rt_leave(baton_status status);

/* Under the lock. end_stepped lets go of it meanwhile: it ends every answer that is stepped, and waits for those that
 * another thread is inside of. */
bool bt_rt_is_loaded(void);
baton_status bt_rt_no_model(baton_error *err);
void bt_rt_shorten_transcript(size_t keep);
void bt_rt_end_stepped(void);

enum { BT_RUNTIME_BIAS_MAX = 1024 };

/* What there is of the runtime, copied for the diagnostics. */
struct bt_runtime_facts {
    baton_runtime_params params;
    baton_sampling sampling; /* its bias not to be followed */
    struct bt_artifact artifact;
    size_t under_way, transcript;
    bool loaded;
    int threads;
    baton_llama_info info;
};
void bt_runtime_json(const struct bt_runtime_facts *f, struct bt_buf *out);

/* Hashes the file; where there is none, or `hash` is false, what is known without. */
void bt_artifact_read(const char *path, bool hash, struct bt_artifact *a);
/* False: the file is no longer the one that was read. */
bool bt_artifact_same(const struct bt_artifact *a, int64_t since_ns);

baton_status bt_check_sampling(const baton_sampling *s, baton_error *err);

#endif
