/* The fake native's vocabulary, its chat template and its "weights". Pure; owns no state. */
#include "native/fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {" the",   " a",          " lease", " gate",  " slot", " queue",
                                    " owner", " context",    " waits", " holds", " runs", " is",
                                    "ing",    "caf\xc3\xa9", ".",      ",",      "\n"};

static const struct special {
    const char *text;
    bt_token token;
} specials[] = {
    {"<|bos|>", BT_FAKE_BOS}, {"<|eos|>", BT_FAKE_EOS}, {"<|end|>", BT_FAKE_EOT}, {"<|assistant|>", BT_FAKE_ASSISTANT}};

size_t bt_fake_piece(bt_token token, char piece[16]) {
    const char *text = NULL;
    if (token >= 0 && token < BT_FAKE_BOS) {
        piece[0] = (char)token;
        return 1;
    }
    switch (token) {
    case BT_FAKE_EURO_HEAD:
        text = "\xe2\x82";
        break;
    case BT_FAKE_SMILE_HEAD:
        text = "\xf0\x9f";
        break;
    case BT_FAKE_SMILE_TAIL:
        text = "\x98\x80";
        break;
    default:
        if (token < BT_FAKE_WORDS)
            return 0;
        if (token - BT_FAKE_WORDS >= (int)BT_COUNT(words))
            return (size_t)snprintf(piece, 16, " w%d", token % 10000000);
        text = words[token - BT_FAKE_WORDS];
    }
    size_t len = strlen(text);
    memcpy(piece, text, len);
    return len;
}

const char *bt_fake_special(bt_token token) {
    for (size_t i = 0; i < BT_COUNT(specials); i++)
        if (specials[i].token == token)
            return specials[i].text;
    return NULL;
}

static const struct special *special_at(const char *text, size_t len) {
    for (size_t i = 0; i < BT_COUNT(specials); i++) {
        size_t n = strlen(specials[i].text);
        if (n <= len && memcmp(text, specials[i].text, n) == 0)
            return &specials[i];
    }
    return NULL;
}

/* A byte is a token. With add_special: BOS in front, and the mark that ends a prompt behind. */
baton_status bt_fake_tokenize(const struct bt_model *m, const char *text, size_t len, bool add_special,
                              bool parse_special, bt_token **tokens, size_t *n, baton_error *err) {
    (void)m;
    bt_token *t = len < SIZE_MAX / sizeof *t - 2 ? malloc((len + 2) * sizeof *t) : NULL;
    if (!t)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the tokens of a text of %zu bytes", len);
    size_t count = 0;
    if (add_special)
        t[count++] = BT_FAKE_BOS;
    for (size_t i = 0; i < len;) {
        const struct special *s = parse_special ? special_at(text + i, len - i) : NULL;
        t[count++] = s ? s->token : (unsigned char)text[i];
        i += s ? strlen(s->text) : 1;
    }
    if (add_special && t[count - 1] != BT_FAKE_ASSISTANT)
        t[count++] = BT_FAKE_ASSISTANT;
    *tokens = t;
    *n = count;
    return BATON_OK;
}

baton_status bt_fake_chat(const struct bt_model *base, const struct bt_chat_message *messages, size_t n,
                          struct bt_buf *out, baton_error *err) {
    if (!BT_CONTAINER(base, const struct bt_fake_model, base)->template)
        return bt_fail(err, BATON_UNSUPPORTED, "this model has no chat template: name one with --chat-template");
    for (size_t i = 0; i < n; i++)
        bt_buf_addf(out, "%s: %s<|end|>", messages[i].role, messages[i].content);
    bt_buf_adds(out, "<|assistant|>");
    return out->failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for the text of a chat") : BATON_OK;
}

struct bt_fake_cell bt_fake_next_cell(const struct bt_fake_cell *before, int32_t pos, bt_token token) {
    struct bt_fake_cell c = {.last = token};
    uint64_t place = (uint64_t)(uint32_t)pos << 32 | (uint32_t)token;
    c.hash = bt_mix64((before ? before->hash : 0) ^ bt_mix64(place));
    bool prompt_ends = token == BT_FAKE_ASSISTANT || !before;
    c.prompt = prompt_ends ? c.hash : before->prompt;
    c.answered = prompt_ends ? 0 : before->answered + 1;
    return c;
}

/* The token that must follow, -1 if the choice is free. */
static bt_token forced(const struct bt_fake_model *m, const struct bt_fake_cell *c) {
    int64_t length = m->len ? m->len : 8 + (int64_t)(c->prompt % 40);
    if (c->last == BT_FAKE_EURO_HEAD)
        return 0xac;
    if (c->last == BT_FAKE_SMILE_HEAD)
        return BT_FAKE_SMILE_TAIL;
    if (c->last == 0xc3)
        return 0xa9;
    return c->answered >= length ? BT_FAKE_EOT : -1;
}

static bool may_follow(bt_token token) {
    if (token < BT_FAKE_BOS)
        return token == '\n' || (token >= 0x20 && token < 0x7f) || token == 0xc3;
    return token == BT_FAKE_EURO_HEAD || token == BT_FAKE_SMILE_HEAD || token >= BT_FAKE_WORDS;
}

/* Whatever is drawn, the text stays whole UTF-8 and ends where it must. */
void bt_fake_logits(const struct bt_fake_model *m, const struct bt_fake_cell *c, float *logits) {
    enum { NEVER = -80, FAVOURITE = 8, FAVOURITES = BT_FAKE_VOCAB_MIN - BT_FAKE_EURO_HEAD + 1 };
    bt_token must = forced(m, c);
    for (bt_token t = 0; t < m->vocab; t++) {
        uint64_t mix = bt_mix64(c->hash + (uint64_t)(uint32_t)t);
        logits[t] = must >= 0 || !may_follow(t) ? NEVER : (float)(mix >> 40) * 0x1p-22f;
    }
    bt_token favourite = BT_FAKE_EURO_HEAD + (bt_token)(bt_mix64(c->hash ^ 0x5eed) % FAVOURITES);
    if (favourite == BT_FAKE_SMILE_TAIL || favourite >= m->vocab)
        favourite = 0xc3;
    logits[must >= 0 ? must : favourite] = FAVOURITE;
}
