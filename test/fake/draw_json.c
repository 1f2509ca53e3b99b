/* serve/draw_in.h and draw_out.h: what is asked for as OpenAI has it, and images as PNG files in its shape. */
#include "harness.h"

#include <png.h>
#include <string.h>

#include "serve/draw_in.h"
#include "serve/draw_out.h"
#include "serve/json_in.h"
#include "serve/png.h"

static const struct bt_openai_model DRAWS = {.draws = true}, READS = {.vocab_size = 9};

static const struct bt_openai_model *choose(void *arg, const char *name, char *why, size_t size) {
    (void)arg, (void)why, (void)size;
    return name && strcmp(name, "reads") == 0 ? &READS : &DRAWS;
}

static bool parse(const char *body, struct bt_draw_request *r, struct bt_api_error *e) {
    const struct bt_openai_models models = {choose, NULL};
    return bt_draw_parse(r, body, strlen(body), &models, 0x123456789abcdef, e);
}

static void a_request_says_what_it_asks(void **state) {
    (void)state;
    struct bt_draw_request r;
    struct bt_api_error e;
    struct bt_draw_ask ask;
    assert_true(parse("{\"prompt\":\"a \\u00fc\",\"n\":3,\"size\":\"512x768\",\"seed\":7,\"steps\":9,\"cfg_scale\":2.5,"
                      "\"negative_prompt\":\"fog\",\"sampler\":\"euler\",\"scheduler\":\"karras\",\"stream\":true,"
                      "\"response_format\":\"b64_json\",\"output_format\":\"png\",\"quality\":\"auto\",\"user\":\"u\","
                      "\"partial_images\":0,\"style\":null}",
                      &r, &e));
    assert_int_equal(bt_draw_ask_decode(r.submit.text, &ask), BATON_OK);
    assert_true(r.submit.what == BT_WHAT_DRAW && r.model == &DRAWS && r.stream && r.seed == 7);
    assert_true(r.width == 512 && r.height == 768 && r.count == 3);
    assert_string_equal(ask.ask.prompt, "a \xc3\xbc");
    assert_string_equal(ask.ask.negative_prompt, "fog");
    assert_string_equal(ask.ask.sampler, "euler");
    assert_string_equal(ask.ask.scheduler, "karras");
    assert_true(ask.what == BT_DRAW_IMAGE && ask.progress && !ask.previews);
    assert_true(ask.ask.width == 512 && ask.ask.height == 768 && ask.ask.count == 3 && ask.ask.steps == 9);
    assert_true(ask.ask.seed == 7 && ask.ask.cfg_scale == 2.5f && ask.ask.guidance == -1 && ask.ask.strength == -1);
    bt_draw_ask_free(&ask);
    bt_draw_request_free(&r);
    assert_true(parse("{\"prompt\":\"\"}", &r, &e)); /* everything has a preset */
    assert_int_equal(bt_draw_ask_decode(r.submit.text, &ask), BATON_OK);
    assert_true(ask.ask.width == 512 && ask.ask.height == 512 && ask.ask.count == 1 && ask.ask.steps == 0);
    assert_true(ask.ask.seed == (0x123456789abcdef & INT32_MAX) && r.seed == ask.ask.seed && !r.stream);
    bt_draw_ask_free(&ask);
    bt_draw_request_free(&r);
}

static void what_cannot_be_asked_is_told_by_its_field(void **state) {
    (void)state;
    static const struct {
        const char *body, *code, *text;
    } cases[] = {
        {"{}", "missing_field", "prompt is missing"},
        {"{\"prompt\":7}", "invalid_value", "prompt is 7: expected a string"},
        {"{\"prompt\":\"a\\u0000b\"}", "invalid_json", ""},
        {"{\"prompt\":\"x\",\"model\":\"reads\"}", "unsupported_model", "kind = image"},
        {"{\"prompt\":\"x\",\"n\":0}", "invalid_value", "n is 0: expected an integer from 1 to 10"},
        {"{\"prompt\":\"x\",\"n\":11}", "invalid_value", "n is 11"},
        {"{\"prompt\":\"x\",\"size\":\"large\"}", "invalid_value", "size is \"large\": expected WIDTHxHEIGHT"},
        {"{\"prompt\":\"x\",\"size\":512}", "invalid_value", "size is 512"},
        {"{\"prompt\":\"x\",\"size\":\"512x\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"512x512x\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"x512x512\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"-64x512\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"63x512\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"512x4097\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"99999999999x512\"}", "invalid_value", "size is"},
        {"{\"prompt\":\"x\",\"size\":\"4096x4096\",\"n\":2}", "invalid_value", "more than 16777216 pixels"},
        {"{\"prompt\":\"x\",\"response_format\":\"url\"}", "unsupported_parameter", "use \"b64_json\""},
        {"{\"prompt\":\"x\",\"output_format\":\"webp\"}", "unsupported_parameter", "use \"png\""},
        {"{\"prompt\":\"x\",\"background\":\"transparent\"}", "unsupported_parameter", "background is"},
        {"{\"prompt\":\"x\",\"style\":\"vivid\"}", "unsupported_parameter", "style is \"vivid\""},
        {"{\"prompt\":\"x\",\"quality\":7}", "unsupported_parameter", "quality is 7"},
        {"{\"prompt\":\"x\",\"partial_images\":1}", "unsupported_parameter", "partial_images is 1"},
        {"{\"prompt\":\"x\",\"image\":\"AAAA\"}", "unsupported_parameter", "text alone"},
        {"{\"prompt\":\"x\",\"seed\":-1}", "invalid_value", "seed is -1"},
        {"{\"prompt\":\"x\",\"steps\":1001}", "invalid_value", "steps is 1001"},
        {"{\"prompt\":\"x\",\"cfg_scale\":\"7\"}", "invalid_value", "cfg_scale is \"7\""},
        {"{\"prompt\":\"x\",\"sampler\":[]}", "invalid_value", "sampler is []"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bt_draw_request r;
        struct bt_api_error e;
        if (parse(cases[i].body, &r, &e) || strcmp(e.code, cases[i].code) != 0 || !strstr(e.text, cases[i].text))
            fail_msg("%s: %s, %s", cases[i].body, e.code ? e.code : "taken", e.text);
        assert_null(r.ask.data);
    }
}

static struct bt_sd_image noise(uint32_t width, uint32_t height, uint32_t channels, uint64_t seed) {
    struct bt_sd_image i = {width, height, channels, malloc((size_t)width * height * channels)};
    assert_non_null(i.data);
    for (size_t k = 0; k < (size_t)width * height * channels; k++)
        i.data[k] = (unsigned char)bt_mix64(seed + k);
    return i;
}

static void check_png(const unsigned char *bytes, size_t len, const struct bt_sd_image *expected) {
    static const png_uint_32 formats[] = {PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB, PNG_FORMAT_RGBA};
    png_image image = {.version = PNG_IMAGE_VERSION};
    size_t size = (size_t)expected->width * expected->height * expected->channels;
    unsigned char *pixels = malloc(size);
    assert_non_null(pixels);
    assert_true(png_image_begin_read_from_memory(&image, bytes, len));
    assert_true(image.width == expected->width && image.height == expected->height);
    assert_int_equal(image.format, formats[expected->channels - 1]);
    assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
    assert_memory_equal(pixels, expected->data, size);
    free(pixels);
}

static void a_png_holds_the_pixels(void **state) {
    (void)state;
    for (uint32_t channels = 1; channels <= 4; channels++) {
        struct bt_sd_image i = noise(37, 21, channels, channels);
        struct bt_buf b = BT_BUF_INIT;
        baton_error err;
        assert_int_equal(bt_png_write(&i, SIZE_MAX, &b, &err), BATON_OK);
        check_png(b.data, b.len, &i);
        size_t whole = b.len;
        b.len = 0;
        assert_int_equal(bt_png_write(&i, whole, &b, &err), BATON_OK);
        b.len = 0;
        assert_int_equal(bt_png_write(&i, whole - 1, &b, &err), BATON_TOO_LONG);
        assert_true(b.len < whole);
        assert_non_null(strstr(err.text, "37 x 21"));
        i.width = 1 << 20; /* past what libpng takes */
        assert_int_equal(bt_png_write(&i, SIZE_MAX, &b, &err), BATON_FAILED);
        assert_non_null(strstr(err.text, "1048576 x 21"));
        i.channels = 5;
        assert_int_equal(bt_png_write(&i, SIZE_MAX, &b, &err), BATON_UNSUPPORTED);
        bt_buf_free(&b);
        free(i.data);
    }
}

/* In pieces cut anywhere, the same body, whose images are those that were drawn. */
static void records_become_openais_answer(void **state) {
    (void)state;
    struct bt_sd_image images[] = {noise(8, 5, 3, 1), noise(8, 5, 3, 2)};
    struct bt_buf records = BT_BUF_INIT, first = BT_BUF_INIT;
    bt_draw_put_picture(&records, &images[0]);
    bt_draw_put_picture(&records, &images[1]);
    for (size_t piece = 1; piece <= records.len; piece++) {
        struct bt_draw_out o = {.seed = 40, .count = 2};
        struct bt_buf b = BT_BUF_INIT;
        baton_error err;
        for (size_t at = 0; at < records.len; at += piece)
            assert_int_equal(bt_draw_out_add(&o, (char *)records.data + at, BT_MIN(piece, records.len - at)), BATON_OK);
        assert_int_equal(bt_draw_out_whole(&o, 99, 4096, &b, &err), BATON_OK);
        bt_buf_add(&b, "", 1);
        if (piece == 1)
            bt_buf_add(&first, b.data, b.len);
        assert_string_equal((char *)b.data, (char *)first.data);
        b.len = 0;
        assert_int_equal(bt_draw_out_whole(&o, 99, strlen((char *)first.data) / 2, &b, &err), BATON_TOO_LONG);
        bt_buf_free(&b);
        bt_draw_out_free(&o);
    }
    json_t *root = json_loads((char *)first.data, 0, NULL), *data = json_object_get(root, "data");
    assert_int_equal(json_integer_value(json_object_get(root, "created")), 99);
    assert_string_equal(json_string_value(json_object_get(root, "size")), "8x5");
    assert_string_equal(json_string_value(json_object_get(root, "output_format")), "png");
    assert_int_equal(json_array_size(data), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *one = json_array_get(data, i), *text = json_object_get(one, "b64_json");
        unsigned char *bytes;
        size_t n;
        assert_int_equal(json_integer_value(json_object_get(one, "seed")), 40 + i);
        assert_true(bt_in_base64(json_string_value(text), json_string_length(text), &bytes, &n));
        check_png(bytes, n, &images[i]);
        free(bytes);
        free(images[i].data);
    }
    json_decref(root);
    bt_buf_free(&first);
    bt_buf_free(&records);
}

static void what_is_no_image_is_told(void **state) {
    (void)state;
    struct bt_draw_out o = {.seed = INT64_MAX, .count = 1};
    const struct bt_sd_image i = {1, 1, 3, (unsigned char *)"rgb"};
    struct bt_buf b = BT_BUF_INIT, news = BT_BUF_INIT;
    baton_error err;
    assert_int_equal(bt_draw_out_whole(&o, 99, 4096, &b, &err), BATON_FAILED);
    assert_non_null(strstr(err.text, "0 of 1 images"));
    bt_draw_put_picture(&news, &i);
    assert_int_equal(bt_draw_out_add(&o, (char *)news.data, news.len), BATON_OK);
    b.len = 0;
    assert_int_equal(bt_draw_out_whole(&o, 99, 4096, &b, &err), BATON_OK);
    assert_int_equal(bt_draw_out_add(&o, (char *)news.data, news.len), BATON_PROTOCOL); /* one more than asked */
    news.len = 0;
    assert_int_equal(bt_draw_out_add(&o, "\x09\0\0\0\0", 5), BATON_PROTOCOL);
    bt_draw_out_free(&o);
    b.len = 0;
    bt_draw_put_step(&news, 3, 20);
    assert_int_equal(bt_draw_out_news((char *)news.data, news.len, &b), BATON_OK);
    bt_buf_add(&b, "", 1);
    assert_string_equal((char *)b.data, ",\"step\":3,\"steps\":20");
    news.len = 0;
    bt_draw_put_preview(&news, 3, &i, 1, false);
    assert_int_equal(bt_draw_out_news((char *)news.data, news.len, &b), BATON_AGAIN);
    assert_int_equal(bt_draw_out_news("?", 1, &b), BATON_PROTOCOL);
    bt_buf_free(&news);
    bt_buf_free(&b);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_says_what_it_asks), cmocka_unit_test(what_cannot_be_asked_is_told_by_its_field),
        cmocka_unit_test(a_png_holds_the_pixels),      cmocka_unit_test(records_become_openais_answer),
        cmocka_unit_test(what_is_no_image_is_told),
    };
    return bt_test_run(tests, argc, argv);
}
