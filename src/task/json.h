/* A scanner over JSON text (RFC 8259): checks it and hands out where its values lie, without making a tree of them, so
 * that a payload passes as the bytes it came in, and costs its own length. What is inside a payload is for a JSON
 * library, or for a handler. Pure functions; State: none but the scanner's place in the text, which is borrowed. */
#ifndef BT_TASK_JSON_H
#define BT_TASK_JSON_H

#include "base/base.h"

enum { BT_JSON_DEPTH_MAX = 512 };

struct bt_json {
    const char *at, *end;
    const char *why; /* what is wrong at `at`, once something is */
};

void bt_json_start(struct bt_json *j, struct bt_text text);

/* One value, with the white space before it; *value is where it lies. False: j->why. */
bool bt_json_value(struct bt_json *j, struct bt_text *value);

/* The members of an object: open, then member until it is not BT_JSON_MEMBER. Key and value are as they stand in the
 * text, strings with their quotes. */
enum bt_json_step { BT_JSON_MEMBER, BT_JSON_END, BT_JSON_BAD };
bool bt_json_open(struct bt_json *j);
enum bt_json_step bt_json_member(struct bt_json *j, struct bt_text *key, struct bt_text *value);

/* True if nothing but white space is left. */
bool bt_json_over(struct bt_json *j);

/* The value of an object's member, the last of that name; NULL data if there is none or `object` is no object. */
struct bt_text bt_json_find(struct bt_text object, const char *key);

static inline bool bt_json_is_string(struct bt_text value) {
    return value.len > 0 && value.data[0] == '"';
}

/* Appends what a string (with its quotes, checked before) says. Half a surrogate pair becomes U+FFFD. */
void bt_json_decode(struct bt_text string, struct bt_buf *out);
bool bt_json_says(struct bt_text string, const char *text);

/* A whole number; false if the value is none, or none of 64 bits. */
bool bt_json_int(struct bt_text value, int64_t *out);

#endif
