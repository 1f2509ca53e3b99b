/* What a test may see and steer of the fake native. Counters are process-wide and atomic; the hook is set before the
 * contexts it watches exist. */
#ifndef BT_FAKE_H
#define BT_FAKE_H

#include "native/native.h"

struct bt_fake_stats {
    uint64_t overlaps; /* calls that found another call inside the same context */
    uint64_t decodes, rows, rows_max;
    int64_t models, contexts, samplers, prompts; /* alive; prompts: those with images */
    int64_t decoding, decoding_max;              /* contexts inside a decode at once, now and at most */
};
void bt_fake_stats(struct bt_fake_stats *stats);
void bt_fake_stats_reset(void); /* all but what is alive */

enum bt_fake_call { BT_FAKE_DECODE_BEGIN, BT_FAKE_DECODE_END, BT_FAKE_SEQ_RM, BT_FAKE_SEQ_CP };
struct bt_fake_event {
    enum bt_fake_call call;
    const struct bt_context *context;
    uint64_t number;           /* of the decode in its model, from 1 */
    const struct bt_row *rows; /* decode */
    int n;                     /* decode */
    enum bt_decode result;     /* BT_FAKE_DECODE_END */
    int seq, to;               /* seq_rm, seq_cp */
};
/* Called on the thread that is inside the context; may block it. NULL: none. */
void bt_fake_set_hook(void (*hook)(void *arg, const struct bt_fake_event *event), void *arg);

/* Where the fake of an owner process finds the socket to the front, to which the knob die writes, past the owner; and
 * the pidfd of the front. */
enum { BT_FAKE_SOCKET = 3, BT_FAKE_PARENT = 5 };

/* The knob attempt=N: what is tried when the model is opened; bt_model_info's description then says "done", or the name
 * of the errno, or what was asked to be told. */
enum bt_fake_attempt {
    BT_FAKE_TRY_SOCKET = 1,
    BT_FAKE_TRY_CONNECT, /* ENOENT: it was tried */
    BT_FAKE_TRY_READ,
    BT_FAKE_TRY_CREATE,
    BT_FAKE_TRY_EXEC,   /* ENOENT: it was tried */
    BT_FAKE_TRY_PTRACE, /* ESRCH: it was tried */
    BT_FAKE_TRY_KILL,
    BT_FAKE_TRY_FORK,
    BT_FAKE_TRY_MEMORY, /* EFAULT: it was tried */
    BT_FAKE_TRY_LIMIT,
    BT_FAKE_TRY_FRONT,        /* a signal to the front, by the pidfd that tells of its end */
    BT_FAKE_TRY_STEAL,        /* a descriptor of the front's, by the same */
    BT_FAKE_TELL_ENVIRONMENT, /* the names of its variables */
    BT_FAKE_TELL_DESCRIPTORS, /* those that are open */
};

/* Tokens that are not bytes. The answer ends with BT_FAKE_EOT; BT_FAKE_ASSISTANT ends every prompt. */
enum {
    BT_FAKE_BOS = 256,
    BT_FAKE_EOS,
    BT_FAKE_EOT,
    BT_FAKE_ASSISTANT,
    BT_FAKE_EURO_HEAD,  /* two of the three bytes of U+20AC; byte 0xac must follow */
    BT_FAKE_SMILE_HEAD, /* two of the four bytes of U+1F600 */
    BT_FAKE_SMILE_TAIL,
    BT_FAKE_WORDS, /* the first of the pieces that are whole words */
    BT_FAKE_VOCAB_MIN = 288,
};

#endif
