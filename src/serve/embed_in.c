/* Validation of requests for vectors, scores and tokens. State: none. */
#include "serve/embed_in.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/json_in.h"

static bool missing(struct bt_in *x, const char *key, const char *what) {
    return bt_in_fail(x, 400, "missing_field", key, "%s is missing: expected %s", key, what);
}

/* Token ids, appended to *to. */
static bool take_ids(struct bt_in *x, const char *param, const json_t *v, bt_token **to) {
    char what[64];
    snprintf(what, sizeof what, "only token ids from 0 to %d", x->model->vocab_size - 1);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *t = json_array_get(v, i);
        if (!json_is_integer(t) || json_integer_value(t) < 0 || json_integer_value(t) >= x->model->vocab_size)
            return bt_in_expected(x, param, t, what);
        *(*to)++ = (bt_token)json_integer_value(t);
    }
    return true;
}

static size_t count_ids(const json_t *v) {
    size_t n = json_array_size(v);
    for (size_t i = 0; i < json_array_size(v); i++)
        n += json_array_size(json_array_get(v, i));
    return n;
}

/* One of "input": a text, or the tokens of one. */
static bool take_input(struct bt_in *x, struct bt_embed_request *r, size_t at, const json_t *v, bt_token **to) {
    struct bt_frame_input *in = &r->submit.inputs[at];
    char param[32];
    snprintf(param, sizeof param, "input[%zu]", at);
    in->text = (struct bt_text){"", 0};
    if (json_is_string(v) && json_string_length(v) > 0) {
        in->text = (struct bt_text){json_string_value(v), json_string_length(v)};
        return true;
    }
    if (!json_is_array(v) || json_array_size(v) == 0)
        return bt_in_expected(x, param, v, "a string that is not empty, or an array of token ids");
    in->tokens = *to;
    in->n = json_array_size(v);
    return take_ids(x, param, v, to);
}

static bool take_inputs(struct bt_in *x, struct bt_embed_request *r) {
    const json_t *v = bt_in_get(x, "input");
    bool one = !json_is_array(v) || json_is_integer(json_array_get(v, 0));
    size_t n = one ? 1 : json_array_size(v);
    if (!v)
        return missing(x, "input", "a string, an array of strings, or token ids");
    if (n == 0 || n > BT_INPUTS_MAX)
        return bt_in_fail(x, 400, "invalid_value", "input", "input has %zu texts: expected 1 to %d", n, BT_INPUTS_MAX);
    r->submit.inputs = calloc(n, sizeof *r->submit.inputs);
    bt_token *to = r->tokens = malloc((count_ids(v) + 1) * sizeof *r->tokens);
    if (!r->submit.inputs || !r->tokens)
        return bt_in_no_memory(x);
    r->submit.n_inputs = n;
    for (size_t i = 0; i < n; i++)
        if (!take_input(x, r, i, one ? v : json_array_get(v, i), &to))
            return false;
    return true;
}

static bool take_format(struct bt_in *x, struct bt_embed_request *r) {
    const json_t *format = bt_in_get(x, "encoding_format"), *user = bt_in_get(x, "user");
    const char *name = json_string_value(format);
    json_int_t dimensions = 0;
    if (format && (!name || (strcmp(name, "float") != 0 && strcmp(name, "base64") != 0)))
        return bt_in_expected(x, "encoding_format", format, "\"float\" or \"base64\"");
    if (user && !json_is_string(user))
        return bt_in_expected(x, "user", user, "a string");
    r->base64 = name && strcmp(name, "base64") == 0;
    if (!bt_in_int(x, "dimensions", 1, INT_MAX, &dimensions))
        return false;
    r->dimensions = (int)dimensions;
    return true;
}

static void begin(struct bt_embed_request *r, enum bt_what what) {
    *r = (struct bt_embed_request){.submit = {.what = what,
                                              .text = {"", 0},
                                              .state = {"", 0},
                                              .sampling = BT_SAMPLING_DEFAULT,
                                              .normalise = what == BT_WHAT_EMBED}};
}

/* The tree lives as long as the request, whose texts lie in it. */
static bool open_body(struct bt_in *x, const char *body, size_t len, void **root,
                      const struct bt_openai_model **model) {
    bool ok = bt_in_json(x, body, len) && bt_in_model(x);
    *root = x->root;
    *model = x->model;
    return ok;
}

bool bt_embed_parse(struct bt_embed_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                    struct bt_api_error *e) {
    struct bt_in x = {.models = models, .e = e};
    *e = (struct bt_api_error){0};
    begin(r, BT_WHAT_EMBED);
    bool ok = open_body(&x, body, len, &r->root, &r->model) && take_inputs(&x, r) && take_format(&x, r);
    if (!ok)
        bt_embed_request_free(r);
    return ok;
}

/* A document: a string, or an object with a text. */
static bool take_document(struct bt_in *x, struct bt_embed_request *r, size_t at, const json_t *v) {
    const json_t *text = json_is_object(v) ? json_object_get(v, "text") : v;
    char param[40];
    snprintf(param, sizeof param, "documents[%zu]", at);
    if (!json_is_string(text))
        return bt_in_expected(x, param, v, "a string, or {\"text\":\"...\"}");
    r->submit.inputs[at].text = (struct bt_text){json_string_value(text), json_string_length(text)};
    return true;
}

static bool take_documents(struct bt_in *x, struct bt_embed_request *r) {
    const json_t *query = bt_in_get(x, "query"), *v = bt_in_get(x, "documents");
    size_t n = json_array_size(v);
    if (!query)
        return missing(x, "query", "a string");
    if (!json_is_string(query) || json_string_length(query) == 0)
        return bt_in_expected(x, "query", query, "a string that is not empty");
    if (!v)
        return missing(x, "documents", "an array of strings");
    if (!json_is_array(v) || n == 0 || n > BT_INPUTS_MAX)
        return bt_in_fail(x, 400, "invalid_value", "documents", "documents has %zu texts: expected an array of 1 to %d",
                          n, BT_INPUTS_MAX);
    r->submit.text = (struct bt_text){json_string_value(query), json_string_length(query)};
    r->submit.inputs = calloc(n, sizeof *r->submit.inputs);
    if (!r->submit.inputs)
        return bt_in_no_memory(x);
    r->submit.n_inputs = n;
    for (size_t i = 0; i < n; i++)
        if (!take_document(x, r, i, json_array_get(v, i)))
            return false;
    return true;
}

bool bt_rerank_parse(struct bt_embed_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                     struct bt_api_error *e) {
    struct bt_in x = {.models = models, .e = e};
    json_int_t top_n = INT_MAX;
    *e = (struct bt_api_error){0};
    begin(r, BT_WHAT_SCORE);
    bool ok = open_body(&x, body, len, &r->root, &r->model) && take_documents(&x, r) &&
              bt_in_int(&x, "top_n", 1, INT_MAX, &top_n) && bt_in_bool(&x, "return_documents", &r->return_documents);
    r->top_n = BT_MIN((size_t)top_n, r->submit.n_inputs);
    if (!ok)
        bt_embed_request_free(r);
    return ok;
}

void bt_embed_request_free(struct bt_embed_request *r) {
    json_decref(r->root);
    free(r->submit.inputs);
    free(r->tokens);
    *r = (struct bt_embed_request){0};
}

bool bt_tokenize_parse(struct bt_words_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                       struct bt_api_error *e) {
    struct bt_in x = {.models = models, .e = e};
    void *root;
    bool add = false, parse = true;
    *e = (struct bt_api_error){0};
    *r = (struct bt_words_request){.call = {.op = BT_CALL_TOKENIZE}};
    bool ok = open_body(&x, body, len, &root, &r->model);
    const json_t *text = ok ? bt_in_get(&x, "content") : NULL;
    if (ok && !json_is_string(text))
        ok = text ? bt_in_expected(&x, "content", text, "a string") : missing(&x, "content", "a string");
    if (ok && bt_in_get(&x, "parse_special"))
        ok = bt_in_bool(&x, "parse_special", &parse);
    ok = ok && bt_in_bool(&x, "add_special", &add);
    if (ok) {
        bt_buf_add(&r->bytes, json_string_value(text), json_string_length(text));
        r->call.number = (add ? BT_TOKENIZE_ADD : 0) | (parse ? BT_TOKENIZE_PARSE : 0);
        ok = !r->bytes.failed || bt_in_no_memory(&x);
    }
    r->call.bytes = (struct bt_text){(const char *)r->bytes.data, r->bytes.len};
    json_decref(root);
    if (!ok)
        bt_words_request_free(r);
    return ok;
}

bool bt_detokenize_parse(struct bt_words_request *r, const char *body, size_t len,
                         const struct bt_openai_models *models, struct bt_api_error *e) {
    struct bt_in x = {.models = models, .e = e};
    void *root;
    *e = (struct bt_api_error){0};
    *r = (struct bt_words_request){.call = {.op = BT_CALL_DETOKENIZE}};
    bool ok = open_body(&x, body, len, &root, &r->model);
    const json_t *v = ok ? bt_in_get(&x, "tokens") : NULL;
    if (ok && !json_is_array(v))
        ok = v ? bt_in_expected(&x, "tokens", v, "an array of token ids") : missing(&x, "tokens", "token ids");
    bt_token *tokens = ok ? malloc((json_array_size(v) + 1) * sizeof *tokens) : NULL, *to = tokens;
    if (ok && !tokens)
        ok = bt_in_no_memory(&x);
    ok = ok && take_ids(&x, "tokens", v, &to);
    if (ok) {
        bt_put_tokens(&r->bytes, tokens, (size_t)(to - tokens));
        ok = !r->bytes.failed || bt_in_no_memory(&x);
    }
    r->call.bytes = (struct bt_text){(const char *)r->bytes.data, r->bytes.len};
    free(tokens);
    json_decref(root);
    if (!ok)
        bt_words_request_free(r);
    return ok;
}

void bt_words_request_free(struct bt_words_request *r) {
    bt_buf_free(&r->bytes);
    *r = (struct bt_words_request){.model = NULL};
}
