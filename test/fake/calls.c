/* calls.def is C: a table that a program can be made of. */
#include "harness.h"

#include <string.h>

enum effect { EXCLUSIVE, READ, FLAG, SHARED, SERIAL, CREATE, DESTROY, GIVE, PROCESS, PURE };
enum object { NONE, CONTEXT, MEMORY, MODEL, VOCAB, SAMPLER, BATCH, ADAPTER };

static const struct call {
    const char *name;
    enum effect effect;
    enum object object;
    int argument;
} calls[] = {
#define BT_CALL(name, effect, object, argument) {#name, effect, object, argument},
#include "native/calls.def"
};

static const struct call *find(const char *name) {
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(calls[i].name, name) == 0)
            return &calls[i];
    fail_msg("%s is not classified", name);
    return NULL;
}

/* What the race experiments showed: these are the ones that a table by the look of the prototypes gets wrong. */
static void what_looks_like_reading_and_is_not_is_exclusive(void **state) {
    (void)state;
    static const char *const names[] = {"llama_get_logits",     "llama_get_logits_ith", "llama_get_embeddings_ith",
                                        "llama_state_get_size", "llama_state_get_data", "llama_synchronize",
                                        "llama_memory_seq_cp",  "llama_sampler_sample", "llama_decode"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(find(names[i])->effect, EXCLUSIVE);
    assert_int_equal(find("llama_free")->effect, DESTROY);
    assert_int_equal(find("llama_tokenize")->effect, SHARED);
    assert_int_equal(find("llama_sampler_sample")->argument, 1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_looks_like_reading_and_is_not_is_exclusive)};
    return bt_test_run(tests, argc, argv);
}
