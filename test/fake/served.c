/* Which of a server's models answers: names, roles, models that are gone. The fronts are this file's: it takes the
 * place of ipc/front.c. */
#include "harness.h"

#include <string.h>

#include "serve/served.h"

struct bt_front {
    struct bt_front_info info;
    struct bt_front_counts counts;
};

const struct bt_front_info *bt_front_info(const struct bt_front *f) {
    return &f->info;
}

void bt_front_counts(const struct bt_front *f, struct bt_front_counts *counts) {
    *counts = f->counts;
}

enum { A, B, C, MODELS };
static const char *const NAMES[MODELS] = {"a", "b", "c"};

struct world {
    struct bt_front fronts[MODELS];
    struct bt_served models[MODELS];
    struct bt_served_set set;
};

static void begin(struct world *w, const struct bt_serve_role *roles, int n) {
    baton_error err;
    memset(w, 0, sizeof *w);
    for (int i = 0; i < MODELS; i++) {
        w->fronts[i].info.contexts = 2;
        w->fronts[i].counts.slots = 2;
        bt_served_init(&w->models[i], &w->fronts[i], NAMES[i], "/models/file.gguf");
    }
    w->set.models = w->models;
    w->set.n = MODELS;
    assert_int_equal(bt_served_resolve(&w->set, roles, n, &err), BATON_OK);
}

/* Which model answers, -1: none. */
static int chosen(struct world *w, const char *name) {
    char why[300] = "";
    const struct bt_openai_model *m = bt_served_choose(&w->set, name, why, sizeof why);
    assert_int_equal(m == NULL, why[0] != '\0');
    return m ? (int)(BT_CONTAINER(m, struct bt_served, openai) - w->models) : -1;
}

#define ROLE(called, ...)                                                                                              \
    { called, (const char *const[]){__VA_ARGS__}, (int)BT_COUNT(((const char *const[]){__VA_ARGS__})) }

static void a_name_is_that_model_and_no_name_is_the_first(void **state) {
    struct world w;
    (void)state;
    begin(&w, NULL, 0);
    assert_int_equal(chosen(&w, NULL), A);
    for (int i = 0; i < MODELS; i++)
        assert_int_equal(chosen(&w, NAMES[i]), i);
    assert_int_equal(chosen(&w, "file.gguf"), -1); /* of three models it would be anybody's guess */
    assert_int_equal(chosen(&w, "baton"), -1);
    assert_int_equal(chosen(&w, "A"), -1);
    bt_served_free(&w.set);
}

static void a_lone_model_has_the_names_its_file_gives_it(void **state) {
    struct bt_front f = {.info = {.contexts = 1, .ready.info.name = "tiny"}};
    struct bt_served m = {0};
    (void)state;
    bt_served_init(&m, &f, NULL, "/models/file.gguf");
    struct bt_served_set set = {.models = &m, .n = 1};
    char why[200];
    const char *const names[] = {"tiny", "file.gguf", "baton"};
    for (size_t i = 0; i < BT_COUNT(names); i++)
        assert_ptr_equal(bt_served_choose(&set, names[i], why, sizeof why), &m.openai);
    assert_null(bt_served_choose(&set, "else", why, sizeof why));
    assert_string_equal(why, "there is no model \"else\" here: use \"tiny\", or leave the field out");
}

static void an_unknown_name_is_told_what_there_is(void **state) {
    const struct bt_serve_role roles[] = {ROLE("fast", "b"), ROLE("deep", "c", "fast")};
    struct world w;
    char why[200];
    (void)state;
    begin(&w, roles, 2);
    assert_null(bt_served_choose(&w.set, "gpt", why, sizeof why));
    assert_string_equal(why, "there is no model \"gpt\" here: there are the models a, b, c and the roles fast, deep");
    bt_served_free(&w.set);
}

static void a_role_leads_depth_first_and_to_each_model_once(void **state) {
    const struct bt_serve_role roles[] = {ROLE("fast", "b"), ROLE("deep", "fast", "c", "b", "all"),
                                          ROLE("all", "deep", "a", "nobody")};
    struct world w;
    (void)state;
    begin(&w, roles, 3);
    const struct bt_served_role *deep = bt_served_find_role(&w.set, "deep"), *all = bt_served_find_role(&w.set, "all");
    assert_int_equal(deep->n, 3);
    assert_ptr_equal(deep->models[0], &w.models[B]);
    assert_ptr_equal(deep->models[1], &w.models[C]);
    assert_ptr_equal(deep->models[2], &w.models[A]);
    assert_int_equal(all->n, 3);
    assert_int_equal(chosen(&w, "deep"), B);
    bt_served_free(&w.set);
}

static void a_role_passes_over_who_is_gone_and_not_who_is_busy(void **state) {
    const struct bt_serve_role roles[] = {ROLE("role", "c", "a")};
    struct world w;
    (void)state;
    begin(&w, roles, 1);
    w.fronts[C].counts.running = 2;
    w.fronts[C].counts.queued = 100;
    assert_int_equal(chosen(&w, "role"), C);
    w.fronts[C].counts.dead_contexts = 1;
    assert_int_equal(chosen(&w, "role"), C);
    w.fronts[C].counts.dead_contexts = 2;
    assert_int_equal(chosen(&w, "role"), A);
    assert_int_equal(chosen(&w, "c"), C); /* who names a model gets no other */
    w.fronts[A].counts.dead_contexts = 2;
    assert_int_equal(chosen(&w, "role"), A); /* the last one says why it cannot */
    bt_served_free(&w.set);
}

static void a_role_that_leads_nowhere_is_left_out(void **state) {
    const struct bt_serve_role roles[] = {ROLE("none", "speech"), ROLE("loop", "loop", "none"), ROLE("some", "a")};
    struct world w;
    (void)state;
    bt_log_set_level(BATON_LOG_ERROR);
    begin(&w, roles, 3);
    assert_int_equal(w.set.n_roles, 1);
    assert_int_equal(chosen(&w, "some"), A);
    assert_int_equal(chosen(&w, "none"), -1);
    bt_served_free(&w.set);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_that_model_and_no_name_is_the_first),
        cmocka_unit_test(a_lone_model_has_the_names_its_file_gives_it),
        cmocka_unit_test(an_unknown_name_is_told_what_there_is),
        cmocka_unit_test(a_role_leads_depth_first_and_to_each_model_once),
        cmocka_unit_test(a_role_passes_over_who_is_gone_and_not_who_is_busy),
        cmocka_unit_test(a_role_that_leads_nowhere_is_left_out),
    };
    return bt_test_run(tests, argc, argv);
}
