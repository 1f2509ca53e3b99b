/* Other models than the built-in one: random weights in other architectures, shapes, quantisations and vocabularies,
 * made by tools/make_gguf.py in the working directory. Each loads, tokenises, and is exact. */
#include "exactness.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static const struct shape {
    const char *name, *args[20];
} shapes[] = {
    {"llama-f32", {"--arch", "llama", "--type", "f32"}},
    {"llama-f16-grouped", {"--type", "f16", "--heads", "8", "--kv-heads", "2", "--width", "128", "--layers", "3"}},
    {"llama-q8_0-tied", {"--type", "q8_0", "--tied", "--vocab", "1000", "--width", "96", "--heads", "3"}},
    {"llama-q4_0-spm", {"--type", "q4_0", "--tokenizer", "spm", "--kv-heads", "1"}},
    {"qwen2-q8_0", {"--arch", "qwen2", "--type", "q8_0", "--kv-heads", "2", "--vocab", "777"}},
    {"qwen2-f16-wide", {"--arch", "qwen2", "--type", "f16", "--width", "256", "--layers", "1", "--ff", "512"}},
    {"gemma-q4_0-spm", {"--arch", "gemma", "--type", "q4_0", "--tokenizer", "spm", "--width", "128"}},
    {"gpt2-f16", {"--arch", "gpt2", "--type", "f16", "--layers", "3"}},
    {"gpt2-q4_0", {"--arch", "gpt2", "--type", "q4_0", "--width", "128", "--heads", "2"}},
    {"mamba-f32", {"--arch", "mamba", "--type", "f32"}},
    {"mamba-f16", {"--arch", "mamba", "--type", "f16", "--tokenizer", "spm"}},
    {"mamba-q8_0", {"--arch", "mamba", "--type", "q8_0", "--layers", "3"}},
};

static struct bt_model *make(const struct shape *s, char path[256]) {
    const char *tools = getenv("BATON_TOOLS");
    char script[512], python[] = "python3", *argv[32] = {python, script, path};
    int n = 3, status;
    pid_t child;
    assert_non_null(tools);
    snprintf(script, sizeof script, "%s/make_gguf.py", tools);
    mkdir("shapes", 0777);
    snprintf(path, 256, "shapes/%s.gguf", s->name);
    for (int i = 0; s->args[i]; i++)
        argv[n++] = (char *)s->args[i];
    assert_int_equal(posix_spawnp(&child, python, NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return open_model(path);
}

static void text_survives(const struct bt_model *m, const char *name) {
    static const char text[] = "The lease, h\xc3\xa9las: 3 \xe2\x82\xac \xf0\x9f\x98\x80\n\tx";
    struct bt_token_text {
        bt_token *t;
        size_t n;
    } tokens;
    struct bt_buf out = BT_BUF_INIT;
    baton_error err;
    assert_int_equal(m->ops->tokenize(m, text, sizeof text - 1, false, false, &tokens.t, &tokens.n, &err), BATON_OK);
    for (size_t i = 0; i < tokens.n; i++)
        m->ops->piece(m, tokens.t[i], &out);
    size_t skip = out.len && out.data[0] == ' '; /* SPM puts a space in front of a text */
    if (out.len - skip != sizeof text - 1 || memcmp(out.data + skip, text, sizeof text - 1) != 0)
        fail_msg("%s: text came back as '%.*s'", name, (int)out.len, (char *)out.data);
    bt_buf_free(&out);
    free(tokens.t);
}

static void every_shape_loads_and_is_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < BT_COUNT(shapes); i++) {
        char path[256];
        struct bt_model_info info;
        struct bt_model *m = make(&shapes[i], path);
        m->ops->info(m, &info);
        print_message("%s: %s, vocabulary %d, %llu bytes%s\n", shapes[i].name, info.description, info.vocab_size,
                      (unsigned long long)info.bytes, info.recurrent ? ", recurrent" : "");
        assert_int_equal(info.recurrent, strncmp(shapes[i].name, "mamba", 5) == 0);
        text_survives(m, shapes[i].name);
        check_exactness(m);
        m->ops->free(m);
        remove(path);
    }
}

static void a_recurrent_model_says_so_and_cannot_be_trimmed(void **state) {
    (void)state;
    static const struct shape recurrent = {"recurrent", {"--arch", "mamba"}};
    char path[256];
    struct bt_model *m = make(&recurrent, path);
    struct tokens p = exact_prompt(m, 3);
    struct bt_context *c = open_context(m, 2, 1024, true);
    feed(c, 1, 0, p.t, p.n, 100);
    assert_false(c->ops->seq_rm(c, 1, (int32_t)p.n / 2, -1));
    assert_true(c->ops->seq_rm(c, 1, -1, -1));
    assert_int_equal(c->ops->pos_max(c, 1), -1);
    free(p.t);
    c->ops->free(c);
    m->ops->free(m);
    remove(path);
}

/* Some templates write the token that begins every text, and the tokeniser puts one in front of every text. */
static void a_chat_begins_with_one_bos_whoever_writes_it(void **state) {
    (void)state;
    static const struct shape shape = {"bos", {"--tokenizer", "spm"}};
    static const char *const templates[] = {"gigachat", "llama2-sys-bos", "llama2", "chatml"};
    enum { BOS = 1 };
    char path[256];
    struct bt_model *made = make(&shape, path);
    made->ops->free(made);
    for (size_t i = 0; i < BT_COUNT(templates); i++) {
        struct bt_model_params params = {.path = path, .chat_template = templates[i]};
        struct bt_model *m;
        baton_error err;
        assert_int_equal(bt_model_open(&params, &m, &err), BATON_OK);
        struct tokens p = ask(m, "Who?");
        assert_int_equal(p.t[0], BOS);
        if (p.t[1] == BOS)
            fail_msg("template %s: two tokens that begin a text", templates[i]);
        free(p.t);
        m->ops->free(m);
    }
    remove(path);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_loads_and_is_exact),
        cmocka_unit_test(a_chat_begins_with_one_bos_whoever_writes_it),
        cmocka_unit_test(a_recurrent_model_says_so_and_cannot_be_trimmed),
    };
    return bt_test_run(tests, argc, argv);
}
