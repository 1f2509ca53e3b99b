/* What sharing one raw native context really does: threads, a sequence each, and as much of a lock as asked. A trial
 * may silently give wrong tokens, crash or hang, so the caller runs each in a child process of its own and sees those
 * two outcomes itself. */
#ifndef BT_RACE_H
#define BT_RACE_H

#include "native/native.h"

enum bt_race_lock {
    BT_RACE_NO_LOCK,
    BT_RACE_LOCK_DECODE,      /* around each decode: a lock per call is not a lock per transaction */
    BT_RACE_LOCK_TRANSACTION, /* around each decode and the reading of its logits */
};

enum bt_race_verdict { BT_RACE_RIGHT, BT_RACE_WRONG, BT_RACE_ERROR };

enum { BT_RACE_THREADS_MAX = 16 };

/* A loaded model and what each thread's answer must be, from lone runs. One thread at a time; may be carried over a
 * fork, as it has no threads of its own. */
struct bt_race;
struct bt_race_params {
    const char *path; /* NULL: the built-in model */
    int threads;      /* 2 .. BT_RACE_THREADS_MAX */
    int tokens;       /* each thread generates, >= 1 */
};
baton_status bt_race_open(const struct bt_race_params *params, struct bt_race **race, baton_error *err);
void bt_race_close(struct bt_race *race);

/* One trial in a fresh context. BATON_OK: *verdict says what became of the worst of the threads. */
baton_status bt_race_trial(struct bt_race *race, enum bt_race_lock lock, enum bt_race_verdict *verdict,
                           baton_error *err);

#endif
