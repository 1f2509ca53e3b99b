/* What goes into the frames of an owner that draws: it arrives as it was sent, and from a broken peer nothing does. */
#include "harness.h"

#include <string.h>

#include "wire/drawing.h"

static unsigned char pixels[] = "0123456789abcdefghijklmnopqrstuvwxyz";

static bool hook_step(void *arg) {
    (void)arg;
    return false;
}

static void on_step(void *arg, int step, int steps) {
    (void)arg, (void)step, (void)steps;
}

static void put_ask(struct bt_buf *b) {
    static const struct bt_sd_lora loras[] = {{"a.lora", 0.5f}, {"b.lora", 1}};
    static const struct bt_sd_image references[] = {{1, 2, 3, pixels}, {2, 1, 3, pixels + 6}};
    const struct bt_sd_ask ask = {.prompt = "a\xff lighthouse",
                                  .sampler = "euler",
                                  .width = 64,
                                  .height = 32,
                                  .steps = 4,
                                  .clip_skip = -1,
                                  .count = 2,
                                  .cfg_scale = -1,
                                  .strength = 0.5f,
                                  .seed = -7,
                                  .loras = loras,
                                  .n_loras = 2,
                                  .init = {2, 2, 3, pixels},
                                  .end = {1, 1, 1, pixels + 12},
                                  .references = references,
                                  .n_references = 2,
                                  .preview = BT_SD_PREVIEW_VAE,
                                  .preview_every = 3,
                                  .on_progress = on_step,
                                  .stop = hook_step};
    bt_draw_ask_encode(b, BT_DRAW_VIDEO, &ask, 4);
}

static void an_ask_arrives_as_it_was_sent(void **state) {
    (void)state;
    struct bt_buf b = BT_BUF_INIT;
    struct bt_draw_ask got;
    put_ask(&b);
    assert_int_equal(bt_draw_ask_decode((struct bt_text){(char *)b.data, b.len}, &got), BATON_OK);
    const struct bt_sd_ask *a = &got.ask;
    assert_true(got.what == BT_DRAW_VIDEO && got.factor == 4 && got.progress && !got.previews);
    assert_string_equal(a->prompt, "a\xff lighthouse");
    assert_string_equal(a->sampler, "euler");
    assert_true(!a->negative_prompt && !a->scheduler);
    assert_true(a->width == 64 && a->height == 32 && a->steps == 4 && a->clip_skip == -1 && a->count == 2);
    assert_true(a->cfg_scale == -1 && a->strength == 0.5f && a->seed == -7);
    assert_true(a->n_loras == 2 && a->loras[0].scale == 0.5f && strcmp(a->loras[1].path, "b.lora") == 0);
    assert_true(a->init.width == 2 && memcmp(a->init.data, pixels, 12) == 0);
    assert_true(!a->mask.data && !a->control.data && a->end.channels == 1 && a->end.data[0] == pixels[12]);
    assert_true(a->n_references == 2 && memcmp(a->references[1].data, pixels + 6, 6) == 0);
    assert_true(a->preview == BT_SD_PREVIEW_VAE && a->preview_every == 3);
    bt_draw_ask_free(&got);
    for (size_t n = 0; n < b.len; n++) { /* cut off anywhere */
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        assert_int_equal(bt_draw_ask_decode((struct bt_text){copy, n}, &got), BATON_PROTOCOL);
        assert_true(!got.ask.loras && !got.ask.references);
        free(copy);
    }
    bt_buf_free(&b);
}

static void results_arrive_whatever_the_pieces(void **state) {
    (void)state;
    float samples[] = {0, 0.5f, -1, 1};
    const struct bt_sd_image image = {2, 3, 3, pixels};
    const struct bt_sd_result sound = {.fps = 12, .samples = samples, .n_samples = 2, .rate = 8000, .channels = 2};
    struct bt_buf b = BT_BUF_INIT;
    bt_draw_put_picture(&b, &image);
    bt_draw_put_picture(&b, &image);
    bt_draw_put_sound(&b, &sound);
    for (size_t piece = 1; piece <= b.len; piece += piece < 40 ? 1 : 13) {
        struct bt_sd_result r = {.n = 0};
        struct bt_buf in = BT_BUF_INIT;
        for (size_t at = 0; at < b.len; at += piece) {
            bt_buf_add(&in, b.data + at, BT_MIN(piece, b.len - at));
            assert_int_equal(bt_draw_take(&in, &r), BATON_OK);
        }
        assert_int_equal(in.len, 0);
        assert_true(r.n == 2 && r.images[1].width == 2 && r.images[1].height == 3);
        assert_memory_equal(r.images[1].data, pixels, 18);
        assert_true(r.fps == 12 && r.n_samples == 2 && r.rate == 8000 && r.channels == 2);
        assert_memory_equal(r.samples, samples, sizeof samples);
        bt_sd_result_free(&r);
        bt_buf_free(&in);
    }
    bt_buf_free(&b);
}

/* Lengths that lie: nothing is read past its end (ASan), nothing is made of it. */
static void records_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {{"\x09\0\0\0\0", 5},                                           /* no such record */
                 {"\0\xff\xff\xff\xff", 5},                                     /* longer than any */
                 {"\0\0\0\0\0", 5},                                             /* a picture of nothing */
                 {"\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17},                  /* one without pixels */
                 {"\0\x0d\0\0\0\1\0\0\0\1\0\0\0\3\0\0\0x", 18},                 /* too few of them */
                 {"\0\x0d\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\4\0\0\0x", 18}, /* more than there are bytes */
                 {"\0\x0c\0\0\0\0\0\0\x80\0\0\0\x80\4\0\0\0", 17},              /* 2^64 of them */
                 {"\0\x0e\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0xy", 19},                /* too many */
                 {"\1\x0d\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0x", 18},                 /* a quarter of a sample */
                 {"\1\x10\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0xxxx", 21}};             /* of no channels */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bt_sd_result r = {.n = 0};
        struct bt_buf in = BT_BUF_INIT;
        bt_buf_add(&in, cases[i].bytes, cases[i].n);
        if (bt_draw_take(&in, &r) != BATON_PROTOCOL)
            fail_msg("record %zu was taken", i);
        assert_int_equal(r.n, 0);
        bt_sd_result_free(&r);
        bt_buf_free(&in);
    }
}

static void news_arrive_as_they_were_sent(void **state) {
    (void)state;
    static struct bt_draw_news news;
    const struct bt_sd_image images[] = {{1, 1, 3, pixels}, {1, 2, 3, pixels + 3}};
    struct bt_buf b = BT_BUF_INIT;
    bt_draw_put_step(&b, 3, 20);
    assert_int_equal(bt_draw_news_decode((struct bt_text){(char *)b.data, b.len}, &news), BATON_OK);
    assert_true(!news.preview && news.step == 3 && news.steps == 20);
    assert_int_equal(bt_draw_news_decode((struct bt_text){(char *)b.data, b.len - 1}, &news), BATON_PROTOCOL);
    b.len = 0;
    bt_draw_put_preview(&b, 4, images, 2, true);
    for (size_t n = 0; n < b.len; n++) {
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        assert_int_equal(bt_draw_news_decode((struct bt_text){copy, n}, &news), BATON_PROTOCOL);
        free(copy);
    }
    assert_int_equal(bt_draw_news_decode((struct bt_text){(char *)b.data, b.len}, &news), BATON_OK);
    assert_true(news.preview && news.noisy && news.step == 4 && news.n == 2 && news.images[1].height == 2);
    assert_memory_equal(news.images[1].data, pixels + 3, 6);
    b.data[0] = 0; /* a picture is no news */
    assert_int_equal(bt_draw_news_decode((struct bt_text){(char *)b.data, b.len}, &news), BATON_PROTOCOL);
    bt_buf_free(&b);
}

static void garbage_is_never_read_past_its_end(void **state) {
    (void)state;
    static struct bt_draw_news news;
    uint64_t seed = bt_test_seed();
    struct bt_buf good = BT_BUF_INIT;
    put_ask(&good);
    for (uint64_t round = 0; round < 20000; round++) {
        size_t n = (size_t)(bt_mix64(seed + 3 * round) % (good.len + 1));
        char *bytes = malloc(n + 1);
        struct bt_draw_ask ask;
        struct bt_sd_result r = {.n = 0};
        struct bt_buf in = BT_BUF_INIT;
        assert_non_null(bytes);
        memcpy(bytes, good.data, n);
        for (int k = 0; k < 3 && n > 0; k++)
            bytes[bt_mix64(seed + 7 * round + (uint64_t)k) % n] = (char)bt_mix64(seed + round + 11 * (uint64_t)k);
        if (bt_draw_ask_decode((struct bt_text){bytes, n}, &ask) == BATON_OK)
            bt_draw_ask_free(&ask);
        (void)bt_draw_news_decode((struct bt_text){bytes, n}, &news);
        bytes[0] &= 1;
        bt_buf_add(&in, bytes, n);
        (void)bt_draw_take(&in, &r);
        bt_sd_result_free(&r);
        bt_buf_free(&in);
        free(bytes);
    }
    bt_buf_free(&good);
}

static void what_the_model_makes_arrives(void **state) {
    (void)state;
    const struct bt_sd_info sent = {.images = true, .control_net = true, .upscale = 4};
    struct bt_sd_info got;
    struct bt_buf b = BT_BUF_INIT;
    bt_draw_info_encode(&b, &sent);
    assert_int_equal(bt_draw_info_decode((struct bt_text){(char *)b.data, b.len}, &got), BATON_OK);
    assert_true(got.images && !got.videos && got.control_net && got.upscale == 4);
    assert_int_equal(bt_draw_info_decode((struct bt_text){(char *)b.data, b.len - 1}, &got), BATON_PROTOCOL);
    bt_buf_free(&b);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ask_arrives_as_it_was_sent),          cmocka_unit_test(results_arrive_whatever_the_pieces),
        cmocka_unit_test(records_that_make_no_sense_are_refused), cmocka_unit_test(news_arrive_as_they_were_sent),
        cmocka_unit_test(garbage_is_never_read_past_its_end),     cmocka_unit_test(what_the_model_makes_arrives),
    };
    return bt_test_run(tests, argc, argv);
}
