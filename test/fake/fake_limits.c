/* What no program should ask, over the fake native. */
#include "api_limits.h"

#include "baton/whisper.h"

static void no_time_to_run_is_a_timeout(void **state) {
    (void)state;
    no_time_to_run_is_a_timeout_under_every_policy("fake:len=1000000");
}

static void no_time_for_a_vector_is_a_timeout(void **state) {
    (void)state;
    no_time_for_a_vector_is_a_timeout_at_once("fake:");
}

static void nothing_where_something_is_needed_by_speech(void **state) {
    baton_whisper_info info = {.size = sizeof info};
    baton_counts counts = {.size = sizeof counts};
    const baton_whisper_segment *segment = (const baton_whisper_segment *)&info;
    (void)state;
    baton_misuse_set(limits_hear, NULL);
    LIMITS_TOLD((baton_whisper_get_info(NULL, &info), 0));
    LIMITS_TOLD((baton_whisper_get_counts(NULL, &counts), 0));
    LIMITS_TOLD(baton_whisper_language(NULL, "de"));
    LIMITS_TOLD(baton_whisper_language_name(NULL, 0));
    LIMITS_TOLD(baton_whisper_token_text(NULL, 0));
    LIMITS_TOLD(baton_whisper_context(NULL));
    LIMITS_TOLD(baton_whisper_cancel(NULL, 1));
    LIMITS_MISUSE(baton_whisper_stream_next(NULL, 0, &segment));
    assert_null(segment);
    LIMITS_TOLD(baton_whisper_stream_fd(NULL));
    LIMITS_TOLD(baton_whisper_stream_id(NULL));
    LIMITS_TOLD(baton_whisper_stream_progress(NULL));
    baton_whisper_result_free(NULL);
    baton_misuse_set(NULL, NULL);
}

static void an_id_of_batons_own_is_refused(void **state) {
    (void)state;
    an_id_of_batons_own_is_refused_under_every_policy("fake:len=60");
}

static void nothing_where_something_is_needed(void **state) {
    (void)state;
    nothing_where_something_is_needed_is_misuse("fake:len=60");
}

static void an_id_is_its_streams(void **state) {
    (void)state;
    an_id_is_its_streams_until_that_is_closed("fake:len=60");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_time_to_run_is_a_timeout),
        cmocka_unit_test(no_time_for_a_vector_is_a_timeout),
        cmocka_unit_test(nothing_where_something_is_needed),
        cmocka_unit_test(nothing_where_something_is_needed_by_speech),
        cmocka_unit_test(an_id_of_batons_own_is_refused),
        cmocka_unit_test(an_id_is_its_streams),
    };
    return bt_test_run(tests, argc, argv);
}
