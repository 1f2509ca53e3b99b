/* What a test may see and steer of the fake recogniser. Counters are process-wide and atomic; the hook is set before
 * the states it watches exist. */
#ifndef BT_FAKE_WHISPER_H
#define BT_FAKE_WHISPER_H

#include "native/whisper.h"

enum {
    BT_FAKE_WHISPER_WINDOW_MS = 1000, /* of audio, where libwhisper has 30 s */
    BT_FAKE_WHISPER_VOCAB = 600,
    BT_FAKE_WHISPER_END = 500, /* the first token that is not text */
};

struct bt_fake_whisper_stats {
    uint64_t overlaps;           /* calls that found another call inside the same state */
    int64_t models, states;      /* alive */
    int64_t running, most;       /* states inside a call at once, now and at most */
    uint64_t runs, windows;      /* transcriptions begun, windows heard */
    uint64_t models_freed_early; /* while a state of theirs was alive */
};
void bt_fake_whisper_stats(struct bt_fake_whisper_stats *stats);
void bt_fake_whisper_stats_reset(void); /* all but what is alive */

/* Called on the thread that hears, before each window of a run; may block it. NULL: none. */
void bt_fake_whisper_set_hook(void (*hook)(void *arg, const struct bt_whisper_state *s, int window), void *arg);

#endif
