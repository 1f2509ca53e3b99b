/* States, adapters, vectors and metadata over libllama: the built-in model, and models and adapters made here. */
#include "made.h"
#include "ops.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

static struct bt_model *made_model(const char *name, const char *const *args) {
    char path[256];
    make_gguf(name, args, path);
    struct bt_model *m = open_model(path);
    remove(path);
    return m;
}

static void states_go_on_elsewhere_and_damage_is_seen(void **state) {
    (void)state;
    static const char *const mamba[] = {"--arch", "mamba", NULL};
    struct bt_model *models[] = {open_model(NULL), made_model("mamba", mamba)};
    for (size_t i = 0; i < BT_COUNT(models); i++) {
        struct tokens p = tokenize(models[i], "Tell me about the ferry, and go on where you were.");
        a_restored_answer_goes_on_token_for_token(models[i], p);
        a_damaged_state_is_refused(models[i], p);
        free(p.t);
    }
    struct bt_context *a = open_context(models[0], 1, 512, true), *b = open_context(models[1], 1, 512, true);
    struct tokens p = tokenize(models[0], "x y z");
    baton_error err;
    feed(a, 0, 0, p.t, p.n, 64);
    size_t size = a->ops->state_size(a, 0);
    unsigned char *bytes = malloc(size);
    size = a->ops->state_get(a, 0, bytes, size);
    assert_int_equal(b->ops->state_set(b, 0, bytes, size, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "another model"));
    struct bt_context *two = open_context(models[0], 2, 512, true);
    assert_int_equal(two->ops->state_set(two, 0, bytes, size, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "sequences"));
    two->ops->free(two);
    struct bt_context *loose = open_context(models[0], 1, 512, false);
    assert_int_equal(loose->ops->state_set(loose, 0, bytes, size, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "exact"));
    free(bytes);
    free(p.t);
    a->ops->free(a);
    b->ops->free(b);
    loose->ops->free(loose);
    for (size_t i = 0; i < BT_COUNT(models); i++)
        models[i]->ops->free(models[i]);
}

static void a_state_that_has_no_room_is_refused_with_both_numbers(void **state) {
    (void)state;
    struct bt_model *m = open_model(NULL);
    struct bt_context *large = open_context(m, 1, 1024, true), *small = open_context(m, 1, 256, true);
    static bt_token many[400];
    baton_error err;
    for (int i = 0; i < 400; i++)
        many[i] = 100 + i % 50;
    feed(large, 0, 0, many, 400, 100);
    size_t size = large->ops->state_size(large, 0);
    unsigned char *bytes = malloc(size);
    size = large->ops->state_get(large, 0, bytes, size);
    assert_int_equal(small->ops->state_set(small, 0, bytes, size, &err), BATON_TOO_LONG);
    assert_true(strstr(err.text, "400") && strstr(err.text, "256"));
    free(bytes);
    large->ops->free(large);
    small->ops->free(small);
    m->ops->free(m);
}

/* In front of the native library's own two functions: do two threads meet in one model's register? */
struct lora;
static _Atomic int inside_register, met;

static void enter_register(void) {
    met += inside_register++ > 0;
    usleep(200);
}

struct lora *probe_lora_init(void *native_model, const char *path) __asm__("llama_adapter_lora_init");
struct lora *probe_lora_init(void *native_model, const char *path) {
    struct lora *(*real)(void *, const char *) =
        (struct lora * (*)(void *, const char *)) dlsym(RTLD_NEXT, "llama_adapter_lora_init");
    enter_register();
    struct lora *lora = real(native_model, path);
    inside_register--;
    return lora;
}

void probe_lora_free(struct lora *lora) __asm__("llama_adapter_lora_free");
void probe_lora_free(struct lora *lora) {
    void (*real)(struct lora *) = (void (*)(struct lora *))dlsym(RTLD_NEXT, "llama_adapter_lora_free");
    enter_register();
    real(lora);
    inside_register--;
}

enum { OPENERS = 4, EACH = 5, ROUNDS = 5 };

struct opener {
    pthread_t thread;
    struct bt_model *model;
    const char *path;
    struct bt_adapter *list[EACH];
    int failed;
};

static void *open_and_free(void *arg) {
    struct opener *o = arg;
    baton_error err;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++)
            o->failed += o->model->ops->adapter(o->model, o->path, &o->list[i], &err) != BATON_OK;
        for (int i = 0; i < EACH; i++)
            o->model->ops->adapter_free(o->model, o->list[i]);
    }
    return NULL;
}

static void adapters_of_a_model(void **state) {
    (void)state;
    static const char *const model_args[] = {"--layers", "2", NULL},
                             *const lora[] = {"--layers", "2", "--lora", "4", NULL},
                             *const wide[] = {"--width", "128", "--lora", "2", NULL};
    char path[256], wide_path[256];
    struct bt_model *m = made_model("base", model_args);
    struct tokens p = tokenize(m, "with an adapter, and without");
    struct bt_adapter *a;
    baton_error err;
    make_gguf("lora", lora, path);
    make_gguf("wide", wide, wide_path);
    adapters_change_the_answer_and_leave_no_trace(m, p, path);
    assert_int_equal(m->ops->adapter(m, wide_path, &a, &err), BATON_BAD_MODEL);
    assert_null(a);
    assert_int_equal(m->ops->adapter(m, "made/nowhere.gguf", &a, &err), BATON_NOT_FOUND);
    assert_int_equal(m->ops->adapter(m, bt_builtin_model_path(), &a, &err), BATON_BAD_MODEL);
    remove(path);
    remove(wide_path);
    free(p.t);
    m->ops->free(m);
}

static void adapters_may_be_opened_by_any_thread(void **state) {
    (void)state;
    static const char *const model_args[] = {"--layers", "1", NULL}, *const lora[] = {"--layers", "1", "--lora", "1",
                                                                                      NULL};
    char path[256];
    struct bt_model *m = made_model("register", model_args);
    make_gguf("thin", lora, path);
    struct opener openers[OPENERS];
    for (int i = 0; i < OPENERS; i++) {
        openers[i] = (struct opener){.model = m, .path = path};
        pthread_create(&openers[i].thread, NULL, open_and_free, &openers[i]);
    }
    for (int i = 0; i < OPENERS; i++) {
        pthread_join(openers[i].thread, NULL);
        assert_int_equal(openers[i].failed, 0);
    }
    assert_int_equal(met, 0);
    remove(path);
    m->ops->free(m);
}

static void vectors_of_decoders_and_encoders(void **state) {
    (void)state;
    static const char *const bert[] = {"--arch", "bert", NULL},
                             *const spm[] = {"--arch", "bert", "--tokenizer", "spm", NULL},
                             *const mamba[] = {"--arch", "mamba", NULL}, *const gpt2[] = {"--arch", "gpt2", NULL};
    struct bt_model *models[] = {open_model(NULL), made_model("bert", bert), made_model("bert-spm", spm),
                                 made_model("mamba", mamba), made_model("gpt2", gpt2)};
    for (size_t i = 0; i < BT_COUNT(models); i++) {
        for (enum bt_pooling p = BT_POOL_NONE; p < BT_POOL_RANK; p++)
            for (int exact = 0; exact < 2; exact++)
                vectors_are_what_they_are_alone(models[i], p, exact);
        what_cannot_be_embedded_is_refused_by_number(models[i]);
        models[i]->ops->free(models[i]);
    }
}

static void scores_where_there_is_a_head_and_a_clear_no_elsewhere(void **state) {
    (void)state;
    static const char *const rank[] = {"--arch", "bert", "--pooling", "rank", NULL}, *const mean[] = {"--arch", "bert",
                                                                                                      NULL};
    static const char *const documents[] = {"a ferry crosses the river", "the owner holds the lease", "nothing"};
    struct bt_model *m = made_model("rank", rank), *none[] = {open_model(NULL), made_model("mean", mean)};
    struct bt_context *c = open_embedder(m, 2, 256, true, BT_POOL_RANK);
    struct bt_model_details d;
    float scores[3];
    baton_error err;
    m->ops->details(m, &d);
    assert_true(d.scores == 1 && c->ops->embed_width(c) == 1 && !d.generates);
    for (int i = 0; i < 3; i++) {
        struct bt_input input;
        bt_token *tokens;
        assert_int_equal(m->ops->pair(m, "who has it?", documents[i], &tokens, &input.n, &err), BATON_OK);
        input.tokens = tokens;
        if (c->ops->embed(c, &input, 1, true, &scores[i], &err))
            fail_msg("%s", err.text);
        assert_true(isfinite(scores[i]));
        free(tokens);
    }
    assert_true(scores[0] != scores[1] && scores[1] != scores[2]);
    c->ops->free(c);
    vectors_are_what_they_are_alone(m, BT_POOL_RANK, true);
    m->ops->free(m);
    for (size_t i = 0; i < BT_COUNT(none); i++) {
        struct bt_context_params params = {.sequences = 1, .pooling = BT_POOL_RANK};
        bt_token *tokens;
        size_t n;
        none[i]->ops->details(none[i], &d);
        assert_int_equal(d.scores, 0);
        assert_int_equal(none[i]->ops->context(none[i], &params, &c, &err), BATON_UNSUPPORTED);
        assert_non_null(strstr(err.text, "rank head"));
        assert_int_equal(none[i]->ops->pair(none[i], "q", "d", &tokens, &n, &err), BATON_UNSUPPORTED);
        none[i]->ops->free(none[i]);
    }
}

static void an_encoder_embeds_and_does_not_generate(void **state) {
    (void)state;
    static const char *const bert[] = {"--arch", "bert", NULL};
    struct bt_model *m = made_model("encoder", bert);
    struct bt_context_params params = {.sequences = 1};
    struct bt_context *c;
    baton_error err;
    assert_int_equal(m->ops->context(m, &params, &c, &err), BATON_UNSUPPORTED);
    assert_null(c);
    c = open_embedder(m, 1, 256, true, BT_POOL_MEAN);
    assert_int_equal(c->ops->memory(c), 0);
    assert_int_equal(c->ops->pos_max(c, 0), -1);
    assert_int_equal(c->ops->state_size(c, 0), 0);
    c->ops->seq_cp(c, 0, 0);
    c->ops->seq_rm(c, 0, 0, -1);
    c->ops->free(c);
    m->ops->free(m);
}

/* Positions that were learned end where training did; libllama would look past them. */
static void an_input_longer_than_training_is_refused(void **state) {
    (void)state;
    static const char *const bert[] = {"--arch", "bert", "--ctx", "64", NULL};
    struct bt_model *m = made_model("short", bert);
    struct bt_context *c = open_embedder(m, 1, 256, true, BT_POOL_MEAN);
    static bt_token many[100];
    float vector[64];
    struct bt_input input = {many, 100};
    baton_error err;
    assert_int_equal(c->ops->capacity(c), 64);
    assert_int_equal(c->ops->embed(c, &input, 1, true, vector, &err), BATON_TOO_LONG);
    assert_non_null(strstr(err.text, "100 tokens and the context holds 64"));
    c->ops->free(c);
    m->ops->free(m);
}

static void a_model_says_what_it_is(void **state) {
    (void)state;
    struct bt_model *m = open_model(NULL);
    struct bt_model_info info;
    struct bt_model_details d;
    struct bt_buf value = BT_BUF_INIT;
    m->ops->info(m, &info);
    m->ops->details(m, &d);
    assert_true(d.params > 0 && d.layers > 0 && d.width > 0 && d.heads > 0 && d.embedding_width == d.width);
    assert_true(d.generates && d.scores == 0 && d.eos >= 0 && m->ops->is_end(m, d.eos));
    assert_true(d.sep >= -1 && d.pad >= -1 && d.sep < info.vocab_size);
    assert_true(find_metadata(m, "general.architecture", &value));
    assert_true(value.len > 1);
    assert_false(find_metadata(m, "general.nothing", &value));
    text_comes_back(m, "The lease, h\xc3\xa9las: 3 \xe2\x82\xac \xf0\x9f\x98\x80");
    bt_buf_free(&value);
    m->ops->free(m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_go_on_elsewhere_and_damage_is_seen),
        cmocka_unit_test(a_state_that_has_no_room_is_refused_with_both_numbers),
        cmocka_unit_test(adapters_of_a_model),
        cmocka_unit_test(adapters_may_be_opened_by_any_thread),
        cmocka_unit_test(vectors_of_decoders_and_encoders),
        cmocka_unit_test(scores_where_there_is_a_head_and_a_clear_no_elsewhere),
        cmocka_unit_test(an_encoder_embeds_and_does_not_generate),
        cmocka_unit_test(an_input_longer_than_training_is_refused),
        cmocka_unit_test(a_model_says_what_it_is),
    };
    return bt_test_run(tests, argc, argv);
}
