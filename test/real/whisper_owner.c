/* baton/whisper.h with owners of their own, on libwhisper and a random-weight model. */
#include "speech_owner.h"

static int set_up(void **state) {
    static char path[4096];
    (void)state;
    snprintf(path, sizeof path, "%s/whisper.bin", getenv("BATON_WHISPER_MODELS"));
    on.path = on.slow_path = path;
    on.seconds = 6;
    on.rounds = 8;
    on.run_ms = 900;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {SPEECH_OWNERS};
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, free_sounds);
}
