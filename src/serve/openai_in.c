/* Validation of requests: one function per field or family of fields; each either fills the submit or says which field
 * has which value and what was expected. State: none. */
#include "serve/openai_in.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ctx {
    struct bt_openai_request *r;
    json_t *root;
    const struct bt_openai_models *models;
    const struct bt_openai_model *model; /* take_model's */
    struct bt_api_error *e;
};

static bool fail(struct ctx *x, int status, const char *code, const char *param, const char *format, ...)
    BATON_PRINTF(5, 6);

static bool fail(struct ctx *x, int status, const char *code, const char *param, const char *format, ...) {
    struct bt_api_error *e = x->e;
    va_list args;
    e->status = status;
    e->type = status >= 500 ? "server_error" : "invalid_request_error";
    e->code = code;
    snprintf(e->param, sizeof e->param, "%s", param);
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    e->text[strlen(e->text) - bt_utf8_unfinished(e->text, strlen(e->text))] = '\0';
    return false;
}

/* The value as it came, short enough for a message. */
static void show(const json_t *v, char *text, size_t size) {
    char *full = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    const char *s = full ? full : "?";
    size_t len = strlen(s);
    if (len < size) {
        memcpy(text, s, len + 1);
    } else {
        len = size - 4;
        len -= bt_utf8_unfinished(s, len);
        memcpy(text, s, len);
        memcpy(text + len, "...", 4);
    }
    free(full);
}

static bool expected(struct ctx *x, const char *param, const json_t *v, const char *what) {
    char text[48];
    show(v, text, sizeof text);
    return fail(x, 400, "invalid_value", param, "%s is %s: expected %s", param, text, what);
}

static bool unsupported(struct ctx *x, const char *param, const json_t *v, const char *cure) {
    char text[48];
    show(v, text, sizeof text);
    return fail(x, 400, "unsupported_parameter", param, "%s is %s, which is not supported: %s", param, text, cure);
}

static bool no_memory(struct ctx *x) {
    return fail(x, 500, "no_memory", "", "out of memory for the request");
}

/* NULL when absent or null. */
static const json_t *get(const struct ctx *x, const char *key) {
    const json_t *v = json_object_get(x->root, key);
    return json_is_null(v) ? NULL : v;
}

static bool get_real(struct ctx *x, const char *key, double lo, double hi, float *out) {
    const json_t *v = get(x, key);
    char what[64];
    if (!v)
        return true;
    double d = json_is_number(v) ? json_number_value(v) : 0;
    if (!json_is_number(v) || !(d >= lo && d <= hi)) {
        snprintf(what, sizeof what, "a number from %g to %g", lo, hi);
        return expected(x, key, v, what);
    }
    *out = (float)d;
    return true;
}

static bool get_int(struct ctx *x, const char *key, json_int_t lo, json_int_t hi, json_int_t *out) {
    const json_t *v = get(x, key);
    char what[80];
    if (!v)
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi) {
        snprintf(what, sizeof what, "an integer from %lld to %lld", (long long)lo, (long long)hi);
        return expected(x, key, v, what);
    }
    *out = json_integer_value(v);
    return true;
}

static bool get_bool(struct ctx *x, const char *key, bool *out) {
    const json_t *v = get(x, key);
    if (v && !json_is_boolean(v))
        return expected(x, key, v, "true or false");
    *out = json_is_true(v);
    return true;
}

static bool take_model(struct ctx *x) {
    const json_t *v = get(x, "model");
    char why[BATON_ERROR_TEXT_MAX];
    if (v && !json_is_string(v))
        return expected(x, "model", v, "the name of a model");
    const char *name = v && json_string_length(v) > 0 ? json_string_value(v) : NULL;
    x->r->model = x->model = x->models->choose(x->models->arg, name, why, sizeof why);
    return x->model || fail(x, 404, "model_not_found", "model", "%s", why);
}

static bool take_numbers(struct ctx *x) {
    struct bt_submit *s = &x->r->submit;
    struct bt_sampling *p = &s->sampling;
    json_int_t top_k = p->top_k, seed = (json_int_t)p->seed, max = -1;
    if (!get_real(x, "temperature", 0, 2, &p->temperature) || !get_real(x, "top_p", 0, 1, &p->top_p) ||
        !get_real(x, "min_p", 0, 1, &p->min_p) || !get_real(x, "presence_penalty", -2, 2, &p->presence_penalty) ||
        !get_real(x, "frequency_penalty", -2, 2, &p->frequency_penalty) ||
        !get_real(x, "repeat_penalty", 0.01, 10, &p->repeat_penalty) || !get_int(x, "top_k", -1, INT_MAX, &top_k) ||
        !get_int(x, "seed", INT64_MIN, INT64_MAX, &seed) || !get_int(x, "max_tokens", 1, INT_MAX, &max) ||
        !get_int(x, "max_completion_tokens", 1, INT_MAX, &max))
        return false;
    p->top_k = (int)top_k;
    p->seed = (uint64_t)seed;
    s->max_tokens = (int32_t)max;
    return true;
}

static bool take_stops(struct ctx *x) {
    struct bt_submit *s = &x->r->submit;
    const json_t *v = get(x, "stop"), *one;
    size_t i, n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v)
        return true;
    if (n > BT_STOPS_MAX)
        return fail(x, 400, "invalid_value", "stop", "stop has %zu strings: at most %d are supported", n, BT_STOPS_MAX);
    for (i = 0; i < n; i++) {
        one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one) || json_string_length(one) == 0)
            return expected(x, "stop", one, "a string that is not empty, or an array of such");
        s->stops[s->n_stops++] = (struct bt_text){json_string_value(one), json_string_length(one)};
    }
    return true;
}

static bool take_bias(struct ctx *x) {
    json_t *v = (json_t *)(uintptr_t)get(x, "logit_bias"), *bias;
    struct bt_sampling *p = &x->r->submit.sampling;
    const char *key;
    if (!v)
        return true;
    if (!json_is_object(v))
        return expected(x, "logit_bias", v, "an object of token ids and numbers from -100 to 100");
    if (json_object_size(v) > BT_BIAS_MAX)
        return fail(x, 400, "invalid_value", "logit_bias", "logit_bias has %zu entries: at most %d are supported",
                    json_object_size(v), BT_BIAS_MAX);
    x->r->bias = calloc(json_object_size(v) + 1, sizeof *x->r->bias);
    if (!x->r->bias)
        return no_memory(x);
    json_object_foreach(v, key, bias) {
        char *end;
        errno = 0;
        long id = strtol(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || errno || id >= x->model->vocab_size)
            return fail(x, 400, "invalid_value", "logit_bias",
                        "logit_bias has the key \"%.32s\": expected the id of a token, 0 to %d", key,
                        x->model->vocab_size - 1);
        double d = json_is_number(bias) ? json_number_value(bias) : 1000;
        if (!(d >= -100 && d <= 100))
            return expected(x, "logit_bias", bias, "a number from -100 to 100 for each token");
        x->r->bias[p->n_bias++] = (struct bt_logit_bias){(bt_token)id, (float)d};
    }
    p->bias = x->r->bias;
    return true;
}

static bool take_stream(struct ctx *x) {
    struct bt_openai_request *r = x->r;
    const json_t *options = get(x, "stream_options"), *usage;
    if (!get_bool(x, "stream", &r->stream))
        return false;
    if (!options)
        return true;
    if (!json_is_object(options))
        return expected(x, "stream_options", options, "an object");
    if (!r->stream)
        return fail(x, 400, "invalid_value", "stream_options", "stream_options is given, but stream is not true");
    usage = json_object_get(options, "include_usage");
    if (usage && !json_is_boolean(usage) && !json_is_null(usage))
        return expected(x, "stream_options.include_usage", usage, "true or false");
    r->include_usage = json_is_true(usage);
    return true;
}

/* Fields that may be there as long as they ask for nothing: null, false, an empty array or object, or `fine`. */
static bool check_unsupported(struct ctx *x) {
    static const struct {
        const char *key, *fine, *cure;
    } table[] = {
        {"tools", NULL, "leave it out"},
        {"functions", NULL, "leave it out"},
        {"tool_choice", "none", "there are no tools to choose from"},
        {"function_call", "none", "there are no functions to call"},
        {"logprobs", NULL, "leave it out"},
        {"top_logprobs", NULL, "leave it out"},
        {"audio", NULL, "the answer is text only"},
        {"prediction", NULL, "leave it out"},
        {"web_search_options", NULL, "leave it out"},
        {"suffix", NULL, "the text is continued, not filled in"},
        {"echo", NULL, "the answer does not repeat the prompt"},
        {"grammar", NULL, "leave it out"},
        {"json_schema", NULL, "leave it out"},
        {"guided_json", NULL, "leave it out"},
        {"mirostat", NULL, "leave it out"},
    };
    for (size_t i = 0; i < BT_COUNT(table); i++) {
        const json_t *v = get(x, table[i].key);
        const char *s = json_string_value(v);
        bool fine = !v || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
                    (json_is_object(v) && json_object_size(v) == 0) ||
                    (s && (!*s || (table[i].fine && (!strcmp(s, table[i].fine) || !strcmp(s, "auto"))))) ||
                    (json_is_integer(v) && json_integer_value(v) == 0 && strcmp(table[i].key, "logprobs") != 0);
        if (!fine)
            return unsupported(x, table[i].key, v, table[i].cure);
    }
    return true;
}

/* Fields of which one value is supported. */
static bool check_single(struct ctx *x) {
    const json_t *format = get(x, "response_format"), *modes = get(x, "modalities");
    const char *counts[] = {"n", "best_of"};
    for (size_t i = 0; i < BT_COUNT(counts); i++) {
        const json_t *v = get(x, counts[i]);
        if (v && !json_is_integer(v))
            return expected(x, counts[i], v, "1");
        if (v && json_integer_value(v) != 1)
            return unsupported(x, counts[i], v, "only 1 is; ask several times");
    }
    const json_t *type = json_is_object(format) ? json_object_get(format, "type") : NULL;
    if (format && !json_is_string(type))
        return expected(x, "response_format", format, "{\"type\":\"text\"}");
    if (format && strcmp(json_string_value(type), "text") != 0)
        return unsupported(x, "response_format", format, "only {\"type\":\"text\"} is");
    const char *mode = json_string_value(json_array_get(modes, 0));
    if (modes && !(json_array_size(modes) == 1 && mode && strcmp(mode, "text") == 0))
        return unsupported(x, "modalities", modes, "only [\"text\"] is");
    const json_t *user = get(x, "user");
    if (user && !json_is_string(user))
        return expected(x, "user", user, "a string");
    return true;
}

/* "content" of a message: a string, or an array of text parts, which are joined by newlines. */
static bool take_content(struct ctx *x, size_t at, const json_t *v, const char **content) {
    char param[64];
    struct bt_buf joined = BT_BUF_INIT;
    snprintf(param, sizeof param, "messages[%zu].content", at);
    if (json_is_string(v)) {
        *content = json_string_value(v);
        return true;
    }
    if (!json_is_array(v))
        return v ? expected(x, param, v, "a string or an array of {\"type\":\"text\"} parts")
                 : fail(x, 400, "missing_field", param, "%s is missing", param);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i), *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        snprintf(param, sizeof param, "messages[%zu].content[%zu]", at, i);
        if (!type || strcmp(type, "text") != 0 || !json_is_string(text)) {
            bt_buf_free(&joined);
            return type && strcmp(type, "text") != 0 ? unsupported(x, param, part, "only parts of type text are")
                                                     : expected(x, param, part, "{\"type\":\"text\",\"text\":\"...\"}");
        }
        bt_buf_adds(&joined, i ? "\n" : "");
        bt_buf_adds(&joined, json_string_value(text));
    }
    bt_buf_add(&joined, "", 1);
    if (joined.failed) {
        bt_buf_free(&joined);
        return no_memory(x);
    }
    x->r->owned[x->r->n_owned++] = (char *)joined.data;
    *content = (char *)joined.data;
    return true;
}

static bool take_message(struct ctx *x, size_t at, const json_t *m, struct bt_chat_message *out) {
    static const char *const roles[] = {"system", "user", "assistant"};
    char param[64];
    const json_t *v = json_object_get(m, "role");
    const char *role = json_string_value(v);
    snprintf(param, sizeof param, "messages[%zu]", at);
    if (!json_is_object(m))
        return expected(x, param, m, "an object with role and content");
    snprintf(param, sizeof param, "messages[%zu].role", at);
    if (!v)
        return fail(x, 400, "missing_field", param, "%s is missing", param);
    if (role && strcmp(role, "developer") == 0)
        role = "system";
    for (size_t i = 0; role && i < BT_COUNT(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            out->role = roles[i];
    if (!out->role && role && (strcmp(role, "tool") == 0 || strcmp(role, "function") == 0))
        return unsupported(x, param, v, "there are no tools; use system, developer, user or assistant");
    if (!out->role)
        return expected(x, param, v, "system, developer, user or assistant");
    const json_t *calls = json_object_get(m, "tool_calls");
    snprintf(param, sizeof param, "messages[%zu].tool_calls", at);
    if (calls && json_array_size(calls) > 0)
        return unsupported(x, param, calls, "there are no tools");
    return take_content(x, at, json_object_get(m, "content"), &out->content);
}

static bool take_messages(struct ctx *x) {
    struct bt_submit *s = &x->r->submit;
    const json_t *v = get(x, "messages");
    size_t n = json_array_size(v);
    if (!v)
        return fail(x, 400, "missing_field", "messages", "messages is missing: expected an array of messages");
    if (!json_is_array(v) || n == 0)
        return expected(x, "messages", v, "an array of at least one message");
    if (n > BT_MESSAGES_MAX)
        return fail(x, 400, "invalid_value", "messages", "there are %zu messages: at most %d are supported", n,
                    BT_MESSAGES_MAX);
    s->kind = BT_PROMPT_CHAT;
    s->messages = calloc(n, sizeof *s->messages);
    x->r->owned = calloc(n, sizeof *x->r->owned);
    if (!s->messages || !x->r->owned)
        return no_memory(x);
    for (size_t i = 0; i < n; i++)
        if (!take_message(x, i, json_array_get(v, i), &s->messages[i]))
            return false;
    s->n_messages = n;
    return true;
}

static bool take_prompt_tokens(struct ctx *x, const json_t *v) {
    struct bt_submit *s = &x->r->submit;
    size_t n = json_array_size(v);
    char what[64];
    s->kind = BT_PROMPT_TOKENS;
    s->tokens = malloc((n + 1) * sizeof *s->tokens);
    if (!s->tokens)
        return no_memory(x);
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(v, i);
        snprintf(what, sizeof what, "only token ids from 0 to %d", x->model->vocab_size - 1);
        if (!json_is_integer(t) || json_integer_value(t) < 0 || json_integer_value(t) >= x->model->vocab_size)
            return expected(x, "prompt", t, what);
        s->tokens[i] = (bt_token)json_integer_value(t);
    }
    s->n_tokens = n;
    return true;
}

static bool take_prompt(struct ctx *x) {
    struct bt_submit *s = &x->r->submit;
    const json_t *v = get(x, "prompt"), *first = json_array_get(v, 0);
    if (!v)
        return fail(x, 400, "missing_field", "prompt", "prompt is missing: expected a string or an array of token ids");
    if (json_is_array(v) && json_is_integer(first))
        return take_prompt_tokens(x, v);
    if (json_is_array(v) && json_array_size(v) == 1 && json_is_array(first) && json_array_size(first) > 0)
        return take_prompt_tokens(x, first);
    if (json_is_array(v) && json_array_size(v) > 1 && (json_is_string(first) || json_is_array(first)))
        return fail(x, 400, "unsupported_parameter", "prompt",
                    "prompt is an array of %zu prompts: only one is supported; ask several times", json_array_size(v));
    if (json_is_array(v) && json_array_size(v) == 1)
        v = first;
    if (!json_is_string(v))
        return expected(x, "prompt", v, "a string, an array of one string, or an array of token ids");
    s->kind = BT_PROMPT_TEXT;
    s->text = (struct bt_text){json_string_value(v), json_string_length(v)};
    return true;
}

/* A tree of tiny values takes seventy times the memory of its text, and seconds in which nobody else is served: so they
 * are counted before there is a tree. Exact for valid JSON; what is not valid is told by the parser. */
static bool few_values(const char *body, size_t len) {
    size_t values = 1, containers = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = body[i];
        if (in_string)
            i += c == '\\';
        containers += !in_string && (c == '{' || c == '[');
        values += !in_string && (c == '{' || c == '[' || c == ',');
        in_string ^= c == '"';
    }
    return containers <= BT_CONTAINERS_MAX && values <= BT_VALUES_MAX;
}

static bool take_json(struct ctx *x, const char *body, size_t len) {
    json_error_t error;
    if (len == 0)
        return fail(x, 400, "invalid_json", "", "the body is empty: expected a JSON object");
    if (!bt_utf8_valid(body, len))
        return fail(x, 400, "invalid_json", "", "the body is not valid UTF-8");
    if (!few_values(body, len))
        return fail(x, 400, "too_many_values", "",
                    "the body has more than %d values, or more than %d arrays and objects: ask for less at a time",
                    BT_VALUES_MAX, BT_CONTAINERS_MAX);
    x->r->root = x->root = json_loadb(body, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!x->root)
        return fail(x, 400, "invalid_json", "", "the body is not valid JSON: line %d, column %d: %s", error.line,
                    error.column, error.text);
    if (!json_is_object(x->root))
        return fail(x, 400, "invalid_json", "", "the body is JSON, but not an object");
    return true;
}

bool bt_openai_parse(struct bt_openai_request *r, bool chat, const char *body, size_t len,
                     const struct bt_openai_models *models, uint64_t seed, struct bt_api_error *e) {
    struct ctx x = {.r = r, .models = models, .e = e};
    *r = (struct bt_openai_request){.chat = chat};
    *e = (struct bt_api_error){0};
    r->submit.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    r->submit.sampling.temperature = BT_OPENAI_TEMPERATURE;
    r->submit.sampling.min_p = BT_OPENAI_MIN_P;
    r->submit.sampling.seed = seed;
    bool ok = take_json(&x, body, len) && take_model(&x) && (chat ? take_messages(&x) : take_prompt(&x)) &&
              take_numbers(&x) && take_stops(&x) && take_bias(&x) && take_stream(&x) && check_unsupported(&x) &&
              check_single(&x);
    if (!ok)
        bt_openai_request_free(r);
    return ok;
}

void bt_openai_request_free(struct bt_openai_request *r) {
    json_decref(r->root);
    free(r->bias);
    for (size_t i = 0; i < r->n_owned; i++)
        free(r->owned[i]);
    free(r->owned);
    free(r->submit.messages);
    free(r->submit.tokens);
    *r = (struct bt_openai_request){0};
}
