/* Elpis' deferred tests over the fake native, under every sanitizer. */
#include "api_elpis.h"

#include "native/fake.h"

static const char model[] = "fake:len=100000,ctx_train=4096";

static void probe_P12_elpis_basic_stream(void **state) {
    (void)state;
    elpis_basic(model);
}
/* While nobody reads, nothing is computed: at once with the owner on the caller's thread, else once the reader's window
 * is full. */
static void probe_P13_elpis_idle_generation(void **state) {
    struct bt_fake_stats before, after;
    (void)state;
    elpis_idle(model);
    baton_policy policy = api_policy(0);
    baton_llama *m = api_open(model, &policy, 1024);
    struct endless e;
    baton_stream *s;
    char text[4096] = "";
    size_t len = 0;
    endless_init(&e, m, model);
    assert_int_equal(baton_llama_stream(m, &e.ask, &s, NULL), BATON_OK);
    elpis_read(s, text, sizeof text, &len, 3);
    bt_fake_stats(&before);
    be_idle();
    bt_fake_stats(&after);
    assert_int_equal(after.decodes, before.decodes);
    assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
    baton_llama_close(&m);
}
static void probe_P15_elpis_rapid_requests(void **state) {
    (void)state;
    elpis_rapid(model);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P12_elpis_basic_stream),
        cmocka_unit_test(probe_P13_elpis_idle_generation),
        cmocka_unit_test(probe_P15_elpis_rapid_requests),
    };
    return bt_test_run(tests, argc, argv);
}
