/* Elpis' deferred tests over libllama and the built-in model; the long one is llama_long's. */
#include "api_elpis.h"

static void probe_P12_elpis_basic_stream(void **state) {
    (void)state;
    elpis_basic(NULL);
}
static void probe_P13_elpis_idle_generation(void **state) {
    (void)state;
    elpis_idle(NULL);
}
static void probe_P15_elpis_rapid_requests(void **state) {
    (void)state;
    elpis_rapid(NULL);
}
static void elpis_gpu_offload(void **state) {
    (void)state;
    elpis_gpu();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P12_elpis_basic_stream),
        cmocka_unit_test(probe_P13_elpis_idle_generation),
        cmocka_unit_test(probe_P15_elpis_rapid_requests),
        cmocka_unit_test(elpis_gpu_offload),
    };
    return bt_test_run(tests, argc, argv);
}
