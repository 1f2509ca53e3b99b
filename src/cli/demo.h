/* The three parts of `baton demo`, and what they say to each other. Everything runs on the main thread; the threads of
 * part two are joined before it returns. */
#ifndef BT_DEMO_H
#define BT_DEMO_H

#include "cli/cli.h"
#include "lease/caller.h"

enum { BT_DEMO_ASKS = 8, BT_DEMO_TOKENS = 64 };

struct bt_demo {
    const struct bt_model_settings *model;
    int trials;
    bool live;          /* stdout is a terminal */
    char program[4096]; /* this very program */

    /* what is asked, and what each answer is when nobody else is there */
    const char *questions[BT_DEMO_ASKS];
    bt_token *prompts[BT_DEMO_ASKS];
    size_t n_prompts[BT_DEMO_ASKS];
    struct bt_run_result lone[BT_DEMO_ASKS];
};

enum { BT_DEMO_RACES = 2 };

/* One line of the closing table. */
struct bt_demo_row {
    char name[64];
    int right, wrong, error, crash, hang;
    double tokens_per_s; /* 0: not measured */
    char remark[32];
};

/* (a) two threads on one raw context, without a lock and with one around each decode. Runs before any thread of ours
 * exists: it forks. */
baton_status bt_demo_race(const struct bt_demo *d, struct bt_demo_row rows[2], baton_error *err);

/* (b) the same questions under a policy. */
enum bt_demo_policy { BT_DEMO_REFUSE, BT_DEMO_WAIT, BT_DEMO_CONTEXTS, BT_DEMO_SEQUENCES, BT_DEMO_POLICIES };
baton_status bt_demo_policy(const struct bt_demo *d, enum bt_demo_policy policy, struct bt_demo_row *row,
                            baton_error *err);

/* (c) a server and a streaming client for each question, live. */
baton_status bt_demo_serve(const struct bt_demo *d, struct bt_demo_row *row, baton_error *err);

/* The answer to question i has come: counts it as right or wrong. */
void bt_demo_judge(const struct bt_demo *d, int i, const void *text, size_t len, struct bt_demo_row *row);

#endif
