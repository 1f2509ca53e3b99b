/* P40 on libllama: owners killed at random moments under eight streams. $BATON_KILLS says how many (30). */
#include "crashes.h"

static void probe_P40_killed_owners_are_not_noticed(void **state) {
    (void)state;
    const char *text = getenv("BATON_KILLS");
    int kills = text ? (int)strtol(text, NULL, 10) : 30;
    killed_owners_are_not_noticed(NULL, 1, 8, 40, kills / 2, 0);
    killed_owners_are_not_noticed(NULL, 2, 8, 40, kills - kills / 2, 0.9f);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(probe_P40_killed_owners_are_not_noticed)};
    bt_log_set_level(BATON_LOG_ERROR);
    return bt_test_run(tests, argc, argv);
}
