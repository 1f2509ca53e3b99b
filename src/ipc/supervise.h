/* The life of one owner: started, ready, silent, condemned, ended, started again, given up. A pure state machine: no
 * thread, no clock, no I/O; time is an argument. Its shell starts and kills, and says what it has seen.
 *
 * Invariants:
 *   S1  an owner is started only after the end of the one before was told (bt_supervise_ended), or never was one
 *   S2  a condemned owner is killed, and nothing that it says is believed any more
 *   S3  the wait before a start grows with the deaths in a row that brought no new token, and with those alone
 *   S4  GONE is for good
 *
 * State: the struct's owner's; one thread. */
#ifndef BT_SUPERVISE_H
#define BT_SUPERVISE_H

#include "base/base.h"
#include "ipc/spawn.h"

enum bt_life {
    BT_LIFE_WAITING,  /* to be started at start_ns */
    BT_LIFE_STARTING, /* it loads */
    BT_LIFE_READY,
    BT_LIFE_ENDING, /* closed, condemned, or its socket has ended: its end is to be told */
    BT_LIFE_GONE,   /* ended, and not started any more */
};

/* What the front has against an owner before anybody knows how it ended. */
enum bt_charge {
    BT_CHARGE_NONE,
    BT_CHARGE_HUNG,    /* not heard of for too long */
    BT_CHARGE_SLOW,    /* not ready in time */
    BT_CHARGE_GARBAGE, /* said what makes no sense */
    BT_CHARGE_LOST,    /* a frame to or from it was lost here: its fault it is not */
    BT_CHARGE_CLOSED,  /* we asked it to end */
};

/* Who is to blame for an end: nobody, who was in the native code, or perhaps somebody: the status was not to be had. */
enum bt_blame { BT_BLAME_NOBODY, BT_BLAME_UNKNOWN, BT_BLAME_SUSPECTS };

struct bt_supervise_params {
    bool restarts;
    int64_t hang_ms;  /* the least silence that is a hang; < 0: nothing is */
    int64_t start_ms; /* the longest start; < 0: any */
    uint64_t seed;    /* of the jitter */
};

struct bt_supervisor {
    struct bt_supervise_params params;
    enum bt_life life;
    enum bt_charge charge;
    int64_t since_ns; /* in this life */
    int64_t heard_ns; /* the last word of it */
    int64_t ready_ns; /* when this one became ready; BT_NEVER_NS: it did not */
    int64_t start_ns; /* WAITING: when it is due */
    int64_t kill_ns;  /* ENDING: when it is killed if it has not ended */
    bool killed;
    bool loaded;       /* STARTING: its model is; what is left are native calls, which may hang */
    int64_t step_ns;   /* what a native call takes, as the owner says */
    bool progressed;   /* a new token since the start */
    int deaths;        /* in a row without a new token between */
    int convictions;   /* likewise */
    uint32_t starts;   /* so far */
    char words[256];   /* of the last that ended; "" */
    char account[420]; /* how it ended, for people; "" */
};

enum {
    BT_HANG_STEPS = 20,    /* a call may take so many times what calls take */
    BT_DEATHS_MAX = 10,    /* in a row without a new token: then it is given up */
    BT_CONVICTIONS_MAX = 8 /* in a row that excuse the owner: then it is taken to be broken itself */
};

void bt_supervise_init(struct bt_supervisor *s, const struct bt_supervise_params *params, int64_t now_ns);

/* It has been started; or could not be, which counts as a death: `why` is its last word. */
void bt_supervise_started(struct bt_supervisor *s, int64_t now_ns);
void bt_supervise_not_started(struct bt_supervisor *s, const char *why, int64_t now_ns);

/* Any frame that makes sense; that a model is loaded, READY among them; what calls take. */
void bt_supervise_heard(struct bt_supervisor *s, int64_t now_ns);
void bt_supervise_loaded(struct bt_supervisor *s);
void bt_supervise_ready(struct bt_supervisor *s, int64_t now_ns);
void bt_supervise_step(struct bt_supervisor *s, int64_t step_ns);

void bt_supervise_progress(struct bt_supervisor *s);  /* a new token */
void bt_supervise_convicted(struct bt_supervisor *s); /* its last death is explained by a request */

/* It is to end, because of `charge`; what it says is not believed from now on, unless it is CLOSED. */
void bt_supervise_condemn(struct bt_supervisor *s, enum bt_charge charge, int64_t now_ns);

/* Its socket has ended; its own end is near, or it is killed soon. */
void bt_supervise_parted(struct bt_supervisor *s, int64_t now_ns);

/* It has ended. `end` is NULL for a thread. */
enum bt_blame bt_supervise_ended(struct bt_supervisor *s, const struct bt_owner_end *end, int64_t now_ns);

/* What is to be done now, told once: start it (then _started or _not_started is called), kill it. */
enum bt_order { BT_ORDER_NONE, BT_ORDER_START, BT_ORDER_KILL };
enum bt_order bt_supervise_tick(struct bt_supervisor *s, int64_t now_ns);
int64_t bt_supervise_next(const struct bt_supervisor *s); /* when to tick; BT_NEVER_NS */

/* It was ready and has been heard of lately: a claim that needs no killing to be false. */
bool bt_supervise_answers(const struct bt_supervisor *s, int64_t now_ns);
const char *bt_supervise_name(const struct bt_supervisor *s, int64_t now_ns); /* "ready", "silent", "restarting" … */

#endif
