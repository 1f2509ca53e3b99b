/* Models by name over the fake native. */
#include "api_bodies.h"

#include <stdatomic.h>

#include "base/base.h"
#include "baton/models.h"
#include "native/fake.h"

static int setup(void **state) {
    (void)state;
    bt_fake_stats_reset();
    return 0;
}
static int teardown(void **state) {
    struct bt_fake_stats s;
    (void)state;
    bt_fake_set_hook(NULL, NULL);
    bt_fake_stats(&s);
    return s.overlaps || s.contexts || s.models || s.samplers;
}

static baton_models *registry(void) {
    baton_models *r;
    assert_int_equal(baton_models_open(&r, NULL), BATON_OK);
    return r;
}

static void add(baton_models *r, const char *name, const char *path, bool load) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    baton_error err;
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    params.ctx = 65536;
    if (baton_models_add(r, name, path, &params, load, &err))
        fail_msg("%s", err.text);
}

static baton_model_info info_of(baton_models *r, const char *name) {
    baton_model_info info = {.size = sizeof info};
    assert_int_equal(baton_models_info(r, name, &info, NULL), BATON_OK);
    return info;
}

static int64_t alive(void) {
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    return s.models;
}

/* A call in another thread. */
struct caller {
    baton_models *r;
    const char *name;
    int max_tokens;
    int64_t wait_ms;
    enum { ASK, USE, UNLOAD, REMOVE, SWAP } what;
    const char *path;
    pthread_t thread;
    baton_status status;
    _Atomic bool over;
    baton_error err;
    char text[256];
};

static void ask(struct caller *c) {
    baton_llama_ask a = BATON_LLAMA_ASK;
    baton_request request = BATON_REQUEST;
    baton_result result;
    a.prompt = "endless";
    a.max_tokens = c->max_tokens;
    request.when_full = BATON_WAIT;
    a.request = &request;
    c->status = baton_models_generate(c->r, c->name, &a, &result, &c->err);
    snprintf(c->text, sizeof c->text, "%s", result.text);
    baton_result_free(&result);
}

static void *call(void *arg) {
    struct caller *c = arg;
    baton_model_use use;
    if (c->what == ASK) {
        ask(c);
    } else if (c->what == USE) {
        c->status = baton_models_use(c->r, c->name, c->wait_ms, &use, &c->err);
        snprintf(c->text, sizeof c->text, "%s", use.name);
        baton_models_put(&use);
    } else if (c->what == SWAP) {
        c->status = baton_models_swap(c->r, c->name, c->path, NULL, c->wait_ms, &c->err);
    } else {
        c->status = c->what == UNLOAD ? baton_models_unload(c->r, c->name, c->wait_ms, &c->err)
                                      : baton_models_remove(c->r, c->name, c->wait_ms, &c->err);
    }
    c->over = true;
    return NULL;
}
static void start(struct caller *c) {
    assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}
static void join(struct caller *c) {
    pthread_join(c->thread, NULL);
}

static void probe_P07_an_unknown_name_is_an_error_that_lists_the_known_ones(void **state) {
    (void)state;
    baton_models *r = registry();
    baton_model_use use = {.llama = (baton_llama *)r};
    baton_error err;
    assert_int_equal(baton_models_use(r, "x", 0, &use, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "none"));
    add(r, "small", "fake:len=60", false);
    add(r, "large", "fake:len=60", false);
    assert_int_equal(baton_models_role(r, "fast", (const char *[]){"small"}, 1, NULL), BATON_OK);
    assert_int_equal(baton_models_use(r, "larg", -1, &use, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "'larg'"));
    assert_non_null(strstr(err.text, "small, large"));
    assert_non_null(strstr(err.text, "fast"));
    assert_null(use.llama);
    assert_int_equal(alive(), 0);
    baton_models_close(&r);
    assert_null(r);
    baton_models_close(&r);
}

/* Holds each decode until as many models as wanted are in one, for a limited time: on the way out nothing is
 * missed, as decoding_max has it. */
static _Atomic int inside, wanted;
static void meet(void *arg, const struct bt_fake_event *event) {
    (void)arg;
    if (event->call != BT_FAKE_DECODE_BEGIN)
        return;
    inside++;
    for (int i = 0; i < 20000 && inside < wanted; i++)
        usleep(100);
}

static void probe_P07_different_models_overlap_and_one_model_never_does(void **state) {
    (void)state;
    baton_models *r = registry();
    struct bt_fake_stats s;
    add(r, "a", "fake:len=60", true);
    add(r, "b", "fake:len=60", true);
    add(r, "c", "fake:len=60", true);
    struct caller c[3] = {{.r = r, .name = "a", .max_tokens = 4},
                          {.r = r, .name = "b", .max_tokens = 4},
                          {.r = r, .name = "c", .max_tokens = 4}};
    inside = 0;
    wanted = 3;
    bt_fake_stats_reset();
    bt_fake_set_hook(meet, NULL);
    for (int i = 0; i < 3; i++)
        start(&c[i]);
    for (int i = 0; i < 3; i++)
        join(&c[i]);
    bt_fake_stats(&s);
    assert_int_equal(s.decoding_max, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(c[i].status, BATON_OK);

    bt_fake_set_hook(NULL, NULL);
    bt_fake_stats_reset();
    struct caller same[4];
    for (int i = 0; i < 4; i++) {
        same[i] = (struct caller){.r = r, .name = "a", .max_tokens = 20};
        start(&same[i]);
    }
    for (int i = 0; i < 4; i++) {
        join(&same[i]);
        assert_int_equal(same[i].status, BATON_OK);
        assert_string_equal(same[i].text, same[0].text);
    }
    bt_fake_stats(&s);
    assert_int_equal(s.decoding_max, 1);
    assert_int_equal(s.overlaps, 0);
    baton_models_close(&r);
}

static void a_role_leads_to_the_first_that_can_be_had(void **state) {
    (void)state;
    baton_models *r = registry();
    baton_model_use use;
    baton_error err;
    add(r, "small", "fake:len=60", false);
    add(r, "broken", "fake:load_fail=1", false);
    add(r, "large", "fake:len=60", false);
    assert_int_equal(baton_models_role(r, "fast", (const char *[]){"small"}, 1, NULL), BATON_OK);
    assert_int_equal(baton_models_role(r, "deep", (const char *[]){"broken", "large", "fast"}, 3, NULL), BATON_OK);
    assert_int_equal(baton_models_role(r, "vision", (const char *[]){"broken"}, 1, NULL), BATON_OK);
    assert_int_equal(baton_models_use(r, "deep", 0, &use, &err), BATON_OK);
    assert_string_equal(use.name, "large");
    baton_models_put(&use);
    baton_models_put(&use);
    assert_int_equal(baton_models_remove(r, "large", -1, &err), BATON_OK);
    assert_int_equal(baton_models_use(r, "deep", 0, &use, &err), BATON_OK);
    assert_string_equal(use.name, "small");
    baton_models_put(&use);
    assert_int_equal(baton_models_use(r, "vision", 0, &use, &err), BATON_BAD_MODEL);
    assert_non_null(strstr(err.text, "load_fail"));
    assert_int_equal(info_of(r, "broken").failed, BATON_BAD_MODEL);

    assert_int_equal(baton_models_role(r, "fast", (const char *[]){"deep"}, 1, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "fast -> deep -> fast"));
    assert_int_equal(baton_models_role(r, "fast", (const char *[]){"fast"}, 1, &err), BATON_INVALID);
    assert_int_equal(baton_models_role(r, "fast", (const char *[]){"nobody"}, 1, &err), BATON_NOT_FOUND);
    assert_int_equal(baton_models_role(r, "small", (const char *[]){"deep"}, 1, &err), BATON_INVALID);
    assert_int_equal(baton_models_role(r, "none", NULL, 0, &err), BATON_MISUSE);
    assert_int_equal(baton_models_add(r, "deep", "fake:", NULL, false, &err), BATON_INVALID);
    assert_int_equal(baton_models_add(r, "small", "fake:", NULL, false, &err), BATON_INVALID);
    assert_int_equal(baton_models_add(r, "", "fake:", NULL, false, &err), BATON_INVALID);
    assert_int_equal(baton_models_use(r, "fast", 0, &use, &err), BATON_OK); /* as it was */
    baton_models_put(&use);

    const char *const *names;
    size_t n;
    assert_int_equal(baton_models_names(r, false, &names, &n, NULL), BATON_OK);
    assert_int_equal(n, 2);
    assert_string_equal(names[1], "broken");
    baton_free((void *)names);
    assert_int_equal(baton_models_names(r, true, &names, &n, NULL), BATON_OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[2], "vision");
    baton_free((void *)names);
    baton_models_close(&r);
}

/* Roles that lead to each other many times over: a walk through all ways would never end. */
static void a_role_of_many_ways_is_walked_once(void **state) {
    (void)state;
    baton_models *r = registry();
    baton_model_use use;
    char last[16], name[16];
    const char *targets[BATON_ROLE_TARGETS_MAX];
    add(r, "m", "fake:len=60", false);
    snprintf(last, sizeof last, "m");
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < BATON_ROLE_TARGETS_MAX; k++)
            targets[k] = last;
        snprintf(name, sizeof name, "r%d", i);
        assert_int_equal(baton_models_role(r, name, targets, BATON_ROLE_TARGETS_MAX, NULL), BATON_OK);
        memcpy(last, name, sizeof last);
    }
    assert_int_equal(baton_models_use(r, last, 0, &use, NULL), BATON_OK);
    assert_string_equal(use.name, "m");
    baton_models_put(&use);
    baton_models_close(&r);
}

/* Keeps a load at its first step until it is let go. */
struct slow {
    _Atomic bool at_it, go;
    baton_models *r;
    baton_status inner;
};
static bool slowly(void *arg, float done) {
    struct slow *s = arg;
    (void)done;
    s->at_it = true;
    while (!s->go)
        usleep(100);
    return true;
}
static void add_slow(baton_models *r, const char *name, const char *path, struct slow *s) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    params.progress = slowly;
    params.progress_arg = s;
    s->at_it = s->go = false;
    assert_int_equal(baton_models_add(r, name, path, &params, false, NULL), BATON_OK);
}

static void probe_P26_while_a_model_loads_others_wait_or_are_refused_as_they_ask(void **state) {
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        baton_models *r = registry();
        struct slow s;
        baton_model_use use;
        baton_error err;
        add_slow(r, "m", broken ? "fake:load_fail=1" : "fake:len=60", &s);
        add(r, "other", "fake:len=60", true);
        struct caller first = {.r = r, .name = "m", .what = USE}, later[3];
        start(&first);
        while (!s.at_it)
            usleep(100);
        assert_int_equal(info_of(r, "m").state, BATON_MODEL_LOADING);
        assert_int_equal(baton_models_use(r, "m", 0, &use, &err), BATON_BUSY);
        assert_non_null(strstr(err.text, "'m'"));
        assert_int_equal(baton_models_use(r, "m", 1, &use, &err), BATON_QUEUE_TIMEOUT);
        assert_int_equal(baton_models_unload(r, "m", 0, &err), BATON_BUSY);
        assert_int_equal(baton_models_swap(r, "m", "fake:", NULL, 0, &err), BATON_BUSY);
        assert_int_equal(baton_models_use(r, "other", 0, &use, &err), BATON_OK);
        baton_models_put(&use);
        for (int i = 0; i < 3; i++) {
            later[i] = (struct caller){.r = r, .name = "m", .what = USE, .wait_ms = -1};
            start(&later[i]);
        }
        while (info_of(r, "m").waiting < 3)
            usleep(100);
        s.go = true;
        join(&first);
        assert_int_equal(first.status, broken ? BATON_BAD_MODEL : BATON_OK);
        for (int i = 0; i < 3; i++) { /* of that one load */
            join(&later[i]);
            assert_int_equal(later[i].status, first.status);
        }
        assert_int_equal(info_of(r, "m").loads, broken ? 0 : 1);
        baton_models_close(&r);
    }
}

static void *put_elsewhere(void *arg) {
    baton_models_put(arg);
    return NULL;
}

static void probe_P26_an_unload_waits_for_the_uses_and_the_uses_for_the_unload(void **state) {
    (void)state;
    baton_models *r = registry();
    baton_model_use use;
    baton_error err;
    pthread_t other;
    add(r, "m", "fake:len=60", true);
    assert_int_equal(baton_models_use(r, "m", 0, &use, &err), BATON_OK);
    assert_int_equal(baton_models_unload(r, "m", -1, &err), BATON_WOULD_DEADLOCK);
    assert_int_equal(info_of(r, "m").state, BATON_MODEL_READY);
    assert_int_equal(baton_models_unload(r, "m", 0, &err), BATON_AGAIN);
    assert_int_equal(info_of(r, "m").state, BATON_MODEL_UNLOADING);
    assert_int_equal(info_of(r, "m").draining, 1);
    assert_int_equal(alive(), 1);
    baton_model_use refused;
    assert_int_equal(baton_models_use(r, "m", 0, &refused, &err), BATON_BUSY);
    struct caller waits = {.r = r, .name = "m", .wait_ms = -1, .what = USE};
    struct caller unloads = {.r = r, .name = "m", .wait_ms = -1, .what = UNLOAD};
    start(&waits);
    start(&unloads);
    while (info_of(r, "m").waiting < 1)
        usleep(100);
    baton_llama_ask ask = BATON_LLAMA_ASK; /* on what was unloaded, and alive */
    baton_result result;
    ask.prompt = "endless";
    ask.max_tokens = 5;
    assert_int_equal(baton_llama_generate(use.llama, &ask, &result, &err), BATON_OK);
    baton_result_free(&result);
    assert_false(waits.over);
    assert_false(unloads.over);
    assert_int_equal(pthread_create(&other, NULL, put_elsewhere, &use), 0);
    pthread_join(other, NULL);
    join(&waits);
    join(&unloads);
    assert_int_equal(waits.status, BATON_OK);                                /* it was loaded again */
    assert_true(unloads.status == BATON_OK || unloads.status == BATON_BUSY); /* as the other was loading it, or not */
    assert_int_equal(info_of(r, "m").loads, 2);
    assert_int_equal(baton_models_unload(r, "m", -1, &err), BATON_OK);
    assert_int_equal(alive(), 0);
    assert_int_equal(info_of(r, "m").state, BATON_MODEL_ABSENT);
    baton_models_close(&r);
}

static void probe_P26_a_swap_commits_last_and_what_runs_finishes_on_the_old_one(void **state) {
    (void)state;
    baton_models *r = registry();
    baton_model_use old, new_one;
    baton_error err;
    add(r, "m", "fake:len=60", true);
    assert_int_equal(baton_models_use(r, "m", 0, &old, &err), BATON_OK);
    assert_int_equal(baton_models_swap(r, "m", "fake:load_fail=1", NULL, 0, &err), BATON_BAD_MODEL);
    assert_int_equal(baton_models_use(r, "m", 0, &new_one, &err), BATON_OK);
    assert_ptr_equal(old.llama, new_one.llama);
    baton_models_put(&new_one);
    assert_string_equal(info_of(r, "m").path, "fake:len=60");
    assert_int_equal(baton_models_swap(r, "m", "fake:len=30", NULL, 0, &err), BATON_AGAIN);
    assert_string_equal(info_of(r, "m").path, "fake:len=30");
    assert_int_equal(info_of(r, "m").state, BATON_MODEL_READY);
    assert_int_equal(info_of(r, "m").draining, 1);
    assert_int_equal(baton_models_use(r, "m", 0, &new_one, &err), BATON_OK);
    assert_ptr_not_equal(old.llama, new_one.llama);
    assert_int_equal(alive(), 2);
    struct caller again = {.r = r, .name = "m", .wait_ms = -1, .what = SWAP, .path = "fake:len=20"};
    start(&again);
    while (info_of(r, "m").loads < 3)
        usleep(100);
    baton_models_put(&old);
    baton_models_put(&new_one);
    join(&again);
    assert_int_equal(again.status, BATON_OK);
    assert_int_equal(alive(), 1);
    baton_models_close(&r);
}

static void probe_P26_a_removed_model_is_not_found_by_those_that_waited(void **state) {
    (void)state;
    baton_models *r = registry();
    baton_model_use use;
    add(r, "m", "fake:len=60", true);
    assert_int_equal(baton_models_use(r, "m", 0, &use, NULL), BATON_OK);
    assert_int_equal(baton_models_unload(r, "m", 0, NULL), BATON_AGAIN);
    struct caller waits = {.r = r, .name = "m", .wait_ms = -1, .what = USE};
    start(&waits);
    while (info_of(r, "m").waiting < 1)
        usleep(100);
    assert_int_equal(baton_models_remove(r, "m", 0, NULL), BATON_AGAIN);
    join(&waits);
    assert_int_equal(waits.status, BATON_NOT_FOUND);
    assert_int_equal(alive(), 1);
    baton_models_put(&use);
    assert_int_equal(alive(), 0);
    baton_models_close(&r);
}

static bool use_inside(void *arg, float done) {
    struct slow *s = arg;
    baton_model_use use;
    (void)done;
    s->inner = baton_models_use(s->r, "m", -1, &use, NULL);
    return true;
}

static void a_progress_function_that_uses_its_model_is_told_so(void **state) {
    (void)state;
    struct slow s = {.r = registry()};
    baton_llama_params params = BATON_LLAMA_PARAMS;
    params.progress = use_inside;
    params.progress_arg = &s;
    assert_int_equal(baton_models_add(s.r, "m", "fake:", &params, true, NULL), BATON_OK);
    assert_int_equal(s.inner, BATON_REENTRANT);
    baton_models_close(&s.r);
}

static void a_close_waits_for_other_threads_and_not_for_its_own(void **state) {
    (void)state;
    baton_models *r = registry();
    struct slow s;
    baton_model_use mine;
    add(r, "m", "fake:len=60", true);
    add_slow(r, "slow", "fake:len=60", &s);
    assert_int_equal(baton_models_use(r, "m", 0, &mine, NULL), BATON_OK);
    struct caller loads = {.r = r, .name = "slow", .what = USE, .wait_ms = -1};
    struct caller waits = {.r = r, .name = "slow", .what = USE, .wait_ms = -1};
    start(&loads);
    while (!s.at_it)
        usleep(100);
    start(&waits);
    while (info_of(r, "slow").waiting < 1)
        usleep(100);
    s.go = true;
    baton_models_close(&r);
    join(&loads);
    join(&waits);
    assert_int_equal(loads.status, BATON_OK);
    assert_true(waits.status == BATON_OK || waits.status == BATON_CLOSED); /* as the load was over first, or not */
    assert_int_equal(alive(), 1);
    baton_models_put(&mine);
    assert_int_equal(alive(), 0);
}

/* Users, and one that unloads, swaps and removes under them at random: every call has a definite outcome, every answer
 * is one of the two models', and all memory comes back. */
static void *churn(void *arg) {
    struct caller *c = arg;
    for (int i = 0; i < 60; i++) {
        ask(c);
        if (c->status != BATON_NOT_FOUND && c->status != BATON_OK)
            return "an outcome that cannot be";
        if (c->status == BATON_OK && strlen(c->text) < 5)
            return "an answer that is cut";
    }
    return NULL;
}

static void probe_P26_models_come_and_go_under_their_users(void **state) {
    (void)state;
    uint64_t seed = bt_test_seed();
    baton_models *r = registry();
    struct caller users[3];
    void *said;
    add(r, "m", "fake:len=20", false);
    for (int i = 0; i < 3; i++) {
        users[i] = (struct caller){.r = r, .name = "m", .max_tokens = 12};
        assert_int_equal(pthread_create(&users[i].thread, NULL, churn, &users[i]), 0);
    }
    for (uint64_t i = 0; i < 60; i++) {
        int what = (int)(bt_draw(seed, i) * 5);
        baton_llama_params params = BATON_LLAMA_PARAMS;
        baton_policy policy = BATON_POLICY;
        policy.when_full = BATON_WAIT;
        params.policy = &policy;
        params.ctx = 65536;
        if (what == 4) {
            (void)!baton_models_remove(r, "m", i % 3 ? -1 : 0, NULL);
            (void)!baton_models_add(r, "m", "fake:len=20", &params, i % 2, NULL);
        } else if (what >= 2) {
            (void)!baton_models_swap(r, "m", "fake:len=25", &params, i % 3 ? -1 : 0, NULL);
        } else {
            (void)!baton_models_unload(r, "m", i % 3 ? -1 : 0, NULL);
        }
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(users[i].thread, &said);
        if (said)
            fail_msg("%s: %s", (const char *)said, users[i].err.text);
    }
    baton_models_close(&r);
}

static char *answer_of(baton_models *r, const char *name) {
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_result result;
    baton_error err;
    ask.prompt = "hello";
    ask.max_tokens = 16;
    if (baton_models_generate(r, name, &ask, &result, &err))
        fail_msg("%s", err.text);
    return result.text;
}

/* What a program gave for the parameters is gone when the first use loads the model, and when a later one loads it
 * again. */
static void adapters_templates_and_projectors_are_the_registrys_own(void **state) {
    baton_models *r = registry();
    char lora_path[] = "fake:accent", template_name[] = "chatml", path[] = "fake:len=60", mmproj[] = "fake";
    baton_llama_lora *loras = malloc(2 * sizeof *loras);
    baton_policy *policy = malloc(sizeof *policy);
    baton_llama_params params = BATON_LLAMA_PARAMS;
    (void)state;
    loras[0] = loras[1] = (baton_llama_lora){lora_path, 1};
    *policy = (baton_policy)BATON_POLICY;
    policy->contexts = 2;
    params.loras = loras;
    params.n_loras = 2;
    params.policy = policy;
    params.chat_template = template_name;
    params.mmproj = mmproj;
    assert_int_equal(baton_models_add(r, "at once", path, &params, true, NULL), BATON_OK);
    assert_int_equal(baton_models_add(r, "plain", path, NULL, true, NULL), BATON_OK);
    assert_int_equal(baton_models_add(r, "later", path, &params, false, NULL), BATON_OK);
    memset(lora_path, 'x', sizeof lora_path - 1);
    memset(template_name, 'x', sizeof template_name - 1);
    memset(path, 'x', sizeof path - 1);
    memset(mmproj, 'x', sizeof mmproj - 1);
    memset(loras, 0xff, 2 * sizeof *loras);
    memset(policy, 0xff, sizeof *policy);
    free(loras);
    free(policy);
    char *at_once = answer_of(r, "at once"), *plain = answer_of(r, "plain");
    assert_string_not_equal(at_once, plain);
    for (int i = 0; i < 2; i++) {
        char *later = answer_of(r, "later");
        assert_string_equal(later, at_once);
        baton_free(later);
        assert_int_equal(baton_models_unload(r, "later", -1, NULL), BATON_OK);
    }
    baton_free(at_once);
    baton_free(plain);
    baton_models_close(&r);
}

#define MODELS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        MODELS_TEST(probe_P07_an_unknown_name_is_an_error_that_lists_the_known_ones),
        MODELS_TEST(probe_P07_different_models_overlap_and_one_model_never_does),
        MODELS_TEST(a_role_leads_to_the_first_that_can_be_had),
        MODELS_TEST(a_role_of_many_ways_is_walked_once),
        MODELS_TEST(probe_P26_while_a_model_loads_others_wait_or_are_refused_as_they_ask),
        MODELS_TEST(probe_P26_an_unload_waits_for_the_uses_and_the_uses_for_the_unload),
        MODELS_TEST(probe_P26_a_swap_commits_last_and_what_runs_finishes_on_the_old_one),
        MODELS_TEST(probe_P26_a_removed_model_is_not_found_by_those_that_waited),
        MODELS_TEST(a_progress_function_that_uses_its_model_is_told_so),
        MODELS_TEST(a_close_waits_for_other_threads_and_not_for_its_own),
        MODELS_TEST(probe_P26_models_come_and_go_under_their_users),
        MODELS_TEST(adapters_templates_and_projectors_are_the_registrys_own),
    };
    return bt_test_run(tests, argc, argv);
}
