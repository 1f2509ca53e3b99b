/* Rules for the words of an owner. State: none. */
#include "ipc/believe.h"

enum { CHARACTER = 3 /* U+FFFD, which may stand for each byte of a text */, VOCABULARY_MAX = 1 << 28 };
enum { HEARD_MAX = 4 << 20 /* beside the audio: progress, languages, what is short of seconds */ };
static const uint64_t MEMORY_MAX = UINT64_C(1) << 56;

static bool within(int number, int most) {
    return number >= 0 && number <= most;
}

bool bt_believe_ready(struct bt_sizes *first, int sequences, const struct bt_frame_ready *r) {
    const struct bt_sizes told = {r->ctx, r->width, r->info.vocab_size, r->pooling};
    bool vectors = r->pooling != BT_POOL_OFF;
    if (r->sequences != (uint32_t)sequences || r->ctx < 1 || r->ctx > INT32_MAX || r->width > BT_WIDTH_MAX ||
        (vectors && r->width == 0) || r->memory > MEMORY_MAX || r->info.bytes > MEMORY_MAX ||
        !within(r->info.vocab_size, VOCABULARY_MAX) || !within(r->info.ctx_train, INT32_MAX) ||
        !within(r->details.embedding_width, BT_WIDTH_MAX) || !within(r->details.scores, BT_WIDTH_MAX))
        return false;
    if (first->ctx == 0)
        *first = told;
    return first->ctx == told.ctx && first->width == told.width && first->vocabulary == told.vocabulary &&
           first->pooling == told.pooling;
}

bool bt_believe_failure(baton_status status) {
    return status == BATON_FAILED || (status && baton_status_family_of(status) == BATON_FAMILY_WORLD);
}

bool bt_believe_refusal(enum bt_call_op op, baton_status status) {
    return bt_believe_failure(status) || (status == BATON_STALE && op == BT_CALL_SAVE) ||
           (status == BATON_BUSY && op == BT_CALL_RESET);
}

/* Bytes of text that it has drawn and not released: what may become a stop string, and the beginning of a character.
 * Some may come with a saved conversation. */
static uint64_t held(const struct bt_request *r) {
    return r->n_tokens == r->n_given ? r->may_hold : r->held;
}

/* Text is conserved: what is released and what is held back was held back before, or is this token's. A token that
 * there is not would be refused by the next owner, and be the end of the request. */
bool bt_believe_token(const struct bt_request *r, const struct bt_frame_token *t) {
    const struct bt_sizes *s = &r->dispatch->sizes;
    return t->token >= 0 && t->token < s->vocabulary && r->n_tokens < s->ctx && t->held <= r->may_hold &&
           t->text.len / CHARACTER + t->held <= held(r) + BT_TOKEN_TEXT_MAX && bt_utf8_valid(t->text.data, t->text.len);
}

/* There is no window for what is no text. */
bool bt_believe_data(const struct bt_request *r, const struct bt_frame_data *data) {
    uint64_t most = r->what == BT_WHAT_GENERATE     ? 0
                    : r->what == BT_WHAT_TRANSCRIBE ? r->asked + HEARD_MAX
                    : r->what == BT_WHAT_DRAW       ? r->drawn
                                                    : r->inputs * BT_RECORD_BYTES(r->dispatch->sizes.width);
    return data->offset <= r->received && data->offset + data->bytes.len <= most;
}

static bool believe_outcome(const struct bt_request *r, baton_status outcome) {
    return outcome == BATON_OK || bt_believe_failure(outcome) || outcome == r->cancelled ||
           (outcome == BATON_CLOSED && r->dispatch->closing);
}

bool bt_believe_done(const struct bt_request *r, const struct bt_frame_done *done) {
    bool complete = done->outcome == BATON_OK;
    if (!believe_outcome(r, done->outcome) || complete == (done->finish == BT_FINISH_NONE))
        return false;
    if (complete && (done->reused_tokens > done->prompt_tokens ||
                     (r->what == BT_WHAT_GENERATE && done->prompt_tokens > r->dispatch->sizes.ctx)))
        return false;
    return done->text.len <= CHARACTER * held(r) && bt_utf8_valid(done->text.data, done->text.len);
}
