/* The process-global runtime over the fake native. */
#include "api_bodies.h"

#include <stdatomic.h>

#include "baton/runtime.h"
#include "native/fake.h"

static int setup(void **state) {
    (void)state;
    bt_fake_stats_reset();
    return baton_runtime_init(NULL, NULL);
}
static int teardown(void **state) {
    struct bt_fake_stats s;
    (void)state;
    (void)baton_runtime_end(NULL);
    bt_fake_stats(&s);
    return s.overlaps || s.contexts || s.models || s.samplers;
}

static baton_error err;

static void load(const char *path) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    params.ctx = 65536;
    if (baton_runtime_load_model(path, &params, &err))
        fail_msg("%s", err.text);
}

static baton_status generate(const char *prompt, int max_tokens, uint64_t *id) {
    return baton_runtime_generate(prompt, strlen(prompt), max_tokens, id, &err);
}

static void text_of(uint64_t id, char *text, size_t size) {
    baton_result r;
    assert_int_equal(baton_runtime_result(id, &r, &err), BATON_OK);
    assert_int_equal(strlen(r.text), r.len);
    snprintf(text, size, "%s", r.text);
    baton_result_free(&r);
}

static void everything_needs_an_init_and_what_needs_a_model_says_so(void **state) {
    (void)state;
    uint64_t id = 0, *ids;
    char *text;
    size_t n;
    baton_result r;
    for (int loaded = 0; loaded < 2; loaded++) { /* before a model, and after its end */
        if (loaded) {
            load("fake:len=60");
            assert_int_equal(generate("endless", 5, &id), BATON_OK);
            assert_int_equal(baton_runtime_free_model(&err), BATON_OK);
            id = 0;
        }
        assert_int_equal(generate("endless", 5, &id), BATON_NOT_FOUND);
        assert_non_null(strstr(err.text, "no model is loaded"));
        id = 0;
        assert_int_equal(baton_runtime_start("endless", 7, 5, &id, &err), BATON_NOT_FOUND);
        assert_non_null(strstr(err.text, "no model is loaded"));
        assert_int_equal(baton_runtime_next_token(1, &text, &n, &err), BATON_NOT_FOUND);
        assert_non_null(strstr(err.text, "no model is loaded"));
        assert_int_equal(baton_runtime_reset_context(&err), BATON_NOT_FOUND);
        assert_int_equal(baton_runtime_free_model(&err), BATON_NOT_FOUND);
        assert_non_null(strstr(err.text, "no model is loaded"));
    }
    assert_int_equal(baton_runtime_init(NULL, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_end(&err), BATON_OK);
    assert_int_equal(baton_runtime_end(&err), BATON_MISUSE);
    assert_int_equal(baton_runtime_load_model("fake:", NULL, &err), BATON_MISUSE);
    assert_int_equal(generate("x", 5, &id), BATON_MISUSE);
    assert_int_equal(baton_runtime_start("x", 1, 5, &id, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_next_token(1, &text, &n, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_result(1, &r, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_cancel(1, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_transcript(&ids, &n, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_diagnostics(&text, &n, &err), BATON_MISUSE);
    assert_int_equal(baton_runtime_clear_transcript(&err), BATON_MISUSE);
    assert_int_equal(baton_runtime_reset_context(&err), BATON_MISUSE);
    assert_int_equal(baton_runtime_free_model(&err), BATON_MISUSE);
    assert_non_null(strstr(err.text, "baton_runtime_init"));
}

static bool stop_at_half(void *arg, float done) {
    (void)arg;
    return done < 0.5f;
}

static void probe_P26_a_load_that_fails_leaves_what_was_there(void **state) {
    (void)state;
    char before[256], after[256];
    uint64_t id = 0;
    baton_llama_params stopped = BATON_LLAMA_PARAMS;
    baton_policy policy = BATON_POLICY;
    assert_int_equal(baton_runtime_load_model("fake:load_fail=1", NULL, &err), BATON_BAD_MODEL);
    assert_int_equal(generate("endless", 9, &id), BATON_NOT_FOUND);
    load("fake:len=60");
    id = 0;
    assert_int_equal(generate("endless", 9, &id), BATON_OK);
    text_of(id, before, sizeof before);
    assert_int_equal(baton_runtime_load_model("fake:load_fail=1", NULL, &err), BATON_BAD_MODEL);
    assert_int_equal(baton_runtime_load_model("fake:context_fail=1", NULL, &err) == BATON_OK, false);
    stopped.progress = stop_at_half;
    assert_int_equal(baton_runtime_load_model("fake:len=60", &stopped, &err), BATON_CANCELLED);
    stopped.policy = &policy;
    assert_int_equal(baton_runtime_load_model("fake:len=60", &stopped, &err), BATON_INVALID);
    id = 0;
    assert_int_equal(generate("endless", 9, &id), BATON_OK);
    text_of(id, after, sizeof after);
    assert_string_equal(before, after);
    load("fake:len=30"); /* and one that does not */
    id = 0;
    assert_int_equal(generate("endless", 40, &id), BATON_OK);
}

struct inner {
    int calls, misuses;
    baton_status end, free, load;
};

static bool change_inside(void *arg, float done) {
    struct inner *in = arg;
    if (done < 1)
        return true;
    in->calls++;
    in->free = baton_runtime_free_model(&err);
    in->load = baton_runtime_load_model("fake:", NULL, &err);
    in->end = baton_runtime_end(&err);
    return true;
}

static void count(void *arg, baton_status status, const char *text) {
    struct inner *in = arg;
    in->misuses += status == BATON_REENTRANT && text[0] != '\0';
}

/* From the progress function of a load nothing can be waited for that waits for the load. */
static void probe_P04_a_progress_function_cannot_wait_for_its_load(void **state) {
    (void)state;
    baton_runtime_params impatient = BATON_RUNTIME_PARAMS;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    struct inner in = {.calls = 0};
    uint64_t id = 0;
    alarm(20); /* who waits for himself waits without end */
    assert_int_equal(baton_runtime_end(&err), BATON_OK);
    impatient.queue_ms = 0;
    assert_int_equal(baton_runtime_init(&impatient, &err), BATON_OK);
    baton_misuse_set(count, &in);
    params.progress = change_inside;
    params.progress_arg = &in;
    for (int loads = 1; loads <= 2; loads++) {
        assert_int_equal(baton_runtime_load_model("fake:len=60", &params, &err), BATON_OK);
        assert_int_equal(in.calls, loads);
        assert_int_equal(in.free, BATON_REENTRANT);
        assert_int_equal(in.load, BATON_REENTRANT);
        assert_int_equal(in.end, BATON_REENTRANT);
    }
    assert_int_equal(generate("endless", 9, &id), BATON_OK);
    assert_int_equal(in.misuses, 6);
    baton_misuse_set(NULL, NULL);
    alarm(0);
}

static void sampling_that_makes_no_sense_is_refused_by_its_field(void **state) {
    (void)state;
    static const struct {
        const char *field;
        size_t offset;
        float value;
    } bad[] = {
        {"temperature", offsetof(baton_sampling, temperature), -1},
        {"temperature", offsetof(baton_sampling, temperature), __builtin_nanf("")},
        {"temperature", offsetof(baton_sampling, temperature), __builtin_inff()},
        {"top_p", offsetof(baton_sampling, top_p), 0},
        {"top_p", offsetof(baton_sampling, top_p), 1.5f},
        {"min_p", offsetof(baton_sampling, min_p), -0.1f},
        {"presence_penalty", offsetof(baton_sampling, presence_penalty), 3},
        {"frequency_penalty", offsetof(baton_sampling, frequency_penalty), -3},
        {"repeat_penalty", offsetof(baton_sampling, repeat_penalty), 0},
    };
    uint64_t id = 0;
    char greedy[256], drawn[256], again[256];
    load("fake:len=60");
    assert_int_equal(generate("endless", 30, &id), BATON_OK);
    text_of(id, greedy, sizeof greedy);
    baton_sampling s = BATON_SAMPLING;
    s.temperature = 1.5f;
    s.seed = 3;
    assert_int_equal(baton_runtime_configure_sampling(&s, &err), BATON_OK);
    id = 0;
    assert_int_equal(generate("endless", 30, &id), BATON_OK);
    text_of(id, drawn, sizeof drawn);
    assert_string_not_equal(greedy, drawn);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        baton_sampling wrong = BATON_SAMPLING;
        memcpy((char *)&wrong + bad[i].offset, &bad[i].value, sizeof bad[i].value);
        assert_int_equal(baton_runtime_configure_sampling(&wrong, &err), BATON_INVALID);
        assert_non_null(strstr(err.text, bad[i].field));
    }
    s.top_k = -1;
    assert_int_equal(baton_runtime_configure_sampling(&s, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "top_k"));
    s.top_k = 0;
    s.penalty_last_n = -2;
    assert_int_equal(baton_runtime_configure_sampling(&s, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "penalty_last_n"));
    s.penalty_last_n = 64;
    s.n_bias = 1;
    assert_int_equal(baton_runtime_configure_sampling(&s, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "bias"));
    assert_int_equal(baton_runtime_configure_sampling(NULL, &err), BATON_MISUSE);
    id = 0;
    assert_int_equal(generate("endless", 30, &id), BATON_OK); /* as it was configured */
    text_of(id, again, sizeof again);
    assert_string_equal(drawn, again);
}

static void a_prompt_that_is_none_is_refused(void **state) {
    (void)state;
    uint64_t id = UINT64_C(1) << 63;
    baton_result r;
    load("fake:len=60");
    assert_int_equal(baton_runtime_generate("", 0, 5, NULL, &err), BATON_INVALID);
    assert_int_equal(baton_runtime_generate("a\0b", 3, 5, NULL, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "byte 1"));
    assert_int_equal(baton_runtime_generate("\xff\xfe", 2, 5, NULL, &err), BATON_INVALID);
    assert_non_null(strstr(err.text, "UTF-8"));
    assert_int_equal(generate("x", 5, &id), BATON_INVALID);
    id = 9;
    assert_int_equal(generate("endless", 5, &id), BATON_OK);
    assert_int_equal(id, 9);
    assert_int_equal(generate("endless", 5, &id), BATON_INVALID);
    assert_int_equal(baton_runtime_result(10, &r, &err), BATON_NOT_FOUND);
    assert_null(r.text);
}

static void a_failed_answer_keeps_the_model_and_its_own_code(void **state) {
    (void)state;
    uint64_t id = 5;
    baton_result r;
    load("fake:len=60,fail_at=40");
    assert_int_equal(generate("endless", 50, &id), BATON_FAILED);
    assert_int_equal(baton_runtime_result(5, &r, &err), BATON_OK);
    assert_int_equal(r.outcome.status, BATON_FAILED);
    assert_int_equal(r.outcome.finish, BATON_FINISH_NONE);
    baton_result_free(&r);
    id = 6;
    assert_int_equal(generate("endless", 20, &id), BATON_OK);
    assert_int_equal(baton_runtime_result(6, &r, &err), BATON_OK);
    assert_int_equal(r.outcome.answer_tokens, 20);
    baton_result_free(&r);
}

struct asker {
    pthread_t thread;
    int number;
    char text[512];
    uint64_t id;
    baton_status status;
};

static void *ask(void *arg) {
    struct asker *a = arg;
    char prompt[32];
    snprintf(prompt, sizeof prompt, "prompt number %d", a->number);
    for (int i = 0; i < 10 && !a->status; i++) {
        char *piece;
        size_t len;
        a->id = 0;
        if (i % 2) {
            a->status = baton_runtime_generate(prompt, strlen(prompt), 20, &a->id, NULL);
        } else {
            a->status = baton_runtime_start(prompt, strlen(prompt), 20, &a->id, NULL);
            while (!a->status && !(a->status = baton_runtime_next_token(a->id, &piece, &len, NULL)))
                baton_free(piece);
            a->status = a->status == BATON_END ? BATON_OK : a->status;
        }
        baton_result r;
        if (!a->status && (a->status = baton_runtime_result(a->id, &r, NULL)) == BATON_OK) {
            if (i > 0 && strcmp(a->text, r.text) != 0)
                a->status = BATON_MISUSE;
            snprintf(a->text, sizeof a->text, "%s", r.text);
            baton_result_free(&r);
        }
    }
    return NULL;
}

static void probe_P08_a_result_belongs_to_its_request(void **state) {
    (void)state;
    enum { N = 4 };
    struct asker alone, a[N];
    load("fake:len=60");
    for (int i = 0; i < N; i++) {
        a[i] = (struct asker){.number = i};
        assert_int_equal(pthread_create(&a[i].thread, NULL, ask, &a[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].status, BATON_OK);
    }
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.decoding_max, 1);
    for (int i = 0; i < N; i++) { /* all but one of them are not the last */
        char text[512];
        text_of(a[i].id, text, sizeof text);
        assert_string_equal(text, a[i].text);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(a[i].text, a[k].text);
    }
    for (int i = 0; i < N; i++) {
        alone = (struct asker){.number = i};
        ask(&alone);
        assert_int_equal(alone.status, BATON_OK);
        assert_string_equal(alone.text, a[i].text);
    }
}

static void *generate_elsewhere(void *arg) {
    struct asker *a = arg;
    a->status = baton_runtime_generate("endless", 7, 5, &a->id, NULL);
    return NULL;
}

static void three_resets_are_three(void **state) {
    (void)state;
    uint64_t id = 1, *ids;
    size_t n;
    char *piece;
    baton_result r;
    struct asker other = {.id = 3};
    load("fake:len=1000");
    assert_int_equal(generate("endless", 5, &id), BATON_OK);
    id = 2;
    assert_int_equal(baton_runtime_start("endless", 7, 500, &id, &err), BATON_OK);
    assert_int_equal(baton_runtime_next_token(2, &piece, &n, &err), BATON_OK);
    assert_int_equal(strlen(piece), n);
    baton_free(piece);
    id = 0; /* one context: this thread cannot have another answer before the first is over */
    assert_int_equal(generate("endless", 5, &id), BATON_WOULD_DEADLOCK);
    assert_int_equal(baton_runtime_result(2, &r, &err), BATON_AGAIN);
    assert_int_equal(pthread_create(&other.thread, NULL, generate_elsewhere, &other), 0);

    assert_int_equal(baton_runtime_clear_transcript(&err), BATON_OK); /* results go, the answer goes on */
    assert_int_equal(baton_runtime_result(1, &r, &err), BATON_NOT_FOUND);
    assert_int_equal(baton_runtime_next_token(2, &piece, &n, &err), BATON_OK);
    baton_free(piece);

    for (int i = 0; i < 2; i++) /* the answer ends, its result and the model stay */
        assert_int_equal(baton_runtime_reset_context(&err), BATON_OK);
    pthread_join(other.thread, NULL);
    assert_int_equal(other.status, BATON_OK);
    assert_int_equal(baton_runtime_next_token(2, &piece, &n, &err), BATON_CANCELLED);
    assert_null(piece);
    assert_int_equal(baton_runtime_result(2, &r, &err), BATON_OK);
    assert_int_equal(r.outcome.status, BATON_CANCELLED);
    assert_true(r.len > 0);
    baton_result_free(&r);
    id = 4;
    assert_int_equal(baton_runtime_start("endless", 7, 500, &id, &err), BATON_OK);

    assert_int_equal(baton_runtime_free_model(&err), BATON_OK); /* the model ends, results stay */
    assert_int_equal(baton_runtime_next_token(4, &piece, &n, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, "no model is loaded"));
    assert_int_equal(baton_runtime_transcript(&ids, &n, &err), BATON_OK);
    assert_int_equal(n, 3);
    assert_int_equal(ids[n - 1], 4);
    baton_free(ids);
}

static void probe_P20_a_cancel_ends_its_request_alone(void **state) {
    (void)state;
    uint64_t id = 2;
    char *piece;
    size_t n;
    struct asker queued = {.id = 3};
    load("fake:len=1000");
    assert_int_equal(baton_runtime_start("endless", 7, 500, &id, &err), BATON_OK);
    assert_int_equal(pthread_create(&queued.thread, NULL, generate_elsewhere, &queued), 0);
    while (baton_runtime_cancel(3, &err) != BATON_OK)
        ;
    assert_int_equal(baton_runtime_next_token(2, &piece, &n, &err), BATON_OK);
    baton_free(piece);
    assert_int_equal(baton_runtime_cancel(2, &err), BATON_OK);
    assert_int_equal(baton_runtime_cancel(2, &err), BATON_NOT_FOUND);
    pthread_join(queued.thread, NULL);
    assert_int_equal(queued.status, BATON_CANCELLED);
    assert_int_equal(baton_runtime_next_token(2, &piece, &n, &err), BATON_CANCELLED);
    id = 5;
    assert_int_equal(generate("endless", 5, &id), BATON_OK);
}

static void the_transcript_is_bounded(void **state) {
    (void)state;
    baton_runtime_params params = BATON_RUNTIME_PARAMS;
    uint64_t *ids;
    size_t n;
    (void)baton_runtime_end(NULL);
    params.keep = 0;
    assert_int_equal(baton_runtime_init(&params, &err), BATON_INVALID);
    params.keep = 3;
    params.when_full = BATON_REFUSE;
    assert_int_equal(baton_runtime_init(&params, &err), BATON_OK);
    load("fake:len=60");
    for (uint64_t id = 11; id < 20; id++)
        assert_int_equal(generate("endless", 3, &id), BATON_OK);
    assert_int_equal(baton_runtime_transcript(&ids, &n, &err), BATON_OK);
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 17);
    baton_free(ids);
    uint64_t id = 20;
    struct asker other = {.id = 21};
    assert_int_equal(baton_runtime_start("endless", 7, 50, &id, &err), BATON_OK);
    assert_int_equal(pthread_create(&other.thread, NULL, generate_elsewhere, &other), 0);
    pthread_join(other.thread, NULL);
    assert_int_equal(other.status, BATON_BUSY); /* as initialised */
}

/* Loads and frees under users: a request has the answer of a whole model, or there was none. */
static void *use_it(void *arg) {
    struct asker *a = arg;
    for (int i = 0; i < 60; i++) {
        baton_result r;
        a->id = 0;
        a->status = baton_runtime_generate("endless", 7, 12, &a->id, NULL);
        if (a->status == BATON_OK && baton_runtime_result(a->id, &r, NULL) == BATON_OK) {
            a->number += r.outcome.answer_tokens != 12;
            baton_result_free(&r);
        } else if (a->status != BATON_OK && a->status != BATON_NOT_FOUND) {
            a->number += 1000 + (int)a->status;
        }
    }
    return NULL;
}

static void probe_P26_the_model_comes_and_goes_under_its_users(void **state) {
    (void)state;
    struct asker a[3];
    memset(a, 0, sizeof a);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&a[i].thread, NULL, use_it, &a[i]), 0);
    for (int i = 0; i < 40; i++) {
        uint64_t id = 0;
        load(i % 2 ? "fake:len=60" : "fake:len=50");
        if (i % 4 == 3)
            (void)!baton_runtime_start("endless", 7, 40, &id, NULL);
        if (i % 3 == 2)
            assert_int_equal(baton_runtime_free_model(&err), BATON_OK);
        else if (i % 4 == 3)
            assert_int_equal(baton_runtime_reset_context(&err), BATON_OK);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].number, 0);
    }
}

#define RUNTIME_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        RUNTIME_TEST(everything_needs_an_init_and_what_needs_a_model_says_so),
        RUNTIME_TEST(probe_P26_a_load_that_fails_leaves_what_was_there),
        RUNTIME_TEST(probe_P04_a_progress_function_cannot_wait_for_its_load),
        RUNTIME_TEST(sampling_that_makes_no_sense_is_refused_by_its_field),
        RUNTIME_TEST(a_prompt_that_is_none_is_refused),
        RUNTIME_TEST(a_failed_answer_keeps_the_model_and_its_own_code),
        RUNTIME_TEST(probe_P08_a_result_belongs_to_its_request),
        RUNTIME_TEST(three_resets_are_three),
        RUNTIME_TEST(probe_P20_a_cancel_ends_its_request_alone),
        RUNTIME_TEST(the_transcript_is_bounded),
        RUNTIME_TEST(probe_P26_the_model_comes_and_goes_under_its_users),
    };
    return bt_test_run(tests, argc, argv);
}
