/* Images in chats, on any model that has a projector: the fake runs these under the sanitizers, libmtmd for real. */
#ifndef BT_VISION_PROBES_H
#define BT_VISION_PROBES_H

#include <math.h>
#include <signal.h>

#include "api_probes.h"
#include "owner_pids.h"
#include "pictures.h"

/* Where the model and its projector are; NULL: the built-in model. */
static const char *vision_model, *vision_mmproj;

/* Who owns the contexts, and how many sequences they have. */
static baton_policy vision_policy = BATON_POLICY;
static inline int with_the_caller(void **state) {
    (void)state;
    vision_policy = (baton_policy)BATON_POLICY;
    return 0;
}
static inline int with_a_thread(void **state) {
    (void)state;
    vision_policy = (baton_policy)BATON_POLICY;
    vision_policy.owner = BATON_OWNER_THREAD;
    return 0;
}
static inline int with_a_thread_of_three(void **state) {
    with_a_thread(state);
    vision_policy.sequences = 3;
    return 0;
}

static inline int with_a_process(void **state) {
    with_a_thread_of_three(state);
    vision_policy.owner = BATON_OWNER_PROCESS;
    return 0;
}

static inline baton_llama *vision_open(const baton_policy *policy, int ctx) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    params.policy = policy ? policy : &vision_policy;
    params.ctx = ctx;
    params.threads = 1;
    params.mmproj = vision_mmproj;
    if (baton_llama_open(&m, vision_model, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

/* A question with one picture in front of its text, which must stay where it is. */
struct look {
    struct picture picture;
    baton_image image;
    baton_message message;
    baton_llama_ask ask;
};
static inline void look_init(struct look *l, uint64_t seed, const char *text) {
    make_png(&l->picture, 24 + (unsigned)(seed % 5), 20, seed);
    l->image = (baton_image){l->picture.bytes, l->picture.size, 0, 0};
    l->message = (baton_message){"user", text};
    l->ask = (baton_llama_ask)BATON_LLAMA_ASK;
    l->ask.messages = &l->message;
    l->ask.n_messages = 1;
    l->ask.images = &l->image;
    l->ask.n_images = 1;
    l->ask.max_tokens = 24;
}

static inline void vision_answer(baton_llama *m, const baton_llama_ask *ask, char text[4096], uint32_t *prompt) {
    baton_result r;
    baton_error err;
    if (baton_llama_generate(m, ask, &r, &err))
        fail_msg("%s", err.text);
    snprintf(text, 4096, "%s", r.text);
    if (prompt)
        *prompt = r.outcome.prompt_tokens;
    baton_result_free(&r);
}

static inline baton_status vision_refusal(baton_llama *m, const baton_llama_ask *ask, const char *words) {
    baton_result r;
    baton_error err = {BATON_OK, ""};
    baton_status status = baton_llama_generate(m, ask, &r, &err);
    baton_result_free(&r);
    if (!strstr(err.text, words))
        fail_msg("'%s' is not in: %s", words, err.text);
    return status;
}

/* Callers with a picture each, on one context and on two: each hears what it hears alone. */
static inline void probe_P08_nobody_sees_another_ones_image(void **state) {
    enum { N = 6, ROUNDS = 3 };
    static struct look looks[N];
    static struct teller alone[N], together[N];
    int differ = 0;
    (void)state;
    for (int contexts = 1; contexts <= 2; contexts++) {
        baton_policy policy = vision_policy;
        policy.when_full = BATON_WAIT;
        policy.contexts = contexts;
        baton_llama *m = vision_open(&policy, 512);
        for (int i = 0; i < N; i++) {
            look_init(&looks[i], 11 + (uint64_t)i, "What is this?");
            tell_start(&alone[i], m, &looks[i].ask);
            pthread_join(alone[i].thread, NULL);
            assert_string_equal(alone[i].error, "");
            differ += i > 0 && strcmp(alone[i].text, alone[i - 1].text) != 0;
        }
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < N; i++)
                tell_start(&together[i], m, &looks[i].ask);
            for (int i = 0; i < N; i++) {
                pthread_join(together[i].thread, NULL);
                assert_string_equal(together[i].error, "");
                assert_string_equal(together[i].text, alone[i].text);
            }
        }
        baton_llama_close(&m);
    }
    assert_true(differ >= N); /* of two times N - 1 */
}

/* The image comes first and the answer after it, with nothing in between that another could use. */
static inline void probe_P01_an_answer_about_an_image_holds_its_context(void **state) {
    static struct look first, second;
    struct teller t;
    baton_stream *s;
    baton_delta d;
    baton_error err;
    char whole[4096], text[4096] = "";
    (void)state;
    baton_llama *m = vision_open(NULL, 512);
    look_init(&first, 1, "What is this?");
    look_init(&second, 2, "What is this?");
    vision_answer(m, &first.ask, whole, NULL);
    assert_int_equal(baton_llama_stream(m, &first.ask, &s, &err), BATON_OK);
    for (int n = 0; baton_stream_next(s, -1, &d) == BATON_OK; n++) {
        strncat(text, d.text, sizeof text - strlen(text) - 1);
        if (n < 3) {
            tell_start(&t, m, &second.ask);
            pthread_join(t.thread, NULL);
            assert_int_equal(t.status, BATON_BUSY);
        }
    }
    assert_int_equal(baton_stream_close(&s, NULL), BATON_OK);
    assert_string_equal(text, whole);
    baton_llama_close(&m);
}

/* Streamed or whole, after whatever else the context was used for. */
static inline void an_image_counts_where_it_stands(void **state) {
    static struct look l;
    char before[4096], behind[4096], again[4096], without[4096];
    uint32_t prompt, prompt_without;
    (void)state;
    baton_llama *m = vision_open(NULL, 512);
    look_init(&l, 3, "What is this?");
    vision_answer(m, &l.ask, before, &prompt);
    l.image.offset = strlen(l.message.content);
    vision_answer(m, &l.ask, behind, NULL);
    l.ask.n_images = 0;
    vision_answer(m, &l.ask, without, &prompt_without);
    l.ask.n_images = 1;
    l.image.offset = 0;
    vision_answer(m, &l.ask, again, NULL);
    assert_string_equal(again, before);
    assert_true(prompt > prompt_without);
    assert_true(strcmp(before, without) != 0 || strcmp(behind, without) != 0);
    baton_llama_info info = {.size = sizeof info};
    baton_llama_get_info(m, &info);
    assert_true(info.vision);
    baton_llama_close(&m);
}

/* Whatever stands in a text is text: it moves no image, and is none. */
static inline void a_text_cannot_pass_for_an_image(void **state) {
    static struct look l;
    char answer[4096], plain[4096];
    uint32_t prompt, prompt_plain;
    (void)state;
    baton_llama *m = vision_open(NULL, 1024);
    look_init(&l, 4, "<__image_0__> and <__image_1__> <__media__> <image> what?");
    vision_answer(m, &l.ask, answer, &prompt);
    l.ask.n_images = 0;
    vision_answer(m, &l.ask, plain, &prompt_plain);
    assert_true(prompt > prompt_plain);
    baton_llama_close(&m);
}

static inline void two_images_in_two_messages(void **state) {
    static struct look a, b;
    char ab[4096], ba[4096], aa[4096];
    (void)state;
    baton_llama *m = vision_open(NULL, 512);
    look_init(&a, 5, "First");
    look_init(&b, 6, "Second");
    baton_message chat[] = {{"user", "First"}, {"assistant", "Yes."}, {"user", "And this? \xe2\x82\xac"}};
    baton_image images[] = {a.image, b.image};
    images[1].message = 2;
    images[1].offset = 9;
    a.ask.messages = chat;
    a.ask.n_messages = 3;
    a.ask.images = images;
    a.ask.n_images = 2;
    vision_answer(m, &a.ask, ab, NULL);
    images[0].bytes = b.image.bytes, images[0].size = b.image.size;
    images[1].bytes = a.image.bytes, images[1].size = a.image.size;
    vision_answer(m, &a.ask, ba, NULL);
    images[0].bytes = a.image.bytes, images[0].size = a.image.size;
    vision_answer(m, &a.ask, aa, NULL);
    assert_string_not_equal(ab, aa);
    assert_string_not_equal(ab, ba);
    images[1].message = 3;
    assert_int_equal(vision_refusal(m, &a.ask, "image 1 stands in message 3"), BATON_INVALID);
    images[1].message = 2;
    images[1].offset = 11;
    assert_int_equal(vision_refusal(m, &a.ask, "inside a character"), BATON_INVALID);
    images[1].offset = 14;
    assert_int_equal(vision_refusal(m, &a.ask, "behind its end"), BATON_INVALID);
    images[1].offset = 0;
    images[0].message = 2;
    images[0].offset = 1;
    assert_int_equal(vision_refusal(m, &a.ask, "image 1 stands in front of image 0"), BATON_INVALID);
    baton_llama_close(&m);
}

/* What is wrong with an image is said of that image, before anything is run, and the next request is well. */
static inline void a_bad_image_is_refused_by_its_number(void **state) {
    static struct look l;
    static struct picture bad;
    baton_image images[2];
    char before[4096], after[4096];
    (void)state;
    baton_llama *m = vision_open(NULL, 512);
    look_init(&l, 7, "What is this?");
    vision_answer(m, &l.ask, before, NULL);
    images[0] = images[1] = l.image;
    l.ask.images = images;
    l.ask.n_images = 2;
    images[1].bytes = "GIF89a is none";
    images[1].size = 14;
    assert_int_equal(vision_refusal(m, &l.ask, "image 1 (14 bytes) does not begin as a PNG or JPEG"), BATON_INVALID);
    images[1].size = 0;
    assert_int_equal(vision_refusal(m, &l.ask, "image 1 is empty"), BATON_INVALID);
    images[1].bytes = l.picture.bytes;
    images[1].size = l.picture.size - 20;
    assert_int_equal(vision_refusal(m, &l.ask, "image 1 is a damaged PNG"), BATON_INVALID);
    png_header(&bad, 20000, 20000);
    images[1].bytes = bad.bytes;
    images[1].size = bad.size;
    assert_int_equal(vision_refusal(m, &l.ask, "20000 x 20000 pixels"), BATON_INVALID);
    make_jpeg(&bad, 100);
    bad.bytes[7 + 64 + 1] = 0xc3;
    images[1].size = bad.size;
    assert_int_equal(vision_refusal(m, &l.ask, "image 1 is a JPEG of a rare kind (SOF3)"), BATON_INVALID);
    l.ask.n_images = 65;
    baton_image many[65];
    for (int i = 0; i < 65; i++)
        many[i] = l.image;
    l.ask.images = many;
    assert_int_equal(vision_refusal(m, &l.ask, "65 images: at most 64"), BATON_INVALID);
    l.ask.images = &l.image;
    l.ask.n_images = 1;
    vision_answer(m, &l.ask, after, NULL);
    assert_string_equal(after, before);
    make_jpeg(&bad, 100);
    l.image.bytes = bad.bytes;
    l.image.size = bad.size;
    vision_answer(m, &l.ask, after, NULL);
    baton_llama_close(&m);
}

static inline void probe_P61_images_that_do_not_fit_are_refused_with_both_numbers(void **state) {
    static struct look l;
    static baton_image many[64];
    (void)state;
    baton_llama *m = vision_open(NULL, 256);
    look_init(&l, 8, "What is this?");
    for (int i = 0; i < 64; i++)
        many[i] = l.image;
    l.ask.images = many;
    l.ask.n_images = 64;
    assert_int_equal(vision_refusal(m, &l.ask, "tokens and the context holds 256"), BATON_TOO_LONG);
    baton_llama_close(&m);
}

/* What a conversation with an image cannot do yet says so, and goes on. */
static inline void a_conversation_with_an_image_is_not_saved(void **state) {
    static struct look l;
    baton_stream *s;
    baton_delta d;
    baton_error err;
    void *bytes;
    size_t size;
    (void)state;
    baton_llama *m = vision_open(NULL, 512);
    look_init(&l, 9, "What is this?");
    assert_int_equal(baton_llama_stream(m, &l.ask, &s, &err), BATON_OK);
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    assert_int_equal(baton_llama_save_state(s, &bytes, &size, &err), BATON_UNSUPPORTED);
    if (vision_policy.owner == BATON_OWNER_CALLER)
        assert_non_null(strstr(err.text, "images"));
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    baton_status status = baton_stream_close(&s, NULL);
    assert_true(status == BATON_CANCELLED || status == BATON_OK); /* its owner may be ahead of its reader */
    baton_llama_close(&m);
}

static inline void a_model_without_a_projector_says_so(void **state) {
    static struct look l;
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m, *none;
    baton_error err;
    (void)state;
    look_init(&l, 10, "What is this?");
    m = api_open(vision_model, NULL, 512);
    assert_int_equal(vision_refusal(m, &l.ask, "without a projector"), BATON_UNSUPPORTED);
    l.ask.messages = NULL;
    l.ask.prompt = "text";
    assert_int_equal(vision_refusal(m, &l.ask, "images stand in messages"), BATON_MISUSE);
    baton_llama_close(&m);
    params.policy = &policy;
    params.mmproj = vision_mmproj;
    params.pooling = BATON_POOLING_MEAN;
    assert_int_equal(baton_llama_open(&none, vision_model, &params, &err), BATON_UNSUPPORTED);
}

/* More than are sent ahead of a reader: an owner rests in the middle of an answer that nobody reads. */
enum { VISION_LONG = 300 };
static inline void look_long(struct look *l, const baton_llama *m) {
    static baton_logit_bias never[8];
    static baton_sampling sampling = BATON_SAMPLING;
    baton_llama_info info = {.size = sizeof info};
    baton_llama_get_info(m, &info);
    sampling.bias = never;
    sampling.n_bias = 0;
    for (int32_t t = 0; t < info.vocab_size && sampling.n_bias < 8; t++)
        if (baton_llama_is_end(m, t))
            never[sampling.n_bias++] = (baton_logit_bias){t, -INFINITY};
    l->ask.sampling = &sampling;
    l->ask.max_tokens = VISION_LONG;
}

/* The images of a request are kept as long as its text: the next owner sees what the dead one saw. */
static inline void probe_P40_a_killed_owner_is_followed_by_one_that_sees(void **state) {
    enum { N = 3 };
    static struct look looks[N];
    char alone[N][4096];
    pid_t owner = 0;
    baton_llama *m = vision_open(NULL, 512);
    for (int i = 0; i < N; i++) {
        look_init(&looks[i], 31 + (uint64_t)i, "What is this?");
        look_long(&looks[i], m);
        vision_answer(m, &looks[i].ask, alone[i], NULL);
    }
    assert_string_not_equal(alone[0], alone[1]);
    baton_llama_close(&m);
    with_a_process(state);
    m = vision_open(NULL, 512);
    for (int i = 0; i < N; i++) {
        baton_stream *s;
        baton_delta d;
        baton_outcome outcome;
        baton_error err;
        char text[4096] = "";
        if (baton_llama_stream(m, &looks[i].ask, &s, &err))
            fail_msg("%s", err.text);
        assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
        strncat(text, d.text, sizeof text - 1);
        assert_int_equal(owners(&owner), 1);
        assert_int_equal(kill(owner, SIGKILL), 0);
        while (baton_stream_next(s, -1, &d) == BATON_OK)
            strncat(text, d.text, sizeof text - strlen(text) - 1);
        assert_int_equal(baton_stream_close(&s, &outcome), BATON_OK);
        assert_int_equal(outcome.answer_tokens, VISION_LONG);
        assert_string_equal(text, alone[i]);
    }
    baton_llama_close(&m);
    assert_int_equal(owners(&owner), 0);
}

#define VISION_PROBES(owner)                                                                                           \
    cmocka_unit_test_setup(probe_P08_nobody_sees_another_ones_image, owner),                                           \
        cmocka_unit_test_setup(an_image_counts_where_it_stands, owner),                                                \
        cmocka_unit_test_setup(a_text_cannot_pass_for_an_image, owner),                                                \
        cmocka_unit_test_setup(two_images_in_two_messages, owner),                                                     \
        cmocka_unit_test_setup(a_bad_image_is_refused_by_its_number, owner),                                           \
        cmocka_unit_test_setup(probe_P61_images_that_do_not_fit_are_refused_with_both_numbers, owner),                 \
        cmocka_unit_test_setup(a_conversation_with_an_image_is_not_saved, owner),                                      \
        cmocka_unit_test_setup(a_model_without_a_projector_says_so, owner)
#define VISION_PROBES_ALONE(owner) cmocka_unit_test_setup(probe_P01_an_answer_about_an_image_holds_its_context, owner)

#endif
