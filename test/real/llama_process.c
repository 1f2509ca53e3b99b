/* Owner processes over libllama: tokens equal the lone run's, weights are mapped and not copied, adapters and split
 * models need no path, and a killed owner is followed by one that goes on. */
#include "child_util.h"
#include "frontrun.h"
#include "made.h"

#include <signal.h>

static const char *const LLAMA[] = {"--arch", "llama", "--layers", "2", "--width", "64", "--heads", "4", NULL};

static struct bt_front *open_process(const struct bt_model_params *model, int contexts, int sequences) {
    struct bt_front_params p = {.model = *model,
                                .context = {.sequences = sequences, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = contexts,
                                .when_full = BT_WAIT,
                                .queue_max = 64,
                                .queue_ms = -1,
                                .run_ms = -1,
                                .owner = BT_OWNER_PROCESS};
    struct bt_front *f;
    baton_error err;
    if (bt_front_open(&p, &f, &err))
        fail_msg("%s", err.text);
    return f;
}

static void answers_equal_their_lone_run(void **state) {
    (void)state;
    enum { N = 12 };
    struct answer a[N];
    struct bt_submit asks[N];
    char prompts[N][64];
    struct bt_front *f = open_process(&(struct bt_model_params){.path = NULL}, 2, 3);
    assert_true(bt_front_info(f)->ready.exact);
    for (int i = 0; i < N; i++) {
        snprintf(prompts[i], sizeof prompts[i], "Question %d: what is a lease?", i);
        asks[i] = ask_text(prompts[i], 24, i % 2 ? 0.8f : 0, (uint64_t)i);
        assert_int_equal(answer_ask(&a[i], f, &asks[i]), BATON_OK);
    }
    answers_wait(f, a, N);
    for (int i = 0; i < N; i++) {
        struct bt_buf lone = BT_BUF_INIT;
        assert_int_equal(a[i].outcome.status, BATON_OK);
        lone_text(NULL, &asks[i], 256, &lone);
        assert_same_text(&a[i].text, &lone);
        bt_buf_free(&lone);
        answer_free(&a[i]);
    }
    bt_front_close(&f);
}

static bool is_mapped(const char *name) {
    char line[1024];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        found |= strstr(line, name) != NULL;
    fclose(maps);
    return found;
}

/* What makes a restart quick: pages of the file itself, which are in memory already. */
static void weights_from_a_descriptor_are_mapped(void **state) {
    (void)state;
    int fds[4];
    size_t n;
    struct bt_model *m;
    baton_error err;
    assert_int_equal(bt_model_files_open(NULL, fds, 4, &n, &err), BATON_OK);
    assert_int_equal(n, 1);
    assert_false(is_mapped("baton-tiny"));
    struct bt_model_params params = {.path = "shown", .files = fds, .n_files = n};
    assert_int_equal(bt_model_open(&params, &m, &err), BATON_OK);
    close(fds[0]);
    assert_true(is_mapped("baton-tiny"));
    bt_model_close(m);
    assert_false(is_mapped("baton-tiny"));
}

/* Its answer in a process of its own, and on a thread of this one. */
static void same_in_both(const struct bt_model_params *model, struct bt_buf *text) {
    struct answer a[2];
    for (int i = 0; i < 2; i++) {
        struct bt_front_params p = {.model = *model,
                                    .context = {.sequences = 1, .ctx = 256, .threads = 1, .exact = true},
                                    .contexts = 1,
                                    .queue_ms = -1,
                                    .run_ms = -1,
                                    .owner = i == 0 ? BT_OWNER_PROCESS : BT_OWNER_THREAD};
        struct bt_front *f;
        baton_error err;
        struct bt_submit s = ask_text("what is a lease?", 32, 0, 1);
        if (bt_front_open(&p, &f, &err))
            fail_msg("%s", err.text);
        assert_int_equal(answer_ask(&a[i], f, &s), BATON_OK);
        answers_wait(f, &a[i], 1);
        assert_int_equal(a[i].outcome.status, BATON_OK);
        bt_front_close(&f);
    }
    assert_same_text(&a[0].text, &a[1].text);
    assert_true(a[0].text.len > 0);
    bt_buf_add(text, a[0].text.data, a[0].text.len);
    answer_free(&a[0]);
    answer_free(&a[1]);
}

static void adapters_are_handed_over(void **state) {
    (void)state;
    const char *const lora_args[] = {"--arch",  "llama", "--layers", "2", "--width", "64",
                                     "--heads", "4",     "--lora",   "4", NULL};
    char model[256], lora[256];
    struct bt_buf with = BT_BUF_INIT, without = BT_BUF_INIT;
    make_gguf("process", LLAMA, model);
    make_gguf("process-lora", lora_args, lora);
    struct bt_lora list[] = {{lora, 1.0f}};
    same_in_both(&(struct bt_model_params){.path = model}, &without);
    same_in_both(&(struct bt_model_params){.path = model, .loras = list, .n_loras = 1}, &with);
    assert_true(with.len != without.len || memcmp(with.data, without.data, with.len) != 0);
    list[0].path = "made/nowhere.gguf";
    struct bt_spawn_params params = child_params(model);
    struct bt_spawn *s;
    baton_error err;
    params.model.loras = list;
    params.model.n_loras = 1;
    assert_int_equal(bt_spawn_open(&params, &s, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "made/nowhere.gguf"));
    bt_buf_free(&with);
    bt_buf_free(&without);
    remove(model);
    remove(lora);
}

static void recurrent_models_are_read_twice(void **state) {
    (void)state;
    const char *const args[] = {"--arch", "mamba", "--layers", "2", "--width", "64", NULL};
    char model[256];
    struct bt_buf text = BT_BUF_INIT;
    make_gguf("process-mamba", args, model);
    same_in_both(&(struct bt_model_params){.path = model}, &text);
    bt_buf_free(&text);
    remove(model);
}

static void split_models_work(void **state) {
    (void)state;
    const char *const args[] = {"--arch",  "llama", "--layers", "2", "--width", "64",
                                "--heads", "4",     "--split",  "3", NULL};
    char whole[256], name[256], pieces[3][300];
    struct bt_buf text = BT_BUF_INIT, split = BT_BUF_INIT;
    baton_error err;
    int fds[4];
    size_t n;
    make_gguf("process-whole", LLAMA, whole);
    make_gguf("process-split", args, name);
    for (int i = 0; i < 3; i++)
        snprintf(pieces[i], sizeof pieces[i], "%.*s-%05d-of-00003.gguf", (int)(strlen(name) - 5), name, i + 1);
    same_in_both(&(struct bt_model_params){.path = whole}, &text);
    same_in_both(&(struct bt_model_params){.path = pieces[0]}, &split);
    assert_same_text(&text, &split);
    assert_int_equal(bt_model_files_open(pieces[1], fds, 4, &n, &err), BATON_BAD_MODEL);
    assert_non_null(strstr(err.text, "00001-of-00003"));
    assert_int_equal(bt_model_files_open(pieces[0], fds, 2, &n, &err), BATON_TOO_LONG);
    remove(pieces[2]);
    assert_int_equal(bt_model_files_open(pieces[0], fds, 4, &n, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, pieces[2]));
    remove(pieces[0]);
    remove(pieces[1]);
    remove(whole);
    bt_buf_free(&text);
    bt_buf_free(&split);
}

/* Killed in the middle of an answer, which another owner goes on with from the tokens that were delivered. */
static void probe_P40_a_killed_owner_is_followed_by_one_that_goes_on(void **state) {
    (void)state;
    enum { CUT = 7 };
    struct child c;
    struct bt_frame_ready ready;
    struct bt_frame f;
    struct bt_frame_token t;
    struct heard whole, rest;
    baton_error err;
    bt_token head[CUT];
    uint32_t held = 0;
    int n = 0;
    child_open(&c, NULL);
    assert_true(child_ready(&c, &ready, &err));
    child_ask(&c, 1, "Tell me about the sea.");
    hear_answer(&c.peer, &whole);
    assert_true(whole.n > CUT);
    child_ask(&c, 2, "Tell me about the sea.");
    while (n < CUT && hear(&c.peer, &f))
        if (f.type == BT_FRAME_TOKEN) {
            assert_int_equal(bt_get_token(&f, &t), BATON_OK);
            head[n++] = t.token;
            held = t.held;
        }
    bt_spawn_kill(c.spawn, 0);
    struct bt_owner_end end = child_end(&c);
    assert_true(end.kind == BT_END_SIGNALLED && end.code == SIGKILL);
    child_hang_up(&c);
    child_start(&c);
    assert_true(child_ready(&c, &ready, &err));
    struct bt_submit s = ask(2, "Tell me about the sea.", 0);
    s.attempt = 2;
    s.resume = head;
    s.n_resume = CUT;
    s.resume_held = held;
    bt_put_submit(&c.peer.out, &s);
    say(&c.peer);
    hear_answer(&c.peer, &rest);
    assert_int_equal(rest.first, CUT);
    assert_int_equal(rest.n, whole.n - CUT);
    assert_memory_equal(rest.tokens, whole.tokens + CUT, rest.n * sizeof *rest.tokens);
    child_close(&c);
}

/* A file in which two tokens are the same text: libllama asserts that they are not. */
static void make_one_that_asserts(char path[256]) {
    static const unsigned char first[] = {1, 0, 0, 0, 0, 0, 0, 0, '!', 1, 0, 0, 0, 0, 0, 0, 0, '"'};
    struct bt_buf b = BT_BUF_INIT;
    char chunk[4096];
    make_gguf("process-assert", LLAMA, path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        bt_buf_add(&b, chunk, n);
    const unsigned char *at = memmem(b.data, b.len, first, sizeof first);
    assert_non_null(at);
    assert_int_equal(fseek(f, (long)(at - b.data) + (long)sizeof first - 1, SEEK_SET), 0);
    assert_int_equal(fputc('!', f), '!');
    fclose(f);
    bt_buf_free(&b);
}

static void probe_P41_an_assert_is_quoted(void **state) {
    (void)state;
    char model[256];
    struct child c;
    struct bt_frame_ready ready;
    baton_error err;
    make_one_that_asserts(model);
    child_open(&c, model);
    assert_false(child_ready(&c, &ready, &err));
    struct bt_owner_end end = child_end(&c);
    print_message("%d %d '%s'\n", (int)end.kind, end.code, end.text);
    assert_true(end.kind == BT_END_SIGNALLED && end.code == SIGABRT);
    assert_non_null(strstr(end.text, "ASSERT"));
    child_close(&c);
    struct bt_front_params p = {.model = {.path = model},
                                .context = {.sequences = 1, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 1,
                                .queue_ms = -1,
                                .run_ms = -1,
                                .owner = BT_OWNER_PROCESS};
    struct bt_front *f;
    assert_int_not_equal(bt_front_open(&p, &f, &err), BATON_OK);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "ASSERT"));
    remove(model);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_equal_their_lone_run),
        cmocka_unit_test(weights_from_a_descriptor_are_mapped),
        cmocka_unit_test(adapters_are_handed_over),
        cmocka_unit_test(recurrent_models_are_read_twice),
        cmocka_unit_test(split_models_work),
        cmocka_unit_test(probe_P40_a_killed_owner_is_followed_by_one_that_goes_on),
        cmocka_unit_test(probe_P41_an_assert_is_quoted),
    };
    return bt_test_run(tests, argc, argv);
}
