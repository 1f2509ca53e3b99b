/* Validation of requests: one function per field or family of fields; each either fills the submit or says which field
 * has which value and what was expected. State: none. */
#include "serve/json_in.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool take_numbers(struct bt_in *x) {
    struct bt_submit *s = &x->r->submit;
    struct bt_sampling *p = &s->sampling;
    json_int_t top_k = p->top_k, seed = (json_int_t)p->seed, max = -1;
    if (!bt_in_real(x, "temperature", 0, 2, &p->temperature) || !bt_in_real(x, "top_p", 0, 1, &p->top_p) ||
        !bt_in_real(x, "min_p", 0, 1, &p->min_p) || !bt_in_real(x, "presence_penalty", -2, 2, &p->presence_penalty) ||
        !bt_in_real(x, "frequency_penalty", -2, 2, &p->frequency_penalty) ||
        !bt_in_real(x, "repeat_penalty", 0.01, 10, &p->repeat_penalty) || !bt_in_int(x, "top_k", -1, INT_MAX, &top_k) ||
        !bt_in_int(x, "seed", INT64_MIN, INT64_MAX, &seed) || !bt_in_int(x, "max_tokens", 1, INT_MAX, &max) ||
        !bt_in_int(x, "max_completion_tokens", 1, INT_MAX, &max))
        return false;
    p->top_k = (int)top_k;
    p->seed = (uint64_t)seed;
    s->max_tokens = (int32_t)max;
    return true;
}

static bool take_stops(struct bt_in *x) {
    struct bt_submit *s = &x->r->submit;
    const json_t *v = bt_in_get(x, "stop"), *one;
    size_t i, n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v)
        return true;
    if (n > BT_STOPS_MAX)
        return bt_in_fail(x, 400, "invalid_value", "stop", "stop has %zu strings: at most %d are supported", n,
                          BT_STOPS_MAX);
    for (i = 0; i < n; i++) {
        one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one) || json_string_length(one) == 0)
            return bt_in_expected(x, "stop", one, "a string that is not empty, or an array of such");
        s->stops[s->n_stops++] = (struct bt_text){json_string_value(one), json_string_length(one)};
    }
    return true;
}

static bool take_bias(struct bt_in *x) {
    json_t *v = (json_t *)(uintptr_t)bt_in_get(x, "logit_bias"), *bias;
    struct bt_sampling *p = &x->r->submit.sampling;
    const char *key;
    if (!v)
        return true;
    if (!json_is_object(v))
        return bt_in_expected(x, "logit_bias", v, "an object of token ids and numbers from -100 to 100");
    if (json_object_size(v) > BT_BIAS_MAX)
        return bt_in_fail(x, 400, "invalid_value", "logit_bias", "logit_bias has %zu entries: at most %d are supported",
                          json_object_size(v), BT_BIAS_MAX);
    x->r->bias = calloc(json_object_size(v) + 1, sizeof *x->r->bias);
    if (!x->r->bias)
        return bt_in_no_memory(x);
    json_object_foreach(v, key, bias) {
        char *end;
        errno = 0;
        long id = strtol(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || errno || id >= x->model->vocab_size)
            return bt_in_fail(x, 400, "invalid_value", "logit_bias",
                              "logit_bias has the key \"%.32s\": expected the id of a token, 0 to %d", key,
                              x->model->vocab_size - 1);
        double d = json_is_number(bias) ? json_number_value(bias) : 1000;
        if (!(d >= -100 && d <= 100))
            return bt_in_expected(x, "logit_bias", bias, "a number from -100 to 100 for each token");
        x->r->bias[p->n_bias++] = (struct bt_logit_bias){(bt_token)id, (float)d};
    }
    p->bias = x->r->bias;
    return true;
}

static bool take_stream(struct bt_in *x) {
    struct bt_openai_request *r = x->r;
    const json_t *options = bt_in_get(x, "stream_options"), *usage;
    if (!bt_in_bool(x, "stream", &r->stream))
        return false;
    if (!options)
        return true;
    if (!json_is_object(options))
        return bt_in_expected(x, "stream_options", options, "an object");
    if (!r->stream)
        return bt_in_fail(x, 400, "invalid_value", "stream_options", "stream_options is given, but stream is not true");
    usage = json_object_get(options, "include_usage");
    if (usage && !json_is_boolean(usage) && !json_is_null(usage))
        return bt_in_expected(x, "stream_options.include_usage", usage, "true or false");
    r->include_usage = json_is_true(usage);
    return true;
}

/* Fields that may be there as long as they ask for nothing: null, false, an empty array or object, or `fine`. */
static bool check_unsupported(struct bt_in *x) {
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
        const json_t *v = bt_in_get(x, table[i].key);
        const char *s = json_string_value(v);
        bool fine = !v || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
                    (json_is_object(v) && json_object_size(v) == 0) ||
                    (s && (!*s || (table[i].fine && (!strcmp(s, table[i].fine) || !strcmp(s, "auto"))))) ||
                    (json_is_integer(v) && json_integer_value(v) == 0 && strcmp(table[i].key, "logprobs") != 0);
        if (!fine)
            return bt_in_unsupported(x, table[i].key, v, table[i].cure);
    }
    return true;
}

/* Fields of which one value is supported. */
static bool check_single(struct bt_in *x) {
    const json_t *format = bt_in_get(x, "response_format"), *modes = bt_in_get(x, "modalities");
    const char *counts[] = {"n", "best_of"};
    for (size_t i = 0; i < BT_COUNT(counts); i++) {
        const json_t *v = bt_in_get(x, counts[i]);
        if (v && !json_is_integer(v))
            return bt_in_expected(x, counts[i], v, "1");
        if (v && json_integer_value(v) != 1)
            return bt_in_unsupported(x, counts[i], v, "only 1 is; ask several times");
    }
    const json_t *type = json_is_object(format) ? json_object_get(format, "type") : NULL;
    if (format && !json_is_string(type))
        return bt_in_expected(x, "response_format", format, "{\"type\":\"text\"}");
    if (format && strcmp(json_string_value(type), "text") != 0)
        return bt_in_unsupported(x, "response_format", format, "only {\"type\":\"text\"} is");
    const char *mode = json_string_value(json_array_get(modes, 0));
    if (modes && !(json_array_size(modes) == 1 && mode && strcmp(mode, "text") == 0))
        return bt_in_unsupported(x, "modalities", modes, "only [\"text\"] is");
    const json_t *user = bt_in_get(x, "user");
    if (user && !json_is_string(user))
        return bt_in_expected(x, "user", user, "a string");
    return true;
}

/* One part of a content; texts are joined by newlines, images stand where they come. */
static bool take_part(struct bt_in *x, size_t at, size_t i, const json_t *part, struct bt_buf *joined) {
    char param[64];
    const json_t *text = json_object_get(part, "text");
    const char *type = json_string_value(json_object_get(part, "type"));
    snprintf(param, sizeof param, "messages[%zu].content[%zu]", at, i);
    if (type && strcmp(type, "image_url") == 0)
        return bt_in_image(x, param, part, at, joined->len);
    if (type && strcmp(type, "text") != 0)
        return bt_in_unsupported(x, param, part, "only parts of type text and image_url are");
    if (!type || !json_is_string(text))
        return bt_in_expected(x, param, part, "{\"type\":\"text\",\"text\":\"...\"}");
    bt_buf_adds(joined, joined->len ? "\n" : "");
    bt_buf_adds(joined, json_string_value(text));
    return true;
}

/* "content" of a message: a string, or an array of parts. */
static bool take_content(struct bt_in *x, size_t at, const json_t *v, const char **content) {
    char param[64];
    struct bt_buf joined = BT_BUF_INIT;
    snprintf(param, sizeof param, "messages[%zu].content", at);
    if (json_is_string(v)) {
        *content = json_string_value(v);
        return true;
    }
    if (!json_is_array(v))
        return v ? bt_in_expected(x, param, v, "a string or an array of {\"type\":\"text\"} parts")
                 : bt_in_fail(x, 400, "missing_field", param, "%s is missing", param);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!take_part(x, at, i, json_array_get(v, i), &joined)) {
            bt_buf_free(&joined);
            return false;
        }
    bt_buf_add(&joined, "", 1);
    if (joined.failed) {
        bt_buf_free(&joined);
        return bt_in_no_memory(x);
    }
    x->r->owned[x->r->n_owned++] = (char *)joined.data;
    *content = (char *)joined.data;
    return true;
}

static bool take_message(struct bt_in *x, size_t at, const json_t *m, struct bt_chat_message *out) {
    static const char *const roles[] = {"system", "user", "assistant"};
    char param[64];
    const json_t *v = json_object_get(m, "role");
    const char *role = json_string_value(v);
    snprintf(param, sizeof param, "messages[%zu]", at);
    if (!json_is_object(m))
        return bt_in_expected(x, param, m, "an object with role and content");
    snprintf(param, sizeof param, "messages[%zu].role", at);
    if (!v)
        return bt_in_fail(x, 400, "missing_field", param, "%s is missing", param);
    if (role && strcmp(role, "developer") == 0)
        role = "system";
    for (size_t i = 0; role && i < BT_COUNT(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            out->role = roles[i];
    if (!out->role && role && (strcmp(role, "tool") == 0 || strcmp(role, "function") == 0))
        return bt_in_unsupported(x, param, v, "there are no tools; use system, developer, user or assistant");
    if (!out->role)
        return bt_in_expected(x, param, v, "system, developer, user or assistant");
    const json_t *calls = json_object_get(m, "tool_calls");
    snprintf(param, sizeof param, "messages[%zu].tool_calls", at);
    if (calls && json_array_size(calls) > 0)
        return bt_in_unsupported(x, param, calls, "there are no tools");
    return take_content(x, at, json_object_get(m, "content"), &out->content);
}

static bool take_messages(struct bt_in *x) {
    struct bt_submit *s = &x->r->submit;
    const json_t *v = bt_in_get(x, "messages");
    size_t n = json_array_size(v);
    if (!v)
        return bt_in_fail(x, 400, "missing_field", "messages", "messages is missing: expected an array of messages");
    if (!json_is_array(v) || n == 0)
        return bt_in_expected(x, "messages", v, "an array of at least one message");
    if (n > BT_MESSAGES_MAX)
        return bt_in_fail(x, 400, "invalid_value", "messages", "there are %zu messages: at most %d are supported", n,
                          BT_MESSAGES_MAX);
    s->kind = BT_PROMPT_CHAT;
    s->messages = calloc(n, sizeof *s->messages);
    x->r->owned = calloc(n, sizeof *x->r->owned);
    if (!s->messages || !x->r->owned)
        return bt_in_no_memory(x);
    for (size_t i = 0; i < n; i++)
        if (!take_message(x, i, json_array_get(v, i), &s->messages[i]))
            return false;
    s->n_messages = n;
    return true;
}

static bool take_prompt_tokens(struct bt_in *x, const json_t *v) {
    struct bt_submit *s = &x->r->submit;
    size_t n = json_array_size(v);
    char what[64];
    s->kind = BT_PROMPT_TOKENS;
    s->tokens = malloc((n + 1) * sizeof *s->tokens);
    if (!s->tokens)
        return bt_in_no_memory(x);
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(v, i);
        snprintf(what, sizeof what, "only token ids from 0 to %d", x->model->vocab_size - 1);
        if (!json_is_integer(t) || json_integer_value(t) < 0 || json_integer_value(t) >= x->model->vocab_size)
            return bt_in_expected(x, "prompt", t, what);
        s->tokens[i] = (bt_token)json_integer_value(t);
    }
    s->n_tokens = n;
    return true;
}

static bool take_prompt(struct bt_in *x) {
    struct bt_submit *s = &x->r->submit;
    const json_t *v = bt_in_get(x, "prompt"), *first = json_array_get(v, 0);
    if (!v)
        return bt_in_fail(x, 400, "missing_field", "prompt",
                          "prompt is missing: expected a string or an array of token ids");
    if (json_is_array(v) && json_is_integer(first))
        return take_prompt_tokens(x, v);
    if (json_is_array(v) && json_array_size(v) == 1 && json_is_array(first) && json_array_size(first) > 0)
        return take_prompt_tokens(x, first);
    if (json_is_array(v) && json_array_size(v) > 1 && (json_is_string(first) || json_is_array(first)))
        return bt_in_fail(x, 400, "unsupported_parameter", "prompt",
                          "prompt is an array of %zu prompts: only one is supported; ask several times",
                          json_array_size(v));
    if (json_is_array(v) && json_array_size(v) == 1)
        v = first;
    if (!json_is_string(v))
        return bt_in_expected(x, "prompt", v, "a string, an array of one string, or an array of token ids");
    s->kind = BT_PROMPT_TEXT;
    s->text = (struct bt_text){json_string_value(v), json_string_length(v)};
    return true;
}

bool bt_openai_parse(struct bt_openai_request *r, bool chat, const char *body, size_t len,
                     const struct bt_openai_models *models, uint64_t seed, struct bt_api_error *e) {
    struct bt_in x = {.r = r, .models = models, .e = e};
    *r = (struct bt_openai_request){.chat = chat};
    *e = (struct bt_api_error){0};
    r->submit.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    r->submit.sampling.temperature = BT_OPENAI_TEMPERATURE;
    r->submit.sampling.min_p = BT_OPENAI_MIN_P;
    r->submit.sampling.seed = seed;
    bool ok = bt_in_json(&x, body, len) && bt_in_model(&x);
    r->root = x.root;
    r->model = x.model;
    ok = ok && (chat ? take_messages(&x) : take_prompt(&x)) && take_numbers(&x) && take_stops(&x) && take_bias(&x) &&
         take_stream(&x) && check_unsupported(&x) && check_single(&x);
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
    bt_in_images_free(&r->submit);
    free(r->submit.tokens);
    *r = (struct bt_openai_request){0};
}
