/* Fuzzing the configuration file: whatever the bytes, they are taken or told as faults, in lines of sound text; what
 * was taken and written again is taken again, and says the same. State: none. */
#include <string.h>

#include "config/config.h"
#include "fuzz.h"

static struct bt_config *read_it(const void *data, size_t size, bool must) {
    struct bt_config *c = NULL;
    struct bt_buf faults = BT_BUF_INIT;
    baton_error err = {.text = ""};
    baton_status status = bt_config_parse("fuzz.ini", data, size, &c, &faults, &err);
    FUZZ_ASSERT((status == BATON_OK) == (c != NULL) && (c == NULL) == (faults.len > 0));
    FUZZ_ASSERT(status == BATON_OK || (status == BATON_INVALID && err.text[0]));
    FUZZ_ASSERT(faults.len == 0 || (faults.data[faults.len - 1] == '\n' && !memchr(faults.data, '\0', faults.len)));
    FUZZ_ASSERT(bt_utf8_valid((char *)faults.data, faults.len));
    FUZZ_ASSERT(c || !must);
    bt_buf_free(&faults);
    return c;
}

static void write_it(struct bt_config *c, struct bt_buf *out) {
    for (int i = 0; i < c->n_models; i++)
        FUZZ_ASSERT(bt_model_settings_complete(&c->models[i], NULL) == BATON_OK);
    bt_config_write(c, out);
    FUZZ_ASSERT(!out->failed && out->len > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bt_buf once = BT_BUF_INIT, twice = BT_BUF_INIT;
    struct bt_config *c = read_it(data, size, false), *again;
    if (!c)
        return 0;
    write_it(c, &once);
    again = read_it(once.data, once.len, true);
    write_it(again, &twice);
    FUZZ_ASSERT(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    bt_config_free(&c);
    bt_config_free(&again);
    bt_buf_free(&once);
    bt_buf_free(&twice);
    return 0;
}
