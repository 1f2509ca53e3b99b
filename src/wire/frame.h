/* The frames between a front and an owner, and their codec: pure functions over bytes, for a peer that may be another
 * process and may be broken. Little-endian; a frame is u32 length of what follows, u8 type, payload.
 *
 *   front -> owner   START (to a process, once) · HELLO · SUBMIT · MORE · CALL · PART · CANCEL · ACK · CLOSE
 *   owner -> front   HELLO · READY or FATAL · TOKEN · DATA · NEWS · DONE · REPLY · PULSE · LOG
 *
 * A request has one id for its life and an attempt, from 1, that grows each time an owner takes it up anew; frames of
 * an older attempt are dropped by the front. Exactly one DONE ends an attempt, after the last native call for it. Every
 * token travels with its index in the answer, its id and the text it released, and says how many bytes its owner still
 * holds back (an unfinished character, or what may become a stop string), so that another owner can go on from there.
 * Other results, vectors and states, travel as opaque bytes in DATA frames, each with its place in the whole, so that
 * what comes twice after a new attempt is known as such. What is said of work under way (how far it is, a preview) is
 * no result: it travels in NEWS frames, which belong to their attempt, and may be left out when nobody keeps up with
 * them.
 *
 * What is asked (SUBMIT), what comes after it (MORE) and questions about the model or a request (CALL) are bodies: the
 * frame announces the body's size and holds its beginning, PART frames of the same id and attempt bring the rest, other
 * frames may come in between, and no frame has to hold everything. More than was announced, or another body of an id
 * that is not whole yet, is a broken peer. After CANCEL no PART of that id comes. A call has an id of its own, attempt
 * 0, and one REPLY, with the end of its result; what comes before that comes in DATA frames.
 *
 * State: none; a decoded frame borrows from the bytes it was decoded from. */
#ifndef BT_FRAME_H
#define BT_FRAME_H

#include "base/base.h"
#include "native/native.h"
#include "native/sd.h"

enum {
    BT_IPC_VERSION = 6,
    BT_FRAME_HEADER = 5,
    BT_FRAME_MAX = 16 << 20,
    BT_PIECE = 256 << 10, /* the most bytes of a body or a result that one frame brings */
    BT_BODY_MAX = INT32_MAX,
    BT_STOPS_MAX = 16,
    BT_STOP_BYTES = 1 << 20, /* all stop strings of a request: what is held back has to fit into a frame */
    BT_ENDS_MAX = 64,
    BT_WIDTH_MAX = 65536,         /* floats of one vector */
    BT_TOKEN_TEXT_MAX = 16 << 10, /* bytes of one token's text: a vocabulary, too, is from strangers */
    BT_FILES_MAX = 256,
    BT_NEWS_MAX = BT_FRAME_MAX - 64, /* bytes that one NEWS frame brings */
};

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
    BT_FRAME_PART,
    BT_FRAME_MORE,
    BT_FRAME_CALL,
    BT_FRAME_DATA,
    BT_FRAME_REPLY,
    BT_FRAME_START,
    BT_FRAME_NEWS,
    BT_FRAME_END, /* none; one past the last */
};

/* What an owner is to make: an answer, a vector per input, a score per document. TRANSCRIBE (wire/speech.h) and DRAW
 * (wire/drawing.h) are not llama's. */
enum bt_what { BT_WHAT_GENERATE, BT_WHAT_EMBED, BT_WHAT_SCORE, BT_WHAT_TRANSCRIBE, BT_WHAT_DRAW, BT_WHAT_END };

/* STATE: nothing is added, the answer in `state` goes on. */
enum bt_prompt_kind { BT_PROMPT_TEXT, BT_PROMPT_CHAT, BT_PROMPT_TOKENS, BT_PROMPT_STATE };

/* One text to embed or to score, or its tokens. */
struct bt_frame_input {
    struct bt_text text; /* when there are no tokens */
    const bt_token *tokens;
    size_t n;
};

/* What is asked. Encoding copies everything; decoding borrows from the body, but for `messages`, `images`, `inputs` and
 * the arrays inside, which bt_submit_free gives back. */
struct bt_submit {
    uint64_t id;
    uint32_t attempt;
    uint64_t flow;
    enum bt_what what;
    enum bt_prompt_kind kind;
    struct bt_text text;              /* BT_PROMPT_TEXT */
    struct bt_chat_message *messages; /* BT_PROMPT_CHAT */
    size_t n_messages;
    struct bt_image *images; /* in the chat */
    size_t n_images;
    bt_token *tokens; /* BT_PROMPT_TOKENS */
    size_t n_tokens;
    bt_token *resume; /* tokens of the answer that an earlier attempt has delivered */
    size_t n_resume;
    uint32_t resume_held;   /* bytes of their text that were held back */
    uint32_t resume_unread; /* how many of them no ACK was sent for: they are in the window still */
    struct bt_text state;   /* a saved conversation (owner/saved.h) that the prompt comes after; len 0: none */
    struct bt_sampling sampling;
    int32_t max_tokens; /* < 0: until the context is full */
    uint32_t window;    /* how many tokens may be on their way without an ACK */
    struct bt_text stops[BT_STOPS_MAX];
    size_t n_stops;
    struct bt_frame_input *inputs; /* EMBED: texts or tokens; SCORE: documents, for the query in `text` */
    size_t n_inputs;
    bool normalise; /* EMBED: vectors of length 1 */
    bool open;      /* EMBED: MORE may come, and is waited for */
    bool keep;      /* GENERATE: may be saved after its end, too, until 64 others have ended */
};

/* The result of EMBED and SCORE, in the order of the inputs, each: u32 tokens, then `width` floats (READY). */
#define BT_RECORD_BYTES(width) (4 + 4 * (size_t)(width))
void bt_put_record(struct bt_buf *b, uint32_t tokens, const float *values, size_t width);
/* False when the floats are none; `bytes` holds BT_RECORD_BYTES(width). */
bool bt_get_record(const unsigned char *bytes, size_t width, uint32_t *tokens, float *values);

struct bt_more {
    struct bt_frame_input *inputs;
    size_t n_inputs;
    bool open; /* as in bt_submit */
};

/* Questions that need no slot. `bytes` is what they are about, and the result what is in brackets. */
enum bt_call_op {
    BT_CALL_TOKENIZE,   /* a text; number: BT_TOKENIZE_… [tokens] */
    BT_CALL_DETOKENIZE, /* tokens [the bytes of each; control tokens have none] */
    BT_CALL_CHAT,       /* messages [the text of the chat in the model's template] */
    BT_CALL_METADATA,   /* [keys and values] */
    BT_CALL_SAVE,       /* about: a request; number: of its answer's tokens, those to be in it [owner/saved.h] */
    BT_CALL_RESET,      /* number: 1 waits for what is running, 0 is BUSY then, having emptied the rest [] */
    BT_CALL_END,
};
enum { BT_TOKENIZE_ADD = 1, BT_TOKENIZE_PARSE = 2 };

struct bt_call {
    uint64_t id;
    enum bt_call_op op;
    uint64_t about;
    uint32_t number;
    struct bt_text bytes;
};

/* The most bytes that such a call's result takes, for `size` bytes of question. An owner has none that is longer. */
uint64_t bt_call_result_max(enum bt_call_op op, size_t size);

/* The frame that begins a body. */
struct bt_frame_body {
    uint64_t id;
    uint32_t attempt;
    size_t total;
    struct bt_text first; /* as much as came with it */
};

struct bt_frame_part {
    uint64_t id;
    uint32_t attempt;
    struct bt_text bytes;
};

struct bt_frame_data {
    uint64_t id;
    uint32_t attempt;
    uint64_t offset; /* in the whole result */
    struct bt_text bytes;
};

struct bt_frame_news {
    uint64_t id;
    uint32_t attempt;
    struct bt_text bytes;
};

struct bt_frame_reply {
    uint64_t id;
    baton_status status;
    uint64_t offset;      /* of `bytes` in the result */
    struct bt_text bytes; /* the end of the result; one line of text when status is not BATON_OK */
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
    char device[64]; /* whose contexts take turns; "": none */
    struct bt_model_details details;
    enum bt_pooling pooling;    /* OFF: it generates; else it embeds or scores */
    uint32_t width;             /* floats of each result then */
    bt_token ends[BT_ENDS_MAX]; /* tokens that end an answer */
    uint32_t n_ends;
};

/* Everything an owner process is told when it begins: what bt_model_params and bt_context_params say, with files by the
 * numbers of the descriptors that it was given. */
enum bt_library { BT_LIBRARY_LLAMA, BT_LIBRARY_WHISPER, BT_LIBRARY_SD, BT_LIBRARY_END };
struct bt_start {
    uint32_t version; /* BT_IPC_VERSION; the rest is good only then. Set by encoding */
    enum bt_library library;
    uint32_t number;        /* of the context */
    uint32_t flags;         /* what they mean is its reader's */
    struct bt_text path;    /* as people wrote it, to be shown; and what decides when there are no files */
    bool has_chat_template; /* else the model's own */
    struct bt_text chat_template;
    int gpu_layers;
    struct bt_context_params context;
    int files[BT_FILES_MAX]; /* descriptors of the model: one, or each piece of a split one; none: path says all */
    size_t n_files;
    struct bt_start_lora {
        int fd;
        float scale;
        struct bt_text path; /* to be shown */
    } * loras;               /* decoding: malloc, bt_start_free */
    size_t n_loras;
    bool has_mmproj; /* a projector, by its descriptor; its path is to be shown */
    int mmproj_file;
    struct bt_text mmproj;
    struct bt_text parts[BT_SD_PARTS]; /* SD: the parts that it has, to be shown; their descriptors are `files` */
    bool flash_attention;              /* likewise */
};

/* What becomes of a request inside its owner. One that is in no list has touched nothing native yet. */
enum bt_standing {
    BT_STANDING_PREPARING, /* template, tokens, sampler */
    BT_STANDING_RESTING,   /* waits for a sequence, for its turn, or for its reader */
    BT_STANDING_STEPPING,  /* in the native calls that come next, or are running */
};

/* Sent when the model is loaded, before the self-test; before native code sees anything new, so that after a crash it
 * is known who was in it; and at least each BT_PULSE_NS, from inside long calls too where the library allows it, so
 * that a hang is known. */
enum { BT_PULSE_MAX = 2048 };
#define BT_PULSE_NS BT_NS_PER_S
struct bt_pulse {
    uint64_t steps;
    int64_t call_ns; /* what a native call takes */
    bool listed;     /* false: all stands as it did; n is 0 */
    size_t n;
    struct {
        uint64_t id;
        enum bt_standing standing;
    } list[BT_PULSE_MAX];
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
/* The whole of it: SUBMIT and as many PARTs as it takes. */
void bt_put_submit(struct bt_buf *b, const struct bt_submit *s);
void bt_put_more(struct bt_buf *b, uint64_t id, uint32_t attempt, const struct bt_more *m);
void bt_put_call(struct bt_buf *b, const struct bt_call *c);
/* The same in two steps, for who sends the pieces as there is room for them: the body's bytes, and then, from offset 0
 * on, the frame with the next piece. Returns the offset after it. */
void bt_submit_encode(struct bt_buf *body, const struct bt_submit *s);
void bt_more_encode(struct bt_buf *body, const struct bt_more *m);
void bt_call_encode(struct bt_buf *body, const struct bt_call *c);
size_t bt_put_piece(struct bt_buf *b, enum bt_frame_type type, uint64_t id, uint32_t attempt, const unsigned char *body,
                    size_t total, size_t offset);
void bt_put_cancel(struct bt_buf *b, uint64_t id, baton_status reason);
void bt_put_ack(struct bt_buf *b, uint64_t id, uint32_t tokens);
void bt_put_close(struct bt_buf *b, bool drain);
void bt_put_ready(struct bt_buf *b, const struct bt_frame_ready *r);
void bt_put_fatal(struct bt_buf *b, baton_status status, const char *text);
/* Why an owner ends that could not take a frame. */
static inline const char *bt_frame_fault(baton_status status) {
    return status == BATON_NO_MEMORY ? "no memory for what the front has sent"
                                     : "the front sent a frame that makes no sense here";
}
void bt_put_token(struct bt_buf *b, const struct bt_frame_token *t);
void bt_put_done(struct bt_buf *b, const struct bt_frame_done *d);
void bt_put_pulse(struct bt_buf *b, const struct bt_pulse *p);
void bt_put_log(struct bt_buf *b, baton_log_level level, const char *text);
void bt_put_data(struct bt_buf *b, const struct bt_frame_data *d);
void bt_put_news(struct bt_buf *b, const struct bt_frame_news *n);
void bt_put_reply(struct bt_buf *b, const struct bt_frame_reply *r);
void bt_put_start(struct bt_buf *b, const struct bt_start *s);

/* BATON_OK or BATON_PROTOCOL (a field is missing, out of range, or bytes are left over); _NO_MEMORY where there are
 * arrays to make. */
baton_status bt_get_hello(const struct bt_frame *f, uint32_t *version);
/* A whole body; h says whose. bt_get_body and bt_get_part take any frame of theirs. */
baton_status bt_get_submit(const struct bt_frame_body *h, const unsigned char *body, size_t len, struct bt_submit *s);
void bt_submit_free(struct bt_submit *s); /* of a decoded one */
baton_status bt_get_more(const unsigned char *body, size_t len, struct bt_more *m);
void bt_more_free(struct bt_more *m);
baton_status bt_get_call(const struct bt_frame_body *h, const unsigned char *body, size_t len, struct bt_call *c);
baton_status bt_get_body(const struct bt_frame *f, struct bt_frame_body *h);
baton_status bt_get_part(const struct bt_frame *f, struct bt_frame_part *p);
baton_status bt_get_cancel(const struct bt_frame *f, uint64_t *id, baton_status *reason);
baton_status bt_get_ack(const struct bt_frame *f, uint64_t *id, uint32_t *tokens);
baton_status bt_get_close(const struct bt_frame *f, bool *drain);
baton_status bt_get_ready(const struct bt_frame *f, struct bt_frame_ready *r);
baton_status bt_get_fatal(const struct bt_frame *f, baton_status *status, struct bt_text *text);
baton_status bt_get_token(const struct bt_frame *f, struct bt_frame_token *t);
baton_status bt_get_done(const struct bt_frame *f, struct bt_frame_done *d);
baton_status bt_get_pulse(const struct bt_frame *f, struct bt_pulse *p);
baton_status bt_get_log(const struct bt_frame *f, baton_log_level *level, struct bt_text *text);
baton_status bt_get_data(const struct bt_frame *f, struct bt_frame_data *d);
baton_status bt_get_news(const struct bt_frame *f, struct bt_frame_news *n);
baton_status bt_get_reply(const struct bt_frame *f, struct bt_frame_reply *r);
baton_status bt_get_start(const struct bt_frame *f, struct bt_start *s);
void bt_start_free(struct bt_start *s);

/* What travels in the bytes of a call: tokens, messages (a role and a content each), keys and values. The arrays are
 * malloc'd, their texts lie in the bytes. */
void bt_put_tokens(struct bt_buf *b, const bt_token *tokens, size_t n);
baton_status bt_get_tokens(const unsigned char *bytes, size_t len, bt_token **tokens, size_t *n);
void bt_put_pair(struct bt_buf *b, const char *key, size_t key_len, const char *value, size_t value_len);
baton_status bt_get_pairs(const unsigned char *bytes, size_t len, struct bt_chat_message **pairs, size_t *n);

#endif
