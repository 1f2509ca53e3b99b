/* The fake native: a model without weights for tests of everything around a model. Its next token is a pure function
 * of the sequence's tokens, so that a wrong cache gives wrong tokens; it finds overlapping calls on one context itself;
 * its knobs come with the path, "fake:step_us=100,fail_at=7".
 *
 * State: the process-wide counters and the hook. */
#include "native/device.h"
#include "native/fake_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct bt_fake_counters bt_fake_counters;

static void (*_Atomic hook_now)(void *arg, const struct bt_fake_event *event);
static void *_Atomic hook_arg;

void bt_fake_set_hook(void (*hook)(void *arg, const struct bt_fake_event *event), void *arg) {
    atomic_store(&hook_now, NULL);
    atomic_store(&hook_arg, arg);
    atomic_store(&hook_now, hook);
}

void bt_fake_tell(const struct bt_fake_event *event) {
    void (*hook)(void *arg, const struct bt_fake_event *event) = atomic_load(&hook_now);
    if (hook)
        hook(atomic_load(&hook_arg), event);
}

void bt_fake_stats(struct bt_fake_stats *stats) {
    const struct bt_fake_counters *c = &bt_fake_counters;
    *stats = (struct bt_fake_stats){
        .overlaps = (uint64_t)atomic_load(&c->overlaps),
        .decodes = (uint64_t)atomic_load(&c->decodes),
        .rows = (uint64_t)atomic_load(&c->rows),
        .rows_max = (uint64_t)atomic_load(&c->rows_max),
        .models = atomic_load(&c->models),
        .contexts = atomic_load(&c->contexts),
        .samplers = atomic_load(&c->samplers),
        .prompts = atomic_load(&c->prompts),
        .decoding = atomic_load(&c->decoding),
        .decoding_max = atomic_load(&c->decoding_max),
    };
}

void bt_fake_stats_reset(void) {
    struct bt_fake_counters *c = &bt_fake_counters;
    atomic_store(&c->overlaps, 0);
    atomic_store(&c->decodes, 0);
    atomic_store(&c->rows, 0);
    atomic_store(&c->rows_max, 0);
    atomic_store(&c->decoding_max, atomic_load(&c->decoding));
}

static void model_free(struct bt_model *base) {
    struct bt_fake_model *m = BT_CONTAINER(base, struct bt_fake_model, base);
    if (m->adapters)
        bt_log(BATON_LOG_ERROR, "fake native: %d adapters outlive their model", m->adapters);
    pthread_mutex_destroy(&m->adapters_lock);
    free(m);
    bt_fake_count(&bt_fake_counters.models, -1);
}

static void model_info(const struct bt_model *base, struct bt_model_info *info) {
    const struct bt_fake_model *m = BT_CONTAINER(base, struct bt_fake_model, base);
    *info = (struct bt_model_info){
        .name = "fake",
        .vocab_size = (int)m->vocab,
        .ctx_train = (int)m->ctx_train,
        .recurrent = m->recurrent != 0,
        .has_chat_template = m->template != 0,
        .vision = m->sees,
    };
    memcpy(info->description, m->description, sizeof info->description);
}

static void model_piece(const struct bt_model *base, bt_token token, struct bt_buf *out) {
    (void)base;
    char piece[16];
    bt_buf_add(out, piece, bt_fake_piece(token, piece));
}

static bool model_is_end(const struct bt_model *base, bt_token token) {
    (void)base;
    return token == BT_FAKE_EOS || token == BT_FAKE_EOT || token == BT_TOKEN_END;
}

static const struct bt_model_ops model_ops = {
    .free = model_free,
    .info = model_info,
    .tokenize = bt_fake_tokenize,
    .piece = model_piece,
    .is_end = model_is_end,
    .chat = bt_fake_chat,
    .context = bt_fake_context_open,
    .sampler = bt_fake_sampler_open,
    .details = bt_fake_details,
    .metadata = bt_fake_metadata,
    .detokenize = bt_fake_detokenize,
    .pair = bt_fake_pair,
    .adapter = bt_fake_adapter_open,
    .adapter_free = bt_fake_adapter_free,
    .chunks = bt_fake_chunks,
};

static baton_status set_knob(struct bt_fake_model *m, const char *name, size_t len, const char *value,
                             baton_error *err) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    bool is_number = end != value && (*end == ',' || *end == '\0') && errno == 0;
#define BT_FAKE_SET(knob, preset, least, text)                                                                         \
    if (len == sizeof #knob - 1 && memcmp(name, #knob, len) == 0) {                                                    \
        if (!is_number || number < (least) || number > INT32_MAX)                                                      \
            return bt_fail(err, BATON_INVALID, "fake knob " #knob " (%s) is no whole number from %lld", value,         \
                           (long long)(least));                                                                        \
        m->knob = number;                                                                                              \
        return BATON_OK;                                                                                               \
    }
    BT_FAKE_KNOBS(BT_FAKE_SET)
#undef BT_FAKE_SET
    baton_status status;
    if (bt_fake_set_death(m, name, len, value, &status, err))
        return status;
    return bt_fail(err, BATON_INVALID, "no fake knob is called '%.*s': see BT_FAKE_KNOBS", (int)len, name);
}

/* Places stay: their contexts may be told apart by them at any later time. */
struct bt_fake_place *bt_fake_place(const char *name, size_t len) {
    enum { PLACES = 8 };
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct bt_fake_place places[PLACES];
    struct bt_fake_place *found = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < PLACES && !found && len < sizeof places[0].name; i++) {
        if (!places[i].name[0]) {
            memcpy(places[i].name, name, len);
            places[i].alone = !bt_backend_is_promised(places[i].name);
        }
        if (strlen(places[i].name) == len && memcmp(places[i].name, name, len) == 0)
            found = &places[i];
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static baton_status set_device(struct bt_fake_model *m, const char *name, size_t len, baton_error *err) {
    m->place = len ? bt_fake_place(name, len) : NULL;
    if (!m->place)
        return bt_fail(err, BATON_INVALID, "the fake has no device '%.*s': a short name, and few of them", (int)len,
                       name);
    if (m->place->alone && !(m->base.device = bt_device_of(m->place->name)))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a device");
    return BATON_OK;
}

static baton_status parse_knobs(struct bt_fake_model *m, const char *text, baton_error *err) {
    while (*text) {
        size_t name = strcspn(text, "=,");
        if (text[name] != '=')
            return bt_fail(err, BATON_INVALID, "fake knob '%.*s' has no value: write fake:KEY=VALUE,...", (int)name,
                           text);
        const char *value = text + name + 1;
        bool is_device = name == 6 && memcmp(text, "device", name) == 0;
        baton_status status =
            is_device ? set_device(m, value, strcspn(value, ","), err) : set_knob(m, text, name, value, err);
        if (status != BATON_OK)
            return status;
        text += strcspn(text, ",");
        text += *text == ',';
    }
    return BATON_OK;
}

/* In ten pieces, so that progress can stop it on the way. */
static bool load_slowly(const struct bt_fake_model *m, const struct bt_model_params *params) {
    for (int i = 0; i <= 10; i++) {
        if (params->progress && !params->progress(params->progress_arg, (float)i / 10))
            return false;
        struct timespec t = {.tv_sec = m->load_us / 10000000, .tv_nsec = m->load_us / 10 % 1000000 * 1000};
        while (m->load_us && i < 10 && nanosleep(&t, &t) != 0)
            ;
    }
    return true;
}

baton_status bt_fake_open(const struct bt_model_params *params, struct bt_model **out, baton_error *err) {
    *out = NULL;
    struct bt_fake_model *m = calloc(1, sizeof *m);
    if (!m)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a fake model");
    m->base.ops = &model_ops;
    m->sees = params->mmproj != NULL;
    pthread_mutex_init(&m->adapters_lock, NULL);
#define BT_FAKE_PRESET(name, preset, least, text) m->name = (preset);
    BT_FAKE_KNOBS(BT_FAKE_PRESET)
#undef BT_FAKE_PRESET
    baton_status status = parse_knobs(m, params->path + strlen("fake:"), err);
    if (m->prints)
        bt_fake_print(m->prints);
    if (status == BATON_OK && !load_slowly(m, params))
        status = bt_fail(err, BATON_CANCELLED, "loading %s was stopped", params->path);
    if (status == BATON_OK && params->mmproj && strncmp(params->mmproj, "fake", 4) != 0 &&
        access(params->mmproj, F_OK) != 0)
        status = bt_fail(err, BATON_NOT_FOUND, "there is no projector %s: the fake's own is 'fake'", params->mmproj);
    if (status == BATON_OK && m->load_fail)
        status = bt_fail(err, BATON_BAD_MODEL, "%s: the knob load_fail says that it cannot be loaded", params->path);
    if (status != BATON_OK) {
        pthread_mutex_destroy(&m->adapters_lock);
        free(m);
        return status;
    }
    snprintf(m->description, sizeof m->description, "no weights, for tests");
    if (m->attempt)
        bt_fake_attempt((enum bt_fake_attempt)m->attempt, m->description, sizeof m->description);
    m->immortal = m->lives > 0 && params->starts >= m->lives;
    bt_fake_count(&bt_fake_counters.models, 1);
    *out = &m->base;
    return BATON_OK;
}
