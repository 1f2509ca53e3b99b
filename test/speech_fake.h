/* What the fake recogniser has counted, at the end of a program: cmocka looks at no verdict of a group's teardown. */
#ifndef BT_SPEECH_FAKE_H
#define BT_SPEECH_FAKE_H

#include "harness.h"

#include <stdbool.h>

#include "native/fake_whisper.h"

/* Nobody was in a state that another one was in, and nothing lives, or was freed under somebody's hands. */
static inline bool something_is_left(void) {
    struct bt_fake_whisper_stats s;
    bt_fake_whisper_stats(&s);
    bool left = s.overlaps || s.models || s.states || s.running || s.models_freed_early;
    if (left)
        fprintf(stderr, "%llu overlaps, %lld models, %lld states, %lld running, %llu freed early\n",
                (unsigned long long)s.overlaps, (long long)s.models, (long long)s.states, (long long)s.running,
                (unsigned long long)s.models_freed_early);
    return left;
}

#endif
