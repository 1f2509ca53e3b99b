/* The same over libllama: the built-in model, and models with random weights. */
#include "api_vectors.h"
#include "made.h"

static void grammars(void **state) {
    (void)state;
    a_grammar_holds_under_every_policy(NULL);
}
static void rates(void **state) {
    (void)state;
    an_answer_says_how_fast_it_was(NULL);
}
static void probe_P04_callbacks(void **state) {
    (void)state;
    callbacks_get_it_all_and_may_stop(NULL, NULL);
}
static void states_go_on(void **state) {
    (void)state;
    a_saved_answer_goes_on_to_the_letter(NULL);
    a_new_turn_goes_on_from_a_state(NULL);
}
static void states_refused(void **state) {
    (void)state;
    for (int p = 0; p <= 2; p += 2)
        a_state_that_cannot_be_is_refused(NULL, p);
}

static void adapters(void **state) {
    (void)state;
    static const char *const base[] = {"--layers", "2", NULL}, *const lora[] = {"--layers", "2", "--lora", "4", NULL};
    char base_path[256], lora_path[256];
    make_gguf("api-base", base, base_path);
    make_gguf("api-lora", lora, lora_path);
    adapters_are_part_of_the_handle(base_path, lora_path);
    remove(base_path);
    remove(lora_path);
}

static void vectors_and_ranks(void **state) {
    (void)state;
    static const char *const mean[] = {"--arch", "bert", "--pooling", "mean", NULL}, *const rank[] = {"--arch", "bert",
                                                                                                      "--pooling",
                                                                                                      "rank", NULL};
    char mean_path[256], rank_path[256];
    make_gguf("api-mean", mean, mean_path);
    make_gguf("api-rank", rank, rank_path);
    vectors_come_in_order_and_the_same_in_company(mean_path, BATON_POOLING_MEAN);
    vectors_come_in_order_and_the_same_in_company(mean_path, BATON_POOLING_CLS);
    vectors_come_in_order_and_the_same_in_company(NULL, BATON_POOLING_LAST);
    for (int p = 0; p <= 2; p += 2)
        what_a_handle_is_not_for_is_refused(NULL, mean_path, p);
    documents_are_ranked(rank_path);
    remove(mean_path);
    remove(rank_path);
}

static void details(void **state) {
    (void)state;
    for (int p = 0; p <= 2; p += 2)
        a_model_says_what_it_is(NULL, "general.architecture", p);
}
static void resets(void **state) {
    (void)state;
    resets_wait_or_refuse_and_change_no_answer(NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammars),       cmocka_unit_test(rates),    cmocka_unit_test(probe_P04_callbacks),
        cmocka_unit_test(states_go_on),   cmocka_unit_test(adapters), cmocka_unit_test(vectors_and_ranks),
        cmocka_unit_test(states_refused), cmocka_unit_test(details),  cmocka_unit_test(resets),
    };
    return bt_test_run(tests, argc, argv);
}
