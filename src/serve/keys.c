/* API keys: loading, and a comparison whose time tells nothing. State: the struct, read-only after the load. */
#include "serve/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static baton_status add(struct bt_keys *k, const char *path, int line_number, const char *line, size_t len,
                        baton_error *err) {
    if (len == 0 || line[0] == '#')
        return BATON_OK;
    if (len >= BT_KEY_MAX)
        return bt_fail(err, BATON_INVALID, "%s: line %d: a key of more than %d bytes", path, line_number,
                       BT_KEY_MAX - 1);
    for (size_t i = 0; i < len; i++)
        if (line[i] <= ' ' || line[i] > '~')
            return bt_fail(err, BATON_INVALID, "%s: line %d: expected one key of printable ASCII without spaces", path,
                           line_number);
    if (k->n == BT_KEYS_MAX)
        return bt_fail(err, BATON_INVALID, "%s: line %d: there are more than %d keys", path, line_number, BT_KEYS_MAX);
    memcpy(k->keys[k->n++], line, len);
    return BATON_OK;
}

baton_status bt_keys_load(const char *path, struct bt_keys **keys, baton_error *err) {
    FILE *f = fopen(path, "re");
    char line[BT_KEY_MAX * 2];
    baton_status st = BATON_OK;
    *keys = NULL;
    if (!f)
        return bt_fail(err, BATON_NOT_FOUND, "cannot read the keys in %s: %s", path, strerror(errno));
    struct bt_keys *k = calloc(1, sizeof *k);
    if (!k)
        st = bt_fail(err, BATON_NO_MEMORY, "no memory for keys");
    for (int n = 1; st == BATON_OK && fgets(line, sizeof line, f); n++)
        st = add(k, path, n, line, strcspn(line, "\r\n"), err);
    if (st == BATON_OK && k->n == 0)
        st = bt_fail(err, BATON_INVALID, "%s: there is no key in it: expected one a line", path);
    explicit_bzero(line, sizeof line);
    fclose(f);
    if (st != BATON_OK)
        bt_keys_free(&k);
    *keys = k;
    return st;
}

void bt_keys_free(struct bt_keys **keys) {
    if (*keys)
        explicit_bzero(*keys, sizeof **keys);
    free(*keys);
    *keys = NULL;
}

int bt_keys_find(const struct bt_keys *k, const char *authorization, size_t len) {
    static const char scheme[] = "Bearer ";
    char given[BT_KEY_MAX] = {0};
    size_t skip = strlen(scheme);
    int found = -1;
    if (len <= skip || len - skip >= BT_KEY_MAX || strncasecmp(authorization, scheme, skip) != 0)
        return -1;
    memcpy(given, authorization + skip, len - skip);
    for (int i = 0; i < k->n; i++) { /* every byte of every key, whether one has matched or not */
        unsigned char differ = 0;
        for (size_t b = 0; b < BT_KEY_MAX; b++)
            differ |= (unsigned char)(given[b] ^ k->keys[i][b]);
        found = differ == 0 ? i : found;
    }
    explicit_bzero(given, sizeof given);
    return found;
}
