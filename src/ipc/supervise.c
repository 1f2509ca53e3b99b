/* When an owner is started, killed and given up, and whom its end blames. State: in the struct. */
#include "ipc/supervise.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* An owner says something each second (BT_PULSE_NS): a few pulses that do not come make it silent, all of a hang
 * limit's make it hung. */
static const int64_t BACKOFF_MS = 100, BACKOFF_MAX_MS = 10000, LINGER_MS = 2000, CLOSE_MS = 1000,
                     SILENT_NS = 5 * BT_NS_PER_S, STABLE_NS = 60 * BT_NS_PER_S, STEP_MAX_NS = 600 * BT_NS_PER_S;

void bt_supervise_init(struct bt_supervisor *s, const struct bt_supervise_params *params, int64_t now_ns) {
    memset(s, 0, sizeof *s);
    s->params = *params;
    s->life = BT_LIFE_WAITING;
    s->since_ns = s->heard_ns = s->start_ns = now_ns;
}

static void enter(struct bt_supervisor *s, enum bt_life life, int64_t now_ns) {
    s->life = life;
    s->since_ns = now_ns;
}

void bt_supervise_started(struct bt_supervisor *s, int64_t now_ns) {
    enter(s, BT_LIFE_STARTING, now_ns);
    s->heard_ns = now_ns;
    s->ready_ns = BT_NEVER_NS;
    s->charge = BT_CHARGE_NONE;
    s->killed = s->loaded = s->progressed = false;
    s->starts++;
}

void bt_supervise_heard(struct bt_supervisor *s, int64_t now_ns) {
    s->heard_ns = now_ns;
}

void bt_supervise_loaded(struct bt_supervisor *s) {
    s->loaded = true;
}

void bt_supervise_ready(struct bt_supervisor *s, int64_t now_ns) {
    if (s->life != BT_LIFE_STARTING)
        return;
    enter(s, BT_LIFE_READY, now_ns);
    s->ready_ns = now_ns;
}

void bt_supervise_step(struct bt_supervisor *s, int64_t step_ns) {
    s->step_ns = BT_MIN(BT_MAX(step_ns, 0), STEP_MAX_NS);
}

void bt_supervise_progress(struct bt_supervisor *s) {
    s->progressed = true;
    s->deaths = s->convictions = 0;
}

void bt_supervise_convicted(struct bt_supervisor *s) {
    if (++s->convictions >= BT_CONVICTIONS_MAX)
        return;
    s->deaths = 0;
    if (s->life == BT_LIFE_WAITING)
        s->start_ns = s->since_ns;
}

static int64_t hang_ns(const struct bt_supervisor *s) {
    if (s->params.hang_ms < 0)
        return BT_NEVER_NS;
    return BT_MAX(s->params.hang_ms * BT_NS_PER_MS, BT_HANG_STEPS * s->step_ns);
}

static int64_t add(int64_t at_ns, int64_t delay_ns) {
    return delay_ns >= BT_NEVER_NS - at_ns ? BT_NEVER_NS : at_ns + delay_ns;
}

void bt_supervise_condemn(struct bt_supervisor *s, enum bt_charge charge, int64_t now_ns) {
    if (charge == BT_CHARGE_CLOSED) { /* whatever it is at: one that is on its way out, too, is the last */
        s->params.restarts = false;
        if (s->life == BT_LIFE_WAITING)
            enter(s, BT_LIFE_GONE, now_ns);
    }
    /* one that answers has said something within a pulse: from one that has not, nothing more is to be had */
    int64_t patient_ns = bt_deadline(BT_MIN(now_ns, s->heard_ns + BT_NS_PER_S), CLOSE_MS);
    if (s->life == BT_LIFE_ENDING && charge == BT_CHARGE_CLOSED)
        s->kill_ns = BT_MIN(s->kill_ns, bt_deadline(now_ns, CLOSE_MS));
    if (s->life != BT_LIFE_STARTING && s->life != BT_LIFE_READY)
        return;
    bool loading = s->life == BT_LIFE_STARTING;
    enter(s, BT_LIFE_ENDING, now_ns);
    s->charge = charge;
    s->kill_ns = charge == BT_CHARGE_CLOSED && !loading ? BT_MAX(patient_ns, now_ns) : now_ns;
}

void bt_supervise_parted(struct bt_supervisor *s, int64_t now_ns) {
    if (s->life == BT_LIFE_STARTING || s->life == BT_LIFE_READY) {
        enter(s, BT_LIFE_ENDING, now_ns);
        s->kill_ns = bt_deadline(now_ns, LINGER_MS);
    }
}

/* Half of the wait is certain, so that it does what it is for; half is drawn, so that many do not come back at once. */
static int64_t backoff_ns(const struct bt_supervisor *s) {
    if (s->deaths == 0)
        return 0;
    int64_t half = BT_MIN(BACKOFF_MS << BT_MIN(s->deaths - 1, 20), BACKOFF_MAX_MS) * BT_NS_PER_MS / 2;
    return half + (int64_t)((double)half * bt_draw(s->params.seed, s->starts));
}

static void count_death(struct bt_supervisor *s, bool stable, int64_t now_ns) {
    s->deaths = s->progressed || stable ? 0 : s->deaths + 1;
    bool again = s->params.restarts && s->deaths < BT_DEATHS_MAX && s->charge != BT_CHARGE_CLOSED;
    enter(s, again ? BT_LIFE_WAITING : BT_LIFE_GONE, now_ns);
    s->start_ns = now_ns + backoff_ns(s);
}

void bt_supervise_not_started(struct bt_supervisor *s, const char *why, int64_t now_ns) {
    s->starts++;
    s->progressed = false;
    snprintf(s->words, sizeof s->words, "%s", why);
    snprintf(s->account, sizeof s->account, "could not be started: %s", why);
    count_death(s, false, now_ns);
}

/* Signals that come from people, and from a kernel that is out of memory. */
static bool from_outside(int number) {
    return number == SIGKILL || number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;
}

static enum bt_blame blame(const struct bt_supervisor *s, const struct bt_owner_end *end) {
    switch (s->charge) {
    case BT_CHARGE_HUNG:
    case BT_CHARGE_GARBAGE:
        return BT_BLAME_SUSPECTS;
    case BT_CHARGE_SLOW:
    case BT_CHARGE_LOST:
    case BT_CHARGE_CLOSED:
        return BT_BLAME_NOBODY;
    case BT_CHARGE_NONE:
        break;
    }
    if (!end)
        return BT_BLAME_SUSPECTS;
    if (end->kind == BT_END_UNKNOWN || s->killed) /* it lingered: what ended its socket is hidden by our own signal */
        return BT_BLAME_UNKNOWN;
    return end->kind == BT_END_SIGNALLED && from_outside(end->code) ? BT_BLAME_NOBODY : BT_BLAME_SUSPECTS;
}

static void account(struct bt_supervisor *s, const struct bt_owner_end *end) {
    static const char *const charges[] = {
        [BT_CHARGE_NONE] = "",
        [BT_CHARGE_HUNG] = "hung and was killed",
        [BT_CHARGE_SLOW] = "was not ready in time and was killed",
        [BT_CHARGE_GARBAGE] = "sent a frame that makes no sense here",
        [BT_CHARGE_LOST] = "was let go: there was no memory for what passes between here and there",
        [BT_CHARGE_CLOSED] = "was closed",
    };
    char how[96];
    if (s->charge)
        snprintf(how, sizeof how, "%s", charges[s->charge]);
    else if (!end)
        snprintf(how, sizeof how, "ended without a word");
    else if (end->kind == BT_END_UNKNOWN)
        snprintf(how, sizeof how, "ended, nobody knows how: this program reaps its children elsewhere");
    else if (end->kind == BT_END_SIGNALLED)
        snprintf(how, sizeof how, "was ended by signal %d (%s)", end->code, strsignal(end->code));
    else
        snprintf(how, sizeof how, "exited with status %d, unasked", end->code);
    snprintf(s->account, sizeof s->account, "%s%s%s", how, s->words[0] ? ": " : "", s->words);
}

enum bt_blame bt_supervise_ended(struct bt_supervisor *s, const struct bt_owner_end *end, int64_t now_ns) {
    if (s->life == BT_LIFE_WAITING || s->life == BT_LIFE_GONE)
        return BT_BLAME_NOBODY;
    enum bt_blame who = blame(s, end);
    bool stable = s->ready_ns != BT_NEVER_NS && now_ns - s->ready_ns > STABLE_NS;
    snprintf(s->words, sizeof s->words, "%s", end ? end->text : "");
    account(s, end);
    count_death(s, stable, now_ns);
    return who;
}

int64_t bt_supervise_next(const struct bt_supervisor *s) {
    switch (s->life) {
    case BT_LIFE_WAITING:
        return s->start_ns;
    case BT_LIFE_STARTING:
        return BT_MIN(bt_deadline(s->since_ns, s->params.start_ms),
                      s->loaded ? add(s->heard_ns, hang_ns(s)) : BT_NEVER_NS);
    case BT_LIFE_READY:
        return add(s->heard_ns, hang_ns(s));
    case BT_LIFE_ENDING:
        return s->killed ? BT_NEVER_NS : s->kill_ns;
    case BT_LIFE_GONE:
        break;
    }
    return BT_NEVER_NS;
}

enum bt_order bt_supervise_tick(struct bt_supervisor *s, int64_t now_ns) {
    if (bt_supervise_next(s) > now_ns)
        return BT_ORDER_NONE;
    switch (s->life) {
    case BT_LIFE_WAITING:
        return BT_ORDER_START;
    case BT_LIFE_STARTING:
        bt_supervise_condemn(
            s, bt_deadline(s->since_ns, s->params.start_ms) <= now_ns ? BT_CHARGE_SLOW : BT_CHARGE_HUNG, now_ns);
        break;
    case BT_LIFE_READY:
        bt_supervise_condemn(s, BT_CHARGE_HUNG, now_ns);
        break;
    case BT_LIFE_ENDING:
        break;
    case BT_LIFE_GONE:
        return BT_ORDER_NONE;
    }
    s->killed = true;
    return BT_ORDER_KILL;
}

bool bt_supervise_answers(const struct bt_supervisor *s, int64_t now_ns) {
    return s->life == BT_LIFE_READY && now_ns - s->heard_ns < BT_MIN(SILENT_NS, hang_ns(s) / 2);
}

const char *bt_supervise_name(const struct bt_supervisor *s, int64_t now_ns) {
    switch (s->life) {
    case BT_LIFE_WAITING:
        return s->starts ? "restarting" : "starting";
    case BT_LIFE_STARTING:
        return s->starts > 1 ? "restarting" : "starting";
    case BT_LIFE_READY:
        return bt_supervise_answers(s, now_ns) ? "ready" : "silent";
    case BT_LIFE_ENDING:
        return s->charge == BT_CHARGE_HUNG ? "hung" : "ending";
    case BT_LIFE_GONE:
        break;
    }
    return s->charge == BT_CHARGE_CLOSED ? "closed" : "given up";
}
