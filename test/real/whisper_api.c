/* baton/whisper.h on libwhisper and a random-weight model: the bodies that the fake runs under the sanitizers. */
#include "speech_held.h"
#include "speech_long.h"
#include "speech_probes.h"

static int set_up(void **state) {
    static char path[4096];
    (void)state;
    snprintf(path, sizeof path, "%s/whisper.bin", getenv("BATON_WHISPER_MODELS"));
    on.path = path;
    on.seconds = 6;
    on.long_seconds = 160;
    on.rounds = 8;
    on.opens = 1000;
    on.many = 100;
    on.run_ms = 900;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {SPEECH_BODIES, SPEECH_HELD, SPEECH_PROBES, SPEECH_LONG};
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, free_sounds);
}
