/* Is this context exact? Asked once, before it serves, by trying; leaves the context empty. */
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"

enum { TEST_TOKENS = 24 };

/* Feeds the test tokens in pieces of `cut`, in the company of another sequence if there is one, and copies the last
 * logits. */
static bool logits_of(struct bt_context *c, const bt_token *tokens, int cut, int neighbour, float *logits,
                      size_t vocab) {
    struct bt_row rows[TEST_TOKENS * 2];
    const float *got = NULL;
    for (int at = 0; at < TEST_TOKENS; at += cut) {
        int n = 0, end = BT_MIN(at + cut, TEST_TOKENS);
        for (int i = at; i < end; i++)
            rows[n++] = (struct bt_row){tokens[i], i, 0, i == TEST_TOKENS - 1};
        int last = n - 1;
        for (int i = at; neighbour > 0 && i < end; i++)
            rows[n++] = (struct bt_row){tokens[TEST_TOKENS - 1 - i], i, neighbour, false};
        if (c->ops->decode(c, rows, n) != BT_DECODE_OK)
            return false;
        if (end == TEST_TOKENS)
            got = c->ops->logits(c, last);
    }
    if (got)
        memcpy(logits, got, vocab * sizeof *logits);
    c->ops->seq_rm(c, 0, 0, -1);
    if (neighbour > 0)
        c->ops->seq_rm(c, neighbour, 0, -1);
    return got != NULL;
}

bool bt_exact_selftest(struct bt_context *c, const struct bt_model *m, int sequences) {
    struct bt_model_info info;
    m->ops->info(m, &info);
    size_t vocab = (size_t)info.vocab_size;
    if (c->ops->capacity(c) < TEST_TOKENS)
        return false;
    bt_token tokens[TEST_TOKENS];
    for (int i = 0; i < TEST_TOKENS; i++)
        tokens[i] = (bt_token)(bt_mix64((uint64_t)i) % vocab);
    float *a = malloc(2 * vocab * sizeof *a);
    if (!a)
        return false;
    float *b = a + vocab;
    bool exact = logits_of(c, tokens, TEST_TOKENS, 0, a, vocab) && logits_of(c, tokens, 7, 0, b, vocab) &&
                 memcmp(a, b, vocab * sizeof *a) == 0 &&
                 logits_of(c, tokens, 5, sequences > 1 ? sequences - 1 : 0, b, vocab) &&
                 memcmp(a, b, vocab * sizeof *a) == 0;
    free(a);
    return exact;
}
