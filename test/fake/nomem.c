/* Each allocation of a whole run fails once, from opening a front to closing it: every request still has one outcome,
 * a completed one its whole text, and nothing leaks (under AddressSanitizer) or hangs. */
#include "frontrun.h"

#include <unistd.h>

#include "native/fake.h"
#include "nomem.h"

enum { REQUESTS = 3, TEXT_MAX = 8192 };
static const char model[] = "fake:len=60";

/* The gathered text does not come from malloc: what fails must be the product, not the test. */
struct gathered {
    struct bt_request *request;
    char text[TEXT_MAX];
    size_t len;
    int done;
    baton_status status;
};

static void on_text(void *arg, const char *text, size_t len) {
    struct gathered *g = arg;
    assert_true(g->len + len < sizeof g->text);
    memcpy(g->text + g->len, text, len);
    g->len += len;
    bt_request_consumed(g->request, 1);
}
static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct gathered *g = arg;
    g->done++;
    g->status = outcome->status;
}

static struct bt_submit question(int i) {
    static struct bt_chat_message chat = {"user", "spare me a word"};
    struct bt_submit s = ask_text(i == 0 ? "spare" : "memory", 60, i == 1 ? 0.8f : 0, 5);
    s.stops[s.n_stops++] = (struct bt_text){"w0 the a lease", 14}; /* something is held back now and then */
    if (i == 2) {
        s.kind = BT_PROMPT_CHAT;
        s.messages = &chat;
        s.n_messages = 1;
    }
    return s;
}

/* False: nothing failed any more. */
static bool run_with_failure(long at, struct gathered g[REQUESTS], bool *opened) {
    struct bt_front_params p = {.model = {.path = model},
                                .context = {.sequences = 2, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 1,
                                .when_full = BT_WAIT,
                                .queue_max = REQUESTS,
                                .queue_ms = -1,
                                .run_ms = -1};
    struct bt_front *f;
    baton_error err;
    memset(g, 0, REQUESTS * sizeof *g);
    nomem_arm(at);
    *opened = bt_front_open(&p, &f, &err) == BATON_OK;
    for (int i = 0; i < REQUESTS && *opened; i++) {
        struct bt_submit s = question(i);
        struct bt_handler h = {on_text, on_done, &g[i]};
        g[i].status = bt_front_submit(f, &s, NULL, &h, &g[i].request, &err);
        g[i].done = g[i].status != BATON_OK;
    }
    for (int i = 0; i < REQUESTS && *opened; i++)
        while (!g[i].done)
            bt_front_run_once(f, -1);
    if (*opened)
        bt_front_close(&f);
    return nomem_disarm();
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static struct gathered whole[REQUESTS], g[REQUESTS];
    long at = 1, completed = 0;
    bool opened;
    run_with_failure(0, whole, &opened);
    assert_true(opened);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(whole[i].status, BATON_OK);
    for (bool failed = true; failed; at++) {
        alarm(20);
        failed = run_with_failure(at, g, &opened);
        for (int i = 0; i < REQUESTS && opened; i++) {
            assert_int_equal(g[i].done, 1);
            completed += g[i].status == BATON_OK;
            if (g[i].status == BATON_OK && (g[i].len != whole[i].len || memcmp(g[i].text, whole[i].text, g[i].len)))
                fail_msg("allocation %ld: request %d lost text", at, i);
        }
    }
    alarm(0);
    print_message("%ld allocations, %ld answers completed all the same\n", at - 1, completed);
    assert_true(completed > 0);
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.models + s.contexts + s.samplers, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return bt_test_run(tests, argc, argv);
}
