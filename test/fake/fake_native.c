/* The fake native: what every test above it relies on. Its tokens follow from the history alone, it finds overlapping
 * calls itself, and each knob does what it says. */
#include "native_util.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native/fake.h"

static size_t answer(struct bt_model *m, const char *question, const struct bt_sampling *p, bt_token out[128]) {
    struct bt_context *c = open_context(m, 2, 256, true);
    struct tokens prompt = ask(m, question);
    size_t n = generate(c, m, 1, prompt, p, out, 128);
    free(prompt.t);
    c->ops->free(c);
    return n;
}

static void tokens_follow_from_the_history_alone(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:");
    struct bt_sampling greedy = BT_SAMPLING_DEFAULT;
    bt_token a[128], b[128], other[128];
    size_t n = answer(m, "one", &greedy, a);
    assert_in_range(n, 8, 48);
    assert_int_equal(answer(m, "one", &greedy, b), n);
    assert_memory_equal(a, b, n * sizeof *a);
    answer(m, "two", &greedy, other);
    assert_memory_not_equal(a, other, 8 * sizeof *a);

    /* a cache with one wrong token gives other tokens from there on, and so does one with two tokens swapped */
    struct bt_context *c = open_context(m, 3, 256, true);
    struct tokens p = ask(m, "the question");
    float right[BT_FAKE_VOCAB_MIN];
    memcpy(right, c->ops->logits(c, feed(c, 0, 0, p.t, p.n, 512)), sizeof right);
    assert_memory_equal(right, c->ops->logits(c, feed(c, 1, 0, p.t, p.n, 3)), sizeof right);
    bt_token swap = p.t[2];
    p.t[2] = p.t[3];
    p.t[3] = swap;
    assert_memory_not_equal(right, c->ops->logits(c, feed(c, 2, 0, p.t, p.n, 512)), sizeof right);
    free(p.t);
    c->ops->free(c);
    m->ops->free(m);
}

static void probe_P16_its_answers_are_whole_characters_made_of_parts(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:len=100");
    struct bt_buf text = BT_BUF_INIT;
    size_t split = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct bt_sampling p = BT_SAMPLING_DEFAULT;
        bt_token out[128];
        p.temperature = seed ? 1.5f : 0;
        p.seed = seed;
        size_t n = answer(m, "euros", &p, out);
        assert_in_range(n, 100, 102);
        for (size_t i = 0; i < n; i++) {
            m->ops->piece(m, out[i], &text);
            split += bt_utf8_unfinished((char *)text.data, text.len) > 0;
        }
        assert_true(bt_utf8_valid((char *)text.data, text.len));
    }
    assert_true(split > 20);
    bt_buf_free(&text);
    m->ops->free(m);
}

static void a_draw_depends_on_seed_and_index(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:len=40");
    struct bt_sampling p = BT_SAMPLING_DEFAULT;
    bt_token a[128], b[128], greedy[128];
    answer(m, "x", &p, greedy);
    p.temperature = 2;
    p.seed = 7;
    size_t n = answer(m, "x", &p, a);
    assert_int_equal(answer(m, "x", &p, b), n);
    assert_memory_equal(a, b, n * sizeof *a);
    assert_memory_not_equal(a, greedy, 40 * sizeof *a);
    p.seed = 8;
    answer(m, "x", &p, b);
    assert_memory_not_equal(a, b, 40 * sizeof *a);
    m->ops->free(m);
}

static void capacity_is_real_and_a_full_sequence_hurts_nobody(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:len=500");
    struct bt_context *c = open_context(m, 2, 64, true);
    bt_token many[64];
    for (int i = 0; i < 64; i++)
        many[i] = 'a';
    assert_int_equal(c->ops->capacity(c), 64);
    feed(c, 0, 0, many, 64, 512);
    feed(c, 1, 0, many, 10, 512);
    struct bt_row rows[] = {{'b', 64, 0, true}, {'b', 10, 1, true}};
    assert_int_equal(c->ops->decode(c, rows, 2), BT_DECODE_FULL);
    assert_int_equal(c->ops->pos_max(c, 0), 63);
    assert_int_equal(c->ops->pos_max(c, 1), 9);
    assert_int_equal(c->ops->decode(c, rows + 1, 1), BT_DECODE_OK);
    assert_true(c->ops->seq_rm(c, 0, 32, -1));
    c->ops->seq_cp(c, 0, 1);
    assert_int_equal(c->ops->pos_max(c, 1), 31);
    rows[0].pos = 33;
    assert_int_equal(c->ops->decode(c, rows, 1), BT_DECODE_INVALID);
    rows[0] = (struct bt_row){BT_FAKE_VOCAB_MIN, 32, 0, true};
    assert_int_equal(c->ops->decode(c, rows, 1), BT_DECODE_INVALID);
    c->ops->free(c);
    m->ops->free(m);
}

struct inside {
    sem_t entered, go;
    struct bt_context *context;
};

static void hold(void *arg, const struct bt_fake_event *event) {
    struct inside *i = arg;
    if (event->call == BT_FAKE_DECODE_BEGIN && event->number == 2) {
        sem_post(&i->entered);
        sem_wait(&i->go);
    }
}

static void *decode_one(void *arg) {
    struct inside *i = arg;
    struct bt_row row = {'x', 2, 0, true};
    i->context->ops->decode(i->context, &row, 1);
    return NULL;
}

/* Held inside a decode by the hook, so that the overlap is certain. The cell that both touch is only read here. */
static void two_calls_at_once_are_found_whatever_they_are(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:");
    struct inside inside = {.context = open_context(m, 2, 64, true)};
    struct bt_context *c = inside.context;
    struct bt_fake_stats before, after;
    pthread_t thread;
    sem_init(&inside.entered, 0, 0);
    sem_init(&inside.go, 0, 0);
    feed(c, 0, 0, (bt_token[]){'a', 'b'}, 2, 2);
    bt_fake_set_hook(hold, &inside);
    bt_fake_stats(&before);
    pthread_create(&thread, NULL, decode_one, &inside);
    sem_wait(&inside.entered);
    c->ops->pos_max(c, 1);
    c->ops->logits(c, 1);
    c->ops->seq_rm(c, 1, -1, -1);
    bt_fake_stats(&after);
    assert_int_equal(after.overlaps - before.overlaps, 3);
    assert_int_equal(after.decoding, 1);
    sem_post(&inside.go);
    pthread_join(thread, NULL);
    bt_fake_set_hook(NULL, NULL);
    c->ops->pos_max(c, 1);
    bt_fake_stats(&after);
    assert_int_equal(after.overlaps - before.overlaps, 3);
    assert_int_equal(c->ops->pos_max(c, 0), 2);
    c->ops->free(c);
    m->ops->free(m);
}

static void a_failed_and_an_aborted_decode_leave_half(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:fail_at=2,full_at=3");
    struct bt_context *c = open_context(m, 2, 64, true);
    struct bt_row rows[] = {{'a', 0, 0, false}, {'a', 0, 1, true}};
    assert_int_equal(c->ops->decode(c, rows, 1), BT_DECODE_OK);
    rows[0].pos = 1;
    assert_int_equal(c->ops->decode(c, rows, 2), BT_DECODE_FAILED);
    assert_int_equal(c->ops->pos_max(c, 0), 1);
    assert_int_equal(c->ops->pos_max(c, 1), -1);
    assert_int_equal(c->ops->decode(c, rows + 1, 1), BT_DECODE_FULL);
    assert_int_equal(c->ops->decode(c, rows + 1, 1), BT_DECODE_OK);
    c->ops->free(c);
    m->ops->free(m);
}

static bool third_time(void *arg) {
    return ++*(int *)arg >= 3;
}

static void an_abort_ends_even_a_decode_that_hangs(void **state) {
    (void)state;
    struct bt_model *m = open_model("fake:hang_at=1");
    struct bt_context *c = open_context(m, 1, 64, true);
    struct bt_row rows[] = {{'a', 0, 0, false}, {'a', 1, 0, true}};
    int asked = 0;
    c->ops->set_abort(c, third_time, &asked);
    assert_int_equal(c->ops->decode(c, rows, 2), BT_DECODE_ABORTED);
    assert_int_equal(asked, 3);
    assert_int_equal(c->ops->pos_max(c, 0), 0);
    assert_null(c->ops->logits(c, 1));
    c->ops->free(c);
    m->ops->free(m);
}

/* What becomes of a child that decodes once: its wait status. */
static int fate(const char *path) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        struct bt_model *m = open_model(path);
        struct bt_context *c = open_context(m, 1, 64, true);
        struct bt_row row = {'a', 0, 0, true};
        c->ops->decode(c, &row, 1);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void it_dies_as_told(void **state) {
    (void)state;
    assert_int_equal(WTERMSIG(fate("fake:crash_at=1")), SIGABRT);
    assert_int_equal(WTERMSIG(fate("fake:segv_at=1")), SIGSEGV);
    assert_int_equal(WEXITSTATUS(fate("fake:exit_at=1")), 3);
    assert_int_equal(fate("fake:crash_at=2"), 0);
    assert_int_equal(WTERMSIG(fate("fake:die=segv")), SIGSEGV);
    assert_int_equal(WTERMSIG(fate("fake:die=abort@1")), SIGABRT);
    assert_int_equal(WTERMSIG(fate("fake:die=assert")), SIGABRT);
    assert_int_equal(WEXITSTATUS(fate("fake:die=exit1")), 1);
    assert_int_equal(fate("fake:die=exit1@2"), 0);
}

static void poison_kills_only_where_it_is(void **state) {
    (void)state;
    assert_int_equal(WEXITSTATUS(fate("fake:die=exit1,poison=a")), 1);
    assert_int_equal(fate("fake:die=exit1,poison=b"), 0);
    assert_int_equal(fate("fake:poison=a,die=exit1@2"), 0);
}

static void an_owner_that_came_late_does_not_die(void **state) {
    (void)state;
    struct bt_model_params params = {.path = "fake:die=abort,lives=2", .starts = 2};
    struct bt_row row = {'a', 0, 0, true};
    struct bt_model *m;
    baton_error err;
    assert_int_equal(bt_model_open(&params, &m, &err), BATON_OK);
    struct bt_context *c = open_context(m, 1, 64, true);
    assert_int_equal(c->ops->decode(c, &row, 1), BT_DECODE_OK);
    c->ops->free(c);
    m->ops->free(m);
}

static bool stop_half_way(void *arg, float done) {
    (void)arg;
    return done < 0.5f;
}

static void bad_knobs_and_failed_loads_say_why(void **state) {
    (void)state;
    struct {
        const char *path, *text;
        baton_status status;
    } bad[] = {{"fake:colour=3", "colour", BATON_INVALID}, {"fake:len", "no value", BATON_INVALID},
               {"fake:len=x", "len", BATON_INVALID},       {"fake:vocab=3", "288", BATON_INVALID},
               {"fake:len=-1", "len", BATON_INVALID},      {"fake:load_fail=1", "load_fail", BATON_BAD_MODEL},
               {"fake:die=old", "segv", BATON_INVALID},    {"fake:die=segv@0", "number", BATON_INVALID},
               {"fake:poison=", "poison", BATON_INVALID}};
    struct bt_model *m;
    struct bt_context *c;
    struct bt_fake_stats stats;
    baton_error err;
    for (size_t i = 0; i < BT_COUNT(bad); i++) {
        struct bt_model_params params = {.path = bad[i].path};
        assert_int_equal(bt_model_open(&params, &m, &err), bad[i].status);
        assert_null(m);
        assert_non_null(strstr(err.text, bad[i].text));
    }
    struct bt_model_params params = {.path = "fake:", .progress = stop_half_way};
    assert_int_equal(bt_model_open(&params, &m, &err), BATON_CANCELLED);
    m = open_model("fake:context_fail=1,template=0");
    assert_int_equal(m->ops->context(m, &(struct bt_context_params){.sequences = 1}, &c, &err), BATON_NO_MEMORY);
    assert_int_equal(m->ops->context(m, &(struct bt_context_params){.sequences = 0}, &c, &err), BATON_INVALID);
    struct bt_buf text = BT_BUF_INIT;
    assert_int_equal(m->ops->chat(m, NULL, 0, &text, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "--chat-template"));
    m->ops->free(m);
    bt_fake_stats(&stats);
    assert_int_equal(stats.models + stats.contexts + stats.samplers, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_follow_from_the_history_alone),
        cmocka_unit_test(probe_P16_its_answers_are_whole_characters_made_of_parts),
        cmocka_unit_test(a_draw_depends_on_seed_and_index),
        cmocka_unit_test(capacity_is_real_and_a_full_sequence_hurts_nobody),
        cmocka_unit_test(two_calls_at_once_are_found_whatever_they_are),
        cmocka_unit_test(a_failed_and_an_aborted_decode_leave_half),
        cmocka_unit_test(an_abort_ends_even_a_decode_that_hangs),
        cmocka_unit_test(it_dies_as_told),
        cmocka_unit_test(poison_kills_only_where_it_is),
        cmocka_unit_test(an_owner_that_came_late_does_not_die),
        cmocka_unit_test(bad_knobs_and_failed_loads_say_why),
    };
    return bt_test_run(tests, argc, argv);
}
