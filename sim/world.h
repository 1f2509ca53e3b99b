/* A world in virtual time for the deciding part of the front (ipc/dispatch.h): clients, fake owners, the pipes between,
 * and faults, all drawn from one seed. Nothing here waits, and no two runs of a seed differ.
 *
 * Rules of the fake owners, which are the real ones': they say who is in the native code before they go there; what
 * they have not flushed when they die is lost, and the last frame may be cut in the middle; what was flushed can be
 * read after their end. A token depends on its request and its place alone. */
#ifndef BT_SIM_WORLD_H
#define BT_SIM_WORLD_H

#include <stdio.h>

#include "ipc/dispatch.h"

enum { CLIENTS_MAX = 14, CONTEXTS_MAX = 3, JOBS_MAX = 8, TEXT = 4 };

enum vice { INNOCENT, SEGV, ABRT, EXIT0, HANG, GARBAGE, LIE, VICES };

struct client {
    /* drawn at the beginning */
    struct bt_limits limits;
    uint64_t flow;
    int32_t length, max_tokens; /* where its answer ends by itself; what it asks for */
    enum vice vice;
    int32_t vice_at; /* -1: when it is prepared; else the call that would draw this token */
    bool slow;
    int64_t submit_ns;
    /* what has become of it */
    struct bt_request *request;
    bool asked, accepted, cancelled, abandoned, done, granted;
    int64_t asked_order;
    struct bt_outcome outcome;
    char why[160];
    char text[512];
    size_t len;
    uint32_t unread;
};

struct job {
    int client;
    uint32_t attempt, sent, acked, window;
    int32_t n, max_tokens;
    enum { FRESH, PREPARING, PREPARED } phase;
    enum bt_standing told;
    bool in_step;
    baton_status cancelled;
};

struct owner {
    enum { NOBODY, LOADING, LIVE, STUCK, DEAD } state;
    bool parted, told_dead, closing, is_thread, loaded;
    int64_t loaded_ns,
        ready_ns; /* LOADING: when it says that its model is, and when it is itself; BT_NEVER_NS: never */
    struct bt_owner_end end;
    struct bt_buf to, in;         /* from the front: on the way, read */
    struct bt_buf out, pipe, got; /* to the front: not flushed, on the way, read by the front */
    struct job jobs[JOBS_MAX];
    int n_jobs;
    int64_t pulsed_ns;
};

struct world {
    uint64_t seed, draws;
    int64_t now_ns;
    bool trace, quiet; /* quiet: no more faults */
    struct bt_dispatch dispatch;
    struct owner owners[CONTEXTS_MAX];
    struct client clients[CLIENTS_MAX];
    int n_clients, contexts, sequences;
    bool threads, resume, echild;
    int kills, failures, faults, aways; /* what may still be done to it */
    int64_t asked;
    const char *wrong; /* the first invariant that did not hold */
};

uint64_t world_draw(struct world *w, uint64_t below);
bool world_chance(struct world *w, int percent);
__attribute__((format(printf, 2, 3))) void world_say(const struct world *w, const char *format, ...);
void world_expect(struct world *w, bool holds, const char *what);

/* owners.c */
void owner_start(struct world *w, int i);
void owner_dies(struct world *w, int i, int kind, int code, const char *words);
bool owner_acts(struct world *w, int i);               /* one thing that it does; false: nothing to do */
bool owner_is_heard(struct world *w, int i, bool all); /* bytes, or the end, come to the front */
void owner_pulses(struct world *w, int i);
void owner_free(struct owner *o);

/* The answer's token and text at a place. */
static inline bt_token token_of(int client, int32_t at) {
    return (bt_token)(bt_mix64((uint64_t)client * 4096 + (uint64_t)at) & 0xffff);
}
static inline void text_of(int client, int32_t at, char text[TEXT + 1]) {
    snprintf(text, TEXT + 1, "%04x", (unsigned)token_of(client, at));
}
/* A token's text is held back when it might become a stop string: drawn once and for all, too. */
static inline bool held_at(int32_t at) {
    return at % 3 == 1;
}

#endif
