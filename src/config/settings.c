/* One model's settings, completed: what nobody said, and what belongs together. State: none. */
#include "config/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES_PRESET = 8 };

static char *trim(char *s) {
    size_t n;
    s += strspn(s, " \t");
    for (n = strlen(s); n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'); n--)
        s[n - 1] = '\0';
    return s;
}

/* "path" or "path:scale": a colon with anything but a number behind it belongs to the path. */
static struct bt_lora lora_of(char *text) {
    char *colon = strrchr(text, ':'), *end;
    struct bt_lora l = {text, 1};
    if (!colon || colon[1] == '\0')
        return l;
    float scale = strtof(colon + 1, &end);
    if (*end == '\0' && isfinite(scale)) {
        *colon = '\0';
        l.scale = scale;
    }
    return l;
}

static baton_status take_loras(struct bt_model_settings *m, baton_error *err) {
    char *at = m->lora_text;
    m->n_loras = 0;
    if (!m->lora)
        return BATON_OK;
    if ((size_t)snprintf(at, sizeof m->lora_text, "%s", m->lora) >= sizeof m->lora_text)
        return bt_fail(err, BATON_INVALID, "lora is longer than %zu bytes", sizeof m->lora_text - 1);
    while (at) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma++ = '\0';
        struct bt_lora l = lora_of(trim(at));
        if (!l.path[0])
            return bt_fail(err, BATON_INVALID, "lora is \"%.60s\": expected files with commas between them", m->lora);
        if (m->n_loras == BT_CONFIG_LORAS_MAX)
            return bt_fail(err, BATON_INVALID, "lora has more than %d adapters", BT_CONFIG_LORAS_MAX);
        m->loras[m->n_loras++] = l;
        at = comma;
    }
    return BATON_OK;
}

static baton_status check_image(const struct bt_model_settings *m, baton_error *err) {
    bool draws = m->kind == BT_MODEL_IMAGE, parts = false;
    for (int i = 0; i < BT_SD_PARTS; i++)
        parts |= m->parts[i] != NULL;
    if (parts && !draws)
        return bt_fail(err, BATON_INVALID, "parts (diffusion_model, vae, ...) are for models of kind = image");
    if (draws && !m->file && !m->parts[BT_SD_DIFFUSION_MODEL])
        return bt_fail(err, BATON_INVALID,
                       "kind = image needs a model's file, or a diffusion_model and its other parts: no built-in model "
                       "draws");
    if (draws && m->owner == BT_OWNER_THREAD && m->contexts > 1)
        return bt_fail(
            err, BATON_INVALID,
            "contexts = %d of kind = image on threads: libstable-diffusion has one context in a process. Use "
            "owner = process",
            m->contexts);
    return BATON_OK;
}

baton_status bt_model_settings_complete(struct bt_model_settings *m, baton_error *err) {
    bool pooled = m->pooling != BT_POOL_OFF && m->pooling != BT_POOL_AUTO;
    bool one = m->sequential || m->kind != BT_MODEL_TEXT || pooled;
    if (pooled && m->kind != BT_MODEL_TEXT)
        return bt_fail(err, BATON_INVALID, "pooling is for models of kind = text");
    if (m->sequential && (m->contexts > 1 || m->sequences > 1))
        return bt_fail(err, BATON_INVALID, "sequential = yes is one context of one sequence: not %s = %d",
                       m->contexts > 1 ? "contexts" : "sequences", m->contexts > 1 ? m->contexts : m->sequences);
    if (m->kind != BT_MODEL_TEXT && m->sequences > 1)
        return bt_fail(err, BATON_INVALID, "sequences = %d: only models of kind = text have more than one",
                       m->sequences);
    if (m->kind != BT_MODEL_TEXT && m->lora)
        return bt_fail(err, BATON_INVALID, "lora is for models of kind = text");
    if (m->mmproj && (m->kind != BT_MODEL_TEXT || pooled))
        return bt_fail(err, BATON_INVALID, "mmproj is for models of kind = text that generate");
    if (m->hang_limit == BT_OPTION_UNSAID)
        m->hang_limit = m->kind == BT_MODEL_IMAGE ? BT_DRAW_HANG_MS : BT_HANG_MS;
    if (m->hang_limit >= 0 && m->hang_limit < BT_HANG_MIN_MS)
        return bt_fail(err, BATON_INVALID,
                       "the hang limit is %lld ms: at least %d, because an owner is heard of once a second",
                       (long long)m->hang_limit, BT_HANG_MIN_MS);
    if (m->file && strcmp(m->file, "builtin") == 0)
        m->file = NULL;
    if (m->kind == BT_MODEL_SPEECH && !m->file)
        return bt_fail(err, BATON_INVALID, "kind = speech needs a model's file: no built-in model hears");
    if (check_image(m, err))
        return err->status;
    m->contexts = m->contexts > 0 ? m->contexts : 1;
    m->sequences = m->sequences > 0 ? m->sequences : one ? 1 : SEQUENCES_PRESET;
    if (m->exact == BT_EXACT_AUTO)
        m->exact = m->gpu_layers == 0 ? BT_EXACT_ON : BT_EXACT_OFF;
    if (m->resume == BT_RESUME_AUTO) /* what is heard or drawn cannot go on elsewhere, only begin again */
        m->resume = m->kind == BT_MODEL_TEXT ? BT_RESUME_ON : BT_RESUME_OFF;
    return take_loras(m, err);
}

baton_status bt_serve_settings_check(const struct bt_serve_settings *o, baton_error *err) {
    if (!o->tls_cert != !o->tls_key)
        return bt_fail(err, BATON_INVALID, "tls-%s without tls-%s: HTTPS needs both", o->tls_cert ? "cert" : "key",
                       o->tls_cert ? "key" : "cert");
    return BATON_OK;
}

void bt_model_settings_apply(const struct bt_model_settings *m, struct bt_model_params *model,
                             struct bt_context_params *context) {
    model->path = m->file;
    model->chat_template = m->chat_template;
    model->gpu_layers = m->gpu_layers;
    model->loras = m->loras;
    model->n_loras = (size_t)m->n_loras;
    model->mmproj = m->mmproj;
    model->threads = m->threads;
    context->ctx = m->ctx;
    context->threads = m->threads;
    context->exact = m->exact == BT_EXACT_ON;
    context->pooling = (enum bt_pooling)m->pooling;
}

void bt_model_settings_owner(const struct bt_model_settings *m, struct bt_front_params *p) {
    p->owner = (enum bt_owner_kind)m->owner;
    p->no_sandbox = m->no_sandbox;
    p->core = m->owner_core;
    p->no_resume = m->resume == BT_RESUME_OFF;
    p->hang_ms = m->hang_limit == BT_OPTION_UNSAID ? 0 : m->hang_limit;
    p->start_ms = m->start_limit;
}

void bt_model_settings_front(const struct bt_model_settings *m, struct bt_front_params *p) {
    *p = (struct bt_front_params){
        .context = {.sequences = m->sequences},
        .contexts = m->contexts,
        .when_full = m->when_full == 0 ? BT_WAIT : BT_REFUSE,
        .queue_max = m->queue,
        .queue_ms = m->queue_timeout,
        .run_ms = m->run_timeout,
    };
    bt_model_settings_apply(m, &p->model, &p->context);
    bt_model_settings_owner(m, p);
    p->hears = m->kind == BT_MODEL_SPEECH;
    if (p->hears && p->model.gpu_layers != 0)
        p->model.gpu_layers = 1; /* all or nothing there, on the first GPU: see struct bt_spawn_params */
    p->draws = m->kind == BT_MODEL_IMAGE;
    p->sd.threads = m->threads;
    memcpy(p->sd.parts, m->parts, sizeof p->sd.parts);
    p->sd.parts[BT_SD_MODEL] = m->file;
}
