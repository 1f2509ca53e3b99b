/* What the parsers of requests share: fields of a JSON body, and errors that say which field has which value and what
 * was expected. State: none. */
#include "serve/json_in.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bt_in_fail(struct bt_in *x, int status, const char *code, const char *param, const char *format, ...) {
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

bool bt_in_expected(struct bt_in *x, const char *param, const json_t *v, const char *what) {
    char text[48];
    show(v, text, sizeof text);
    return bt_in_fail(x, 400, "invalid_value", param, "%s is %s: expected %s", param, text, what);
}

bool bt_in_unsupported(struct bt_in *x, const char *param, const json_t *v, const char *cure) {
    char text[48];
    show(v, text, sizeof text);
    return bt_in_fail(x, 400, "unsupported_parameter", param, "%s is %s, which is not supported: %s", param, text,
                      cure);
}

bool bt_in_no_memory(struct bt_in *x) {
    return bt_in_fail(x, 500, "no_memory", "", "out of memory for the request");
}

/* NULL when absent or null. */
const json_t *bt_in_get(const struct bt_in *x, const char *key) {
    const json_t *v = json_object_get(x->root, key);
    return json_is_null(v) ? NULL : v;
}

bool bt_in_real(struct bt_in *x, const char *key, double lo, double hi, float *out) {
    const json_t *v = bt_in_get(x, key);
    char what[64];
    if (!v)
        return true;
    double d = json_is_number(v) ? json_number_value(v) : 0;
    if (!json_is_number(v) || !(d >= lo && d <= hi)) {
        snprintf(what, sizeof what, "a number from %g to %g", lo, hi);
        return bt_in_expected(x, key, v, what);
    }
    *out = (float)d;
    return true;
}

bool bt_in_int(struct bt_in *x, const char *key, json_int_t lo, json_int_t hi, json_int_t *out) {
    const json_t *v = bt_in_get(x, key);
    char what[80];
    if (!v)
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi) {
        snprintf(what, sizeof what, "an integer from %lld to %lld", (long long)lo, (long long)hi);
        return bt_in_expected(x, key, v, what);
    }
    *out = json_integer_value(v);
    return true;
}

bool bt_in_cstring(struct bt_in *x, const char *key, const char *what, const char **text) {
    const json_t *v = bt_in_get(x, key);
    if (v && (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)))
        return bt_in_expected(x, key, v, what);
    *text = json_string_value(v);
    return true;
}

bool bt_in_bool(struct bt_in *x, const char *key, bool *out) {
    const json_t *v = bt_in_get(x, key);
    if (v && !json_is_boolean(v))
        return bt_in_expected(x, key, v, "true or false");
    *out = json_is_true(v);
    return true;
}

bool bt_in_model(struct bt_in *x) {
    const json_t *v = bt_in_get(x, "model");
    char why[BATON_ERROR_TEXT_MAX];
    if (v && !json_is_string(v))
        return bt_in_expected(x, "model", v, "the name of a model");
    const char *name = v && json_string_length(v) > 0 ? json_string_value(v) : NULL;
    x->model = x->models->choose(x->models->arg, name, why, sizeof why);
    return x->model || bt_in_fail(x, 404, "model_not_found", "model", "%s", why);
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

bool bt_in_json(struct bt_in *x, const char *body, size_t len) {
    json_error_t error;
    if (len == 0)
        return bt_in_fail(x, 400, "invalid_json", "", "the body is empty: expected a JSON object");
    if (!bt_utf8_valid(body, len))
        return bt_in_fail(x, 400, "invalid_json", "", "the body is not valid UTF-8");
    if (!few_values(body, len))
        return bt_in_fail(
            x, 400, "too_many_values", "",
            "the body has more than %d values, or more than %d arrays and objects: ask for less at a time",
            BT_VALUES_MAX, BT_CONTAINERS_MAX);
    x->root = json_loadb(body, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!x->root)
        return bt_in_fail(x, 400, "invalid_json", "", "the body is not valid JSON: line %d, column %d: %s", error.line,
                          error.column, error.text);
    if (!json_is_object(x->root))
        return bt_in_fail(x, 400, "invalid_json", "", "the body is JSON, but not an object");
    return true;
}
