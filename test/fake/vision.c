/* Images in chats on the fake, and what is said of image files before anybody decodes them. */
#include "vision_probes.h"

#include "native/fake.h"
#include "native/image.h"

static baton_status look_at(const struct picture *p, size_t size, struct bt_image_shape *shape, baton_error *err) {
    struct bt_image image = {.bytes = p->bytes, .len = size};
    *err = (baton_error){BATON_OK, ""};
    return bt_image_look(&image, 3, shape, err);
}

static void sizes_are_read_without_decoding(void **state) {
    static struct picture p;
    struct bt_image_shape shape;
    baton_error err;
    (void)state;
    make_png(&p, 31, 17, 1);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_OK);
    assert_int_equal(shape.width, 31);
    assert_int_equal(shape.height, 17);
    assert_false(shape.jpeg);
    make_jpeg(&p, 1);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_OK);
    assert_int_equal(shape.width, 8);
    assert_int_equal(shape.height, 8);
    assert_true(shape.jpeg);
}

/* No end of a file is taken for the whole of it, and none is read past. */
static void a_file_cut_anywhere_is_damaged(void **state) {
    static struct picture p;
    struct bt_image_shape shape;
    baton_error err;
    (void)state;
    make_png(&p, 5, 4, 2);
    for (size_t size = 0; size < p.size; size++) {
        unsigned char *exact = malloc(size + 1); /* for ASan: not a byte more */
        memcpy(exact, p.bytes, size);
        struct bt_image image = {.bytes = exact, .len = size};
        assert_int_equal(bt_image_look(&image, 3, &shape, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, "image 3"));
        free(exact);
    }
    make_jpeg(&p, 2);
    for (size_t size = 0; size < 7 + 64 + 13; size++)
        assert_int_equal(look_at(&p, size, &shape, &err), BATON_INVALID);
}

/* Any byte may be wrong; nothing is read outside, and nothing large passes. */
static void rubbish_is_never_large(void **state) {
    static struct picture p, q;
    struct bt_image_shape shape;
    baton_error err;
    uint64_t seed = bt_test_seed() | 1;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        if (i % 2)
            make_jpeg(&p, (unsigned)i);
        else if (i == 0)
            make_png(&q, 9, 9, 3);
        if (i % 2 == 0)
            p = q;
        for (int k = 0; k < 3; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            p.bytes[(seed >> 33) % p.size] = (unsigned char)(seed >> 24);
        }
        if (look_at(&p, p.size, &shape, &err) == BATON_OK)
            assert_true((uint64_t)shape.width * shape.height <= BT_IMAGE_PIXELS_MAX);
        else
            assert_int_equal(err.status, BATON_INVALID);
    }
}

/* A few thousand bytes that would unfold to four megabytes, of an image of one pixel. */
static void a_png_that_unfolds_to_more_than_it_is_large(void **state) {
    static struct picture p;
    struct bt_image_shape shape;
    baton_error err;
    (void)state;
    png_header(&p, 1, 1);
    png_data(&p, 1, 4 << 20, 0);
    png_chunk(&p, "IEND", NULL, 0);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "more than its size needs"));
    png_header(&p, 100, 100);
    png_data(&p, 100, 100 * 301, 5);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_INVALID); /* it does not end */
    png_chunk(&p, "IEND", NULL, 0);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_OK);
    png_header(&p, 1 << 16, 16);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "65536 x 16 pixels"));
    png_header(&p, 0, 16);
    assert_int_equal(look_at(&p, p.size, &shape, &err), BATON_INVALID);
}

static void images_that_go_together_must_fit_into_one_decode(void **state) {
    static struct look l;
    const char *model = vision_model;
    for (int owner = 0; owner < 2; owner++) {
        char text[4096];
        (owner ? with_a_thread : with_the_caller)(state);
        vision_model = "fake:image_tokens=600,image_whole=1";
        baton_llama *m = vision_open(NULL, 4096);
        look_init(&l, 1, "What is this?");
        assert_int_equal(vision_refusal(m, &l.ask, "600 places"), BATON_TOO_LONG);
        baton_llama_close(&m);
        vision_model = "fake:image_tokens=600";
        m = vision_open(NULL, 4096);
        vision_answer(m, &l.ask, text, NULL);
        baton_llama_close(&m);
    }
    vision_model = model;
}

/* Contexts behind a device's gate see, too. */
static void images_on_a_device_that_takes_turns(void **state) {
    with_the_caller(state);
    const char *model = vision_model;
    vision_model = "fake:device=Vulkan";
    probe_P08_nobody_sees_another_ones_image(state);
    vision_model = model;
}

static _Atomic bool text_is_in;
static void on_event(void *arg, const struct bt_fake_event *event) {
    (void)arg;
    if (event->call == BT_FAKE_DECODE_END)
        atomic_store(&text_is_in, true);
}

/* Stopped inside the image's own native call: by name, and by the clock; the context is there for the next. The text in
 * front of the image takes a moment, the image longer than any test. */
static void cancel_while_an_image_is_computed(void) {
    static struct look l;
    const char *model = vision_model;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_request request = BATON_REQUEST;
    struct bt_fake_stats stats = {.decoding = 0};
    struct teller t;
    baton_llama *m;
    vision_model = "fake:image_tokens=3900,token_us=10000";
    params.exact = 0; /* its self-test would take its time */
    params.ctx = 4096;
    params.policy = &vision_policy;
    params.mmproj = vision_mmproj;
    assert_int_equal(baton_llama_open(&m, vision_model, &params, NULL), BATON_OK);
    look_init(&l, 1, "");
    l.ask.request = &request;
    request.id = 17;
    request.when_full = BATON_WAIT; /* an owner thread says that the time is up before it has returned */
    request.run_ms = 500;
    bt_fake_set_hook(on_event, NULL);
    tell_start(&t, m, &l.ask);
    pthread_join(t.thread, NULL);
    assert_int_equal(t.status, BATON_RUN_TIMEOUT);
    request.run_ms = -1;
    request.id = 18;
    atomic_store(&text_is_in, false);
    tell_start(&t, m, &l.ask);
    while (!atomic_load(&text_is_in) || stats.decoding == 0 || counts_of(m).running == 0)
        bt_fake_stats(&stats);
    assert_true(baton_llama_cancel(m, 18));
    pthread_join(t.thread, NULL);
    assert_int_equal(t.status, BATON_CANCELLED);
    bt_fake_set_hook(NULL, NULL);
    baton_llama_close(&m);
    vision_model = model;
}

static void probe_P21_cancel_while_an_image_is_computed(void **state) {
    with_the_caller(state);
    cancel_while_an_image_is_computed();
    with_a_thread(state);
    cancel_while_an_image_is_computed();
}

/* An encoder that falls over once convicts nobody; one that falls over each time ends the request that has the image,
 * and no other. */
static void probe_P41_a_crash_inside_an_image(void **state) {
    static struct look l;
    const char *model = vision_model;
    baton_llama_ask text = BATON_LLAMA_ASK;
    baton_result r;
    baton_error err;
    char alone[4096], answer[4096];
    with_the_caller(state);
    vision_model = "fake:len=20";
    baton_llama *m = vision_open(NULL, 512);
    look_init(&l, 41, "What is this?");
    vision_answer(m, &l.ask, alone, NULL);
    baton_llama_close(&m);
    with_a_process(state);
    vision_model = "fake:len=20,image_die=1,lives=1,die=segv@1";
    m = vision_open(NULL, 512);
    vision_answer(m, &l.ask, answer, NULL);
    assert_string_equal(answer, alone);
    baton_llama_close(&m);
    vision_model = "fake:len=20,image_die=1,die=assert";
    m = vision_open(NULL, 512);
    assert_int_equal(baton_llama_generate(m, &l.ask, &r, &err), BATON_CRASHED);
    baton_result_free(&r);
    text.prompt = "who are you";
    vision_answer(m, &text, answer, NULL);
    assert_string_not_equal(answer, "");
    baton_llama_close(&m);
    vision_model = model;
}

/* The prompts that were prepared are gone, whatever became of them. */
static void nothing_is_left(void **state) {
    struct bt_fake_stats stats;
    (void)state;
    bt_fake_stats(&stats);
    assert_int_equal(stats.prompts, 0);
    assert_int_equal(stats.contexts, 0);
    assert_int_equal(stats.models, 0);
    assert_int_equal(stats.overlaps, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_without_decoding),
        cmocka_unit_test(a_file_cut_anywhere_is_damaged),
        cmocka_unit_test(rubbish_is_never_large),
        cmocka_unit_test(a_png_that_unfolds_to_more_than_it_is_large),
        VISION_PROBES(with_the_caller),
        VISION_PROBES_ALONE(with_the_caller),
        VISION_PROBES(with_a_thread),
        VISION_PROBES(with_a_thread_of_three),
        VISION_PROBES(with_a_process),
        cmocka_unit_test_setup(probe_P40_a_killed_owner_is_followed_by_one_that_sees, with_the_caller),
        cmocka_unit_test(images_that_go_together_must_fit_into_one_decode),
        cmocka_unit_test(images_on_a_device_that_takes_turns),
        cmocka_unit_test(probe_P21_cancel_while_an_image_is_computed),
        cmocka_unit_test(probe_P41_a_crash_inside_an_image),
        cmocka_unit_test(nothing_is_left),
    };
    vision_model = "fake:token_us=50";
    vision_mmproj = "fake";
    return bt_test_run(tests, argc, argv);
}
