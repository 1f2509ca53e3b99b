/* All of runtime.h at once, over the fake native: threads that ask whole and step by step, cancel, read results, reset,
 * load, free, end and begin anew, in an order drawn from a seed. A result is its request's own, whole or a beginning of
 * it; in the end nothing is left. */
#include "fake_left.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "baton/runtime.h"

enum { PROMPTS = 3, THREADS = 5, IDS = 10, ROUNDS = 150 };

static const char *const prompts[PROMPTS] = {"Once upon a time", "A lease is", "Who waits at the gate?"};
static char alone[PROMPTS][2048];
static const char model[] = "fake:len=30,step_us=20";

struct actor {
    pthread_t thread;
    uint64_t draw;
    bool ends; /* the whole runtime now and then */
};
static bool somebody_ends; /* then fresh ids begin anew, and a result may be a later request's */

static unsigned draw(struct actor *a, unsigned n) {
    a->draw = a->draw * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(a->draw >> 33) % n;
}

static void is_one_of(const char *what, baton_status status, const baton_error *err) {
    switch (status) {
    case BATON_OK:
    case BATON_END:
    case BATON_AGAIN:
    case BATON_BUSY:
    case BATON_QUEUE_FULL:
    case BATON_QUEUE_TIMEOUT:
    case BATON_CANCELLED:
    case BATON_CLOSED:
    case BATON_NOT_FOUND:
    case BATON_WOULD_DEADLOCK:
    case BATON_INVALID: /* an id that is in use */
    case BATON_MISUSE:  /* there is no runtime for a moment */
        break;
    default:
        fail_msg("%s: %s: %s", what, baton_status_name(status), err->text);
    }
}

static void is_ones_own(unsigned prompt, const char *text, bool whole) {
    if (whole ? strcmp(text, alone[prompt]) != 0 : strncmp(text, alone[prompt], strlen(text)) != 0)
        fail_msg("'%s' for '%s'", text, prompts[prompt]);
}

static void generate(struct actor *a) {
    unsigned prompt = draw(a, PROMPTS);
    uint64_t id = 0; /* a fresh one: nobody else asks by it */
    baton_error err;
    baton_result r;
    baton_status status = baton_runtime_generate(prompts[prompt], strlen(prompts[prompt]), -1, &id, &err);
    is_one_of("generate", status, &err);
    if (status || baton_runtime_result(id, &r, &err))
        return;
    if (!somebody_ends)
        is_ones_own(prompt, r.text, true);
    assert_int_equal(r.len, strlen(r.text));
    baton_result_free(&r);
}

static void step(struct actor *a) {
    unsigned prompt = draw(a, PROMPTS), most = draw(a, 12);
    uint64_t id = draw(a, 2) ? 1000 + draw(a, IDS) : 0;
    char text[2048] = "", *piece;
    size_t n;
    baton_error err;
    baton_status status = baton_runtime_start(prompts[prompt], strlen(prompts[prompt]), -1, &id, &err);
    is_one_of("start", status, &err);
    if (status)
        return;
    for (unsigned i = 0; !status && (most == 11 || i < most); i++) {
        status = baton_runtime_next_token(id, &piece, &n, &err);
        is_one_of("next", status, &err);
        assert_true(status == BATON_OK || piece == NULL);
        if (!status)
            strncat(text, piece, n);
        baton_free(piece);
    }
    if (!somebody_ends)
        is_ones_own(prompt, text, status == BATON_END);
    is_one_of("cancel", baton_runtime_cancel(id, &err), &err);
}

static void change(struct actor *a) {
    baton_error err;
    switch (draw(a, a->ends ? 5 : 4)) {
    case 0:
        is_one_of("free", baton_runtime_free_model(&err), &err);
        break;
    case 1: {
        baton_status status = baton_runtime_load_model("fake:load_fail=1", NULL, &err);
        if (status != BATON_BAD_MODEL)
            is_one_of("load what cannot be", status, &err);
        break;
    }
    case 4:
        is_one_of("end", baton_runtime_end(&err), &err);
        assert_int_equal(baton_runtime_init(NULL, &err), BATON_OK);
        break;
    default:
        is_one_of("load", baton_runtime_load_model(model, NULL, &err), &err);
    }
}

static void look(struct actor *a) {
    char *json;
    uint64_t *ids;
    size_t n;
    baton_error err;
    baton_status status = baton_runtime_diagnostics(&json, &n, &err);
    is_one_of("diagnostics", status, &err);
    if (!status)
        assert_true(json[0] == '{' && json[n - 1] == '}');
    baton_free(json);
    status = baton_runtime_transcript(&ids, &n, &err);
    is_one_of("transcript", status, &err);
    baton_free(ids);
    if (draw(a, 4) == 0)
        is_one_of("clear", baton_runtime_clear_transcript(&err), &err);
}

static void *act(void *arg) {
    struct actor *a = arg;
    baton_error err;
    for (int i = 0; i < ROUNDS; i++)
        switch (draw(a, 10)) {
        case 0:
        case 1:
        case 2:
            generate(a);
            break;
        case 3:
        case 4:
        case 5:
            step(a);
            break;
        case 6:
            look(a);
            break;
        case 7:
            is_one_of("cancel", baton_runtime_cancel(draw(a, 2) ? 1000 + draw(a, IDS) : draw(a, 60), &err), &err);
            break;
        case 8:
            is_one_of("reset", baton_runtime_reset_context(&err), &err);
            break;
        default:
            change(a);
        }
    return NULL;
}

static void everything_at_once(void **state) {
    (void)state;
    static struct actor actors[THREADS];
    uint64_t seed = bt_test_seed();
    baton_error err;
    for (int round = 0; round < 4; round++) {
        baton_runtime_params params = BATON_RUNTIME_PARAMS;
        params.when_full = round % 2 ? BATON_WAIT : BATON_REFUSE;
        somebody_ends = round >= 2;
        params.keep = 8;
        assert_int_equal(baton_runtime_init(&params, NULL), BATON_OK);
        assert_int_equal(baton_runtime_load_model(model, NULL, NULL), BATON_OK);
        for (int i = 0; i < PROMPTS; i++) {
            uint64_t id = 0;
            baton_result r;
            assert_int_equal(baton_runtime_generate(prompts[i], strlen(prompts[i]), -1, &id, NULL), BATON_OK);
            assert_int_equal(baton_runtime_result(id, &r, NULL), BATON_OK);
            snprintf(alone[i], sizeof alone[i], "%s", r.text);
            baton_result_free(&r);
        }
        for (int i = 0; i < THREADS; i++) {
            actors[i] = (struct actor){.draw = seed * 16 + (uint64_t)i, .ends = somebody_ends && i == 0};
            assert_int_equal(pthread_create(&actors[i].thread, NULL, act, &actors[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(actors[i].thread, NULL);
        is_one_of("load", baton_runtime_load_model(model, NULL, &err), &err);
        uint64_t id = 0;
        assert_int_equal(baton_runtime_generate(prompts[0], strlen(prompts[0]), -1, &id, &err), BATON_OK);
        assert_int_equal(baton_runtime_end(NULL), BATON_OK);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(everything_at_once, setup, teardown)};
    return bt_test_run(tests, argc, argv);
}
