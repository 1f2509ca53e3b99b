/* The built-in model answers. */
#include "native_util.h"

static const char *path;

static void it_answers(void **state) {
    (void)state;
    struct bt_model *m = open_model(path);
    struct bt_context *c = open_context(m, 2, 0, true);
    struct tokens prompt = ask(m, "Count from 1 to 20.");
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    bt_token out[128];
    size_t n = generate(c, m, 1, prompt, &greedy, out, 128);
    print_answer(m, out, n);
    struct bt_model_info info;
    m->ops->info(m, &info);
    print_message("%s | %s | vocab %d ctx %d bytes %llu cap %d\n", info.name, info.description, info.vocab_size,
                  info.ctx_train, (unsigned long long)info.bytes, c->ops->capacity(c));
    struct bt_buf v = BT_BUF_INIT;
    bt_native_versions(&v);
    print_message("%.*s\n", (int)v.len, (char *)v.data);
    bt_buf_free(&v);
    free(prompt.t);
    c->ops->free(c);
    m->ops->free(m);
}

int main(int argc, char **argv) {
    path = argc > 2 ? argv[2] : NULL;
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_answers)};
    return bt_test_run(tests, argc, argv);
}
