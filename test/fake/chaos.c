/* Handlers that submit, cancel and abandon from inside their callbacks, at random from a seed, over owners whose native
 * calls fail now and then: each request that was not abandoned has one outcome, nobody hears anything after it, a
 * completed text is that of a lone run, and in the end every slot is free. */
#include "frontrun.h"

#include "native/fake.h"

enum { REQUESTS = 300, ALIVE_MAX = 12, PROMPTS = 6 };

static struct chaos {
    struct bt_front *f;
    uint64_t random, asked, refused;
    int alive;
    struct caller {
        struct bt_request *request;
        bool over, abandoned, cancelled;
        int prompt;
        struct bt_buf text;
    } callers[REQUESTS];
    struct bt_buf lone[PROMPTS];
} x;

static uint64_t draw(uint64_t n) {
    x.random = bt_mix64(x.random);
    return x.random % n;
}

static struct bt_submit prompt(int i) {
    static char text[PROMPTS][128];
    snprintf(text[i], sizeof text[i], "a prefix that all of them share, and then number %d", i);
    struct bt_submit s = ask_text(text[i], 30, i % 2 ? 0.8f : 0, 3);
    s.flow = (uint64_t)i / 3;
    return s;
}

static void do_something(void);

static void on_text(void *arg, const char *text, size_t len) {
    struct caller *c = arg;
    assert_false(c->over || c->abandoned);
    bt_buf_add(&c->text, text, len);
    bt_request_consumed(c->request, 1);
    if (draw(16) == 0)
        do_something();
}

static void on_done(void *arg, const struct bt_outcome *o) {
    struct caller *c = arg;
    assert_false(c->over || c->abandoned);
    c->over = true;
    x.alive--;
    if (o->status == BATON_OK)
        assert_same_text(&c->text, &x.lone[c->prompt]);
    else
        assert_true(c->cancelled && o->status == BATON_CANCELLED);
    do_something();
}

static void submit(void) {
    struct caller *c = &x.callers[x.asked++];
    struct bt_handler h = {.on_text = on_text, .on_done = on_done, .arg = c};
    baton_error err;
    c->prompt = (int)draw(PROMPTS);
    struct bt_submit s = prompt(c->prompt);
    if (bt_front_submit(x.f, &s, NULL, &h, &c->request, &err) == BATON_OK)
        x.alive++;
    else
        c->over = true;
}

static void do_something(void) {
    if (x.asked < REQUESTS && x.alive < ALIVE_MAX && draw(4) != 0)
        submit();
    struct caller *c = x.asked ? &x.callers[draw(x.asked)] : NULL;
    if (!c || c->over || c->abandoned)
        return;
    switch (draw(6)) {
    case 0:
        c->abandoned = true;
        x.alive--;
        bt_request_abandon(c->request);
        break;
    case 1:
        c->cancelled = true;
        bt_request_cancel(c->request, BATON_CANCELLED);
        break;
    }
}

static void one_chaos(const char *model, int contexts, int sequences) {
    struct bt_front_counts n;
    memset(&x.callers, 0, sizeof x.callers);
    x.asked = 0;
    x.alive = 0;
    x.f = front_open(model, contexts, sequences, 256, 4, BT_WAIT);
    while (x.asked < REQUESTS || x.alive > 0) {
        if (x.alive == 0)
            submit();
        bt_front_run_once(x.f, 10000);
    }
    do {
        bt_front_run_once(x.f, 10);
        bt_front_counts(x.f, &n);
    } while (n.running > 0);
    assert_int_equal(n.queued, 0);
    bt_front_close(&x.f);
    for (int i = 0; i < REQUESTS; i++)
        bt_buf_free(&x.callers[i].text);
}

static void handlers_may_do_anything(void **state) {
    (void)state;
    x.random = bt_test_seed();
    for (int i = 0; i < PROMPTS; i++) {
        struct bt_submit s = prompt(i);
        lone_text("fake:", &s, 256, &x.lone[i]);
    }
    for (int recurrent = 0; recurrent < 2; recurrent++)
        for (int i = 0; i < 8; i++) {
            char model[64];
            snprintf(model, sizeof model, "fake:recurrent=%d,fail_at=%d,token_us=%d", recurrent, 25 + (int)draw(200),
                     i % 2 * 50);
            one_chaos(model, 1 + i % 2, 1 + (int)draw(4));
        }
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.overlaps, 0);
    assert_int_equal(s.models + s.contexts + s.samplers, 0);
    for (int i = 0; i < PROMPTS; i++)
        bt_buf_free(&x.lone[i]);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(handlers_may_do_anything)};
    return bt_test_run(tests, argc, argv);
}
