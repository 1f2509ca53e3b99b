/* API keys: who may ask. Read once at start; compared in constant time, whatever is wrong with a key. */
#ifndef BT_KEYS_H
#define BT_KEYS_H

#include "base/base.h"

enum { BT_KEYS_MAX = 256, BT_KEY_MAX = 256 /* bytes, its end included */ };

struct bt_keys {
    int n;
    char keys[BT_KEYS_MAX][BT_KEY_MAX]; /* padded with zeros: the comparison reads all of it */
};

/* One key a line; empty lines and those that begin with # do not count. At least one. *keys is malloc. */
baton_status bt_keys_load(const char *path, struct bt_keys **keys, baton_error *err);
void bt_keys_free(struct bt_keys **keys); /* and wipes them */

/* `authorization`: what the header says, "Bearer KEY". Which key it is, -1: none. */
int bt_keys_find(const struct bt_keys *keys, const char *authorization, size_t len);

#endif
