/* Images in chats through libmtmd: projectors with random weights for the built-in model (tools/make_mmproj.py). */
#include "vision_probes.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "owner/owner.h"

/* A projector that does not fit stays in libmtmd's memory. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_disable() (void)0
#define __lsan_enable() (void)0
#endif

extern char **environ;

static const char width[] = "128"; /* of the built-in model's embeddings */

static void make_mmproj(const char *name, const char *const *args, char path[256]) {
    char script[512], python[] = "python3", to[] = "--for", *argv[20] = {python, script, path, to, (char *)width};
    int n = 5, status;
    pid_t child;
    snprintf(script, sizeof script, "%s/make_mmproj.py", getenv("BATON_TOOLS"));
    mkdir("made", 0777);
    snprintf(path, 256, "made/%s-%d.gguf", name, (int)getpid());
    for (int i = 0; args[i]; i++)
        argv[n++] = (char *)args[i];
    assert_int_equal(posix_spawnp(&child, python, NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static char llava[256], gemma[256], wide[256], deep[256];

static int make_all(void **state) {
    (void)state;
    make_mmproj("llava", (const char *[]){NULL}, llava);
    make_mmproj("gemma", (const char *[]){"--kind", "gemma3", NULL}, gemma);
    make_mmproj("deep", (const char *[]){"--layers", "9", NULL}, deep);
    make_mmproj("wide", (const char *[]){"--for", "96", NULL}, wide);
    vision_mmproj = llava;
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    unlink(llava);
    unlink(gemma);
    unlink(wide);
    unlink(deep);
    return 0;
}

/* The chunks of a chat, as a run takes them, alone on one context. */
struct lone {
    struct bt_model *m;
    struct bt_context *c;
};

static void lone_open(struct lone *l, const char *mmproj, int chunk) {
    struct bt_model_params params = {.mmproj = mmproj, .threads = 1};
    struct bt_context_params shape = {.sequences = 1, .ctx = 512, .threads = 1, .exact = true, .chunk = chunk};
    baton_error err;
    if (bt_model_open(&params, &l->m, &err) || bt_context_open(l->m, &shape, &l->c, &err))
        fail_msg("%s", err.text);
}

static void lone_close(struct lone *l) {
    l->c->ops->free(l->c);
    bt_model_close(l->m);
}

static struct bt_chunks *lone_chunks(const struct lone *l, const struct look *look, bt_token **tokens, size_t *n) {
    struct bt_chat_message message = {"user", look->message.content};
    struct bt_image image = {look->picture.bytes, look->picture.size, 0, 0};
    struct bt_chunks *chunks;
    baton_error err;
    if (bt_chat_chunks(l->m, &message, 1, &image, 1, &chunks, tokens, n, &err))
        fail_msg("%s", err.text);
    return chunks;
}

/* An answer does not depend on how the prompt around an image was cut, and equals the one through the public API. */
static void probe_P02_every_cut_of_the_prompt_gives_the_lone_answer(void **state) {
    static struct look look;
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    const char *projectors[] = {llava, gemma};
    with_the_caller(state);
    for (int p = 0; p < 2; p++) {
        struct lone l;
        char whole[4096];
        vision_mmproj = projectors[p];
        look_init(&look, 21, "What is this, and why is it here, if it is anything at all?");
        baton_llama *api = vision_open(NULL, 512);
        vision_answer(api, &look.ask, whole, NULL);
        baton_llama_close(&api);
        lone_open(&l, projectors[p], 0);
        for (int chunk = 16; chunk <= 512; chunk += p ? 248 : 31) {
            struct bt_run_result r;
            baton_error err;
            bt_token *tokens;
            size_t n;
            struct bt_chunks *chunks = lone_chunks(&l, &look, &tokens, &n);
            struct bt_run run = {.prompt = tokens,
                                 .n_prompt = n,
                                 .chunks = chunks,
                                 .chunk = chunk,
                                 .max_tokens = 24,
                                 .sampling = &greedy};
            if (bt_run_alone(l.c, l.m, 0, &run, &r, &err))
                fail_msg("%s", err.text);
            bt_buf_add(&r.text, "", 1);
            assert_string_equal((char *)r.text.data, whole);
            bt_run_result_free(&r);
            free(tokens);
        }
        lone_close(&l);
    }
    vision_mmproj = llava;
}

static bool count_asks(void *arg) {
    ++*(int *)arg;
    return false;
}

static bool stop_now(void *arg) {
    ++*(int *)arg;
    return true;
}

static size_t image_chunk(const struct bt_chunks *chunks) {
    size_t i = 0;
    while (chunks->list[i].tokens)
        i++;
    return i;
}

/* The encoder asks in each of its layers whether to go on, and when told to stop leaves nothing in the sequence. */
static void probe_P21_an_encoding_is_stopped_between_its_layers(void **state) {
    static struct look look;
    const char *projectors[] = {llava, deep};
    int asks[2] = {0, 0}, stops = 0;
    (void)state;
    look_init(&look, 22, "What?");
    for (int p = 0; p < 2; p++) {
        struct lone l;
        bt_token *tokens;
        size_t n;
        lone_open(&l, projectors[p], 0);
        struct bt_chunks *chunks = lone_chunks(&l, &look, &tokens, &n);
        size_t i = image_chunk(chunks);
        l.c->ops->set_abort(l.c, stop_now, &stops);
        assert_int_equal(l.c->ops->image(l.c, chunks, i, 0, 0), BT_DECODE_ABORTED);
        assert_int_equal(l.c->ops->pos_max(l.c, 0), -1);
        assert_int_equal(stops, p + 1); /* the first no was enough */
        l.c->ops->set_abort(l.c, count_asks, &asks[p]);
        assert_int_equal(l.c->ops->image(l.c, chunks, i, 0, 0), BT_DECODE_OK);
        assert_int_equal(l.c->ops->pos_max(l.c, 0), chunks->list[i].n - 1);
        l.c->ops->set_abort(l.c, NULL, NULL);
        assert_int_equal(l.c->ops->image(l.c, chunks, i + 1, 0, 0), BT_DECODE_INVALID);
        assert_int_equal(l.c->ops->image(l.c, chunks, i, 1, 0), BT_DECODE_INVALID);
        assert_int_equal(l.c->ops->image(l.c, chunks, i, 0, 508), BT_DECODE_FULL);
        assert_null(l.c->ops->logits(l.c, 0));
        bt_chunks_free(chunks);
        free(tokens);
        lone_close(&l);
    }
    assert_true(asks[1] >= asks[0] + 8);
}

/* Decoding costs no program: what libmtmd cannot decode it would give to ffprobe. */
static void an_undecodable_image_starts_no_program(void **state) {
    static struct look l;
    static struct picture bad;
    char folder[] = "made/path-XXXXXX", program[64], witness[64], path[4096], text[256];
    char *old = strdup(getenv("PATH"));
    (void)state;
    assert_non_null(mkdtemp(folder));
    char *absolute = realpath(folder, NULL);
    snprintf(program, sizeof program, "%s/ffprobe", folder);
    snprintf(witness, sizeof witness, "%s/was-run", folder);
    snprintf(text, sizeof text, "#!/bin/sh\n: >%s/was-run\n", absolute);
    int fd = open(program, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    snprintf(path, sizeof path, "%s:%s", absolute, old);
    setenv("PATH", path, 1);
    baton_llama *m = vision_open(NULL, 512);
    look_init(&l, 23, "What is this?");
    make_jpeg(&bad, 7);
    bad.bytes[6] = 0x7f; /* there is no such kind of table */
    l.image = (baton_image){bad.bytes, bad.size, 0, 0};
    assert_int_equal(vision_refusal(m, &l.ask, "image 0 is a damaged JPEG"), BATON_INVALID);
    baton_llama_close(&m);
    setenv("PATH", old, 1);
    free(old);
    free(absolute);
    assert_int_not_equal(access(witness, F_OK), 0);
    unlink(program);
    rmdir(folder);
}

static void is_no_projector_for(const baton_policy *policy) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    char script[512];
    params.policy = policy;
    params.mmproj = "made"; /* in a sandbox its rule would open all that is below */
    assert_int_equal(baton_llama_open(&m, NULL, &params, &err), BATON_BAD_MODEL);
    params.mmproj = "made/nowhere.gguf";
    assert_int_equal(baton_llama_open(&m, NULL, &params, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "projector file made/nowhere.gguf"));
    snprintf(script, sizeof script, "%s/make_mmproj.py", getenv("BATON_TOOLS"));
    params.mmproj = script;
    assert_int_equal(baton_llama_open(&m, NULL, &params, &err), BATON_BAD_MODEL);
    assert_non_null(strstr(err.text, "is not a GGUF file"));
    params.mmproj = wide;
    __lsan_disable();
    assert_int_equal(baton_llama_open(&m, NULL, &params, &err), BATON_BAD_MODEL);
    __lsan_enable();
    assert_non_null(strstr(err.text, "embeddings have 128 numbers"));
    snprintf(script, sizeof script, "%s/../models/baton-tiny-q8_0.gguf", getenv("BATON_TOOLS"));
    params.mmproj = script; /* a GGUF file of another kind */
    assert_int_equal(baton_llama_open(&m, NULL, &params, &err), BATON_BAD_MODEL);
}

static void a_file_that_is_no_projector_for_this_model(void **state) {
    with_the_caller(state);
    is_no_projector_for(&vision_policy);
    with_a_process(state);
    is_no_projector_for(&vision_policy);
}

/* Tokens that see each other: the same promises. */
static void probe_P08_tokens_that_see_each_other(void **state) {
    with_the_caller(state);
    vision_mmproj = gemma;
    probe_P08_nobody_sees_another_ones_image(state);
    vision_mmproj = llava;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        VISION_PROBES(with_the_caller),
        VISION_PROBES_ALONE(with_the_caller),
        VISION_PROBES(with_a_thread),
        VISION_PROBES(with_a_thread_of_three),
        VISION_PROBES(with_a_process),
        cmocka_unit_test_setup(probe_P40_a_killed_owner_is_followed_by_one_that_sees, with_the_caller),
        cmocka_unit_test(probe_P08_tokens_that_see_each_other),
        cmocka_unit_test(probe_P02_every_cut_of_the_prompt_gives_the_lone_answer),
        cmocka_unit_test(probe_P21_an_encoding_is_stopped_between_its_layers),
        cmocka_unit_test(an_undecodable_image_starts_no_program),
        cmocka_unit_test(a_file_that_is_no_projector_for_this_model),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
