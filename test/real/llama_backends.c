/* Compute backends are loaded from beside libggml, never from where the program happens to be started. */
#include "native_util.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_backend_in_the_current_directory_is_not_loaded(void **state) {
    (void)state;
    static const char mark[] = "stranger-was-loaded";
    assert_int_equal(chdir(getenv("BATON_STRANGER")), 0);
    unlink(mark);
    struct bt_model *m = open_model(NULL);
    struct bt_context *c = open_context(m, 1, 256, true);
    struct bt_row row = {5, 0, 0, true};
    assert_int_equal(c->ops->decode(c, &row, 1), BT_DECODE_OK);
    c->ops->free(c);
    m->ops->free(m);
    assert_int_not_equal(access(mark, F_OK), 0);
    /* and it would have told */
    void *stranger = dlopen("./libggml-cpu-stranger.so", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(stranger);
    assert_int_equal(access(mark, F_OK), 0);
    dlclose(stranger);
    unlink(mark);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_backend_in_the_current_directory_is_not_loaded)};
    return bt_test_run(tests, argc, argv);
}
