/* The frames between a front and an owner, and their codec: pure functions over bytes, for a peer that may be another
 * process and may be broken. Little-endian; a frame is u32 length of what follows, u8 type, payload.
 *
 *   front -> owner   HELLO · SUBMIT · CANCEL · ACK · CLOSE
 *   owner -> front   HELLO · READY or FATAL · TOKEN · DONE · PULSE · LOG
 *
 * A request has one id for its life and an attempt that grows each time an owner takes it up anew; frames of an older
 * attempt are dropped by the front. Every token travels with its index in the answer, its id and the text it released,
 * and says how many bytes its owner still holds back (an unfinished character, or what may become a stop string), so
 * that another owner can go on from there. Exactly one DONE ends an attempt, after the last native call for it.
 *
 * State: none; a decoded frame borrows from the bytes it was decoded from. */
#ifndef BT_FRAME_H
#define BT_FRAME_H

#include "base/base.h"
#include "native/native.h"

enum { BT_IPC_VERSION = 2, BT_FRAME_HEADER = 5, BT_FRAME_MAX = 16 << 20, BT_STOPS_MAX = 16 };

enum bt_frame_type {
    BT_FRAME_HELLO = 1,
    BT_FRAME_SUBMIT,
    BT_FRAME_CANCEL,
    BT_FRAME_ACK,
    BT_FRAME_CLOSE,
    BT_FRAME_READY,
    BT_FRAME_FATAL,
    BT_FRAME_TOKEN,
    BT_FRAME_DONE,
    BT_FRAME_PULSE,
    BT_FRAME_LOG,
};

enum bt_prompt_kind { BT_PROMPT_TEXT, BT_PROMPT_CHAT, BT_PROMPT_TOKENS };

/* What is asked. Encoding copies everything; decoding borrows from the frame, but for `messages`, `stops` and the
 * arrays inside, which bt_submit_free gives back. */
struct bt_submit {
    uint64_t id;
    uint32_t attempt;
    uint64_t flow;
    enum bt_prompt_kind kind;
    struct bt_text text;              /* BT_PROMPT_TEXT */
    struct bt_chat_message *messages; /* BT_PROMPT_CHAT */
    size_t n_messages;
    const struct bt_image *images; /* in the chat; not in the frame: an owner behind a socket reads text alone */
    size_t n_images;
    bt_token *tokens; /* BT_PROMPT_TOKENS */
    size_t n_tokens;
    bt_token *resume; /* tokens of the answer that an earlier attempt has delivered */
    size_t n_resume;
    uint32_t resume_held; /* bytes of their text that were held back */
    struct bt_sampling sampling;
    int32_t max_tokens; /* < 0: until the context is full */
    uint32_t window;    /* how many tokens may be on their way without an ACK */
    struct bt_text stops[BT_STOPS_MAX];
    size_t n_stops;
};

struct bt_frame_token {
    uint64_t id;
    uint32_t attempt;
    uint32_t index; /* in the answer, from 0 */
    bt_token token;
    uint32_t held;       /* bytes held back after this token */
    struct bt_text text; /* what it released: may be empty, is whole UTF-8 characters */
};

enum bt_finish { BT_FINISH_NONE, BT_FINISH_STOP, BT_FINISH_LENGTH };

struct bt_frame_done {
    uint64_t id;
    uint32_t attempt;
    baton_status outcome;  /* BATON_OK: completed; else why not */
    enum bt_finish finish; /* NONE when it did not complete */
    uint32_t prompt_tokens, reused_tokens, answer_tokens;
    struct bt_text text;  /* what was still held back and belongs to the answer */
    struct bt_text error; /* one line, when outcome is not BATON_OK */
};

struct bt_frame_ready {
    uint32_t sequences, ctx; /* cells per sequence */
    bool exact;              /* the self-test's verdict */
    uint64_t memory;         /* bytes that the context takes */
    struct bt_model_info info;
    struct bt_text versions;
};

/* A frame as it lies in a receive buffer. */
struct bt_frame {
    enum bt_frame_type type;
    const unsigned char *payload;
    size_t len;  /* of the payload */
    size_t size; /* of the whole frame: what to drop when done with it */
};

/* BATON_OK: *f is the first frame in data. BATON_AGAIN: not whole yet. BATON_PROTOCOL: unknown type or over
 * BT_FRAME_MAX; the stream cannot be trusted any more. */
baton_status bt_frame_peek(const unsigned char *data, size_t len, struct bt_frame *f);

void bt_put_hello(struct bt_buf *b);
void bt_put_submit(struct bt_buf *b, const struct bt_submit *s);
void bt_put_cancel(struct bt_buf *b, uint64_t id, baton_status reason);
void bt_put_ack(struct bt_buf *b, uint64_t id, uint32_t tokens);
void bt_put_close(struct bt_buf *b, bool drain);
void bt_put_ready(struct bt_buf *b, const struct bt_frame_ready *r);
void bt_put_fatal(struct bt_buf *b, baton_status status, const char *text);
void bt_put_token(struct bt_buf *b, const struct bt_frame_token *t);
void bt_put_done(struct bt_buf *b, const struct bt_frame_done *d);
void bt_put_pulse(struct bt_buf *b, uint64_t steps);
void bt_put_log(struct bt_buf *b, baton_log_level level, const char *text);

/* BATON_OK or BATON_PROTOCOL (a field is missing, out of range, or bytes are left over); _NO_MEMORY for submit. */
baton_status bt_get_hello(const struct bt_frame *f, uint32_t *version);
baton_status bt_get_submit(const struct bt_frame *f, struct bt_submit *s);
void bt_submit_free(struct bt_submit *s); /* of a decoded one */
baton_status bt_get_cancel(const struct bt_frame *f, uint64_t *id, baton_status *reason);
baton_status bt_get_ack(const struct bt_frame *f, uint64_t *id, uint32_t *tokens);
baton_status bt_get_close(const struct bt_frame *f, bool *drain);
baton_status bt_get_ready(const struct bt_frame *f, struct bt_frame_ready *r);
baton_status bt_get_fatal(const struct bt_frame *f, baton_status *status, struct bt_text *text);
baton_status bt_get_token(const struct bt_frame *f, struct bt_frame_token *t);
baton_status bt_get_done(const struct bt_frame *f, struct bt_frame_done *d);
baton_status bt_get_pulse(const struct bt_frame *f, uint64_t *steps);
baton_status bt_get_log(const struct bt_frame *f, baton_log_level *level, struct bt_text *text);

#endif
