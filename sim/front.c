/* Random schedules of the front's deciding part against fake owners, in virtual time: clients ask, cancel, leave, read
 * slowly; owners fault, hang, talk garbage, are killed, do not start; the front itself is away. After every event the
 * invariants of dispatch.h and gate.h are checked, and at the end that everybody had one outcome, the right one.
 *
 * Usage: sim_front [SCHEDULES [SEED]] runs that many, from that seed on; a failure prints its seed and its trace.
 *        sim_front --trace SEED  replays one. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { EVENTS_MAX = 60000, CHAOS = 260 };

uint64_t world_draw(struct world *w, uint64_t below) {
    return bt_mix64(w->seed * 0x9e3779b97f4a7c15u + ++w->draws) % below;
}

bool world_chance(struct world *w, int percent) {
    return world_draw(w, 100) < (uint64_t)percent;
}

void world_say(const struct world *w, const char *format, ...) {
    va_list args;
    if (!w->trace)
        return;
    va_start(args, format);
    printf("%10.3f  ", (double)w->now_ns / 1e9);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void world_expect(struct world *w, bool holds, const char *what) {
    if (holds || w->wrong)
        return;
    w->wrong = what;
    world_say(w, "WRONG: it does not hold that %s", what);
}

static int64_t op_now(void *arg) {
    return ((struct world *)arg)->now_ns;
}

static void op_write(void *arg, int context) {
    (void)arg;
    (void)context; /* the owner reads from the very buffer */
}

static baton_status op_start(void *arg, int i, baton_error *err) {
    struct world *w = arg;
    world_expect(w, w->owners[i].state == NOBODY, "an owner is started after the end of the last");
    if (!w->quiet && w->failures > 0 && world_chance(w, 10)) {
        w->failures--;
        world_say(w, "owner %d cannot be started", i);
        return bt_fail(err, BATON_IO, "no process");
    }
    owner_start(w, i);
    return BATON_OK;
}

static void op_kill(void *arg, int i) {
    struct world *w = arg;
    struct owner *o = &w->owners[i];
    world_say(w, "the front kills owner %d", i);
    if (o->state != DEAD && o->state != NOBODY)
        owner_dies(w, i, BT_END_SIGNALLED, SIGKILL, "killed by the front");
}

static const struct bt_dispatch_ops OPS = {op_now, op_write, op_start, op_kill};

static void on_text(void *arg, const char *text, size_t len) {
    struct client *c = arg;
    if (c->len + len < sizeof c->text) {
        memcpy(c->text + c->len, text, len);
        c->len += len;
    }
    c->unread++;
}

static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct client *c = arg;
    if (c->done || c->abandoned)
        abort(); /* two outcomes, or one for nobody */
    c->done = true;
    c->outcome = *outcome;
    snprintf(c->why, sizeof c->why, "%s", outcome->error ? outcome->error : "");
    c->request = NULL;
}

static void draw_client(struct world *w, struct client *c) {
    c->flow = 1 + world_draw(w, 3);
    c->limits = (struct bt_limits){world_chance(w, 90) ? BT_WAIT : BT_REFUSE, (int)world_draw(w, 3),
                                   world_chance(w, 20) ? (int64_t)world_draw(w, 5000) : -1,
                                   world_chance(w, 20) ? (int64_t)world_draw(w, 60000) : -1,
                                   world_chance(w, 10) ? (int64_t)world_draw(w, 20000) : -1};
    c->length = (int32_t)world_draw(w, 40);
    c->max_tokens = world_chance(w, 50) ? -1 : (int32_t)world_draw(w, 40);
    c->slow = world_chance(w, 15);
    c->submit_ns = (int64_t)world_draw(w, 2000) * BT_NS_PER_MS;
}

static void draw_world(struct world *w) {
    w->now_ns = BT_NS_PER_S;
    w->contexts = 1 + (int)world_draw(w, CONTEXTS_MAX);
    w->sequences = 1 + (int)world_draw(w, 4);
    w->n_clients = 2 + (int)world_draw(w, CLIENTS_MAX - 2);
    w->threads = world_chance(w, 8);
    w->resume = !w->threads && world_chance(w, 92);
    w->echild = !w->threads && world_chance(w, 8);
    w->kills = w->threads ? 0 : (int)world_draw(w, w->echild ? 3 : 5);
    w->failures = w->threads ? 0 : (int)world_draw(w, 3);
    w->faults = w->threads ? 0 : (int)world_draw(w, 2);
    w->aways = (int)world_draw(w, 2);
    for (int i = 0; i < w->n_clients; i++)
        draw_client(w, &w->clients[i]);
    for (int vicious = w->threads ? 0 : (int)world_draw(w, 4); vicious > 0; vicious--) {
        struct client *c = &w->clients[world_draw(w, (uint64_t)w->n_clients)];
        c->vice = (enum vice)(1 + world_draw(w, VICES - 1));
        c->vice_at = (int32_t)world_draw(w, 20) - 1;
    }
    const struct bt_dispatch_params p = {.contexts = w->contexts,
                                         .sequences = w->sequences,
                                         .queue_max = (int)world_draw(w, 12),
                                         .restarts = !w->threads,
                                         .resume = w->resume,
                                         .hang_ms = w->threads ? -1 : 30000,
                                         .start_ms = w->threads ? -1 : 60000,
                                         .seed = w->seed};
    bt_dispatch_init(&w->dispatch, &p, &OPS, w);
    for (int i = 0; i < w->contexts; i++)
        w->dispatch.contexts[i].out = &w->owners[i].to;
}

static void ask(struct world *w, int i) {
    struct client *c = &w->clients[i];
    char prompt[32];
    baton_error err;
    snprintf(prompt, sizeof prompt, "request %d", i);
    struct bt_submit s = {.id = (uint64_t)i + 1,
                          .flow = c->flow,
                          .kind = BT_PROMPT_TEXT,
                          .text = {prompt, strlen(prompt)},
                          .max_tokens = c->max_tokens};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    struct bt_handler h = {.on_text = on_text, .on_done = on_done, .arg = c};
    c->asked = true;
    c->asked_order = w->asked++;
    baton_status st = bt_dispatch_submit(&w->dispatch, &s, &c->limits, &h, &c->request, &err);
    c->accepted = st == BATON_OK;
    world_say(w, "request %d of flow %d, priority %d: %s", i, (int)c->flow, c->limits.priority, baton_status_name(st));
}

static bool client_acts(struct world *w) {
    int i = (int)world_draw(w, (uint64_t)w->n_clients);
    struct client *c = &w->clients[i];
    if (!c->asked) {
        if (!w->quiet && w->now_ns < c->submit_ns)
            return false;
        ask(w, i);
        return true;
    }
    if (!c->request || c->done || c->abandoned)
        return false;
    if (!w->quiet && world_chance(w, 2)) {
        world_say(w, "request %d is cancelled", i);
        c->cancelled = true;
        bt_request_cancel(c->request, BATON_CANCELLED);
        return true;
    }
    if (!w->quiet && world_chance(w, 1)) {
        struct bt_request *r = c->request;
        world_say(w, "request %d is abandoned", i);
        c->abandoned = true;
        c->request = NULL;
        bt_request_abandon(r);
        return true;
    }
    if (c->unread > 0 && (!c->slow || w->quiet)) {
        uint32_t n = c->unread;
        c->unread = 0;
        bt_request_consumed(c->request, n);
        return true;
    }
    return false;
}

static void killed_from_outside(struct world *w) {
    int i = (int)world_draw(w, (uint64_t)w->contexts);
    if (w->owners[i].state == NOBODY || w->owners[i].state == DEAD)
        return;
    w->kills--;
    world_say(w, "somebody kills owner %d", i);
    owner_dies(w, i, BT_END_SIGNALLED, SIGKILL, "");
}

/* Nobody is overtaken in its flow and band; told at the first event after a grant. */
static void check_order(struct world *w) {
    for (int i = 0; i < w->n_clients; i++) {
        struct client *a = &w->clients[i];
        if (!a->request || a->request->at == BT_QUEUED || a->granted)
            continue;
        a->granted = true;
        for (int k = 0; k < w->n_clients; k++) {
            const struct client *b = &w->clients[k];
            if (b->request && b->request->at == BT_QUEUED && b->flow == a->flow &&
                b->limits.priority == a->limits.priority)
                world_expect(w, b->asked_order > a->asked_order, "a flow is first in, first out");
        }
    }
}

static void check_texts(struct world *w) {
    for (int i = 0; i < w->n_clients; i++) {
        struct client *c = &w->clients[i];
        char text[TEXT + 1];
        size_t at = c->len >= 4 * TEXT ? c->len - 4 * TEXT : 0; /* what came before was looked at before */
        world_expect(w, c->len % TEXT == 0, "texts come whole");
        for (; at < c->len; at += TEXT) {
            text_of(i, (int32_t)(at / TEXT), text);
            world_expect(w, memcmp(c->text + at, text, TEXT) == 0, "tokens come in order, each once");
        }
    }
}

static void check(struct world *w) {
    const char *wrong = bt_dispatch_check(&w->dispatch);
    world_expect(w, !wrong, wrong ? wrong : "");
    check_order(w);
    check_texts(w);
}

/* Time passes only as far as those who live have pulsed and were heard, unless the front is away. */
static void time_passes(struct world *w) {
    int64_t due = bt_dispatch_tick(&w->dispatch), step = (1 + (int64_t)world_draw(w, 500)) * BT_NS_PER_MS;
    if (!w->quiet && w->aways > 0 && world_chance(w, 3)) {
        w->aways--;
        world_say(w, "the front is away");
        w->now_ns += 120 * BT_NS_PER_S;
        bt_dispatch_tick(&w->dispatch);
        return;
    }
    w->now_ns += due > w->now_ns ? BT_MIN(step, due - w->now_ns) : 0;
    for (int i = 0; i < w->contexts; i++)
        if (w->owners[i].state == LIVE && w->now_ns - w->owners[i].pulsed_ns >= BT_PULSE_NS) {
            owner_pulses(w, i);
            while (w->owners[i].pipe.len > 0 && owner_is_heard(w, i, true))
                ;
        }
}

static bool all_over(const struct world *w) {
    for (int i = 0; i < w->n_clients; i++) {
        const struct client *c = &w->clients[i];
        if (!c->asked || (c->accepted && !c->done && !c->abandoned))
            return false;
    }
    return w->dispatch.gate.used == 0;
}

static void event(struct world *w) {
    int i = (int)world_draw(w, (uint64_t)w->contexts);
    bool acted;
    switch (world_draw(w, 8)) {
    case 0:
    case 1:
        acted = client_acts(w);
        break;
    case 2:
    case 3:
        acted = owner_acts(w, i);
        break;
    case 4:
    case 5:
        acted = owner_is_heard(w, i, world_chance(w, 50));
        break;
    case 6:
        acted = !w->quiet && w->kills > 0 && world_chance(w, 10);
        if (acted)
            killed_from_outside(w);
        break;
    default:
        acted = true;
        time_passes(w);
    }
    if (acted)
        bt_dispatch_tick(&w->dispatch);
    if (acted)
        check(w);
}

static void judge(struct world *w, int i) {
    const struct client *c = &w->clients[i];
    int32_t length = c->max_tokens < 0 ? c->length : BT_MIN(c->length, c->max_tokens);
    bool guilty = c->vice && c->vice_at <= length && (c->vice_at < 0 || c->vice_at != c->max_tokens);
    if (!c->accepted || c->abandoned)
        return;
    baton_status st = c->outcome.status;
    world_say(w, "request %d: %s, %zu bytes, guilty: %d, vice %d at %d, %s", i, baton_status_name(st), c->len, guilty,
              c->vice, c->vice_at, c->why);
    bool unread = c->limits.idle_ms >= 0 && strstr(c->why, "nobody read its stream") != NULL;
    bool excused = (st == BATON_CANCELLED && (c->cancelled || unread)) ||
                   (st == BATON_RUN_TIMEOUT && c->limits.run_ms >= 0) ||
                   (st == BATON_QUEUE_TIMEOUT && c->limits.queue_ms >= 0);
    if (excused)
        return;
    if (st == BATON_OK) {
        world_expect(w, !guilty, "who kills its owner does not complete");
        world_expect(w, c->len == (size_t)length * TEXT, "who completes has all of its text");
    } else if (w->resume) {
        world_expect(w, st == BATON_CRASHED || st == BATON_HUNG, "outcomes are those that can be");
        world_expect(w, guilty, "nobody innocent is quarantined or lost");
    } else {
        world_expect(w, st == BATON_CRASHED || st == BATON_HUNG || st == BATON_CLOSED,
                     "outcomes are those that can be");
    }
}

static const char *run(uint64_t seed, bool trace) {
    static struct world w;
    memset(&w, 0, offsetof(struct world, dispatch));
    memset(w.owners, 0, sizeof w - offsetof(struct world, owners));
    w.seed = seed;
    w.trace = trace;
    draw_world(&w);
    bt_dispatch_tick(&w.dispatch);
    int events = 0;
    for (; events < CHAOS && !w.wrong; events++)
        event(&w);
    w.quiet = true;
    world_say(&w, "no more faults");
    for (; events < EVENTS_MAX && !w.wrong && !all_over(&w); events++)
        event(&w);
    world_expect(&w, all_over(&w), "nobody waits for ever");
    for (int i = 0; i < w.n_clients && !w.wrong; i++)
        judge(&w, i);
    bt_dispatch_close(&w.dispatch);
    for (events = 0; events < EVENTS_MAX && !w.wrong && !bt_dispatch_closed(&w.dispatch); events++)
        event(&w);
    world_expect(&w, bt_dispatch_closed(&w.dispatch), "a closed front comes to its end");
    for (int i = 0; i < CONTEXTS_MAX; i++)
        owner_free(&w.owners[i]);
    return w.wrong;
}

int main(int argc, char **argv) {
    bool trace = argc > 2 && strcmp(argv[1], "--trace") == 0;
    uint64_t n = trace ? 1 : argc > 1 ? strtoull(argv[1], NULL, 0) : 2000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    int64_t began = bt_now_ns();
    bt_log_set_level(BATON_LOG_ERROR);
    if (!trace && n > 0)
        printf("schedules %llu, from seed %llu\n", (unsigned long long)n, (unsigned long long)seed);
    for (uint64_t i = 0; i < n; i++) {
        const char *wrong = run(seed + i, trace);
        if (!wrong)
            continue;
        if (!trace)
            run(seed + i, true);
        printf("seed %llu: it does not hold that %s\n(sim_front --trace %llu replays it)\n",
               (unsigned long long)(seed + i), wrong, (unsigned long long)(seed + i));
        return 1;
    }
    printf("all held, in %.1f s\n[       OK ] schedules.\n", (double)(bt_now_ns() - began) / 1e9);
    return 0;
}
