/* OpenAI's JSON in and out, without a server: what a body becomes, what is refused, what chunks look like. */
#include "harness.h"

#include <jansson.h>
#include <string.h>

#include "serve/openai_in.h"
#include "serve/openai_out.h"

static const struct bt_openai_model TINY = {.vocab_size = 100};

static const struct bt_openai_model *choose(void *arg, const char *name, char *why, size_t size) {
    assert_null(arg);
    if (!name || strcmp(name, "tiny") == 0)
        return &TINY;
    snprintf(why, size, "no \"%s\", but tiny", name);
    return NULL;
}

static const struct bt_openai_models MODEL = {choose, NULL};

static bool parse(struct bt_openai_request *r, struct bt_api_error *e, bool chat, const char *body) {
    return bt_openai_parse(r, chat, body, strlen(body), &MODEL, 42, e);
}

static void a_full_chat_becomes_a_submit(void **state) {
    struct bt_openai_request r;
    struct bt_api_error e;
    (void)state;
    assert_true(
        parse(&r, &e, true,
              "{\"model\":\"tiny\",\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},"
              "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
              "\"b\"}]}],\"temperature\":1.5,\"top_p\":0.5,\"top_k\":7,\"min_p\":0.25,\"seed\":-3,\"stop\":[\"x\","
              "\"yz\"],\"presence_penalty\":1,\"frequency_penalty\":-1,\"logit_bias\":{\"5\":-100,\"99\":2.5},"
              "\"max_tokens\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":1,"
              "\"user\":\"u\",\"metadata\":{}}"));
    const struct bt_submit *s = &r.submit;
    assert_int_equal(s->kind, BT_PROMPT_CHAT);
    assert_int_equal(s->n_messages, 2);
    assert_string_equal(s->messages[0].role, "system");
    assert_string_equal(s->messages[1].content, "a\nb");
    assert_true(s->sampling.temperature == 1.5f && s->sampling.top_p == 0.5f && s->sampling.min_p == 0.25f);
    assert_true(s->sampling.presence_penalty == 1 && s->sampling.frequency_penalty == -1);
    assert_int_equal(s->sampling.top_k, 7);
    assert_true(s->sampling.seed == (uint64_t)-3);
    assert_int_equal(s->n_stops, 2);
    assert_memory_equal(s->stops[1].data, "yz", 2);
    assert_int_equal(s->sampling.n_bias, 2);
    assert_int_equal(s->max_tokens, 9);
    assert_true(r.stream && r.include_usage && r.chat);
    bt_openai_request_free(&r);
}

static void what_is_absent_has_its_documented_default(void **state) {
    struct bt_openai_request r;
    struct bt_api_error e;
    (void)state;
    assert_true(parse(&r, &e, false, "{\"prompt\":\"x\",\"temperature\":null}"));
    assert_int_equal(r.submit.kind, BT_PROMPT_TEXT);
    assert_true(r.submit.sampling.temperature == BT_OPENAI_TEMPERATURE && r.submit.sampling.min_p == BT_OPENAI_MIN_P);
    assert_true(r.submit.sampling.top_p == 1 && r.submit.sampling.top_k <= 0 && r.submit.sampling.seed == 42);
    assert_int_equal(r.submit.max_tokens, -1);
    assert_false(r.stream);
    bt_openai_request_free(&r);
    assert_true(parse(&r, &e, false, "{\"prompt\":[1,2,99]}"));
    assert_int_equal(r.submit.kind, BT_PROMPT_TOKENS);
    assert_int_equal(r.submit.n_tokens, 3);
    assert_int_equal(r.submit.tokens[2], 99);
    bt_openai_request_free(&r);
}

static void errors_name_field_value_and_expectation(void **state) {
    static const struct {
        const char *body;
        int status;
        const char *param, *text;
    } cases[] = {
        {"{\"prompt\":\"x\",\"temperature\":3}", 400, "temperature", "temperature is 3: expected a number from 0 to 2"},
        {"{\"prompt\":\"x\",\"n\":4}", 400, "n", "n is 4, which is not supported: only 1 is; ask several times"},
        {"{\"prompt\":\"x\",\"max_tokens\":0}", 400, "max_tokens",
         "max_tokens is 0: expected an integer from 1 to 2147483647"},
        {"{\"prompt\":[1,100]}", 400, "prompt", "prompt is 100: expected only token ids from 0 to 99"},
        {"{\"prompt\":\"x\",\"model\":\"y\"}", 404, "model", "no \"y\", but tiny"},
        {"{\"prompt\":\"x\",\"logit_bias\":{\"100\":1}}", 400, "logit_bias",
         "logit_bias has the key \"100\": expected the id of a token, 0 to 99"},
        {"{}", 400, "prompt", "prompt is missing: expected a string or an array of token ids"},
        {"", 400, "", "the body is empty: expected a JSON object"},
        {"{\"prompt\":\"\xff\"}", 400, "", "the body is not valid UTF-8"},
    };
    struct bt_openai_request r;
    struct bt_api_error e;
    (void)state;
    for (size_t i = 0; i < BT_COUNT(cases); i++) {
        assert_false(parse(&r, &e, false, cases[i].body));
        assert_int_equal(e.status, cases[i].status);
        assert_string_equal(e.param, cases[i].param);
        assert_string_equal(e.text, cases[i].text);
    }
}

/* A value as long as one likes, of characters that are not one byte, leaves a message of valid UTF-8. */
static void long_values_are_cut_between_characters(void **state) {
    struct bt_openai_request r;
    struct bt_api_error e;
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        struct bt_buf b = BT_BUF_INIT;
        bt_buf_adds(&b, "{\"prompt\":\"x\",\"temperature\":\"");
        bt_buf_add(&b, "xxxx", (size_t)shift);
        for (int i = 0; i < 1000; i++)
            bt_buf_adds(&b, "\xf0\x9f\x98\x80");
        bt_buf_adds(&b, "\"}");
        assert_false(bt_openai_parse(&r, false, (char *)b.data, b.len, &MODEL, 0, &e));
        assert_true(bt_utf8_valid(e.text, strlen(e.text)));
        assert_non_null(strstr(e.text, "..."));
        assert_true(strlen(e.text) < 200);
        bt_buf_free(&b);
    }
}

/* Every prefix of a valid body, and every byte of it replaced: refused or accepted, never a crash or a leak (ASan). */
static void broken_bodies_are_harmless(void **state) {
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\"}]}],"
        "\"stop\":[\"a\"],\"logit_bias\":{\"1\":2},\"seed\":12,\"temperature\":1e0}";
    struct bt_openai_request r;
    struct bt_api_error e;
    char copy[sizeof body];
    int accepted = 0;
    (void)state;
    for (size_t len = 0; len + 1 < sizeof body; len++)
        assert_false(bt_openai_parse(&r, true, body, len, &MODEL, 0, &e));
    for (size_t i = 0; i + 1 < sizeof body; i++)
        for (int c = 0; c < 256; c += 1 + (int)(i % 3)) {
            memcpy(copy, body, sizeof body);
            copy[i] = (char)c;
            if (bt_openai_parse(&r, true, copy, sizeof body - 1, &MODEL, 0, &e)) {
                bt_openai_request_free(&r);
                accepted++;
            } else {
                assert_true(e.status >= 400 && e.text[0] && bt_utf8_valid(e.text, strlen(e.text)));
            }
        }
    assert_true(accepted > 0);
}

/* What follows "data: " up to the blank line; NULL for the end mark. *at moves behind it. */
static json_t *event(const struct bt_buf *b, size_t *at) {
    const char *s = (const char *)b->data + *at, *end = memmem(s, b->len - *at, "\n\n", 2);
    assert_non_null(end);
    assert_memory_equal(s, "data: ", 6);
    *at = (size_t)(end + 2 - (const char *)b->data);
    if (memcmp(s, "data: [DONE]", 12) == 0)
        return NULL;
    json_t *j = json_loadb(s + 6, (size_t)(end - s) - 6, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    return j;
}

static const char *path(json_t *j, const char *inner, const char *key) {
    json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
    json_t *in = inner ? json_object_get(choice, inner) : choice;
    return json_string_value(json_object_get(in, key));
}

static void chunks_are_json_whatever_the_text_is(void **state) {
    const struct bt_outcome outcome = {
        .finish = BT_FINISH_LENGTH, .prompt_tokens = 3, .reused_tokens = 2, .answer_tokens = 4};
    static const char text[] = "\"\\\n\x01 caf\xc3\xa9 \xf0\x9f\x98\x80";
    struct bt_openai_out o;
    struct bt_buf b = BT_BUF_INIT;
    size_t at = 0;
    (void)state;
    assert_true(bt_openai_out_init(&o, true, true, 0xabc, 77, "a \"model\""));
    bt_openai_first(&o, &b);
    bt_openai_piece(&o, text, strlen(text), &b);
    bt_openai_last(&o, &outcome, &b);
    json_t *j = event(&b, &at);
    assert_string_equal(path(j, "delta", "role"), "assistant");
    json_decref(j);
    j = event(&b, &at);
    assert_string_equal(path(j, "delta", "content"), text);
    assert_string_equal(json_string_value(json_object_get(j, "model")), "a \"model\"");
    assert_string_equal(json_string_value(json_object_get(j, "id")), "chatcmpl-0000000000000abc");
    assert_true(json_is_null(json_object_get(j, "usage")));
    json_decref(j);
    j = event(&b, &at);
    assert_string_equal(path(j, NULL, "finish_reason"), "length");
    json_decref(j);
    j = event(&b, &at);
    json_t *usage = json_object_get(j, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "total_tokens")), 7);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens")), 2);
    json_decref(j);
    assert_null(event(&b, &at));
    assert_int_equal(at, b.len);
    b.len = 0;
    bt_openai_whole(&o, &outcome, text, strlen(text), &b);
    j = json_loadb((char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    assert_string_equal(path(j, "message", "content"), text);
    assert_string_equal(json_string_value(json_object_get(j, "object")), "chat.completion");
    json_decref(j);
    bt_openai_out_free(&o);
    bt_buf_free(&b);
}

static void every_status_is_an_error_that_a_client_understands(void **state) {
    static const struct {
        baton_status status;
        int http;
    } cases[] = {{BATON_BUSY, 429},        {BATON_QUEUE_FULL, 429}, {BATON_QUEUE_TIMEOUT, 429},
                 {BATON_RUN_TIMEOUT, 504}, {BATON_CANCELLED, 503},  {BATON_CLOSED, 503},
                 {BATON_TOO_LONG, 400},    {BATON_INVALID, 400},    {BATON_UNSUPPORTED, 400},
                 {BATON_CRASHED, 500},     {BATON_FAILED, 500},     {BATON_PROTOCOL, 500}};
    (void)state;
    for (size_t i = 0; i < BT_COUNT(cases); i++) {
        struct bt_api_error e;
        struct bt_buf b = BT_BUF_INIT;
        bt_openai_status_error(cases[i].status, "why \"it\" is", &e);
        assert_int_equal(e.status, cases[i].http);
        bt_openai_error(&e, &b);
        json_t *j = json_loadb((char *)b.data, b.len, 0, NULL), *error = json_object_get(j, "error");
        assert_string_equal(json_string_value(json_object_get(error, "message")), "why \"it\" is");
        assert_true(json_is_string(json_object_get(error, "type")));
        assert_true(json_is_string(json_object_get(error, "code")));
        assert_true(json_is_null(json_object_get(error, "param")));
        json_decref(j);
        bt_buf_free(&b);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_chat_becomes_a_submit),
        cmocka_unit_test(what_is_absent_has_its_documented_default),
        cmocka_unit_test(errors_name_field_value_and_expectation),
        cmocka_unit_test(long_values_are_cut_between_characters),
        cmocka_unit_test(broken_bodies_are_harmless),
        cmocka_unit_test(chunks_are_json_whatever_the_text_is),
        cmocka_unit_test(every_status_is_an_error_that_a_client_understands),
    };
    return bt_test_run(tests, argc, argv);
}
