/* The public functions of a header, read from its text, so that a test with an entry for each fails for a new one. */
#ifndef BT_HEADER_CALLS_H
#define BT_HEADER_CALLS_H

#include "harness.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static inline char *header_text(const char *header) {
    char path[512];
    snprintf(path, sizeof path, "%s/../include/baton/%s", getenv("BATON_TOOLS"), header);
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);
    assert_non_null(f);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    assert_true(n > 0 && n < (1 << 20) - 1);
    fclose(f);
    return text;
}

/* The name before the first parenthesis of a declaration, without the prefix, if it has that. */
static inline void declared_name(const char *declaration, const char *prefix, char *name, size_t size) {
    const char *end = strchr(declaration, '(');
    assert_non_null(end);
    const char *from = end;
    while (from > declaration && (isalnum((unsigned char)from[-1]) || from[-1] == '_'))
        from--;
    if (strncmp(from, prefix, strlen(prefix)) == 0)
        from += strlen(prefix);
    snprintf(name, size, "%.*s", (int)(end - from), from);
}

/* Each public function has exactly one entry, and each entry a function. name_of: without the prefix, if it has that.
 */
static inline void every_call_has_an_entry(const char *header, const char *prefix, const char *(*name_of)(int i),
                                           int n) {
    char *text = header_text(header), name[128];
    bool seen[128] = {false};
    int calls = 0;
    assert_true(n <= 128);
    for (const char *at = text; (at = strstr(at, "\nBATON_API ")); at++, calls++) {
        int i = 0;
        declared_name(at + 1, prefix, name, sizeof name);
        while (i < n && strcmp(name_of(i), name) != 0)
            i++;
        if (i == n)
            fail_msg("%s, %s: no entry says what it does while the context is in use", header, name);
        if (seen[i])
            fail_msg("%s, %s: declared twice", header, name);
        seen[i] = true;
    }
    for (int i = 0; i < n; i++)
        if (!seen[i])
            fail_msg("%s, %s: no such function any more", header, name_of(i));
    assert_true(calls > 0);
    free(text);
}

#endif
