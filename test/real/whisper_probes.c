/* Probes of baton/whisper.h whoever owns the states, on libwhisper and random-weight models. */
#include "speech_owner.h"

static int set_up(void **state) {
    static char path[4096], split[4096];
    (void)state;
    snprintf(path, sizeof path, "%s/whisper.bin", getenv("BATON_WHISPER_MODELS"));
    snprintf(split, sizeof split, "%s/split.bin", getenv("BATON_WHISPER_MODELS"));
    on.path = on.slow_path = path;
    on.split_path = split;
    on.seconds = 6;
    on.long_seconds = 66; /* segments come in windows of 30 s */
    on.rounds = 8;
    on.run_ms = 900;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {SPEECH_OWNER_PROBES};
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, free_sounds);
}
