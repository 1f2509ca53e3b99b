/* A file's lines as sections of keys and values, before anybody knows what they mean. inih cuts a line into key, value
 * and comment; sections, line numbers and everything that inih would pass over in silence are seen to here: it cuts
 * section names after 49 bytes and lines after 199, joins indented lines to the one above, and says nothing of sections
 * without keys.
 *
 * State: a bt_ini belongs to whoever parses. */
#ifndef BT_INI_H
#define BT_INI_H

#include "base/base.h"

enum { BT_INI_FAULTS_MAX = 64, BT_INI_KEY_MAX = 64, BT_INI_LINE_MAX = 4096 };

/* Where faults are told: a line each, of valid UTF-8 without control characters, and no more than can be read. */
struct bt_ini_faults {
    const char *path; /* borrowed */
    struct bt_buf *out;
    int n;
};
BATON_PRINTF(3, 4) void bt_ini_fault(struct bt_ini_faults *f, int line, const char *format, ...);

struct bt_ini_entry {
    char key[BT_INI_KEY_MAX]; /* with - as _ */
    char *value;              /* may be "" */
    int line;
};

struct bt_ini_section {
    char *kind, *name; /* "model", "fast"; name NULL: the kind stands alone */
    int line;
    struct bt_ini_entry *entries; /* each key once */
    int n;
};

struct bt_ini {
    struct bt_ini_section *sections; /* each once */
    int n;
};

/* BATON_OK, also when there were faults; _NO_MEMORY. Freed in any case with bt_ini_free. */
baton_status bt_ini_parse(const char *text, size_t len, struct bt_ini *ini, struct bt_ini_faults *faults);
void bt_ini_free(struct bt_ini *ini);
const struct bt_ini_entry *bt_ini_find(const struct bt_ini_section *s, const char *key);

#endif
